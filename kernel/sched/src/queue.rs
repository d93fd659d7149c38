//! One CPU's queue: who waits there, and what other CPUs may know of it without its lock.

use crate::entity::Entity;
use crate::virtual_time::{charge, slice_start};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use spin::{Mutex, MutexGuard};

/// "None" in the published times.
pub(crate) const NEVER: u64 = u64::MAX;

/// An entity in a queue, with copies of what the queue needs of it, so that looking at a queue takes no
/// entity's lock.
pub(crate) struct Entry<T> {
    pub(crate) entity: Arc<Entity<T>>,
    pub(crate) ticket: u64,
    pub(crate) vruntime: u64,
    pub(crate) start: u64,
    pub(crate) weight: u32,
    /// Only this CPU may run it, so others needn't know of it.
    pub(crate) pinned: bool,
    /// When it was queued.
    pub(crate) since: u64,
    /// Its cap keeps it from running until then; 0 if it doesn't.
    pub(crate) until: u64,
}

/// The entity that the CPU runs.
pub(crate) struct Running {
    /// The virtual runtime at the start of its turn.
    pub(crate) start: u64,
    pub(crate) since: u64,
    pub(crate) weight: u32,
    /// Nobody waited when it began: its turn is longer than it would be else.
    pub(crate) alone: bool,
}

impl Running {
    /// Its virtual runtime at `now`.
    pub(crate) fn vruntime(&self, now: u64) -> u64 {
        self.start.saturating_add(charge(now.saturating_sub(self.since), self.weight))
    }

    /// Its virtual runtime at the start of the slice in which it is at `now`.
    pub(crate) fn slice_start(&self, now: u64) -> u64 {
        slice_start(self.start, self.vruntime(now), self.weight)
    }
}

pub(crate) struct Members<T> {
    /// Ready to run, the least virtual runtime last; among equals the longest queued last. A sorted
    /// array: a queue holds a handful, and nothing beats it for those.
    waiting: Vec<Entry<T>>,
    /// Not before their `until`, the earliest last.
    throttled: Vec<Entry<T>>,
    /// The latest start of a slice here: this queue's virtual time. Never goes back.
    pub(crate) clock: u64,
    pub(crate) running: Option<Running>,
}

/// A queue and its published summary, on cache lines of its own.
#[repr(align(128))]
pub(crate) struct Queue<T> {
    members: Mutex<Members<T>>,
    /// Of the waiting entity that comes first among those that may run elsewhere: its virtual runtime.
    least: AtomicU64,
    /// The start of that entity's last turn.
    least_start: AtomicU64,
    /// The sum of the weights that wait and run here.
    load: AtomicU64,
    /// When the first throttled entity may run.
    release: AtomicU64,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        let members = Members { waiting: Vec::new(), throttled: Vec::new(), clock: 0, running: None };
        Queue {
            members: Mutex::new(members),
            least: AtomicU64::new(NEVER),
            least_start: AtomicU64::new(NEVER),
            load: AtomicU64::new(0),
            release: AtomicU64::new(NEVER),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Members<T>> {
        self.members.lock()
    }

    /// Publishes the summary of `members`, which the caller holds locked. Returns whether some entity
    /// waits that another CPU could take.
    pub(crate) fn publish(&self, members: &Members<T>) -> bool {
        let first = members.waiting.iter().rev().find(|entry| !entry.pinned);
        let (least, start) = first.map_or((NEVER, NEVER), |e| (e.vruntime, e.start));
        self.least.store(least, Ordering::Release);
        self.least_start.store(start, Ordering::Release);
        let waiting: u64 = members.waiting.iter().map(|e| u64::from(e.weight)).sum();
        let running = members.running.as_ref().map_or(0, |r| u64::from(r.weight));
        self.load.store(waiting + running, Ordering::Release);
        let release = members.throttled.last().map_or(NEVER, |e| e.until);
        self.release.store(release, Ordering::Release);
        first.is_some()
    }

    pub(crate) fn least(&self) -> u64 {
        self.least.load(Ordering::Acquire)
    }

    pub(crate) fn least_start(&self) -> u64 {
        self.least_start.load(Ordering::Acquire)
    }

    pub(crate) fn load(&self) -> u64 {
        self.load.load(Ordering::Acquire)
    }

    pub(crate) fn release(&self) -> u64 {
        self.release.load(Ordering::Acquire)
    }
}

impl<T> Members<T> {
    pub(crate) fn insert(&mut self, entry: Entry<T>) {
        let (list, at) = if entry.until > 0 {
            let at = self.throttled.partition_point(|e| e.until > entry.until);
            (&mut self.throttled, at)
        } else {
            let at = self.waiting.partition_point(|e| e.vruntime > entry.vruntime);
            (&mut self.waiting, at)
        };
        list.insert(at, entry);
    }

    /// Moves to the waiting those whose cap allows it by `now`; whether there were any.
    pub(crate) fn release(&mut self, now: u64) -> bool {
        let mut any = false;
        while self.throttled.last().is_some_and(|e| e.until <= now) {
            let Some(entry) = self.throttled.pop() else { break };
            let at = self.waiting.partition_point(|e| e.vruntime > entry.vruntime);
            self.waiting.insert(at, entry);
            any = true;
        }
        any
    }

    /// The one that is to run next.
    pub(crate) fn first(&self) -> Option<&Entry<T>> {
        self.waiting.last()
    }

    pub(crate) fn pop(&mut self) -> Option<Entry<T>> {
        self.waiting.pop()
    }

    /// Takes out the first that may run on `cpu`, if its virtual runtime is below `limit`.
    pub(crate) fn take_for(&mut self, cpu: usize, limit: u64) -> Option<Entry<T>> {
        let at = self.waiting.iter().rposition(|e| e.entity.affinity().contains(cpu))?;
        (self.waiting[at].vruntime < limit).then(|| self.waiting.remove(at))
    }

    /// Takes the entry of `entity` out, if it is here.
    pub(crate) fn remove(&mut self, entity: &Arc<Entity<T>>) -> Option<Entry<T>> {
        for list in [&mut self.waiting, &mut self.throttled] {
            if let Some(at) = list.iter().position(|e| Arc::ptr_eq(&e.entity, entity)) {
                return Some(list.remove(at));
            }
        }
        None
    }

    /// Those that are ready, the first to run first.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &Entry<T>> {
        self.waiting.iter().rev()
    }

    /// Whether anything runs or waits here.
    pub(crate) fn is_busy(&self) -> bool {
        self.running.is_some() || !self.waiting.is_empty()
    }
}
