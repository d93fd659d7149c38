//! The interrupt handlers: two vectors for each mode of the local APIC. The handlers end the interrupt and
//! count it, in as few instructions as that takes, because they are part of what is measured. As in any
//! kernel they are not on the page of the code that they interrupt, for exits from two pages in turn may
//! cost more than exits from one.
#![allow(unsafe_code)] // interrupt handlers

use bare::idt::{self, Gate};
use core::arch::naked_asm;
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

/// Loads the table, with interrupts off.
pub fn load() {
    let handlers: [(u8, extern "sysv64" fn()); 3] =
        [(IPI_XAPIC, ipi_xapic), (IPI_X2APIC, ipi_x2apic), (TIMER, timer)];
    for (vector, handler) in handlers {
        let gate = Gate { handler: handler as usize as u64, stack: 0, from_user: false };
        // SAFETY: each puts back the registers that it uses and ends with IRETQ. They name no stack.
        unsafe { idt::set(vector, gate) };
    }
    idt::load();
}
