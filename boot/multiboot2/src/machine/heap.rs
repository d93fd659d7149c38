//! The entry's own heap: a stretch of free memory, used from its beginning to its end.
//!
//! Nothing is given back but what was taken last, which is what growing vectors and strings do: the entry
//! runs for milliseconds, and all of it is the kernel's afterwards.
#![allow(unsafe_code)] // The global allocator.
use core::alloc::{GlobalAlloc, Layout};
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use handover::Extent;

struct Heap {
    next: AtomicUsize,
    end: AtomicUsize,
}

#[global_allocator]
static HEAP: Heap = Heap { next: AtomicUsize::new(0), end: AtomicUsize::new(0) };

/// Opens the heap; before, every allocation fails.
///
/// # Safety
/// `memory` is mapped one to one and nobody else's.
pub unsafe fn open(memory: Extent) {
    HEAP.next.store(memory.base as usize, Relaxed);
    HEAP.end.store((memory.base + memory.len) as usize, Relaxed);
}

// SAFETY: pieces follow each other in memory that `open` got, so that none overlap; there is one thread.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let start = self.next.load(Relaxed).checked_next_multiple_of(layout.align());
        match start.and_then(|start| Some((start, start.checked_add(layout.size())?))) {
            Some((start, end)) if end <= self.end.load(Relaxed) => {
                self.next.store(end, Relaxed);
                start as *mut u8
            }
            _ => ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if block as usize + layout.size() == self.next.load(Relaxed) {
            self.next.store(block as usize, Relaxed);
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let (start, end) = (block as usize, self.end.load(Relaxed));
        if start + layout.size() == self.next.load(Relaxed) && size <= end - start {
            self.next.store(start + size, Relaxed);
            return block;
        }
        // SAFETY: the caller's layout has a valid alignment, and `size` does not overflow with it.
        let new = unsafe { self.alloc(Layout::from_size_align_unchecked(size, layout.align())) };
        if !new.is_null() {
            // SAFETY: both are blocks of at least this size, and apart.
            unsafe { ptr::copy_nonoverlapping(block, new, layout.size().min(size)) };
        }
        new
    }
}
