//! Nanoseconds, and smoltcp's microseconds.
use smoltcp::time::Instant;

/// The microsecond that a time lies in.
pub(super) fn instant(nanoseconds: u64) -> Instant {
    Instant::from_micros((nanoseconds / 1000) as i64)
}

/// The beginning of a microsecond.
pub(super) fn time(instant: Instant) -> u64 {
    u64::try_from(instant.total_micros()).unwrap_or(0).saturating_mul(1000)
}

/// The earlier of two times, where none is never.
pub(super) fn earlier(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
