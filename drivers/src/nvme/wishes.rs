//! What the supervisor is asked for, by whoever notices that something has to be done.
use core::sync::atomic::{AtomicU32, Ordering};
use executor::Signal;

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wish(u32);

impl Wish {
    /// The controller does not behave: reset it.
    pub const RESET: Self = Self(1);
    /// The controller is gone: end.
    pub const REMOVED: Self = Self(2);
    /// The machine is to be switched off: end well.
    pub const SHUT_DOWN: Self = Self(4);
    /// A command waits for its retry.
    pub const RETRY: Self = Self(8);
    /// An asynchronous event has come.
    pub const EVENT: Self = Self(16);
}

/// All that is wished for. Any CPU may wish; the supervisor takes.
#[derive(Default)]
pub(super) struct Wishes {
    wishes: AtomicU32,
    /// Raised with every wish.
    pub signal: Signal,
}

impl Wishes {
    pub fn wish(&self, wish: Wish) {
        self.wishes.fetch_or(wish.0, Ordering::AcqRel);
        self.signal.raise();
    }

    /// Whether this is wished for.
    pub fn has(&self, wish: Wish) -> bool {
        self.wishes.load(Ordering::Acquire) & wish.0 != 0
    }

    /// Whether this was wished for; not any more.
    pub fn take(&self, wish: Wish) -> bool {
        self.has(wish) && self.wishes.fetch_and(!wish.0, Ordering::AcqRel) & wish.0 != 0
    }
}
