//! Starts the application processors (SDM vol. 3A, 9.4.4; APM vol. 2, 15.27.8).
//!
//! ```text
//! INIT to all (first thing in boot), 10 ms, SIPI to all at once ─► trampoline (real mode, one page below 1 MiB)
//!   ─► long mode on tables of their own: the page, executable, and the kernel's half
//!   ─► ap_entry: the kernel's tables, own stack by APIC id ─► ap_main ─► cpu_loop
//! ```
//!
//! The kernel's own page tables never map the trampoline. A CPU that does not come within its time is
//! named, sent back into INIT, and left out; the others go on.
#![allow(unsafe_code)] // start-up code, and memory shared with it

use crate::cpu::gdt::InterruptStack;
use crate::cpu::percpu::{self, PerCpu, State};
use crate::cpu::registers::halt_forever;
use crate::cpu::{control, idt};
use crate::interrupts::local_apic::{self, Command};
use crate::memory::{self, DIRECT, HEAP, NoMemory};
use crate::time::{self, Nanos, sync_check, timer};
use crate::vm::{self, GuestCpu};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::arch::{global_asm, naked_asm};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use mm::addr::{Hpa, Hva, PAGE};
use mm::layout::Stack;
use mm::{Caching, PageSize, PageTable, Rights, TableMemory, X86_64};

/// From INIT to the first SIPI. INIT was the kernel's first act, so most of it is over.
const AFTER_INIT: Nanos = Nanos::from_millis(10);
/// From the first SIPI to the second, which goes to those that have not come.
const SECOND_SIPI: Nanos = Nanos::from_millis(2);
/// How long to wait for a CPU.
const PATIENCE: Nanos = Nanos::from_millis(500);
/// Readings in the check of the TSCs.
const CHECK_ROUNDS: u32 = 1000;

/// Where a CPU finds its own, by its APIC id. Read by `ap_entry`.
#[repr(C)]
struct Place {
    apic_id: u64,
    stack: u64,
    block: &'static PerCpu,
}

// What `ap_entry` needs, in the order of its use.
static ROOT: AtomicU64 = AtomicU64::new(0);
static PLACES: AtomicU64 = AtomicU64::new(0);
static PLACE_COUNT: AtomicU64 = AtomicU64::new(0);

/// CPUs that wait for the check of the TSCs to begin.
static ARRIVED: AtomicU32 = AtomicU32::new(0);
/// How many have to; 0 while it is not known.
static EXPECTED: AtomicU32 = AtomicU32::new(0);

// The trampoline. It is copied to its page and patched: everything is addressed relative to the page, which
// is CS:0 at first.
global_asm!(
    ".pushsection .rodata.trampoline, \"a\"",
    ".balign 16",
    ".code16",
    "trampoline_start:",
    "cli",
    "cld",
    "mov ax, cs",
    "mov ds, ax",
    // CR3, PAE, then long mode with no-execute pages; protection and paging at once.
    ".byte 0x66, 0xa1", // mov eax, [trampoline_cr3]
    ".word trampoline_cr3 - trampoline_start",
    "mov cr3, eax",
    "mov eax, 0x20",
    "mov cr4, eax",
    "mov ecx, 0xc0000080",
    "rdmsr",
    "or eax, 0x900",
    "wrmsr",
    ".byte 0x66, 0x0f, 0x01, 0x16", // lgdt with a 32-bit base
    ".word trampoline_gdt_pointer - trampoline_start",
    "mov eax, 0x80010021", // PG, WP, NE, PE
    "mov cr0, eax",
    ".byte 0x66, 0xff, 0x2e", // far jump through a 32-bit offset and a selector
    ".word trampoline_far - trampoline_start",
    ".code64",
    "trampoline_long_mode:",
    "mov rax, qword ptr [rip + trampoline_entry]",
    "jmp rax",
    ".balign 8",
    "trampoline_entry: .quad 0",
    "trampoline_gdt: .quad 0, 0x00af9b000000ffff",
    "trampoline_gdt_pointer: .word 15",
    "trampoline_gdt_base: .long trampoline_gdt - trampoline_start",
    "trampoline_far: .long trampoline_long_mode - trampoline_start",
    ".word 8",
    "trampoline_cr3: .long 0",
    "trampoline_end:",
    ".popsection",
);

unsafe extern "C" {
    static trampoline_start: u8;
    static trampoline_end: u8;
    static trampoline_entry: u8;
    static trampoline_gdt_base: u8;
    static trampoline_far: u8;
    static trampoline_cr3: u8;
}

