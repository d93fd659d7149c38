//! The operator's side: settings, pause and removal.

use crate::cap::Cap;
use crate::cpu_set::{CpuSet, MAX_CPUS};
use crate::entity::{Entity, Inner, State, Wish};
use crate::placement::Placement;
use crate::scheduler::Scheduler;
use crate::virtual_time::MAX_WEIGHT;
use alloc::sync::Arc;
use core::fmt;

/// A setting that the scheduler doesn't take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A number of CPUs that it can't manage.
    Cpus(usize),
    /// A weight of 0 or above [`MAX_WEIGHT`].
    Weight(u32),
    /// An affinity without any CPU of the machine, which has so many.
    Affinity(usize),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Cpus(n) => write!(f, "can't schedule on {n} CPUs: use 1 to {MAX_CPUS}"),
            Refused::Weight(w) => write!(f, "weight {w} is out of range: use 1 to {MAX_WEIGHT}"),
            Refused::Affinity(cpus) => {
                write!(
                    f,
                    "the affinity names no CPU of this machine that runs VMs: use others of CPUs 0 to {}",
                    cpus - 1
                )
            }
        }
    }
}

impl core::error::Error for Refused {}

pub(crate) fn check_weight(weight: u32) -> Result<(), Refused> {
    if (1..=MAX_WEIGHT).contains(&weight) { Ok(()) } else { Err(Refused::Weight(weight)) }
}

impl<T> Scheduler<T> {
    pub(crate) fn check_affinity(&self, affinity: &CpuSet) -> Result<(), Refused> {
        match affinity.and(&self.online.load()).is_empty() {
            true => Err(Refused::Affinity(self.queues.len())),
            false => Ok(()),
        }
    }

    /// Stops `entity` until [`resume`](Self::resume). If it runs, the answer is the CPU to interrupt:
    /// it is paused once it is put back, for whatever reason.
    pub fn pause(&self, entity: &Arc<Entity<T>>, now: u64) -> Option<usize> {
        let mut inner = entity.lock();
        match inner.state {
            State::Running { cpu } => {
                if inner.wish == Wish::None {
                    inner.wish = Wish::Pause;
                }
                return Some(cpu);
            }
            State::Queued { cpu } => {
                self.withdraw(entity, &mut inner, cpu, now);
                inner.state = State::Paused { runnable: true };
            }
            State::Blocked => inner.state = State::Paused { runnable: false },
            State::Paused { .. } | State::Gone => {}
        }
        None
    }

    /// Ends a pause: the entity is ready or blocked as it was, or ready if it was woken meanwhile.
    pub fn resume(&self, entity: &Arc<Entity<T>>, now: u64) -> Option<Placement> {
        let mut inner = entity.lock();
        match inner.state {
            State::Paused { runnable: true } => {
                return Some(self.place(entity, &mut inner, now));
            }
            State::Paused { runnable: false } => inner.state = State::Blocked,
            State::Running { .. } if inner.wish == Wish::Pause => inner.wish = Wish::None,
            _ => {}
        }
        None
    }

    /// Takes `entity` out for good; wakes and settings do nothing from now on. If it runs, the answer
    /// is the CPU to interrupt, and it is gone once it is put back.
    pub fn remove(&self, entity: &Arc<Entity<T>>, now: u64) -> Option<usize> {
        let mut inner = entity.lock();
        match inner.state {
            State::Running { cpu } => {
                inner.wish = Wish::Leave;
                return Some(cpu);
            }
            State::Queued { cpu } => self.withdraw(entity, &mut inner, cpu, now),
            State::Blocked | State::Paused { .. } | State::Gone => {}
        }
        inner.state = State::Gone;
        None
    }

    /// Whether `entity` was removed and no CPU runs it any more: its vCPU may be taken apart.
    pub fn is_gone(&self, entity: &Entity<T>) -> bool {
        entity.lock().state == State::Gone
    }

    /// Whether `entity` is paused and no CPU runs it: its state holds still.
    pub fn is_paused(&self, entity: &Entity<T>) -> bool {
        matches!(entity.lock().state, State::Paused { .. })
    }

    /// Sets the weight, from the next turn on.
    pub fn set_weight(
        &self,
        entity: &Arc<Entity<T>>,
        weight: u32,
        now: u64,
    ) -> Result<Option<Placement>, Refused> {
        check_weight(weight)?;
        let mut inner = entity.lock();
        inner.weight = weight;
        Ok(self.requeue(entity, &mut inner, now))
    }

    /// Sets the cap, percent of one CPU, 0 for none. A new period begins.
    pub fn set_cap(&self, entity: &Arc<Entity<T>>, percent: u32, now: u64) -> Option<Placement> {
        let mut inner = entity.lock();
        inner.cap = Cap::new(percent);
        self.requeue(entity, &mut inner, now)
    }

    /// Sets where it may run. If it runs elsewhere now, the answer says to interrupt that CPU.
    pub fn set_affinity(
        &self,
        entity: &Arc<Entity<T>>,
        affinity: &CpuSet,
        now: u64,
    ) -> Result<Option<Placement>, Refused> {
        self.check_affinity(affinity)?;
        let mut inner = entity.lock();
        entity.set_affinity(affinity);
        Ok(match inner.state {
            State::Running { cpu } if !affinity.contains(cpu) => Some(Placement { cpu, preempt: true }),
            _ => self.requeue(entity, &mut inner, now),
        })
    }

    /// Queues a queued entity again, by its present settings.
    fn requeue(&self, entity: &Arc<Entity<T>>, inner: &mut Inner, now: u64) -> Option<Placement> {
        let State::Queued { cpu } = inner.state else { return None };
        self.withdraw(entity, inner, cpu, now);
        let target = self.settle(entity, cpu);
        Some(self.enqueue_and_offer(entity, inner, target, now, false))
    }

    /// Takes a queued entity out of its queue and makes its entry void, should a CPU have just taken it.
    fn withdraw(&self, entity: &Arc<Entity<T>>, inner: &mut Inner, cpu: usize, now: u64) {
        inner.ticket += 1;
        let mut members = self.queues[cpu].lock();
        let entry = members.remove(entity);
        self.publish(cpu, &members);
        drop(members);
        if let Some(entry) = entry {
            inner.count_wait(&entry, now);
        }
    }
}
