//! What every CPU does after boot, for ever: expire timers, poll ready tasks, run the vCPU that the scheduler
//! picks, halt until something happens.
//!
//! The order in which a CPU looks and then halts loses no wake. For tasks see `executor::Executor::listen`.
//! For vCPUs: whoever queues one for this CPU sends an interrupt, whose handler sets
//! [`percpu::PerCpu::attention`]; the loop clears it before it asks the scheduler, and does not halt
//! when it is set again.
use crate::cpu::percpu;
use crate::cpu::registers::{disable_interrupts, enable_and_halt, enable_interrupts};
use crate::interrupts::ipi;
use crate::time::{self, Nanos, timer};
use crate::vm::{self, GuestCpu};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use executor::{Executor, Hooks, Timers};

/// Polls between two looks at the timers.
const BUDGET: u32 = 64;
/// Timers that a CPU has room for at first.
const TIMERS: usize = 64;

/// A CPU's executor and timers. It stays on its CPU: neither `Send` nor `Sync`.
pub struct Runtime {
    /// Its tasks.
    pub executor: Executor,
    /// Its timers.
    pub timers: Arc<Timers>,
}

impl Runtime {
    /// Wakes whoever waited for a time until `now`.
    pub fn expire(&self, now: u64) {
        self.timers.expire(now, |_| {});
    }

    /// Polls ready tasks, at most so many that a vCPU does not wait long.
    pub fn poll(&self) {
        self.executor.run_ready(BUDGET, || time::now().0);
    }
}

/// The timers of CPU `cpu`, once its loop runs.
pub fn timers_of(cpu: usize) -> Option<&'static Arc<Timers>> {
    percpu::get(cpu)?.timers()
}

/// Makes CPU `cpu` look at its executor.
fn notify(cpu: usize) {
    if cpu != percpu::current().index {
        ipi::wake(cpu);
    }
}

/// The watchdog's word.
fn slow(cpu: usize, name: &'static str, nanos: u64) {
    log::debug!("task {name} kept CPU {cpu} for {} us", nanos / 1000);
}

/// Makes the calling CPU's runtime and lets other CPUs send tasks to it.
fn make_runtime() -> &'static Runtime {
    let cpu = percpu::current();
    let executor = Executor::new(cpu.index, Hooks { notify, slow });
    let timers = Arc::new(Timers::new(TIMERS));
    cpu.set_runtime(executor.spawner(), timers.clone());
    Box::leak(Box::new(Runtime { executor, timers }))
}

/// The loop of an application processor, with what it keeps for guests if it can run them.
pub fn run(guest: Option<GuestCpu>) -> ! {
    run_on(make_runtime(), guest)
}

/// The loop of the booting CPU, after `first` has started its tasks.
pub fn run_with(first: impl FnOnce(&'static Runtime)) -> ! {
    let guest = GuestCpu::start();
    let runtime = make_runtime();
    first(runtime);
    run_on(runtime, guest)
}

fn run_on(runtime: &'static Runtime, mut guest: Option<GuestCpu>) -> ! {
    let cpu = percpu::current();
    enable_interrupts();
    loop {
        cpu.attention.store(false, Ordering::SeqCst);
        cpu.reschedule.store(false, Ordering::SeqCst);
        vm::pass(cpu, guest.as_mut());
        let now = time::now().0;
        timer::look_after_neighbour(Nanos(now));
        runtime.expire(now);
        runtime.poll();
        let pick = guest.as_mut().and_then(|guest| Some((guest, vm::pick(cpu.index, now)?)));
        if let Some((guest, pick)) = pick {
            vm::take_turn(runtime, guest, pick);
            continue;
        }
        disable_interrupts();
        if cpu.attention.load(Ordering::SeqCst) || !runtime.executor.listen() {
            enable_interrupts();
            continue;
        }
        let next = runtime.timers.next_deadline().unwrap_or(u64::MAX).min(vm::next_event(cpu.index));
        timer::arm(Nanos(next));
        cpu.begin_idle(time::now());
        enable_and_halt();
        cpu.end_idle(time::now());
    }
}
