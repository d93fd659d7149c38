//! The kernel's heap: frames, slabs and per-CPU caches put together.
//!
//! [`Heap`] can be the `#[global_allocator]`. It starts empty; the kernel adds the usable regions of the
//! memory map, and from then on it serves every CPU. It lives in the direct map and maps nothing.
//!
//! | request | served by |
//! |---|---|
//! | up to 2 KiB | this CPU's [`Magazine`](crate::slab::Magazine) of the size; when empty, a batch from the size's [`SharedSlabs`] |
//! | one frame | this CPU's [`FrameCache`]; when empty, a batch from the [`FrameAllocator`] |
//! | more | a run of frames from the [`FrameAllocator`], of exactly the pages needed |
//!
//! **Per CPU.** What a CPU caches lies in one frame that it takes when it first allocates, so absent CPUs
//! cost a null pointer. Frees go to the CPU that frees.
//!
//! **Locks.** Two kinds, always in this order: the slabs of one size, then the frame allocator. Never two
//! sizes at once. They are held with the [`Platform::Guard`] alive, for a batch at most.
//!
//! **Running out.** Before a request fails, this CPU's caches are emptied and it is tried again. What other
//! CPUs cache (at most 256 KiB of frames and about 4 KiB of objects per size each) stays theirs.
//!
//! **Misuse.** A wrong or double free is a bug of the hypervisor, never an input's doing, and panics: in
//! debug builds at once, otherwise when the memory reaches the shared allocators.
#![allow(unsafe_code)] // an allocator hands out raw memory

mod cpu;
mod global;
#[cfg(test)]
mod tests;

use core::marker::PhantomData;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, Ordering};

use spin::Mutex;

use crate::addr::{Hpa, Hva, PAGE};
use crate::direct_map::DirectMap;
use crate::frames::{
    Added, FrameAllocator, FrameCache, FreeError, Order, PhysicalRange, RegionError, block_bytes,
};
use crate::layout::MAX_CPUS;
use crate::paging::TableMemory;
use crate::slab::{SharedSlabs, SlabMemory, class};
use cpu::{Counters, CpuCache};

/// What the heap needs to know of the machine it runs on.
///
/// # Safety
/// While a guard lives, the code stays on its CPU, `cpu` returns the same number below
/// [`MAX_CPUS`] that no other CPU returns, and nothing else on this CPU enters the heap: if interrupt
/// handlers allocate or free, the guard keeps interrupts off. What interrupts even that (NMI, machine check,
/// a fault inside of the heap) must not allocate.
pub unsafe trait Platform {
    /// Lives as long as the heap works for this CPU. Drop restores what `enter` changed.
    type Guard;

    /// Called first in every operation. Cheap: it is on the path of every allocation.
    fn enter() -> Self::Guard;

    /// Index of this CPU; 0 before others run.
    fn cpu() -> usize;
}

/// What memory is used for, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// All that the heap can hand out.
    pub total: u64,
    /// Free, frames in per-CPU caches included.
    pub free: u64,
    /// In slabs: small objects, and room for more.
    pub slabs: u64,
    /// Allocations of more than 2 KiB, in whole frames.
    pub large: u64,
    /// Frames handed out as such ([`Heap::allocate_frames`]), and the per-CPU caches' own.
    pub frames: u64,
    /// The frame allocator's side tables. Not part of `total`.
    pub tables: u64,
}

/// Whole frames that one CPU has taken, less those that it gave back, in bytes. Small objects are not in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// As frames ([`Heap::allocate_frames`] and the like, page tables).
    pub frames: i64,
    /// As allocations of more than 2 KiB.
    pub large: i64,
}

impl Taken {
    /// What was taken since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            frames: self.frames.wrapping_sub(earlier.frames),
            large: self.large.wrapping_sub(earlier.large),
        }
    }
}

/// The heap. See the module's documentation.
pub struct Heap<P: Platform> {
    map: DirectMap,
    slabs: [Mutex<SharedSlabs>; class::COUNT],
    frames: Mutex<FrameAllocator>,
    cpus: [AtomicPtr<CpuCache>; MAX_CPUS],
    platform: PhantomData<fn() -> P>,
}

impl<P: Platform> Heap<P> {
    /// A heap without memory: every request fails until [`Self::add_regions`].
    pub const fn new(map: DirectMap) -> Self {
        Self {
            map,
            slabs: all_classes(),
            frames: Mutex::new(FrameAllocator::new(map)),
            cpus: [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_CPUS],
            platform: PhantomData,
        }
    }

