//! The memory map that the kernel gets, made from the firmware's.
//!
//! The firmware's descriptors come in any order, in hundreds of pieces, and on some machines they overlap.
//! The loader's own claims (the kernel, the files) lie inside of them. The map that results is sorted,
//! has no overlaps, and as few regions as say it all; where two descriptors disagree about an address,
//! the more careful one wins.
//!
//! It is made after boot services have ended, when nothing can be allocated any more: [`regions`] is a
//! sweep that needs no memory of its own.
use handover::{Extent, MemoryKind, MemoryRegion};
use mm::addr::{PAGE, PHYSICAL_MASK};

/// Beyond this no memory is used: half of the upper half of the address space, so that the direct map
/// leaves room for the rest of the kernel.
pub const HIGHEST: u64 = 64 << 40;
/// The direct map covers at least this much, for device registers below 4 GiB.
pub const LEAST_MAPPED: u64 = 4 << 30;
/// Free memory without which the kernel could not do anything useful.
pub const LEAST_USABLE: u64 = 64 << 20;

/// The firmware's name of a memory type (UEFI 2.10, 7.2, `EFI_MEMORY_TYPE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirmwareType(pub u32);

/// `EFI_MEMORY_WB`: the region can be cached, as RAM can (UEFI 2.10, 7.2.3).
const MEMORY_WB: u64 = 8;
/// `EFI_MEMORY_SP`: set aside for a purpose that a driver knows.
const MEMORY_SP: u64 = 0x4_0000;

impl FirmwareType {
    /// What the memory is to the kernel, once boot services have ended.
    ///
    /// What the loader itself occupies and allocated is [`MemoryKind::HANDOVER`].
    pub fn kind(self, attributes: u64) -> MemoryKind {
        let kind = match self.0 {
            1 | 2 => MemoryKind::HANDOVER,
            3 | 4 | 7 => MemoryKind::USABLE,
            8 => MemoryKind::UNUSABLE,
            9 => MemoryKind::ACPI_RECLAIMABLE,
            10 => MemoryKind::ACPI_NVS,
            11 | 12 => MemoryKind::MMIO,
            // Runtime services, PAL code, persistent and unaccepted memory, and what is not known yet.
            _ => MemoryKind::RESERVED,
        };
        let plain_ram = attributes & MEMORY_WB != 0 && attributes & MEMORY_SP == 0;
        if kind == MemoryKind::USABLE && !plain_ram { MemoryKind::RESERVED } else { kind }
    }
}

/// A statement about a range of physical addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    // Whole pages, not empty.
    start: u64,
    end: u64,
    kind: MemoryKind,
}

impl Claim {
    /// A claim on the `bytes` at `base`, rounded to whole pages: inwards for free memory, outwards for
    /// all else. `None` if nothing is left of it.
    pub fn new(base: u64, bytes: u64, kind: MemoryKind) -> Option<Self> {
        let end = base.checked_add(bytes)?;
        let (start, end) = if kind == MemoryKind::USABLE {
            // No processor has so many addresses: who says so is wrong about all of them.
            if end > PHYSICAL_MASK + 1 {
                return None;
            }
            (base.checked_next_multiple_of(PAGE)?, end & !(PAGE - 1))
        } else {
            (base & !(PAGE - 1), end.checked_next_multiple_of(PAGE)?)
        };
        if start < end { Some(Self { start, end, kind }) } else { None }
    }
}

/// Which of two claims on one address holds: the higher.
fn weight(kind: MemoryKind) -> u32 {
    match kind {
        MemoryKind::USABLE => 0,
        MemoryKind::HANDOVER => 1,
        MemoryKind::FILES => 2,
        MemoryKind::KERNEL => 3,
        MemoryKind::ACPI_RECLAIMABLE => 4,
        MemoryKind::ACPI_NVS => 5,
        MemoryKind::RESERVED => 6,
        MemoryKind::MMIO => 7,
        _ => 8,
    }
}

