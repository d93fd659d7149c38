//! Looking at a queue instead of being notified of it.
//!
//! A notification is an exit. A guest that has many requests to make needs none of them: a vCPU in its turn promises to
//! look at the queue before it rests and at least every so often (the *pace*, which the caller chooses by what a look
//! costs him), and the guest is told not to notify. Then one exit finds all that was made since the last.
//!
//! Whether that pays is seen only by doing it: where notifications come, a fast disk has done each request before the
//! guest makes the next, however many of its threads wait for their turn. So a queue that is notified often is looked
//! at for a trial, and for as long as two looks find three requests or more on the average. Where they do not, as with a
//! guest that waits for each of its requests, the next trial comes twice as late as the last.
use crate::time::Nanos;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// A queue that is notified less often than once in this time is left alone.
const BUSY_GAP: Nanos = 2_000_000;
/// From the end of a trial that did not pay to the next, at first and at most.
const FIRST_PAUSE: Nanos = 8_000_000;
const LAST_PAUSE: Nanos = 512_000_000;
/// Paces of a trial.
const TRIAL: u64 = 2;
/// Paces from one decision to go on to the next.
const TERM: u64 = 8;
/// Requests that so many looks must find.
const WORTH: (u64, u64) = (3, 2);

/// What is known of a queue's use, and what was decided.
///
/// Its numbers are hints: whoever looks at the same time as another may lose some.
pub(super) struct Watch {
    /// Chains that were taken, and how often some were found, since the last decision.
    taken: AtomicU32,
    finds: AtomicU32,
    /// When that was, and when the next is due.
    decided: AtomicU64,
    due: AtomicU64,
    pause: AtomicU64,
    /// The decision.
    wanted: AtomicBool,
    /// A vCPU in its turn will look.
    promised: AtomicBool,
}

impl Watch {
    pub const fn new() -> Self {
        Self {
            taken: AtomicU32::new(0),
            finds: AtomicU32::new(0),
            decided: AtomicU64::new(0),
            due: AtomicU64::new(0),
            pause: AtomicU64::new(FIRST_PAUSE),
            wanted: AtomicBool::new(false),
            promised: AtomicBool::new(false),
        }
    }

    /// A look, whatever it was for, found so many chains. Only who serves the queue calls this.
    #[inline]
    pub fn found(&self, chains: u32) {
        let add = |counter: &AtomicU32, n| {
            counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
        };
        add(&self.taken, chains);
        add(&self.finds, 1);
    }

    /// Whether somebody will look, so that the guest need not notify.
    #[inline]
    pub fn promised(&self) -> bool {
        self.promised.load(Ordering::SeqCst)
    }

    /// A vCPU in its turn offers to look each `pace` from now on. Whether it is to.
    #[inline]
    pub fn offer(&self, now: Nanos, pace: Nanos) -> bool {
        if now >= self.due.load(Ordering::Relaxed) {
            self.decide(now, pace);
        }
        let wanted = self.wanted.load(Ordering::Relaxed);
        if wanted && !self.promised() {
            self.promised.store(true, Ordering::SeqCst);
        }
        wanted
    }

    /// It will not look any more. Whether it had promised to: then the guest must be told to notify again.
    #[inline]
    pub fn withdraw(&self) -> bool {
        self.promised() && self.promised.swap(false, Ordering::SeqCst)
    }

    fn decide(&self, now: Nanos, pace: Nanos) {
        let (taken, finds) = (self.taken.swap(0, Ordering::Relaxed), self.finds.swap(0, Ordering::Relaxed));
        let since = now.saturating_sub(self.decided.swap(now, Ordering::Relaxed));
        let was = self.wanted.load(Ordering::Relaxed);
        let wanted = match was {
            true => taken != 0 && u64::from(taken) * WORTH.1 >= u64::from(finds) * WORTH.0,
            false => u64::from(taken).saturating_mul(BUSY_GAP) >= since.max(FIRST_PAUSE / 2),
        };
        let pause = self.pause.load(Ordering::Relaxed);
        let (wait, pause) = match (was, wanted) {
            (false, true) => (TRIAL * pace, pause),
            (true, true) => (TERM * pace, FIRST_PAUSE),
            (true, false) => (pause, (2 * pause).min(LAST_PAUSE)),
            (false, false) => (FIRST_PAUSE, pause),
        };
        self.pause.store(pause, Ordering::Relaxed);
        self.due.store(now.saturating_add(wait), Ordering::Relaxed);
        self.wanted.store(wanted, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Nanos = 1_000_000;

    /// A vCPU that looks each millisecond for `millis`, and finds `chains` in `finds` pieces each time. How many of its
    /// looks were wanted.
    fn look(watch: &Watch, now: &mut Nanos, millis: u32, chains: u32, finds: u32) -> u32 {
        let mut wanted = 0;
        for _ in 0..millis {
            for find in 0..finds {
                watch.found(chains / finds + u32::from(find < chains % finds));
            }
            *now += MS;
            wanted += u32::from(watch.offer(*now, MS));
        }
        wanted
    }

    #[test]
    fn a_queue_with_many_requests_is_watched_until_there_are_few() {
        let (watch, mut now) = (Watch::new(), 0);
        // Notified of each, and looked at for a trial.
        assert!(look(&watch, &mut now, 20, 8, 8) > 0);
        assert!(look(&watch, &mut now, 20, 8, 2) > 0);
        assert_eq!(look(&watch, &mut now, 1000, 8, 2), 1000);
        assert!(watch.promised());
        assert!(look(&watch, &mut now, 1000, 1, 1) < 100);
        assert!(look(&watch, &mut now, 1000, 0, 1) < 10);
        assert_eq!(look(&watch, &mut now, 1000, 0, 1), 0);
    }

    #[test]
    fn a_queue_that_nobody_uses_much_is_never_watched() {
        let (watch, mut now) = (Watch::new(), 0);
        for _ in 0..1000 {
            assert_eq!(look(&watch, &mut now, 1, 1, 1) + look(&watch, &mut now, 3, 0, 0), 0);
        }
        assert!(!watch.promised());
    }

    #[test]
    fn trials_that_do_not_pay_become_rare_and_one_that_pays_makes_them_frequent_again() {
        let (watch, mut now) = (Watch::new(), 0);
        // One request at a time, often: as a guest does that waits for each.
        assert!(look(&watch, &mut now, 2000, 4, 4) < 60);
        let rare = look(&watch, &mut now, 2000, 4, 4);
        assert!(rare > 0 && rare < 20, "{rare}");
        assert!(look(&watch, &mut now, 2000, 64, 4) > 1000);
        assert!(look(&watch, &mut now, 100, 4, 4) > 2);
    }

    #[test]
    fn a_promise_is_taken_back_once() {
        let (watch, mut now) = (Watch::new(), 0);
        assert!(!watch.withdraw());
        look(&watch, &mut now, 100, 64, 1);
        assert!(watch.promised());
        assert_eq!((watch.withdraw(), watch.withdraw(), watch.promised()), (true, false, false));
        assert!(watch.offer(now, MS) && watch.promised(), "the next turn promises anew");
    }

    #[test]
    fn a_clock_that_does_not_move_or_a_pace_of_nothing_does_no_harm() {
        let watch = Watch::new();
        for (now, pace) in [(0, 0), (0, u64::MAX / 8), (u64::MAX, MS), (5, MS), (5, 0)] {
            watch.found(u32::MAX);
            watch.found(7);
            watch.offer(now, pace);
        }
    }
}
