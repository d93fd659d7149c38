//! What every CPU does after boot, for ever: expire timers, poll ready tasks, halt until something happens.
//!
//! The order in which a CPU looks and then halts loses no wake: see `executor::Executor::listen`.
use crate::cpu::percpu;
use crate::cpu::registers::{disable_interrupts, enable_and_halt, enable_interrupts};
use crate::interrupts::ipi;
use crate::time::{self, Nanos, timer};
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
    cpu.set_spawner(executor.spawner());
    Box::leak(Box::new(Runtime { executor, timers: Arc::new(Timers::new(TIMERS)) }))
}

/// The loop of an application processor.
pub fn run() -> ! {
    run_on(make_runtime())
}

/// The loop of the booting CPU, after `first` has started its tasks.
pub fn run_with(first: impl FnOnce(&'static Runtime)) -> ! {
    let runtime = make_runtime();
    first(runtime);
    run_on(runtime)
}

fn run_on(runtime: &'static Runtime) -> ! {
    let cpu = percpu::current();
    let Runtime { executor, timers } = runtime;
    enable_interrupts();
    loop {
        timers.expire(time::now().0, |_| {});
        executor.run_ready(BUDGET, || time::now().0);
        disable_interrupts();
        if !executor.listen() {
            enable_interrupts();
            continue;
        }
        timer::arm(timers.next_deadline().map_or(Nanos::NEVER, Nanos));
        let start = time::now();
        enable_and_halt();
        cpu.idle_nanos.fetch_add(time::now().since(start).0, Ordering::Relaxed);
    }
}
