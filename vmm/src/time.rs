//! Time as the virtual machines count it.
//!
//! One clock serves every device and timer: nanoseconds of the host since its boot. The guest's
//! time-stamp counter is the host's plus an offset, so that reading it costs no exit; [`TscScale`]
//! converts between the two without a division.

/// Nanoseconds of the host's monotonic clock.
pub type Nanos = u64;

/// One second.
pub const SECOND: Nanos = 1_000_000_000;

/// Multiply-and-shift factors between time-stamp counter ticks and nanoseconds.
///
/// `ns = (ticks << shift, or >> -shift) * multiplier >> 32`, the form that a paravirtual clock hands to
/// its guest (see `policy::pvclock`), so guest and host agree to the nanosecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TscScale {
    hz: u64,
    multiplier: u32,
    shift: i8,
    ticks_per_ns_32: u128,
}

impl TscScale {
    /// For a counter of `hz` ticks a second.
    ///
    /// # Panics
    /// Where `hz` is 0: the host's own calibration never yields that.
    pub const fn new(hz: u64) -> Self {
        assert!(hz != 0, "a time-stamp counter that stands still");
        // Bring the ratio 1e9 / hz into [0.5, 1) by shifting, so that 32 bits hold it without loss.
        let mut shift = 0i8;
        let mut scaled_hz = hz as u128;
        let one = SECOND as u128;
        while scaled_hz > 2 * one {
            scaled_hz >>= 1;
            shift -= 1;
        }
        while scaled_hz <= one {
            scaled_hz <<= 1;
            shift += 1;
        }
        // Divide by the unrounded frequency, or the shifts above would cost precision.
        let numerator = one << 32;
        let multiplier = if shift < 0 {
            (numerator << (-shift) as u32) / hz as u128
        } else {
            numerator / ((hz as u128) << shift as u32)
        };
        Self { hz, multiplier: multiplier as u32, shift, ticks_per_ns_32: ((hz as u128) << 32) / one }
    }

    /// Ticks a second.
    pub const fn hz(self) -> u64 {
        self.hz
    }

    /// The 32.32 multiplier, as the paravirtual clock's `tsc_to_system_mul`.
    pub const fn multiplier(self) -> u32 {
        self.multiplier
    }

    /// Binary shift before the multiplication, as the paravirtual clock's `tsc_shift`.
    pub const fn shift(self) -> i8 {
        self.shift
    }

    /// Ticks as nanoseconds; wraps after 584 years.
    #[inline]
    pub const fn ticks_to_ns(self, ticks: u64) -> Nanos {
        let shifted = if self.shift < 0 { ticks >> -self.shift } else { ticks << self.shift };
        ((shifted as u128 * self.multiplier as u128) >> 32) as u64
    }

    /// Nanoseconds as ticks, saturating.
    #[inline]
    pub const fn ns_to_ticks(self, ns: Nanos) -> u64 {
        let ticks = match (ns as u128).checked_mul(self.ticks_per_ns_32) {
            Some(t) => t >> 32,
            None => return u64::MAX,
        };
        if ticks > u64::MAX as u128 { u64::MAX } else { ticks as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_second_of_ticks_is_one_second() {
        for hz in [1_000_000, 999_999_937, 1_000_000_000, 1_000_000_001, 2_445_427_000, 5_700_000_000] {
            let scale = TscScale::new(hz);
            let ns = scale.ticks_to_ns(hz);
            assert!(ns.abs_diff(SECOND) <= 2, "{hz} Hz: {ns}");
            assert!(scale.ns_to_ticks(SECOND).abs_diff(hz) <= 2, "{hz} Hz");
        }
    }

    #[test]
    fn a_year_of_ticks_drifts_by_less_than_a_second() {
        let hz = 2_445_427_123;
        let scale = TscScale::new(hz);
        let year = 365 * 86_400;
        assert!(scale.ticks_to_ns(hz * year).abs_diff(year * SECOND) < SECOND);
    }

    #[test]
    fn a_deadline_beyond_the_counter_saturates() {
        assert_eq!(TscScale::new(5_000_000_000).ns_to_ticks(u64::MAX), u64::MAX);
    }
}
