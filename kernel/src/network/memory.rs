//! The memory that frames lie in, read by the CPU.
#![allow(unsafe_code)] // reads what is named by physical addresses

use crate::memory::DIRECT;
use mm::Segment;
use net::offload::Memory;

/// Host-physical memory where it is mapped.
pub struct DirectMemory;

impl Memory for DirectMemory {
    fn read(&self, segment: Segment, into: &mut [u8]) {
        let from = DIRECT.pointer::<u8>(segment.address).cast_const();
        let bytes = into.len().min(segment.bytes as usize);
        for (i, byte) in into.iter_mut().take(bytes).enumerate() {
            // SAFETY: frames are of RAM, all of which is mapped there, and who gives one keeps it until it is let go
            // (`net::nic`). A guest or a device may write to it meanwhile, hence volatile.
            *byte = unsafe { from.add(i).read_volatile() };
        }
    }
}
