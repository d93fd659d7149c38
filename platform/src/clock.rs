//! From counter readings to a clock: the TSC's frequency, and conversions without a division.
//!
//! A calibration reads a reference of known frequency and the TSC, waits, and reads both again
//! ([`Reference::frequency`]). Two references are compared by [`agree`]. The result becomes a [`Rate`],
//! which the kernel's clock and the guests' paravirtual clock use.
use core::fmt;

/// A point in time or a span, in nanoseconds. Points count from the loader's hand-over.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[repr(transparent)]
pub struct Nanos(pub u64);

impl Nanos {
    /// A time that never comes (584 years).
    pub const NEVER: Self = Self(u64::MAX);

    /// `n` microseconds.
    pub const fn from_micros(n: u64) -> Self {
        Self(n.saturating_mul(1_000))
    }

    /// `n` milliseconds.
    pub const fn from_millis(n: u64) -> Self {
        Self(n.saturating_mul(1_000_000))
    }

    /// Whole milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// This point `span` later; `NEVER` stays `NEVER`.
    #[must_use]
    pub const fn after(self, span: Self) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// The span since `earlier`, zero if that is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }
}

/// Seconds with six decimals, as log lines show it.
impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:5}.{:06}", self.0 / 1_000_000_000, self.0 / 1_000 % 1_000_000)
    }
}

const NANOS: u64 = 1_000_000_000;

/// Conversions between a counter of constant frequency and nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The counter's frequency.
    pub hertz: u64,
    /// Nanoseconds per tick, times 2^[`SHIFT`](Self::SHIFT).
    pub nanos_mul: u64,
    /// Ticks per nanosecond, times 2^[`SHIFT`](Self::SHIFT).
    pub ticks_mul: u64,
}

impl Rate {
    /// Fraction bits of the multipliers. With 40, both fit for every frequency between 60 kHz and
    /// 16 PHz, and a clock of 3 GHz is off by at most 3 ns per second from rounding.
    pub const SHIFT: u32 = 40;

    /// `None` below 100 kHz and above 100 GHz: no counter that we use runs there.
    pub const fn new(hertz: u64) -> Option<Self> {
        if hertz < 100_000 || hertz > 100 * NANOS {
            return None;
        }
        let nanos_mul = ((NANOS as u128) << Self::SHIFT) / hertz as u128;
        let ticks_mul = ((hertz as u128) << Self::SHIFT) / NANOS as u128;
        Some(Self { hertz, nanos_mul: nanos_mul as u64, ticks_mul: ticks_mul as u64 })
    }

    /// Nanoseconds in `ticks`; wraps after 2^64 ns.
    #[inline(always)]
    pub const fn nanos(&self, ticks: u64) -> u64 {
        ((ticks as u128 * self.nanos_mul as u128) >> Self::SHIFT) as u64
    }

    /// Ticks in `nanos`, or `u64::MAX` where there are more.
    #[inline(always)]
    pub const fn ticks(&self, nanos: u64) -> u64 {
        let wide = (nanos as u128 * self.ticks_mul as u128) >> Self::SHIFT;
        if wide > u64::MAX as u128 { u64::MAX } else { wide as u64 }
    }

    /// The multiplier and shift of a KVM paravirtual clock for this counter (Linux,
    /// Documentation/virt/kvm/x86/msr.rst, MSR_KVM_SYSTEM_TIME_NEW):
    /// `nanos = ((ticks << shift) * mul) >> 32`, with a right shift for a negative `shift`.
    pub const fn pvclock(&self) -> (u32, i8) {
        // Bring the frequency into (1, 2] GHz, so that the multiplier uses all its 32 bits.
        let mut shift = 0i8;
        while self.hertz > (2 * NANOS) << shift.unsigned_abs() {
            shift -= 1;
        }
        while shift >= 0 && self.hertz << shift <= NANOS {
            shift += 1;
        }
        let numerator = (NANOS as u128) << 32;
        let mul = if shift <= 0 {
            (numerator << shift.unsigned_abs()) / self.hertz as u128
        } else {
            numerator / ((self.hertz as u128) << shift)
        };
        (if mul > u32::MAX as u128 { u32::MAX } else { mul as u32 }, shift)
    }
}

/// A counter of known frequency that another counter is measured against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Femtoseconds per tick.
    pub period_femtos: u64,
    /// Bits that it counts in before it wraps.
    pub bits: u32,
}

impl Reference {
    /// The ACPI PM timer, 3.579545 MHz (ACPI 6.5, 4.8.3.3), of 24 or 32 bits.
    pub const fn pm_timer(bits: u32) -> Self {
        Self { period_femtos: 279_365_114, bits }
    }

    /// Channel 2 of the 8254 timer, 1.193182 MHz, 16 bits. It counts down: pass readings negated.
    pub const PIT: Self = Self { period_femtos: 838_095_110, bits: 16 };

    /// An HPET's main counter, from its capabilities register (HPET 1.0a, 2.3.4). `None` where the
    /// period is zero or longer than the specification's 100 ns.
    pub const fn hpet(capabilities: u64) -> Option<Self> {
        let period = capabilities >> 32;
        if period == 0 || period > 0x05f5_e100 {
            return None;
        }
        Some(Self { period_femtos: period, bits: if capabilities & 1 << 13 != 0 { 64 } else { 32 } })
    }

