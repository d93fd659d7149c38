//! The interrupt table: two vectors for each mode of the local APIC. The handlers end the interrupt and
//! count it, in as few instructions as that takes, because they are part of what is measured. As in any
//! kernel they are not on the page of the code that they interrupt, for exits from two pages in turn may
//! cost more than exits from one.
#![allow(unsafe_code)] // the interrupt table and handlers

use core::arch::{asm, naked_asm};
use core::sync::atomic::{AtomicU64, Ordering};

/// Interrupt of the self-IPI in xAPIC mode.
pub const IPI_XAPIC: u8 = 0x40;
/// Interrupt of the self-IPI in x2APIC mode.
pub const IPI_X2APIC: u8 = 0x41;
/// Interrupt of the timer, in x2APIC mode.
pub const TIMER: u8 = 0x42;

/// Interrupts that were handled.
static HANDLED: AtomicU64 = AtomicU64::new(0);
/// The counter at the beginning of the timer's handler.
static STAMP: AtomicU64 = AtomicU64::new(0);

/// How many interrupts were handled.
#[inline(always)]
pub fn handled() -> u64 {
    HANDLED.load(Ordering::Relaxed)
}

/// The time-stamp counter when the timer's handler was last entered.
pub fn stamp() -> u64 {
    STAMP.load(Ordering::Relaxed)
}

#[unsafe(naked)]
#[unsafe(link_section = ".handlers")]
extern "sysv64" fn ipi_xapic() {
    naked_asm!(
        "push rax",
        "mov eax, 0xfee000b0",
        "mov dword ptr [rax], 0",
        "inc qword ptr [rip + {handled}]",
        "pop rax",
        "iretq",
        handled = sym HANDLED,
    )
}

#[unsafe(naked)]
#[unsafe(link_section = ".handlers")]
extern "sysv64" fn ipi_x2apic() {
    naked_asm!(
        "push rax",
        "push rcx",
        "push rdx",
        "mov ecx, 0x80b",
        "xor eax, eax",
        "xor edx, edx",
        "wrmsr",
        "inc qword ptr [rip + {handled}]",
        "pop rdx",
        "pop rcx",
        "pop rax",
        "iretq",
        handled = sym HANDLED,
    )
}

#[unsafe(naked)]
#[unsafe(link_section = ".handlers")]
extern "sysv64" fn timer() {
    naked_asm!(
        "push rax",
        "push rcx",
        "push rdx",
        "rdtsc",
        "shl rdx, 32",
        "or rax, rdx",
        "mov [rip + {stamp}], rax",
        "mov ecx, 0x80b",
        "xor eax, eax",
        "xor edx, edx",
        "wrmsr",
        "inc qword ptr [rip + {handled}]",
        "pop rdx",
        "pop rcx",
        "pop rax",
        "iretq",
        stamp = sym STAMP,
        handled = sym HANDLED,
    )
}

/// An interrupt gate (SDM vol. 3A, 6.14.1).
#[derive(Clone, Copy)]
#[repr(C, align(16))]
struct Gate([u64; 2]);

impl Gate {
    const NONE: Self = Self([0; 2]);

    /// In the code segment of `entry`, for ring 0.
    fn to(handler: extern "sysv64" fn()) -> Self {
        let address = handler as usize as u64;
        let attributes = 0x8e00 << 32 | 8 << 16;
        Self([address & 0xffff | attributes | (address & 0xffff_0000) << 32, address >> 32])
    }
}

static mut TABLE: [Gate; 256] = [Gate::NONE; 256];

/// Loads the table, with interrupts off.
pub fn load() {
    #[repr(C, packed)]
    struct Pointer {
        limit: u16,
        base: u64,
    }
    let table = &raw mut TABLE;
    // SAFETY: the only place that touches the table, run once; the CPU reads it from `lidt` on.
    unsafe {
        (*table)[usize::from(IPI_XAPIC)] = Gate::to(ipi_xapic);
        (*table)[usize::from(IPI_X2APIC)] = Gate::to(ipi_x2apic);
        (*table)[usize::from(TIMER)] = Gate::to(timer);
        let pointer = Pointer { limit: 256 * 16 - 1, base: table as u64 };
        asm!("lidt [{}]", in(reg) &raw const pointer, options(nostack, preserves_flags));
    }
}
