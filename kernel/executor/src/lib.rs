//! The per-CPU async executor and its timers.
//!
//! Everything in the kernel that waits is a task on the executor of one CPU; there are no kernel
//! threads. Each CPU runs one loop:
//!
//! ```text
//! loop {
//!     timers.expire(now, |key| wake the vCPU behind key);
//!     executor.run_ready(budget, clock);
//!     match scheduler.pick(cpu, now) {
//!         Some(vcpu) => program the timer to min(slice end, timers.next_deadline());
//!                       interrupts off;
//!                       if executor.listen() { enter the guest; handle exits while !has_ready() }
//!         None       => program the timer to timers.next_deadline();
//!                       interrupts off;
//!                       if executor.listen() { STI; HLT }
//!     }
//! }
//! ```
//!
//! Data flow: an interrupt handler, another CPU or another task wakes a [`Waker`](core::task::Waker);
//! that claims the task's `queued` flag and pushes its header on the owner's ready queue; if the owner
//! had said by [`Executor::listen`] that it isn't looking, the kernel's notify hook sends it an
//! interrupt. [`Executor::run_ready`] takes the queue and polls.
//!
//! What it promises:
//! - Waking is lock-free, neither allocates nor frees, and works in any context. (The executor keeps a
//!   reference to every header until no waker does, so the last one is never dropped by a waker.)
//! - No wake is lost, and a wake of a finished task does nothing.
//! - Tasks are polled in the order of their wakes, and one that keeps waking itself can't keep others
//!   from their turn.
//! - A future lives, is polled and is dropped on its own CPU, so it need not be `Send`.
//! - Timers cost O(log n) and, once the tables have grown to their working size, no allocation.
//!
//! What it refuses: priorities, preemption (a task that keeps the CPU for longer than
//! [`LONGEST_POLL_NS`] is named, not stopped), moving a task between CPUs, and locks in interrupt
//! handlers. Of the primitives here a handler may use [`Signal::raise`], [`Channel::try_send`] and
//! wakers; the others say that they are for tasks.
//!
//! Files: `task` (headers), `ready` (the queue), `executor` (the table and the polling), `timers` and
//! `sleep`, `waker_slot` (one waiter, lock-free) under `signal`, `wait_list` (many waiters) under
//! `event` and `changes`, both under `channel`.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod changes;
mod channel;
mod event;
mod executor;
mod ready;
mod signal;
mod sleep;
mod task;
mod timers;
mod wait_list;
mod waker_slot;
mod yielding;

#[cfg(test)]
mod channel_tests;
#[cfg(test)]
mod executor_tests;
#[cfg(test)]
mod stress_tests;
#[cfg(test)]
mod timers_tests;

pub use changes::Changes;
pub use channel::{Channel, SendError};
pub use event::Event;
pub use executor::{Executor, Hooks, LONGEST_POLL_NS, Spawner};
pub use signal::Signal;
pub use sleep::Sleep;
pub use task::TaskStats;
pub use timers::{Timer, Timers};
pub use yielding::yield_now;
