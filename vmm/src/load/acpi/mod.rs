//! The ACPI tables that describe the virtual PC to its guest (ACPI 6.5; PCI Firmware Specification 3.3 for
//! MCFG). What they describe is in [`crate::platform::map`].
//!
//! ```text
//!  RSDP ──► XSDT ──► FADT ──► FACS
//!                     │  └──► DSDT   PCI host bridge, ISA devices, processors, \_S5
//!                     MADT           local APICs, IOAPIC, interrupt overrides
//!                     MCFG           memory-mapped PCI configuration space
//! ```
//!
//! They lie where a BIOS has them, from 0xe0000 on, with the RSDP first, where guests search it. Should they
//! not fit there, all but the RSDP move to the end of the RAM below 4 GiB, which the memory map then says.
mod aml;
mod dsdt;
mod fadt;
mod madt;
mod resource;
mod table;

use super::place::Extent;
use crate::memory::{GuestMemory, Layout, NotRam};
use crate::platform::map;
use alloc::vec::Vec;
use mm::addr::{Gpa, PAGE};

/// Memory of the BIOS, which the tables lie in: reserved in the memory map.
pub(super) const BIOS_AREA: Extent = Extent { from: 0xe_0000, to: 0x10_0000 };
/// RAM that a machine must have for its tables and the kernel's parameters: the first megabyte.
pub(super) const SPACE: u64 = 1 << 20;
/// Tables begin at a multiple of this: the strictest, that of the FACS.
const ALIGNMENT: u64 = 64;

/// All tables with their places, ready to be written.
pub(super) struct Tables {
    rsdp: [u8; 36],
    /// Everything but the RSDP, as one block.
    block: Vec<u8>,
    block_at: u64,
    ram_end: u64,
}

impl Tables {
    /// Address of the RSDP.
    pub fn rsdp(&self) -> u64 {
        BIOS_AREA.from
    }

    /// Where ordinary RAM below 4 GiB ends and, if they did not fit elsewhere, the tables begin.
    pub fn ram_end(&self) -> u64 {
        self.ram_end
    }

    pub fn write(&self, memory: &GuestMemory) -> Result<(), NotRam> {
        // The rest of the area is zeroed: a guest that restarts finds no tables of its former life.
        memory.zero(Gpa::new(BIOS_AREA.from), BIOS_AREA.bytes())?;
        memory.write(Gpa::new(BIOS_AREA.from), &self.rsdp)?;
        memory.write(Gpa::new(self.block_at), &self.block)
    }
}

/// Builds the tables for a machine of `vcpus` vCPUs. `None` where its RAM has no room for them.
pub(super) fn place(layout: Layout, vcpus: u32) -> Option<Tables> {
    let in_bios = BIOS_AREA.from + ALIGNMENT;
    let block = build(in_bios, vcpus);
    let fits = block.len() as u64 <= BIOS_AREA.to - in_bios;
    let (block, block_at, ram_end) = if fits {
        (block, in_bios, layout.low_end)
    } else {
        let at = layout.low_end.checked_sub(block.len() as u64)? & !(PAGE - 1);
        (build(at, vcpus), at, at)
    };
    if ram_end < SPACE {
        return None;
    }
    Some(Tables { rsdp: rsdp(block_at), block, block_at, ram_end })
}

/// All tables but the RSDP, the XSDT first, for the address `at`.
fn build(at: u64, vcpus: u32) -> Vec<u8> {
    let dsdt = dsdt::build(vcpus);
    let madt = madt::build(vcpus);
    let mcfg = mcfg();
    // Places first, since the tables refer to each other: XSDT, FACS, DSDT, FADT, MADT, MCFG.
    const XSDT_BYTES: u64 = table::HEADER_BYTES as u64 + 3 * 8;
    let mut next = at;
    let mut place = |bytes: u64| {
        let here = next.next_multiple_of(ALIGNMENT);
        next = here + bytes;
        here
    };
    let xsdt_at = place(XSDT_BYTES);
    let facs_at = place(fadt::FACS_BYTES as u64);
    let dsdt_at = place(dsdt.len() as u64);
    let fadt = fadt::build(facs_at, dsdt_at);
    let fadt_at = place(fadt.len() as u64);
    let madt_at = place(madt.len() as u64);
    let mcfg_at = place(mcfg.len() as u64);

    let xsdt = table::build(b"XSDT", 1, [fadt_at, madt_at, mcfg_at].map(u64::to_le_bytes).as_flattened());
    let mut block = Vec::new();
    let facs = fadt::facs();
    let parts: [(u64, &[u8]); 6] = [
        (xsdt_at, &xsdt),
        (facs_at, &facs),
        (dsdt_at, &dsdt),
        (fadt_at, &fadt),
        (madt_at, &madt),
        (mcfg_at, &mcfg),
    ];
    for (place, bytes) in parts {
        block.resize((place - at) as usize, 0);
        block.extend_from_slice(bytes);
    }
    block
}

/// Root System Description Pointer, version 2 (ACPI 6.5, 5.2.5.3). There is no RSDT: every 64-bit and
/// every ACPI 2.0 guest takes the XSDT.
fn rsdp(xsdt: u64) -> [u8; 36] {
    let mut rsdp = [0; 36];
    rsdp[..8].copy_from_slice(b"RSD PTR ");
    rsdp[9..15].copy_from_slice(table::OEM_ID);
    rsdp[15] = 2;
    rsdp[20..24].copy_from_slice(&36u32.to_le_bytes());
    rsdp[24..32].copy_from_slice(&xsdt.to_le_bytes());
    // The first checksum covers 20 bytes, the second all.
    rsdp[8] = table::checksum(&rsdp[..20]);
    rsdp[32] = table::checksum(&rsdp);
    rsdp
}

/// Memory-mapped configuration space (PCI Firmware Specification 3.3, 4.1.2).
fn mcfg() -> Vec<u8> {
    let mut body = [0; 8 + 16];
    body[8..16].copy_from_slice(&map::ECAM.start.to_le_bytes());
    // Segment 0, first bus 0.
    body[19] = map::ECAM_LAST_BUS;
    table::build(b"MCFG", 1, &body)
}

#[cfg(test)]
mod tests;
