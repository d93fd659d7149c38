//! Counters that tick at a fixed frequency, as exact functions of the host's clock.
//!
//! Nothing accumulates, so nothing drifts: tick `n` of a counter of `f` hertz is at `n / f` seconds.
use crate::time::{Nanos, SECOND};

/// A frequency in hertz, at most 16 MHz.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate(pub u64);

impl Rate {
    /// The tick that is current at `now`.
    #[inline]
    pub const fn ticks(self, now: Nanos) -> u64 {
        // Whole seconds apart, so that no product exceeds 64 bits.
        now / SECOND * self.0 + now % SECOND * self.0 / SECOND
    }

    /// The first instant of a tick; saturates after 584 years.
    #[inline]
    pub const fn instant(self, tick: u64) -> Nanos {
        let fraction = (tick % self.0 * SECOND).div_ceil(self.0);
        (tick / self.0).saturating_mul(SECOND).saturating_add(fraction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instant_of_a_tick_is_the_first_that_has_it() {
        for hz in [32_768, 1_193_182, 3_579_545] {
            let rate = Rate(hz);
            for tick in [0, 1, 2, 1000, hz - 1, hz, hz + 1, hz * 86_400 * 365 + 12_345] {
                let at = rate.instant(tick);
                assert_eq!(rate.ticks(at), tick, "{hz} Hz");
                assert!(tick == 0 || rate.ticks(at - 1) == tick - 1, "{hz} Hz");
            }
        }
    }

    #[test]
    fn the_ends_of_the_range_do_not_overflow() {
        let rate = Rate(3_579_545);
        assert!(rate.ticks(Nanos::MAX) > 0);
        assert_eq!(rate.instant(u64::MAX), Nanos::MAX);
    }
}
