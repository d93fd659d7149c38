//! One CPU's free objects of one class.
#![allow(unsafe_code)] // objects that come back are memory that only the caller can vouch for

use core::ptr::NonNull;

use super::list::ObjectList;

/// Two lists of up to a batch each. Objects come from and go to `loaded`; `spare` absorbs the swing, so that
/// a CPU which allocates and frees around the edge of a batch does not go to the shared slabs each time
/// (Bonwick and Adams, "Magazines and Vmem", USENIX 2001, 3.1).
pub struct Magazine {
    loaded: ObjectList,
    spare: ObjectList,
}

impl Magazine {
    /// No objects.
    pub const EMPTY: Self = Self { loaded: ObjectList::EMPTY, spare: ObjectList::EMPTY };

    /// Takes an object; `None` where the CPU has none left.
    #[inline(always)]
    pub fn take(&mut self) -> Option<NonNull<u8>> {
        if self.loaded.is_empty() {
            core::mem::swap(&mut self.loaded, &mut self.spare);
        }
        self.loaded.pop()
    }

    /// Puts an object in. Returns a list of objects that are too many for this CPU.
    ///
    /// # Safety
    /// It is a free object of the magazine's class, in no list.
    #[inline(always)]
    #[must_use = "the objects in the list are lost otherwise"]
    pub unsafe fn put(&mut self, object: NonNull<u8>, batch: u16) -> ObjectList {
        let surplus = if self.loaded.len() < usize::from(batch) {
            ObjectList::EMPTY
        } else {
            core::mem::replace(&mut self.spare, self.loaded.take())
        };
        // SAFETY: the caller's promise.
        unsafe { self.loaded.push(object) };
        surplus
    }

    /// Hands over a list to an empty magazine.
    pub fn load(&mut self, objects: ObjectList) {
        debug_assert!(self.loaded.is_empty());
        self.loaded = objects;
    }

    /// Takes all objects out.
    pub fn empty(&mut self) -> [ObjectList; 2] {
        [self.loaded.take(), self.spare.take()]
    }
}
