//! `struct hvm_start_info`, version 1 (Xen, xen/include/public/arch-x86/hvm/start_info.h).
use super::acpi::Tables;
use super::e820::Entry;
use super::low_memory::{CMDLINE, PARAMETERS};
use super::place::Extent;
use crate::memory::{GuestMemory, NotRam};
use alloc::vec::Vec;
use mm::addr::Gpa;

const MAGIC: u32 = 0x336e_c578;
const START_INFO_BYTES: u64 = 56;
/// `struct hvm_modlist_entry`: address, size, command line, reserved.
const MODULE_BYTES: u64 = 32;

/// Writes the start information with its module list and memory map behind it.
pub(super) fn write(
    memory: &GuestMemory,
    map: &[Entry],
    initrd: &Extent,
    tables: &Tables,
) -> Result<(), NotRam> {
    let modules = u32::from(initrd.bytes() != 0);
    let module_list = PARAMETERS + START_INFO_BYTES;
    let memory_map = module_list + MODULE_BYTES;

    let mut out = Vec::new();
    for word in [MAGIC, 1, 0, modules] {
        out.extend(word.to_le_bytes());
    }
    for address in [if modules == 0 { 0 } else { module_list }, CMDLINE, tables.rsdp(), memory_map] {
        out.extend(address.to_le_bytes());
    }
    for word in [map.len() as u32, 0] {
        out.extend(word.to_le_bytes());
    }
    for word in [initrd.from, initrd.bytes(), 0, 0] {
        out.extend(word.to_le_bytes());
    }
    for entry in map {
        out.extend(entry.extent.from.to_le_bytes());
        out.extend(entry.extent.bytes().to_le_bytes());
        out.extend((entry.kind as u32).to_le_bytes());
        out.extend(0u32.to_le_bytes());
    }
    memory.write(Gpa::new(PARAMETERS), &out)
}
