//! A disk in memory: a file of the boot volume, or what a test needs.
#![allow(unsafe_code)] // copies between two runs of physical memory

use crate::{BlockDevice, BlockError, Features, Geometry, Identity, Operation, Request};
use alloc::string::String;
use mm::DirectMap;
use mm::addr::Hpa;

/// Bytes of a block.
const BLOCK: u64 = 512;

/// A disk whose blocks are physical memory. What is written is lost with the power.
pub struct MemoryDisk {
    identity: Identity,
    geometry: Geometry,
    direct_map: DirectMap,
    /// First byte.
    memory: Hpa,
}

impl MemoryDisk {
    /// A disk of `bytes` (rounded down to whole blocks of 512) at `memory`.
    ///
    /// # Safety
    /// They are mapped writable at `direct_map` and nobody else uses them, as long as the disk lives.
    pub unsafe fn new(name: String, direct_map: DirectMap, memory: Hpa, bytes: u64) -> Self {
        let features =
            Features { discard: true, write_zeroes: true, solid_state: true, ..Features::default() };
        Self {
            identity: Identity { name, model: "PureVisor memory disk".into(), ..Identity::default() },
            geometry: Geometry {
                block_size: BLOCK as u32,
                blocks: bytes / BLOCK,
                physical_block_size: 4096,
                best_blocks: 2048,
                features,
            },
            direct_map,
            memory,
        }
    }

    fn perform(&self, request: &Request<'_>) -> Result<(), BlockError> {
        self.geometry.check(request)?;
        let mut at = self.direct_map.pointer::<u8>(self.memory + request.block * BLOCK);
        if let Operation::WriteZeroes { .. } = request.operation {
            // SAFETY: `check` has found these blocks to be the disk's, whose memory is ours.
            unsafe { zero_bytes(at, (request.blocks * BLOCK) as usize) };
        }
        for segment in request.segments {
            let (other, len) = (self.direct_map.pointer::<u8>(segment.address), segment.bytes as usize);
            // SAFETY: the disk's blocks as above, since the segments add up to them; the segment is memory
            // that the request lends us, and can't overlap the disk's, which nobody else has. A guest may change
            // its memory meanwhile, and another request the same blocks: so no Rust copy, but an instruction.
            unsafe {
                match request.operation {
                    Operation::Read => move_bytes(at, other, len),
                    _ => move_bytes(other, at, len),
                }
                at = at.add(len);
            }
        }
        Ok(())
    }
}

/// Moves `len` bytes.
///
/// # Safety
/// Both are `len` bytes that may be accessed so, and don't overlap.
unsafe fn move_bytes(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: the caller's. The direction flag is clear, by the ABI.
    unsafe {
        core::arch::asm!("rep movsb", inout("rcx") len => _, inout("rsi") from => _, inout("rdi") to => _,
            options(nostack, preserves_flags));
    }
}

/// Zeroes `len` bytes.
///
/// # Safety
/// They may be written.
unsafe fn zero_bytes(to: *mut u8, len: usize) {
    // SAFETY: the caller's. The direction flag is clear, by the ABI.
    unsafe {
        core::arch::asm!("rep stosb", inout("rcx") len => _, inout("rdi") to => _, in("al") 0u8,
            options(nostack, preserves_flags));
    }
}

impl BlockDevice for MemoryDisk {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    fn submit(&self, request: Request<'_>) {
        let result = self.perform(&request);
        request.done.complete(result);
    }

    fn start(&self) {}
}
