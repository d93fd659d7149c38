//! A CPU's own supply of single frames.
#![allow(unsafe_code)] // frames that come back are memory that only the caller can vouch for

use super::{FrameAllocator, FreeError};
use crate::addr::Hpa;

/// Single frames that one CPU took in advance or has not given back yet, so that most requests touch
/// nothing shared. Moves frames to and from the shared allocator in batches of [`Self::BATCH`].
///
/// A frame in the cache counts as taken in the allocator. That a frame is put in twice is therefore only
/// seen when the cache is drained (at once in builds with debug assertions).
pub struct FrameCache {
    frames: [Hpa; Self::CAPACITY],
    count: usize,
}

impl FrameCache {
    /// Frames that it holds at most.
    pub const CAPACITY: usize = 64;
    /// Frames that it exchanges with the shared allocator at once.
    pub const BATCH: usize = Self::CAPACITY / 2;

    /// An empty cache.
    pub const fn new() -> Self {
        Self { frames: [Hpa::new(0); Self::CAPACITY], count: 0 }
    }

    /// Frames in the cache.
    #[inline(always)]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    #[inline(always)]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether there is no room for another: drain it.
    #[inline(always)]
    pub const fn is_full(&self) -> bool {
        self.count == Self::CAPACITY
    }

    /// Takes a frame; `None` where the cache is empty: refill it.
    #[inline]
    pub fn take(&mut self) -> Option<Hpa> {
        self.count = self.count.checked_sub(1)?;
        Some(self.frames[self.count])
    }

    /// Puts a frame in. Gives it back where the cache is full: drain it first.
    ///
    /// # Safety
    /// The frame was taken as order 0 from the allocator that the cache is drained to, and nobody uses it.
    #[inline]
    pub unsafe fn put(&mut self, frame: Hpa) -> Result<(), Hpa> {
        if self.is_full() {
            return Err(frame);
        }
        debug_assert!(!self.frames[..self.count].contains(&frame), "frame {frame} is freed a second time");
        self.frames[self.count] = frame;
        self.count += 1;
        Ok(())
    }

    /// Fetches up to a batch of frames. Returns how many there were.
    pub fn refill(&mut self, shared: &mut FrameAllocator) -> usize {
        let before = self.count;
        while self.count < (before + Self::BATCH).min(Self::CAPACITY) {
            let Some(frame) = shared.allocate(0) else { break };
            self.frames[self.count] = frame;
            self.count += 1;
        }
        self.count - before
    }

    /// Gives back all but the `keep` frames that were used last. An error means that a frame was freed
    /// twice or was never the allocator's; that frame is dropped, the others stay.
    pub fn drain(&mut self, shared: &mut FrameAllocator, keep: usize) -> Result<(), FreeError> {
        let surplus = self.count.saturating_sub(keep);
        for (done, &frame) in self.frames[..surplus].iter().enumerate() {
            // SAFETY: whoever put the frame in promised that nobody uses it.
            if let Err(error) = unsafe { shared.free(frame, 0) } {
                self.remove_oldest(done + 1);
                return Err(error);
            }
        }
        self.remove_oldest(surplus);
        Ok(())
    }

    fn remove_oldest(&mut self, count: usize) {
        self.frames.copy_within(count..self.count, 0);
        self.count -= count;
    }
}

impl Default for FrameCache {
    fn default() -> Self {
        Self::new()
    }
}
