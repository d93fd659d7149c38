//! Frames for tables, and access to their entries.
#![allow(unsafe_code)] // tables are raw frames that the CPU reads as well

use core::sync::atomic::{AtomicU64, Ordering};

use super::error::PagingError;
use crate::addr::Hpa;

/// Where tables live: the kernel's heap, the loader's memory, or a test's.
///
/// # Safety
/// `allocate` returns frames of 4 KiB that nobody else uses until they are given to `free`, and `pointer`
/// returns where such a frame is mapped, readable and writable.
pub unsafe trait TableMemory {
    /// A frame for a table, content undefined, or `None` where there is no memory.
    fn allocate(&mut self) -> Option<Hpa>;

    /// Takes back a frame.
    ///
    /// # Safety
    /// It came from `allocate` (or is a table of adopted page tables), and no CPU can reach it any more.
    unsafe fn free(&mut self, table: Hpa);

    /// Where the frame is mapped.
    fn pointer(&self, table: Hpa) -> *mut [u64; 512];
}

// SAFETY: forwards to an implementation that keeps the promise.
unsafe impl<M: TableMemory> TableMemory for &mut M {
    fn allocate(&mut self) -> Option<Hpa> {
        (**self).allocate()
    }

    unsafe fn free(&mut self, table: Hpa) {
        // SAFETY: the caller's promise.
        unsafe { (**self).free(table) }
    }

    fn pointer(&self, table: Hpa) -> *mut [u64; 512] {
        (**self).pointer(table)
    }
}

/// Reads an entry. The CPU may set accessed and dirty bits at any time, so accesses are atomic.
#[inline(always)]
pub(super) fn read(memory: &impl TableMemory, table: Hpa, index: usize) -> u64 {
    // SAFETY: `table` is a table of ours, `index` is below 512, and entries are naturally aligned.
    unsafe { AtomicU64::from_ptr(entry(memory, table, index)) }.load(Ordering::Relaxed)
}

/// Writes an entry, after everything that was written before: a table is complete before it is reachable.
#[inline(always)]
pub(super) fn write(memory: &impl TableMemory, table: Hpa, index: usize, value: u64) {
    // SAFETY: as in `read`.
    unsafe { AtomicU64::from_ptr(entry(memory, table, index)) }.store(value, Ordering::Release);
}

#[inline(always)]
fn entry(memory: &impl TableMemory, table: Hpa, index: usize) -> *mut u64 {
    debug_assert!(index < 512);
    memory.pointer(table).cast::<u64>().wrapping_add(index)
}

/// Table frames in a chain through their first entries.
///
/// A link is the address of a frame, so it has no present bit: a CPU that still walks through a chained
/// table, by what it cached, finds nothing mapped.
pub(super) struct Chain {
    head: Option<Hpa>,
}

/// End of a chain. Frame 0 can be a link, so the end lies beyond the 52 bits of physical addresses.
const END: u64 = 1 << 62;

impl Chain {
    pub const EMPTY: Self = Self { head: None };

    pub const fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    /// Allocates `count` frames, or none.
    pub fn reserve(memory: &mut impl TableMemory, count: usize) -> Result<Self, PagingError> {
        let mut chain = Self::EMPTY;
        for _ in 0..count {
            match memory.allocate() {
                Some(table) => chain.push(memory, table),
                None => {
                    chain.free(memory);
                    return Err(PagingError::OutOfMemory);
                }
            }
        }
        Ok(chain)
    }

    /// Puts a table in that is in no other.
    pub fn push(&mut self, memory: &impl TableMemory, table: Hpa) {
        write(memory, table, 0, self.head.map_or(END, Hpa::get));
        self.head = Some(table);
    }

    /// Takes a frame out, filled with zeroes.
    pub fn pop_empty(&mut self, memory: &impl TableMemory) -> Option<Hpa> {
        let table = self.pop(memory)?;
        // SAFETY: the frame is in no table, so it is ours alone.
        unsafe { memory.pointer(table).cast::<u64>().write_bytes(0, 512) };
        Some(table)
    }

    fn pop(&mut self, memory: &impl TableMemory) -> Option<Hpa> {
        let table = self.head?;
        let link = read(memory, table, 0);
        self.head = if link == END { None } else { Some(Hpa::new_truncate(link)) };
        Some(table)
    }

    /// Gives back all frames. No CPU can reach them any more.
    pub fn free(mut self, memory: &mut impl TableMemory) {
        while let Some(table) = self.pop(memory) {
            // SAFETY: chained frames are in no table; the caller saw to the CPUs' caches.
            unsafe { memory.free(table) };
        }
    }
}
