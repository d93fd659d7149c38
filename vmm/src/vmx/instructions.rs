//! VMX instructions, and registers that exits leave as the guest had them (SDM vol. 3C, chapter 30).
#![allow(unsafe_code)] // They exist only as instructions.

use super::field::Field;
use core::arch::asm;
use mm::addr::Hpa;

/// Reads a field of the current VMCS.
///
/// # Safety
/// The CPU has a current VMCS. (A field that the CPU does not have reads as 0.)
#[inline(always)]
pub unsafe fn vmread(field: Field) -> u64 {
    let value: u64;
    // SAFETY: the caller's. Reading has no effect but on the flags.
    unsafe { asm!("vmread {}, {}", out(reg) value, in(reg) u64::from(field.0), options(nostack)) };
    value
}

/// Writes a field of the current VMCS.
///
/// # Safety
/// The CPU has a current VMCS, and the guest that it describes reaches no more by this value than it may.
#[inline(always)]
pub unsafe fn vmwrite(field: Field, value: u64) {
    // SAFETY: the caller's.
    unsafe { asm!("vmwrite {}, {}", in(reg) u64::from(field.0), in(reg) value, options(nostack)) };
}

/// Makes the VMCS at `region` the current one.
///
/// # Safety
/// The CPU is in VMX operation; `region` holds the revision identifier, is no other CPU's current VMCS, and
/// nobody writes to it from now on.
pub unsafe fn vmptrld(region: Hpa) {
    let address = region.get();
    // SAFETY: the caller's.
    unsafe { asm!("vmptrld [{}]", in(reg) &raw const address, options(nostack)) };
}

/// Writes the VMCS at `region` back to memory; the CPU keeps nothing of it. It must be launched next.
///
/// # Safety
/// The CPU is in VMX operation, and `region` holds the revision identifier.
pub unsafe fn vmclear(region: Hpa) {
    let address = region.get();
    // SAFETY: the caller's.
    unsafe { asm!("vmclear [{}]", in(reg) &raw const address, options(nostack)) };
}

/// Drops all translations that came by way of EPT, of all guests.
///
/// # Safety
/// The CPU is in VMX operation and has INVEPT for all contexts.
pub unsafe fn invept_all() {
    let descriptor = [0u64; 2];
    // SAFETY: the caller's; dropping translations only makes the CPU walk the tables again.
    unsafe { asm!("invept {}, [{}]", in(reg) 2u64, in(reg) &raw const descriptor, options(nostack)) };
}

/// Drops all translations that have a VPID.
///
/// # Safety
/// The CPU is in VMX operation and has INVVPID for all contexts.
pub unsafe fn invvpid_all() {
    let descriptor = [0u64; 2];
    // SAFETY: as above.
    unsafe { asm!("invvpid {}, [{}]", in(reg) 2u64, in(reg) &raw const descriptor, options(nostack)) };
}

/// Runs the host's NMI handler, for an NMI that ended the guest's run, and ends the blocking of NMIs by its IRET
/// (SDM vol. 3C, 27.5.5: such an exit blocks them).
#[inline(always)]
pub fn take_nmi() {
    // SAFETY: the host's IDT has a handler for it, on a stack of its own.
    unsafe { asm!("int 2", options(nostack)) };
}

/// Lets interrupts in: one that is pending is taken before the instruction behind the NOP.
#[inline(always)]
pub fn enable_interrupts() {
    // SAFETY: the caller of `Backend::enter` expects them to be enabled.
    unsafe { asm!("sti", "nop", options(nostack)) };
}
