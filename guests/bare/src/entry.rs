//! The way in: from the PVH start (32-bit protected mode, paging off) to a Rust function in 64-bit mode.
use core::cell::UnsafeCell;

/// A stack for [`entry!`](crate::entry!), of as many bytes.
#[repr(C, align(16))]
pub struct Stack<const BYTES: usize>(UnsafeCell<[u8; BYTES]>);

#[allow(unsafe_code)] // A static that changes.
// SAFETY: nothing can be reached through it; the CPU that runs on it uses its address alone.
unsafe impl<const BYTES: usize> Sync for Stack<BYTES> {}

impl<const BYTES: usize> Stack<BYTES> {
    /// Zeroes.
    #[allow(clippy::new_without_default)] // For statics.
    pub const fn new() -> Self {
        Self(UnsafeCell::new([0; BYTES]))
    }
}

/// Makes `main`, an `extern "sysv64" fn(u64) -> !`, what the program starts with. It is given the physical
/// address of the start information (`struct hvm_start_info`), and runs
///
/// - in ring 0, with interrupts off and no interrupt table,
/// - on the stack whose top is `top` bytes (a multiple of 16) behind the beginning of the static `stack`,
/// - with the first 4 GiB mapped one to one in pages of 2 MiB by [`paging`](crate::paging); code in ring 3
///   may use them too.
///
/// `boot_gdtr` is a descriptor-table pointer for other CPUs to start with: selector 8 is 64-bit code, 0x10
/// data.
#[macro_export]
macro_rules! entry {
    ($main:path, stack: $stack:path, top: $top:expr) => {
        const _: extern "sysv64" fn(u64) -> ! = $main;
        const _: () = assert!($top <= core::mem::size_of_val(&$stack) && $top % 16 == 0);
        core::arch::global_asm!(
            r#"
            .section .note.xen, "a"
            .balign 4
            .long 4, 4, 18          // lengths of name and descriptor; XEN_ELFNOTE_PHYS32_ENTRY
            .asciz "Xen"
            .long pvh_entry

            .section .rodata.gdt, "a"
            .balign 8
        boot_gdt:
            .quad 0
            .quad 0x00af9b000000ffff    // 64-bit code
            .quad 0x00cf93000000ffff    // data
            .global boot_gdtr
        boot_gdtr:
            .word 23
            .quad boot_gdt

            .section .text.entry, "ax"
            .code32
            .global pvh_entry
        pvh_entry:
            cld
            cli
            mov esp, offset {stack} + {top}
            mov eax, offset {pdpt} + 7      // present, writable, user
            mov [{pml4}], eax
            mov edi, offset {pdpt}
            mov eax, offset {directories} + 7
            mov ecx, 4
        2:
            mov [edi], eax
            add edi, 8
            add eax, 4096
            loop 2b
            mov edi, offset {directories}
            mov eax, 0x87                   // present, writable, user, 2 MiB
            mov ecx, 2048
        3:
            mov [edi], eax
            add edi, 8
            add eax, 0x200000
            loop 3b

            mov eax, offset {pml4}
            mov cr3, eax
            mov eax, cr4
            or eax, 0x20                    // PAE
            mov cr4, eax
            mov ecx, 0xc0000080             // EFER
            rdmsr
            or eax, 0x900                   // LME, NXE
            wrmsr
            mov eax, 0x80010033             // PG, WP, NE, ET, MP, PE
            mov cr0, eax
            lgdt [boot_gdtr]
            .byte 0xea                      // far jump to the 64-bit code segment
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
            "#,
            main = sym $main,
            stack = sym $stack,
            top = const $top,
            pml4 = sym $crate::paging::PML4,
            pdpt = sym $crate::paging::PDPT,
            directories = sym $crate::paging::DIRECTORIES,
        );
    };
}