    /// Where the heap reaches physical memory.
    pub const fn direct_map(&self) -> DirectMap {
        self.map
    }

    /// Adds the usable regions of a memory map. See [`FrameAllocator::add_regions`].
    ///
    /// # Safety
    /// As for [`Self::add_region`], for each of them.
    pub unsafe fn add_regions(&self, ranges: impl IntoIterator<Item = PhysicalRange>) -> Added {
        let _guard = P::enter();
        // SAFETY: the caller's promise.
        unsafe { self.frames.lock().add_regions(ranges) }
    }

    /// Adds memory, at any time. Returns the bytes that are usable of it.
    ///
    /// # Safety
    /// The memory is RAM, mapped writable by the direct map, and nobody uses it.
    pub unsafe fn add_region(&self, range: PhysicalRange) -> Result<u64, RegionError> {
        let _guard = P::enter();
        // SAFETY: the caller's promise.
        unsafe { self.frames.lock().add_region(range) }
    }

    /// Takes a block of `2^order` frames, aligned to its size. Its content is undefined.
    pub fn allocate_frames(&self, order: Order) -> Option<Hpa> {
        let _guard = P::enter();
        let block = match order {
            0 => self.with_cpu(|cpu| self.single_frame(cpu)),
            _ => self.or_after_trim(|| self.frames.lock().allocate(order)),
        };
        self.count_frames(block, block_bytes(order))
    }

    /// Takes a block of `2^order` frames and fills it with zeroes.
    pub fn allocate_zeroed_frames(&self, order: Order) -> Option<Hpa> {
        let block = self.allocate_frames(order)?;
        // SAFETY: the block is ours alone, and the direct map maps it.
        unsafe { self.map.pointer::<u8>(block).write_bytes(0, block_bytes(order) as usize) };
        Some(block)
    }

    /// Takes a block whose last byte lies below `limit`. See [`FrameAllocator::allocate_below`].
    pub fn allocate_frames_below(&self, order: Order, limit: Hpa) -> Option<Hpa> {
        let _guard = P::enter();
        let block = self.or_after_trim(|| self.frames.lock().allocate_below(order, limit));
        self.count_frames(block, block_bytes(order))
    }

    /// Takes `count` frames in a row. See [`FrameAllocator::allocate_run`].
    pub fn allocate_run(&self, count: u64) -> Option<Hpa> {
        let _guard = P::enter();
        let run = self.or_after_trim(|| self.frames.lock().allocate_run(count));
        self.count_frames(run, count * PAGE)
    }

    /// Gives back a block of frames.
    ///
    /// Single frames go to this CPU's cache unchecked; see [`FrameCache`].
    ///
    /// # Panics
    /// In single frames: where an earlier one turns out to have been freed twice.
    ///
    /// # Safety
    /// Nobody uses the block's memory any longer. A single frame came from this heap.
    pub unsafe fn free_frames(&self, block: Hpa, order: Order) -> Result<(), FreeError> {
        let _guard = P::enter();
        if order == 0 {
            if !block.is_aligned(PAGE) {
                return Err(FreeError::Misaligned { block, order });
            }
            // SAFETY: the caller's promise.
            self.with_cpu_or_shared(|cpu| unsafe { self.return_single_frame(cpu, block) });
        } else {
            // SAFETY: the caller's promise.
            unsafe { self.frames.lock().free(block, order) }?;
        }
        self.uncount_frames(block_bytes(order));
        Ok(())
    }

    /// Gives back what [`Self::allocate_run`] returned for `count`.
    ///
    /// # Safety
    /// Nobody uses the memory any longer.
    pub unsafe fn free_run(&self, start: Hpa, count: u64) -> Result<(), FreeError> {
        let _guard = P::enter();
        // SAFETY: the caller's promise.
        unsafe { self.frames.lock().free_run(start, count) }?;
        self.uncount_frames(count * PAGE);
        Ok(())
    }

    /// Turns a taken block into smaller ones, to be freed singly. See [`FrameAllocator::split`].
    pub fn split_frames(&self, block: Hpa, order: Order, parts: Order) -> Result<(), FreeError> {
        let _guard = P::enter();
        self.frames.lock().split(block, order, parts)
    }

    /// Order of the largest block that could be allocated now.
    pub fn largest_free(&self) -> Option<Order> {
        let _guard = P::enter();
        self.frames.lock().largest_free()
    }

