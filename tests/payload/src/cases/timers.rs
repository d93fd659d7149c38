//! Timers with values that nobody means.
use crate::apic::*;
use crate::instructions::*;
use crate::processors::wait_until;
use crate::{Outcome, apic, cpu, ensure, random};

const TICK: u8 = 0x51;
const PIT_VECTOR: u8 = 0x60;
const IA32_TSC_DEADLINE: u32 = 0x6e0;

/// Fails unless a one-shot of the APIC timer arrives, once.
pub fn still_ticks() -> Outcome {
    apic::enable();
    mask_ioapic();
    take_interrupts();
    let before = cpu::taken(TICK);
    write(TIMER_DIVIDE, 0xb);
    write(LVT_TIMER, TICK.into());
    write(TIMER_INITIAL, 100_000);
    sti();
    let came = wait_until(|| cpu::taken(TICK) > before);
    cli();
    ensure!(came, "the APIC timer does not tick any more; its count is {:#x}", read(TIMER_CURRENT));
    ensure!(cpu::taken(TICK) == before + 1, "a one-shot came {} times", cpu::taken(TICK) - before);
    Ok(())
}

pub fn apic() -> Outcome {
    apic::enable();
    for initial in [0u32, 1, 2, 0x7fff_ffff, u32::MAX] {
        for mode in 0..4 {
            for divide in 0..16 {
                write(LVT_TIMER, mode << 17 | u32::from(TICK));
                write(TIMER_DIVIDE, divide);
                write(TIMER_INITIAL, initial);
                let _ = read(TIMER_CURRENT);
            }
            take_interrupts();
        }
    }
    // A periodic timer as fast as it goes leaves the CPU some time.
    write(TIMER_DIVIDE, 0xb);
    write(LVT_TIMER, 1 << 17 | u32::from(TICK));
    write(TIMER_INITIAL, 1);
    for _ in 0..200 {
        take_interrupts();
    }
    write(TIMER_INITIAL, 0);
    still_ticks()?;
    if cpuid(1, 0)[2] & 1 << 24 != 0 {
        write(LVT_TIMER, 2 << 17 | u32::from(TICK));
        for deadline in [0, 1, rdtsc() - 1, u64::MAX, u64::MAX - 1, 1 << 63, rdtsc() + (1 << 40)] {
            write_tsc_deadline(deadline);
            take_interrupts();
            let _ = rdmsr(IA32_TSC_DEADLINE);
        }
        for _ in 0..100 {
            write_tsc_deadline(rdtsc().wrapping_add(random::below(1 << 20)));
        }
        // Disarmed, and what came meanwhile is taken: the next one is that of the next deadline.
        write_tsc_deadline(0);
        take_interrupts();
        let before = cpu::taken(TICK);
        write_tsc_deadline(rdtsc() + 10_000);
        sti();
        let came = wait_until(|| cpu::taken(TICK) > before);
        cli();
        ensure!(came, "no interrupt at the deadline");
        ensure!(rdmsr(IA32_TSC_DEADLINE) == 0, "the deadline that has passed is still there");
    }
    still_ticks()
}

pub fn pit_storm() -> Outcome {
    apic::enable();
    mask_ioapic();
    // Counter 0, mode 2, the shortest period; it is pin 2 of the IOAPIC.
    ioapic_write(0x15, 0);
    ioapic_write(0x14, PIT_VECTOR.into());
    outb(0x43, 0x34);
    outb(0x40, 2);
    outb(0x40, 0);
    let before = cpu::taken(PIT_VECTOR);
    sti();
    // What the CPU gets done meanwhile: some exits and some work.
    for i in 0..2000u32 {
        outb(0x80, i as u8);
        for _ in 0..100 {
            core::hint::spin_loop();
        }
    }
    let came = wait_until(|| cpu::taken(PIT_VECTOR) > before + 10);
    cli();
    // Every mode and count, counters without a vector.
    for control in 0..=255u8 {
        outb(0x43, control);
        outb(0x40 + random::below(3) as u16, random::next() as u8);
        let _ = inb(0x40 + random::below(3) as u16);
    }
    outb(0x43, 0x34);
    outb(0x40, 0);
    outb(0x40, 0);
    mask_ioapic();
    ensure!(came, "{} interrupts of the PIT", cpu::taken(PIT_VECTOR) - before);
    still_ticks()
}
