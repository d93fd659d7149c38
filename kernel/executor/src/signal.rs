//! "Something happened", from any context to one task.

use crate::waker_slot::WakerSlot;
use core::future::poll_fn;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::Poll;

/// A flag that one task waits for: what an interrupt handler raises for its driver.
///
/// Level-triggered: raised before the wait it still ends it. Raised twice before the task looks, it
/// counts once. May live in a `static`.
pub struct Signal {
    raised: AtomicBool,
    waiter: WakerSlot,
}

impl Signal {
    /// A signal that is not raised.
    pub const fn new() -> Self {
        Signal { raised: AtomicBool::new(false), waiter: WakerSlot::new() }
    }

    /// Raises the signal and wakes the waiting task. Lock-free, for any CPU and interrupt handlers.
    pub fn raise(&self) {
        self.raised.store(true, Ordering::Release);
        self.waiter.wake();
    }

    /// Takes the signal back; whether it was raised.
    pub fn take(&self) -> bool {
        // Mostly it isn't raised, and a load leaves the line shared.
        self.raised.load(Ordering::Relaxed) && self.raised.swap(false, Ordering::Acquire)
    }

    /// Waits until the signal is raised, and takes it. For one task; of two, only one goes on.
    pub async fn wait(&self) {
        poll_fn(|cx| {
            if self.take() {
                return Poll::Ready(());
            }
            self.waiter.register(cx.waker());
            if self.take() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await
    }
}

impl Default for Signal {
    fn default() -> Self {
        Self::new()
    }
}