    /// What memory is used for. A snapshot: while other CPUs allocate, the parts need not add up.
    pub fn usage(&self) -> Usage {
        let _guard = P::enter();
        let mut counters = Counters::default();
        for slot in &self.cpus {
            // SAFETY: a published cache stays for good, and its counters are shared.
            if let Some(cpu) = unsafe { slot.load(Ordering::Acquire).as_ref() } {
                counters.add(cpu);
            }
        }
        let slabs: u64 = self.slabs.iter().map(|s| s.lock().bytes()).sum();
        let frames = self.frames.lock();
        let total = frames.total_bytes();
        let free = frames.free_bytes() + counters.cached_bytes();
        let large = counters.large_bytes();
        Usage {
            total,
            free,
            slabs,
            large,
            frames: total.saturating_sub(free + slabs + large),
            tables: frames.table_bytes(),
        }
    }

    /// What the calling CPU has taken since it has caches, which its first small allocation makes. The difference of two answers is what was taken
    /// in between, whatever other CPUs did meanwhile, if the caller stayed on its CPU and no other task ran there.
    pub fn taken_here(&self) -> Taken {
        let _guard = P::enter();
        self.existing_cpu().map_or(Taken::default(), CpuCache::taken)
    }

    /// Counts a block that is handed out as frames.
    fn count_frames(&self, block: Option<Hpa>, bytes: u64) -> Option<Hpa> {
        if let (Some(_), Some(cpu)) = (block, self.existing_cpu()) {
            cpu.count_frames(bytes as i64);
        }
        block
    }

    /// Counts frames that came back.
    fn uncount_frames(&self, bytes: u64) {
        if let Some(cpu) = self.existing_cpu() {
            cpu.count_frames(-(bytes as i64));
        }
    }

    /// Gives back everything that this CPU caches, and slabs without objects.
    pub fn trim(&self) {
        let _guard = P::enter();
        self.trim_entered();
    }

    /// Runs `request`, and once more after this CPU's caches were emptied.
    fn or_after_trim<T>(&self, request: impl Fn() -> Option<T>) -> Option<T> {
        request().or_else(|| {
            self.trim_entered();
            request()
        })
    }

    #[cold]
    fn trim_entered(&self) {
        let Some(cpu) = self.existing_cpu() else { return };
        for (class, slabs) in self.slabs.iter().enumerate() {
            // SAFETY: the platform's guard makes this CPU's cache ours, and no other borrow of it lives.
            let magazine = unsafe { &mut (*cpu.inner.get()).magazines[class] };
            let lists = magazine.empty();
            let mut slabs = slabs.lock();
            let mut memory = SlabFrames { heap: self, cpu: Some(cpu) };
            for objects in lists {
                // SAFETY: objects in a magazine are free and came from these slabs.
                unsafe { slabs.give(objects, &mut memory) };
            }
            slabs.trim(&mut memory);
        }
        // SAFETY: as above.
        let cache = unsafe { &mut (*cpu.inner.get()).frames };
        self.drain(cache, 0);
        cpu.publish(cache);
    }

    /// This CPU's cache, where it has one. The guard must be alive.
    #[inline(always)]
    fn existing_cpu(&self) -> Option<&CpuCache> {
        let cpu = P::cpu();
        debug_assert!(cpu < MAX_CPUS);
        // SAFETY: the platform promises a number below `MAX_CPUS`; a published cache stays for good.
        unsafe { self.cpus.get_unchecked(cpu).load(Ordering::Relaxed).as_ref() }
    }

    /// Runs `f` with this CPU's cache, made on first use. `None` also where there is no memory for it.
    #[inline]
    fn with_cpu<T>(&self, f: impl FnOnce(&CpuCache) -> Option<T>) -> Option<T> {
        match self.existing_cpu() {
            Some(cpu) => f(cpu),
            None => f(self.create_cpu()?),
        }
    }

    /// Runs `f` with this CPU's cache, or without one where it has none and gets none.
    #[inline]
    fn with_cpu_or_shared(&self, f: impl FnOnce(Option<&CpuCache>)) {
        match self.existing_cpu() {
            Some(cpu) => f(Some(cpu)),
            None => f(self.create_cpu()),
        }
    }

    #[cold]
    fn create_cpu(&self) -> Option<&CpuCache> {
        const { assert!(size_of::<CpuCache>() <= PAGE as usize) };
        let frame = self.frames.lock().allocate(0)?;
        let cache = self.map.pointer::<CpuCache>(frame);
        // SAFETY: the frame is ours, mapped, page-aligned and large enough. Nobody else writes to this CPU's
        // slot, as the platform's guard promises, so nothing is published twice.
        unsafe {
            // All of it, for the reason that `Slab::create` gives.
            cache.cast::<u8>().write_bytes(0, PAGE as usize);
            cache.write(CpuCache::new());
            self.cpus[P::cpu()].store(cache, Ordering::Release);
            cache.as_ref()
        }
    }

