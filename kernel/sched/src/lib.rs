//! The vCPU scheduler: which vCPU runs on which CPU, and for how long.
//!
//! Pure policy. No clock, no interrupts, no vCPU: times are passed in, in nanoseconds of one clock that
//! all CPUs agree on, and an [`Entity`] carries the kernel's own payload. Each CPU calls
//! [`Scheduler::pick`] for something to run and [`Scheduler::put_back`] when it has run; anyone calls
//! [`Scheduler::wake`]; each answer says which CPU must be told to look again.
//!
//! ```text
//!            wake                       pick
//!  Blocked ────────► Queued on a CPU ─────────► Running on a CPU
//!     ▲                 ▲   ▲  throttled: until its cap allows     │
//!     │                 │   └──────── put_back(Preempted) ─────────┤
//!     └─────────────────┼──────────── put_back(Blocked) ───────────┘   (Queued if a wake came meanwhile)
//!  Paused ── resume ────┘      pause, remove: from any state; a running entity goes when it is put back
//! ```
//!
//! # The algorithm
//!
//! Weighted fair queueing by virtual runtime: an entity's virtual runtime grows by the time it ran ×
//! 100 / weight, and the one with the least runs next. One queue per CPU, each a short sorted array under
//! its own lock, and all queues on one virtual time line. A CPU that picks compares its own least with
//! the least that the other queues publish in atomics, and takes an entity over when that one lags by
//! more than [`STEAL_LAG_NS`], or when it has nothing itself. That one rule is the whole load balancer:
//! three spinning vCPUs on two CPUs get two thirds each, without a balancing pass, a group tree
//! or a periodic tick. The alternative, fair queues per CPU and a balancer that evens out their loads,
//! can't give 3 on 2 its thirds, because no distribution of whole entities is even.
//!
//! A global time line needs bounds where global comparison means nothing: an entity that can't use its
//! share (weight above a whole CPU's worth, alone on its CPU) falls behind for ever, one pinned beside
//! few others runs ahead of the rest. So every queue keeps a virtual clock, the start of the latest turn
//! there, and an entity's virtual runtime is brought to within [`MAX_LAG_NS`] of what it competes with:
//! lifted at pick, to the picking queue's clock and to the start of the last turn of whoever waits
//! anywhere; lowered when it moves to a queue that is behind. The start of a turn, not its end, is the
//! yardstick, because a light entity's single turn legitimately puts it far ahead. An entity that nobody
//! waited for gets a turn of [`ALONE_NS`], several slices, of which only the last counts for that; who comes
//! to its CPU meanwhile has it picked anew.
//!
//! # Promises
//!
//! - N spinning entities of equal weight on M CPUs get M/N each, and unequal weights their ratio as far as
//!   a whole CPU allows, within 5 % over a second.
//! - No CPU idles while an entity waits that may run there; the calls' answers name the CPUs to kick.
//! - A waking entity is at most one slice ahead of those who kept running: it preempts a spinner at once
//!   when it has slept, but sleeping doesn't save up time.
//! - A cap holds over each period of 10 to 100 ms, overrun is paid back in the next.
//! - A wake is never lost: one that comes while the entity runs makes its next block a preemption.
//! - An entity never runs on two CPUs at once.
//!
//! # What it refuses
//!
//! Gang scheduling, real-time guarantees, NUMA and SMT placement (affinity masks can express them).
//! Virtual runtime saturates after 5.8 years that an entity of weight 1 spins; from then on it is
//! scheduled in turns.
//!
//! # Locks
//!
//! An entity's lock, then one queue's lock; never two of a kind, never the other way round, both held
//! for a few dozen instructions plus a move within a short array. Queues grow to their working size and
//! then don't allocate. No function may be called from an interrupt handler that could have interrupted
//! one: a handler wakes a task, which calls [`Scheduler::wake`].
//!
//! Files: `virtual_time` (the arithmetic and its constants), `cap`, `cpu_set`, `entity`, `queue` (one CPU's),
//! `scheduler` (pick and put back), `placement` (wake and where to), `control` (pause, remove, settings).
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod cap;
mod control;
mod cpu_set;
mod entity;
mod placement;
mod queue;
mod scheduler;
mod virtual_time;

#[cfg(test)]
mod fairness_tests;
#[cfg(test)]
mod lifecycle_tests;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod stress_tests;

pub use control::Refused;
pub use cpu_set::{CpuSet, MAX_CPUS};
pub use entity::{Entity, Params, Stats};
pub use placement::Placement;
pub use scheduler::{Pick, Reason, Scheduler};
pub use virtual_time::{
    ALONE_NS, DEFAULT_WEIGHT, MAX_LAG_NS, MAX_WEIGHT, MIN_SLICE_NS, SLICE_NS, STEAL_LAG_NS, WAKE_LAG_NS,
};
