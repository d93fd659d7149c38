//! Memory that outlives the loader: whole pages from the firmware.
#![allow(unsafe_code)] // Turns the firmware's page allocations into slices.
use core::ptr::NonNull;
use core::slice;
use handover::Extent;
use loader::obstacle::Obstacle;
use mm::addr::PAGE;
use uefi::boot::{self, AllocateType};
use uefi::mem::memory_map::MemoryType;

/// A run of zeroed pages that belongs to the holder. Never given back by itself: what the kernel is to
/// find must stay.
#[derive(Debug)]
pub struct Pages {
    start: NonNull<u8>,
    bytes: usize,
}

impl Pages {
    /// No memory at all.
    pub const EMPTY: Self = Self { start: NonNull::dangling(), bytes: 0 };

    /// Room for `bytes`, zeroed; `None` if the firmware has none.
    pub fn try_new(bytes: u64) -> Option<Self> {
        if bytes == 0 {
            return Some(Self::EMPTY);
        }
        let bytes = usize::try_from(bytes).ok()?;
        let count = bytes.div_ceil(PAGE as usize);
        let start = boot::allocate_pages(AllocateType::AnyPages, MemoryType::LOADER_DATA, count).ok()?;
        // SAFETY: the firmware gave us these pages, and nobody else has a pointer into them.
        unsafe { start.write_bytes(0, count * PAGE as usize) };
        Some(Self { start, bytes })
    }

    /// Room for `bytes` of `what`, zeroed.
    pub fn new(bytes: u64, what: &'static str) -> Result<Self, Obstacle> {
        Self::try_new(bytes).ok_or(Obstacle::NoMemory { what, bytes })
    }

    /// A copy of `content`.
    pub fn copy_of(content: &[u8], what: &'static str) -> Result<Self, Obstacle> {
        let mut pages = Self::new(content.len() as u64, what)?;
        pages.bytes_mut().copy_from_slice(content);
        Ok(pages)
    }

    /// The physical addresses; the firmware maps memory one to one (UEFI 2.10, 2.3.4).
    pub fn extent(&self) -> Extent {
        if self.bytes == 0 {
            return Extent { base: 0, len: 0 };
        }
        Extent { base: self.start.as_ptr() as u64, len: self.bytes as u64 }
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `start` and `bytes` are those of an initialised allocation that this value owns, or
        // dangling with length 0.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.bytes) }
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and the borrow is exclusive.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }

    /// The memory as elements of a type of the hand-over.
    pub fn items_mut<T: Item>(&mut self) -> &mut [T] {
        // SAFETY: pages are aligned for any `Item`, the count keeps within the allocation, which is
        // initialised, and every bit pattern is a valid `Item`. The borrow is exclusive.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr().cast(), self.bytes / size_of::<T>()) }
    }

    /// Shortens to `bytes`; the rest of the memory stays allocated.
    pub fn truncate(&mut self, bytes: usize) {
        self.bytes = self.bytes.min(bytes);
    }

    /// Gives the memory back.
    pub fn free(self) {
        let count = self.bytes.div_ceil(PAGE as usize);
        if count != 0 {
            // SAFETY: `self` owns the pages and is gone after this.
            let _ = unsafe { boot::free_pages(self.start, count) };
        }
    }
}

/// A type of the hand-over that is valid whatever its bytes are, and needs at most page alignment.
///
/// # Safety
/// Every bit pattern must be a valid value.
pub unsafe trait Item {}
// SAFETY: integers, and structures of integers, all the way down.
unsafe impl Item for handover::BootInfo {}
// SAFETY: as above.
unsafe impl Item for handover::MemoryRegion {}
// SAFETY: as above.
unsafe impl Item for handover::File {}
// SAFETY: an integer.
unsafe impl Item for u64 {}
