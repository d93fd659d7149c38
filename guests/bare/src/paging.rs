//! The page tables: [`entry!`](crate::entry!) maps the first 4 GiB one to one. What is above is free.
#![allow(unsafe_code)] // `Table::set` is the caller's responsibility.
use core::sync::atomic::{AtomicU64, Ordering};

/// A table of any level.
#[repr(C, align(4096))]
pub struct Table([AtomicU64; 512]);

impl Table {
    /// One that maps nothing.
    #[allow(clippy::new_without_default)] // For statics.
    pub const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; 512])
    }

    /// Its physical address.
    pub fn address(&self) -> u64 {
        &raw const *self as u64
    }

    /// An entry; `index` counts modulo 512.
    pub fn get(&self, index: usize) -> u64 {
        self.0[index % 512].load(Ordering::SeqCst)
    }

    /// Writes an entry; `index` counts modulo 512.
    ///
    /// # Safety
    /// Where the program is stays mapped as it was, and it is mapped nowhere else, as far as its own loads
    /// and stores reach.
    pub unsafe fn set(&self, index: usize, entry: u64) {
        self.0[index % 512].store(entry, Ordering::SeqCst);
    }
}

/// The root.
pub static PML4: Table = Table::new();
/// The first 512 GiB, of which [`DIRECTORIES`] map four.
pub static PDPT: Table = Table::new();
/// A GiB each.
pub static DIRECTORIES: [Table; 4] = [const { Table::new() }; 4];
