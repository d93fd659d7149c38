//! The heap as Rust's global allocator.
#![allow(unsafe_code)] // GlobalAlloc

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};

use super::{Heap, Platform, SlabFrames};
use crate::addr::{Hva, PAGE};
use crate::direct_map::DirectMap;
use crate::slab::class::{CLASSES, class_of, common_class};
use crate::slab::{ObjectList, poison};

/// Frames that serve a layout too large for slabs. The first of a run is aligned to the power of two that
/// the count rounds up to; where that is not enough, the run is as long as the alignment.
fn frames_for(layout: Layout) -> u64 {
    let count = (layout.size() as u64).div_ceil(PAGE).max(1);
    let align = layout.align() as u64 / PAGE;
    if align > count.next_power_of_two() { align } else { count }
}

// SAFETY: every object and every run of frames is handed out once until it is freed; classes and runs are at
// least as large and as aligned as the layout, and `dealloc` finds the same class or count from the same
// layout.
unsafe impl<P: Platform> GlobalAlloc for Heap<P> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match common_class(layout) {
            Some(class) => self.allocate_object(class),
            None => self.allocate_uncommon(layout),
        }
    }

    #[inline]
    unsafe fn dealloc(&self, object: *mut u8, layout: Layout) {
        // SAFETY: `object` was allocated with this layout, so it is not null and of the same class or run.
        unsafe {
            let object = NonNull::new_unchecked(object);
            match common_class(layout) {
                Some(class) => self.free_object(object, class),
                None => self.free_uncommon(object, layout),
            }
        }
    }

    unsafe fn realloc(&self, object: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let Ok(new) = Layout::from_size_align(new_size, layout.align()) else { return ptr::null_mut() };
        let stays = match (class_of(layout), class_of(new)) {
            (Some(old), Some(new)) => old == new,
            (None, None) => frames_for(layout) == frames_for(new),
            _ => false,
        };
        if stays {
            return object;
        }
        // SAFETY: the caller's object has `layout`; both blocks hold the bytes that are copied.
        unsafe {
            let moved = self.alloc(new);
            if !moved.is_null() {
                moved.copy_from_nonoverlapping(object, layout.size().min(new_size));
                self.dealloc(object, layout);
            }
            moved
        }
    }
}

#[inline(always)]
fn hand_out(object: NonNull<u8>, class: usize) -> *mut u8 {
    // SAFETY: the object was buried when it became free, with its class's size.
    unsafe { poison::exhume(object, usize::from(CLASSES[class].size)) };
    object.as_ptr()
}

// The common cases come first and call nothing while the guard lives, so that they need no stack frame. What
// they cannot serve enters the heap anew.
impl<P: Platform> Heap<P> {
    /// Takes an object from this CPU's magazine.
    #[inline(always)]
    fn allocate_object(&self, class: usize) -> *mut u8 {
        let object = {
            let _guard = P::enter();
            // SAFETY: the guard makes this CPU's cache ours, and no other borrow of it lives.
            self.existing_cpu().and_then(|cpu| unsafe { (*cpu.inner.get()).magazines[class].take() })
        };
        match object {
            Some(object) => hand_out(object, class),
            None => self.refill(class),
        }
    }

    /// Puts an object into this CPU's magazine.
    ///
    /// # Safety
    /// The object is of the class, allocated here, and nobody uses it.
    #[inline(always)]
    unsafe fn free_object(&self, object: NonNull<u8>, class: usize) {
        // SAFETY: the caller's promise; the guard makes this CPU's cache ours, and no other borrow of it lives.
        unsafe {
            poison::bury(object, usize::from(CLASSES[class].size), true);
            let surplus = {
                let _guard = P::enter();
                match self.existing_cpu() {
                    Some(cpu) => (*cpu.inner.get()).magazines[class].put(object, CLASSES[class].batch),
                    None => ObjectList::of(object),
                }
            };
            if !surplus.is_empty() {
                self.spill(class, surplus);
            }
        }
    }

    /// Fills this CPU's magazine, and serves from it.
    #[cold]
    #[inline(never)]
    pub(super) fn refill(&self, class: usize) -> *mut u8 {
        let _guard = P::enter();
        let object = self.with_cpu(|cpu| {
            // SAFETY: the guard makes this CPU's cache ours, and borrows of it end before the heap goes on.
            let magazine = || unsafe { &mut (*cpu.inner.get()).magazines[class] };
            // An interrupt may have put something in since the magazine was found empty.
            if let Some(object) = magazine().take() {
                return Some(object);
            }
            let mut objects = self.or_after_trim(|| {
                let objects = self.slabs[class].lock().take(&mut SlabFrames { heap: self, cpu: Some(cpu) });
                if objects.is_empty() { None } else { Some(objects) }
            })?;
            let object = objects.pop();
            magazine().load(objects);
            object
        });
        object.map_or(ptr::null_mut(), |object| hand_out(object, class))
    }

    /// Gives objects to the slabs: what is too many for this CPU, or what it frees before it has a cache.
    ///
    /// # Safety
    /// The objects are of the class, allocated here, and free.
    #[cold]
    #[inline(never)]
    unsafe fn spill(&self, class: usize, objects: ObjectList) {
        let _guard = P::enter();
        self.with_cpu_or_shared(|cpu| {
            // SAFETY: the caller's promise.
            unsafe { self.slabs[class].lock().give(objects, &mut SlabFrames { heap: self, cpu }) };
        });
    }

    /// Serves what needs whole frames, or a small object with a large alignment.
    #[cold]
    #[inline(never)]
    fn allocate_uncommon(&self, layout: Layout) -> *mut u8 {
        match class_of(layout) {
            Some(class) => self.allocate_object(class),
            None => self.allocate_large(layout),
        }
    }

    /// # Safety
    /// The object was allocated here with this layout, and nobody uses it.
    #[cold]
    #[inline(never)]
    unsafe fn free_uncommon(&self, object: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe {
            match class_of(layout) {
                Some(class) => self.free_object(object, class),
                None => self.free_large(object, layout),
            }
        }
    }

    fn allocate_large(&self, layout: Layout) -> *mut u8 {
        if layout.align() as u64 > DirectMap::ALIGNMENT {
            return ptr::null_mut();
        }
        let _guard = P::enter();
        let count = frames_for(layout);
        let start = self.with_cpu(|cpu| {
            let start = if count == 1 {
                self.single_frame(cpu)
            } else {
                self.or_after_trim(|| self.frames.lock().allocate_run(count))
            }?;
            cpu.count_large((count * PAGE) as i64);
            Some(start)
        });
        start.map_or(ptr::null_mut(), |start| self.direct_map().pointer(start))
    }

    /// # Safety
    /// The object was allocated here with this layout, and nobody uses it.
    unsafe fn free_large(&self, object: NonNull<u8>, layout: Layout) {
        let _guard = P::enter();
        let start = self.physical(Hva::from_ptr(object.as_ptr()));
        let count = frames_for(layout);
        self.with_cpu_or_shared(|cpu| {
            // SAFETY: the caller's promise.
            unsafe {
                if count == 1 {
                    self.return_single_frame(cpu, start);
                } else {
                    self.must(self.frames.lock().free_run(start, count));
                }
            }
            if let Some(cpu) = cpu {
                cpu.count_large(-((count * PAGE) as i64));
            }
        });
    }
}
