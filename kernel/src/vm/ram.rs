//! The host memory behind a guest's RAM.
#![allow(unsafe_code)] // frames become guest memory and go back to the heap

use super::run::{Run, RunTables};
use crate::memory::HEAP;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use executor::yield_now;
use mm::addr::{Gpa, Hpa, LARGE_PAGE};
use mm::frames::Order;
use spin::{Mutex, Once};
use vmm::memory::{Backing, Chunks, GuestMemory};
use vmm::vm::{Crash, End};

/// Order of a 2 MiB block of frames.
const LARGE: Order = 9;

/// Bytes of free memory that guests leave to the hypervisor itself.
const RESERVE: u64 = 8 << 20;

/// Bytes that guests can have now.
pub fn free() -> u64 {
    HEAP.usage().free.saturating_sub(RESERVE)
}

/// Frames of 2 MiB that are freed when the guest that had them is gone. It has them over all its runs, but for those
/// that it gives back meanwhile.
pub struct GuestRam {
    chunks: Arc<Chunks>,
    /// Those that it has given back, and that somebody may still use. There is room for all.
    leaving: Mutex<Vec<Hpa>>,
}

impl GuestRam {
    /// Takes `bytes` of memory, rounded up to 2 MiB; `None` where there is not so much in blocks of
    /// that size.
    pub async fn take(bytes: u64) -> Option<Self> {
        if free() < bytes {
            // Taking what there is and giving it back would take it from others meanwhile.
            return None;
        }
        let count = usize::try_from(bytes.div_ceil(LARGE_PAGE)).ok()?;
        let mut leaving = Vec::new();
        leaving.try_reserve_exact(count).ok()?;
        let mut taken = Taken(Vec::new());
        taken.0.try_reserve_exact(count).ok()?;
        for i in 0..count {
            taken.0.push(HEAP.allocate_frames(LARGE)?);
            if i % 64 == 63 {
                yield_now().await;
            }
        }
        let chunks = Arc::new(Chunks::new(core::mem::take(&mut taken.0)));
        Some(Self { chunks, leaving: Mutex::new(leaving) })
    }

    /// The guest's view of the memory for one run, all zero. A CPU is given to others between the pieces.
    pub async fn zeroed(self: &Arc<Self>) -> (GuestMemory, Arc<RunMemory>) {
        let run = Arc::new(RunMemory { _ram: self.clone(), tables: Arc::default(), run: Once::new() });
        let base = HEAP.direct_map().address(Hpa::new(0));
        // SAFETY: the frames are 2 MiB each, aligned, in the direct map, and taken from the heap for this
        // guest; `run` keeps them as long as the view lives. What it gives back is freed by `reclaim`, which waits.
        let memory = unsafe { GuestMemory::with_backing(base, self.chunks.clone(), Some(run.clone())) };
        for chunk in self.chunks.places().flatten() {
            zero(chunk);
            yield_now().await;
        }
        (memory, run)
    }

    /// Bytes that the guest may use.
    pub fn bytes(&self) -> u64 {
        self.chunks.places().count() as u64 * LARGE_PAGE
    }

    /// Bytes that it has of the node's memory now.
    pub fn held(&self) -> u64 {
        self.chunks.present() + self.leaving.lock().len() as u64 * LARGE_PAGE
    }

    /// The chunks that it has given back, for `reclaim`.
    pub fn leaving(&self) -> &Mutex<Vec<Hpa>> {
        &self.leaving
    }

    /// Frees the chunks that it has given back.
    ///
    /// # Safety
    /// Nobody can reach them any more.
    pub unsafe fn free_left(&self) {
        for chunk in self.leaving.lock().drain(..) {
            // SAFETY: of this guest, and out of its table; the caller's.
            unsafe { free_chunk(chunk) };
        }
    }
}

impl Drop for GuestRam {
    fn drop(&mut self) {
        for chunk in self.chunks.places().flatten().chain(self.leaving.lock().drain(..)) {
            // SAFETY: of this guest, which is gone, with all that held an address of its memory.
            unsafe { free_chunk(chunk) };
        }
    }
}

/// Chunks on their way to a guest.
struct Taken(Vec<Hpa>);

impl Drop for Taken {
    fn drop(&mut self) {
        for chunk in self.0.drain(..) {
            // SAFETY: taken from the heap, and nobody has seen them.
            unsafe { free_chunk(chunk) };
        }
    }
}

/// The memory of a guest in one run of it.
pub struct RunMemory {
    /// Keeps the frames.
    _ram: Arc<GuestRam>,
    /// The run's. Not by way of the run, which must not be dropped here, under locks.
    tables: Arc<RunTables>,
    /// Who is to be told when there is no memory.
    run: Once<Weak<Run>>,
}

impl RunMemory {
    /// It is this run's.
    pub fn belongs_to(&self, run: &Arc<Run>) {
        self.run.call_once(|| Arc::downgrade(run));
    }

    /// The nested tables that are changed with it.
    pub fn tables(&self) -> &Arc<RunTables> {
        &self.tables
    }
}

impl Backing for RunMemory {
    fn take(&self) -> Option<Hpa> {
        let chunk = if free() < LARGE_PAGE { None } else { HEAP.allocate_frames(LARGE) };
        chunk.inspect(|&chunk| zero(chunk))
    }

    fn give_back(&self, chunk: Hpa) {
        // SAFETY: given by `take`, and nobody has used it.
        unsafe { free_chunk(chunk) };
    }

    fn map(&self, gpa: Gpa, chunk: Hpa) {
        // Before there are tables nothing is to be done: they will be made with it, or the guest will ask again.
        self.tables.change(|tables| tables.map_chunk(gpa, chunk));
    }

    fn unmap(&self, gpa: Gpa) -> bool {
        self.tables.change(|tables| tables.unmap_chunk(gpa))
    }

    fn exhausted(&self) {
        if let Some(run) = self.run.get().and_then(Weak::upgrade) {
            run.ended(End::Crash(Crash::OutOfMemory));
        }
    }
}

/// # Safety
/// The chunk was taken from the heap, and nobody can reach it any more.
unsafe fn free_chunk(chunk: Hpa) {
    // SAFETY: the caller's.
    if let Err(error) = unsafe { HEAP.free_frames(chunk, LARGE) } {
        log::error!("a guest's memory at {chunk} could not be freed: {error}");
    }
}

/// Zeroes a chunk by stores that pass the caches by, since the guest will not use most of it soon.
fn zero(chunk: Hpa) {
    let pointer: *mut u64 = HEAP.direct_map().pointer(chunk);
    let end = HEAP.direct_map().address(chunk + LARGE_PAGE).get();
    let mut saved = [0u64; 2];
    // SAFETY: 2 MiB of the guest's frames, which no vCPU reaches yet. XMM0 belongs to whatever guest's
    // state is in this CPU, and is restored.
    unsafe {
        core::arch::asm!(
            "movups [{saved}], xmm0",
            "xorps xmm0, xmm0",
            "2:",
            "movntps [{at}], xmm0",
            "movntps [{at} + 16], xmm0",
            "movntps [{at} + 32], xmm0",
            "movntps [{at} + 48], xmm0",
            "movntps [{at} + 64], xmm0",
            "movntps [{at} + 80], xmm0",
            "movntps [{at} + 96], xmm0",
            "movntps [{at} + 112], xmm0",
            "add {at}, 128",
            "cmp {at}, {end}",
            "jb 2b",
            "sfence",
            "movups xmm0, [{saved}]",
            saved = in(reg) &raw mut saved,
            at = inout(reg) pointer => _,
            end = in(reg) end,
            options(nostack),
        );
    }
}
