//! Memory that driver and device share.
#![allow(unsafe_code)] // Volatile access to memory that a device may change at any time, here only.

use crate::Kernel;
use alloc::sync::Arc;
use mm::addr::{Hpa, PAGE};
use mm::shared;

/// Zeroed, physically contiguous pages that a device reads and writes. Every access is volatile and checked
/// against the memory's bounds; an index that a device has said can't reach beyond.
pub struct DmaMemory {
    kernel: Arc<dyn Kernel>,
    address: Hpa,
    bytes: usize,
    pointer: *mut u8,
}

// SAFETY: the pages are this value's alone, and each access to them is volatile and of plain integers.
unsafe impl Send for DmaMemory {}
// SAFETY: likewise; concurrent accesses get one value or the other.
unsafe impl Sync for DmaMemory {}

/// What may be read from and written to shared memory: integers, for which any bits are a value.
pub trait Plain: Copy + private::Sealed {}

mod private {
    pub trait Sealed {}
}

macro_rules! plain {
    ($($int:ty),*) => {$(
        impl private::Sealed for $int {}
        impl Plain for $int {}
    )*};
}
plain!(u8, u16, u32, u64);

impl DmaMemory {
    /// Takes over `bytes`, whole pages, at `address`.
    ///
    /// # Safety
    /// They are zero, mapped writable in the kernel's direct map, nobody else's, and may be given back by
    /// [`Kernel::free_dma`].
    pub unsafe fn new(kernel: Arc<dyn Kernel>, address: Hpa, bytes: usize) -> Self {
        let pointer = kernel.direct_map().pointer(address);
        debug_assert!(address.is_aligned(PAGE) && (bytes as u64).is_multiple_of(PAGE));
        Self { kernel, address, bytes, pointer }
    }

    /// Physical address of its first byte.
    pub fn address(&self) -> Hpa {
        self.address
    }

    /// Bytes; a multiple of 4096.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    #[inline]
    fn place<T: Plain>(&self, offset: usize) -> *mut T {
        assert!(
            offset.is_multiple_of(size_of::<T>())
                && offset < self.bytes
                && self.bytes - offset >= size_of::<T>(),
            "an access at {offset:#x} of {:#x} bytes of DMA memory",
            self.bytes
        );
        // SAFETY: within the pages, as just checked.
        unsafe { self.pointer.add(offset).cast() }
    }

    /// Reads the integer at a byte offset, in one access.
    ///
    /// # Panics
    /// Where it is not aligned or not within the memory: an error of the driver, which never takes an offset
    /// from a device unchecked.
    #[inline]
    pub fn read<T: Plain>(&self, offset: usize) -> T {
        // SAFETY: aligned and in bounds (`place`); any bits are a value of an integer.
        unsafe { self.place::<T>(offset).read_volatile() }
    }

    /// Writes the integer at a byte offset, in one access.
    ///
    /// # Panics
    /// As [`Self::read`].
    #[inline]
    pub fn write<T: Plain>(&self, offset: usize, value: T) {
        // SAFETY: aligned and in bounds (`place`).
        unsafe { self.place::<T>(offset).write_volatile(value) }
    }

    /// Writes integers one after another from a byte offset on, in one access each and in order.
    ///
    /// # Panics
    /// As [`Self::read`].
    #[inline]
    pub fn write_all<T: Plain, const N: usize>(&self, offset: usize, values: &[T; N]) {
        let first = self.place::<T>(offset);
        assert!(self.bytes - offset >= size_of::<[T; N]>(), "{N} integers at {offset:#x} of DMA memory");
        for (i, value) in values.iter().enumerate() {
            // SAFETY: aligned (`place`), and all within the pages, as just checked.
            unsafe { first.add(i).write_volatile(*value) };
        }
    }

    /// Copies bytes out.
    ///
    /// # Panics
    /// Where they are not within the memory.
    #[inline]
    pub fn copy_out(&self, offset: usize, into: &mut [u8]) {
        let from = self.range(offset, into.len());
        // SAFETY: within the pages, as just checked; the slice is the caller's alone.
        unsafe { shared::copy(from, into.as_mut_ptr(), into.len()) };
    }

    /// Copies bytes in.
    ///
    /// # Panics
    /// Where they are not within the memory.
    #[inline]
    pub fn copy_in(&self, offset: usize, from: &[u8]) {
        let to = self.range(offset, from.len());
        // SAFETY: as in `copy_out`.
        unsafe { shared::copy(from.as_ptr(), to, from.len()) };
    }

    #[inline]
    fn range(&self, offset: usize, len: usize) -> *mut u8 {
        assert!(
            offset <= self.bytes && self.bytes - offset >= len,
            "{len} bytes at {offset:#x} of {:#x} bytes of DMA memory",
            self.bytes
        );
        // SAFETY: within the pages or at their end, as just checked.
        unsafe { self.pointer.add(offset) }
    }
}

impl Drop for DmaMemory {
    fn drop(&mut self) {
        // SAFETY: the pages came by `new`, whose caller allows it, and go with their only owner.
        unsafe { self.kernel.free_dma(self.address, self.bytes) };
    }
}
