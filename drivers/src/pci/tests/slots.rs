use super::bus::*;
use crate::pci::{Address, Found, Slot, SlotEvent};
use alloc::sync::Arc;

const PORT: Address = Address::new(0, 0, 1, 0);
const PLACE: Address = Address::new(0, 3, 0, 0);

fn disk() -> FakeFunction {
    FakeFunction::new(0x1b36, 0x0010, 0x010802)
}

fn slot(bus: &Arc<FakeBus>) -> Slot {
    let config = config(bus, 0, 1, 0);
    let found = Found::read(&config, Default::default()).unwrap();
    Slot::of(config, &found).unwrap()
}

fn plug(bus: &FakeBus, presence: u16) {
    bus.functions.lock().insert(PLACE, disk());
    bus.change(PORT, |p| p.bytes[0x5a] |= presence as u8);
}

fn power(bus: &FakeBus) -> u16 {
    bus.change(PORT, |p| p.get16(0x58) & 0x700)
}

#[test]
fn a_device_that_is_plugged_in_gets_power_and_is_told_once() {
    let bus = FakeBus::with(3, [(0, 1, 0, FakeFunction::port(3))]);
    bus.change(PORT, |p| p.bytes[0x59] = 0x07);
    let mut slot = slot(&bus);
    assert_eq!(slot.poll(), None);
    // Plugged in, without power: it does not answer yet.
    bus.change(PORT, |p| p.bytes[0x5a] = 0x49);
    assert_eq!(slot.poll(), None);
    assert_eq!(power(&bus), 0x100, "power and its indicator are on");
    assert_eq!(bus.change(PORT, |p| p.bytes[0x5a]), 0x40, "what was told is acknowledged");
    bus.functions.lock().insert(PLACE, disk());
    assert_eq!(slot.poll(), Some(SlotEvent::Came));
    assert_eq!(slot.poll(), None);
}

#[test]
fn what_was_there_from_the_start_is_no_news_and_its_end_is() {
    let bus = FakeBus::with(3, [(0, 1, 0, FakeFunction::port(3))]);
    plug(&bus, 0x48);
    let mut slot = slot(&bus);
    assert_eq!(slot.poll(), None);
    bus.functions.lock().remove(&PLACE);
    bus.change(PORT, |p| p.bytes[0x5a] = 0x08);
    assert_eq!(slot.poll(), Some(SlotEvent::Gone));
    assert_eq!(slot.poll(), None);
}

#[test]
fn a_device_that_was_out_for_a_moment_has_gone_and_come() {
    let bus = FakeBus::with(3, [(0, 1, 0, FakeFunction::port(3))]);
    plug(&bus, 0x40);
    let mut slot = slot(&bus);
    bus.change(PORT, |p| p.bytes[0x5a] |= 0x08);
    assert_eq!(slot.poll(), Some(SlotEvent::Gone));
    assert_eq!(slot.poll(), Some(SlotEvent::Came));
    assert_eq!(slot.poll(), None);
}

#[test]
fn one_look_without_an_answer_is_a_reset_two_are_the_end() {
    let bus = FakeBus::with(3, [(0, 1, 0, FakeFunction::port(3))]);
    // A slot that tells nothing, as with hot plug by ACPI.
    bus.change(PORT, |p| {
        p.put32(0x54, 0);
    });
    plug(&bus, 0);
    let mut slot = slot(&bus);
    bus.functions.lock().remove(&PLACE);
    assert_eq!(slot.poll(), None);
    plug(&bus, 0);
    assert_eq!(slot.poll(), None);
    bus.functions.lock().remove(&PLACE);
    assert_eq!((slot.poll(), slot.poll()), (None, Some(SlotEvent::Gone)));
    plug(&bus, 0);
    assert_eq!(slot.poll(), Some(SlotEvent::Came));
}

#[test]
fn another_device_in_its_place_is_not_taken_for_the_first() {
    let bus = FakeBus::with(3, [(0, 1, 0, FakeFunction::port(3))]);
    plug(&bus, 0x40);
    let mut slot = slot(&bus);
    bus.functions.lock().insert(PLACE, FakeFunction::new(0x144d, 0xa808, 0x010802));
    assert_eq!((slot.poll(), slot.poll()), (Some(SlotEvent::Gone), Some(SlotEvent::Came)));
}

#[test]
fn the_button_asks_for_the_device_and_release_takes_the_power_until_it_was_out() {
    let bus = FakeBus::with(3, [(0, 1, 0, FakeFunction::port(3))]);
    plug(&bus, 0x41);
    let mut slot = slot(&bus);
    assert_eq!(slot.poll(), None, "pressed before anybody looked");
    bus.change(PORT, |p| p.bytes[0x5a] |= 1);
    assert_eq!(slot.poll(), Some(SlotEvent::Wanted));
    assert_eq!(slot.poll(), None);
    slot.release();
    assert_eq!(power(&bus), 0x700);
    assert_eq!((slot.poll(), slot.poll()), (None, None), "it is still in the slot, and stays dark");
    assert_eq!(power(&bus), 0x700);
    bus.functions.lock().remove(&PLACE);
    bus.change(PORT, |p| p.bytes[0x5a] = 0x08);
    assert_eq!(slot.poll(), None);
    plug(&bus, 0x49);
    assert_eq!(slot.poll(), Some(SlotEvent::Came));
}

#[test]
fn a_port_without_a_slot_and_a_bridge_without_a_bus_have_nothing_to_look_at() {
    let bus = FakeBus::with(3, [(0, 1, 0, FakeFunction::port(3)), (0, 2, 0, FakeFunction::port(0))]);
    bus.change(PORT, |p| {
        p.put16(0x42, 0x42);
    });
    for device in [1, 2] {
        let config = config(&bus, 0, device, 0);
        let found = Found::read(&config, Default::default()).unwrap();
        assert!(Slot::of(config, &found).is_none());
    }
}
