//! Quantities as people read them. All by integers: the kernel has no floating point.

use alloc::format;
use alloc::string::String;
use core::fmt;
use core::time::Duration;

/// An amount of memory in bytes: `512 MiB`, `1.5 GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
        let text = match units.into_iter().find(|(_, shift)| self.0 >> shift > 0) {
            None => format!("{} B", self.0),
            Some((unit, shift)) => {
                let tenths = (u128::from(self.0) * 10) >> shift;
                let exact = self.0.trailing_zeros() >= shift;
                if exact {
                    format!("{} {unit}", tenths / 10)
                } else {
                    format!("{}.{} {unit}", tenths / 10, tenths % 10)
                }
            }
        };
        f.pad(&text)
    }
}

/// Bits a second: `250 Mbit/s`, `2.5 Gbit/s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(pub u64);

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("Gbit/s", 1_000_000_000), ("Mbit/s", 1_000_000), ("kbit/s", 1_000)];
        let text = match units.into_iter().find(|(_, unit)| self.0 >= *unit) {
            None => format!("{} bit/s", self.0),
            Some((name, unit)) if self.0.is_multiple_of(unit) => format!("{} {name}", self.0 / unit),
            Some((name, unit)) => format!("{}.{} {name}", self.0 / unit, self.0 % unit / (unit / 10)),
        };
        f.pad(&text)
    }
}

/// A span of time: `12.3 s`, `4 min 05 s`, `3 h 12 min`, `5 d 03 h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
        let text = if days > 0 {
            format!("{days} d {:02} h", hours % 24)
        } else if hours > 0 {
            format!("{hours} h {:02} min", minutes % 60)
        } else if minutes > 0 {
            format!("{minutes} min {:02} s", seconds % 60)
        } else {
            format!("{seconds}.{} s", self.0.subsec_millis() / 100)
        };
        f.pad(&text)
    }
}

/// A moment, as the time since the kernel was entered: `    4.023581`, like Linux' log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(pub Duration);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:5}.{:06}", self.0.as_secs(), self.0.subsec_micros())
    }
}

/// A part of a whole: `12.3 %`; a whole of nothing has no parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    pub part: u128,
    pub whole: u128,
}

impl Share {
    /// The part of a span of time.
    pub fn of_time(part: Duration, whole: Duration) -> Self {
        Self { part: part.as_nanos(), whole: whole.as_nanos() }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let half = self.whole / 2;
        let tenths = self.part.saturating_mul(1000).saturating_add(half).checked_div(self.whole).unwrap_or(0);
        f.pad(&format!("{}.{} %", tenths / 10, tenths % 10))
    }
}

/// A count: `12,345,678`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count(pub u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{}", self.0);
        let mut text = String::new();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn sizes_have_the_largest_unit_that_fits() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (512 << 20, "512 MiB"),
            ((2 << 30) - 1, "1.9 GiB"),
            (2 << 30, "2 GiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(Size(bytes).to_string(), text);
        }
        assert_eq!(format!("{:>9}", Size(1024)), "    1 KiB");
    }

    #[test]
    fn rates_have_the_largest_unit_that_fits() {
        for (bits, text) in [
            (0, "0 bit/s"),
            (999, "999 bit/s"),
            (64_000, "64 kbit/s"),
            (250_000_000, "250 Mbit/s"),
            (2_500_000_000, "2.5 Gbit/s"),
            (1_999_999_999, "1.9 Gbit/s"),
            (u64::MAX, "18446744073.7 Gbit/s"),
        ] {
            assert_eq!(Rate(bits).to_string(), text);
        }
    }

    #[test]
    fn spans_have_two_units() {
        for (millis, text) in [
            (0, "0.0 s"),
            (59_990, "59.9 s"),
            (245_000, "4 min 05 s"),
            (11_520_000, "3 h 12 min"),
            (442_800_000, "5 d 03 h"),
        ] {
            assert_eq!(Span(Duration::from_millis(millis)).to_string(), text);
        }
        assert!(Span(Duration::MAX).to_string().contains(" d "));
    }

    #[test]
    fn shares_are_rounded_and_nothing_divides_by_zero() {
        assert_eq!(Share { part: 1, whole: 3 }.to_string(), "33.3 %");
        assert_eq!(Share { part: 2, whole: 3 }.to_string(), "66.7 %");
        assert_eq!(Share { part: 4, whole: 2 }.to_string(), "200.0 %");
        assert_eq!(Share { part: 1, whole: 0 }.to_string(), "0.0 %");
        assert_eq!(Share { part: u128::MAX, whole: u128::MAX }.to_string(), "0.1 %", "saturates");
    }

    #[test]
    fn counts_are_grouped_by_thousands() {
        assert_eq!(Count(0).to_string(), "0");
        assert_eq!(Count(999).to_string(), "999");
        assert_eq!(Count(1000).to_string(), "1,000");
        assert_eq!(Count(u64::MAX).to_string(), "18,446,744,073,709,551,615");
    }
}
