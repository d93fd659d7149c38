//! The host memory behind a guest's RAM.
#![allow(unsafe_code)] // frames become guest memory and go back to the heap

use crate::memory::HEAP;
use alloc::vec::Vec;
use executor::yield_now;
use mm::addr::{Hpa, LARGE_PAGE};
use mm::frames::Order;
use vmm::memory::GuestMemory;

/// Order of a 2 MiB block of frames.
const LARGE: Order = 9;

/// Frames of 2 MiB that are freed when the guest that had them is gone.
pub struct GuestRam {
    chunks: Vec<Hpa>,
}

impl GuestRam {
    /// Takes `bytes` of memory, rounded up to 2 MiB; `None` where there is not so much in blocks of
    /// that size.
    pub async fn take(bytes: u64) -> Option<Self> {
        if HEAP.usage().free < bytes {
            // Taking what there is and giving it back would take it from others meanwhile.
            return None;
        }
        let count = usize::try_from(bytes.div_ceil(LARGE_PAGE)).ok()?;
        let mut ram = Self { chunks: Vec::new() };
        ram.chunks.try_reserve_exact(count).ok()?;
        for i in 0..count {
            ram.chunks.push(HEAP.allocate_frames(LARGE)?);
            if i % 64 == 63 {
                yield_now().await;
            }
        }
        Some(ram)
    }

    /// The guest's view of the memory, all zero. A CPU is given to others between the pieces.
    pub async fn zeroed(&self) -> GuestMemory {
        // SAFETY: the frames are 2 MiB each, aligned, in the direct map, and taken from the heap for this
        // guest; `Run` drops the view before the frames.
        let memory = unsafe { GuestMemory::new(HEAP.direct_map().address(Hpa::new(0)), self.chunks.clone()) };
        for chunk in &self.chunks {
            zero(*chunk);
            yield_now().await;
        }
        memory
    }

    /// Bytes.
    pub fn bytes(&self) -> u64 {
        self.chunks.len() as u64 * LARGE_PAGE
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

impl Drop for GuestRam {
    fn drop(&mut self) {
        for chunk in self.chunks.drain(..) {
            // SAFETY: taken from the heap in `take`; the guest that used it is gone.
            if let Err(error) = unsafe { HEAP.free_frames(chunk, LARGE) } {
                log::error!("a guest's memory at {chunk} could not be freed: {error}");
            }
        }
    }
}
