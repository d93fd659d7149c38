//! Differentiated System Description Table: the devices that can't be found by probing.
//!
//! There is no `_OSC` for the host bridge: without it a guest leaves hot-plug, power management and error
//! reporting of PCI Express alone, none of which a virtual device has. There is no `_PIC` and there are no
//! interrupt links: PCI interrupts reach the IOAPIC alone.
use super::aml::{self, device, eisa_id, integer, name, package, scope};
use super::resource::Resources;
use super::table;
use crate::platform::map;
use alloc::format;
use alloc::vec::Vec;

/// For vCPUs whose processor UIDs are 0, 1, 2 and so on.
pub(super) fn build(vcpus: u32) -> Vec<u8> {
    let s5 = u32::from(map::SLP_TYP_S5);
    let soft_off = name("_S5_", package(&[integer(s5), integer(s5), integer(0), integer(0)]));
    let mut devices = alloc::vec![host_bridge(), board(), pic(), pit(), rtc(), com1()];
    devices.extend((0..vcpus).map(processor));
    let terms = [soft_off, scope("\\_SB_", &devices)].concat();
    table::build(b"DSDT", 2, &terms)
}

fn crs(resources: Resources) -> Vec<u8> {
    name("_CRS", resources.finish())
}

/// The PCI Express host bridge.
fn host_bridge() -> Vec<u8> {
    let mut windows =
        Resources::default().buses(map::ECAM_LAST_BUS).ports(map::PCI_ADDRESS, 8).port_window(map::PCI_PORTS);
    for window in map::PCI_WINDOWS {
        windows = windows.memory_window(window);
    }
    device(
        "PCI0",
        &[
            name("_HID", eisa_id(b"PNP0A08")),
            name("_CID", eisa_id(b"PNP0A03")),
            name("_UID", integer(0)),
            name("_SEG", integer(0)),
            name("_BBN", integer(0)),
            crs(windows),
            name("_PRT", interrupt_routing()),
        ],
    )
}

/// `_PRT`: pins of the devices on bus 0, wired to the IOAPIC (ACPI 6.5, 6.2.13). Slot 0 is the bridge.
fn interrupt_routing() -> Vec<u8> {
    const ANY_FUNCTION: u32 = 0xffff;
    let route = |slot: u8, pin: u8| {
        let address = u32::from(slot) << 16 | ANY_FUNCTION;
        let gsi = u32::from(map::intx_gsi(slot, pin));
        package(&[integer(address), integer(pin.into()), integer(0), integer(gsi)])
    };
    let routes: Vec<_> = (1..32).flat_map(|slot| (0..4).map(move |pin| route(slot, pin))).collect();
    package(&routes)
}

/// What else decodes addresses: PCI configuration space, power management, the 8259's edge and level
/// control. Guests use the configuration space only where this reserves it.
fn board() -> Vec<u8> {
    let pm = map::PM_PORTS;
    let resources = Resources::default()
        .memory(map::ECAM)
        .ports(*pm.start(), (pm.end() - pm.start() + 1) as u8)
        .ports(map::PIC_ELCR, 2)
        .ports(map::PORT_B, 1)
        .ports(map::POST, 1)
        .ports(map::PORT_A, 1);
    device("BORD", &[name("_HID", eisa_id(b"PNP0C02")), name("_UID", integer(0)), crs(resources)])
}

fn isa(path: &str, id: &[u8; 7], resources: Resources) -> Vec<u8> {
    device(path, &[name("_HID", eisa_id(id)), crs(resources)])
}

fn pic() -> Vec<u8> {
    const CASCADE: u8 = 2;
    let ports = Resources::default().ports(map::PIC_MASTER, 2).ports(map::PIC_SLAVE, 2);
    isa("PIC_", b"PNP0000", ports.interrupt(CASCADE))
}

fn pit() -> Vec<u8> {
    isa("PIT_", b"PNP0100", Resources::default().ports(map::PIT, 4).interrupt(map::PIT_IRQ))
}

fn rtc() -> Vec<u8> {
    isa("RTC_", b"PNP0B00", Resources::default().ports(map::RTC, 2).interrupt(map::RTC_IRQ))
}

fn com1() -> Vec<u8> {
    let resources = Resources::default().ports(map::COM1, 8).interrupt(map::COM1_IRQ);
    device("COM1", &[name("_HID", eisa_id(b"PNP0501")), name("_UID", integer(1)), crs(resources)])
}

/// A processor. Its `_UID` ties it to its entry in the MADT (ACPI 6.5, 8.4).
fn processor(uid: u32) -> Vec<u8> {
    let path = format!("C{:03X}", uid & 0xfff);
    device(&path, &[name("_HID", aml::string("ACPI0007")), name("_UID", integer(uid))])
}
