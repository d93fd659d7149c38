//! Room for one task's waker, filled by that task and fired from any context without a lock.
//!
//! Two bits decide who may touch the waker: the task sets REGISTERING while it writes, a waking party
//! sets WAKING while it takes. Whoever finds the other's bit set leaves its own behind, and the other
//! acts on it when it is done; nobody ever waits, so an interrupt handler may fire the slot while it
//! has stopped the very task that is registering.
#![allow(unsafe_code)] // A cell that the two bits guard instead of a lock.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU8, Ordering};
use core::task::Waker;

const REGISTERING: u8 = 1;
const WAKING: u8 = 2;

pub(crate) struct WakerSlot {
    state: AtomicU8,
    waker: UnsafeCell<Option<Waker>>,
}

// SAFETY: the cell is only touched by the party that moved `state` from 0, see `register` and `wake`;
// `Waker` is Send and Sync.
unsafe impl Sync for WakerSlot {}

impl WakerSlot {
    pub(crate) const fn new() -> Self {
        WakerSlot { state: AtomicU8::new(0), waker: UnsafeCell::new(None) }
    }

    /// Leaves `waker` to be woken. The caller must look at its condition again afterwards: a
    /// [`wake`](Self::wake) before this call woke nobody. If two tasks wait on one slot, the later one
    /// is woken, and the earlier at once, so that it is never silently forgotten.
    pub(crate) fn register(&self, waker: &Waker) {
        match self.state.compare_exchange(0, REGISTERING, Ordering::Acquire, Ordering::Acquire) {
            Ok(_) => {}
            // Someone is waking or registering right now: come back at once, the condition may hold.
            Err(_) => return waker.wake_by_ref(),
        }
        // SAFETY: only the party that moves `state` from 0 touches the cell: the exchange above did,
        // `wake` takes only from 0, and another `register` fails its exchange while REGISTERING is set.
        let displaced = unsafe {
            let slot = &mut *self.waker.get();
            match slot {
                Some(old) if old.will_wake(waker) => None,
                _ => slot.replace(waker.clone()),
            }
        };
        if self.state.compare_exchange(REGISTERING, 0, Ordering::AcqRel, Ordering::Acquire).is_err() {
            // A wake came meanwhile and left its bit. It is ours to do.
            // SAFETY: REGISTERING is still set, so the cell is still ours.
            let waker = unsafe { (*self.waker.get()).take() };
            self.state.swap(0, Ordering::AcqRel);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
        if let Some(displaced) = displaced {
            displaced.wake();
        }
    }

    /// Wakes the registered task, if any. Lock-free; any context.
    pub(crate) fn wake(&self) {
        if self.state.fetch_or(WAKING, Ordering::AcqRel) == 0 {
            // SAFETY: we moved `state` from 0: a `register` fails its exchange and another `wake`
            // sees a value other than 0 until we clear the bit.
            let waker = unsafe { (*self.waker.get()).take() };
            // Acquire too: another wake that left because of our bit has its condition written before,
            // and the task that we wake must see it.
            self.state.fetch_and(!WAKING, Ordering::AcqRel);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}