/// The regions that `claims` make: sorted, without overlaps, equal neighbours merged, and RAM beyond
/// [`HIGHEST`] left out.
pub fn regions<'a>(
    claims: impl Iterator<Item = Claim> + Clone + 'a,
) -> impl Iterator<Item = MemoryRegion> + 'a {
    let mut pieces = Pieces { claims, at: 0 }.peekable();
    core::iter::from_fn(move || {
        let mut region = pieces.next()?;
        while let Some(next) = pieces.next_if(|n| n.kind == region.kind && n.extent.base == end(&region)) {
            region.extent.len += next.extent.len;
        }
        Some(region)
    })
}

fn end(region: &MemoryRegion) -> u64 {
    region.extent.base + region.extent.len
}

/// The map cut at every edge of every claim.
struct Pieces<I> {
    claims: I,
    at: u64,
}

impl<I: Iterator<Item = Claim> + Clone> Iterator for Pieces<I> {
    type Item = MemoryRegion;

    fn next(&mut self) -> Option<MemoryRegion> {
        loop {
            let start = self.at;
            let edges = self.claims.clone().flat_map(|c| [c.start, c.end]);
            let end = edges.filter(|&edge| edge > start).min()?;
            self.at = end;
            let here = self.claims.clone().filter(|c| c.start <= start && start < c.end);
            let Some(kind) = here.map(|c| c.kind).max_by_key(|&k| weight(k)) else { continue };
            if kind.is_ram() && end > HIGHEST {
                continue;
            }
            return Some(MemoryRegion {
                extent: Extent { base: start, len: end - start },
                kind,
                reserved: 0,
            });
        }
    }
}

/// Bytes that the direct map must cover for these claims: all RAM, and [`LEAST_MAPPED`].
pub fn mapped_bytes(claims: impl Iterator<Item = Claim> + Clone) -> u64 {
    regions(claims).filter(|r| r.kind.is_ram()).map(|r| end(&r)).max().unwrap_or(0).max(LEAST_MAPPED)
}

