//! The interrupt descriptor table, one for all CPUs, and the entry points that its gates lead to.
//!
//! Every vector has a stub of 16 bytes that pushes the vector (and a zero where the CPU pushes no error
//! code) and goes to one common path, which saves the general registers as a [`Frame`] and calls
//! [`dispatch`]: exceptions go to the panic report, everything else to `crate::interrupts`.
//!
//! The vector and floating-point registers are not saved: the kernel is built without them, and they may
//! hold a guest's state.
#![allow(unsafe_code)] // assembly entry points, and loading IDTR

use super::gdt::{self, InterruptStack};
use super::registers::{self, TablePointer};
use core::arch::naked_asm;
use spin::Once;

/// Registers as they were when an interrupt or exception was taken.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rbp: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rbx: u64,
    pub rax: u64,
    /// Which interrupt or exception.
    pub vector: u64,
    /// The exception's error code, or 0.
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

/// An exception's vector (SDM vol. 3A, table 6-1; APM vol. 2, table 8-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception(pub u8);

impl Exception {
    pub const NMI: Self = Self(2);
    pub const DOUBLE_FAULT: Self = Self(8);
    pub const PAGE_FAULT: Self = Self(14);
    pub const MACHINE_CHECK: Self = Self(18);

    /// Mnemonic and name as the manuals have them.
    pub const fn name(self) -> &'static str {
        match self.0 {
            0 => "#DE divide error",
            1 => "#DB debug exception",
            2 => "NMI",
            3 => "#BP breakpoint",
            4 => "#OF overflow",
            5 => "#BR bound range exceeded",
            6 => "#UD invalid opcode",
            7 => "#NM device not available",
            8 => "#DF double fault",
            10 => "#TS invalid TSS",
            11 => "#NP segment not present",
            12 => "#SS stack fault",
            13 => "#GP general protection",
            14 => "#PF page fault",
            16 => "#MF x87 floating-point error",
            17 => "#AC alignment check",
            18 => "#MC machine check",
            19 => "#XM SIMD floating-point exception",
            21 => "#CP control protection",
            28 => "#HV hypervisor injection",
            29 => "#VC VMM communication",
            30 => "#SX security exception",
            _ => "reserved exception",
        }
    }
}

/// Bytes from one vector's stub to the next.
const STUB: usize = 16;

/// The 256 stubs, then the path that they share.
///
/// A stub is entered with what the CPU pushed (SDM vol. 3A, 6.14.2), RSP 16-byte aligned before it.
#[unsafe(naked)]
unsafe extern "C" fn stubs() {
    naked_asm!(
        ".align 16",
        ".set vector, 0",
        ".rept 256",
        "  .align 16",
        // These push an error code themselves: 8, 10 to 14, 17, 21, 29, 30.
        "  .if !((vector == 8) | ((vector >= 10) & (vector <= 14)) | (vector == 17) | (vector == 21) | (vector == 29) | (vector == 30))",
        "    push 0",
        "  .endif",
        "  push vector",
        "  jmp 2f",
        "  .set vector, vector + 1",
        ".endr",
        ".align 16",
        "2:",
        "push rax", "push rbx", "push rcx", "push rdx", "push rsi", "push rdi", "push rbp",
        "push r8", "push r9", "push r10", "push r11", "push r12", "push r13", "push r14", "push r15",
        "cld",
        "mov rdi, rsp",
        "call {dispatch}",
        "pop r15", "pop r14", "pop r13", "pop r12", "pop r11", "pop r10", "pop r9", "pop r8",
        "pop rbp", "pop rdi", "pop rsi", "pop rdx", "pop rcx", "pop rbx", "pop rax",
        "add rsp, 16",
        "iretq",
        dispatch = sym dispatch,
    )
}

extern "C" fn dispatch(frame: &mut Frame) {
    match frame.vector as u8 {
        2 => crate::interrupts::nmi::taken(frame),
        vector @ 0..32 => crate::panic::exception(Exception(vector), frame),
        vector => crate::interrupts::taken(vector),
    }
}

/// A 64-bit interrupt gate (SDM vol. 3A, 6.14.1).
#[repr(C)]
#[derive(Clone, Copy)]
struct Gate([u64; 2]);

impl Gate {
    fn new(entry: u64, stack: InterruptStack) -> Self {
        let low = entry & 0xffff
            | u64::from(gdt::CODE) << 16
            | (stack as u64) << 32
            | 0x8e << 40 // present, DPL 0, interrupt gate: the CPU disables interrupts
            | (entry >> 16 & 0xffff) << 48;
        Self([low, entry >> 32])
    }
}

static TABLE: Once<[Gate; 256]> = Once::new();

/// Makes this CPU use the table.
pub fn load() {
    let table = TABLE.call_once(|| {
        let first = (stubs as *const () as u64).next_multiple_of(STUB as u64);
        core::array::from_fn(|vector| {
            let stack = match Exception(vector as u8) {
                Exception::NMI => InterruptStack::Nmi,
                Exception::DOUBLE_FAULT => InterruptStack::DoubleFault,
                Exception::MACHINE_CHECK => InterruptStack::MachineCheck,
                _ => InterruptStack::Current,
            };
            Gate::new(first + (vector * STUB) as u64, stack)
        })
    });
    let pointer = TablePointer { limit: size_of_val(table) as u16 - 1, base: table.as_ptr() as u64 };
    // SAFETY: the table is static and its gates lead to the stubs above.
    unsafe { registers::lidt(&pointer) };
}
