//! What is measured: each kind of exit by itself, then an interrupt to oneself, a timed halt, and memory
//! that was never touched before.
use crate::hypercalls::{is_intel, vmcall, vmmcall};
use crate::interrupts::{IPI_X2APIC, IPI_XAPIC, TIMER, handled, stamp};
use crate::stopwatch::Results;
use bare::instructions::{
    IA32_APIC_BASE, cli, cpuid, inb, inl, outb, rdmsr, rdtsc, set_apic_mode, sti, sti_hlt,
    write_tsc_deadline, write_x2apic,
};
use bare::memory::{load, store};

const LOCAL_APIC: u64 = 0xfee0_0000;
const APIC_ID: u64 = LOCAL_APIC + 0x20;
const APIC_TPR: u64 = LOCAL_APIC + 0x80;
const APIC_EOI: u64 = LOCAL_APIC + 0xb0;
const APIC_SPURIOUS: u64 = LOCAL_APIC + 0xf0;
const APIC_ICR: u64 = LOCAL_APIC + 0x300;
/// Software-enabled, spurious vector 0xff.
const APIC_ON: u32 = 0x1ff;
/// An ICR's shorthand: to oneself.
const TO_SELF: u32 = 1 << 18;
/// An LVT entry's mode: TSC-deadline.
const BY_DEADLINE: u32 = 2 << 17;

const IOAPIC_SELECT: u64 = 0xfec0_0000;
const IOAPIC_WINDOW: u64 = IOAPIC_SELECT + 0x10;
/// Where no device is.
const HOLE: u64 = 0xfed8_0000;

const X2APIC_ON: u64 = 1 << 10;
const IA32_MTRRCAP: u32 = 0xfe;
const X2APIC_ID: u32 = 0x802;
const X2APIC_TPR: u32 = 0x808;
const X2APIC_EOI: u32 = 0x80b;
const X2APIC_SPURIOUS: u32 = 0x80f;
const X2APIC_ICR: u32 = 0x830;
const X2APIC_LVT_TIMER: u32 = 0x832;
const X2APIC_SELF_IPI: u32 = 0x83f;

/// A hypercall that does not exist.
const NO_CALL: u64 = 0x7fff_ffff;
/// Ticks that are longer than all of this takes.
const LATER: u64 = 1 << 40;
/// A millisecond, where a tick is a nanosecond; elsewhere as many ticks.
const HALT: u64 = 1_000_000;

/// Memory that nothing has used before.
const FRESH: core::ops::Range<u64> = 128 << 20..192 << 20;

/// Takes all figures.
pub fn measure(results: &mut Results) {
    results.time("floor", || {});
    results.time("cpuid", || cpuid(0, 0));
    if is_intel() {
        results.time("vmcall", || vmcall(NO_CALL));
    } else {
        results.time("vmmcall", || vmmcall(NO_CALL));
    }
    ports(results);
    memory_mapped(results);
    self_ipi_xapic(results);
    let base = rdmsr(IA32_APIC_BASE);
    set_apic_mode(base | X2APIC_ON);
    write_x2apic(X2APIC_SPURIOUS, APIC_ON.into());
    registers(results);
    self_ipi_x2apic(results);
    timed_halt(results);
    fresh_memory(results);
}

fn ports(results: &mut Results) {
    results.time("port_in_nobody", || inb(0xed));
    results.time("port_out_0x80", || outb(0x80, 0));
    results.time("port_in_port_b", || inb(0x61));
    results.time("port_in_pic", || inb(0x21));
    results.time("port_in_rtc", || inb(0x71));
    results.time("port_in_pm_timer", || inl(0x608));
    results.time("uart_read_lsr", || inb(0x3fd));
    results.time("uart_write_scr", || outb(0x3ff, 0x55));
}

fn memory_mapped(results: &mut Results) {
    results.time("lapic_mmio_read", || load::<u32>(APIC_ID));
    results.time("lapic_mmio_write_tpr", || store(APIC_TPR, 0u32));
    results.time("lapic_mmio_write_eoi", || store(APIC_EOI, 0u32));
    store(IOAPIC_SELECT, 1u32);
    results.time("ioapic_read", || load::<u32>(IOAPIC_WINDOW));
    results.time("ioapic_write", || store(IOAPIC_SELECT, 1u32));
    results.time("mmio_read_nobody", || load::<u32>(HOLE));
    results.time("mmio_write_nobody", || store(HOLE, 0u32));
}

/// In x2APIC mode.
fn registers(results: &mut Results) {
    results.time("msr_read", || rdmsr(IA32_APIC_BASE));
    results.time("msr_read_table", || rdmsr(IA32_MTRRCAP));
    write_x2apic(X2APIC_LVT_TIMER, u64::from(BY_DEADLINE | u32::from(TIMER)));
    results.time("msr_write_tsc_deadline", || write_tsc_deadline(LATER));
    write_tsc_deadline(0);
    results.time("x2apic_read_id", || rdmsr(X2APIC_ID));
    results.time("x2apic_write_tpr", || write_x2apic(X2APIC_TPR, 0));
    results.time("x2apic_write_eoi", || write_x2apic(X2APIC_EOI, 0));
}

/// An interrupt to oneself, its handler, and the end of the interrupt.
fn self_ipi_xapic(results: &mut Results) {
    store(APIC_SPURIOUS, APIC_ON);
    sti();
    results.time("self_ipi_xapic", || {
        let before = handled();
        store(APIC_ICR, TO_SELF | u32::from(IPI_XAPIC));
        while handled() == before {}
    });
    cli();
}

fn self_ipi_x2apic(results: &mut Results) {
    sti();
    results.time("self_ipi_x2apic", || {
        let before = handled();
        write_x2apic(X2APIC_ICR, u64::from(TO_SELF | u32::from(IPI_X2APIC)));
        while handled() == before {}
    });
    results.time("self_ipi_register", || {
        let before = handled();
        write_x2apic(X2APIC_SELF_IPI, u64::from(IPI_X2APIC));
        while handled() == before {}
    });
    cli();
}

/// From the deadline to the first instruction of its handler, after a halt.
fn timed_halt(results: &mut Results) {
    results.collect("halt_1ms_late", 200, || {
        let deadline = rdtsc() + HALT;
        write_tsc_deadline(deadline);
        sti_hlt();
        cli();
        stamp().saturating_sub(deadline)
    });
}

/// What the first touch of each page costs beyond the second, all pages together.
fn fresh_memory(results: &mut Results) {
    let touch = || {
        let begin = rdtsc();
        for page in FRESH.step_by(4096) {
            store(page, 1u32);
        }
        rdtsc() - begin
    };
    let first = touch();
    results.single("touch_64mib_first", first.saturating_sub(touch()));
}
