//! Loads and stores by address, as one instruction each: of device registers, of RAM that the program does
//! not live in, and of what is mapped nowhere.
#![allow(unsafe_code)] // Memory by its address.
use core::arch::asm;
use core::ops::Range;

/// Where the program is: code, data, stacks. `link.ld` puts it there. All RAM behind it is free.
pub const PROGRAM: Range<u64> = 0x10_0000..0x80_0000;

/// Whether nothing of the program is in `bytes` from `address`.
#[inline(always)]
pub const fn is_free(address: u64, bytes: u64) -> bool {
    address >= PROGRAM.end || address.saturating_add(bytes) <= PROGRAM.start
}

/// What one instruction loads or stores.
pub trait Word: Copy {
    /// Loads it.
    fn load(address: u64) -> Self;

    /// Stores it.
    ///
    /// # Safety
    /// The address [is free](is_free).
    unsafe fn store(self, address: u64);
}

macro_rules! word {
    ($type:ty, $class:ident, $operand:tt) => {
        impl Word for $type {
            #[inline(always)]
            fn load(address: u64) -> Self {
                let value;
                // SAFETY: whatever is there, and whatever comes of it but an exception, is a number.
                unsafe {
                    asm!(concat!("mov ", $operand, ", [{1}]"), out($class) value, in(reg) address,
                         options(nostack, preserves_flags));
                }
                value
            }

            #[inline(always)]
            unsafe fn store(self, address: u64) {
                // SAFETY: no memory of Rust's, as the caller says.
                unsafe {
                    asm!(concat!("mov [{1}], ", $operand), in($class) self, in(reg) address,
                         options(nostack, preserves_flags));
                }
            }
        }
    };
}

word!(u8, reg_byte, "{0}");
word!(u16, reg, "{0:x}");
word!(u32, reg, "{0:e}");
word!(u64, reg, "{0}");

/// Loads what is at `address`.
#[inline(always)]
pub fn load<T: Word>(address: u64) -> T {
    T::load(address)
}

/// Stores to `address`. Where the program itself is, it panics.
#[inline(always)]
#[track_caller]
pub fn store<T: Word>(address: u64, value: T) {
    assert!(is_free(address, size_of::<T>() as u64), "a store to the program itself");
    // SAFETY: asserted.
    unsafe { value.store(address) };
}
