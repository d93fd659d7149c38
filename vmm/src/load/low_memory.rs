//! What the loader puts below 640 KiB, and the tables for a start in long mode.
//!
//! | address | what |
//! |---|---|
//! | `0x400` | BIOS data area: where the EBDA begins, and the size of the memory below it |
//! | `0x1000` | GDT |
//! | `0x2000` | boot_params, or hvm_start_info with its lists |
//! | `0x3000 .. 0x9000` | page tables: the first 4 GiB, identical, in 2 MiB pages |
//! | `0x9000` | setup_data: seed of the random numbers |
//! | `0x10000 .. 0x20000` | command line |
//! | `0x9fc00` | EBDA |
//!
//! All but the EBDA is ordinary RAM in the memory map: kernels copy what they want to keep before they use
//! that memory. The top of it stays free, because Linux's decompressor borrows the two pages below the EBDA
//! for its switch of paging modes.
use crate::memory::{GuestMemory, Layout, NotRam};
use alloc::vec::Vec;
use mm::addr::{Gpa, LARGE_PAGE, PAGE};

/// End of the RAM below the EBDA.
pub(super) const BIOS_RAM_END: u64 = 0x9_fc00;
const GDT: u64 = 0x1000;
/// boot_params or hvm_start_info.
pub(super) const PARAMETERS: u64 = 0x2000;
const PAGE_TABLES: u64 = 0x3000;
pub(super) const SETUP_DATA: u64 = 0x9000;
pub(super) const CMDLINE: u64 = 0x1_0000;
/// Most bytes of a command line, with its terminating zero.
pub(super) const CMDLINE_SPACE: u64 = 0x1_0000;

/// Page-table root for a start in long mode.
pub(super) const CR3: u64 = PAGE_TABLES;
/// Descriptors of the Linux boot protocol: null, unused, `__BOOT_CS` (0x10), `__BOOT_DS` (0x18), `__BOOT_TSS`.
pub(super) const GDT_BASE: u64 = GDT;
/// Bytes of the GDT.
pub(super) const GDT_BYTES: u64 = 48;

/// Writes the GDT and, for a start in long mode, the page tables.
pub(super) fn write_tables(memory: &GuestMemory, long: bool) -> Result<(), NotRam> {
    const CODE_64: u64 = 0x00af_9b00_0000_ffff;
    const CODE_32: u64 = 0x00cf_9b00_0000_ffff;
    const DATA: u64 = 0x00cf_9300_0000_ffff;
    // A busy TSS at 0 with a limit of 0x67, whose upper half is the next entry in long mode.
    const TSS: u64 = 0x0000_8b00_0000_0067;
    let code = if long { CODE_64 } else { CODE_32 };
    write_words(memory, GDT, [0, 0, code, DATA, TSS, 0].into_iter())?;
    if !long {
        return Ok(());
    }

    const LINK: u64 = 0x3; // Present, writable.
    const LARGE: u64 = 0x83; // Present, writable, a 2 MiB page.
    const DIRECTORIES: u64 = Layout::HIGH >> 30;
    let table = |first: u64| first..first + PAGE / 8;
    let pointers = PAGE_TABLES + PAGE;
    let directories = pointers + PAGE;
    write_words(memory, PAGE_TABLES, table(0).map(|i| if i == 0 { pointers | LINK } else { 0 }))?;
    let pointer = |i| if i < DIRECTORIES { (directories + i * PAGE) | LINK } else { 0 };
    write_words(memory, pointers, table(0).map(pointer))?;
    write_words(memory, directories, (0..DIRECTORIES * PAGE / 8).map(|i| (i * LARGE_PAGE) | LARGE))
}

fn write_words(memory: &GuestMemory, at: u64, words: impl Iterator<Item = u64>) -> Result<(), NotRam> {
    let bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
    memory.write(Gpa::new(at), &bytes)
}

/// Writes what BIOSes keep of themselves in RAM: the segment of the EBDA (0x40e), the KiB of RAM below it
/// (0x413), and the EBDA's own size in KiB.
pub(super) fn write_bios_area(memory: &GuestMemory) -> Result<(), NotRam> {
    memory.write(Gpa::new(0x40e), &((BIOS_RAM_END >> 4) as u16).to_le_bytes())?;
    memory.write(Gpa::new(0x413), &((BIOS_RAM_END >> 10) as u16).to_le_bytes())?;
    memory.zero(Gpa::new(BIOS_RAM_END), Layout::VIDEO.start - BIOS_RAM_END)?;
    memory.write(Gpa::new(BIOS_RAM_END), &[1])
}

/// Writes the command line with its zero. Its length was checked against [`CMDLINE_SPACE`].
pub(super) fn write_cmdline(memory: &GuestMemory, cmdline: &[u8]) -> Result<(), NotRam> {
    memory.write(Gpa::new(CMDLINE), cmdline)?;
    memory.zero(Gpa::new(CMDLINE + cmdline.len() as u64), 1)
}
