//! Instructions of this guest beside [those of every](bare::instructions): control and debug registers.
#![allow(unsafe_code)] // Instructions.
pub use bare::instructions::*;
use core::arch::asm;

const EFER: u32 = 0xc000_0080;

/// Reads of a register.
macro_rules! readable {
    ($read:ident, $name:literal) => {
        #[doc = concat!("Reads ", $name, ".")]
        pub fn $read() -> u64 {
            let value;
            // SAFETY: reads a register.
            unsafe { asm!(concat!("mov {}, ", $name), out(reg) value, options(nostack, preserves_flags)) };
            value
        }
    };
}

/// Writes of a register that change nothing of where memory is, or of what mode the CPU is in.
macro_rules! writable {
    ($write:ident, $name:literal) => {
        #[doc = concat!("Writes ", $name, ".")]
        pub fn $write(value: u64) {
            // SAFETY: as the comment beside each use says, memory and the CPU's mode stay as they are.
            unsafe { asm!(concat!("mov ", $name, ", {}"), in(reg) value, options(nostack, preserves_flags)) };
        }
    };
}

readable!(cr0, "cr0");
readable!(cr2, "cr2");
readable!(cr3, "cr3");
readable!(cr4, "cr4");
readable!(cr8, "cr8");
readable!(dr6, "dr6");
// The CPU refuses the bits that would change the format of page tables in 64-bit mode (SDM vol. 3A, 4.1.2).
// With the others an address is what it was, or not accessible, which is an exception.
writable!(set_cr4, "cr4");
// A priority.
writable!(set_cr8, "cr8");
// Breakpoints and what is noted of them: an exception at most.
writable!(set_dr0, "dr0");
writable!(set_dr6, "dr6");
writable!(set_dr7, "dr7");

/// Writes CR0.
///
/// # Safety
/// The CPU refuses the value, or stays in 64-bit mode and caches memory as before.
pub unsafe fn set_cr0(value: u64) {
    // SAFETY: the caller's promise.
    unsafe { asm!("mov cr0, {}", in(reg) value, options(nostack, preserves_flags)) };
}

/// Writes CR3.
///
/// # Safety
/// The tables there map the program to where it is.
pub unsafe fn set_cr3(value: u64) {
    // SAFETY: the caller's promise.
    unsafe { asm!("mov cr3, {}", in(reg) value, options(nostack, preserves_flags)) };
}

/// Reads EFER.
pub fn efer() -> u64 {
    rdmsr(EFER)
}

/// Writes EFER.
pub fn set_efer(value: u64) {
    // SAFETY: with paging on the CPU refuses to leave long mode. Without NXE an entry that has NX maps
    // nothing, which is an exception.
    unsafe { wrmsr(EFER, value) };
}

/// Writes an extended control register.
pub fn xsetbv(index: u32, value: u64) {
    // SAFETY: it says which registers XSAVE saves, of which the program uses none.
    unsafe {
        asm!("xsetbv", in("ecx") index, in("eax") value as u32, in("edx") (value >> 32) as u32,
             options(nostack, preserves_flags));
    }
}

/// Drops the translation of an address.
pub fn invlpg(address: u64) {
    // SAFETY: what the tables say holds all the more.
    unsafe { asm!("invlpg [{}]", in(reg) address, options(nostack, preserves_flags)) };
}

/// An exception.
pub fn ud2() {
    // SAFETY: raises #UD.
    unsafe { asm!("ud2", options(nostack)) };
}

/// The stack pointer.
pub fn rsp() -> u64 {
    let value;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rsp", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}