    /// Ticks from reading `start` to reading `end`, at most one wrap apart.
    pub const fn elapsed(&self, start: u64, end: u64) -> u64 {
        let mask = if self.bits >= 64 { u64::MAX } else { (1 << self.bits) - 1 };
        end.wrapping_sub(start) & mask
    }

    /// Ticks in `nanos`.
    pub const fn ticks(&self, nanos: u64) -> u64 {
        (nanos as u128 * 1_000_000 / self.period_femtos as u128) as u64
    }

    /// The frequency in Hz of a counter that advanced by `counted` while this one advanced by `ticks`.
    /// `None` if this one did not advance or the result is beyond 64 bits.
    pub const fn frequency(&self, ticks: u64, counted: u64) -> Option<u64> {
        let femtos = ticks as u128 * self.period_femtos as u128;
        if femtos == 0 {
            return None;
        }
        let Some(scaled) = (counted as u128).checked_mul(1_000_000_000_000_000) else { return None };
        let hertz = scaled / femtos;
        if hertz > u64::MAX as u128 { None } else { Some(hertz as u64) }
    }
}

/// Whether two measurements of one frequency differ by at most `per_mille`.
pub const fn agree(a: u64, b: u64, per_mille: u64) -> bool {
    let larger = if a > b { a } else { b };
    a.abs_diff(b) as u128 * 1000 <= larger as u128 * per_mille as u128
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    const FREQUENCIES: [u64; 7] =
        [100_000, 62_500_000, 1_000_000_000, 1_999_999_999, 2_000_000_001, 3_693_000_123, 100_000_000_000];

    #[test]
    fn a_second_of_ticks_is_a_second() {
        for hertz in FREQUENCIES {
            let rate = Rate::new(hertz).unwrap();
            assert!(rate.nanos(hertz).abs_diff(NANOS) <= 100, "{hertz}");
            assert!(rate.ticks(NANOS).abs_diff(hertz) <= 1, "{hertz}");
        }
    }

    #[test]
    fn a_year_does_not_overflow_and_never_means_never() {
        let rate = Rate::new(5_000_000_000).unwrap();
        let year = 365 * 86_400;
        assert!(rate.nanos(5_000_000_000 * year).abs_diff(NANOS * year) < NANOS);
        assert_eq!(rate.ticks(Nanos::NEVER.0), u64::MAX);
        assert_eq!(Nanos::NEVER.after(Nanos(5)), Nanos::NEVER);
    }

    #[test]
    fn absurd_frequencies_are_refused() {
        assert_eq!(Rate::new(0), None);
        assert_eq!(Rate::new(99_999), None);
        assert_eq!(Rate::new(u64::MAX), None);
    }

    #[test]
    fn the_paravirtual_clock_keeps_time_to_a_microsecond_per_second() {
        for hertz in FREQUENCIES {
            let (mul, shift) = Rate::new(hertz).unwrap().pvclock();
            assert!(mul >= 1 << 31, "{hertz}: all bits of the multiplier are used");
            let ticks = if shift < 0 { hertz >> -shift } else { hertz << shift };
            let nanos = ((u128::from(ticks) * u128::from(mul)) >> 32) as u64;
            assert!(nanos.abs_diff(NANOS) <= 1000, "{hertz}: {nanos}");
        }
    }

    #[test]
    fn a_frequency_is_measured_across_a_wrap() {
        let pm = Reference::pm_timer(24);
        // 10 ms of a 3 GHz TSC, from just before the wrap.
        let ticks = pm.elapsed(0xff_ff00, (0xff_ff00 + 35_795) & 0xff_ffff);
        assert_eq!(ticks, 35_795);
        let hertz = pm.frequency(ticks, 30_000_000).unwrap();
        assert!(agree(hertz, 3_000_000_000, 1), "{hertz}");
        assert_eq!(pm.ticks(10_000_000), 35_795);
    }

    #[test]
    fn an_hpet_with_an_impossible_period_is_refused() {
        assert_eq!(Reference::hpet(0x2086), None);
        assert_eq!(Reference::hpet(u64::MAX), None);
        let qemu = Reference::hpet(0x0098_9680_8086_a201).unwrap();
        assert_eq!((qemu.period_femtos, qemu.bits), (10_000_000, 64));
    }

    #[test]
    fn a_reference_that_stands_still_gives_no_frequency() {
        assert_eq!(Reference::PIT.frequency(0, 1000), None);
        assert!(Reference::PIT.frequency(1, u64::MAX).is_none());
    }

    #[test]
    fn measurements_agree_within_their_tolerance() {
        assert!(agree(1000, 1010, 10));
        assert!(!agree(1000, 1020, 10));
        assert!(agree(0, 0, 0));
        assert!(!agree(0, u64::MAX, 999));
    }

    #[test]
    fn times_read_as_seconds() {
        assert_eq!(format!("{}", Nanos(1_234_567_890)), "    1.234567");
    }
}
