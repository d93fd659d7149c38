//! The deadlines of one CPU: a binary heap over a table of entries.
//!
//! The heap holds indices and each entry knows its place in the heap, so an entry is cancelled in
//! O(log n) without a search. Both vectors only grow, so steady state doesn't allocate.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use core::task::Waker;
use spin::{Mutex, MutexGuard};

/// "No deadline" in the published minimum.
const NEVER: u64 = u64::MAX;

/// Names an armed timer. Stays valid as a name after the timer fired or was disarmed: it then
/// refers to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer {
    entry: usize,
    serial: u64,
}

enum Action {
    Wake(Waker),
    Key(u64),
}

struct Entry {
    deadline: u64,
    /// Unique among all timers ever armed here: tells a stale name, and orders equal deadlines.
    serial: u64,
    place: usize,
    /// None while the entry is free.
    action: Option<Action>,
}

#[derive(Default)]
struct Heap {
    entries: Vec<Entry>,
    free: Vec<usize>,
    order: Vec<usize>,
    serials: u64,
}

/// The timers of one CPU, in nanoseconds of that CPU's clock.
///
/// Shared by reference count; the lock inside is a leaf, held for O(log n), and must not be taken in an
/// interrupt handler: the timer interrupt only acknowledges, and the CPU's loop calls
/// [`expire`](Self::expire). Other CPUs may disarm a timer here at any time; one that they arm counts
/// from the next time this CPU's loop reads [`next_deadline`](Self::next_deadline).
pub struct Timers {
    heap: Mutex<Heap>,
    next: AtomicU64,
}

impl Timers {
    /// No timers, with room for `capacity` before the tables grow.
    pub fn new(capacity: usize) -> Self {
        let heap = Heap {
            entries: Vec::with_capacity(capacity),
            free: Vec::with_capacity(capacity),
            order: Vec::with_capacity(capacity),
            serials: 0,
        };
        Timers { heap: Mutex::new(heap), next: AtomicU64::new(NEVER) }
    }

    /// Arms a timer that gives `key` to [`expire`](Self::expire)'s caller at `deadline`. The key is the
    /// kernel's: which vCPU to wake, say.
    pub fn arm(&self, key: u64, deadline: u64) -> Timer {
        self.insert(deadline, Action::Key(key))
    }

    /// Arms a timer that wakes `waker` at `deadline`.
    pub fn wake_at(&self, deadline: u64, waker: Waker) -> Timer {
        self.insert(deadline, Action::Wake(waker))
    }

    /// Cancels a timer; false if it fired or was disarmed before.
    pub fn disarm(&self, timer: Timer) -> bool {
        let mut heap = self.heap.lock();
        let action = heap.remove(timer);
        self.publish(heap);
        action.is_some()
    }

    /// The earliest deadline: one atomic load, no lock.
    #[inline]
    pub fn next_deadline(&self) -> Option<u64> {
        match self.next.load(Ordering::Acquire) {
            NEVER => None,
            deadline => Some(deadline),
        }
    }

    /// Ends all timers due at `now`, earliest first: wakes the sleepers and calls `due` with the key
    /// of each keyed timer, without the lock held. Returns how many. Timers that `due` arms
    /// for `now` or before wait for the next call, so this ends.
    pub fn expire(&self, now: u64, mut due: impl FnMut(u64)) -> usize {
        if self.next.load(Ordering::Acquire) > now {
            return 0;
        }
        let newest = self.heap.lock().serials;
        let mut count = 0;
        loop {
            let mut heap = self.heap.lock();
            let action = heap.pop_due(now, newest);
            self.publish(heap);
            match action {
                Some(Action::Wake(waker)) => waker.wake(),
                Some(Action::Key(key)) => due(key),
                None => return count,
            }
            count += 1;
        }
    }

    pub(crate) fn arm_waker(&self, waker: Waker, deadline: u64) -> Timer {
        self.insert(deadline, Action::Wake(waker))
    }

    /// Puts `waker` in the place of an armed timer's; false if the timer has fired.
    pub(crate) fn renew_waker(&self, timer: Timer, waker: &Waker) -> bool {
        match self.heap.lock().live(timer) {
            Some(Entry { action: Some(Action::Wake(old)), .. }) => {
                old.clone_from(waker);
                true
            }
            _ => false,
        }
    }

    fn insert(&self, deadline: u64, action: Action) -> Timer {
        let mut heap = self.heap.lock();
        // The last instant stands for "never" above; 584 years from now it makes no difference.
        let timer = heap.insert(deadline.min(NEVER - 1), action);
        self.publish(heap);
        timer
    }

    /// Publishes the minimum under the lock, so that it never goes stale.
    fn publish(&self, heap: MutexGuard<'_, Heap>) {
        let next = heap.order.first().map_or(NEVER, |&entry| heap.entries[entry].deadline);
        self.next.store(next, Ordering::Release);
    }
}

impl Heap {
    fn insert(&mut self, deadline: u64, action: Action) -> Timer {
        let serial = self.serials;
        self.serials += 1;
        let place = self.order.len();
        let new = Entry { deadline, serial, place, action: Some(action) };
        let entry = match self.free.pop() {
            Some(entry) => {
                self.entries[entry] = new;
                entry
            }
            None => {
                self.entries.push(new);
                self.entries.len() - 1
            }
        };
        self.order.push(entry);
        self.rise(place);
        Timer { entry, serial }
    }

    /// The entry that `timer` names, unless it is over.
    fn live(&mut self, timer: Timer) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(timer.entry)?;
        (entry.serial == timer.serial && entry.action.is_some()).then_some(entry)
    }

    fn remove(&mut self, timer: Timer) -> Option<Action> {
        let entry = self.live(timer)?;
        let place = entry.place;
        let action = entry.action.take();
        self.order.swap_remove(place);
        if let Some(&moved) = self.order.get(place) {
            self.entries[moved].place = place;
            self.rise(place);
            self.sink(place);
        }
        self.free.push(timer.entry);
        action
    }

    /// Takes the earliest timer out if it is due and older than serial `newest`.
    fn pop_due(&mut self, now: u64, newest: u64) -> Option<Action> {
        let &entry = self.order.first()?;
        let Entry { deadline, serial, .. } = self.entries[entry];
        if deadline > now || serial >= newest {
            return None;
        }
        self.remove(Timer { entry, serial })
    }

    fn earlier(&self, a: usize, b: usize) -> bool {
        let key = |place: usize| {
            let entry = &self.entries[self.order[place]];
            (entry.deadline, entry.serial)
        };
        key(a) < key(b)
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.order.swap(a, b);
        self.entries[self.order[a]].place = a;
        self.entries[self.order[b]].place = b;
    }

    fn rise(&mut self, mut place: usize) {
        while place > 0 {
            let parent = (place - 1) / 2;
            if !self.earlier(place, parent) {
                break;
            }
            self.swap(place, parent);
            place = parent;
        }
    }

    fn sink(&mut self, mut place: usize) {
        loop {
            let left = 2 * place + 1;
            let right = left + 1;
            let mut least = place;
            if left < self.order.len() && self.earlier(left, least) {
                least = left;
            }
            if right < self.order.len() && self.earlier(right, least) {
                least = right;
            }
            if least == place {
                return;
            }
            self.swap(place, least);
            place = least;
        }
    }
}
