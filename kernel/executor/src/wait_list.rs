//! The wakers of many tasks that wait for one thing.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::Waker;
use spin::Mutex;

/// For tasks, not for interrupt handlers: it takes a lock, a leaf one.
pub(crate) struct WaitList {
    waiting: Mutex<Waiting>,
    /// The length of the list, read without the lock by those who have nothing to wake.
    count: AtomicUsize,
}

struct Waiting {
    wakers: Vec<(u64, Waker)>,
    tickets: u64,
}

impl WaitList {
    pub(crate) const fn new() -> Self {
        let waiting = Waiting { wakers: Vec::new(), tickets: 0 };
        WaitList { waiting: Mutex::new(waiting), count: AtomicUsize::new(0) }
    }

    /// Wakes all and empties the list.
    pub(crate) fn wake_all(&self) {
        // SeqCst: the caller has changed the condition before, a waiter counts itself and then looks
        // at the condition; one of the two sees the other.
        core::sync::atomic::fence(Ordering::SeqCst);
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut waiting = self.waiting.lock();
        waiting.wakers.drain(..).for_each(|(_, waker)| waker.wake());
        self.count.store(0, Ordering::SeqCst);
    }
}

/// One waiter's place in a [`WaitList`], given back when dropped.
pub(crate) struct Place<'a> {
    list: &'a WaitList,
    ticket: Option<u64>,
}

impl<'a> Place<'a> {
    pub(crate) fn new(list: &'a WaitList) -> Self {
        Place { list, ticket: None }
    }

    /// Enters `waker`, or renews it. The caller must look at its condition again afterwards.
    pub(crate) fn register(&mut self, waker: &Waker) {
        let mut waiting = self.list.waiting.lock();
        let mine = |ticket: &u64| Some(*ticket) == self.ticket;
        if let Some((_, old)) = waiting.wakers.iter_mut().find(|(ticket, _)| mine(ticket)) {
            old.clone_from(waker);
        } else {
            let ticket = waiting.tickets;
            waiting.tickets += 1;
            waiting.wakers.push((ticket, waker.clone()));
            self.ticket = Some(ticket);
            self.list.count.store(waiting.wakers.len(), Ordering::SeqCst);
        }
        drop(waiting);
        core::sync::atomic::fence(Ordering::SeqCst);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Some(mine) = self.ticket else { return };
        let mut waiting = self.list.waiting.lock();
        waiting.wakers.retain(|(ticket, _)| *ticket != mine);
        self.list.count.store(waiting.wakers.len(), Ordering::SeqCst);
    }
}
