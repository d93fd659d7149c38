//! The interrupt table, which all CPUs share.
#![allow(unsafe_code)] // LIDT, and handlers that are the caller's responsibility.
use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

/// Gates (SDM vol. 3A, 6.14.1).
static TABLE: [[AtomicU64; 2]; 256] = [const { [AtomicU64::new(0), AtomicU64::new(0)] }; 256];

/// The program's code segment.
const CODE: u64 = 8;

/// An interrupt gate to `handler`.
#[derive(Clone, Copy)]
pub struct Gate {
    /// Its address.
    pub handler: u64,
    /// Which entry of the TSS's interrupt-stack table it runs on (1 to 7); 0 for the stack that it finds.
    pub stack: u8,
    /// Whether INT n in user code may call it.
    pub from_user: bool,
}

/// Gives a vector its gate.
///
/// # Safety
/// The handler ends the interrupt with all registers as they were, or does not return to what it
/// interrupted. A stack that is named is one, in the TSS of each CPU that loads the table.
pub unsafe fn set(vector: u8, gate: Gate) {
    // Present, an interrupt gate.
    let kind = if gate.from_user { 0xee } else { 0x8e };
    let address = gate.handler;
    let low = address & 0xffff
        | CODE << 16
        | u64::from(gate.stack & 7) << 32
        | kind << 40
        | (address >> 16 & 0xffff) << 48;
    let [first, second] = &TABLE[usize::from(vector)];
    second.store(address >> 32, Ordering::SeqCst);
    first.store(low, Ordering::SeqCst);
}

/// What LIDT takes.
#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: u64,
}

/// Loads the table on the calling CPU.
pub fn load() {
    lidt(&Pointer { limit: size_of_val(&TABLE) as u16 - 1, base: &raw const TABLE as u64 });
}

/// Loads a table without entries: the next exception is a triple fault.
pub fn forget() {
    lidt(&Pointer { limit: 0, base: 0 });
}

fn lidt(pointer: &Pointer) {
    // SAFETY: reads ten bytes. The table is empty, or its gates lead to what `set` was promised.
    unsafe { asm!("lidt [{}]", in(reg) &raw const *pointer, options(nostack, readonly, preserves_flags)) };
}
