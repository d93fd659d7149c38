//! Data at odd addresses, or beyond what the HBA reaches, goes through memory of the disk's own.
//!
//! The last resort: it costs a copy. Buffers are made when first needed and kept; a request for which there is
//! none waits for the ones before it.
#![allow(unsafe_code)] // copies from and to the memory that requests name

use crate::request::Cursor;
use crate::{DmaMemory, Kernel};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use block::Segment;
use mm::Hpa;

/// Most buffers of a disk.
const BUFFERS: usize = 8;
/// Bytes of a buffer: at least a block.
pub(super) const BUFFER_BYTES: u64 = 64 << 10;

/// The buffers of one disk.
pub(super) struct Buffers {
    kernel: Arc<dyn Kernel>,
    low: bool,
    free: Vec<DmaMemory>,
    made: usize,
}

/// A buffer that a command has.
pub(super) struct Bounced {
    buffer: DmaMemory,
    /// What of the request it holds.
    segments: Box<[Segment]>,
    at: Cursor,
    bytes: u64,
    /// Data comes from the device.
    read: bool,
}

/// Why there is no buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoBuffer {
    /// Commands in flight have them: wait.
    Busy,
    /// There is no memory for a single one.
    NoMemory,
}

impl Bounced {
    /// The buffer, as a segment.
    pub fn segment(&self) -> Segment {
        // At most BUFFER_BYTES.
        Segment { address: self.buffer.address(), bytes: self.bytes as u32 }
    }
}

impl Buffers {
    pub fn new(kernel: Arc<dyn Kernel>, low: bool) -> Self {
        Self { kernel, low, free: Vec::new(), made: 0 }
    }

    /// Takes a buffer for `bytes` from `at` on, 1 to [`BUFFER_BYTES`], and, for a write, fills it.
    pub fn take(
        &mut self,
        segments: &[Segment],
        at: Cursor,
        bytes: u64,
        read: bool,
    ) -> Result<Bounced, NoBuffer> {
        let end = at.advance(segments, bytes - 1);
        let mine = segments.get(at.index..=end.index).ok_or(NoBuffer::NoMemory)?;
        let mut kept = Vec::new();
        kept.try_reserve_exact(mine.len()).map_err(|_| NoBuffer::NoMemory)?;
        kept.extend_from_slice(mine);
        let at = Cursor { index: 0, offset: at.offset };
        let buffer = self.buffer()?;
        let bounced = Bounced { buffer, segments: kept.into_boxed_slice(), at, bytes, read };
        if !read {
            self.copy(&bounced, false);
        }
        Ok(bounced)
    }

    fn buffer(&mut self) -> Result<DmaMemory, NoBuffer> {
        if let Some(buffer) = self.free.pop() {
            return Ok(buffer);
        }
        let none = if self.made == 0 { NoBuffer::NoMemory } else { NoBuffer::Busy };
        if self.made == BUFFERS {
            return Err(NoBuffer::Busy);
        }
        let buffer = self.kernel.allocate_dma(BUFFER_BYTES as usize, self.low).ok_or(none)?;
        self.made += 1;
        Ok(buffer)
    }

    /// Takes a buffer back; what was read goes where it was asked for, if the command has succeeded.
    pub fn give_back(&mut self, bounced: Bounced, succeeded: bool) {
        if bounced.read && succeeded {
            self.copy(&bounced, true);
        }
        self.free.push(bounced.buffer);
    }

    fn copy(&self, bounced: &Bounced, out: bool) {
        let map = self.kernel.direct_map();
        let mut buffer: *mut u8 = map.pointer(bounced.buffer.address());
        for (address, len) in bounced.at.pieces(&bounced.segments, bounced.bytes) {
            let data: *mut u8 = map.pointer(Hpa::new_truncate(address.get()));
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
