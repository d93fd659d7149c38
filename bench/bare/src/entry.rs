//! From the PVH start (Xen, docs/misc/pvh.pandoc: 32-bit protected mode, paging off) to [`crate::main`] in
//! 64-bit mode, with the first 4 GiB mapped one to one in pages of 2 MiB.
#![allow(unsafe_code)] // the entry point: a note in a section of its own, and assembly

use core::arch::global_asm;

global_asm!(
    r#"
    .section .note.xen, "a"
    .balign 4
    .long 4, 4, 18          // lengths of name and descriptor; XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long pvh_entry

    .section .bss.tables, "aw", @nobits
    .balign 4096
pml4:
    .skip 4096
pdpt:
    .skip 4096
directories:
    .skip 4 * 4096
stack:
    .skip 64 * 1024
stack_top:

    .section .rodata.gdt, "a"
    .balign 8
gdt:
    .quad 0
    .quad 0x00af9b000000ffff    // 64-bit code
    .quad 0x00cf93000000ffff    // data
gdtr:
    .word 23
    .quad gdt

    .section .text.entry, "ax"
    .code32
    .global pvh_entry
pvh_entry:
    cld
    cli
    mov eax, offset pdpt + 3
    mov [pml4], eax
    mov edi, offset pdpt
    mov eax, offset directories + 3
    mov ecx, 4
2:
    mov [edi], eax
    add edi, 8
    add eax, 4096
    dec ecx
    jnz 2b
    mov edi, offset directories
    mov eax, 0x83               // present, writable, 2 MiB
    mov ecx, 2048
3:
    mov [edi], eax
    add edi, 8
    add eax, 0x200000
    dec ecx
    jnz 3b

    mov eax, offset pml4
    mov cr3, eax
    mov eax, 0x20               // PAE
    mov cr4, eax
    mov ecx, 0xc0000080         // EFER
    rdmsr
    or eax, 0x100               // LME
    wrmsr
    mov eax, 0x80010033         // PG, WP, NE, ET, MP, PE
    mov cr0, eax
    lgdt [gdtr]
    .byte 0xea                  // far jump to the 64-bit code segment
    .long 4f
    .word 8

    .code64
4:
    mov ax, 0x10
    mov ds, ax
    mov es, ax
    mov ss, ax
    lea rsp, [rip + stack_top]
    xor ebp, ebp
    call {main}
    ud2
    "#,
    main = sym crate::main,
);
