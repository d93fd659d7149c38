//! A CPU's tables and stacks.
//!
//! Each CPU has a block of 64 KiB, aligned, with its own data at the beginning and its stacks behind:
//! whoever runs finds it by masking the stack pointer, whatever state a case left the rest in. Every
//! exception runs on a stack of its own, so that one is survived with any RSP.
use crate::catch::{self, Caught};
use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

/// Most CPUs.
pub const MAX_CPUS: usize = 16;
const BLOCK: u64 = 0x1_0000;

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

/// What a CPU has for itself.
#[repr(C, align(65536))]
pub struct Cpu {
    /// Stack pointer of the innermost `catch`, 0 for none. `catch` relies on its being first.
    pub resume: u64,
    pub caught: Caught,
    /// What a case wants with exceptions: see [`catch::hook`].
    pub hook: Option<fn(&mut catch::Frame) -> bool>,
    pub index: usize,
    /// Interrupts and exceptions taken, by vector.
    pub taken: [AtomicU64; 256],
    /// What the CPU is to call: see `processors`.
    pub order: AtomicU64,
    pub orders_done: AtomicU64,
    gdt: [u64; 7],
    tss: Tss,
    stacks: [u8; 0xf000],
}

const _: () = assert!(size_of::<Cpu>() == BLOCK as usize);

#[allow(clippy::declare_interior_mutable_const)] // Only the array's initial value.
const NEW: Cpu = Cpu {
    resume: 0,
    caught: Caught::NONE,
    hook: None,
    index: 0,
    taken: [const { AtomicU64::new(0) }; 256],
    order: AtomicU64::new(0),
    orders_done: AtomicU64::new(0),
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
    stacks: [0; 0xf000],
};

#[unsafe(no_mangle)]
static mut CPUS: [Cpu; MAX_CPUS] = [const { NEW }; MAX_CPUS];

/// Tops of the stacks, from a block's beginning: exceptions; NMI; double fault.
pub const EXCEPTION_STACK: u64 = 0x6000;
const NMI_STACK: u64 = 0x7000;
const DOUBLE_FAULT_STACK: u64 = 0x8000;

/// A CPU's block by number.
pub fn of(index: usize) -> &'static mut Cpu {
    // Each CPU changes its own; of others only the atomic fields are used.
    unsafe { &mut *(&raw mut CPUS).cast::<Cpu>().add(index % MAX_CPUS) }
}

/// The calling CPU's block.
pub fn this() -> &'static mut Cpu {
    let rsp: u64;
    unsafe {
        asm!("mov {}, rsp", out(reg) rsp, options(nomem, nostack, preserves_flags));
        &mut *((rsp & !(BLOCK - 1)) as *mut Cpu)
    }
}

/// How often the calling CPU has taken `vector`.
pub fn taken(vector: u8) -> u64 {
    this().taken[usize::from(vector)].load(Ordering::SeqCst)
}

#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: u64,
}

/// Loads the calling CPU's tables, and its control registers with what the program relies on.
pub fn set_up(index: usize) {
    let cpu = this();
    cpu.index = index;
    let base = &raw const *cpu as u64;
    let tss = &raw const cpu.tss as u64;
    cpu.tss.rsp[0] = base + EXCEPTION_STACK;
    cpu.tss.ist[0] = base + EXCEPTION_STACK;
    cpu.tss.ist[1] = base + NMI_STACK;
    cpu.tss.ist[2] = base + DOUBLE_FAULT_STACK;
    cpu.tss.io_map = size_of::<Tss>() as u16;
    let limit = size_of::<Tss>() as u64 - 1;
    let low = limit | (tss & 0xff_ffff) << 16 | 0x89 << 40 | (tss >> 24 & 0xff) << 56;
    cpu.gdt = [
        0,
        0x00af_9b00_0000_ffff,
        0x00cf_9300_0000_ffff,
        0x00cf_f300_0000_ffff,
        0x00af_fb00_0000_ffff,
        low,
        tss >> 32,
    ];
    if index == 0 {
        catch::fill_idt();
        crate::console::set_up();
    }
    load_tables(cpu);
    unsafe { asm!("ltr {:x}", in(reg) TSS, options(nostack)) };
}

/// Loads GDT, IDT and data segments, as often as a case has spoiled them.
pub fn load_tables(cpu: &Cpu) {
    let gdtr = Pointer { limit: size_of_val(&cpu.gdt) as u16 - 1, base: &raw const cpu.gdt as u64 };
    let (idt, limit) = catch::idt();
    let idtr = Pointer { limit, base: idt };
    unsafe {
        asm!(
            "lgdt [{gdtr}]", "lidt [{idtr}]",
            "mov ds, {data:x}", "mov es, {data:x}", "mov ss, {data:x}",
            gdtr = in(reg) &raw const gdtr, idtr = in(reg) &raw const idtr, data = in(reg) u32::from(DATA),
            options(nostack, readonly)
        );
    }
}

/// An IDT of no entries: the next exception is a triple fault.
pub fn drop_idt() {
    let idtr = Pointer { limit: 0, base: 0 };
    unsafe { asm!("lidt [{}]", in(reg) &raw const idtr, options(nostack, readonly)) };
}
