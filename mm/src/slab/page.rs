//! One slab: a block of frames, its header, and the objects cut from it.
#![allow(unsafe_code)] // headers and objects live in raw frames

use core::ptr::{self, NonNull};

use super::class::{CLASSES, Class};
use super::list::ObjectList;
use super::poison;
use crate::frames::block_bytes;

/// Marks a block of frames as a slab. An object whose slab has another mark was never allocated here.
const MAGIC: u32 = u32::from_le_bytes(*b"slab");

/// At the start of the block. Objects fill it from its end downwards, so that they are as aligned as
/// their size, and what they leave over at the front holds this.
#[repr(C)]
pub struct Slab {
    magic: u32,
    class: u16,
    /// Objects that somebody has (CPUs' magazines included).
    used: u16,
    /// Objects that were never handed out: their memory was not touched yet.
    untouched: u16,
    capacity: u16,
    /// Objects that came back.
    free: ObjectList,
    pub(super) next: *mut Slab,
    pub(super) previous: *mut Slab,
}

/// Objects that fit into a slab of `class`.
pub const fn capacity(class: &Class) -> usize {
    (block_bytes(class.order) as usize - size_of::<Slab>()) / class.size as usize
}

// A slab wastes less than a tenth, and objects are numbered in 16 bits.
const _: () = {
    let mut i = 0;
    while i < CLASSES.len() {
        let bytes = block_bytes(CLASSES[i].order) as usize;
        let objects = capacity(&CLASSES[i]);
        assert!(objects * CLASSES[i].size as usize * 10 > bytes * 9);
        assert!(objects <= u16::MAX as usize);
        i += 1;
    }
};

impl Slab {
    /// Makes a slab of a block of frames.
    ///
    /// # Safety
    /// `block` is a block of the class's order, aligned to its size, that nobody uses.
    pub unsafe fn create(block: NonNull<u8>, class: usize) -> NonNull<Self> {
        let capacity = capacity(&CLASSES[class]) as u16;
        let slab = block.cast::<Self>();
        // SAFETY: the caller's block is unused, aligned and larger than a header.
        unsafe {
            // Of what the memory held before nothing stays, also where no object has a field: emulators that
            // translate (QEMU's TCG) keep all stores to a page slow on which they still know code, the firmware's.
            block.write_bytes(0, block_bytes(CLASSES[class].order) as usize);
            slab.write(Self {
                magic: MAGIC,
                class: class as u16,
                used: 0,
                untouched: capacity,
                capacity,
                free: ObjectList::EMPTY,
                next: ptr::null_mut(),
                previous: ptr::null_mut(),
            });
        }
        slab
    }

    /// The slab that `object` of `class` belongs to.
    ///
    /// # Panics
    /// Where it belongs to none: the heap is damaged, or somebody frees what he never got.
    ///
    /// # Safety
    /// The block around `object` is mapped memory.
    pub unsafe fn of(object: NonNull<u8>, class: usize) -> NonNull<Self> {
        let bytes = block_bytes(CLASSES[class].order) as usize;
        let slab = object.map_addr(|a| {
            // Not zero: the block that holds an object of an allocator never starts at address 0.
            core::num::NonZeroUsize::new(a.get() & !(bytes - 1)).unwrap_or(a)
        });
        let slab = slab.cast::<Self>();
        // SAFETY: the block is mapped; whether it is a slab is what the mark says.
        let (magic, found) = unsafe { ((*slab.as_ptr()).magic, (*slab.as_ptr()).class) };
        assert!(
            magic == MAGIC && usize::from(found) == class,
            "object at {object:p} is freed as {} bytes but was never allocated so",
            CLASSES[class].size
        );
        slab
    }

    /// Whether no object is left to take.
    pub fn is_full(&self) -> bool {
        self.used == self.capacity
    }

    /// Whether nobody has an object.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Takes an object.
    pub fn take(&mut self) -> Option<NonNull<u8>> {
        if let Some(object) = self.free.pop() {
            self.used += 1;
            return Some(object);
        }
        self.untouched = self.untouched.checked_sub(1)?;
        self.used += 1;
        let class = &CLASSES[usize::from(self.class)];
        let end = block_bytes(class.order) as usize;
        let offset = end - (usize::from(self.untouched) + 1) * usize::from(class.size);
        let object = NonNull::from(self).cast::<u8>();
        // SAFETY: `untouched` is below the capacity, so the object lies inside the block; it was never
        // handed out, so nobody uses it.
        unsafe {
            let object = object.add(offset);
            poison::bury(object, usize::from(class.size), false);
            Some(object)
        }
    }

    /// Takes an object back.
    ///
    /// # Safety
    /// The object is this slab's and in no list.
    pub unsafe fn give(&mut self, object: NonNull<u8>) {
        // SAFETY: the caller's promise.
        unsafe { self.free.push(object) };
        self.used -= 1;
    }

    /// Ends the slab's life: its block is plain memory again.
    pub fn dissolve(&mut self) -> NonNull<u8> {
        debug_assert!(self.is_empty());
        self.magic = 0;
        NonNull::from(self).cast()
    }
}
