//! The loader's memory map, checked and digested.
use core::fmt;
use handover::{Extent, MemoryKind, MemoryRegion};
use mm::addr::{PAGE, PHYSICAL_MASK};

/// A memory map whose regions are sorted, page-aligned and apart.
#[derive(Clone, Copy)]
pub struct MemoryMap<'a> {
    regions: &'a [MemoryRegion],
}

/// Why a memory map is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadMap {
    /// There is no usable memory in it.
    Empty,
    /// A region is not made of whole pages.
    Unaligned(Extent),
    /// A region ends beyond the 52 bits of a physical address.
    TooHigh(Extent),
    /// A region starts before the one in front of it ends.
    Overlap(Extent),
}

impl fmt::Display for BadMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the loader's memory map ")?;
        match self {
            Self::Empty => write!(f, "has no usable memory"),
            Self::Unaligned(e) => write!(f, "has a region of partial pages, {:#x} + {:#x}", e.base, e.len),
            Self::TooHigh(e) => write!(f, "has a region beyond 52 bits, {:#x} + {:#x}", e.base, e.len),
            Self::Overlap(e) => write!(f, "has an overlap at {:#x}", e.base),
        }
    }
}

impl<'a> MemoryMap<'a> {
    /// Accepts `regions` if they are what [`MemoryRegion`] promises.
    pub fn new(regions: &'a [MemoryRegion]) -> Result<Self, BadMap> {
        let mut end = 0;
        let mut usable = false;
        for r in regions {
            let e = r.extent;
            if !e.base.is_multiple_of(PAGE) || !e.len.is_multiple_of(PAGE) {
                return Err(BadMap::Unaligned(e));
            }
            let after =
                e.base.checked_add(e.len).filter(|a| *a <= PHYSICAL_MASK + 1).ok_or(BadMap::TooHigh(e))?;
            if e.base < end {
                return Err(BadMap::Overlap(e));
            }
            end = after;
            usable |= r.kind == MemoryKind::USABLE && e.len > 0;
        }
        if usable { Ok(Self { regions }) } else { Err(BadMap::Empty) }
    }

    /// Runs of memory of which every page satisfies `wanted`, neighbours joined.
    pub fn runs(&self, wanted: impl Fn(MemoryKind) -> bool) -> impl Iterator<Item = Extent> {
        let mut regions = self.regions.iter().filter(move |r| r.extent.len > 0 && wanted(r.kind)).peekable();
        core::iter::from_fn(move || {
            let mut run = regions.next()?.extent;
            while let Some(next) = regions.next_if(|n| n.extent.base == run.base + run.len) {
                run.len += next.extent.len;
            }
            Some(run)
        })
    }

    /// Bytes of working RAM.
    pub fn ram_bytes(&self) -> u64 {
        self.runs(MemoryKind::is_ram).map(|r| r.len).sum()
    }

    /// Address after the last byte of RAM.
    pub fn ram_end(&self) -> u64 {
        self.runs(MemoryKind::is_ram).map(|r| r.base + r.len).last().unwrap_or(0)
    }

    /// Whether all of `extent` lies in regions of kind `wanted`.
    pub fn covers(&self, extent: Extent, wanted: impl Fn(MemoryKind) -> bool) -> bool {
        let Some(end) = extent.base.checked_add(extent.len) else { return false };
        self.runs(wanted).any(|r| r.base <= extent.base && end <= r.base + r.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn region(base: u64, len: u64, kind: MemoryKind) -> MemoryRegion {
        MemoryRegion { extent: Extent { base, len }, kind, reserved: 0 }
    }

    const MAP: [MemoryRegion; 5] = [
        MemoryRegion { extent: Extent { base: 0, len: 0xa0000 }, kind: MemoryKind::USABLE, reserved: 0 },
        MemoryRegion {
            extent: Extent { base: 0xa0000, len: 0x60000 },
            kind: MemoryKind::RESERVED,
            reserved: 0,
        },
        MemoryRegion {
            extent: Extent { base: 0x10_0000, len: 0x10_0000 },
            kind: MemoryKind::USABLE,
            reserved: 0,
        },
        MemoryRegion {
            extent: Extent { base: 0x20_0000, len: 0x1000 },
            kind: MemoryKind::KERNEL,
            reserved: 0,
        },
        MemoryRegion {
            extent: Extent { base: 0x20_1000, len: 0x1000 },
            kind: MemoryKind::USABLE,
            reserved: 0,
        },
    ];

    #[test]
    fn neighbours_of_wanted_kinds_join_and_others_part() {
        let map = MemoryMap::new(&MAP).ok().unwrap();
        let usable: Vec<_> = map.runs(|k| k == MemoryKind::USABLE).map(|e| (e.base, e.len)).collect();
        assert_eq!(usable, [(0, 0xa0000), (0x10_0000, 0x10_0000), (0x20_1000, 0x1000)]);
        let ram: Vec<_> = map.runs(MemoryKind::is_ram).map(|e| (e.base, e.len)).collect();
        assert_eq!(ram, [(0, 0xa0000), (0x10_0000, 0x10_2000)]);
        assert_eq!(map.ram_bytes(), 0xa0000 + 0x10_2000);
        assert_eq!(map.ram_end(), 0x20_2000);
    }

    #[test]
    fn containment_needs_every_byte() {
        let map = MemoryMap::new(&MAP).ok().unwrap();
        assert!(map.covers(Extent { base: 0x1f_f000, len: 0x2000 }, MemoryKind::is_ram));
        assert!(!map.covers(Extent { base: 0x9_f000, len: 0x2000 }, MemoryKind::is_ram));
        assert!(!map.covers(Extent { base: 0x1000, len: u64::MAX }, MemoryKind::is_ram));
    }

    #[test]
    fn a_map_that_breaks_its_promise_is_refused() {
        let bad = |regions: &[MemoryRegion]| MemoryMap::new(regions).err();
        assert_eq!(bad(&[]), Some(BadMap::Empty));
        assert_eq!(bad(&[region(0, 0x1000, MemoryKind::RESERVED)]), Some(BadMap::Empty));
        let odd = region(0x10, 0x1000, MemoryKind::USABLE);
        assert_eq!(bad(&[odd]), Some(BadMap::Unaligned(odd.extent)));
        let high = region(1 << 52, 0x1000, MemoryKind::USABLE);
        assert_eq!(bad(&[high]), Some(BadMap::TooHigh(high.extent)));
        let wraps = region(!0xfff, 0x2000, MemoryKind::USABLE);
        assert_eq!(bad(&[wraps]), Some(BadMap::TooHigh(wraps.extent)));
        let twice = region(0x8000, 0x1000, MemoryKind::USABLE);
        assert_eq!(bad(&[MAP[0], twice]), Some(BadMap::Overlap(twice.extent)));
    }
}
