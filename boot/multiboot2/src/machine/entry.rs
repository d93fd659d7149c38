//! The Multiboot2 header, and the way from it to [`super::start`] in 64-bit mode.
//!
//! GRUB enters in 32-bit protected mode without paging (Multiboot2 2.0, 3.3), at whatever multiple of 2 MiB it
//! found room. The code here finds out where that is (`ebp` is the distance from where it was linked),
//! asks the processor for 64-bit mode, maps the first 4 GiB one to one and the entry itself at the address
//! that the rest of it is linked to, and goes there.
//!
//! The tables and the descriptor table stay in use until the jump into the kernel.
#![allow(unsafe_code)] // the entry point: assembly

use core::arch::global_asm;

global_asm!(
    r#"
    .section .low.header, "awx"
    .balign 8
header:
    .long 0xe85250d6                // magic; architecture: 32-bit i386; length; checksum
    .long 0
    .long header_end - header
    .long -(0xe85250d6 + 0 + (header_end - header))
    // Asked for: the memory map.
    .balign 8
    .short 1, 0
    .long 12
    .long 6
    // Modules on page boundaries: files stay where they are.
    .balign 8
    .short 6, 0
    .long 8
    // A screen of 32 bits per pixel, in any size; optional.
    .balign 8
    .short 5, 1
    .long 20
    .long 0, 0, 32
    // Anywhere below 4 GiB on a boundary of 2 MiB, lowest first.
    .balign 8
    .short 10, 0
    .long 24
    .long 0x100000, 0xffffffff, 0x200000, 1
    .balign 8
    .short 0, 0
    .long 8
header_end:

    .section .low.bss, "aw", @nobits
    .balign 4096
pml4:
    .skip 4096
pdpt:
    .skip 4096
directories:
    .skip 4 * 4096
own_pdpt:
    .skip 4096
own_directory:
    .skip 4096
low_stack:
    .skip 256
low_stack_top:

    .section .bss.stack, "aw", @nobits
    .balign 16
stack:
    .skip 64 * 1024
stack_top:

    .section .low.code, "awx"
    .balign 8
gdt:
    .quad 0
    .quad 0x00af9b000000ffff        // 64-bit code
    .quad 0x00cf93000000ffff        // data
gdtr:
    .word 23
    .long 0
not_64_bit:
    .asciz "boot: the processor does not have 64-bit mode (CPUID 0x80000001); PureVisor needs an x86-64 server or PC processor made since 2009\r\nboot: stopped; switch the machine off\r\n"

    .code32
    .global multiboot2_entry
multiboot2_entry:
    cli
    cld
    mov edi, eax
    // The information's second word is reserved: room for one return address.
    lea esp, [ebx + 8]
    call here
here:
    pop ebp
    sub ebp, offset here
    lea esp, [ebp + low_stack_top]

    // Is there CPUID, and long mode?
    mov esi, ebx
    pushfd
    pop eax
    mov ecx, eax
    xor eax, 0x200000
    push eax
    popfd
    pushfd
    pop eax
    xor eax, ecx
    test eax, 0x200000
    jz refuse
    mov eax, 0x80000000
    cpuid
    cmp eax, 0x80000001
    jb refuse
    mov eax, 0x80000001
    cpuid
    test edx, 1 << 29
    jz refuse

    // The first 4 GiB.
    lea eax, [ebp + pdpt + 3]
    mov [ebp + pml4], eax
    lea eax, [ebp + directories + 3]
    xor ecx, ecx
3:
    mov [ebp + pdpt + ecx * 8], eax
    add eax, 4096
    inc ecx
    cmp ecx, 4
    jb 3b
    mov eax, 0x83                   // present, writable, 2 MiB
    xor ecx, ecx
4:
    mov [ebp + directories + ecx * 8], eax
    add eax, 0x200000
    inc ecx
    cmp ecx, 2048
    jb 4b
    // This program, at the last GiB.
    lea eax, [ebp + own_pdpt + 3]
    mov [ebp + pml4 + 511 * 8], eax
    lea eax, [ebp + own_directory + 3]
    mov [ebp + own_pdpt + 511 * 8], eax
    lea eax, [ebp + PHYSICAL + 0x83]
    mov [ebp + own_directory], eax

    lea eax, [ebp + pml4]
    mov cr3, eax
    mov eax, 0x20                   // PAE
    mov cr4, eax
    mov ecx, 0xc0000080             // EFER
    rdmsr
    or eax, 0x100                   // LME
    wrmsr
    mov eax, 0x80010033             // PG, WP, NE, ET, MP, PE
    mov cr0, eax
    lea eax, [ebp + gdt]
    mov [ebp + gdtr + 2], eax
    lgdt [ebp + gdtr]
    lea eax, [ebp + long_mode]
    push 8
    push eax
    retf

    // Says that the processor will not do, and stops. COM1: 115200 baud, 8N1, FIFOs on.
refuse:
    lea esi, [ebp + not_64_bit]
    mov dx, 0x3fb
    mov al, 0x80
    out dx, al
    mov dx, 0x3f8
    mov al, 1
    out dx, al
    inc dx
    xor al, al
    out dx, al
    mov dx, 0x3fb
    mov al, 3
    out dx, al
    mov edi, 0xb8000                // the screen, if it is in text mode
5:
    lodsb
    test al, al
    jz 8f
    mov ah, 0x0f
    cmp al, ' '
    jb 6f
    stosw
6:
    mov bl, al
    mov ecx, 20000
    mov dx, 0x3fd
7:
    in al, dx
    test al, 0x20
    loopz 7b
    mov al, bl
    mov dx, 0x3f8
    out dx, al
    jmp 5b
8:
    hlt
    jmp 8b

    .code64
long_mode:
    mov ax, 0x10
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov fs, ax
    mov gs, ax
    // EAX at the entry, the boot information, the distance.
    mov edi, edi
    mov esi, esi
    movsxd rdx, ebp
    movabs rsp, offset stack_top
    xor ebp, ebp
    movabs rax, offset {start}
    call rax
    ud2
    "#,
    start = sym super::start,
);
