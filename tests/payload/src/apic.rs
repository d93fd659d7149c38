//! The local APIC in both modes, and the IOAPIC.
#![allow(unsafe_code)] // Where the local APIC is.
pub use crate::instructions::IA32_APIC_BASE;
use crate::instructions::{rdmsr, set_apic_mode, write_x2apic, wrmsr};
use bare::memory::{load, store};
use core::sync::atomic::{AtomicBool, Ordering};

pub const BASE: u64 = 0xfee0_0000;
pub const IOAPIC: u64 = 0xfec0_0000;
pub const BASE_EXTENDED: u64 = 1 << 10;
pub const BASE_ENABLE: u64 = 1 << 11;

/// Offsets of registers in xAPIC mode; in x2APIC mode they are the MSR 0x800 plus a sixteenth.
pub const ID: u32 = 0x20;
pub const TPR: u32 = 0x80;
pub const EOI: u32 = 0xb0;
pub const SPURIOUS: u32 = 0xf0;
pub const ICR: u32 = 0x300;
pub const ICR_HIGH: u32 = 0x310;
pub const LVT_TIMER: u32 = 0x320;
pub const TIMER_INITIAL: u32 = 0x380;
pub const TIMER_CURRENT: u32 = 0x390;
pub const TIMER_DIVIDE: u32 = 0x3e0;

/// Bits of LVT_TIMER and ICR.
pub const MASKED: u32 = 1 << 16;
pub const ASSERT: u32 = 1 << 14;
pub const TO_SELF: u32 = 1 << 18;
pub const TO_ALL: u32 = 2 << 18;
pub const TO_OTHERS: u32 = 3 << 18;

static X2APIC: AtomicBool = AtomicBool::new(false);

pub fn read(register: u32) -> u32 {
    if X2APIC.load(Ordering::Relaxed) {
        return rdmsr(0x800 + (register >> 4)) as u32;
    }
    load(BASE + u64::from(register))
}

pub fn write(register: u32, value: u32) {
    if X2APIC.load(Ordering::Relaxed) {
        return write_x2apic(0x800 + (register >> 4), value.into());
    }
    store(BASE + u64::from(register), value);
}

pub fn end_of_interrupt() {
    write(EOI, 0);
}

/// Sends an interrupt to one CPU, or as the shorthand in `command` says.
pub fn send(destination: u32, command: u32) {
    if X2APIC.load(Ordering::Relaxed) {
        return write_x2apic(0x830, u64::from(destination) << 32 | u64::from(command));
    }
    write(ICR_HIGH, destination << 24);
    write(ICR, command);
}

/// Turns the local APIC on, in xAPIC mode, with nothing but the spurious vector.
pub fn enable() {
    leave_x2apic();
    for register in [LVT_TIMER, 0x330, 0x340, 0x350, 0x360, 0x370] {
        write(register, MASKED | 0xff);
    }
    write(TIMER_INITIAL, 0);
    write(TPR, 0);
    write(SPURIOUS, 0x1ff);
}

/// Changes to x2APIC mode.
pub fn enter_x2apic() {
    set_apic_mode(rdmsr(IA32_APIC_BASE) | BASE_ENABLE | BASE_EXTENDED);
    X2APIC.store(true, Ordering::Relaxed);
    write(SPURIOUS, 0x1ff);
}

/// Changes to xAPIC mode, by way of the disabled state, at the address that every machine has.
pub fn leave_x2apic() {
    let base = rdmsr(IA32_APIC_BASE) & 0xfff & !(BASE_ENABLE | BASE_EXTENDED) | BASE;
    let now = rdmsr(IA32_APIC_BASE);
    if now != base | BASE_ENABLE {
        // SAFETY: there is no RAM at this address.
        unsafe {
            wrmsr(IA32_APIC_BASE, base);
            wrmsr(IA32_APIC_BASE, base | BASE_ENABLE);
        }
    }
    X2APIC.store(false, Ordering::Relaxed);
}

pub fn ioapic_read(register: u8) -> u32 {
    store(IOAPIC, u32::from(register));
    load(IOAPIC + 0x10)
}

pub fn ioapic_write(register: u8, value: u32) {
    store(IOAPIC, u32::from(register));
    store(IOAPIC + 0x10, value);
}

/// Masks all pins.
pub fn mask_ioapic() {
    for pin in 0..24 {
        ioapic_write(0x10 + 2 * pin, MASKED);
        ioapic_write(0x11 + 2 * pin, 0);
    }
}
