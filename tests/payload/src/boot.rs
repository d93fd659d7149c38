//! The ways in: the PVH start of the first CPU, and the start-up IPI of the others.
use core::arch::global_asm;

// Identity mapping of the first 4 GiB in 2 MiB pages, which user code may use too; then the window's
// page directory (see `paging`).
global_asm!(
    r#"
    .section .note.xen, "a"
    .balign 4
    .long 4, 4, 18          // XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long pvh_entry

    .section .text.entry, "ax"
    .code32
    .global pvh_entry
pvh_entry:
    cld
    cli
    mov esp, offset CPUS + 0xffc0
    mov edi, offset PML4
    mov eax, offset PDPT + 7
    mov [edi], eax
    mov edi, offset PDPT
    mov eax, offset DIRECTORIES + 7
    mov ecx, 5
2:
    mov [edi], eax
    add edi, 8
    add eax, 4096
    loop 2b
    mov edi, offset DIRECTORIES
    mov eax, 0x87
    mov ecx, 2048
3:
    mov [edi], eax
    add edi, 8
    add eax, 0x200000
    loop 3b

    mov eax, offset PML4
    mov cr3, eax
    mov eax, cr4
    or eax, 0x20            // PAE
    mov cr4, eax
    mov ecx, 0xc0000080     // EFER
    rdmsr
    or eax, 0x900           // LME, NXE
    wrmsr
    mov eax, 0x80010033     // PG, WP, NE, ET, MP, PE
    mov cr0, eax
    lgdt [boot_gdtr]
    .byte 0xea              // a far jump into 64-bit code
    .long 4f
    .word 8
    .code64
4:
    mov ax, 0x10
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov fs, ax
    mov gs, ax
    mov edi, ebx
    xor ebp, ebp
    call {main}
    ud2

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
    mov edi, ebx
    mov esi, ebx
    shl esi, 16
    lea rsp, [rsi + CPUS + 0xffc0]
    xor ebp, ebp
    call {ap_main}
    ud2

    .section .rodata
    .balign 8
boot_gdt:
    .quad 0
    .quad 0x00af9b000000ffff
    .quad 0x00cf93000000ffff
    .global boot_gdtr
boot_gdtr:
    .word 23
    .quad boot_gdt
    "#,
    main = sym crate::main,
    ap_main = sym crate::processors::ap_main,
);

unsafe extern "C" {
    static ap_entry: u8;
    static ap_entry_end: u8;
    static boot_gdtr: u8;
}

/// Where a started CPU begins: start-up IPI vector 8.
pub const TRAMPOLINE: u64 = 0x8000;
const TRAMPOLINE_GDTR: u64 = 0x7f00;
const TRAMPOLINE_CR3: u64 = 0x7f10;

/// Puts the other CPUs' first instructions into place.
pub fn place_trampoline() {
    unsafe {
        let code = &raw const ap_entry;
        let length = (&raw const ap_entry_end).offset_from(code) as usize;
        core::ptr::copy_nonoverlapping(code, TRAMPOLINE as *mut u8, length);
        core::ptr::copy_nonoverlapping(&raw const boot_gdtr, TRAMPOLINE_GDTR as *mut u8, 10);
        (TRAMPOLINE_CR3 as *mut u32).write_volatile(crate::paging::root() as u32);
    }
}
