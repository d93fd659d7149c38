//! A condition that many tasks wait for.

use crate::wait_list::{Place, WaitList};
use core::future::poll_fn;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::Poll;

/// A level that tasks on any CPU wait for: "the VM has stopped", "the node shuts down". While it is
/// set, waits end at once. For tasks only; from an interrupt handler use a [`Signal`](crate::Signal).
pub struct Event {
    set: AtomicBool,
    waiters: WaitList,
}

impl Event {
    /// An event that is not set.
    pub const fn new() -> Self {
        Event { set: AtomicBool::new(false), waiters: WaitList::new() }
    }

    /// Sets it and wakes all who wait.
    pub fn set(&self) {
        self.set.store(true, Ordering::SeqCst);
        self.waiters.wake_all();
    }

    /// Clears it; later waits wait. A task that was woken but had not run yet waits on.
    pub fn clear(&self) {
        self.set.store(false, Ordering::SeqCst);
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        self.set.load(Ordering::SeqCst)
    }

    /// Waits until it is set, and leaves it so.
    pub async fn wait(&self) {
        let mut place = Place::new(&self.waiters);
        poll_fn(|cx| {
            if self.is_set() {
                return Poll::Ready(());
            }
            place.register(cx.waker());
            if self.is_set() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await
    }
}

impl Default for Event {
    fn default() -> Self {
        Self::new()
    }
}
