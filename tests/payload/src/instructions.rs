//! Instructions that have no other name in Rust.
use core::arch::asm;

pub fn inb(port: u16) -> u8 {
    let value;
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nostack)) };
    value
}

pub fn inw(port: u16) -> u16 {
    let value;
    unsafe { asm!("in ax, dx", in("dx") port, out("ax") value, options(nostack)) };
    value
}

pub fn inl(port: u16) -> u32 {
    let value;
    unsafe { asm!("in eax, dx", in("dx") port, out("eax") value, options(nostack)) };
    value
}

pub fn outb(port: u16, value: u8) {
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nostack)) };
}

pub fn outw(port: u16, value: u16) {
    unsafe { asm!("out dx, ax", in("dx") port, in("ax") value, options(nostack)) };
}

pub fn outl(port: u16, value: u32) {
    unsafe { asm!("out dx, eax", in("dx") port, in("eax") value, options(nostack)) };
}

pub fn rdmsr(msr: u32) -> u64 {
    let (low, high): (u32, u32);
    unsafe { asm!("rdmsr", in("ecx") msr, out("eax") low, out("edx") high, options(nostack)) };
    u64::from(high) << 32 | u64::from(low)
}

pub fn wrmsr(msr: u32, value: u64) {
    unsafe {
        asm!("wrmsr", in("ecx") msr, in("eax") value as u32, in("edx") (value >> 32) as u32, options(nostack));
    }
}

pub fn cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    let r = core::arch::x86_64::__cpuid_count(leaf, subleaf);
    [r.eax, r.ebx, r.ecx, r.edx]
}

pub fn rdtsc() -> u64 {
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Reads and writes of a control register.
macro_rules! control_register {
    ($read:ident, $write:ident, $name:literal) => {
        pub fn $read() -> u64 {
            let value;
            unsafe { asm!(concat!("mov {}, ", $name), out(reg) value, options(nostack)) };
            value
        }

        pub fn $write(value: u64) {
            unsafe { asm!(concat!("mov ", $name, ", {}"), in(reg) value, options(nostack)) };
        }
    };
}

control_register!(cr0, set_cr0, "cr0");
control_register!(cr3, set_cr3, "cr3");
control_register!(cr4, set_cr4, "cr4");
control_register!(cr8, set_cr8, "cr8");
control_register!(dr6, set_dr6, "dr6");

pub fn set_dr0(value: u64) {
    unsafe { asm!("mov dr0, {}", in(reg) value, options(nostack)) };
}

pub fn set_dr7(value: u64) {
    unsafe { asm!("mov dr7, {}", in(reg) value, options(nostack)) };
}

pub fn xsetbv(index: u32, value: u64) {
    unsafe {
        asm!("xsetbv", in("ecx") index, in("eax") value as u32, in("edx") (value >> 32) as u32, options(nostack));
    }
}

pub fn sti() {
    unsafe { asm!("sti", options(nostack)) };
}

pub fn cli() {
    unsafe { asm!("cli", options(nostack)) };
}

/// Takes what interrupts are waiting, and closes them again.
pub fn take_interrupts() {
    unsafe { asm!("sti", "nop", "nop", "cli", options(nostack)) };
}

pub fn invlpg(address: u64) {
    unsafe { asm!("invlpg [{}]", in(reg) address, options(nostack)) };
}

/// Makes the compiler do what was only done for its effect on the machine.
pub fn discard<T>(value: T) {
    core::hint::black_box(value);
}
