//! What is scheduled.

use crate::cap::Cap;
use crate::cpu_set::{CpuSet, SharedCpuSet};
use crate::queue::Entry;
use crate::virtual_time::DEFAULT_WEIGHT;
use core::sync::atomic::{AtomicUsize, Ordering};
use spin::{Mutex, MutexGuard};

/// "No CPU" in [`Entity::running_on`]'s atomic.
const NOWHERE: usize = usize::MAX;

/// The settings of an entity.
#[derive(Clone, Copy, Debug)]
pub struct Params {
    /// Its share in proportion to others': 1 to [`MAX_WEIGHT`](crate::MAX_WEIGHT).
    pub weight: u32,
    /// At most so many percent of one CPU; 0 means no cap, and so does 100 and more.
    pub cap: u32,
    /// Where it may run. CPUs that the machine doesn't have are ignored.
    pub affinity: CpuSet,
}

impl Default for Params {
    fn default() -> Self {
        Params { weight: DEFAULT_WEIGHT, cap: 0, affinity: CpuSet::ALL }
    }
}

/// What an entity has done so far; times in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Time it ran.
    pub run: u64,
    /// Time it was ready and others ran: a guest's steal time.
    pub wait: u64,
    /// Time it was ready and its cap kept it from running.
    pub throttled: u64,
    /// How often it was picked.
    pub switches: u64,
    /// How often it was picked by another CPU than the time before.
    pub migrations: u64,
}

/// A vCPU as the scheduler sees it, with the kernel's payload: the kernel finds its vCPU from a pick
/// without a lookup.
pub struct Entity<T> {
    payload: T,
    running_on: AtomicUsize,
    affinity: SharedCpuSet,
    inner: Mutex<Inner>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Blocked,
    /// In the queue of `cpu`, waiting or throttled, or on the way from there to a CPU that takes it.
    Queued {
        cpu: usize,
    },
    Running {
        cpu: usize,
    },
    /// Stopped by the operator; `runnable` says what it goes back to.
    Paused {
        runnable: bool,
    },
    /// Removed for good.
    Gone,
}

/// What is to become of a running entity when it is put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    None,
    Pause,
    Leave,
}

pub(crate) struct Inner {
    pub(crate) state: State,
    pub(crate) wish: Wish,
    /// A wake came while it ran.
    pub(crate) wake_pending: bool,
    /// Renewed whenever it is queued or leaves a queue for another reason than being picked: a queue
    /// entry with another ticket is void. That settles the race between one CPU that has just taken the
    /// entry out and another that pauses, moves or removes the entity.
    pub(crate) ticket: u64,
    pub(crate) weight: u32,
    pub(crate) cap: Cap,
    /// Virtual runtime.
    pub(crate) vruntime: u64,
    /// The virtual runtime at which its last turn began.
    pub(crate) start: u64,
    pub(crate) last_cpu: Option<usize>,
    pub(crate) stats: Stats,
}

impl<T> Entity<T> {
    pub(crate) fn new(params: &Params, payload: T) -> Self {
        let inner = Inner {
            state: State::Blocked,
            wish: Wish::None,
            wake_pending: false,
            ticket: 0,
            weight: params.weight,
            cap: Cap::new(params.cap),
            vruntime: 0,
            start: 0,
            last_cpu: None,
            stats: Stats::default(),
        };
        Entity {
            payload,
            running_on: AtomicUsize::new(NOWHERE),
            affinity: SharedCpuSet::new(params.affinity),
            inner: Mutex::new(inner),
        }
    }

    /// What the kernel gave when it added the entity.
    #[inline]
    pub fn payload(&self) -> &T {
        &self.payload
    }

    /// The CPU that runs it now, for those who must interrupt the guest there. One load.
    #[inline]
    pub fn running_on(&self) -> Option<usize> {
        match self.running_on.load(Ordering::SeqCst) {
            NOWHERE => None,
            cpu => Some(cpu),
        }
    }

    /// Its statistics up to when it was last picked or put back.
    pub fn stats(&self) -> Stats {
        self.lock().stats
    }

    /// Its settings.
    pub fn params(&self) -> Params {
        let inner = self.lock();
        Params { weight: inner.weight, cap: inner.cap.percent(), affinity: self.affinity() }
    }

    pub(crate) fn affinity(&self) -> CpuSet {
        self.affinity.load()
    }

    /// For the holder of the lock.
    pub(crate) fn set_affinity(&self, affinity: &CpuSet) {
        self.affinity.store(affinity);
    }

    pub(crate) fn set_running_on(&self, cpu: Option<usize>) {
        self.running_on.store(cpu.unwrap_or(NOWHERE), Ordering::SeqCst);
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }
}

impl Inner {
    /// Counts the time from `entry`'s queueing to `now` as waiting and throttled.
    pub(crate) fn count_wait<T>(&mut self, entry: &Entry<T>, now: u64) {
        let released = entry.until.clamp(entry.since, now.max(entry.since));
        self.stats.throttled += released - entry.since;
        self.stats.wait += now.saturating_sub(released);
    }
}
