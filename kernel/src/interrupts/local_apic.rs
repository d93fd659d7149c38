//! The local APIC, in x2APIC mode where the CPU has it, else in xAPIC mode (SDM vol. 3A, chapter 11; APM
//! vol. 2, chapter 16).
#![allow(unsafe_code)] // register access by MSR and by memory

use super::Vector;
use crate::cpu::control;
use crate::cpu::registers::{Msr, rdmsr, without_interrupts, wrmsr};
use crate::memory::{self, NoMemory};
use core::sync::atomic::{AtomicU64, Ordering};
use mm::addr::{Hpa, PAGE};

/// A register, by its offset in xAPIC mode.
#[derive(Clone, Copy)]
struct Register(u32);

impl Register {
    const ID: Self = Self(0x20);
    const TASK_PRIORITY: Self = Self(0x80);
    const EOI: Self = Self(0xb0);
    const SPURIOUS: Self = Self(0xf0);
    const ERROR_STATUS: Self = Self(0x280);
    const COMMAND: Self = Self(0x300);
    const COMMAND_HIGH: Self = Self(0x310);
    const LVT_TIMER: Self = Self(0x320);
    const LVT_THERMAL: Self = Self(0x330);
    const LVT_PERFORMANCE: Self = Self(0x340);
    const LVT_LINT0: Self = Self(0x350);
    const LVT_LINT1: Self = Self(0x360);
    const LVT_ERROR: Self = Self(0x370);
    const INITIAL_COUNT: Self = Self(0x380);
    const CURRENT_COUNT: Self = Self(0x390);
    const DIVIDE: Self = Self(0x3e0);
}

/// IA32_APIC_BASE: the APIC is on.
const BASE_ENABLE: u64 = 1 << 11;
/// IA32_APIC_BASE: x2APIC mode.
const BASE_X2APIC: u64 = 1 << 10;
/// An LVT entry delivers nothing.
const MASKED: u32 = 1 << 16;
/// Delivery mode NMI, in an LVT entry or a command.
const NMI: u32 = 4 << 8;
/// A command is on its way (xAPIC only).
const PENDING: u32 = 1 << 12;
/// Timer mode: TSC deadline.
const TSC_DEADLINE: u32 = 2 << 17;

/// Virtual address of the registers in xAPIC mode, 0 in x2APIC mode.
static WINDOW: AtomicU64 = AtomicU64::new(0);

/// Holds back the interrupts of devices on this CPU, or lets them in: what has a vector below [`Vector::SERIAL`]. For
/// the time that a guest runs which is left soon anyway. CR8 is the task priority (SDM vol. 3A, 11.8.6).
#[inline(always)]
pub fn hold_devices(hold: bool) {
    let priority = if hold { u64::from(Vector::SERIAL.0 >> 4) - 1 } else { 0 };
    // SAFETY: delays interrupts, which nobody relies upon to come at once.
    unsafe { core::arch::asm!("mov cr8, {}", in(reg) priority, options(nostack, preserves_flags)) };
}

#[inline(always)]
fn read(register: Register) -> u32 {
    match WINDOW.load(Ordering::Relaxed) {
        // SAFETY: without a window the APIC is in x2APIC mode, where the MSR exists.
        0 => unsafe { rdmsr(Msr(Msr::X2APIC.0 + (register.0 >> 4))) as u32 },
        // SAFETY: the window maps the APIC's page.
        base => unsafe { ((base + u64::from(register.0)) as *const u32).read_volatile() },
    }
}

#[inline(always)]
fn write(register: Register, value: u32) {
    match WINDOW.load(Ordering::Relaxed) {
        // SAFETY: as in `read`; none of our values sets a reserved bit.
        0 => unsafe { wrmsr(Msr(Msr::X2APIC.0 + (register.0 >> 4)), value.into()) },
        // SAFETY: the window maps the APIC's page.
        base => unsafe { ((base + u64::from(register.0)) as *mut u32).write_volatile(value) },
    }
}

/// Sends INIT to all CPUs but the calling one, in whatever mode the firmware left the APICs: they stop, and
/// wait to be started. Firmware may have left them spinning, which costs the booting CPU its share of a
/// core (its sibling thread's, or the host's under an emulator).
///
/// The first thing that the kernel does, through the direct map: there are no windows yet.
pub fn park_others() {
    /// Destination shorthand: all excluding self.
    const OTHERS: u32 = 3 << 18;
    let command = Command::INIT.0 | OTHERS;
    // SAFETY: every 64-bit CPU has the base register; the command register takes an INIT in both modes. In
    // xAPIC mode its page is in the 32-bit hole, which the direct map covers.
    unsafe {
        let base = rdmsr(Msr::APIC_BASE);
        if base & BASE_ENABLE == 0 {
            return;
        }
        if base & BASE_X2APIC != 0 {
            wrmsr(Msr(Msr::X2APIC.0 + 0x30), command.into());
            return;
        }
        let page = Hpa::new_truncate(base & !(PAGE - 1));
        if page.get() < 1 << 32 {
            let register = memory::DIRECT.address(page) + u64::from(Register::COMMAND.0);
            register.as_mut_ptr::<u32>().write_volatile(command);
        }
    }
}

