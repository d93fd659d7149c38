//! A CPU's tables and stacks.
//!
//! Each CPU has a block of 64 KiB, aligned, with its own data at the beginning and its stacks behind:
//! whoever runs finds it by masking the stack pointer, whatever state a case left the rest in. Every
//! exception runs on a stack of its own, so that one is survived with any RSP.
#![allow(unsafe_code)] // Descriptor tables, and data that one CPU alone uses.
use crate::catch::{Caught, Hook};
use crate::instructions::rsp;
use bare::idt;
use core::arch::asm;
use core::cell::{Cell, UnsafeCell};
use core::sync::atomic::{AtomicU64, Ordering};

/// Most CPUs.
pub const MAX_CPUS: usize = 16;
const BLOCK: usize = 0x1_0000;

/// Selectors of the GDT.
pub const CODE: u16 = 0x08;
pub const DATA: u16 = 0x10;
pub const USER_DATA: u16 = 0x18 | 3;
pub const USER_CODE: u16 = 0x20 | 3;
const TSS: u16 = 0x28;

#[repr(C, packed(4))]
struct Tss {
    reserved: u32,
    rsp: [u64; 3],
    reserved_2: u64,
    ist: [u64; 7],
    reserved_3: u64,
    reserved_4: u16,
    io_map: u16,
}

struct Tables {
    gdt: [u64; 7],
    tss: Tss,
}

#[repr(align(4096))]
struct Stacks(#[allow(dead_code)] UnsafeCell<[u8; BLOCK - 4096]>);

/// A CPU's block.
#[repr(C, align(65536))]
pub struct Cpu {
    /// Stack pointer of the innermost `catch`, 0 for none. `catch` relies on its being first.
    pub resume: AtomicU64,
    pub caught: Cell<Caught>,
    /// What a case wants with exceptions: see [`crate::catch::hook`].
    pub hook: Cell<Option<Hook>>,
    shared: Shared,
    tables: UnsafeCell<Tables>,
    stacks: Stacks,
}

/// What other CPUs may look at.
pub struct Shared {
    /// Interrupts and exceptions taken, by vector.
    pub taken: [AtomicU64; 256],
    /// What the CPU is to call: see `processors`.
    pub order: AtomicU64,
    pub orders_done: AtomicU64,
}

// SAFETY: a CPU reaches its own block alone, by `this`, and of others `shared`, by `of`, which is of atomics.
unsafe impl Sync for Cpu {}

const _: () = assert!(size_of::<Cpu>() == BLOCK);

/// Top of a CPU's first stack, from its block's beginning.
pub const STACK_TOP: usize = BLOCK - 64;
/// Tops of the other stacks: exceptions; NMI; double fault.
pub const EXCEPTION_STACK: u64 = 0x6000;
const NMI_STACK: u64 = 0x7000;
const DOUBLE_FAULT_STACK: u64 = 0x8000;

impl Cpu {
    const fn new() -> Self {
        Self {
            resume: AtomicU64::new(0),
            caught: Cell::new(Caught::NONE),
            hook: Cell::new(None),
            shared: Shared {
                taken: [const { AtomicU64::new(0) }; 256],
                order: AtomicU64::new(0),
                orders_done: AtomicU64::new(0),
            },
            tables: UnsafeCell::new(Tables {
                gdt: [0; 7],
                tss: Tss {
                    reserved: 0,
                    rsp: [0; 3],
                    reserved_2: 0,
                    ist: [0; 7],
                    reserved_3: 0,
                    reserved_4: 0,
                    io_map: 0,
                },
            }),
            stacks: Stacks(UnsafeCell::new([0; BLOCK - 4096])),
        }
    }

    /// Counts an interrupt or exception.
    pub fn take(&self, vector: u8) {
        self.shared.taken[usize::from(vector)].fetch_add(1, Ordering::SeqCst);
    }

    /// What the CPU is to do.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Where it is.
    pub fn address(&self) -> u64 {
        &raw const *self as u64
    }
}

/// The CPUs' blocks by number.
pub static CPUS: [Cpu; MAX_CPUS] = [const { Cpu::new() }; MAX_CPUS];

/// What a CPU shows the others.
pub fn of(index: usize) -> &'static Shared {
    &CPUS[index % MAX_CPUS].shared
}

/// The calling CPU's block.
pub fn this() -> &'static Cpu {
    let behind = rsp().wrapping_sub(&raw const CPUS as u64);
    &CPUS[behind as usize / BLOCK % MAX_CPUS]
}

/// How often the calling CPU has taken `vector`.
pub fn taken(vector: u8) -> u64 {
    this().shared.taken[usize::from(vector)].load(Ordering::SeqCst)
}

#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: u64,
}

/// Makes the calling CPU's tables and loads them.
pub fn set_up() {
    let cpu = this();
    let base = cpu.address();
    let tables = cpu.tables.get();
    let limit = size_of::<Tss>() as u64 - 1;
    // SAFETY: this CPU's own, which nothing else refers to; it has not loaded them yet.
    unsafe {
        let tss = &raw const (*tables).tss as u64;
        (*tables).tss.rsp[0] = base + EXCEPTION_STACK;
        (*tables).tss.ist[0] = base + EXCEPTION_STACK;
        (*tables).tss.ist[1] = base + NMI_STACK;
        (*tables).tss.ist[2] = base + DOUBLE_FAULT_STACK;
        (*tables).tss.io_map = size_of::<Tss>() as u16;
        (*tables).gdt = [
            0,
            0x00af_9b00_0000_ffff,
            0x00cf_9300_0000_ffff,
            0x00cf_f300_0000_ffff,
            0x00af_fb00_0000_ffff,
            limit | (tss & 0xff_ffff) << 16 | 0x89 << 40 | (tss >> 24 & 0xff) << 56,
            tss >> 32,
        ];
    }
    load_tables();
    // SAFETY: the descriptor of a TSS that stays.
    unsafe { asm!("ltr {:x}", in(reg) TSS, options(nostack, preserves_flags)) };
}

/// Loads GDT, IDT and data segments, as often as a case has spoiled them.
pub fn load_tables() {
    let tables = this().tables.get();
    // SAFETY: takes an address.
    let base = unsafe { &raw const (*tables).gdt } as u64;
    let gdtr = Pointer { limit: size_of::<[u64; 7]>() as u16 - 1, base };
    // SAFETY: the table that `set_up` made: the segments are as they were, flat.
    unsafe {
        asm!(
            "lgdt [{gdtr}]", "mov ds, {data:x}", "mov es, {data:x}", "mov ss, {data:x}",
            gdtr = in(reg) &raw const gdtr, data = in(reg) u32::from(DATA),
            options(nostack, readonly, preserves_flags)
        );
    }
    idt::load();
}
