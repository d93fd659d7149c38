//! A stretch of the test's own memory that plays RAM.
#![allow(unsafe_code)] // raw memory

use std::alloc::{Layout, alloc, dealloc};

use crate::addr::{Hpa, Hva, LARGE_PAGE};
use crate::direct_map::DirectMap;
use crate::frames::PhysicalRange;

pub struct Arena {
    pointer: *mut u8,
    layout: Layout,
    pub map: DirectMap,
    pub range: PhysicalRange,
}

impl Arena {
    /// `bytes` of memory that appear at physical address `start`, a multiple of 2 MiB. What is not touched
    /// costs nothing.
    pub fn new(start: u64, bytes: u64) -> Self {
        let layout = Layout::from_size_align(bytes as usize, LARGE_PAGE as usize).unwrap();
        // SAFETY: the size is not zero.
        let pointer = unsafe { alloc(layout) };
        assert!(!pointer.is_null(), "no memory for the test");
        let base = Hva::new(pointer.expose_provenance() as u64 - start);
        Self {
            pointer,
            layout,
            map: DirectMap::new(base),
            range: PhysicalRange { start: Hpa::new(start), bytes },
        }
    }

    /// Memory whose physical address is its virtual one, as in the UEFI loader.
    pub fn identity(bytes: u64) -> Self {
        let mut arena = Self::new(0, bytes);
        arena.map = DirectMap::new(Hva::new(0));
        arena.range.start = Hpa::new(arena.pointer.addr() as u64);
        arena
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.pointer, self.layout) }
    }
}
