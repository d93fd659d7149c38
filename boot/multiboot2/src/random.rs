//! Numbers for tests, the same in every run.

/// A linear congruential generator.
pub struct Random(u64);

impl Random {
    /// Numbers that depend on `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// One of `0..limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}
