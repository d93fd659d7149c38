//! The jump from the loader's address space into the kernel's, as the hand-over promises it.
//!
//! [`switch`] runs from pages that both address spaces map at the same address: they are a part of the
//! loader itself, which was loaded as code, so that nothing executable has to be made.
#![allow(unsafe_code)] // Control registers, and the end of this program.
use core::arch::{asm, naked_asm};
use handover::Extent;
use mm::addr::PAGE;

/// Where to go, all in the kernel's address space but `page_table`.
pub struct Target {
    /// Physical address of the PML4.
    pub page_table: u64,
    /// First address after the stack.
    pub stack_top: u64,
    /// The boot information.
    pub boot_info: u64,
    /// The kernel's entry point.
    pub entry: u64,
}

/// Room that [`switch`] is known to fit into.
const SWITCH_BYTES: u64 = 128;
const EFER: u32 = 0xc000_0080;
const EFER_NXE: u32 = 1 << 11;
const CR0_WP: u64 = 1 << 16;
/// PAE, OSFXSR, OSXMMEXCPT: the CR4 that the kernel is promised, without what the firmware may have
/// switched on (global pages, PCIDs, CET, SMEP, SMAP).
const CR4: u64 = 1 << 5 | 1 << 9 | 1 << 10;

/// The pages that the jump executes in, for a loader whose code lies `moved` bytes above (wrapping) the
/// addresses that it is linked to. They are to be mapped at their physical addresses by both address spaces.
pub fn trampoline(moved: u64) -> Extent {
    let at = (switch as *const () as u64).wrapping_add(moved);
    let base = at & !(PAGE - 1);
    Extent { base, len: (at + SWITCH_BYTES).next_multiple_of(PAGE) - base }
}

/// Enters the kernel; `moved` as in [`trampoline`].
///
/// # Safety
/// The processor passed [`crate::cpu::check`] and is in 64-bit mode with four levels of page tables, nobody
/// else runs on the machine, and `target` is what [`crate::address_space::Plan::build`] made for a checked
/// kernel and [`trampoline`], with a stack and the boot information in the direct map.
pub unsafe fn enter(target: Target, moved: u64) -> ! {
    // SAFETY: `cpu::NEEDED` has NX, so that EFER.NXE exists; setting it changes nothing for the
    // firmware's tables, where bit 63 is zero or NXE is set already.
    unsafe {
        asm!(
            "rdmsr", "or eax, {nxe}", "wrmsr",
            nxe = const EFER_NXE, in("ecx") EFER, out("eax") _, out("edx") _, options(nostack)
        );
    }
    let at = (switch as *const () as u64).wrapping_add(moved);
    // SAFETY: the code of `switch` touches no memory but its own, so that it does the same at any address;
    // it is mapped, executable, at this one, as the caller says.
    let switch: Switch = unsafe { core::mem::transmute(at) };
    // SAFETY: `page_table` maps the trampoline one to one, executable, and the direct map, which holds the
    // stack and the boot information; the kernel's entry is in one of its executable segments. Nobody needs
    // the present stack or interrupts any more.
    unsafe { switch(target.boot_info, target.entry, target.stack_top, target.page_table, CR4) }
}

type Switch = unsafe extern "sysv64" fn(u64, u64, u64, u64, u64) -> !;

/// Loads CR4, CR3, CR0.WP and the stack, and jumps. Touches no memory between.
#[unsafe(naked)]
unsafe extern "sysv64" fn switch(boot_info: u64, entry: u64, stack_top: u64, page_table: u64, cr4: u64) -> ! {
    naked_asm!(
        "cli",
        "cld",
        // Without PGE and PCIDE, the load of CR3 leaves no translation of the firmware's.
        "mov cr4, r8",
        "mov cr3, rcx",
        "mov rax, cr0",
        "or rax, {wp}",
        "mov cr0, rax",
        "mov rsp, rdx",
        // No caller: back-traces end here.
        "xor ebp, ebp",
        "push rbp",
        "jmp rsi",
        wp = const CR0_WP,
    )
}