/// First code of the kernel on an application processor: no stack, the trampoline's tables.
#[unsafe(naked)]
unsafe extern "C" fn ap_entry() -> ! {
    naked_asm!(
        "mov rax, [rip + {root}]",
        "mov cr3, rax",
        // The x2APIC id where there is one (leaf 0xb, whose EBX is not 0), else the initial APIC id.
        "xor eax, eax",
        "cpuid",
        "cmp eax, 0xb",
        "jb 1f",
        "mov eax, 0xb",
        "xor ecx, ecx",
        "cpuid",
        "test ebx, ebx",
        "jnz 2f",
        "1:",
        "mov eax, 1",
        "cpuid",
        "shr ebx, 24",
        "mov edx, ebx",
        "2:",
        "mov rsi, [rip + {places}]",
        "mov rcx, [rip + {count}]",
        "3:",
        "test rcx, rcx",
        "jz 5f",
        "cmp [rsi], rdx",
        "je 4f",
        "add rsi, {size}",
        "dec rcx",
        "jmp 3b",
        "4:",
        "mov rsp, [rsi + 8]",
        "mov rdi, [rsi + 16]",
        "xor ebp, ebp",
        "push rbp",
        "jmp {main}",
        "5:", // not one that was called
        "cli",
        "hlt",
        "jmp 5b",
        root = sym ROOT,
        places = sym PLACES,
        count = sym PLACE_COUNT,
        size = const size_of::<Place>(),
        main = sym ap_main,
    )
}

extern "C" fn ap_main(block: &'static PerCpu) -> ! {
    percpu::adopt_as(block);
    idt::load();
    control::set_up();
    local_apic::enable();
    timer::set_up();
    if !block.leave_starting(State::Online) {
        halt_forever();
    }
    // Before it counts as arrived: when all have, the scheduler knows which of them run VMs.
    let guest = GuestCpu::start();
    ARRIVED.fetch_add(1, Ordering::AcqRel);
    while EXPECTED.load(Ordering::Acquire) == 0 {
        core::hint::spin_loop();
    }
    sync_check::take_part(CHECK_ROUNDS);
    crate::cpu_loop::run(guest)
}

/// Maps all stacks of a CPU and tells its TSS. Returns the top of the main one.
///
/// # Safety
/// The CPU is the calling one, or does not run yet.
pub unsafe fn give_stacks(block: &PerCpu) -> Result<Hva, NoMemory> {
    for (which, slot) in [
        (Stack::Nmi, InterruptStack::Nmi),
        (Stack::DoubleFault, InterruptStack::DoubleFault),
        (Stack::MachineCheck, InterruptStack::MachineCheck),
    ] {
        let top = memory::map_stack(block.index, which)?;
        // SAFETY: the stack is new, and the caller says that the CPU does not take interrupts elsewhere.
        unsafe { block.set_stack(slot, top) };
    }
    memory::map_stack(block.index, Stack::Main)
}

/// The TSC on some CPU was seen behind another's by this much.
pub struct Started {
    /// CPUs that run, this one included.
    pub online: usize,
    /// The largest step back between two CPUs' TSCs, in ticks.
    pub tsc_warp: u64,
}

/// Starts all CPUs that have a block, and waits for them.
pub fn start() -> Result<Started, NoMemory> {
    let others: Vec<&'static PerCpu> = percpu::all().iter().copied().filter(|c| c.index > 0).collect();
    if others.is_empty() {
        return Ok(Started { online: 1, tsc_warp: 0 });
    }
    let mut places = Vec::with_capacity(others.len());
    for block in &others {
        // SAFETY: the CPU has not been started.
        let stack = unsafe { give_stacks(block)? };
        places.push(Place { apic_id: block.apic_id().into(), stack: stack.get(), block });
    }
    // Stays for good, for a CPU that comes after it was given up.
    let places = Box::leak(places.into_boxed_slice());
    PLACES.store(places.as_ptr() as u64, Ordering::Relaxed);
    PLACE_COUNT.store(places.len() as u64, Ordering::Relaxed);
    ROOT.store(memory::root().map_or(0, Hpa::get), Ordering::Release);

    let trampoline = Trampoline::new()?;
    wait(AFTER_INIT.since(time::now()), || false);
    let missing = |b: &&&PerCpu| !b.is_online();
    for block in &others {
        local_apic::send(trampoline.command(), block.apic_id());
    }
    let all_here = || others.iter().all(|b| b.is_online());
    if !wait(SECOND_SIPI, all_here) {
        for block in others.iter().filter(missing) {
            local_apic::send(trampoline.command(), block.apic_id());
        }
        wait(PATIENCE, all_here);
    }
    let mut gone = false;
    for block in others.iter().filter(missing) {
        if block.leave_starting(State::GivenUp) {
            log::warn!("CPU with APIC id {} does not start; going on without it", block.apic_id());
            local_apic::send(Command::INIT, block.apic_id());
            vm::leave_out(block.index);
            gone = true;
        }
    }
    if !gone {
        // SAFETY: every CPU that was started has left the trampoline for its own stack.
        unsafe { trampoline.free() };
    }
    check_clocks();
    Ok(Started { online: percpu::online().count(), tsc_warp: sync_check::warp() })
}

