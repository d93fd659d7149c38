//! The CPUs' side: picking the next entity and putting it back.

use crate::cpu_set::{CpuSet, MAX_CPUS, SharedCpuSet};
use crate::entity::{Entity, Params, State, Wish};
use crate::placement::Placement;
use crate::queue::{Entry, Members, NEVER, Queue, Running};
use crate::virtual_time::{ALONE_NS, MAX_LAG_NS, MIN_SLICE_NS, SLICE_NS, STEAL_LAG_NS, charge, slice_start};
use crate::{Refused, control};
use alloc::boxed::Box;
use alloc::sync::Arc;

/// Schedules entities with payload `T` on the CPUs 0 to `cpus` - 1.
///
/// CPU numbers passed to its functions are the kernel's own and must be below that count. Every one of
/// these CPUs must come to call [`pick`](Self::pick), or be left out by [`exclude`](Self::exclude): an entity
/// may be queued on it before, and waits there for it or for another CPU that takes it over.
pub struct Scheduler<T> {
    pub(crate) queues: Box<[Queue<T>]>,
    /// CPUs that run entities.
    pub(crate) online: SharedCpuSet,
    /// CPUs that found nothing to run. Whoever takes one out must see to it that it is kicked.
    pub(crate) idle: SharedCpuSet,
    /// CPUs whose queue holds an entity that waits and that another CPU could run.
    pub(crate) waiting: SharedCpuSet,
}

/// What a CPU is to run.
pub struct Pick<T> {
    /// The entity; it goes back by [`Scheduler::put_back`].
    pub entity: Arc<Entity<T>>,
    /// When it is to be put back at the latest, if it doesn't block before. Includes the moment when
    /// this CPU's next throttled entity may run.
    pub slice_end: u64,
    /// An idle CPU that could run what still waits here: interrupt it, and it will.
    pub kick: Option<usize>,
}

/// Why an entity stops running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its slice is over or someone else is to run; it could go on.
    Preempted,
    /// It waits for something; [`Scheduler::wake`] will come when that happens.
    Blocked,
    /// The operator stopped it; it could go on.
    Paused,
    /// It has ended.
    Gone,
}

impl<T> Scheduler<T> {
    /// A scheduler for 1 to [`MAX_CPUS`] CPUs.
    pub fn new(cpus: usize) -> Result<Self, Refused> {
        if cpus == 0 || cpus > MAX_CPUS {
            return Err(Refused::Cpus(cpus));
        }
        Ok(Scheduler {
            queues: (0..cpus).map(|_| Queue::new()).collect(),
            online: SharedCpuSet::new(CpuSet::first(cpus)),
            idle: SharedCpuSet::new(CpuSet::EMPTY),
            waiting: SharedCpuSet::new(CpuSet::EMPTY),
        })
    }

    /// Leaves `cpu` out for good: it did not start, or cannot run entities. Before any entity is added.
    pub fn exclude(&self, cpu: usize) {
        self.online.set(cpu, false);
    }

    /// Adds an entity. It is blocked until the first [`wake`](Self::wake).
    pub fn add(&self, params: &Params, payload: T) -> Result<Arc<Entity<T>>, Refused> {
        control::check_weight(params.weight)?;
        self.check_affinity(&params.affinity)?;
        Ok(Arc::new(Entity::new(params, payload)))
    }

    /// The entity that `cpu` is to run from `now` on. None: there is nothing, and `cpu` counts as idle
    /// until its next call; it may halt until it is kicked or until [`next_event`](Self::next_event).
    ///
    /// Clears the memory of wakes: what they were for, the kernel looks at after this and before it
    /// enters the guest.
    pub fn pick(&self, cpu: usize, now: u64) -> Option<Pick<T>> {
        self.idle.set(cpu, false);
        loop {
            let entry = self.take(cpu, now).or_else(|| {
                // Once more after the announcement: whoever queues something now sees an idle CPU,
                // whoever did so before is seen here.
                self.idle.set(cpu, true);
                let entry = self.take(cpu, now)?;
                self.idle.set(cpu, false);
                Some(entry)
            })?;
            if let Some(pick) = self.start(cpu, entry, now) {
                return Some(pick);
            }
        }
    }

    /// Ends the turn of `entity` on `cpu`, where it ran for `ran` nanoseconds until `now`. Blocked, but
    /// woken during the turn, it stays ready. The answer names a CPU to kick, if one other than the
    /// caller must look.
    pub fn put_back(
        &self,
        cpu: usize,
        entity: Arc<Entity<T>>,
        now: u64,
        ran: u64,
        reason: Reason,
    ) -> Option<Placement> {
        let mut inner = entity.lock();
        debug_assert_eq!(inner.state, State::Running { cpu }, "put back by a CPU that doesn't run it");
        if inner.state != (State::Running { cpu }) {
            return None;
        }
        entity.set_running_on(None);
        inner.vruntime = inner.start.saturating_add(charge(ran, inner.weight));
        inner.start = slice_start(inner.start, inner.vruntime, inner.weight);
        inner.cap.charge(ran, now);
        inner.stats.run = inner.stats.run.saturating_add(ran);
        let ready = reason != Reason::Blocked || inner.wake_pending;
        let wish = core::mem::replace(&mut inner.wish, Wish::None);
        inner.state = match (reason, wish) {
            (Reason::Gone, _) | (_, Wish::Leave) => State::Gone,
            (Reason::Paused, _) | (_, Wish::Pause) => State::Paused { runnable: ready },
            _ if ready => {
                let target = self.settle(&entity, cpu);
                if target == cpu {
                    // This CPU picks next, and what it leaves it offers to those that idle.
                    self.enqueue(&entity, &mut inner, cpu, now, false);
                    return None;
                }
                self.leave(cpu, inner.start);
                return Some(self.enqueue_and_offer(&entity, &mut inner, target, now, false));
            }
            _ => State::Blocked,
        };
        self.leave(cpu, inner.start);
        None
    }

