//! The instructions that are measured, and the numbers of the virtual PC.
#![allow(unsafe_code)] // instructions that leave the guest, which is all that this program is for

use core::arch::asm;
use core::fmt;

/// Data and line status of COM1, a 16550.
const COM1: u16 = 0x3f8;
const COM1_STATUS: u16 = COM1 + 5;
const TRANSMITTER_EMPTY: u8 = 1 << 5;

/// PM1a_CNT and what switches the machine off by it: SLP_EN, SLP_TYP 5.
const PM1A_CONTROL: u16 = 0x604;
const SOFT_OFF: u16 = 1 << 13 | 5 << 10;

/// The time-stamp counter, not before everything earlier is done.
#[inline(always)]
pub fn rdtsc() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads a counter.
    unsafe { asm!("lfence", "rdtsc", out("eax") low, out("edx") high, options(nostack, preserves_flags)) };
    u64::from(high) << 32 | u64::from(low)
}

#[inline(always)]
pub fn cpuid(leaf: u32) {
    // SAFETY: changes nothing but the registers, of which RBX is put back.
    unsafe {
        asm!("mov r8, rbx", "cpuid", "mov rbx, r8",
             inout("eax") leaf => _, inout("ecx") 0 => _, out("edx") _, out("r8") _, options(nostack));
    }
}

/// Whether the processor is Intel's, whose hypercall is another instruction.
pub fn is_intel() -> bool {
    let vendor: u32;
    // SAFETY: as above.
    unsafe {
        asm!("mov r8, rbx", "cpuid", "mov rbx, r8",
             inout("eax") 0 => _, inout("ecx") 0 => vendor, out("edx") _, out("r8") _, options(nostack));
    }
    vendor == u32::from_le_bytes(*b"ntel")
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

#[inline(always)]
pub fn inb(port: u16) -> u8 {
    let value;
    // SAFETY: the ports of this program have no effect on memory.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nostack, preserves_flags)) };
    value
}

#[inline(always)]
pub fn inl(port: u16) -> u32 {
    let value;
    // SAFETY: as above.
    unsafe { asm!("in eax, dx", in("dx") port, out("eax") value, options(nostack, preserves_flags)) };
    value
}

#[inline(always)]
pub fn outb(port: u16, value: u8) {
    // SAFETY: as above.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nostack, preserves_flags)) };
}

#[inline(always)]
pub fn rdmsr(msr: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads a register that the virtual CPU has.
    unsafe {
        asm!("rdmsr", in("ecx") msr, out("eax") low, out("edx") high, options(nostack, preserves_flags))
    };
    u64::from(high) << 32 | u64::from(low)
}

#[inline(always)]
pub fn wrmsr(msr: u32, value: u64) {
    // SAFETY: registers of the local APIC and its timer, whose interrupts have handlers.
    unsafe {
        asm!("wrmsr", in("ecx") msr, in("eax") value as u32, in("edx") (value >> 32) as u32,
             options(nostack, preserves_flags));
    }
}

/// Reads four bytes at a physical address below 4 GiB, which is mapped one to one.
#[inline(always)]
pub fn read_physical(address: u32) -> u32 {
    let value;
    // SAFETY: mapped by `entry`; the addresses of this program are device registers.
    unsafe {
        asm!("mov {0:e}, [{1}]", out(reg) value, in(reg) u64::from(address),
             options(nostack, preserves_flags));
    }
    value
}

/// Writes four bytes there.
#[inline(always)]
pub fn write_physical(address: u32, value: u32) {
    // SAFETY: mapped by `entry`; device registers, and memory of which this program uses nothing else.
    unsafe {
        asm!("mov [{1}], {0:e}", in(reg) value, in(reg) u64::from(address),
             options(nostack, preserves_flags));
    }
}

pub fn enable_interrupts() {
    // SAFETY: all sources that can interrupt have handlers.
    unsafe { asm!("sti", options(nostack)) };
}

pub fn disable_interrupts() {
    // SAFETY: always.
    unsafe { asm!("cli", options(nostack)) };
}

/// Halts until an interrupt has been handled. Interrupts are off before and on after it.
pub fn wait_for_interrupt() {
    // SAFETY: all sources that can interrupt have handlers.
    unsafe { asm!("sti", "hlt", options(nostack)) };
}

/// Switches the machine off.
pub fn power_off() -> ! {
    // SAFETY: ends this program.
    unsafe {
        asm!("out dx, ax", in("dx") PM1A_CONTROL, in("ax") SOFT_OFF, options(nostack, preserves_flags))
    };
    loop {
        disable_interrupts();
        // SAFETY: nothing is left to do.
        unsafe { asm!("hlt", options(nostack)) };
    }
}

/// COM1 as somewhere to print to.
pub struct Serial;

impl fmt::Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            while inb(COM1_STATUS) & TRANSMITTER_EMPTY == 0 {}
            outb(COM1, byte);
        }
        Ok(())
    }
}
