//! Loads, copies and fills of memory that guests' CPUs and devices change at any time: in assembly, since no Rust access may
//! meet such memory.
#![allow(unsafe_code)] // assembly

use core::arch::asm;

/// One eight-byte load from any address.
///
/// # Safety
/// `from` is eight readable bytes.
#[inline(always)]
pub unsafe fn read_unaligned(from: *const u64) -> u64 {
    let value;
    // SAFETY: the caller's; assembly, because `read_volatile` demands alignment that x86 does not.
    unsafe {
        asm!("mov {}, [{}]", out(reg) value, in(reg) from, options(nostack, preserves_flags, readonly))
    };
    value
}

/// Copies from or to shared memory.
///
/// # Safety
/// `from` and `to` are `len` bytes that do not overlap.
#[inline]
pub unsafe fn copy(mut from: *const u8, mut to: *mut u8, len: usize) {
    let mut tail = len;
    // A string instruction takes longer to begin than these to end.
    while tail >= 8 && len < 64 {
        // SAFETY: the caller's.
        unsafe {
            asm!("mov {t}, [{f}]", "mov [{o}], {t}", t = out(reg) _, f = in(reg) from, o = in(reg) to,
                 options(nostack, preserves_flags));
            (from, to) = (from.add(8), to.add(8));
        }
        tail -= 8;
    }
    if len >= 64 {
        // SAFETY: the caller's. The direction flag is clear, by the ABI.
        unsafe {
            asm!("rep movsq", inout("rcx") len / 8 => _, inout("rsi") from, inout("rdi") to,
                 options(nostack, preserves_flags));
        }
        tail = len % 8;
    }
    if tail == 0 {
        return;
    }
    // SAFETY: the caller's, for what is left.
    unsafe {
        asm!("rep movsb", inout("rcx") tail => _, inout("rsi") from => _, inout("rdi") to => _,
             options(nostack, preserves_flags));
    }
}

/// Zeroes shared memory.
///
/// # Safety
/// `to` is `len` writable bytes.
pub unsafe fn fill_zero(to: *mut u8, len: usize) {
    // SAFETY: the caller's. The direction flag is clear, by the ABI.
    unsafe {
        asm!("rep stosq", inout("rcx") len / 8 => _, inout("rdi") to => _, in("rax") 0u64,
             options(nostack, preserves_flags));
        let tail = to.add(len & !7);
        asm!("rep stosb", inout("rcx") len % 8 => _, inout("rdi") tail => _, in("al") 0u8,
             options(nostack, preserves_flags));
    }
}
