//! Page tables: the identity mapping that `boot` made, and a window of 2 MiB above it whose 4 KiB pages a
//! case maps as it likes.
use crate::instructions::{cr3, invlpg, set_cr3};

#[repr(C, align(4096))]
struct Table([u64; 512]);

/// RAM for a case to map, write and execute as it likes, by its address only.
#[repr(C, align(4096))]
pub struct Pages<const N: usize>([[u8; 4096]; N]);

impl<const N: usize> Pages<N> {
    /// Zeroes.
    pub const NEW: Self = Self([[0; 4096]; N]);
}

#[unsafe(no_mangle)]
static mut PML4: Table = Table([0; 512]);
#[unsafe(no_mangle)]
static mut PDPT: Table = Table([0; 512]);
/// Four of the identity mapping; the fifth is the window's.
#[unsafe(no_mangle)]
static mut DIRECTORIES: [Table; 5] = [const { Table([0; 512]) }; 5];
static mut WINDOW_TABLE: Table = Table([0; 512]);

/// Bits of an entry.
pub const PRESENT: u64 = 1;
pub const WRITABLE: u64 = 2;
pub const USER: u64 = 4;
pub const DIRTY: u64 = 0x40;
pub const NO_EXECUTE: u64 = 1 << 63;

/// The window's first address.
pub const WINDOW: u64 = 1 << 32;

/// The root's physical address.
pub fn root() -> u64 {
    &raw const PML4 as u64
}

/// Maps page `number` of the window (0 to 511); without [`PRESENT`] it is unmapped. Its address.
pub fn map(number: usize, physical: u64, bits: u64) -> u64 {
    let address = WINDOW + 4096 * number as u64;
    unsafe {
        let table = (&raw mut WINDOW_TABLE).cast::<u64>();
        table.add(number & 511).write_volatile(physical | bits);
        let directory = (&raw mut DIRECTORIES).cast::<u64>().add(4 * 512);
        directory.write_volatile(table as u64 | PRESENT | WRITABLE | USER);
    }
    invlpg(address);
    address
}

/// The entry of page `number` of the window.
pub fn entry(number: usize) -> u64 {
    unsafe { (&raw const WINDOW_TABLE).cast::<u64>().add(number & 511).read_volatile() }
}

/// Makes the page-table entry of the 2 MiB below `WINDOW + 2 MiB` point at `table`, which need not be RAM.
pub fn set_window_table(table: u64) {
    unsafe {
        let directory = (&raw mut DIRECTORIES).cast::<u64>().add(4 * 512);
        directory.write_volatile(table | PRESENT | WRITABLE | USER);
    }
    set_cr3(cr3());
}
