//! Where the kernel, the hand-over and the entry's own heap go: free memory, taken from its upper end.
//!
//! Free is what the firmware's map calls so and nobody else has: the modules, the boot information and the
//! entry itself are claimed before anything is placed. All of it lies below 4 GiB, which is all that the
//! entry maps, and above 1 MiB, which is left to what must be there.
use alloc::vec::Vec;
use handover::{Extent, MemoryKind, MemoryRegion};
use loader::memory_map::Claim;
use mm::addr::PAGE;

/// Nothing is placed below.
pub const FLOOR: u64 = 1 << 20;
/// Nothing is placed above.
pub const CEILING: u64 = 4 << 30;
/// The entry's heap has no more than this, nor more than a quarter of the largest piece of free memory.
const MOST_HEAP: u64 = 32 << 20;
/// With this it can read any kernel's headers and any configuration that is not refused by its length.
const LEAST_HEAP: u64 = 8 << 20;

/// The free extents among `regions`, in their order.
fn free(regions: impl Iterator<Item = MemoryRegion>) -> impl Iterator<Item = Extent> {
    regions.filter(|region| region.kind == MemoryKind::USABLE).filter_map(|region| {
        let start = region.extent.base.max(FLOOR);
        let end = (region.extent.base + region.extent.len).min(CEILING);
        if start < end { Some(Extent { base: start, len: end - start }) } else { None }
    })
}

/// Memory for the entry's heap, without allocating: the end of the largest free extent. `None` if there is too
/// little of it.
pub fn heap(regions: impl Iterator<Item = MemoryRegion>) -> Option<Extent> {
    let largest = free(regions).max_by_key(|extent| extent.len)?;
    let len = (largest.len / 4).min(MOST_HEAP) & !(PAGE - 1);
    if len < LEAST_HEAP {
        return None;
    }
    Some(Extent { base: largest.base + largest.len - len, len })
}

/// Free memory, and what was put into it.
#[derive(Debug)]
pub struct Placement {
    free: Vec<Extent>,
    claims: Vec<Claim>,
}

impl Placement {
    /// All of the free memory in `regions`, a map in which everything that must stay is claimed.
    pub fn new(regions: impl Iterator<Item = MemoryRegion>) -> Self {
        Self { free: free(regions).collect(), claims: Vec::new() }
    }

    /// Whole pages for `bytes` of `kind`, from the end of the highest extent that has them.
    pub fn allocate(&mut self, bytes: u64, kind: MemoryKind) -> Option<Extent> {
        if bytes == 0 {
            return Some(Extent::default());
        }
        let pages = bytes.checked_next_multiple_of(PAGE)?;
        let from = self.free.iter_mut().rev().find(|extent| extent.len >= pages)?;
        from.len -= pages;
        let base = from.base + from.len;
        self.claim(Extent { base, len: pages }, kind);
        Some(Extent { base, len: bytes })
    }

    /// Notes what is at `extent` already.
    pub fn claim(&mut self, extent: Extent, kind: MemoryKind) {
        self.claims.extend(Claim::new(extent.base, extent.len, kind));
    }

    /// All claims so far.
    pub fn claims(&self) -> &[Claim] {
        &self.claims
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn region(base: u64, end: u64, kind: MemoryKind) -> MemoryRegion {
        MemoryRegion { extent: Extent { base, len: end - base }, kind, reserved: 0 }
    }

    const MIB: u64 = 1 << 20;

    fn map() -> Vec<MemoryRegion> {
        vec![
            region(0x1000, 0x9_f000, MemoryKind::USABLE),
            region(MIB, 2 * MIB, MemoryKind::USABLE),
            region(2 * MIB, 3 * MIB, MemoryKind::HANDOVER),
            region(3 * MIB, 4 * MIB, MemoryKind::USABLE),
            region(CEILING - MIB, CEILING + 64 * MIB, MemoryKind::RESERVED),
            region(CEILING + 64 * MIB, CEILING + 128 * MIB, MemoryKind::USABLE),
        ]
    }

    #[test]
    fn memory_is_taken_from_above_downwards_in_whole_pages_and_no_page_twice() {
        let mut placement = Placement::new(map().into_iter());
        let first = placement.allocate(1, MemoryKind::KERNEL).unwrap();
        let second = placement.allocate(0x1001, MemoryKind::HANDOVER).unwrap();
        assert_eq!(first, Extent { base: 4 * MIB - 0x1000, len: 1 });
        assert_eq!(second, Extent { base: 4 * MIB - 0x3000, len: 0x1001 });
        // What the upper extent cannot hold any more comes from the lower one.
        assert_eq!(placement.allocate(MIB, MemoryKind::FILES).unwrap().base, MIB);
        assert_eq!(placement.allocate(MIB, MemoryKind::FILES), None);
        assert_eq!(placement.claims().len(), 3);
    }

    #[test]
    fn nothing_is_placed_below_1_mib_or_above_4_gib() {
        let mut placement = Placement::new(map().into_iter());
        while let Some(page) = placement.allocate(PAGE, MemoryKind::HANDOVER) {
            assert!(page.base >= FLOOR && page.base + page.len <= CEILING);
        }
        let across = region(CEILING - MIB, CEILING + MIB, MemoryKind::USABLE);
        assert_eq!(free([across].into_iter()).next(), Some(Extent { base: CEILING - MIB, len: MIB }));
    }

    #[test]
    fn no_bytes_take_no_memory_and_impossible_amounts_are_refused() {
        let mut placement = Placement::new(map().into_iter());
        assert_eq!(placement.allocate(0, MemoryKind::FILES), Some(Extent::default()));
        assert_eq!(placement.allocate(u64::MAX, MemoryKind::FILES), None);
        assert!(placement.claims().is_empty());
    }

    #[test]
    fn the_heap_is_a_part_of_the_largest_extent_and_bounded() {
        let large = region(16 * MIB, 1024 * MIB, MemoryKind::USABLE);
        let heap_of = |regions: Vec<MemoryRegion>| heap(regions.into_iter());
        assert_eq!(heap_of(vec![large]), Some(Extent { base: 992 * MIB, len: 32 * MIB }));
        let small = region(16 * MIB, 64 * MIB, MemoryKind::USABLE);
        assert_eq!(heap_of(vec![small]), Some(Extent { base: 52 * MIB, len: 12 * MIB }));
        assert_eq!(heap_of(map()), None);
        assert_eq!(heap_of(vec![]), None);
    }
}
