//! The heap as Rust's global allocator.
#![allow(unsafe_code)] // GlobalAlloc

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};

use super::cpu::CpuCache;
use super::{Heap, Platform, SlabFrames};
use crate::addr::{Hva, PAGE};
use crate::direct_map::DirectMap;
use crate::slab::class::{CLASSES, class_of};
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
        let _guard = P::enter();
        let Some(class) = class_of(layout) else { return self.allocate_large(layout) };
        let Some(cpu) = self.existing_cpu() else { return self.first_object(class) };
        // SAFETY: the platform's guard makes this CPU's cache ours, and no other borrow of it lives.
        let object = unsafe { (*cpu.inner.get()).magazines[class].take() };
        match object {
            Some(object) => hand_out(object, class),
            None => self.refill(cpu, class),
        }
    }

    #[inline]
    unsafe fn dealloc(&self, object: *mut u8, layout: Layout) {
        let _guard = P::enter();
        // SAFETY: `object` was allocated with this layout, so it is not null and at least as large as its
        // class or run. The platform's guard makes this CPU's cache ours, and no other borrow of it lives.
        unsafe {
            let object = NonNull::new_unchecked(object);
            let Some(class) = class_of(layout) else { return self.free_large(object, layout) };
            poison::bury(object, usize::from(CLASSES[class].size), true);
            let Some(cpu) = self.existing_cpu() else { return self.first_free(object, class) };
            let surplus = (*cpu.inner.get()).magazines[class].put(object, CLASSES[class].batch);
            if !surplus.is_empty() {
                self.spill(Some(cpu), class, surplus);
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

impl<P: Platform> Heap<P> {
    /// Serves a CPU that has no cache yet.
    #[cold]
    fn first_object(&self, class: usize) -> *mut u8 {
        match self.create_cpu() {
            Some(cpu) => self.refill(cpu, class),
            None => ptr::null_mut(),
        }
    }

    /// Fills this CPU's magazine, and serves from it.
    #[cold]
    fn refill(&self, cpu: &CpuCache, class: usize) -> *mut u8 {
        let mut objects = self.slabs[class].lock().take(&mut SlabFrames { heap: self, cpu: Some(cpu) });
        if objects.is_empty() {
            self.trim_entered();
            objects = self.slabs[class].lock().take(&mut SlabFrames { heap: self, cpu: Some(cpu) });
        }
        let object = objects.pop();
        // SAFETY: the platform's guard makes this CPU's cache ours, and no other borrow of it lives.
        unsafe { (*cpu.inner.get()).magazines[class].load(objects) };
        object.map_or(ptr::null_mut(), |object| hand_out(object, class))
    }

    /// # Safety
    /// The objects are of the class, allocated here, and free.
    #[cold]
    unsafe fn spill(&self, cpu: Option<&CpuCache>, class: usize, objects: ObjectList) {
        // SAFETY: the caller's promise.
        unsafe { self.slabs[class].lock().give(objects, &mut SlabFrames { heap: self, cpu }) };
    }

    /// Takes back an object on a CPU that has no cache yet, and perhaps gets none.
    ///
    /// # Safety
    /// The object is of the class, allocated here, and free.
    #[cold]
    unsafe fn first_free(&self, object: NonNull<u8>, class: usize) {
        let mut objects = ObjectList::EMPTY;
        // SAFETY: the caller's promise.
        unsafe {
            objects.push(object);
            self.spill(self.create_cpu(), class, objects);
        }
    }

    #[cold]
    fn allocate_large(&self, layout: Layout) -> *mut u8 {
        if layout.align() as u64 > DirectMap::ALIGNMENT {
            return ptr::null_mut();
        }
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
    #[cold]
    unsafe fn free_large(&self, object: NonNull<u8>, layout: Layout) {
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
