//! A structure in guest memory that is accessed often, such as a ring: looked up once.
#![allow(unsafe_code)] // atomic accesses through pointers that are made here

use super::chunks::Pin;
use super::guest::{GuestMemory, NotRam};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};
use mm::addr::{Gpa, LARGE_PAGE};

/// Up to 2 MiB of guest RAM, aligned, and wherever the host has them. Each access is one atomic one.
///
/// Offsets come from the device, not from the guest; one beyond the window reads as 0 and writes nothing.
#[derive(Clone)]
pub struct Window {
    /// Keeps the RAM there, and where it is.
    _pin: Arc<Pin>,
    first: *mut u8,
    /// Bytes at `first`. All that is behind them is at `second`.
    first_bytes: u32,
    second: *mut u8,
    bytes: u32,
    align: u32,
}

// SAFETY: the pointers are to guest RAM, which `_pin` keeps, and which may be accessed from any CPU by atomics.
unsafe impl Send for Window {}
// SAFETY: as above.
unsafe impl Sync for Window {}

macro_rules! accessors {
    ($load:ident, $store:ident, $int:ty, $atomic:ty) => {
        /// Loads what is `offset` bytes in, before all later accesses.
        #[inline(always)]
        pub fn $load(&self, offset: u32) -> $int {
            match self.pointer(offset, size_of::<$int>() as u32) {
                // SAFETY: guest RAM of the type's size and alignment (`pointer`), which `self` keeps.
                Some(p) => unsafe { <$atomic>::from_ptr(p.cast()) }.load(Ordering::Acquire),
                None => 0,
            }
        }

        /// Stores it there, after all earlier accesses.
        #[inline(always)]
        pub fn $store(&self, offset: u32, value: $int) {
            if let Some(p) = self.pointer(offset, size_of::<$int>() as u32) {
                // SAFETY: as for the load.
                unsafe { <$atomic>::from_ptr(p.cast()) }.store(value, Ordering::Release);
            }
        }
    };
}

impl Window {
    /// The `bytes` at `gpa`, which is to be a multiple of `align`, a power of two up to 16.
    ///
    /// # Errors
    /// Where they are not all RAM, are misaligned, or more than 2 MiB.
    pub fn new(memory: &Arc<GuestMemory>, gpa: Gpa, bytes: u32, align: u32) -> Result<Self, NotRam> {
        let refused = NotRam(gpa);
        let whole = u64::from(bytes) <= LARGE_PAGE && bytes != 0;
        if !whole || !matches!(align, 1 | 2 | 4 | 8 | 16) || !gpa.is_aligned(align.into()) {
            return Err(refused);
        }
        // First pinned, then looked up.
        let last = gpa.checked_add(u64::from(bytes) - 1).ok_or(refused)?;
        let pin = Pin::new(memory, gpa, last).ok_or(refused)?;
        let (host, room) = memory.run(gpa).ok_or(refused)?;
        let first = memory.pointer(host);
        // Less than 2 MiB, or all.
        let first_bytes = u64::from(bytes).min(room) as u32;
        let mut second = first;
        if first_bytes < bytes {
            let behind = gpa.checked_add(first_bytes.into()).ok_or(refused)?;
            let (host, room) = memory.run(behind).ok_or(NotRam(behind))?;
            if room < u64::from(bytes - first_bytes) {
                return Err(NotRam(behind));
            }
            second = memory.pointer(host);
        }
        Ok(Self { _pin: Arc::new(pin), first, first_bytes, second, bytes, align })
    }

    /// Bytes.
    pub fn bytes(&self) -> u32 {
        self.bytes
    }

    /// `size` (up to 8) bytes of RAM at `offset`, aligned to as many. A power-of-two size that aligns both the window
    /// and the offset can't lie across the boundary of two chunks.
    #[inline(always)]
    fn pointer(&self, offset: u32, size: u32) -> Option<*mut u8> {
        let inside = offset < self.bytes && size <= self.bytes - offset;
        if !inside || offset & (size - 1) != 0 || size > self.align {
            return None;
        }
        Some(if offset < self.first_bytes {
            self.first.wrapping_add(offset as usize)
        } else {
            self.second.wrapping_add((offset - self.first_bytes) as usize)
        })
    }

    accessors!(load_u16, store_u16, u16, AtomicU16);
    accessors!(load_u32, store_u32, u32, AtomicU32);
    accessors!(load_u64, store_u64, u64, AtomicU64);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::on_heap::HeapMemory;

    #[test]
    fn a_structure_across_two_chunks_is_one() {
        let memory = HeapMemory::new(4);
        let at = LARGE_PAGE - 32;
        let window = Window::new(&memory.share(), Gpa::new(at), 64, 16).unwrap();
        for i in 0..8 {
            window.store_u64(8 * i, 100 + u64::from(i));
        }
        for i in 0..8 {
            assert_eq!(memory.read_uint(Gpa::new(at + 8 * i), 8), Ok(100 + i));
            assert_eq!(window.load_u16(8 * i as u32), 100 + i as u16);
        }
    }

    #[test]
    fn what_is_not_wholly_ram_is_refused() {
        let memory = HeapMemory::new(4);
        let shared = memory.share();
        let new = |at, bytes, align| Window::new(&shared, Gpa::new(at), bytes, align).is_ok();
        assert!(new(0x9_fff0, 16, 16) && !new(0x9_fff0, 32, 16), "into the video window");
        assert!(!new(0xa_0000, 16, 16) && new(0xc_0000, 16, 16));
        assert!(new((4 << 20) - 16, 16, 16) && !new((4 << 20) - 16, 17, 16), "beyond the end");
        assert!(!new(8, 64, 16) && !new(2, 64, 4) && new(2, 64, 2), "misaligned");
        assert!(!new(0, 0, 16) && !new(0, u32::MAX, 16) && !new(0, 16, 3));
        assert!(!new((1 << 52) - 16, 64, 16));
    }

    #[test]
    fn offsets_beyond_it_or_misaligned_reach_nothing() {
        let memory = HeapMemory::new(2);
        memory.write(Gpa::new(0x1000), &[0xff; 64]).unwrap();
        let window = Window::new(&memory.share(), Gpa::new(0x1000), 30, 4).unwrap();
        assert_eq!((window.load_u16(28), window.load_u16(30), window.load_u32(28)), (0xffff, 0, 0));
        assert_eq!((window.load_u32(2), window.load_u64(0), window.load_u32(u32::MAX)), (0, 0, 0));
        window.store_u16(30, 0);
        window.store_u32(28, 0);
        window.store_u32(u32::MAX - 3, 0);
        assert_eq!(memory.read_uint(Gpa::new(0x101c), 8), Ok(u64::MAX));
    }
}
