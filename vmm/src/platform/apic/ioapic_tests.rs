//! Pins, redirection entries, and the end of level-triggered interrupts.
use super::*;
use crate::platform::apic::{LocalApic, Wake};
use crate::platform::fuzz::Random;
use std::boxed::Box;

struct NoWake;
impl Wake for NoWake {
    fn wake(&self, _: usize) {}
}

fn rig() -> (IoApic, LocalApic) {
    let fabric = Arc::new(ApicFabric::new(1, Box::new(NoWake)));
    let mut apic = LocalApic::new(fabric.clone(), 0, 40);
    apic.mmio_write(0xf0, 4, 0x1ff, 0);
    (IoApic::new(fabric), apic)
}

fn write(ioapic: &mut IoApic, register: u8, value: u32) {
    ioapic.mmio_write(0x00, 4, u64::from(register));
    ioapic.mmio_write(0x10, 4, u64::from(value));
}

fn read(ioapic: &mut IoApic, register: u8) -> u32 {
    ioapic.mmio_write(0x00, 4, u64::from(register));
    ioapic.mmio_read(0x10, 4) as u32
}

fn redirect(ioapic: &mut IoApic, pin: u8, entry: u64) {
    write(ioapic, 0x11 + 2 * pin, (entry >> 32) as u32);
    write(ioapic, 0x10 + 2 * pin, entry as u32);
}

/// Takes the interrupt that is pending, without its end.
fn take(apic: &mut LocalApic) -> Option<u8> {
    apic.pull();
    let vector = apic.deliverable()?;
    apic.acknowledge(vector);
    Some(vector)
}

const LEVEL: u64 = 1 << 15;
const REMOTE_IRR: u32 = 1 << 14;

#[test]
fn it_tells_version_0x20_and_24_pins() {
    let (mut ioapic, _) = rig();
    assert_eq!(read(&mut ioapic, 1), 0x0017_0020);
    assert_eq!(read(&mut ioapic, 0), u32::from(IOAPIC_ID) << 24);
    for pin in 0..24 {
        assert_eq!(read(&mut ioapic, 0x10 + 2 * pin), 1 << 16);
    }
    for register in [3, 0x0f, 0x40, 0xff] {
        assert_eq!(read(&mut ioapic, register), 0);
    }
}

#[test]
fn an_edge_interrupts_once_per_rise() {
    let (mut ioapic, mut apic) = rig();
    redirect(&mut ioapic, 2, 0x30);
    ioapic.set_line(2, true);
    ioapic.set_line(2, true);
    assert_eq!(take(&mut apic), Some(0x30));
    apic.mmio_write(0xb0, 4, 0, 0);
    assert_eq!(take(&mut apic), None);
    ioapic.set_line(2, false);
    ioapic.set_line(2, true);
    assert_eq!(take(&mut apic), Some(0x30));
}

#[test]
fn an_edge_at_a_masked_pin_is_lost_and_a_level_is_not() {
    let (mut ioapic, mut apic) = rig();
    redirect(&mut ioapic, 4, 1 << 16 | 0x34);
    redirect(&mut ioapic, 9, 1 << 16 | LEVEL | 0x39);
    ioapic.set_line(4, true);
    ioapic.set_line(9, true);
    redirect(&mut ioapic, 4, 0x34);
    assert_eq!(take(&mut apic), None);
    redirect(&mut ioapic, 9, LEVEL | 0x39);
    assert_eq!(take(&mut apic), Some(0x39));
}

#[test]
fn a_level_interrupts_again_after_its_end_as_long_as_it_is_asserted() {
    let (mut ioapic, mut apic) = rig();
    redirect(&mut ioapic, 20, LEVEL | 0x54);
    ioapic.set_line(20, true);
    assert_eq!(read(&mut ioapic, 0x10 + 40) & REMOTE_IRR, REMOTE_IRR);
    for _ in 0..3 {
        assert_eq!(take(&mut apic), Some(0x54));
        ioapic.set_line(20, false);
        ioapic.set_line(20, true);
        apic.pull();
        assert_eq!(apic.deliverable(), None, "none while one is under way");
        let vector = apic.mmio_write(0xb0, 4, 0, 0);
        assert_eq!(vector, Some(0x54));
        ioapic.end_of_interrupt(0x54);
    }
    take(&mut apic);
    ioapic.set_line(20, false);
    apic.mmio_write(0xb0, 4, 0, 0);
    ioapic.end_of_interrupt(0x54);
    assert_eq!(take(&mut apic), None);
    assert_eq!(read(&mut ioapic, 0x10 + 40) & REMOTE_IRR, 0);
}

