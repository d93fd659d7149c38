//! Random numbers that a seed repeats (splitmix64).
use core::sync::atomic::{AtomicU64, Ordering};

static STATE: AtomicU64 = AtomicU64::new(1);

/// Begins anew.
pub fn seed(seed: u64) {
    STATE.store(seed, Ordering::Relaxed);
}

/// The next number.
pub fn next() -> u64 {
    let state = STATE.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// One below `bound`, which is not 0.
pub fn below(bound: u64) -> u64 {
    next() % bound
}

/// One of them.
pub fn one_of<T: Copy>(them: &[T]) -> T {
    them[below(them.len() as u64) as usize]
}

/// A number of the kind that finds mistakes: any, few bits, near an end of a width.
pub fn nasty() -> u64 {
    match below(6) {
        0 => next(),
        1 => 1 << below(64),
        2 => !(1 << below(64)),
        3 => below(0x100),
        4 => (1u64 << one_of(&[8, 16, 31, 32, 47, 48, 52, 63])).wrapping_sub(below(3)),
        _ => next() & 0xffff_ffff,
    }
}
