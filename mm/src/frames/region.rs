//! One contiguous stretch of memory and the table with a byte for each of its frames.
#![allow(unsafe_code)] // the side table is raw memory that the region itself provides

use super::{FRAME_SHIFT, Order};
use crate::addr::{Hpa, Hva, PAGE, PHYSICAL_MASK};
use crate::direct_map::DirectMap;
use crate::frames::RegionError;

/// What the side table says about a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FrameState(u8);

impl FrameState {
    /// Inside a block that starts at an earlier frame.
    pub const INTERIOR: Self = Self(0);
    const TAKEN: u8 = 0x40;
    const FREE: u8 = 0x80;

    /// First frame of a free block.
    pub const fn free(order: Order) -> Self {
        Self(Self::FREE | order)
    }

    /// First frame of a block that somebody has.
    pub const fn taken(order: Order) -> Self {
        Self(Self::TAKEN | order)
    }

    /// The order of the taken block that starts here.
    pub const fn taken_order(self) -> Option<Order> {
        if self.0 & Self::TAKEN != 0 { Some(self.0 & !Self::TAKEN) } else { None }
    }
}

/// Frames `first .. first + count`, and where their states are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Region {
    pub first: u64,
    pub count: u64,
    /// `count` bytes, one per frame, in the frames behind the region's last.
    table: Hva,
}

impl Region {
    pub const EMPTY: Self = Self { first: u64::MAX, count: 0, table: Hva::new(0) };

    /// Lays the side table into the last frames of the memory and marks every frame as interior.
    ///
    /// Frame 0 is left out. The table goes last because the low end is what DMA and start-up code ask for.
    ///
    /// # Safety
    /// The memory is RAM, mapped by `map`, and nobody else's from now on.
    pub unsafe fn new(map: DirectMap, start: Hpa, bytes: u64) -> Result<Self, RegionError> {
        let end = match start.get().checked_add(bytes) {
            Some(end) if end <= PHYSICAL_MASK + 1 => end >> FRAME_SHIFT,
            _ => return Err(RegionError::BeyondPhysical { start, bytes }),
        };
        let first = start.get().div_ceil(PAGE).max(1);
        // One table frame serves 4096 others.
        let frames = end.saturating_sub(first);
        let table_frames = frames.div_ceil(PAGE + 1);
        if frames <= table_frames {
            return Err(RegionError::TooSmall { start, bytes });
        }
        let count = frames - table_frames;
        let table = map.address(Hpa::new((first + count) << FRAME_SHIFT));
        // SAFETY: `count` bytes fit into `table_frames`, which lie inside the memory that the caller gave.
        unsafe { table.as_mut_ptr::<u8>().write_bytes(FrameState::INTERIOR.0, count as usize) };
        Ok(Self { first, count, table })
    }

    /// Whether frames `frame .. frame + len` are all the region's.
    #[inline]
    pub const fn holds(&self, frame: u64, len: u64) -> bool {
        frame >= self.first && len <= self.count && frame - self.first <= self.count - len
    }

    /// Frame behind the side table: where the memory that the region occupies ends.
    pub const fn end_with_table(&self) -> u64 {
        self.first + self.count + self.table_frames()
    }

    /// Frames that the side table occupies.
    pub const fn table_frames(&self) -> u64 {
        self.count.div_ceil(PAGE)
    }

    /// State of `frame`, which the region holds.
    #[inline]
    pub fn state(&self, frame: u64) -> FrameState {
        debug_assert!(self.holds(frame, 1));
        // SAFETY: callers pass frames that the region holds, and the table has a byte for each.
        FrameState(unsafe { *self.table.as_ptr::<u8>().add((frame - self.first) as usize) })
    }

    /// Sets the state of `frame`, which the region holds.
    #[inline]
    pub fn set(&mut self, frame: u64, state: FrameState) {
        debug_assert!(self.holds(frame, 1));
        // SAFETY: as in `state`; the allocator that owns the region is borrowed mutably.
        unsafe { *self.table.as_mut_ptr::<u8>().add((frame - self.first) as usize) = state.0 }
    }
}
