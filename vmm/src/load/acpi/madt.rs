//! Multiple APIC Description Table (ACPI 6.5, 5.2.12).
use super::table;
use crate::platform::map;
use alloc::vec::Vec;

/// An xAPIC ID fits in 8 bits, and 255 is the broadcast.
const XAPIC_IDS: u32 = 255;
/// The machine also has two 8259 (flags, bit 0).
const PCAT_COMPAT: u32 = 1;
/// MPS INTI flags: polarity and trigger mode as the bus has them.
const CONFORMS: u16 = 0;
/// MPS INTI flags: active high, level-triggered.
const HIGH_LEVEL: u16 = 0xd;

/// For vCPUs with the APIC IDs 0, 1, 2 and so on, which are also their processor UIDs in the DSDT.
pub(super) fn build(vcpus: u32) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend((map::LOCAL_APIC_BASE as u32).to_le_bytes());
    body.extend(PCAT_COMPAT.to_le_bytes());
    for id in 0..vcpus {
        const ENABLED: [u8; 4] = 1u32.to_le_bytes();
        if id < XAPIC_IDS {
            body.extend([0, 8, id as u8, id as u8]);
            body.extend(ENABLED);
        } else {
            body.extend([9, 16, 0, 0]);
            body.extend(id.to_le_bytes());
            body.extend(ENABLED);
            body.extend(id.to_le_bytes());
        }
    }
    body.extend([1, 12, map::IOAPIC_ID, 0]);
    body.extend((map::IOAPIC_BASE as u32).to_le_bytes());
    body.extend(0u32.to_le_bytes()); // First GSI
    interrupt_override(&mut body, map::PIT_IRQ, map::PIT_GSI, CONFORMS);
    interrupt_override(&mut body, map::SCI_IRQ, map::SCI_IRQ, HIGH_LEVEL);
    // NMI at LINT1 of every processor.
    body.extend([4, 6, 0xff, 0, 0, 1]);
    if vcpus > XAPIC_IDS {
        body.extend([0xa, 12, 0, 0, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0]);
    }
    table::build(b"APIC", 5, &body)
}

fn interrupt_override(body: &mut Vec<u8>, irq: u8, gsi: u8, flags: u16) {
    body.extend([2, 10, 0, irq]);
    body.extend(u32::from(gsi).to_le_bytes());
    body.extend(flags.to_le_bytes());
}
