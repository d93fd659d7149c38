//! What the kernel keeps for each CPU, reached through GS.
//!
//! A block is allocated for each CPU that the firmware names, and stays. [`current`] is this CPU's,
//! [`get`] any. All fields that change are atomics: the owner writes them relaxed, which costs what an
//! ordinary store costs, and others may look.
#![allow(unsafe_code)] // reads GS, and lends the descriptor tables to the CPU

use super::gdt::{InterruptStack, Segments};
use super::registers::{Msr, wrmsr};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::arch::asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use executor::{Spawner, Timers};
use mm::addr::Hva;
use platform::clock::Nanos;
use spin::Once;

/// Life of a CPU, as its block's `state` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Told to start.
    Starting = 0,
    /// Runs its loop.
    Online = 1,
    /// Did not come in time. Should it still come, it halts.
    GivenUp = 2,
}

/// A CPU's block. `gs:[0]` is its own address.
#[repr(C, align(64))]
pub struct PerCpu {
    this: UnsafeCell<*const PerCpu>,
    /// Number of the CPU, from 0 without gaps. The one that booted is 0.
    pub index: usize,
    /// Local APIC id.
    apic_id: AtomicU32,
    state: AtomicU8,
    /// Deadline that the timer is armed for, in nanoseconds; `u64::MAX` for none.
    pub timer_deadline: AtomicU64,
    /// Interrupts that this CPU took.
    pub interrupts: AtomicU64,
    /// Nanoseconds that this CPU spent halted, up to the last time that it went on.
    idle_nanos: AtomicU64,
    /// When it halted, if it is halted, else 0.
    idle_since: AtomicU64,
    /// Nanoseconds that this CPU spent on vCPUs' turns.
    pub guest_nanos: AtomicU64,
    /// Exits of guests on this CPU.
    pub exits: AtomicU64,
    /// An interrupt came that this CPU's loop is to look after: a timer, a wake.
    pub attention: AtomicBool,
    /// The vCPU scheduler wants this CPU to pick anew.
    pub reschedule: AtomicBool,
    /// The number that [`crate::vm::passing`] had when this CPU last passed by.
    pub passed: AtomicU64,
    /// How to start tasks on this CPU; set when its loop begins.
    spawner: Once<Spawner>,
    /// Its timers; likewise.
    timers: Once<Arc<Timers>>,
    segments: UnsafeCell<Segments>,
}

// SAFETY: `this` is written before the block is published. `segments` is only touched by `adopt` and
// `set_stack`, which run on the owning CPU (or before it runs).
unsafe impl Sync for PerCpu {}
// SAFETY: as above; the self pointer belongs to the block, which does not move once it is adopted.
unsafe impl Send for PerCpu {}

impl PerCpu {
    const fn new(index: usize, apic_id: u32) -> Self {
        Self {
            this: UnsafeCell::new(core::ptr::null()),
            index,
            apic_id: AtomicU32::new(apic_id),
            state: AtomicU8::new(State::Starting as u8),
            timer_deadline: AtomicU64::new(u64::MAX),
            interrupts: AtomicU64::new(0),
            idle_nanos: AtomicU64::new(0),
            idle_since: AtomicU64::new(0),
            guest_nanos: AtomicU64::new(0),
            exits: AtomicU64::new(0),
            attention: AtomicBool::new(false),
            reschedule: AtomicBool::new(false),
            passed: AtomicU64::new(0),
            spawner: Once::new(),
            timers: Once::new(),
            segments: UnsafeCell::new(Segments::new()),
        }
    }

    /// Local APIC id.
    pub fn apic_id(&self) -> u32 {
        self.apic_id.load(Ordering::Relaxed)
    }

    /// Whether the CPU runs.
    pub fn is_online(&self) -> bool {
        self.state.load(Ordering::Acquire) == State::Online as u8
    }

