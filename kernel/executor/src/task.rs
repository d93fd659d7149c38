//! A task's header: what wakers hold and what the ready queue links.
//!
//! The future itself is not in here but in the executor's own table, so a header is plain shared
//! data, and dropping a waker on another CPU can never run a future's destructor there.

use crate::executor::Shared;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::task::Wake;
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use spin::Mutex;

pub(crate) type SendFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The table slot of a task that has none: not yet arrived, or finished.
pub(crate) const NO_SLOT: usize = usize::MAX;

pub(crate) struct Task {
    pub(crate) name: &'static str,
    /// The link of the ready queue; belongs to whoever has claimed the task.
    pub(crate) next: AtomicPtr<Task>,
    /// Set from the wake that queues the task until its poll starts.
    queued: AtomicBool,
    /// The index in the owner's table; read and written by the owner alone.
    slot: AtomicUsize,
    /// The future of a task that another CPU sent, until the owner takes it at the first poll.
    arrival: Mutex<Option<SendFuture>>,
    owner: Arc<Shared>,
    polls: AtomicU64,
    total_ns: AtomicU64,
    longest_ns: AtomicU64,
}

impl Task {
    pub(crate) fn new(
        name: &'static str,
        owner: Arc<Shared>,
        slot: usize,
        arrival: Option<SendFuture>,
    ) -> Arc<Task> {
        Arc::new(Task {
            name,
            next: AtomicPtr::new(core::ptr::null_mut()),
            queued: AtomicBool::new(false),
            slot: AtomicUsize::new(slot),
            arrival: Mutex::new(arrival),
            owner,
            polls: AtomicU64::new(0),
            total_ns: AtomicU64::new(0),
            longest_ns: AtomicU64::new(0),
        })
    }

    /// Takes the right to queue this task; false if it is queued already. Whoever gets true must
    /// push it. The swap also releases what the waker wrote before to the coming poll.
    pub(crate) fn claim(&self) -> bool {
        !self.queued.swap(true, Ordering::AcqRel)
    }

    /// Called before a poll, so that a wake from now on queues the task again. A swap, not a store:
    /// it acquires what a waker wrote that found the task queued and left.
    pub(crate) fn unclaim(&self) {
        self.queued.swap(false, Ordering::AcqRel);
    }

    /// Marks the task finished: later wakes find it claimed and do nothing.
    pub(crate) fn finish(&self) {
        self.slot.store(NO_SLOT, Ordering::Relaxed);
        self.queued.swap(true, Ordering::AcqRel);
    }

    pub(crate) fn slot(&self) -> usize {
        self.slot.load(Ordering::Relaxed)
    }

    pub(crate) fn set_slot(&self, slot: usize) {
        self.slot.store(slot, Ordering::Relaxed);
    }

    pub(crate) fn take_arrival(&self) -> Option<SendFuture> {
        self.arrival.lock().take()
    }

    /// Adds one poll to the statistics. Only the owner writes, so load and store suffice.
    pub(crate) fn record(&self, ns: u64) {
        let add = |counter: &AtomicU64, n: u64| {
            counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
        };
        add(&self.polls, 1);
        add(&self.total_ns, ns);
        if ns > self.longest_ns.load(Ordering::Relaxed) {
            self.longest_ns.store(ns, Ordering::Relaxed);
        }
    }

    pub(crate) fn stats(&self) -> TaskStats {
        TaskStats {
            name: self.name,
            polls: self.polls.load(Ordering::Relaxed),
            total_ns: self.total_ns.load(Ordering::Relaxed),
            longest_ns: self.longest_ns.load(Ordering::Relaxed),
        }
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.claim() {
            self.owner.submit(self.clone());
        }
    }
}

/// What one task has cost so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskStats {
    /// The name given at spawn.
    pub name: &'static str,
    /// How often the task was polled.
    pub polls: u64,
    /// Time spent in all its polls, nanoseconds.
    pub total_ns: u64,
    /// Its longest single poll, nanoseconds.
    pub longest_ns: u64,
}
