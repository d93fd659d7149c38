//! The zero page: `struct boot_params` (Linux, Documentation/arch/x86/zero-page.rst and boot.rst).
use super::acpi::Tables;
use super::bzimage::{HEADER, HEADER_MAX_END};
use super::e820::Entry;
use super::low_memory::{CMDLINE, PARAMETERS, SETUP_DATA};
use super::place::Extent;
use crate::memory::{GuestMemory, NotRam};
use mm::addr::Gpa;

const SCREEN_ORIG_VIDEO_MODE: usize = 0x006;
const ACPI_RSDP_ADDR: usize = 0x070;
const EXT_RAMDISK_IMAGE: usize = 0x0c0;
const EXT_RAMDISK_SIZE: usize = 0x0c4;
const E820_ENTRIES: usize = 0x1e8;
const BOOT_FLAG: usize = 0x1fe;
const MAGIC: usize = 0x202;
const VERSION: usize = 0x206;
const TYPE_OF_LOADER: usize = 0x210;
const LOADFLAGS: usize = 0x211;
const RAMDISK_IMAGE: usize = 0x218;
const RAMDISK_SIZE: usize = 0x21c;
const CMD_LINE_PTR: usize = 0x228;
const KERNEL_ALIGNMENT: usize = 0x230;
const SETUP_DATA_POINTER: usize = 0x250;
const E820_TABLE: usize = 0x2d0;

const SETUP_RNG_SEED: u32 = 9;
/// `type_of_loader`: a loader without an assigned number.
const UNDEFINED_LOADER: u8 = 0xff;
/// `loadflags`: LOADED_HIGH.
const LOADED_HIGH: u8 = 1;
/// A 16-colour VGA graphics mode. Linux's text console leaves such a screen alone, and would otherwise
/// drive a VGA adapter that is not there.
const NO_TEXT_CONSOLE: u8 = 0x12;

/// Writes the zero page. `header` is the kernel's setup header from offset 0x1f1 on, or empty for an ELF
/// kernel.
pub(super) fn write(
    memory: &GuestMemory,
    header: &[u8],
    map: &[Entry],
    initrd: &Extent,
    tables: &Tables,
    seed: Option<&[u8; 32]>,
) -> Result<(), NotRam> {
    let mut page = [0u8; 4096];
    page[SCREEN_ORIG_VIDEO_MODE] = NO_TEXT_CONSOLE;
    put(&mut page, ACPI_RSDP_ADDR, &tables.rsdp().to_le_bytes());
    if header.is_empty() {
        put(&mut page, BOOT_FLAG, &0xaa55u16.to_le_bytes());
        put(&mut page, MAGIC, b"HdrS");
        put(&mut page, VERSION, &0x20fu16.to_le_bytes());
        put(&mut page, KERNEL_ALIGNMENT, &(2u32 << 20).to_le_bytes());
    } else {
        put(&mut page, HEADER, &header[..header.len().min(HEADER_MAX_END - HEADER)]);
    }
    page[TYPE_OF_LOADER] = UNDEFINED_LOADER;
    page[LOADFLAGS] |= LOADED_HIGH;
    put_halves(&mut page, RAMDISK_IMAGE, EXT_RAMDISK_IMAGE, initrd.from);
    put_halves(&mut page, RAMDISK_SIZE, EXT_RAMDISK_SIZE, initrd.bytes());
    put(&mut page, CMD_LINE_PTR, &(CMDLINE as u32).to_le_bytes());

    page[E820_ENTRIES] = map.len() as u8;
    for (i, entry) in map.iter().enumerate() {
        let at = E820_TABLE + i * 20;
        put(&mut page, at, &entry.extent.from.to_le_bytes());
        put(&mut page, at + 8, &entry.extent.bytes().to_le_bytes());
        put(&mut page, at + 16, &(entry.kind as u32).to_le_bytes());
    }

    put(&mut page, SETUP_DATA_POINTER, &0u64.to_le_bytes());
    if let Some(seed) = seed {
        // struct setup_data: next, type, length, data.
        let mut node = [0u8; 16 + 32];
        put(&mut node, 8, &SETUP_RNG_SEED.to_le_bytes());
        put(&mut node, 12, &32u32.to_le_bytes());
        put(&mut node, 16, seed);
        memory.write(Gpa::new(SETUP_DATA), &node)?;
        put(&mut page, SETUP_DATA_POINTER, &SETUP_DATA.to_le_bytes());
    }
    memory.write(Gpa::new(PARAMETERS), &page)
}

fn put(page: &mut [u8], at: usize, bytes: &[u8]) {
    page[at..at + bytes.len()].copy_from_slice(bytes);
}

/// A 64-bit value whose halves are in two fields.
fn put_halves(page: &mut [u8], low: usize, high: usize, value: u64) {
    put(page, low, &(value as u32).to_le_bytes());
    put(page, high, &((value >> 32) as u32).to_le_bytes());
}
