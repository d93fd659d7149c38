//! For how long to wait for a disk's answer before the guest runs on.
//!
//! A guest that has asked for one thing, and nothing else, mostly has nothing to do until the answer comes. It puts its
//! timer off, halts, and sets its timer again: each may be an exit, and the answer finds the CPU asleep. If the CPU
//! waits with the guest still in its notification, there is no exit but this one. A guest that has something else to do
//! loses the time. So a vCPU is tried: it runs on, and it is seen what it does.
//!
//! ```text
//!  asks ──► trial: runs on ──► halts before the answer ──► idle: a few such, and the next answers are waited for
//!    │                    └──► does not, though it would have had the time ──► busy: each is a trial again
//!    └────► idle: waits, for twice as long as answers take of late. One in so many is a trial
//! ```
use crate::time::Nanos;

/// Trials in which the guest halted before an answer is waited for.
const IDLE: u8 = 2;
/// An answer that takes longer is not waited for: other CPUs' tasks, and the power, are worth more.
const LONGEST: Nanos = 2_000_000;
/// Answers waited for, from one trial to the next.
const WAITS: u8 = 32;

/// What a vCPU's guest does between a request and its answer.
pub(super) struct Answers {
    open: Option<Open>,
    /// From a request to its answer, of late. 0 if it is not known.
    usual: Nanos,
    /// From a request to the halt, of late.
    to_halt: Nanos,
    /// In how many trials the guest halted, up to [`IDLE`].
    idle: u8,
    /// Answers waited for since the last trial.
    waits: u8,
}

/// A request whose answer has not been seen.
struct Open {
    since: Nanos,
    /// It is waited for, until then at the latest.
    until: Nanos,
    /// The guest runs meanwhile, and has not halted.
    trial: bool,
}

impl Answers {
    pub const fn new() -> Self {
        Self { open: None, usual: 0, to_halt: 0, idle: 0, waits: 0 }
    }

    /// The guest has asked. Its answer is waited for as long as `patience` says of the time for which it can wait,
    /// which is 0 where it is to run on.
    pub fn asks(&mut self, now: Nanos, patience: impl FnOnce(Nanos) -> Nanos) {
        let wait = self.idle >= IDLE && self.usual != 0 && self.usual <= LONGEST && self.waits < WAITS;
        self.waits = if wait { self.waits + 1 } else { 0 };
        let patience = patience(if wait { (2 * self.usual).min(LONGEST) } else { 0 });
        self.open = Some(Open { since: now, until: now.saturating_add(patience), trial: !wait });
    }

    /// Whether an answer is to come.
    #[inline(always)]
    pub fn awaits(&self) -> bool {
        self.open.is_some()
    }

    /// Until when it is waited for; 0 if it is not.
    pub fn until(&self) -> Nanos {
        self.open.as_ref().map_or(0, |open| open.until)
    }

    /// The guest runs on, whether the answer is there or not.
    pub fn runs_on(&mut self) {
        if let Some(open) = &mut self.open {
            open.until = 0;
        }
    }

    /// The guest halts.
    pub fn halts(&mut self, now: Nanos) {
        if let Some(Open { since, trial: trial @ true, .. }) = &mut self.open {
            *trial = false;
            self.to_halt = mean(self.to_halt, now.saturating_sub(*since));
            self.idle = (self.idle + 1).min(IDLE);
        }
    }

    /// The answer is there.
    pub fn answered(&mut self, now: Nanos) {
        let Some(Open { since, trial, .. }) = self.open.take() else { return };
        let took = now.saturating_sub(since);
        self.usual = mean(self.usual, took);
        if trial && took > 2 * self.to_halt {
            self.idle = 0;
        }
    }
}

/// A mean in which what is `new` counts a quarter, and all of it where there was none.
fn mean(old: Nanos, new: Nanos) -> Nanos {
    if old == 0 { new.max(1) } else { (old / 4 * 3 + new / 4).max(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A guest whose answers take so long, and that halts after so long if it runs on; how many of `requests` were
    /// waited for.
    fn waited(answers: &mut Answers, answer: Nanos, halt: Option<Nanos>, requests: u64) -> u64 {
        let second = |n: u64| n * 1_000_000_000;
        (0..requests)
            .filter(|n| {
                let now = second(n + 1);
                answers.asks(now, |longest| longest);
                let patience = answers.until() - now;
                if patience < answer
                    && let Some(halt) = halt.filter(|halt| *halt < answer)
                {
                    answers.halts(now + halt);
                }
                answers.answered(now + answer);
                patience >= answer
            })
            .count() as u64
    }

    #[test]
    fn a_guest_that_halts_each_time_is_soon_waited_for_but_for_a_trial_now_and_then() {
        let mut answers = Answers::new();
        assert_eq!(waited(&mut answers, 100_000, Some(20_000), 2), 0);
        assert_eq!(waited(&mut answers, 100_000, Some(20_000), 330), 320);
    }

    #[test]
    fn a_guest_with_something_to_do_is_never_waited_for() {
        assert_eq!(waited(&mut Answers::new(), 100_000, None, 1000), 0);
    }

    #[test]
    fn a_guest_that_gets_something_to_do_is_left_alone_after_the_next_trial() {
        let mut answers = Answers::new();
        waited(&mut answers, 100_000, Some(20_000), 100);
        assert!(waited(&mut answers, 100_000, None, 1000) <= u64::from(WAITS));
        assert_eq!(waited(&mut answers, 100_000, None, 1000), 0);
        assert!(waited(&mut answers, 100_000, Some(20_000), 100) > 90);
    }

    #[test]
    fn answers_that_come_before_the_guest_could_halt_tell_nothing_of_it() {
        let mut answers = Answers::new();
        waited(&mut answers, 100_000, Some(20_000), 10);
        // As long as a halt takes: whether it would have halted is not known.
        assert!(waited(&mut answers, 20_000, Some(20_000), 330) >= 310);
    }

    #[test]
    fn a_slow_disk_is_not_waited_for() {
        assert_eq!(waited(&mut Answers::new(), 8_000_000, Some(20_000), 1000), 0);
    }

    #[test]
    fn a_disk_that_becomes_slow_costs_few_waits_and_one_that_becomes_fast_is_waited_for_again() {
        let mut answers = Answers::new();
        waited(&mut answers, 100_000, Some(20_000), 10);
        let before = answers.waits;
        assert_eq!(waited(&mut answers, 8_000_000, Some(20_000), 10), 0);
        assert!(answers.usual > LONGEST && before > 0);
        assert!(waited(&mut answers, 100_000, Some(20_000), 100) > 80);
    }

    #[test]
    fn whatever_the_clock_says_nothing_overflows() {
        let mut answers = Answers::new();
        for (asked, halted, answered) in [(5, 3, 1), (0, u64::MAX, u64::MAX), (u64::MAX, 0, 0), (1, 1, 1)] {
            for _ in 0..5 {
                answers.asks(asked, |longest| longest);
                assert!(answers.until() - asked <= LONGEST);
                answers.halts(halted);
                answers.answered(answered);
                answers.answered(answered);
            }
        }
    }
}
