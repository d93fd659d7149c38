//! Interrupts: who sends them, which vector they have, and what runs when one arrives.
//!
//! ```text
//! COM1 ─► io_apic ────────────┐
//! device ─► message ──────────┤
//! other CPU ─► IPI ───────────┼─► local_apic ─► cpu::idt stub ─► taken() ─► registered handler, or `device`
//! this CPU's timer ───────────┘
//! ```
//!
//! A handler acknowledges its device, wakes a task or sets a flag, and returns; the end of interrupt is
//! signalled for it. It runs with interrupts disabled on the stack that was in use. There are no nested
//! interrupts, and NMIs ([`nmi`]) do not come this way.
pub mod device;
pub mod io_apic;
pub mod ipi;
pub mod local_apic;
pub mod nmi;
mod pic;

use crate::cpu::percpu;
use crate::machine::Machine;
use core::sync::atomic::{AtomicU64, Ordering};
use spin::Once;

/// An interrupt vector. The upper four bits are its priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vector(pub u8);

impl Vector {
    /// The 8259s' 16 inputs, of which only spurious ones can arrive.
    const PIC: u8 = 0x20;
    const AFTER_PIC: u8 = 0x30;
    /// COM1.
    pub const SERIAL: Self = Self(0xe0);
    /// This CPU's timer.
    pub const TIMER: Self = Self(0xe8);
    /// Another CPU wants this one's loop to look at its queues.
    pub const WAKE: Self = Self(0xf0);
    /// Another CPU has something for the vCPU that runs on this one.
    pub const NUDGE: Self = Self(0xf1);
    /// There are interrupts for the vCPU that runs on this one, which its hardware takes (SDM vol. 3C, 29.6).
    pub const POSTED: Self = Self(0xf2);
    /// The local APIC's own; is not acknowledged (SDM vol. 3A, 11.9).
    pub const SPURIOUS: Self = Self(0xff);
}

static HANDLERS: [Once<fn()>; 256] = [const { Once::new() }; 256];

/// Interrupts that nobody registered for.
static UNEXPECTED: AtomicU64 = AtomicU64::new(0);

/// Makes `handler` what runs when `vector` arrives, on any CPU. The first handler of a vector stays;
/// returns whether it was this one.
pub fn register(vector: Vector, handler: fn()) -> bool {
    core::ptr::fn_addr_eq(*HANDLERS[usize::from(vector.0)].call_once(|| handler), handler)
}

/// The end of an interrupt's way.
pub(crate) fn taken(vector: u8) {
    percpu::current().interrupts.fetch_add(1, Ordering::Relaxed);
    let known = if device::owns(vector) {
        device::taken(vector)
    } else {
        HANDLERS[usize::from(vector)].get().map(|handler| handler()).is_some()
    };
    if !known {
        UNEXPECTED.fetch_add(1, Ordering::Relaxed);
    }
    let from_pic = (Vector::PIC..Vector::AFTER_PIC).contains(&vector);
    if !from_pic && vector != Vector::SPURIOUS.0 {
        local_apic::end_of_interrupt();
    }
}

/// Logs what came that nobody asked for since the last call: a device that was left running, or an NMI, by
/// which hardware reports that it fails.
pub fn log_strays() {
    let unexpected = UNEXPECTED.swap(0, Ordering::Relaxed);
    if unexpected > 0 {
        log::warn!("interrupts: {unexpected} with a vector that nothing uses");
    }
    let unexplained = nmi::take_unexplained();
    if unexplained > 0 {
        log::warn!("interrupts: {unexplained} NMIs from the hardware: memory or a bus may be failing");
    }
}

/// Sets up the interrupt controllers, on the booting CPU.
pub fn start(machine: &Machine) -> Result<(), crate::memory::NoMemory> {
    pic::disable();
    local_apic::find(machine.local_apic)?;
    local_apic::enable();
    io_apic::start(&machine.io_apics)?;
    register(Vector::WAKE, || percpu::current().attention.store(true, Ordering::Relaxed));
    // A nudge has done its work by ending the guest's run: the vCPU looks at its mailbox.
    register(Vector::NUDGE, || {});
    // The guest did not run when it came: the vCPU looks at its mailbox before it runs next.
    register(Vector::POSTED, || {});
    Ok(())
}
