//! Where an entity goes when it becomes ready.

use crate::cpu_set::CpuSet;
use crate::entity::{Entity, Inner, State};
use crate::queue::Entry;
use crate::scheduler::Scheduler;
use crate::virtual_time::{MAX_LAG_NS, SLICE_NS, WAKE_LAG_NS, bounded};
use alloc::sync::Arc;

/// The CPU on which an entity has become ready, or that is to fetch it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The CPU.
    pub cpu: usize,
    /// It must be told: it halts, or runs something that is to make room, or sleeps past the moment
    /// when the entity's cap allows it. Otherwise it will come to it by itself.
    pub preempt: bool,
}

impl<T> Scheduler<T> {
    /// What `entity` waits for has happened. Ready already, it stays as it is (None); running, it will
    /// not block this time. From any CPU.
    ///
    /// First set what the entity is to find (an interrupt pending in its local APIC), then call this:
    /// the kernel looks at it after [`pick`](Self::pick). A wake may be seen once too often: a vCPU that
    /// is picked and has nothing to do blocks again.
    pub fn wake(&self, entity: &Arc<Entity<T>>, now: u64) -> Option<Placement> {
        let mut inner = entity.lock();
        match &mut inner.state {
            State::Blocked => Some(self.place(entity, &mut inner, now)),
            State::Running { .. } => {
                inner.wake_pending = true;
                None
            }
            State::Paused { runnable } => {
                *runnable = true;
                None
            }
            State::Queued { .. } | State::Gone => None,
        }
    }

    /// Chooses a CPU for an entity that is to be ready and queues it there: its last CPU if that idles,
    /// else another that idles, else its last CPU, which may still hold its cache lines; if that is
    /// no longer allowed, or there was none, the least loaded.
    pub(crate) fn place(&self, entity: &Arc<Entity<T>>, inner: &mut Inner, now: u64) -> Placement {
        let allowed = entity.affinity().and(&self.online.load());
        let last = inner.last_cpu.filter(|&cpu| allowed.contains(cpu));
        let throttled = inner.cap.throttled_until(now).is_some();
        let idle = match last {
            _ if throttled => None,
            Some(cpu) if self.idle.set(cpu, false) => Some(cpu),
            _ => self.claim_idle(&allowed),
        };
        match idle {
            Some(cpu) => {
                self.enqueue(entity, inner, cpu, now, true);
                Placement { cpu, preempt: true }
            }
            None => {
                let cpu = last.unwrap_or_else(|| self.least_loaded(&allowed));
                self.enqueue_and_offer(entity, inner, cpu, now, true)
            }
        }
    }

    /// The CPU for an entity that is ready and not to move without need.
    pub(crate) fn settle(&self, entity: &Entity<T>, cpu: usize) -> usize {
        let allowed = entity.affinity().and(&self.online.load());
        if allowed.contains(cpu) { cpu } else { self.least_loaded(&allowed) }
    }

    /// [`enqueue`](Self::enqueue), and unless the CPU there turns to the entity at once, finds one that
    /// idles to fetch it: it may have begun to idle after the caller last looked; see `pick`.
    pub(crate) fn enqueue_and_offer(
        &self,
        entity: &Arc<Entity<T>>,
        inner: &mut Inner,
        cpu: usize,
        now: u64,
        woken: bool,
    ) -> Placement {
        let preempt = self.enqueue(entity, inner, cpu, now, woken);
        if preempt || inner.cap.throttled_until(now).is_some() {
            return Placement { cpu, preempt };
        }
        match self.claim_idle(&entity.affinity().and(&self.online.load())) {
            Some(idle) => Placement { cpu: idle, preempt: true },
            None => Placement { cpu, preempt: false },
        }
    }

    /// Queues an entity on `cpu` with a new ticket; if `cpu` itself runs it, that ends. Returns whether
    /// `cpu` must be told, though it runs something else or, for a throttled one, sleeps.
    pub(crate) fn enqueue(
        &self,
        entity: &Arc<Entity<T>>,
        inner: &mut Inner,
        cpu: usize,
        now: u64,
        woken: bool,
    ) -> bool {
        let allowed = entity.affinity().and(&self.online.load());
        let until = inner.cap.throttled_until(now).unwrap_or(0);
        let was_running_here = inner.state == State::Running { cpu };
        inner.ticket += 1;
        inner.state = State::Queued { cpu };

        let mut members = self.queues[cpu].lock();
        if was_running_here {
            members.running = None;
            members.clock = members.clock.max(inner.start);
        } else if let Some(running) = &members.running {
            members.clock = members.clock.max(running.slice_start(now));
        }
        if woken {
            let floor = members.clock.saturating_sub(bounded(SLICE_NS, inner.weight));
            inner.vruntime = inner.vruntime.max(floor);
            inner.start = inner.start.max(floor);
        }
        if inner.last_cpu != Some(cpu) && members.is_busy() {
            let ceiling = members.clock.saturating_add(MAX_LAG_NS);
            let ahead = inner.start.saturating_sub(ceiling);
            inner.vruntime -= ahead;
            inner.start -= ahead;
        }
        let preempt = match &members.running {
            _ if until > 0 => until < self.queues[cpu].release(),
            Some(running) if running.alone => true,
            Some(running) => {
                let lag = bounded(WAKE_LAG_NS, inner.weight);
                inner.vruntime.saturating_add(lag) < running.vruntime(now)
            }
            // It is between two turns and will pick, or idles, which is the caller's to look at.
            None => false,
        };
        members.insert(Entry {
            entity: entity.clone(),
            ticket: inner.ticket,
            vruntime: inner.vruntime,
            start: inner.start,
            weight: inner.weight,
            pinned: allowed.len() == 1,
            since: now,
            until,
        });
        self.publish(cpu, &members);
        preempt
    }

    /// Takes one of `among` out of the idle CPUs.
    pub(crate) fn claim_idle(&self, among: &CpuSet) -> Option<usize> {
        self.idle.load().and(among).iter().find(|&cpu| self.idle.set(cpu, false))
    }

    fn least_loaded(&self, among: &CpuSet) -> usize {
        // Settings without any CPU that runs entities are refused, so the set isn't empty.
        among.iter().min_by_key(|&cpu| self.queues[cpu].load()).unwrap_or(0)
    }
}