#[test]
fn the_eoi_register_ends_an_interrupt_too() {
    let (mut ioapic, mut apic) = rig();
    redirect(&mut ioapic, 20, LEVEL | 0x54);
    ioapic.set_line(20, true);
    take(&mut apic);
    ioapic.set_line(20, false);
    ioapic.mmio_write(0x40, 4, 0x53);
    assert_eq!(read(&mut ioapic, 0x10 + 40) & REMOTE_IRR, REMOTE_IRR, "another vector");
    ioapic.mmio_write(0x40, 4, 0x54);
    assert_eq!(read(&mut ioapic, 0x10 + 40) & REMOTE_IRR, 0);
}

#[test]
fn switching_to_edge_clears_remote_irr() {
    let (mut ioapic, mut apic) = rig();
    redirect(&mut ioapic, 20, LEVEL | 0x54);
    ioapic.set_line(20, true);
    take(&mut apic);
    redirect(&mut ioapic, 20, 1 << 16 | 0x54);
    assert_eq!(read(&mut ioapic, 0x10 + 40) & REMOTE_IRR, 0);
    redirect(&mut ioapic, 20, LEVEL | 0x54);
    apic.mmio_write(0xb0, 4, 0, 0);
    assert_eq!(take(&mut apic), Some(0x54));
}

#[test]
fn what_nobody_accepts_does_not_block_the_pin() {
    let (mut ioapic, mut apic) = rig();
    redirect(&mut ioapic, 20, 7 << 56 | LEVEL | 0x54);
    ioapic.set_line(20, true);
    assert_eq!(read(&mut ioapic, 0x10 + 40) & REMOTE_IRR, 0);
    redirect(&mut ioapic, 20, LEVEL | 0x54);
    assert_eq!(take(&mut apic), Some(0x54));
}

#[test]
fn status_bits_can_not_be_written() {
    let (mut ioapic, _) = rig();
    redirect(&mut ioapic, 5, !(1 << 15));
    assert_eq!(read(&mut ioapic, 0x1a), 0x1_2fff);
    assert_eq!(read(&mut ioapic, 0x1b), 0xff00_0000);
}

#[test]
fn narrow_accesses_are_answered_as_bytes_of_the_register() {
    let (mut ioapic, _) = rig();
    ioapic.mmio_write(0x00, 1, 1);
    assert_eq!(ioapic.mmio_read(0x10, 1), 0x20);
    assert_eq!(ioapic.mmio_read(0x12, 1), 0x17);
    assert_eq!(ioapic.mmio_read(0x12, 2), 0x17);
    assert_eq!(ioapic.mmio_read(0x20, 4), 0);
    ioapic.mmio_write(0x00, 1, 0x10);
    ioapic.mmio_write(0x10, 1, 0x55);
    ioapic.mmio_write(0x11, 4, 0x55);
    assert_eq!(ioapic.mmio_read(0x10, 4), 1 << 16);
}

#[test]
fn random_accesses_keep_remote_irr_and_its_set_in_step() {
    let (mut ioapic, mut apic) = rig();
    let mut random = Random::new(0x82093);
    for _ in 0..300_000 {
        let (r, value) = (random.next(), random.next() & random.next());
        match r & 7 {
            0 | 1 => ioapic.set_line((r >> 8) as u8 & 31, r & 32 != 0),
            2 => ioapic.end_of_interrupt((r >> 8) as u8),
            3 => {
                ioapic.mmio_read(r >> 8 & 0xfff, random.size());
            }
            4 => ioapic.mmio_write(r >> 8 & 0xfff, random.size(), value),
            5 => {
                if take(&mut apic).is_some()
                    && let Some(vector) = apic.mmio_write(0xb0, 4, 0, 0)
                {
                    ioapic.end_of_interrupt(vector);
                }
            }
            _ => write(&mut ioapic, 0x10 + (r >> 8 & 63) as u8, value as u32),
        }
        for pin in 0..PINS {
            let waits = ioapic.table[pin] & entry::REMOTE_IRR != 0;
            assert_eq!(waits, ioapic.awaiting_eoi & 1 << pin != 0);
            assert!(!waits || ioapic.table[pin] & entry::LEVEL != 0);
        }
    }
}