    /// When `cpu` should call [`pick`](Self::pick) though nobody kicks it: a throttled entity may run
    /// again. One load.
    pub fn next_event(&self, cpu: usize) -> Option<u64> {
        match self.queues[cpu].release() {
            NEVER => None,
            at => Some(at),
        }
    }

    /// The sum of the weights that run and wait on `cpu`. One load.
    pub fn load(&self, cpu: usize) -> u64 {
        self.queues[cpu].load()
    }

    /// Publishes what `cpu`'s queue, which the caller holds locked, has become.
    pub(crate) fn publish(&self, cpu: usize, members: &Members<T>) {
        let any = self.queues[cpu].publish(members);
        self.waiting.set(cpu, any);
    }

    /// `cpu` runs nothing now, after a turn whose last slice began at `start`.
    fn leave(&self, cpu: usize, start: u64) {
        let mut members = self.queues[cpu].lock();
        members.running = None;
        members.clock = members.clock.max(start);
        self.publish(cpu, &members);
    }

    /// Takes the next entry for `cpu` out of its own queue, or out of another where it lags enough.
    fn take(&self, cpu: usize, now: u64) -> Option<Entry<T>> {
        let mut members = self.queues[cpu].lock();
        if members.release(now) {
            self.publish(cpu, &members);
        }
        let limit = members.first().map_or(NEVER, |own| own.vruntime.saturating_sub(STEAL_LAG_NS));
        let mut others = self.waiting.load();
        others.remove(cpu);
        if !others.is_empty() {
            let lagging = |others: &CpuSet| {
                let least = |other: &usize| self.queues[*other].least();
                others.iter().filter(|other| least(other) < limit).min_by_key(least)
            };
            if let Some(mut victim) = lagging(&others) {
                drop(members); // Never two queues' locks.
                loop {
                    if let Some(entry) = self.steal(cpu, victim, limit) {
                        return Some(entry);
                    }
                    others.remove(victim);
                    match lagging(&others) {
                        Some(next) => victim = next,
                        None => break,
                    }
                }
                members = self.queues[cpu].lock();
            }
        }
        let entry = members.pop();
        if entry.is_some() {
            self.publish(cpu, &members);
        }
        entry
    }

    fn steal(&self, cpu: usize, victim: usize, limit: u64) -> Option<Entry<T>> {
        let mut members = self.queues[victim].lock();
        let entry = members.take_for(cpu, limit)?;
        self.publish(victim, &members);
        Some(entry)
    }

    /// Starts the turn of an entry taken out of a queue. None if the entry is void.
    fn start(&self, cpu: usize, entry: Entry<T>, now: u64) -> Option<Pick<T>> {
        let mut inner = entry.entity.lock();
        if inner.ticket != entry.ticket {
            return None;
        }
        inner.count_wait(&entry, now);

        let mut members = self.queues[cpu].lock();
        let mut floor = members.clock.saturating_sub(MAX_LAG_NS);
        // How far the entities have come that wait, here and elsewhere. Where nobody waits, nobody
        // competes, and lag means nothing.
        let mut others = self.waiting.load();
        others.remove(cpu);
        let elsewhere = others.iter().map(|other| self.queues[other].least_start());
        let here = members.first().map(|first| first.start);
        let alone = others.is_empty() && here.is_none();
        let most = if alone { ALONE_NS } else { SLICE_NS };
        let slice = most.min(inner.cap.left(now).max(MIN_SLICE_NS));
        if let Some(others) = elsewhere.chain(here).min().filter(|&start| start != NEVER) {
            floor = floor.max(others.saturating_sub(MAX_LAG_NS));
        }
        let start = entry.vruntime.max(floor);
        members.clock = members.clock.max(start);
        members.running = Some(Running { start, since: now, weight: inner.weight, alone });
        let kick = self.helper(&members);
        self.publish(cpu, &members);
        drop(members);

        inner.start = start;
        inner.vruntime = start;
        inner.state = State::Running { cpu };
        inner.wake_pending = false;
        inner.stats.switches += 1;
        if inner.last_cpu.replace(cpu).is_some_and(|last| last != cpu) {
            inner.stats.migrations += 1;
        }
        entry.entity.set_running_on(Some(cpu));
        drop(inner);
        let release = self.queues[cpu].release().max(now.saturating_add(MIN_SLICE_NS));
        Some(Pick { entity: entry.entity, slice_end: now.saturating_add(slice).min(release), kick })
    }

    /// Claims an idle CPU that could run one of those who wait.
    fn helper(&self, members: &Members<T>) -> Option<usize> {
        members.first()?;
        let idle = self.idle.load();
        if idle.is_empty() {
            return None;
        }
        members.waiting().find_map(|entry| self.claim_idle(&entry.entity.affinity()))
    }
}
