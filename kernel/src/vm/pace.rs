//! How often a CPU leaves its guest to look at queues that the guest does not notify it of.
use crate::time::Nanos;

/// Of a CPU's time, looking may cost one part of so many, as far as the CPU itself sees what it costs: what a guest then
/// misses in caches it does not.
const SHARE: u64 = 128;
/// Nobody waits longer than that, nor is it worth while to look more often.
const LONGEST: u64 = 4_000_000;
const SHORTEST: u64 = 50_000;
/// A time counts so much against those before it.
const WEIGHT: u64 = 32;
/// One that took so many times as long as usual did something else as well.
const OUTLIER: u64 = 4;

/// What a look costs this CPU.
pub struct Pace {
    /// What it took lately, in nanoseconds; not 0.
    mean: u64,
}

impl Pace {
    /// Nothing is known yet.
    pub const fn new() -> Self {
        Self { mean: SHORTEST / SHARE }
    }

    /// The CPU has gone through its loop, from leaving a guest to entering one, in this time.
    #[inline]
    pub fn passed(&mut self, time: Nanos) {
        let time = time.0.min(self.mean * OUTLIER).max(1);
        // Rounded up, so that it can grow from anything.
        self.mean = (self.mean * (WEIGHT - 1) + time).div_ceil(WEIGHT);
    }

    /// What an exit costs: there and back, each at least as much as what is between.
    #[inline]
    pub fn exit(&self) -> u64 {
        2 * self.mean
    }

    /// From one look to the next.
    #[inline]
    pub fn get(&self) -> u64 {
        (self.mean * SHARE).clamp(SHORTEST, LONGEST)
    }
}
