//! The instructions that read and write the CPU's own registers. Nothing else in the kernel has them,
//! so that what touches a CPU's state can be found by who calls these.
#![allow(unsafe_code)] // inline assembly: each function is one privileged instruction

use core::arch::asm;
pub use core::arch::x86_64::CpuidResult;

/// A model-specific register's address (SDM vol. 4; APM vol. 2, appendix A).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Msr(pub u32);

impl Msr {
    /// IA32_APIC_BASE.
    pub const APIC_BASE: Self = Self(0x1b);
    /// IA32_PAT.
    pub const PAT: Self = Self(0x277);
    /// IA32_TSC_DEADLINE.
    pub const TSC_DEADLINE: Self = Self(0x6e0);
    /// First x2APIC register: the register at MMIO offset `n` is `0x800 + n / 16`.
    pub const X2APIC: Self = Self(0x800);
    /// Extended feature enable register.
    pub const EFER: Self = Self(0xc000_0080);
    /// Base address of the GS segment.
    pub const GS_BASE: Self = Self(0xc000_0101);
}

/// Reads an MSR.
///
/// # Safety
/// The CPU has the register; reading an absent one is a general-protection fault.
#[inline]
pub unsafe fn rdmsr(msr: Msr) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: the caller says that the register exists; reading it changes nothing in memory.
    unsafe {
        asm!("rdmsr", in("ecx") msr.0, out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// Writes an MSR.
///
/// # Safety
/// The CPU has the register, accepts the value, and the change leaves everything that Rust relies on
/// (mapped memory, the GS base, interrupts) as it must be.
#[inline]
pub unsafe fn wrmsr(msr: Msr, value: u64) {
    // SAFETY: the caller vouches for the register and the value. No `nomem`: some writes order memory.
    unsafe {
        asm!("wrmsr", in("ecx") msr.0, in("eax") value as u32, in("edx") (value >> 32) as u32,
            options(nostack, preserves_flags));
    }
}

/// Time-stamp counter, not ordered with anything.
#[inline(always)]
pub fn rdtsc() -> u64 {
    // SAFETY: CR4.TSD does not matter at CPL 0, and every 64-bit CPU has the instruction.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Time-stamp counter, read after all earlier loads (SDM vol. 2B, RDTSC).
#[inline]
pub fn rdtsc_ordered() -> u64 {
    // SAFETY: SSE2's LFENCE works on no vector register and is in every 64-bit CPU.
    unsafe { asm!("lfence", options(nostack, preserves_flags)) };
    rdtsc()
}

/// CPU identification; leaves beyond the maximum come back as zero.
pub fn cpuid(leaf: u32, subleaf: u32) -> CpuidResult {
    let max = core::arch::x86_64::__cpuid(leaf & 0xc000_0000).eax;
    if leaf > max {
        return CpuidResult { eax: 0, ebx: 0, ecx: 0, edx: 0 };
    }
    core::arch::x86_64::__cpuid_count(leaf, subleaf)
}

macro_rules! control_register {
    ($(#[$read_doc:meta])* $read:ident, $(#[$write_doc:meta])* $write:ident, $name:literal) => {
        $(#[$read_doc])*
        #[inline]
        pub fn $read() -> u64 {
            let value;
            // SAFETY: reading a control register at CPL 0 has no effect.
            unsafe { asm!(concat!("mov {}, ", $name), out(reg) value, options(nomem, nostack, preserves_flags)) };
            value
        }

        $(#[$write_doc])*
        ///
        /// # Safety
        /// The value is one that this CPU accepts, and keeps all memory in use mapped.
        #[inline]
        pub unsafe fn $write(value: u64) {
            // SAFETY: the caller vouches for the value.
            unsafe { asm!(concat!("mov ", $name, ", {}"), in(reg) value, options(nostack, preserves_flags)) };
        }
    };
}

control_register!(
    /// Reads CR0.
    cr0, /// Writes CR0.
    write_cr0, "cr0");
/// Reads CR3.
#[inline]
pub fn cr3() -> u64 {
    let value;
    // SAFETY: reading a control register at CPL 0 has no effect.
    unsafe { asm!("mov {}, cr3", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

control_register!(
    /// Reads CR4.
    cr4, /// Writes CR4.
    write_cr4, "cr4");

/// Reads CR2, the address of the last page fault.
#[inline]
pub fn cr2() -> u64 {
    let value;
    // SAFETY: reading a control register at CPL 0 has no effect.
    unsafe { asm!("mov {}, cr2", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Writes XCR0.
///
/// # Safety
/// CR4.OSXSAVE is set and the CPU supports every component in `value` (CPUID leaf 0xd).
pub unsafe fn xsetbv(value: u64) {
    // SAFETY: see above.
    unsafe {
        asm!("xsetbv", in("ecx") 0, in("eax") value as u32, in("edx") (value >> 32) as u32,
            options(nostack, preserves_flags));
    }
}

/// Drops this CPU's translation of one page.
#[inline]
pub fn invlpg(address: u64) {
    // SAFETY: dropping a cached translation only makes the CPU walk the tables again.
    unsafe { asm!("invlpg [{}]", in(reg) address, options(nostack, preserves_flags)) };
}

/// A pointer register's operand, for LGDT and LIDT.
#[repr(C, packed)]
pub struct TablePointer {
    /// Size in bytes, minus one.
    pub limit: u16,
    /// Linear address.
    pub base: u64,
}

/// Reads the GDT register.
pub fn gdtr() -> TablePointer {
    let mut pointer = TablePointer { limit: 0, base: 0 };
    // SAFETY: stores ten bytes there.
    unsafe { asm!("sgdt [{}]", in(reg) &raw mut pointer, options(nostack, preserves_flags)) };
    pointer
}

/// Reads the IDT register.
pub fn idtr() -> TablePointer {
    let mut pointer = TablePointer { limit: 0, base: 0 };
    // SAFETY: stores ten bytes there.
    unsafe { asm!("sidt [{}]", in(reg) &raw mut pointer, options(nostack, preserves_flags)) };
    pointer
}

/// Reads the task register.
pub fn tr() -> u16 {
    let selector: u16;
    // SAFETY: reading it at CPL 0 has no effect.
    unsafe { asm!("str {:x}", out(reg) selector, options(nomem, nostack, preserves_flags)) };
    selector
}

/// Loads the GDT register.
///
/// # Safety
/// The table stays there, and has valid descriptors for every selector that will be loaded.
pub unsafe fn lgdt(pointer: &TablePointer) {
    // SAFETY: see above.
    unsafe { asm!("lgdt [{}]", in(reg) pointer, options(readonly, nostack, preserves_flags)) };
}

/// Loads the IDT register.
///
/// # Safety
/// The table stays there, and its gates lead to interrupt entry points.
pub unsafe fn lidt(pointer: &TablePointer) {
    // SAFETY: see above.
    unsafe { asm!("lidt [{}]", in(reg) pointer, options(readonly, nostack, preserves_flags)) };
}

/// Loads the task register.
///
/// # Safety
/// `selector` names an available 64-bit TSS in the current GDT.
pub unsafe fn ltr(selector: u16) {
    // SAFETY: see above.
    unsafe { asm!("ltr {:x}", in(reg) selector, options(nostack, preserves_flags)) };
}

/// Reloads CS with `code` and the data segment registers with null selectors, which 64-bit mode permits at
/// CPL 0 (SDM vol. 3A, 5.13.1). FS and GS bases are zero afterwards: set GS before using per-CPU data.
///
/// # Safety
/// `code` names a 64-bit code segment of the current GDT.
pub unsafe fn reload_segments(code: u16) {
    // SAFETY: the far return goes to the next instruction; data segment bases are not used in 64-bit mode.
    unsafe {
        asm!(
            "push {code}", "lea {t}, [rip + 2f]", "push {t}", "retfq", "2:",
            "xor {t:e}, {t:e}", "mov ss, {t:x}", "mov ds, {t:x}", "mov es, {t:x}", "mov fs, {t:x}", "mov gs, {t:x}",
            code = in(reg) u64::from(code), t = out(reg) _,
        );
    }
}

/// The saved RFLAGS.
#[inline]
pub fn rflags() -> u64 {
    let flags;
    // SAFETY: pushes and pops one word.
    unsafe { asm!("pushfq", "pop {}", out(reg) flags, options(preserves_flags)) };
    flags
}

/// Waits for the next interrupt, and lets it in: enabling takes effect after the instruction that follows
/// STI, so that no interrupt can be missed between a check made with interrupts disabled and the halt.
/// Interrupts are enabled on return.
#[inline]
pub fn enable_and_halt() {
    // SAFETY: interrupt handlers keep to their own data; see `crate::interrupts`.
    unsafe { asm!("sti", "hlt", options(nostack)) };
}

/// Enables interrupts.
#[inline]
pub fn enable_interrupts() {
    // SAFETY: interrupt handlers keep to their own data; see `crate::interrupts`.
    unsafe { asm!("sti", options(nostack)) };
}

/// Disables interrupts.
#[inline]
pub fn disable_interrupts() {
    // SAFETY: only delays what is pending.
    unsafe { asm!("cli", options(nostack)) };
}

/// Whether interrupts are enabled.
#[inline]
pub fn interrupts_enabled() -> bool {
    rflags() & 1 << 9 != 0
}

/// Runs `f` with interrupts disabled, then restores what was.
#[inline]
pub fn without_interrupts<R>(f: impl FnOnce() -> R) -> R {
    let enabled = interrupts_enabled();
    disable_interrupts();
    let result = f();
    if enabled {
        enable_interrupts();
    }
    result
}

/// Stops this CPU for good.
pub fn halt_forever() -> ! {
    loop {
        disable_interrupts();
        // SAFETY: an NMI may end the halt; the loop halts again.
        unsafe { asm!("hlt", options(nomem, nostack)) };
    }
}

/// The frame pointer of the caller's frame.
#[inline(always)]
pub fn frame_pointer() -> u64 {
    let rbp;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rbp", out(reg) rbp, options(nomem, nostack, preserves_flags)) };
    rbp
}