    /// Moves from `Starting` to `to`; false if the other side was faster.
    pub fn leave_starting(&self, to: State) -> bool {
        let from = State::Starting as u8;
        self.state.compare_exchange(from, to as u8, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Says how to start tasks on this CPU, and where its timers are.
    pub fn set_runtime(&self, spawner: Spawner, timers: Arc<Timers>) {
        self.spawner.call_once(|| spawner);
        self.timers.call_once(|| timers);
    }

    /// How to start tasks on this CPU; `None` before its loop runs.
    pub fn spawner(&self) -> Option<&Spawner> {
        self.spawner.get()
    }

    /// The timers of this CPU; `None` before its loop runs.
    pub fn timers(&self) -> Option<&Arc<Timers>> {
        self.timers.get()
    }

    /// This CPU halts, at `now`.
    pub fn begin_idle(&self, now: Nanos) {
        self.idle_since.store(now.0, Ordering::Relaxed);
    }

    /// This CPU goes on, at `now`.
    pub fn end_idle(&self, now: Nanos) {
        let since = self.idle_since.swap(0, Ordering::Relaxed);
        self.idle_nanos.fetch_add(now.0.saturating_sub(since), Ordering::Relaxed);
    }

    /// How long this CPU was halted in all until `now`.
    pub fn idle_until(&self, now: Nanos) -> Nanos {
        let current = match self.idle_since.load(Ordering::Relaxed) {
            0 => 0,
            since => now.0.saturating_sub(since),
        };
        Nanos(self.idle_nanos.load(Ordering::Relaxed).saturating_add(current))
    }

    /// Where the CPU's task state is.
    pub fn task_state(&self) -> Hva {
        // SAFETY: only an address is taken, of a place that does not move.
        Hva::from_ptr(unsafe { Segments::task_state(self.segments.get()) })
    }

    /// Names the top of the stack for an interrupt.
    ///
    /// # Safety
    /// The stack is mapped, this CPU's alone, and the CPU is the calling one or does not run yet.
    pub unsafe fn set_stack(&self, which: InterruptStack, top: Hva) {
        // SAFETY: per the contract nobody else uses the block's segments now.
        unsafe { (*self.segments.get()).set_stack(which, top.get()) };
    }
}

static BOOT_CPU: PerCpu = PerCpu::new(0, 0);

static ALL: Once<Vec<&'static PerCpu>> = Once::new();

/// Makes `block` the calling CPU's: loads its segments and points GS at it.
fn adopt(block: &'static PerCpu) {
    // SAFETY: the block is static and the calling CPU's alone; `this` is read through GS only.
    unsafe {
        *block.this.get() = block;
        Segments::load(block.segments.get());
        wrmsr(Msr::GS_BASE, Hva::from_ptr(block).get());
    }
}

/// Gives the booting CPU its block. The first thing that it does.
pub fn adopt_boot_cpu() {
    adopt(&BOOT_CPU);
}

/// Gives an application processor its block.
pub fn adopt_as(block: &'static PerCpu) {
    adopt(block);
}

/// Makes the blocks of all CPUs: the calling one is 0, `others` are APIC ids.
pub fn create_all(apic_id: u32, others: &[u32]) {
    BOOT_CPU.apic_id.store(apic_id, Ordering::Relaxed);
    BOOT_CPU.leave_starting(State::Online);
    ALL.call_once(|| {
        let mut all: Vec<&'static PerCpu> = Vec::with_capacity(others.len() + 1);
        all.push(&BOOT_CPU);
        for (i, id) in others.iter().enumerate() {
            all.push(Box::leak(Box::new(PerCpu::new(i + 1, *id))));
        }
        all
    });
}

/// The calling CPU's block.
#[inline(always)]
pub fn current() -> &'static PerCpu {
    let block: *const PerCpu;
    // SAFETY: `adopt` ran first on every CPU; GS:0 holds the block's own address ever after.
    unsafe {
        asm!("mov {}, gs:[0]", out(reg) block, options(pure, readonly, nostack, preserves_flags));
        &*block
    }
}

/// All blocks, by index. Only the booting CPU before the others were looked for.
pub fn all() -> &'static [&'static PerCpu] {
    static BOOT_ONLY: [&PerCpu; 1] = [&BOOT_CPU];
    ALL.get().map_or(&BOOT_ONLY, |all| all)
}

/// The block of CPU `index`.
pub fn get(index: usize) -> Option<&'static PerCpu> {
    all().get(index).copied()
}

/// CPUs that run.
pub fn online() -> impl Iterator<Item = &'static PerCpu> {
    all().iter().copied().filter(|c| c.is_online())
}
