//! What one CPU caches.
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use super::Taken;
use crate::addr::PAGE;
use crate::frames::FrameCache;
use crate::slab::{Magazine, class};

/// A CPU's caches, in a frame of its own.
pub(super) struct CpuCache {
    /// Only for the CPU itself, under the platform's guard.
    pub inner: UnsafeCell<Inner>,
    /// Length of the frame cache, for others to read.
    cached_frames: AtomicUsize,
    /// Bytes of large allocations made here, less those freed here: can be negative.
    large: AtomicI64,
    /// Bytes of frames handed out here as such, less those that came back here.
    frames: AtomicI64,
}

pub(super) struct Inner {
    pub magazines: [Magazine; class::COUNT],
    pub frames: FrameCache,
}

impl CpuCache {
    pub const fn new() -> Self {
        Self {
            inner: UnsafeCell::new(Inner {
                magazines: [const { Magazine::EMPTY }; class::COUNT],
                frames: FrameCache::new(),
            }),
            cached_frames: AtomicUsize::new(0),
            large: AtomicI64::new(0),
            frames: AtomicI64::new(0),
        }
    }

    /// Tells others how many frames are cached.
    pub fn publish(&self, frames: &FrameCache) {
        self.cached_frames.store(frames.len(), Ordering::Relaxed);
    }

    /// Counts `bytes` of large allocations.
    pub fn count_large(&self, bytes: i64) {
        add(&self.large, bytes);
    }

    /// Counts `bytes` of frames.
    pub fn count_frames(&self, bytes: i64) {
        add(&self.frames, bytes);
    }

    /// What was counted so far.
    pub fn taken(&self) -> Taken {
        Taken { frames: self.frames.load(Ordering::Relaxed), large: self.large.load(Ordering::Relaxed) }
    }
}

/// Only the counter's CPU writes, so a load and a store are enough.
fn add(counter: &AtomicI64, bytes: i64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(bytes), Ordering::Relaxed);
}

/// Sums over CPUs.
#[derive(Default)]
pub(super) struct Counters {
    cached_frames: u64,
    large: i64,
}

impl Counters {
    pub fn add(&mut self, cpu: &CpuCache) {
        self.cached_frames += cpu.cached_frames.load(Ordering::Relaxed) as u64;
        self.large = self.large.wrapping_add(cpu.large.load(Ordering::Relaxed));
    }

    pub fn cached_bytes(&self) -> u64 {
        self.cached_frames * PAGE
    }

    pub fn large_bytes(&self) -> u64 {
        self.large.max(0) as u64
    }
}
