//! Physical frames: a buddy allocator, and per-CPU caches in front of it.
//!
//! Memory is handed out in blocks of `2^order` frames of 4 KiB, aligned to their size, from order 0 to
//! [`MAX_ORDER`] (1 GiB). A block that is given back joins its buddy, the other half of the next larger
//! block, whenever that one is free.
//!
//! **Metadata.** Each region brings one byte per frame for its own side table, in its last frames, so holes
//! between regions cost nothing and 2 GiB cost 512 KiB. The byte of a block's first frame says whether the
//! block is free or taken and of which order; all other bytes are zero. That is enough to refuse a double
//! free, a foreign frame or a wrong order. The links of the free lists lie in the free blocks themselves,
//! which is why the allocator needs a [`DirectMap`].
//!
//! **Zones.** Memory below 1 MiB and below 4 GiB is kept in lists of its own and used last, so that it is
//! still there when start-up code or a 32-bit device asks by [`FrameAllocator::allocate_below`].
//!
//! **Refused.** The allocator never zeroes memory, and has no lock: [`crate::heap::Heap`] has.
#![allow(unsafe_code)] // blocks that come back are memory that only the caller can vouch for

mod cache;
mod error;
mod region;
#[cfg(test)]
mod tests;
mod zone;

pub use cache::FrameCache;
pub use error::{FreeError, RegionError};
use region::{FrameState, Region};
use zone::{Reach, Zone};

use crate::addr::{Hpa, PAGE};
use crate::direct_map::DirectMap;

/// Binary logarithm of the number of frames in a block.
pub type Order = u8;

/// The largest order: blocks of 1 GiB.
pub const MAX_ORDER: Order = 18;

/// Separate stretches of memory that an allocator can hold.
pub const MAX_REGIONS: usize = 128;

const FRAME_SHIFT: u32 = PAGE.trailing_zeros();

/// Bytes in a block of `order`.
#[inline(always)]
pub const fn block_bytes(order: Order) -> u64 {
    PAGE << order
}

/// The smallest order whose blocks hold `bytes`, or `None` beyond [`MAX_ORDER`].
#[inline]
pub const fn order_for(bytes: u64) -> Option<Order> {
    let frames = bytes.div_ceil(PAGE);
    if frames > 1 << MAX_ORDER {
        return None;
    }
    Some(if frames <= 1 { 0 } else { (u64::BITS - (frames - 1).leading_zeros()) as Order })
}

/// A stretch of physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhysicalRange {
    /// First byte.
    pub start: Hpa,
    /// Length in bytes.
    pub bytes: u64,
}

/// What became of a list of regions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// Bytes that can be allocated now: without side tables and trimmed ends.
    pub usable: u64,
    /// Bytes in stretches that were refused.
    pub refused: u64,
    /// Why the last of them was.
    pub reason: Option<RegionError>,
}

/// The buddy allocator. See the module's documentation.
pub struct FrameAllocator {
    map: DirectMap,
    /// The first `region_count` are in use, in ascending order.
    regions: [Region; MAX_REGIONS],
    region_count: usize,
    zones: [Zone; 3],
    total: u64,
    free: u64,
}

/// The fewest aligned blocks that make up frames `start .. end`, in ascending order.
fn blocks(start: u64, end: u64) -> impl Iterator<Item = (u64, Order)> {
    let mut at = start;
    core::iter::from_fn(move || {
        let left = end.checked_sub(at).filter(|&left| left > 0)?;
        let order = at.trailing_zeros().min(left.ilog2()).min(u32::from(MAX_ORDER)) as Order;
        let block = (at, order);
        at += 1 << order;
        Some(block)
    })
}

impl FrameAllocator {
    /// An allocator without memory: add some.
    pub const fn new(map: DirectMap) -> Self {
        Self {
            map,
            regions: [Region::EMPTY; MAX_REGIONS],
            region_count: 0,
            zones: [Zone::EMPTY; 3],
            total: 0,
            free: 0,
        }
    }

    /// The direct map through which the allocator reaches its memory.
    pub const fn direct_map(&self) -> DirectMap {
        self.map
    }

    /// Adds many stretches of memory in any order; neighbours that follow each other become one. What
    /// cannot be managed (too small, overlapping, too many) is left alone and counted.
    ///
    /// # Safety
    /// As for [`Self::add_region`], for each of them.
    pub unsafe fn add_regions(&mut self, ranges: impl IntoIterator<Item = PhysicalRange>) -> Added {
        let mut added = Added::default();
        let mut add = |range: PhysicalRange| {
            // SAFETY: the caller's promise.
            match unsafe { self.add_region(range) } {
                Ok(usable) => added.usable += usable,
                Err(reason) => {
                    added.refused = added.refused.saturating_add(range.bytes);
                    added.reason = Some(reason);
                }
            }
        };
        let mut pending: Option<PhysicalRange> = None;
        for range in ranges {
            match &mut pending {
                Some(p) if p.start.checked_add(p.bytes) == Some(range.start) => {
                    p.bytes = p.bytes.saturating_add(range.bytes);
                }
                _ => {
                    if let Some(complete) = pending.replace(range) {
                        add(complete);
                    }
                }
            }
        }
        if let Some(last) = pending {
            add(last);
        }
        added
    }

