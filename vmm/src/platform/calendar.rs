//! Dates of the proleptic Gregorian calendar, as the RTC counts them.

/// A date and time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DateTime {
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
}

const DAY: u64 = 86_400;
/// Days from 0000-03-01 to 1970-01-01.
const EPOCH: u64 = 719_468;
/// Days in 400 years.
const ERA: u64 = 146_097;

impl DateTime {
    /// Of a number of seconds since 1970-01-01 00:00:00 UTC. Beyond year 9999, the year wraps.
    pub fn from_unix(seconds: u64) -> Self {
        let of_day = seconds % DAY;
        // Years that start on the first of March: the leap day is their last.
        let days = seconds / DAY + EPOCH;
        let of_era = days % ERA;
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * of_year + 2) / 153;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_era + days / ERA * 400 + u64::from(month <= 2);
        Self {
            year: (year % 10_000) as u16,
            month: month as u8,
            day: (of_year - (153 * month_from_march + 2) / 5 + 1) as u8,
            hour: (of_day / 3600) as u8,
            minute: (of_day / 60 % 60) as u8,
            second: (of_day % 60) as u8,
        }
    }

    /// Seconds since 1970-01-01 00:00:00 UTC; earlier dates count as that instant. Fields that are out
    /// of range, as a guest may write them, count on into the next unit.
    pub fn to_unix(self) -> u64 {
        let month = u64::from(self.month.clamp(1, 12));
        let year = u64::from(self.year) - u64::from(month <= 2 && self.year > 0);
        let month_from_march = (month + 9) % 12;
        let of_year = (153 * month_from_march + 2) / 5 + u64::from(self.day.max(1)) - 1;
        let year_of_era = year % 400;
        let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
        let days = (year / 400 * ERA + of_era).saturating_sub(EPOCH);
        days * DAY + u64::from(self.hour) * 3600 + u64::from(self.minute) * 60 + u64::from(self.second)
    }

    /// 1 for Sunday to 7 for Saturday.
    pub fn weekday(seconds: u64) -> u8 {
        // 1970-01-01 was a Thursday.
        ((seconds / DAY + 4) % 7 + 1) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_instants_have_their_dates() {
        for (unix, year, month, day) in [
            (0, 1970, 1, 1),
            (951_782_400, 2000, 2, 29),
            (1_709_164_800, 2024, 2, 29),
            (1_795_305_600, 2026, 11, 22),
            (4_107_542_400, 2100, 3, 1),
        ] {
            let date = DateTime::from_unix(unix);
            assert_eq!((date.year, date.month, date.day), (year, month, day), "{unix}");
        }
        assert_eq!(DateTime::weekday(1_795_305_600), 1, "a Sunday");
    }

    #[test]
    fn every_day_of_four_centuries_converts_there_and_back() {
        for day in 0..ERA {
            let unix = day * DAY + 86_399 - day % 1000;
            assert_eq!(DateTime::from_unix(unix).to_unix(), unix);
        }
    }

    #[test]
    fn dates_that_do_not_exist_convert_to_some_instant() {
        for byte in [0, 31, 60, 99, 255] {
            let date =
                DateTime { year: 9999, month: byte, day: byte, hour: byte, minute: byte, second: byte };
            date.to_unix();
            DateTime { year: 0, ..date }.to_unix();
        }
    }
}