/// Lets all CPUs compare their TSCs, and then go to their loops.
fn check_clocks() {
    let others = percpu::online().count() as u32 - 1;
    // Whoever is online arrives in a moment.
    while ARRIVED.load(Ordering::Acquire) < others {
        core::hint::spin_loop();
    }
    EXPECTED.store(others.max(1), Ordering::Release);
    if others > 0 {
        sync_check::take_part(CHECK_ROUNDS);
    }
}

/// Waits until `done`, for `time` at most. Returns whether it was done.
fn wait(time: Nanos, done: impl Fn() -> bool) -> bool {
    let end = time::now().after(time);
    while !done() {
        if time::now() >= end {
            return false;
        }
        core::hint::spin_loop();
    }
    true
}

/// Frames below 4 GiB: the trampoline loads CR3 in 32 bits.
struct LowTables;

// SAFETY: frames of the heap, which hands each out once; the direct map reaches them.
unsafe impl TableMemory for LowTables {
    fn allocate(&mut self) -> Option<Hpa> {
        HEAP.allocate_frames_below(0, Hpa::new(1 << 32))
    }

    unsafe fn free(&mut self, table: Hpa) {
        // SAFETY: the caller says that nobody uses the table.
        let _ = unsafe { HEAP.free_frames(table, 0) };
    }

    fn pointer(&self, table: Hpa) -> *mut [u64; 512] {
        DIRECT.pointer(table)
    }
}

struct Trampoline {
    page: Hpa,
    tables: PageTable<X86_64, LowTables>,
}

impl Trampoline {
    fn new() -> Result<Self, NoMemory> {
        let failed = NoMemory("starting the other CPUs (it takes a page below 1 MiB)");
        let page = HEAP.allocate_frames_below(0, Hpa::new(0x10_0000)).ok_or(failed)?;
        let mut tables = PageTable::new(LowTables).map_err(|_| failed)?;
        tables
            .map(Hva::new(page.get()), page, PAGE, Rights::RX, Caching::WriteBack, PageSize::Small)
            .map_err(|_| failed)?;
        let kernel = memory::root().ok_or(failed)?;
        let start = &raw const trampoline_start;
        let offset = |symbol: *const u8| symbol as usize - start as usize;
        let length = offset(&raw const trampoline_end);
        let at = DIRECT.pointer::<u8>(page);
        // SAFETY: the page and the tables are ours; the code is shorter than a page; the patched fields lie
        // inside of it. The kernel's half of the address space is the same in both tables.
        unsafe {
            at.copy_from_nonoverlapping(start, length);
            let add = |symbol: *const u8, value: u32| {
                let field = at.add(offset(symbol)).cast::<u32>();
                field.write_unaligned(field.read_unaligned() + value);
            };
            add(&raw const trampoline_gdt_base, page.get() as u32);
            add(&raw const trampoline_far, page.get() as u32);
            add(&raw const trampoline_cr3, tables.root().get() as u32);
            at.add(offset(&raw const trampoline_entry))
                .cast::<u64>()
                .write_unaligned(ap_entry as *const () as u64);
            let from = DIRECT.pointer::<u64>(kernel).add(256);
            DIRECT.pointer::<u64>(tables.root()).add(256).copy_from_nonoverlapping(from, 256);
        }
        Ok(Self { page, tables })
    }

    /// What starts a CPU here.
    fn command(&self) -> Command {
        Command::startup((self.page.get() >> 12) as u8)
    }

    /// # Safety
    /// No CPU is on its way through the trampoline.
    unsafe fn free(self) {
        // SAFETY: the kernel's half is taken out first, so that only the trampoline's own tables go.
        unsafe {
            DIRECT.pointer::<u64>(self.tables.root()).add(256).write_bytes(0, 256);
            self.tables.free();
            let _ = HEAP.free_frames(self.page, 0);
        }
    }
}