    /// Adds a stretch of memory, at any time: boot memory, or ACPI tables once they were read. Ends that
    /// are no whole frames are trimmed, and the last frames hold its side table. Returns the bytes that can
    /// be allocated of it. Frame 0 is left out: its address is the null pointer of whoever maps it there.
    ///
    /// # Safety
    /// The memory is RAM, mapped writable by the direct map, and nobody uses it.
    pub unsafe fn add_region(&mut self, range: PhysicalRange) -> Result<u64, RegionError> {
        let PhysicalRange { start, bytes } = range;
        // Whole frames only: neighbours may share the frame that both trim.
        let first = start.get().div_ceil(PAGE);
        let end = start.get().saturating_add(bytes) >> FRAME_SHIFT;
        if self.region_count == MAX_REGIONS {
            return Err(RegionError::TooMany);
        }
        let regions = &self.regions[..self.region_count];
        if regions.iter().any(|r| first < r.end_with_table() && r.first < end) {
            return Err(RegionError::Overlaps { start, bytes });
        }
        // SAFETY: the caller's promise; and no region of ours overlaps.
        let region = unsafe { Region::new(self.map, start, bytes)? };
        let at = regions.partition_point(|r| r.first < region.first);
        self.regions.copy_within(at..self.region_count, at + 1);
        self.regions[at] = region;
        self.region_count += 1;
        let (first, end) = (region.first, region.first + region.count);
        for reach in Reach::PLENTIFUL_FIRST {
            let (zone_first, zone_end) = reach.frames();
            for (frame, order) in blocks(first.max(zone_first), end.min(zone_end)) {
                self.release(at, frame, order);
            }
        }
        self.total += region.count;
        Ok(region.count << FRAME_SHIFT)
    }

    /// Takes a block of `2^order` frames, aligned to its size. Its content is undefined.
    #[inline]
    pub fn allocate(&mut self, order: Order) -> Option<Hpa> {
        if order > MAX_ORDER {
            return None;
        }
        Reach::PLENTIFUL_FIRST.into_iter().find_map(|reach| self.allocate_in(reach, order))
    }

    /// Takes a block whose last byte lies below `limit`.
    ///
    /// Quick for limits of 1 MiB and 4 GiB; any other limit may walk all free blocks.
    pub fn allocate_below(&mut self, order: Order, limit: Hpa) -> Option<Hpa> {
        if order > MAX_ORDER {
            return None;
        }
        let limit = limit.get() >> FRAME_SHIFT;
        for reach in Reach::PLENTIFUL_FIRST {
            let (start, end) = reach.frames();
            if end <= limit {
                if let Some(block) = self.allocate_in(reach, order) {
                    return Some(block);
                }
            } else if start < limit {
                let zone = &self.zones[reach as usize];
                let found = (order..=MAX_ORDER).find_map(|found| {
                    let frame = zone.find(self.map, found, |frame| frame + (1 << order) <= limit)?;
                    Some((frame, found))
                });
                if let Some((frame, found)) = found {
                    return Some(self.take(frame, found, order));
                }
            }
        }
        None
    }

    /// Takes `count` frames in a row, without rounding up to a power of two. The first is aligned to the
    /// power of two that `count` rounds up to. Give them back by [`Self::free_run`] with the same count.
    pub fn allocate_run(&mut self, count: u64) -> Option<Hpa> {
        let order = order_for(count.checked_mul(PAGE)?)?;
        let block = self.allocate(order)?;
        if count == 1 << order || count == 0 {
            return Some(block);
        }
        let frame = block.get() >> FRAME_SHIFT;
        let index = self.region_of(frame)?;
        for (part, part_order) in blocks(frame, frame + count) {
            self.regions[index].set(part, FrameState::taken(part_order));
        }
        for (part, part_order) in blocks(frame + count, frame + (1 << order)) {
            self.release(index, part, part_order);
        }
        Some(block)
    }

    /// Gives back a block. Refuses what it did not hand out, or not like that.
    ///
    /// # Safety
    /// Nobody uses the block's memory any longer.
    #[inline]
    pub unsafe fn free(&mut self, block: Hpa, order: Order) -> Result<(), FreeError> {
        let index = self.taken(block, order)?;
        self.release(index, block.get() >> FRAME_SHIFT, order);
        Ok(())
    }

    /// Gives back what [`Self::allocate_run`] returned for `count`.
    ///
    /// # Safety
    /// Nobody uses the memory any longer.
    pub unsafe fn free_run(&mut self, start: Hpa, count: u64) -> Result<(), FreeError> {
        let first = start.get() >> FRAME_SHIFT;
        let end = first.saturating_add(count.max(1));
        // All or nothing: look at every part before the first is released.
        for (part, order) in blocks(first, end) {
            self.taken(Hpa::new_truncate(part << FRAME_SHIFT), order)?;
        }
        for (part, order) in blocks(first, end) {
            if let Some(index) = self.region_of(part) {
                self.release(index, part, order);
            }
        }
        Ok(())
    }