/// Chooses the mode for all CPUs; in xAPIC mode maps the registers at physical address `base`.
pub fn find(base: u64) -> Result<(), NoMemory> {
    if !control::features().x2apic {
        let window = memory::map_device(Hpa::new_truncate(base), PAGE)?;
        WINDOW.store(window.get(), Ordering::Relaxed);
    }
    Ok(())
}

/// Whether the APICs are in x2APIC mode.
pub fn is_x2apic() -> bool {
    WINDOW.load(Ordering::Relaxed) == 0
}

/// Turns the calling CPU's APIC on, with everything masked except LINT1, which PCs wire to NMI.
pub fn enable() {
    // SAFETY: every 64-bit CPU with an APIC has the register. x2APIC is entered from xAPIC mode, as the
    // manual wants it, or was on already.
    unsafe {
        let base = rdmsr(Msr::APIC_BASE) | BASE_ENABLE;
        wrmsr(Msr::APIC_BASE, base);
        if is_x2apic() {
            wrmsr(Msr::APIC_BASE, base | BASE_X2APIC);
        }
    }
    write(Register::TASK_PRIORITY, 0);
    for lvt in [
        Register::LVT_TIMER,
        Register::LVT_THERMAL,
        Register::LVT_PERFORMANCE,
        Register::LVT_LINT0,
        Register::LVT_ERROR,
    ] {
        write(lvt, MASKED);
    }
    write(Register::LVT_LINT1, NMI);
    write(Register::SPURIOUS, 0x100 | u32::from(Vector::SPURIOUS.0));
    write(Register::ERROR_STATUS, 0);
    end_of_interrupt();
}

/// The calling CPU's APIC id.
pub fn id() -> u32 {
    let id = read(Register::ID);
    if is_x2apic() { id } else { id >> 24 }
}

/// Tells the APIC that the interrupt in service is done.
#[inline]
pub fn end_of_interrupt() {
    write(Register::EOI, 0);
}

/// Something to be sent to another CPU (SDM vol. 3A, 11.6.1).
#[derive(Clone, Copy)]
pub struct Command(u32);

impl Command {
    /// A non-maskable interrupt.
    pub const NMI: Self = Self(NMI | 1 << 14);
    /// Resets the CPU, which then waits for a start-up.
    pub const INIT: Self = Self(5 << 8 | 1 << 14);

    /// An interrupt with `vector`.
    pub const fn fixed(vector: Vector) -> Self {
        Self(vector.0 as u32 | 1 << 14)
    }

    /// Starts a CPU that was reset, in real mode at physical `page << 12`.
    pub const fn startup(page: u8) -> Self {
        Self(6 << 8 | 1 << 14 | page as u32)
    }
}

/// Sends `command` to the CPU with `apic_id`. All memory writes before it are visible to the receiver.
pub fn send(command: Command, apic_id: u32) {
    if is_x2apic() {
        // WRMSR to the x2APIC is not serialising (SDM vol. 3A, 11.12.3).
        core::sync::atomic::fence(Ordering::SeqCst);
        // SAFETY: the command register takes every command; MFENCE came before.
        unsafe { wrmsr(Msr(Msr::X2APIC.0 + 0x30), u64::from(apic_id) << 32 | u64::from(command.0)) };
        return;
    }
    without_interrupts(|| {
        wait_until_sent();
        write(Register::COMMAND_HIGH, apic_id << 24);
        write(Register::COMMAND, command.0);
    });
}

/// Waits for the last command to leave, for a bounded time.
fn wait_until_sent() {
    for _ in 0..100_000 {
        if read(Register::COMMAND) & PENDING == 0 {
            return;
        }
        core::hint::spin_loop();
    }
}

/// The timer, counting down from a count at the bus's rate.
pub mod countdown {
    use super::*;

    /// Prepares the timer to interrupt once per start, undivided.
    pub fn set_up() {
        write(Register::DIVIDE, 0x0b);
        write(Register::LVT_TIMER, Vector::TIMER.0.into());
    }

    /// Prepares it to count without interrupting.
    pub fn set_up_silent() {
        write(Register::DIVIDE, 0x0b);
        write(Register::LVT_TIMER, MASKED);
    }

    /// Starts from `count`; 0 stops.
    #[inline]
    pub fn start(count: u32) {
        write(Register::INITIAL_COUNT, count);
    }

    /// What is left of the count.
    pub fn left() -> u32 {
        read(Register::CURRENT_COUNT)
    }
}

/// The timer, comparing with the TSC.
pub mod deadline {
    use super::*;

    /// Prepares the timer.
    pub fn set_up() {
        write(Register::LVT_TIMER, TSC_DEADLINE | u32::from(Vector::TIMER.0));
        // In xAPIC mode the mode change is a store, which a WRMSR could overtake (SDM vol. 3A, 11.5.4.1).
        core::sync::atomic::fence(Ordering::SeqCst);
    }

    /// Interrupts when the TSC reaches `tsc`; 0 stops.
    #[inline]
    pub fn start(tsc: u64) {
        // SAFETY: only used where CPUID says that the register exists.
        unsafe { wrmsr(Msr::TSC_DEADLINE, tsc) };
    }
}
