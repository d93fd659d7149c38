//! Whether all CPUs' TSCs show the same time.
//!
//! All CPUs keep moving one shared maximum to their own TSC. One that reads less than what another had
//! reached before is behind it by at least that much.
use crate::cpu::registers::rdtsc_ordered;
use core::sync::atomic::{AtomicU64, Ordering};

static LATEST: AtomicU64 = AtomicU64::new(0);
static WARP: AtomicU64 = AtomicU64::new(0);

/// Takes part for `rounds` readings. Run it on all CPUs at once.
pub fn take_part(rounds: u32) {
    for _ in 0..rounds {
        // The reading comes after the load: the other's reading was before its store.
        let seen = LATEST.load(Ordering::SeqCst);
        let mine = rdtsc_ordered();
        if mine < seen {
            WARP.fetch_max(seen - mine, Ordering::Relaxed);
        }
        LATEST.fetch_max(mine, Ordering::SeqCst);
    }
}

/// The largest step back that was seen, in TSC ticks.
pub fn warp() -> u64 {
    WARP.load(Ordering::Relaxed)
}
