//! Page tables: the identity mapping of the first 4 GiB, in which nothing is changed, and a window of 2 MiB
//! above it whose 4 KiB pages a case maps as it likes.
//!
//! What a case maps, writes and executes is RAM behind the program ([`ram`]), or a device.
#![allow(unsafe_code)] // Changes of the page tables.
use crate::instructions::{cr3, invlpg, set_cr3};
use bare::memory::{self, PROGRAM};
use bare::paging::{PDPT, PML4, Table};

/// The window's directory and table.
static DIRECTORY: Table = Table::new();
static WINDOW_TABLE: Table = Table::new();

/// Bits of an entry.
pub const PRESENT: u64 = 1;
pub const WRITABLE: u64 = 2;
pub const USER: u64 = 4;
pub const DIRTY: u64 = 0x40;
pub const NO_EXECUTE: u64 = 1 << 63;

const ALL: u64 = PRESENT | WRITABLE | USER;

/// The window's first address.
pub const WINDOW: u64 = 1 << 32;

/// Pages for [`ram`].
const RAM_PAGES: u64 = 64;

/// Address of page `number` of the RAM that cases have for themselves. Each has pages of its own; all begin
/// as zeroes.
pub const fn ram(number: u64) -> u64 {
    assert!(number < RAM_PAGES);
    PROGRAM.end + 4096 * number
}

/// The root's physical address.
pub fn root() -> u64 {
    PML4.address()
}

/// Adds the window to the address space.
pub fn set_up() {
    // SAFETY: above the identity mapping, where nothing is.
    unsafe {
        DIRECTORY.set(0, WINDOW_TABLE.address() | ALL);
        PDPT.set((WINDOW >> 30) as usize, DIRECTORY.address() | ALL);
    }
}

/// Maps page `number` of the window (0 to 511) to a page without anything of the program's; without
/// [`PRESENT`] it is unmapped. Its address.
pub fn map(number: usize, physical: u64, bits: u64) -> u64 {
    assert!(memory::is_free(physical, 4096), "a mapping of the program itself");
    // SAFETY: asserted.
    unsafe { WINDOW_TABLE.set(number, physical | bits) };
    let address = WINDOW + 4096 * number as u64;
    invlpg(address);
    address
}

/// The entry of page `number` of the window.
pub fn entry(number: usize) -> u64 {
    WINDOW_TABLE.get(number)
}

/// Has the window's translations come from a device.
///
/// # Safety
/// What the device reads as maps nothing of the program.
pub unsafe fn put_window_table_into(device: u64) {
    // SAFETY: the caller's promise; the window alone changes, and the root is the one that is used.
    unsafe {
        DIRECTORY.set(0, device | ALL);
        set_cr3(cr3());
    }
}

/// Fills RAM with a byte.
pub fn fill(address: u64, length: u64, value: u8) {
    for at in address..address + length {
        memory::store(at, value);
    }
}

/// Copies bytes to RAM.
pub fn write(address: u64, bytes: &[u8]) {
    for (at, &byte) in (address..).zip(bytes) {
        memory::store(at, byte);
    }
}