    /// Turns a taken block of `order` into taken blocks of order `parts`, to be freed singly.
    pub fn split(&mut self, block: Hpa, order: Order, parts: Order) -> Result<(), FreeError> {
        let index = self.taken(block, order)?;
        if parts > order {
            return Err(FreeError::WrongOrder { block, order: parts, taken: order });
        }
        let frame = block.get() >> FRAME_SHIFT;
        for part in (frame..frame + (1 << order)).step_by(1 << parts) {
            self.regions[index].set(part, FrameState::taken(parts));
        }
        Ok(())
    }

    /// Bytes that can be allocated when nothing is.
    pub const fn total_bytes(&self) -> u64 {
        self.total << FRAME_SHIFT
    }

    /// Bytes that can be allocated now, as single frames.
    pub const fn free_bytes(&self) -> u64 {
        self.free << FRAME_SHIFT
    }

    /// Bytes that the side tables occupy.
    pub fn table_bytes(&self) -> u64 {
        self.regions[..self.region_count].iter().map(|r| r.table_frames() << FRAME_SHIFT).sum()
    }

    /// Order of the largest free block.
    pub fn largest_free(&self) -> Option<Order> {
        self.zones.iter().filter_map(Zone::largest).max()
    }

    /// Whether the allocator manages the frame that holds `address`.
    pub fn owns(&self, address: Hpa) -> bool {
        self.region_of(address.get() >> FRAME_SHIFT).is_some()
    }

    #[inline]
    fn allocate_in(&mut self, reach: Reach, order: Order) -> Option<Hpa> {
        let zone = &self.zones[reach as usize];
        let found = zone.smallest_from(order)?;
        let frame = zone.first(found)?;
        Some(self.take(frame, found, order))
    }

    /// Cuts a block of `order` from the start of the free block `frame` of order `found`.
    #[inline]
    fn take(&mut self, frame: u64, found: Order, order: Order) -> Hpa {
        let Some(index) = self.region_of(frame) else {
            unreachable!("free frame {frame:#x} belongs to no region: a free list was overwritten")
        };
        let region = &mut self.regions[index];
        let zone = &mut self.zones[Reach::of(frame) as usize];
        // SAFETY: the block is in this list; its upper parts are free memory in no list once it is out.
        unsafe {
            zone.unlink(self.map, frame, found);
            for part in (order..found).rev() {
                let upper = frame + (1 << part);
                region.set(upper, FrameState::free(part));
                zone.push(self.map, upper, part);
            }
        }
        region.set(frame, FrameState::taken(order));
        self.free -= 1 << order;
        Hpa::new_truncate(frame << FRAME_SHIFT)
    }

    /// Index of the region that holds `frame`.
    #[inline]
    fn region_of(&self, frame: u64) -> Option<usize> {
        let regions = &self.regions[..self.region_count];
        let at = regions.partition_point(|r| r.first <= frame).checked_sub(1)?;
        if regions[at].holds(frame, 1) { Some(at) } else { None }
    }

    /// The region of a block that is taken with exactly this order.
    #[inline]
    fn taken(&self, block: Hpa, order: Order) -> Result<usize, FreeError> {
        if order > MAX_ORDER || !block.is_aligned(block_bytes(order)) {
            return Err(FreeError::Misaligned { block, order });
        }
        let frame = block.get() >> FRAME_SHIFT;
        let index = self.region_of(frame).ok_or(FreeError::Foreign { block, order })?;
        let region = &self.regions[index];
        match region.state(frame).taken_order() {
            Some(taken) if taken == order => Ok(index),
            Some(taken) => Err(FreeError::WrongOrder { block, order, taken }),
            None if region.holds(frame, 1 << order) => Err(FreeError::AlreadyFree { block, order }),
            None => Err(FreeError::Foreign { block, order }),
        }
    }

    /// Makes a block free that is in no list, joining it with its buddies.
    #[inline]
    fn release(&mut self, index: usize, mut frame: u64, mut order: Order) {
        let region = &mut self.regions[index];
        // A block never joins one of another zone: at 4 GiB its size forbids it, at 1 MiB the check below.
        let reach = Reach::of(frame);
        let zone = &mut self.zones[reach as usize];
        self.free += 1 << order;
        while order < MAX_ORDER {
            let buddy = frame ^ (1 << order);
            if !region.holds(buddy, 1 << order)
                || region.state(buddy) != FrameState::free(order)
                || Reach::of(buddy) != reach
            {
                break;
            }
            // SAFETY: the state says that the buddy is a free block of this order, so it is in the list.
            unsafe { zone.unlink(self.map, buddy, order) };
            region.set(frame.max(buddy), FrameState::INTERIOR);
            frame = frame.min(buddy);
            order += 1;
        }
        region.set(frame, FrameState::free(order));
        // SAFETY: the block is free and in no list.
        unsafe { zone.push(self.map, frame, order) };
    }
}
