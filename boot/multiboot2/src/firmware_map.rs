//! The firmware's memory map, as Multiboot2 passes it on: entries in any order, of a size that is told.
//!
//! On a BIOS machine that is the list of INT 15h, E820h (ACPI 6.5, 15.1); on a UEFI machine the descriptors
//! of `GetMemoryMap` as they were when boot services ended (UEFI 2.10, 7.2.3). What they mean for us is said
//! in claims, of which `loader::memory_map` makes one map: there, entries that wrap are dropped, and where two
//! disagree the more careful one wins.
use crate::information::{u32_at, u64_at};
use handover::MemoryKind;
use loader::memory_map::{Claim, FirmwareType};
use mm::addr::PAGE;

/// The map of one firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirmwareMap<'a> {
    entries: &'a [u8],
    entry_bytes: usize,
    efi: bool,
}

/// Bytes of the fields that are read of an entry.
const BIOS_FIELDS: usize = 20;
const EFI_FIELDS: usize = 40;

impl<'a> FirmwareMap<'a> {
    /// From the body of a memory-map tag (Multiboot2 2.0, 3.6.8); `None` if entries of that size cannot be.
    pub fn bios(body: &'a [u8]) -> Option<Self> {
        Self::new(body, BIOS_FIELDS, false)
    }

    /// From the body of an EFI memory-map tag (3.6.17).
    pub fn efi(body: &'a [u8]) -> Option<Self> {
        Self::new(body, EFI_FIELDS, true)
    }

    fn new(body: &'a [u8], fields: usize, efi: bool) -> Option<Self> {
        let entry_bytes = u32_at(body, 0) as usize;
        let entries = body.get(8..)?;
        if entry_bytes >= fields { Some(Self { entries, entry_bytes, efi }) } else { None }
    }

    /// What the entries say.
    pub fn claims(self) -> impl Iterator<Item = Claim> + Clone + 'a {
        let claim = if self.efi { efi_claim } else { bios_claim };
        self.entries.chunks_exact(self.entry_bytes).filter_map(claim)
    }
}

fn bios_claim(entry: &[u8]) -> Option<Claim> {
    let kind = match u32_at(entry, 16) {
        1 => MemoryKind::USABLE,
        3 => MemoryKind::ACPI_RECLAIMABLE,
        4 => MemoryKind::ACPI_NVS,
        5 => MemoryKind::UNUSABLE,
        _ => MemoryKind::RESERVED,
    };
    Claim::new(u64_at(entry, 0), u64_at(entry, 8), kind)
}

fn efi_claim(descriptor: &[u8]) -> Option<Claim> {
    const CONVENTIONAL: u32 = 7;
    let kind = match u32_at(descriptor, 0) {
        // Loader code and data: GRUB's own, which is gone. What it left for us is claimed one by one.
        1 | 2 => CONVENTIONAL,
        kind => kind,
    };
    let kind = FirmwareType(kind).kind(u64_at(descriptor, 32));
    Claim::new(u64_at(descriptor, 8), u64_at(descriptor, 24).checked_mul(PAGE)?, kind)
}
