//! Instructions that have no other name in Rust. What is safe among them the [crate]'s documentation says.
#![allow(unsafe_code)] // Instructions.
use core::arch::asm;

macro_rules! port {
    ($read:ident, $write:ident, $type:ty, $register:tt) => {
        /// Reads a port.
        #[inline(always)]
        pub fn $read(port: u16) -> $type {
            let value;
            // SAFETY: no device writes to memory.
            unsafe {
                asm!(concat!("in ", $register, ", dx"), in("dx") port, out($register) value,
                     options(nostack, preserves_flags));
            }
            value
        }

        /// Writes a port.
        #[inline(always)]
        pub fn $write(port: u16, value: $type) {
            // SAFETY: no device writes to memory.
            unsafe {
                asm!(concat!("out dx, ", $register), in("dx") port, in($register) value,
                     options(nostack, preserves_flags));
            }
        }
    };
}

port!(inb, outb, u8, "al");
port!(inw, outw, u16, "ax");
port!(inl, outl, u32, "eax");

/// EAX, EBX, ECX, EDX of a leaf.
#[inline(always)]
pub fn cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    let r = core::arch::x86_64::__cpuid_count(leaf, subleaf);
    [r.eax, r.ebx, r.ecx, r.edx]
}

/// The time-stamp counter, not before everything earlier is done.
#[inline(always)]
pub fn rdtsc() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads a counter.
    unsafe { asm!("lfence", "rdtsc", out("eax") low, out("edx") high, options(nostack, preserves_flags)) };
    u64::from(high) << 32 | u64::from(low)
}

/// Reads a model-specific register.
#[inline(always)]
pub fn rdmsr(msr: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads a register.
    unsafe {
        asm!("rdmsr", in("ecx") msr, out("eax") low, out("edx") high, options(nostack, preserves_flags))
    };
    u64::from(high) << 32 | u64::from(low)
}

/// Writes a model-specific register.
///
/// # Safety
/// It has the CPU write to no memory of the program's, and puts no device's registers in its place.
#[inline(always)]
pub unsafe fn wrmsr(msr: u32, value: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!("wrmsr", in("ecx") msr, in("eax") value as u32, in("edx") (value >> 32) as u32,
             options(nostack, preserves_flags));
    }
}

/// Where the local APIC is, and its mode.
pub const IA32_APIC_BASE: u32 = 0x1b;
/// The bits that are the address.
const APIC_ADDRESS: u64 = 0x000f_ffff_ffff_f000;
const IA32_TSC_DEADLINE: u32 = 0x6e0;

/// Writes all of IA32_APIC_BASE but the address, which stays.
pub fn set_apic_mode(bits: u64) {
    let address = rdmsr(IA32_APIC_BASE) & APIC_ADDRESS;
    // SAFETY: the registers stay where they are, or disappear.
    unsafe { wrmsr(IA32_APIC_BASE, address | bits & !APIC_ADDRESS) };
}

/// Writes a register of the local APIC in x2APIC mode, which are the MSRs 0x800 to 0x8ff.
#[inline(always)]
#[track_caller]
pub fn write_x2apic(msr: u32, value: u64) {
    assert!(matches!(msr, 0x800..=0x8ff), "no register of the local APIC");
    // SAFETY: the local APIC does not write to memory.
    unsafe { wrmsr(msr, value) };
}

/// Arms the local APIC's timer for a value of the time-stamp counter; 0 disarms it.
#[inline(always)]
pub fn write_tsc_deadline(value: u64) {
    // SAFETY: a timer does not write to memory.
    unsafe { wrmsr(IA32_TSC_DEADLINE, value) };
}

/// Opens the CPU for interrupts.
#[inline(always)]
pub fn sti() {
    // SAFETY: interrupts go to handlers that leave everything as it was (`idt::set`), or end the machine.
    unsafe { asm!("sti", options(nostack)) };
}

/// Closes the CPU for interrupts.
#[inline(always)]
pub fn cli() {
    // SAFETY: changes a flag that Rust knows nothing of.
    unsafe { asm!("cli", options(nostack)) };
}

/// Halts.
#[inline(always)]
pub fn hlt() {
    // SAFETY: does nothing, or ends the program if interrupts are off.
    unsafe { asm!("hlt", options(nostack, preserves_flags)) };
}

/// Opens the CPU for interrupts and halts; nothing comes between the two. Interrupts are on behind it.
#[inline(always)]
pub fn sti_hlt() {
    // SAFETY: as `sti` and `hlt`.
    unsafe { asm!("sti", "hlt", options(nostack)) };
}

/// Takes what interrupts are waiting, and closes the CPU for them again.
#[inline(always)]
pub fn take_interrupts() {
    // SAFETY: as `sti` and `cli`.
    unsafe { asm!("sti", "nop", "nop", "cli", options(nostack)) };
}

/// Makes the compiler do what is only done for its effect on the machine.
#[inline(always)]
pub fn discard<T>(value: T) {
    core::hint::black_box(value);
}
