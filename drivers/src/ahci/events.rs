//! What a port's task is told, by whoever notices it.
use core::sync::atomic::{AtomicU32, Ordering};
use executor::Signal;

/// One thing that has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Event(u32);

impl Event {
    /// The disk reports an error.
    pub const TASK_FILE: Self = Self(1);
    /// The HBA has stopped at an error of the link or of memory.
    pub const OTHER_ERROR: Self = Self(2);
    /// The link is not as it was.
    pub const LINK: Self = Self(4);
    /// A command takes too long.
    pub const TIMEOUT: Self = Self(8);
    /// The HBA was reset.
    pub const RESET: Self = Self(16);
    /// The machine is to be switched off: end well.
    pub const SHUT_DOWN: Self = Self(32);
    /// The HBA is gone, or given up: nothing more will happen.
    pub const END: Self = Self(64);
}

/// All that has happened since the port's task looked.
#[derive(Default)]
pub(super) struct Events {
    happened: AtomicU32,
    /// Raised with every event.
    pub signal: Signal,
}

/// What was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken(u32);

impl Taken {
    pub const fn has(self, event: Event) -> bool {
        self.0 & event.0 != 0
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl Events {
    pub fn tell(&self, event: Event) {
        self.happened.fetch_or(event.0, Ordering::AcqRel);
        self.signal.raise();
    }

    /// Whether this has happened; it stays so.
    pub fn has(&self, event: Event) -> bool {
        self.happened.load(Ordering::Acquire) & event.0 != 0
    }

    /// Lets it not have happened.
    pub fn forget(&self, events: &[Event]) {
        let mask = events.iter().fold(0, |mask, event| mask | event.0);
        self.happened.fetch_and(!mask, Ordering::AcqRel);
    }

    /// Takes all but the end, which never ends.
    pub fn take(&self) -> Taken {
        Taken(self.happened.fetch_and(Event::END.0, Ordering::AcqRel))
    }
}
