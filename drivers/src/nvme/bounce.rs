//! Data that neither PRP entries nor SGL descriptors can name goes through memory of the queue's own.
//!
//! The last resort: it costs a copy. A queue has [`BUFFERS`] of [`BUFFER_BYTES`], made with it, so that a
//! request for which there is no memory left waits for the ones before it instead of failing.
#![allow(unsafe_code)] // copies from and to the memory that requests name

use crate::request::Cursor;
use crate::{DmaMemory, Kernel};
use alloc::boxed::Box;
use alloc::vec::Vec;
use block::Segment;
use mm::{DirectMap, Hpa};

/// Buffers of a queue.
const BUFFERS: usize = 8;
/// Bytes of a buffer: at least a block.
pub(super) const BUFFER_BYTES: u64 = 16 << 10;

/// The buffers of one queue.
pub(super) struct Buffers {
    memory: DmaMemory,
    direct_map: DirectMap,
    free: Vec<u8>,
}

/// A buffer that a command has.
pub(super) struct Bounced {
    buffer: u8,
    /// What of the request it holds.
    segments: Box<[Segment]>,
    at: Cursor,
    bytes: u64,
    /// Data comes from the device.
    read: bool,
}

impl Buffers {
    /// `None` where there is no memory.
    pub fn new(kernel: &dyn Kernel) -> Option<Self> {
        let memory = kernel.allocate_dma(BUFFERS * BUFFER_BYTES as usize, false)?;
        Some(Self { memory, direct_map: kernel.direct_map(), free: (0..BUFFERS as u8).collect() })
    }

    pub fn available(&self) -> bool {
        !self.free.is_empty()
    }

    /// Takes a buffer for `bytes` from `at` on, at most [`BUFFER_BYTES`], and, for a write, fills it. `None` where
    /// there is no buffer or no memory to remember the segments by.
    pub fn take(&mut self, segments: &[Segment], at: Cursor, bytes: u64, read: bool) -> Option<Bounced> {
        let end = at.advance(segments, bytes - 1);
        let mine = segments.get(at.index..=end.index)?;
        let mut kept = Vec::new();
        kept.try_reserve_exact(mine.len()).ok()?;
        kept.extend_from_slice(mine);
        let at = Cursor { index: 0, offset: at.offset };
        let buffer = self.free.pop()?;
        let bounced = Bounced { buffer, segments: kept.into_boxed_slice(), at, bytes, read };
        if !read {
            self.copy(&bounced, false);
        }
        Some(bounced)
    }

    /// The buffer, as a segment.
    pub fn segment(&self, bounced: &Bounced) -> Segment {
        let address: Hpa = self.memory.address() + u64::from(bounced.buffer) * BUFFER_BYTES;
        // At most BUFFER_BYTES.
        Segment { address, bytes: bounced.bytes as u32 }
    }

    /// Takes a buffer back; what was read goes where it was asked for, if the command has succeeded.
    pub fn give_back(&mut self, bounced: Bounced, succeeded: bool) {
        if bounced.read && succeeded {
            self.copy(&bounced, true);
        }
        self.free.push(bounced.buffer);
    }

    fn copy(&self, bounced: &Bounced, out: bool) {
        let mut buffer: *mut u8 = self.direct_map.pointer(self.segment(bounced).address);
        for (address, len) in bounced.at.pieces(&bounced.segments, bounced.bytes) {
            let data: *mut u8 = self.direct_map.pointer(address);
            let (from, to) = if out { (buffer, data) } else { (data, buffer) };
            // SAFETY: the pieces add up to `bytes`, which the buffer has, and it is this command's alone. The
            // data is the request's memory, whose owner keeps it until the request is completed, which is after
            // this. A guest may change it meanwhile: so no Rust copy, but an instruction; the direction flag is
            // clear, by the ABI.
            unsafe {
                core::arch::asm!("rep movsb", inout("rcx") len => _, inout("rsi") from => _, inout("rdi") to => _,
                    options(nostack, preserves_flags));
                buffer = buffer.add(len as usize);
            }
        }
    }
}
