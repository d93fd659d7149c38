//! A cap: at most so many percent of one CPU.
//!
//! Time is granted by period. Overrun is a debt that later periods pay, so the long-run share is exact
//! however late a slice ends; what a period leaves unused is lost, so nothing is saved up.

/// The run time per period that the period's length aims at, nanoseconds: one slice.
const QUOTA_NS: u64 = crate::virtual_time::SLICE_NS;
const SHORTEST_PERIOD_NS: u64 = 10_000_000;
const LONGEST_PERIOD_NS: u64 = 100_000_000;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Cap {
    percent: u32,
    /// Run time per period; 0 means no cap.
    quota: u64,
    period: u64,
    /// When the current period began.
    began: u64,
    /// Run time used in it, debts included.
    used: u64,
}

impl Cap {
    /// 0, and 100 or more (an entity can't use more than one CPU), mean none.
    pub(crate) fn new(percent: u32) -> Self {
        if percent == 0 || percent >= 100 {
            return Cap { percent, quota: 0, period: 0, began: 0, used: 0 };
        }
        let share = u64::from(percent);
        let period = (QUOTA_NS * 100 / share).clamp(SHORTEST_PERIOD_NS, LONGEST_PERIOD_NS);
        Cap { percent, quota: period * share / 100, period, began: 0, used: 0 }
    }

    pub(crate) fn percent(&self) -> u32 {
        self.percent
    }

    /// Counts `ran` nanoseconds that ended at `now`.
    pub(crate) fn charge(&mut self, ran: u64, now: u64) {
        if self.quota > 0 {
            self.refill(now);
            self.used = self.used.saturating_add(ran);
        }
    }

    /// Until when the entity may not run, if it may not at `now`.
    pub(crate) fn throttled_until(&mut self, now: u64) -> Option<u64> {
        if self.quota == 0 {
            return None;
        }
        self.refill(now);
        let periods = self.used / self.quota;
        (periods > 0).then(|| self.began.saturating_add(self.period.saturating_mul(periods)))
    }

    /// How long it may run from `now` on.
    pub(crate) fn left(&mut self, now: u64) -> u64 {
        if self.quota == 0 {
            return u64::MAX;
        }
        self.refill(now);
        self.quota.saturating_sub(self.used)
    }

    fn refill(&mut self, now: u64) {
        let periods = now.saturating_sub(self.began) / self.period;
        self.used = self.used.saturating_sub(self.quota.saturating_mul(periods));
        self.began += periods * self.period;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn none_and_a_whole_cpu_never_throttle() {
        for percent in [0, 100, 250, u32::MAX] {
            let mut cap = Cap::new(percent);
            cap.charge(u64::MAX, 5);
            assert_eq!(cap.throttled_until(6), None);
            assert_eq!(cap.left(6), u64::MAX);
        }
    }

    #[test]
    fn periods_are_between_10_and_100_ms() {
        for percent in 1..100 {
            let cap = Cap::new(percent);
            assert!((10 * MS..=100 * MS).contains(&cap.period), "{percent}");
            assert_eq!(cap.quota, cap.period * u64::from(percent) / 100);
        }
    }

    #[test]
    fn a_used_quota_throttles_to_the_end_of_the_period_and_debts_longer() {
        let mut cap = Cap::new(50);
        cap.charge(4 * MS, 4 * MS);
        assert_eq!(cap.throttled_until(4 * MS), None);
        assert_eq!(cap.left(4 * MS), MS);
        cap.charge(MS, 5 * MS);
        assert_eq!(cap.throttled_until(5 * MS), Some(10 * MS));
        assert_eq!(cap.left(10 * MS), 5 * MS);
        cap.charge(12 * MS, 19 * MS);
        // 12 of 5 used: two periods pay, and the third starts with 2 used.
        assert_eq!(cap.throttled_until(19 * MS), Some(30 * MS));
        assert_eq!(cap.left(30 * MS), 3 * MS);
    }

    #[test]
    fn unused_time_is_not_saved_up() {
        let mut cap = Cap::new(50);
        assert_eq!(cap.left(1000 * MS), 5 * MS);
    }
}
