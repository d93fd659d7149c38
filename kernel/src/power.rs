//! The machine's power: off, and reset (ACPI 6.5, 4.8.3.6, 4.8.3.7, 16.1).
#![allow(unsafe_code)] // writes the registers that end the machine's run

use crate::console::{Emergency, serial};
use crate::cpu::port::Port;
use crate::cpu::registers::{self, TablePointer, halt_forever};
use crate::interrupts::nmi;
use crate::machine::Power;
use crate::memory;
use crate::vm;
use core::fmt::Write;
use mm::addr::{Hpa, PAGE};
use platform::acpi::{AddressSpace, Register};
use spin::Once;

static POWER: Once<Power> = Once::new();

/// PM1 control: the machine is in ACPI mode.
const SCI_EN: u16 = 1;
/// PM1 control: go to the sleep state now.
const SLP_EN: u16 = 1 << 13;
/// Sleep control register: the same.
const SLEEP_ENABLE: u8 = 1 << 5;
/// PCI configuration address of a register on bus 0.
const PCI_ADDRESS: Port = Port(0xcf8);
const PCI_DATA: Port = Port(0xcfc);
/// The reset control register of Intel's chip sets, and their followers.
const RESET_CONTROL: Port = Port(0xcf9);
/// The 8042's command port.
const KEYBOARD: Port = Port(0x64);

/// Remembers how it is done.
pub fn start(power: Power) {
    POWER.call_once(|| power);
}

/// Whether [`off`] has a way to switch the machine off.
pub fn can_switch_off() -> bool {
    POWER.get().is_some_and(|p| p.s5.is_some() && (p.pm1a.is_some() || p.sleep_control.is_some()))
}

/// Switches the machine off. Where that does not work, says so and halts.
pub fn off() -> ! {
    serial::flush();
    registers::disable_interrupts();
    nmi::stop_others();
    vm::leave_for_good();
    if let Some(power) = POWER.get()
        && let Some(s5) = power.s5
    {
        if let Some(register) = power.sleep_control {
            write(register, (s5.a << 2 | SLEEP_ENABLE).into());
        }
        if let Some((port, value)) = power.acpi_enable
            && power.pm1a.is_some_and(|r| read_u16(r) & SCI_EN == 0)
        {
            // SAFETY: the port and value that the firmware names for switching to ACPI mode.
            unsafe { Port(port).write_u8(value) };
            wait_for(|| power.pm1a.is_some_and(|r| read_u16(r) & SCI_EN != 0));
        }
        for (register, kind) in [(power.pm1a, s5.a), (power.pm1b, s5.b)] {
            if let Some(register) = register {
                // The fields besides SLP_TYP and SLP_EN keep their values (ACPI 6.5, 4.8.3.2.1).
                let kept = read_u16(register) & !(7 << 10 | SLP_EN);
                write(register, kept | u16::from(kind) << 10 | SLP_EN);
            }
        }
        wait_for(|| false);
    }
    let _ = writeln!(Emergency, "The machine does not switch itself off: do it by its power button.");
    halt_forever()
}

/// Resets the machine, by the first way that works.
pub fn reset() -> ! {
    serial::flush();
    registers::disable_interrupts();
    nmi::stop_others();
    vm::leave_for_good();
    let power = POWER.get().copied().unwrap_or_default();
    if let Some((register, value)) = power.reset {
        write_u8(register, value);
        wait_for(|| false);
    }
    // SAFETY: the ports do nothing but reset the machine.
    unsafe {
        RESET_CONTROL.write_u8(0x02);
        RESET_CONTROL.write_u8(0x06);
        wait_for(|| false);
        if power.has_8042 {
            KEYBOARD.write_u8(0xfe);
            wait_for(|| false);
        }
        // An exception without a table to look it up is a triple fault, which PCs wire to reset.
        registers::lidt(&TablePointer { limit: 0, base: 0 });
        core::arch::asm!("ud2", options(noreturn));
    }
}

/// Waits until `done`, some tens of milliseconds at most.
fn wait_for(done: impl Fn() -> bool) {
    for _ in 0..50_000 {
        if done() {
            return;
        }
        // SAFETY: reading the POST code port takes about a microsecond and does nothing else.
        unsafe { Port(0x80).read_u8() };
    }
}

fn read_u16(register: Register) -> u16 {
    match register.space {
        // SAFETY: a PM1 control register; reading it has no effect.
        AddressSpace::IO => register.as_port().map_or(0, |p| unsafe { Port(p).read_u16() }),
        AddressSpace::MEMORY => window(register).map_or(0, |p| {
            // SAFETY: the window maps the register.
            unsafe { p.cast::<u16>().read_volatile() }
        }),
        _ => 0,
    }
}

/// Writes a register as wide as it says it is.
fn write(register: Register, value: u16) {
    if register.bits == 8 {
        return write_u8(register, value as u8);
    }
    match register.space {
        AddressSpace::IO => {
            if let Some(port) = register.as_port() {
                // SAFETY: a power management register that the firmware names; memory does not depend on it.
                unsafe { Port(port).write_u16(value) };
            }
        }
        AddressSpace::MEMORY => {
            if let Some(at) = window(register) {
                // SAFETY: the window maps the register.
                unsafe { at.cast::<u16>().write_volatile(value) };
            }
        }
        _ => {}
    }
}

fn write_u8(register: Register, value: u8) {
    match register.space {
        AddressSpace::IO => {
            if let Some(port) = register.as_port() {
                // SAFETY: a reset or sleep register that the firmware names.
                unsafe { Port(port).write_u8(value) };
            }
        }
        AddressSpace::MEMORY => {
            if let Some(at) = window(register) {
                // SAFETY: the window maps the register.
                unsafe { at.write_volatile(value) };
            }
        }
        AddressSpace::PCI_CONFIG => {
            // Device in bits 47:32, function in 31:16, offset in 15:0, on bus 0 (ACPI 6.5, 5.2.3.2).
            let (device, function, offset) =
                (register.address >> 32 & 0x1f, register.address >> 16 & 7, register.address & 0xff);
            let select = 0x8000_0000 | (device << 11 | function << 8 | offset & 0xfc) as u32;
            // SAFETY: the standard configuration mechanism, to the register that the firmware names.
            unsafe {
                PCI_ADDRESS.write_u32(select);
                PCI_DATA.offset((offset & 3) as u16).write_u8(value);
            }
        }
        _ => {}
    }
}

fn window(register: Register) -> Option<*mut u8> {
    let at = Hpa::try_new(register.address)?;
    // Two bytes within one page, or none at all.
    if at.offset_in(PAGE) > PAGE - 2 {
        return None;
    }
    memory::map_device(at, 2).ok().map(|w| w.as_mut_ptr())
}
