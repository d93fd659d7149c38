use super::bus::*;
use crate::pci::{Address, BusRange, CapabilityId, Class, Found, Scan};
use alloc::sync::Arc;
use alloc::vec::Vec;
use std::string::{String, ToString};

fn addresses(bus: &Arc<FakeBus>) -> Vec<String> {
    Scan::new(bus.clone()).all().iter().map(|f| f.address.to_string()).collect()
}

fn endpoint() -> FakeFunction {
    FakeFunction::new(0x1af4, 0x1042, 0x010000)
}

#[test]
fn functions_are_found_behind_bridges_and_on_the_bus_of_a_second_host_bridge() {
    let mut many = endpoint();
    many.bytes[0x0e] = 0x80;
    let bus = FakeBus::with(
        255,
        [
            (0, 0, 0, FakeFunction::new(0x8086, 0x29c0, 0x060000)),
            (0, 2, 0, many),
            (0, 2, 7, endpoint()),
            (0, 3, 0, FakeFunction::bridge(1, 2)),
            (1, 4, 0, FakeFunction::bridge(2, 2)),
            (2, 31, 0, endpoint()),
            (0x80, 5, 0, endpoint()),
        ],
    );
    assert_eq!(
        addresses(&bus),
        ["00:00.0", "00:02.0", "00:02.7", "00:03.0", "01:04.0", "02:1f.0", "80:05.0"]
    );
    let all = Scan::new(bus).all();
    let last = all.iter().find(|f| f.address == Address::new(0, 2, 31, 0)).unwrap();
    assert_eq!(last.path, [Address::new(0, 0, 3, 0), Address::new(0, 1, 4, 0)]);
    assert_eq!((last.vendor, last.device, last.class), (0x1af4, 0x1042, Class(0x010000)));
}

#[test]
fn a_function_beyond_0_of_a_device_that_has_only_one_is_not_asked_for() {
    let bus = FakeBus::with(0, [(0, 1, 0, endpoint()), (0, 1, 1, endpoint()), (0, 2, 3, endpoint())]);
    assert_eq!(addresses(&bus), ["00:01.0"]);
}

#[test]
fn behind_a_port_only_device_0_is_looked_for() {
    let bus =
        FakeBus::with(3, [(0, 1, 0, FakeFunction::port(3)), (3, 0, 0, endpoint()), (3, 1, 0, endpoint())]);
    assert_eq!(addresses(&bus), ["00:01.0", "03:00.0"]);
}

#[test]
fn bridges_that_lead_back_nowhere_or_to_where_another_leads_are_not_followed() {
    let bus = FakeBus::with(
        9,
        [
            (0, 1, 0, FakeFunction::bridge(0, 0)),
            (0, 2, 0, FakeFunction::bridge(1, 3)),
            (1, 1, 0, FakeFunction::bridge(1, 1)),
            (1, 2, 0, FakeFunction::bridge(0, 9)),
            (1, 3, 0, FakeFunction::bridge(3, 2)),
            (1, 4, 0, FakeFunction::bridge(20, 20)),
            (0, 3, 0, FakeFunction::bridge(1, 3)),
        ],
    );
    assert_eq!(addresses(&bus).len(), 7, "each once");
    let bridges: Vec<Found> = Scan::new(bus).all().into_iter().filter(|f| f.bridge.is_some()).collect();
    assert_eq!(bridges.len(), 7);
}

#[test]
fn nothing_is_written_while_looking() {
    let bus = FakeBus::with(255, [(0, 1, 0, FakeFunction::port(3)), (3, 0, 0, endpoint())]);
    *bus.watch.lock() = Some(|_, offset| panic!("a write at {offset:#x}"));
    assert_eq!(addresses(&bus).len(), 2);
}

#[test]
fn a_segment_of_its_own_has_its_own_buses() {
    let mut bus = FakeBus::new(1);
    bus.ranges.push(BusRange { segment: 1, first: 0, last: 1 });
    bus.functions.lock().insert(Address::new(1, 0, 0, 0), FakeFunction::bridge(1, 1));
    bus.functions.lock().insert(Address::new(1, 1, 0, 0), endpoint());
    bus.functions.lock().insert(Address::new(0, 1, 0, 0), endpoint());
    assert_eq!(addresses(&Arc::new(bus)), ["0001:00:00.0", "0001:01:00.0", "01:00.0"]);
}

#[test]
fn a_list_of_capabilities_that_runs_in_a_circle_or_into_the_header_ends() {
    let mut function = endpoint();
    function.capability(0x40, 5, 0x50).capability(0x50, 0x11, 0x43).capability(0x60, 1, 0);
    let bus = FakeBus::with(0, [(0, 1, 0, function)]);
    let config = config(&bus, 0, 1, 0);
    let list = || config.capabilities().map(|c| (c.id.0, c.offset)).collect::<Vec<_>>();
    assert_eq!(list(), [(5, 0x40), (0x11, 0x50)], "the last leads back to the first: bits 1:0 don't count");
    bus.change(config.address(), |f| f.bytes[0x51] = 0x10);
    assert_eq!(list().len(), 2, "an offset in the header");
    bus.change(config.address(), |f| f.bytes[6] = 0);
    assert_eq!(config.capability(CapabilityId::MSI), None, "no list at all");
}
