//! Limits: token buckets.
//!
//! A bucket may go into debt by one frame: whoever has anything left may send, however long the frame is. So a frame of
//! 64 KiB that is still to be cut passes a small limit too, and the debt delays what follows by as much.

/// How much a second, of bytes or of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Not 0, and at most [`Self::MOST`].
    pub per_second: u64,
    /// How much at once, after a rest. Not 0, and at most [`Self::MOST_BURST`].
    pub burst: u64,
}

impl Rate {
    /// Hundreds of gigabits a second, in bytes.
    pub const MOST: u64 = 1 << 40;
    /// 4 GiB.
    pub const MOST_BURST: u64 = 1 << 32;

    pub(super) const fn is_valid(self) -> bool {
        self.per_second != 0
            && self.per_second <= Self::MOST
            && self.burst != 0
            && self.burst <= Self::MOST_BURST
    }
}

const SECOND: i64 = 1_000_000_000;

/// What is left of a limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    rate: Rate,
    /// What may be sent, times nanoseconds of a second: exact without a division. Negative for debt.
    tokens: i64,
    /// When that was so.
    at: u64,
}

impl Bucket {
    pub(super) const fn new(rate: Rate) -> Self {
        Self { rate, tokens: rate.burst as i64 * SECOND, at: 0 }
    }

    fn refill(&mut self, now: u64) {
        // A clock that goes back gives nothing and takes nothing.
        let passed = now.saturating_sub(self.at);
        let earned = passed.saturating_mul(self.rate.per_second).min(i64::MAX as u64) as i64;
        self.tokens = self.tokens.saturating_add(earned).min(self.rate.burst as i64 * SECOND);
        self.at = self.at.max(now);
    }

    /// Whether anything is left.
    pub(super) fn is_open(&mut self, now: u64) -> bool {
        self.refill(now);
        self.tokens > 0
    }

    /// Takes `amount`, of which not all need be left.
    pub(super) fn take(&mut self, amount: u64) {
        let cost = amount.min(Rate::MOST_BURST) as i64 * SECOND;
        self.tokens = self.tokens.saturating_sub(cost);
    }

    /// Nanoseconds until anything is left.
    pub(super) fn opens_in(&mut self, now: u64) -> u64 {
        if self.is_open(now) { 0 } else { (self.tokens.unsigned_abs() + 1).div_ceil(self.rate.per_second) }
    }
}
