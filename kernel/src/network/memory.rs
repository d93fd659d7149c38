//! The memory that frames lie in, read by the CPU.
#![allow(unsafe_code)] // reads what is named by physical addresses

use crate::memory::DIRECT;
use mm::{Segment, shared};
use net::offload::Memory;

/// Host-physical memory where it is mapped.
pub struct DirectMemory;

impl Memory for DirectMemory {
    fn read(&self, segment: Segment, into: &mut [u8]) {
        let from = DIRECT.pointer::<u8>(segment.address).cast_const();
        let bytes = into.len().min(segment.bytes as usize);
        // SAFETY: frames are of RAM, all of which is mapped there, and who gives one keeps it until it is let go
        // (`net::nic`). A guest or a device may write to it meanwhile, which `shared` is for.
        unsafe { shared::copy(from, into.as_mut_ptr(), bytes) };
    }
}
