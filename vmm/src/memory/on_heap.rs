//! Guest memory on the host's heap, for tests of everything that works on a guest.
#![allow(unsafe_code)] // A block of the heap as a host's memory.

use super::chunks::Backing;
use super::guest::GuestMemory;
use alloc::alloc::{Layout as HeapLayout, alloc_zeroed, dealloc};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};
use mm::addr::{Gpa, Hpa, Hva, LARGE_PAGE};
use mm::shared::fill_zero;
use spin::Mutex;

/// Owns the memory behind a [`GuestMemory`].
pub struct HeapMemory {
    memory: Arc<GuestMemory>,
    block: *mut u8,
    layout: HeapLayout,
    /// Where the spare part begins.
    spare: Hpa,
}

/// A host whose guest's memory can go and come: what it has free, and what it has mapped.
pub struct Lender {
    block: Hva,
    /// Chunks that are nobody's.
    pub free: Mutex<Vec<Hpa>>,
    /// The second-level tables.
    pub mapped: Mutex<BTreeMap<Gpa, Hpa>>,
    /// How often there was no chunk left.
    pub exhausted: AtomicUsize,
}

impl Backing for Lender {
    fn take(&self) -> Option<Hpa> {
        let chunk = self.free.lock().pop()?;
        let pointer = (self.block + chunk.get()).as_mut_ptr();
        // SAFETY: a chunk of the block, which is nobody's.
        unsafe { fill_zero(pointer, LARGE_PAGE as usize) };
        Some(chunk)
    }

    fn give_back(&self, chunk: Hpa) {
        self.free.lock().push(chunk);
    }

    fn map(&self, gpa: Gpa, chunk: Hpa) {
        let before = self.mapped.lock().insert(gpa, chunk);
        assert!(before.is_none_or(|before| before == chunk), "{gpa} was mapped elsewhere");
    }

    fn unmap(&self, gpa: Gpa) -> bool {
        assert!(self.mapped.lock().remove(&gpa).is_some(), "{gpa} was not mapped");
        true
    }

    fn exhausted(&self) {
        self.exhausted.fetch_add(1, Ordering::SeqCst);
    }
}

impl HeapMemory {
    /// `mib` MiB of zeroed RAM, rounded up to 2 MiB.
    pub fn new(mib: usize) -> Self {
        Self::with_spare(mib, 0)
    }

    /// Likewise, with `spare` MiB of host memory behind it that are not the guest's: a disk in memory, say.
    pub fn with_spare(mib: usize, spare: usize) -> Self {
        let count = mib.div_ceil(2).max(1);
        let all = count * LARGE_PAGE as usize + (spare << 20);
        let layout = HeapLayout::from_size_align(all, LARGE_PAGE as usize).expect("a size");
        // SAFETY: the size is not 0.
        let block = unsafe { alloc_zeroed(layout) };
        assert!(!block.is_null(), "out of memory");
        // Backwards, so that what is contiguous for the guest is not so for the host beyond 2 MiB.
        let chunks = (0..count as u64).rev().map(|i| Hpa::new(i * LARGE_PAGE)).collect();
        // SAFETY: the block is that many chunks, aligned, and owned until `drop`.
        let memory = unsafe { GuestMemory::new(Hva::from_ptr(block), chunks) };
        let spare = Hpa::new(memory.bytes());
        Self { memory: Arc::new(memory), block, layout, spare }
    }

    /// Guest memory that can go and come, of a host that has so many chunks more, filled with ones; and `spare` MiB.
    pub fn lent(mib: usize, more: usize, spare: usize) -> (Self, Arc<Lender>) {
        let mut heap = Self::with_spare(mib, 2 * more + spare);
        let first = heap.memory.bytes();
        let block = Hva::from_ptr(heap.block);
        // SAFETY: the spare part of the block, which nobody has.
        unsafe { heap.block.add(first as usize).write_bytes(0xff, more * LARGE_PAGE as usize) };
        let lender = Arc::new(Lender {
            block,
            free: Mutex::new((0..more as u64).map(|i| Hpa::new(first + i * LARGE_PAGE)).collect()),
            mapped: Mutex::new(heap.memory.chunks().filter_map(|(gpa, chunk)| Some((gpa, chunk?))).collect()),
            exhausted: AtomicUsize::new(0),
        });
        let chunks = heap.memory.chunks.clone();
        // SAFETY: as in `with_spare`, which made the chunks; those that the lender has are of the block too.
        let memory = unsafe { GuestMemory::with_backing(block, chunks, Some(lender.clone())) };
        heap.memory = Arc::new(memory);
        heap.spare = Hpa::new(first + more as u64 * LARGE_PAGE);
        (heap, lender)
    }

    /// Where host memory appears, and where the spare part of it is.
    pub fn spare(&self) -> (mm::DirectMap, Hpa) {
        (mm::DirectMap::new(Hva::from_ptr(self.block)), self.spare)
    }

    /// For devices, which must be gone before this is.
    pub fn share(&self) -> Arc<GuestMemory> {
        self.memory.clone()
    }
}

impl core::ops::Deref for HeapMemory {
    type Target = GuestMemory;
    fn deref(&self) -> &GuestMemory {
        &self.memory
    }
}

impl Drop for HeapMemory {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.block, self.layout) }
    }
}
