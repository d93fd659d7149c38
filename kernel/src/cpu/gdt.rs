//! Segments and the task state: per CPU a GDT with one code segment, and a TSS whose only use is the
//! interrupt stack table (APM vol. 2, 4.8 and 12.2.5; SDM vol. 3A, 3.4.5 and 8.7).
#![allow(unsafe_code)] // loads GDTR, TR and the segment registers

use super::registers::{self, TablePointer};

/// Selector of the kernel's code segment.
pub const CODE: u16 = 0x08;
/// Selector of the TSS.
const TSS: u16 = 0x10;

/// Slots of the interrupt stack table, as IDT gates name them (1 to 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum InterruptStack {
    /// The stack that was in use.
    Current = 0,
    /// Non-maskable interrupts.
    Nmi = 1,
    /// Double faults: the one way to report that a stack overflowed.
    DoubleFault = 2,
    /// Machine checks.
    MachineCheck = 3,
}

/// A 64-bit task state segment.
#[repr(C, packed(4))]
pub struct TaskState {
    reserved0: u32,
    rsp: [u64; 3],
    reserved1: u64,
    ist: [u64; 7],
    reserved2: u64,
    reserved3: u16,
    /// Offset of the I/O permission map: beyond the limit, so there is none.
    io_map: u16,
}

const _: () = assert!(size_of::<TaskState>() == 104);

/// A CPU's descriptor table and task state.
#[repr(C, align(64))]
pub struct Segments {
    gdt: [u64; 4],
    tss: TaskState,
}

impl Segments {
    /// With no interrupt stacks yet.
    pub const fn new() -> Self {
        Self {
            gdt: [
                0,
                0x00af_9b00_0000_ffff, // code: present, DPL 0, 64-bit, execute/read, accessed
                0,                     // the TSS takes two slots
                0,
            ],
            tss: TaskState {
                reserved0: 0,
                rsp: [0; 3],
                reserved1: 0,
                ist: [0; 7],
                reserved2: 0,
                reserved3: 0,
                io_map: size_of::<TaskState>() as u16,
            },
        }
    }

    /// Names the top of a stack for `slot`. Takes effect at once on the CPU that uses this block.
    pub fn set_stack(&mut self, slot: InterruptStack, top: u64) {
        if slot != InterruptStack::Current {
            self.tss.ist[slot as usize - 1] = top;
        }
    }

    /// The task state of these segments.
    ///
    /// # Safety
    /// `segments` points at some.
    pub unsafe fn task_state(segments: *const Self) -> *const TaskState {
        // SAFETY: the caller's; nothing is read.
        unsafe { &raw const (*segments).tss }
    }

    /// Makes this CPU use these segments.
    ///
    /// # Safety
    /// `segments` stays there for as long as the CPU runs. GS has no base afterwards.
    pub unsafe fn load(segments: *mut Self) {
        // SAFETY: the caller keeps the block alive; nothing else uses it before this CPU runs on it.
        let this = unsafe { &mut *segments };
        let base = (&raw const this.tss) as u64;
        let limit = size_of::<TaskState>() as u64 - 1;
        // Available 64-bit TSS, present (SDM vol. 3A, 8.2.3).
        this.gdt[2] = limit | (base & 0xff_ffff) << 16 | 0x89 << 40 | (base >> 24 & 0xff) << 56;
        this.gdt[3] = base >> 32;
        let pointer =
            TablePointer { limit: size_of_val(&this.gdt) as u16 - 1, base: (&raw const this.gdt) as u64 };
        // SAFETY: the table was just filled with valid descriptors and stays there.
        unsafe {
            registers::lgdt(&pointer);
            registers::reload_segments(CODE);
            registers::ltr(TSS);
        }
    }
}
