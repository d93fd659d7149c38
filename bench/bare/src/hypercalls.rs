//! Hypercalls.
#![allow(unsafe_code)] // instructions that leave the guest

use bare::instructions::cpuid;
use core::arch::asm;

/// Whether the processor is Intel's, whose hypercall is another instruction.
pub fn is_intel() -> bool {
    let [_, _, last, _] = cpuid(0, 0);
    last == u32::from_le_bytes(*b"ntel")
}

/// A hypercall of this number, without arguments, on an Intel processor.
#[inline(always)]
pub fn vmcall(number: u64) {
    // SAFETY: no such number does anything to memory.
    unsafe { asm!("vmcall", inout("rax") number => _, options(nostack, preserves_flags)) };
}

/// The same on an AMD processor.
#[inline(always)]
pub fn vmmcall(number: u64) {
    // SAFETY: as above.
    unsafe { asm!("vmmcall", inout("rax") number => _, options(nostack, preserves_flags)) };
}
