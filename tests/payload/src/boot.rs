//! The ways in: of the first CPU, and by the start-up IPI of the others.
#![allow(unsafe_code)] // Assembly, and its addresses.
use crate::cpu::{CPUS, STACK_TOP};
use bare::memory::{load, store};
use core::arch::global_asm;

bare::entry!(crate::main, stack: crate::cpu::CPUS, top: STACK_TOP);

global_asm!(
    r#"
    .section .text.entry, "ax"
    // Copied to TRAMPOLINE; what it needs to know is at the addresses below it.
    .global ap_entry, ap_entry_end
    .code16
ap_entry:
    cli
    xor ax, ax
    mov ds, ax
    lgdt [0x7f00]
    mov eax, cr4
    or eax, 0x20
    mov cr4, eax
    mov eax, [0x7f10]
    mov cr3, eax
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x900
    wrmsr
    mov eax, 0x80010033
    mov cr0, eax
    .byte 0x66, 0xea
    .long ap_long
    .word 8
ap_entry_end:

    .code64
ap_long:
    mov ax, 0x10
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov eax, 1
    cpuid
    shr ebx, 24             // the APIC ID is the CPU's number
    mov esi, ebx
    shl esi, 16
    lea rsp, [rsi + {cpus} + {stack_top}]
    xor ebp, ebp
    call {ap_main}
    ud2
    "#,
    cpus = sym CPUS,
    stack_top = const STACK_TOP,
    ap_main = sym crate::processors::ap_main,
);

unsafe extern "C" {
    static ap_entry: u8;
    static ap_entry_end: u8;
    /// From [`bare::entry!`]: ten bytes.
    static boot_gdtr: u8;
}

/// Where a started CPU begins: start-up IPI vector 8.
pub const TRAMPOLINE: u64 = 0x8000;
const TRAMPOLINE_GDTR: u64 = 0x7f00;
const TRAMPOLINE_CR3: u64 = 0x7f10;

/// Puts the other CPUs' first instructions into place.
pub fn place_trampoline() {
    let copy = |from: u64, bytes: u64, to: u64| {
        for i in 0..bytes {
            store(to + i, load::<u8>(from + i));
        }
    };
    let code = &raw const ap_entry as u64;
    copy(code, &raw const ap_entry_end as u64 - code, TRAMPOLINE);
    copy(&raw const boot_gdtr as u64, 10, TRAMPOLINE_GDTR);
    store(TRAMPOLINE_CR3, crate::paging::root() as u32);
}
