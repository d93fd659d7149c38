//! The interrupt controllers, used in ways that nobody would.
use super::timers::still_ticks;
use crate::apic::*;
use crate::catch::{Came, GP, catch, raises};
use crate::instructions::*;
use crate::{Outcome, apic, cpu, ensure, random, wrong};
use bare::memory::{load, store};
use core::hint::black_box;

const SELF: u8 = 0x52;

pub fn self_ipi_storm() -> Outcome {
    apic::enable();
    take_interrupts();
    let before = cpu::taken(SELF);
    for _ in 0..10_000 {
        write(ICR, TO_SELF | ASSERT | u32::from(SELF));
        take_interrupts();
    }
    let taken = cpu::taken(SELF) - before;
    ensure!(taken == 10_000, "{taken} of 10000 self-IPIs came");
    // Closed, the register has one bit for a vector.
    for _ in 0..1000 {
        write(ICR, TO_SELF | ASSERT | u32::from(SELF));
    }
    take_interrupts();
    let merged = cpu::taken(SELF) - before - taken;
    ensure!(merged == 1, "{merged} interrupts of 1000 that were sent while closed");
    Ok(())
}

/// A value for any register whose vector no exception has, and which, as a command, starts and resets
/// nobody.
fn harmless(value: u64) -> u64 {
    let value = value | 0x40;
    // Delivery modes SMI, INIT, start-up, and the reserved ones between.
    if value >> 8 & 7 > 1 { value & !0x700 } else { value }
}

pub fn lapic() -> Outcome {
    apic::enable();
    for _ in 0..6000 {
        let offset = match random::below(3) {
            0 => random::below(0x1000 - 8),
            1 => random::below(0x40) << 4,
            _ => random::below(0x100) << 4,
        };
        let at = BASE + offset;
        let value = harmless(random::nasty());
        match random::below(8) {
            // Wide writes may reach the next register: only 32 bits at the command register.
            0 if offset & !0x10 != 0x300 => store(at, value as u8),
            1 if offset & !0x10 != 0x300 => store(at, value as u16),
            2 if offset & !0x10 != 0x300 => store(at, value),
            3 => discard(load::<u8>(at)),
            4 => discard(load::<u64>(at)),
            5 => discard(load::<u32>(at)),
            _ => store(at, value as u32),
        }
    }
    drain();
    still_ticks()
}

/// Takes all that fuzzing has left behind.
fn drain() {
    apic::enable();
    mask_ioapic();
    for _ in 0..300 {
        take_interrupts();
        // What was in service without a handler: one EOI each.
        apic::end_of_interrupt();
    }
}

pub fn x2apic() -> Outcome {
    if cpuid(1, 0)[2] & 1 << 21 == 0 {
        return Ok(());
    }
    apic::enable();
    apic::enter_x2apic();
    for _ in 0..6000 {
        let msr = 0x800 + random::below(0x100) as u32;
        let value = harmless(random::nasty());
        let came = catch(|| {
            if random::below(2) == 0 {
                write_x2apic(msr, value);
            } else {
                let _ = black_box(rdmsr(msr));
            }
        });
        if let Err(caught) = came {
            ensure!(caught.vector == GP && caught.error == 0, "MSR {msr:#x} value {value:#x}: {caught}");
        }
    }
    // What has no register, and what is read-only.
    for msr in [0x800, 0x801, 0x804, 0x80c, 0x80e, 0x831, 0x840, 0x8ff] {
        if let Err(came) = raises(GP, || discard(rdmsr(msr))) {
            wrong!("RDMSR {msr:#x} in x2APIC mode: {came}, expected #GP");
        }
    }
    for (msr, value) in [(0x802, 1), (0x803, 0), (0x80b, 1), (0x828, 1), (0x839, 1), (0x808, 0x100)] {
        if let Err(came) = raises(GP, || write_x2apic(msr, value)) {
            wrong!("WRMSR {msr:#x} value {value:#x} in x2APIC mode: {came}, expected #GP");
        }
    }
    drain();
    still_ticks()
}

pub fn x2apic_modes() -> Outcome {
    if cpuid(1, 0)[2] & 1 << 21 == 0 {
        return Ok(());
    }
    apic::enable();
    if let Err(came) = raises(GP, || discard(rdmsr(0x802))) {
        wrong!("an x2APIC register in xAPIC mode: {came}, expected #GP");
    }
    let base = rdmsr(IA32_APIC_BASE);
    let disabled = base & !(BASE_ENABLE | BASE_EXTENDED);
    let attempt = |value| raises(GP, || set_apic_mode(value));
    if let Err(came) = attempt(disabled | BASE_EXTENDED) {
        wrong!("extended mode of a disabled APIC: {came}, expected #GP");
    }
    if let Err(came) = attempt(base | 1 << 63) {
        wrong!("a reserved bit of IA32_APIC_BASE: {came}, expected #GP");
    }
    apic::enter_x2apic();
    if let Err(came) = attempt(disabled | BASE_ENABLE) {
        wrong!("from x2APIC back to xAPIC: {came}, expected #GP");
    }
    // Off, and CPUID shows no APIC; then on again.
    let came = catch(|| set_apic_mode(disabled));
    ensure!(came.is_ok(), "switched off: {}", Came(came));
    ensure!(cpuid(1, 0)[3] & 1 << 9 == 0, "CPUID shows an APIC that is off");
    set_apic_mode(disabled | BASE_ENABLE);
    apic::leave_x2apic();
    ensure!(cpuid(1, 0)[3] & 1 << 9 != 0, "CPUID shows no APIC");
    still_ticks()
}

pub fn ioapic() -> Outcome {
    apic::enable();
    for _ in 0..6000 {
        let offset =
            if random::below(2) == 0 { random::one_of(&[0, 0x10, 0x20, 0x40]) } else { random::below(0xff8) };
        let at = IOAPIC + offset;
        // Redirections may name any delivery mode: none of the pins is active, and harmless() filters.
        let value = harmless(random::nasty());
        match random::below(6) {
            0 => store(at, value as u8),
            1 => store(at, value),
            2 => discard(load::<u8>(at)),
            3 => discard(load::<u64>(at)),
            4 => discard(load::<u32>(at)),
            _ => ioapic_write(random::next() as u8, value as u32),
        }
    }
    drain();
    for pin in 0..24u8 {
        let low = ioapic_read(0x10 + 2 * pin);
        ensure!(low & MASKED != 0, "pin {pin} was masked and reads {low:#x}");
    }
    ensure!(ioapic_read(1) >> 16 & 0xff == 23, "the IOAPIC's version register reads {:#x}", ioapic_read(1));
    still_ticks()
}
