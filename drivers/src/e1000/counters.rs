//! What a card has done.
use core::sync::atomic::{AtomicU64, Ordering};
use net::nic::Counters;

/// [`Counters`] that several CPUs add to.
#[derive(Default)]
pub(super) struct Tallies {
    pub received: AtomicU64,
    pub received_bytes: AtomicU64,
    pub receive_errors: AtomicU64,
    pub receive_missed: AtomicU64,
    pub sent: AtomicU64,
    pub sent_bytes: AtomicU64,
    pub send_errors: AtomicU64,
    pub link_changes: AtomicU64,
    pub resets: AtomicU64,
}

/// Adds.
pub(super) fn add(tally: &AtomicU64, more: u64) {
    tally.fetch_add(more, Ordering::Relaxed);
}

impl Tallies {
    pub fn counters(&self) -> Counters {
        let of = |tally: &AtomicU64| tally.load(Ordering::Relaxed);
        Counters {
            received: of(&self.received),
            received_bytes: of(&self.received_bytes),
            receive_errors: of(&self.receive_errors),
            receive_missed: of(&self.receive_missed),
            sent: of(&self.sent),
            sent_bytes: of(&self.sent_bytes),
            send_errors: of(&self.send_errors),
            link_changes: of(&self.link_changes),
            resets: of(&self.resets),
        }
    }
}

/// A statistics register. The chip's is cleared when read (SDM 13.7); QEMU's, some of them, is not.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Statistic {
    /// What it stood at, if it is not cleared.
    before: u32,
}

impl Statistic {
    /// What was added since the last look.
    pub fn look(&mut self, read: impl Fn() -> u32) -> u64 {
        let first = read();
        let second = if first == 0 { 0 } else { read() };
        if second < first {
            self.before = 0;
            return u64::from(first) + u64::from(second);
        }
        let before = core::mem::replace(&mut self.before, second);
        u64::from(second.saturating_sub(before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;

    #[test]
    fn a_statistic_is_added_up_whether_or_not_reading_clears_it() {
        let register = Cell::new(0);
        let (mut clearing, mut staying) = (Statistic::default(), Statistic::default());
        for (more, value) in [(0, 0), (3, 3), (0, 3), (5, 8), (0, 8)] {
            register.set(more);
            assert_eq!(clearing.look(|| register.replace(0)), u64::from(more));
            assert_eq!(staying.look(|| value), u64::from(more));
        }
    }
}
