//! Measures, sorts, prints.
use std::arch::asm;

/// Rounds that are not counted.
const WARM_UP: usize = 20;

/// The time-stamp counter, not before everything earlier is done.
#[allow(unsafe_code)] // reads a counter
#[inline(always)]
pub fn rdtsc() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: has no effect.
    unsafe { asm!("lfence", "rdtsc", out("eax") low, out("edx") high, options(nostack, preserves_flags)) };
    u64::from(high) << 32 | u64::from(low)
}

/// Ticks that `work` takes.
#[inline(always)]
pub fn once<T>(mut work: impl FnMut() -> T) -> u64 {
    let begin = rdtsc();
    work();
    rdtsc() - begin
}

/// Measures `work` this often and prints the figure.
#[inline(always)]
pub fn time<T>(name: &str, count: usize, mut work: impl FnMut() -> T) {
    let mut samples = vec![0; count];
    for _ in 0..WARM_UP {
        once(&mut work);
    }
    for sample in &mut samples {
        *sample = once(&mut work);
    }
    report(name, &mut samples);
}

/// Prints a figure.
pub fn report(name: &str, samples: &mut [u64]) {
    samples.sort_unstable();
    let at = |share: usize| samples.get(samples.len() * share / 100).copied().unwrap_or(0);
    println!("BENCH {name} med={} min={} p90={} n={}", at(50), at(0), at(90), samples.len());
}