    /// Takes a frame by way of this CPU's cache.
    fn single_frame(&self, cpu: &CpuCache) -> Option<Hpa> {
        self.cached_frame(cpu).or_else(|| {
            self.trim_entered();
            self.cached_frame(cpu)
        })
    }

    fn cached_frame(&self, cpu: &CpuCache) -> Option<Hpa> {
        // SAFETY: the platform's guard makes this CPU's cache ours, and no other borrow of it lives: callers
        // hold none, and nothing below enters the heap again.
        let cache = unsafe { &mut (*cpu.inner.get()).frames };
        if cache.is_empty() {
            cache.refill(&mut self.frames.lock());
        }
        let frame = cache.take();
        cpu.publish(cache);
        frame
    }

    /// # Safety
    /// Nobody uses the frame, which came from this heap.
    unsafe fn return_single_frame(&self, cpu: Option<&CpuCache>, frame: Hpa) {
        let Some(cpu) = cpu else {
            // SAFETY: the caller's promise.
            self.must(unsafe { self.frames.lock().free(frame, 0) });
            return;
        };
        // SAFETY: as in `cached_frame`.
        let cache = unsafe { &mut (*cpu.inner.get()).frames };
        if cache.is_full() {
            self.drain(cache, FrameCache::BATCH);
        }
        // SAFETY: the caller's promise. There is room: a drained cache holds a batch.
        let _ = unsafe { cache.put(frame) };
        cpu.publish(cache);
    }

    fn drain(&self, cache: &mut FrameCache, keep: usize) {
        let result = cache.drain(&mut self.frames.lock(), keep);
        self.must(result);
    }

    /// Memory that is freed wrongly is a bug that has already done harm somewhere.
    fn must(&self, result: Result<(), FreeError>) {
        if let Err(error) = result {
            panic!("{error}");
        }
    }

    /// The physical address of something that this heap allocated.
    pub fn physical(&self, address: Hva) -> Hpa {
        self.map.physical(address)
    }
}

/// Empty slabs of every class, each with its lock.
const fn all_classes() -> [Mutex<SharedSlabs>; class::COUNT] {
    let mut slabs = [const { Mutex::new(SharedSlabs::new(0)) }; class::COUNT];
    let mut i = 0;
    while i < class::COUNT {
        slabs[i] = Mutex::new(SharedSlabs::new(i));
        i += 1;
    }
    slabs
}

/// Frames for slabs: single ones by way of the CPU's cache, if it has one.
struct SlabFrames<'a, P: Platform> {
    heap: &'a Heap<P>,
    cpu: Option<&'a CpuCache>,
}

// SAFETY: the frame allocator's blocks are aligned to their size, the direct map keeps that up to 2 MiB, and
// slabs are smaller.
unsafe impl<P: Platform> SlabMemory for SlabFrames<'_, P> {
    fn allocate(&mut self, order: Order) -> Option<NonNull<u8>> {
        let block = match self.cpu {
            Some(cpu) if order == 0 => self.heap.cached_frame(cpu)?,
            _ => self.heap.frames.lock().allocate(order)?,
        };
        NonNull::new(self.heap.map.pointer(block))
    }

    unsafe fn free(&mut self, block: NonNull<u8>, order: Order) {
        let block = self.heap.map.physical(Hva::from_ptr(block.as_ptr()));
        // SAFETY: the caller's promise.
        unsafe {
            if order == 0 {
                self.heap.return_single_frame(self.cpu, block);
            } else {
                self.heap.must(self.heap.frames.lock().free(block, order));
            }
        }
    }
}

// SAFETY: frames are handed out once, and the direct map maps them.
unsafe impl<P: Platform> TableMemory for &Heap<P> {
    fn allocate(&mut self) -> Option<Hpa> {
        self.allocate_frames(0)
    }

    /// A table that came from elsewhere (the loader's) stays where it is.
    unsafe fn free(&mut self, table: Hpa) {
        let _guard = P::enter();
        // SAFETY: the caller's promise.
        match unsafe { self.frames.lock().free(table, 0) } {
            Ok(()) => self.uncount_frames(PAGE),
            Err(FreeError::Foreign { .. }) => {}
            error => self.must(error),
        }
    }

    fn pointer(&self, table: Hpa) -> *mut [u64; 512] {
        self.map.pointer(table)
    }
}