/// Bytes of free memory in these claims.
pub fn usable_bytes(claims: impl Iterator<Item = Claim> + Clone) -> u64 {
    regions(claims).filter(|r| r.kind == MemoryKind::USABLE).map(|r| r.extent.len).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    fn claim(base: u64, end: u64, kind: MemoryKind) -> Claim {
        Claim::new(base, end - base, kind).unwrap()
    }

    fn map(claims: &[Claim]) -> Vec<(u64, u64, MemoryKind)> {
        regions(claims.iter().copied()).map(|r| (r.extent.base, end(&r), r.kind)).collect()
    }

    #[test]
    fn claims_in_any_order_become_a_sorted_map_with_neighbours_merged() {
        let claims = [
            claim(0x5000, 0x9000, MemoryKind::USABLE),
            claim(0x10_0000, 0x20_0000, MemoryKind::RESERVED),
            claim(0x1000, 0x5000, MemoryKind::USABLE),
        ];
        assert_eq!(
            map(&claims),
            vec![(0x1000, 0x9000, MemoryKind::USABLE), (0x10_0000, 0x20_0000, MemoryKind::RESERVED)]
        );
    }

    #[test]
    fn the_loaders_claims_cut_the_firmwares_region() {
        let claims = [
            claim(0, 0x10_0000, MemoryKind::HANDOVER),
            claim(0x2000, 0x4000, MemoryKind::KERNEL),
            claim(0x4000, 0x6001, MemoryKind::FILES),
        ];
        assert_eq!(
            map(&claims),
            vec![
                (0, 0x2000, MemoryKind::HANDOVER),
                (0x2000, 0x4000, MemoryKind::KERNEL),
                (0x4000, 0x7000, MemoryKind::FILES),
                (0x7000, 0x10_0000, MemoryKind::HANDOVER),
            ]
        );
    }

    #[test]
    fn where_descriptors_disagree_the_careful_one_wins() {
        let claims = [
            claim(0x1000, 0x9000, MemoryKind::USABLE),
            claim(0x3000, 0x5000, MemoryKind::RESERVED),
            claim(0x4000, 0xa000, MemoryKind::ACPI_NVS),
        ];
        assert_eq!(
            map(&claims),
            vec![
                (0x1000, 0x3000, MemoryKind::USABLE),
                (0x3000, 0x5000, MemoryKind::RESERVED),
                (0x5000, 0xa000, MemoryKind::ACPI_NVS),
            ]
        );
    }

    #[test]
    fn free_memory_shrinks_to_whole_pages_and_everything_else_grows() {
        assert_eq!(Claim::new(0x1001, 0xfff, MemoryKind::USABLE), None);
        assert_eq!(
            map(&[Claim::new(0x1fff, 2, MemoryKind::RESERVED).unwrap()]),
            [(0x1000, 0x3000, MemoryKind::RESERVED)]
        );
    }

    #[test]
    fn impossible_descriptors_are_dropped() {
        assert_eq!(Claim::new(0x1000, 0, MemoryKind::USABLE), None);
        assert_eq!(Claim::new(0x1000, u64::MAX, MemoryKind::USABLE), None);
        assert_eq!(Claim::new(u64::MAX - 1, 1, MemoryKind::RESERVED), None);
        assert_eq!(Claim::new(0, 1 << 53, MemoryKind::USABLE), None);
        assert!(Claim::new(0, 1 << 53, MemoryKind::RESERVED).is_some());
        assert_eq!(map(&[]), []);
    }

    #[test]
    fn ram_beyond_the_direct_map_is_left_out() {
        let far = claim(HIGHEST, HIGHEST + 0x1000, MemoryKind::USABLE);
        let device = claim(HIGHEST, HIGHEST + 0x1000, MemoryKind::MMIO);
        assert_eq!(map(&[far]), []);
        assert_eq!(map(&[device]).len(), 1);
        assert_eq!(mapped_bytes([far, device].into_iter()), LEAST_MAPPED);
    }

    #[test]
    fn the_direct_map_covers_all_ram_and_the_low_4_gib() {
        let small = claim(0, 512 << 20, MemoryKind::USABLE);
        let high = claim(4 << 30, 9 << 30, MemoryKind::USABLE);
        let device = claim(0xfd_0000_0000, 0xff_0000_0000, MemoryKind::RESERVED);
        assert_eq!(mapped_bytes([small].into_iter()), 4 << 30);
        assert_eq!(mapped_bytes([small, device, high].into_iter()), 9 << 30);
        assert_eq!(usable_bytes([small, device, high].into_iter()), (512 << 20) + (5 << 30));
    }

    #[test]
    fn boot_services_memory_is_free_and_runtime_services_memory_is_not() {
        for (number, kind) in [
            (0, MemoryKind::RESERVED),
            (1, MemoryKind::HANDOVER),
            (3, MemoryKind::USABLE),
            (4, MemoryKind::USABLE),
            (5, MemoryKind::RESERVED),
            (6, MemoryKind::RESERVED),
            (7, MemoryKind::USABLE),
            (9, MemoryKind::ACPI_RECLAIMABLE),
            (11, MemoryKind::MMIO),
            (15, MemoryKind::RESERVED),
            (0x8000_0000, MemoryKind::RESERVED),
        ] {
            assert_eq!(FirmwareType(number).kind(MEMORY_WB), kind, "type {number}");
        }
        assert_eq!(FirmwareType(7).kind(0), MemoryKind::RESERVED);
        assert_eq!(FirmwareType(7).kind(MEMORY_WB | MEMORY_SP), MemoryKind::RESERVED);
    }

    #[test]
    fn random_claims_give_a_map_that_says_of_each_page_what_the_heaviest_claim_says() {
        let mut seed = 3u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % below
        };
        for _ in 0..300 {
            let claims: Vec<Claim> = (0..12)
                .filter_map(|_| {
                    Claim::new(random(40) * PAGE, random(20) * PAGE, MemoryKind(1 + random(9) as u32))
                })
                .collect();
            let regions: Vec<_> = regions(claims.iter().copied()).collect();
            for pair in regions.windows(2) {
                assert!(end(&pair[0]) <= pair[1].extent.base);
                assert!(end(&pair[0]) < pair[1].extent.base || pair[0].kind != pair[1].kind);
            }
            for page in (0..70).map(|n| n * PAGE) {
                let said = regions.iter().find(|r| r.extent.base <= page && page < end(r)).map(|r| r.kind);
                let meant = claims.iter().filter(|c| c.start <= page && page < c.end).map(|c| c.kind);
                assert_eq!(said.map(weight), meant.map(weight).max());
            }
        }
    }
}
