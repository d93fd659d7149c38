//! Small objects, cut from frames.
//!
//! Objects come in 22 sizes from 16 bytes to 2 KiB ([`class`]). Each size has slabs: blocks of frames with a
//! header and as many objects as fit. Free objects are chained through their own memory, so a slab needs no
//! table, and objects that were never used are not even chained: a fresh slab costs its header.
//!
//! Data flows in batches: a CPU takes from and gives to its own [`Magazine`], without a lock; the magazine
//! is refilled from and spills to the [`SharedSlabs`] of its size, under a lock that the owner provides
//! ([`crate::heap::Heap`]). A slab whose objects have all come back returns to the frame allocator, but for
//! the last one with free objects, so that a size at the edge does not fetch and return frames forever.
#![allow(unsafe_code)] // objects and slabs are raw memory

pub mod class;
mod list;
mod magazine;
mod page;
pub(crate) mod poison;
#[cfg(test)]
mod tests;

use core::ptr::{self, NonNull};

pub use list::ObjectList;
pub use magazine::Magazine;
use page::Slab;

use crate::frames::{Order, block_bytes};
use class::CLASSES;

/// Where slabs get their frames.
///
/// # Safety
/// What `allocate` returns is a mapped block of `2^order` frames, aligned to its size, that nobody else
/// uses until it is given to `free`.
pub unsafe trait SlabMemory {
    /// A block of frames, or `None` where there is no memory.
    fn allocate(&mut self, order: Order) -> Option<NonNull<u8>>;
    /// Takes back a block.
    ///
    /// # Safety
    /// The block came from `allocate` with the same order, and nobody uses it.
    unsafe fn free(&mut self, block: NonNull<u8>, order: Order);
}

/// All slabs of one size that have a free object. Those without one are in no list until an object returns.
pub struct SharedSlabs {
    class: usize,
    available: *mut Slab,
    slabs: usize,
}

// SAFETY: the slabs belong to this value alone, and nothing in them is bound to a thread.
unsafe impl Send for SharedSlabs {}

impl SharedSlabs {
    /// No slabs, for objects of class number `class`.
    pub const fn new(class: usize) -> Self {
        Self { class, available: ptr::null_mut(), slabs: 0 }
    }

    /// Bytes in the slabs, used or not.
    pub const fn bytes(&self) -> u64 {
        self.slabs as u64 * block_bytes(CLASSES[self.class].order)
    }

    /// Takes a batch of objects, or as many as memory allows.
    pub fn take(&mut self, memory: &mut impl SlabMemory) -> ObjectList {
        let class = &CLASSES[self.class];
        let mut objects = ObjectList::EMPTY;
        while objects.len() < usize::from(class.batch) {
            if self.available.is_null() {
                // A partial batch is good enough: no new slab for its rest.
                if !objects.is_empty() {
                    break;
                }
                let Some(block) = memory.allocate(class.order) else { break };
                // SAFETY: `SlabMemory` promises such a block; the slab is in no list yet.
                unsafe { self.link(Slab::create(block, self.class)) };
                self.slabs += 1;
            }
            // SAFETY: slabs in the list are valid and ours; objects that a slab gives are in no list.
            unsafe {
                let slab = &mut *self.available;
                if let Some(object) = slab.take() {
                    objects.push(object);
                }
                if slab.is_full() {
                    self.unlink(self.available);
                }
            }
        }
        objects
    }

    /// Takes objects back.
    ///
    /// # Panics
    /// Where an object is not of this class: the heap is damaged.
    ///
    /// # Safety
    /// Nobody uses the objects, which were taken from here.
    pub unsafe fn give(&mut self, mut objects: ObjectList, memory: &mut impl SlabMemory) {
        while let Some(object) = objects.pop() {
            // SAFETY: the caller's objects lie in slabs of ours, which are valid as long as an object is
            // out; a slab is in the list unless it was full.
            unsafe {
                let slab = Slab::of(object, self.class);
                let was_full = slab.as_ref().is_full();
                (*slab.as_ptr()).give(object);
                if was_full {
                    self.link(slab);
                }
                if slab.as_ref().is_empty() && !self.is_only(slab) {
                    self.retire(slab, memory);
                }
            }
        }
    }

    /// Returns the empty slab that was kept, if there is one.
    pub fn trim(&mut self, memory: &mut impl SlabMemory) {
        let mut slab = self.available;
        while let Some(this) = NonNull::new(slab) {
            // SAFETY: slabs in the list are valid and ours.
            unsafe {
                slab = this.as_ref().next;
                if this.as_ref().is_empty() {
                    self.retire(this, memory);
                }
            }
        }
    }

    fn is_only(&self, slab: NonNull<Slab>) -> bool {
        // SAFETY: the caller's slab is in the list.
        self.available == slab.as_ptr() && unsafe { slab.as_ref().next.is_null() }
    }

    /// # Safety
    /// The slab is in the list and empty.
    unsafe fn retire(&mut self, slab: NonNull<Slab>, memory: &mut impl SlabMemory) {
        // SAFETY: the caller's promise; once out of the list nothing refers to the slab.
        unsafe {
            self.unlink(slab.as_ptr());
            self.slabs -= 1;
            memory.free((*slab.as_ptr()).dissolve(), CLASSES[self.class].order);
        }
    }

    /// # Safety
    /// The slab is valid, of this class and in no list.
    unsafe fn link(&mut self, slab: NonNull<Slab>) {
        let slab = slab.as_ptr();
        // SAFETY: the caller's slab, and the head of the list.
        unsafe {
            (*slab).previous = ptr::null_mut();
            (*slab).next = self.available;
            if !self.available.is_null() {
                (*self.available).previous = slab;
            }
        }
        self.available = slab;
    }

    /// # Safety
    /// The slab is in the list.
    unsafe fn unlink(&mut self, slab: *mut Slab) {
        // SAFETY: the slab and its neighbours are valid.
        unsafe {
            let (previous, next) = ((*slab).previous, (*slab).next);
            if !next.is_null() {
                (*next).previous = previous;
            }
            if previous.is_null() {
                self.available = next;
            } else {
                (*previous).next = next;
            }
        }
    }
}
