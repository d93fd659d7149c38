//! I/O ports.
#![allow(unsafe_code)] // inline assembly: IN and OUT

use core::arch::asm;

/// An I/O port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port(pub u16);

impl Port {
    /// Reads a byte.
    ///
    /// # Safety
    /// Reading this port has no effect on memory that Rust relies on.
    #[inline]
    pub unsafe fn read_u8(self) -> u8 {
        let value;
        // SAFETY: the caller vouches for the device.
        unsafe { asm!("in al, dx", in("dx") self.0, out("al") value, options(nostack, preserves_flags)) };
        value
    }

    /// Reads 16 bits.
    ///
    /// # Safety
    /// As for [`read_u8`](Self::read_u8).
    #[inline]
    pub unsafe fn read_u16(self) -> u16 {
        let value;
        // SAFETY: the caller vouches for the device.
        unsafe { asm!("in ax, dx", in("dx") self.0, out("ax") value, options(nostack, preserves_flags)) };
        value
    }

    /// Reads 32 bits.
    ///
    /// # Safety
    /// As for [`read_u8`](Self::read_u8).
    #[inline]
    pub unsafe fn read_u32(self) -> u32 {
        let value;
        // SAFETY: the caller vouches for the device.
        unsafe { asm!("in eax, dx", in("dx") self.0, out("eax") value, options(nostack, preserves_flags)) };
        value
    }

    /// Writes a byte.
    ///
    /// # Safety
    /// What the device does on it leaves memory that Rust relies on alone.
    #[inline]
    pub unsafe fn write_u8(self, value: u8) {
        // SAFETY: the caller vouches for the device.
        unsafe { asm!("out dx, al", in("dx") self.0, in("al") value, options(nostack, preserves_flags)) };
    }

    /// Writes 16 bits.
    ///
    /// # Safety
    /// As for [`write_u8`](Self::write_u8).
    #[inline]
    pub unsafe fn write_u16(self, value: u16) {
        // SAFETY: the caller vouches for the device.
        unsafe { asm!("out dx, ax", in("dx") self.0, in("ax") value, options(nostack, preserves_flags)) };
    }

    /// Writes 32 bits.
    ///
    /// # Safety
    /// As for [`write_u8`](Self::write_u8).
    #[inline]
    pub unsafe fn write_u32(self, value: u32) {
        // SAFETY: the caller vouches for the device.
        unsafe { asm!("out dx, eax", in("dx") self.0, in("eax") value, options(nostack, preserves_flags)) };
    }

    /// The port `n` further on.
    pub const fn offset(self, n: u16) -> Self {
        Self(self.0.wrapping_add(n))
    }
}
