//! Free objects, chained through their own first bytes.
#![allow(unsafe_code)] // links are written into free objects

use core::ptr::{self, NonNull};

/// A free object.
#[repr(C)]
struct Free {
    next: *mut Free,
}

/// A stack of free objects of one class.
///
/// Whoever holds the list owns the objects.
pub struct ObjectList {
    head: *mut Free,
    count: usize,
}

// SAFETY: the list owns its objects; no thread-bound state is behind the pointers.
unsafe impl Send for ObjectList {}

impl ObjectList {
    /// No objects.
    pub const EMPTY: Self = Self { head: ptr::null_mut(), count: 0 };

    /// A list of one object.
    ///
    /// # Safety
    /// As for [`Self::push`].
    #[inline]
    pub unsafe fn of(object: NonNull<u8>) -> Self {
        let mut list = Self::EMPTY;
        // SAFETY: the caller's promise.
        unsafe { list.push(object) };
        list
    }

    /// Number of objects.
    #[inline(always)]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    #[inline(always)]
    pub const fn is_empty(&self) -> bool {
        self.head.is_null()
    }

    /// Takes the object that was put in last.
    #[inline(always)]
    pub fn pop(&mut self) -> Option<NonNull<u8>> {
        let object = NonNull::new(self.head)?;
        // SAFETY: the object is in the list, so its link was written by `push`.
        self.head = unsafe { (*object.as_ptr()).next };
        self.count -= 1;
        Some(object.cast())
    }

    /// Puts an object in.
    ///
    /// # Safety
    /// It is a free object of the list's class, at least 16 bytes, in no other list.
    #[inline(always)]
    pub unsafe fn push(&mut self, object: NonNull<u8>) {
        let object = object.cast::<Free>().as_ptr();
        // SAFETY: the caller's object is free memory, large and aligned enough for a link.
        unsafe { object.write(Free { next: self.head }) };
        self.head = object;
        self.count += 1;
    }

    /// Takes all of them.
    #[inline]
    pub fn take(&mut self) -> Self {
        core::mem::replace(self, Self::EMPTY)
    }
}
