//! Where things lie in the guest's memory.
use super::Piece;
use super::acpi::Tables;
use super::error::Problem;
use crate::memory::Layout;
use alloc::vec::Vec;
use mm::addr::{Gpa, PAGE};

/// Start of the memory above the legacy megabyte, where kernels may lie.
pub(super) const MEGABYTE: u64 = 1 << 20;

/// A range of guest-physical addresses. The end is not part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub from: u64,
    pub to: u64,
}

impl Extent {
    pub const EMPTY: Self = Self { from: 0, to: 0 };

    /// `None` where it leaves the 52 bits of physical addresses.
    pub fn sized(from: u64, bytes: u64) -> Option<Self> {
        let to = from.checked_add(bytes)?;
        (to <= mm::addr::PHYSICAL_MASK).then_some(Self { from, to })
    }

    pub fn start(&self) -> Gpa {
        Gpa::new_truncate(self.from)
    }

    pub fn bytes(&self) -> u64 {
        self.to - self.from
    }

    pub fn contains(&self, other: &Self) -> bool {
        self.from <= other.from && other.to <= self.to
    }

    pub fn overlaps(&self, other: &Self) -> bool {
        self.from < other.to && other.from < self.to
    }
}

/// What the loader of a format found out: where the kernel goes, and how it wants to start.
pub(super) struct Plan<'a> {
    pub start: Start<'a>,
    /// What is to be copied.
    pub pieces: Vec<Piece<'a>>,
    /// Memory that belongs to the kernel until it has set itself up, ascending.
    pub kernel: Vec<Extent>,
    /// Bytes of command line that it takes, without the terminating zero.
    pub cmdline_max: u64,
    /// Highest address that a byte of the initrd may have below 4 GiB.
    pub initrd_max: u64,
    /// The initrd may also lie above 4 GiB.
    pub initrd_above_4_gib: bool,
}

/// How the kernel starts.
pub(super) enum Start<'a> {
    /// With boot_params in RSI.
    Linux {
        /// The setup header from offset 0x1f1 of the file on, empty where the file has none.
        header: &'a [u8],
        entry: u64,
        /// In long mode, or in 32-bit protected mode.
        long: bool,
        /// The file was an ELF file.
        elf: bool,
    },
    /// With hvm_start_info in EBX.
    Pvh { entry: u32 },
}

impl Start<'_> {
    /// Whether the kernel is entered in long mode.
    pub fn is_long(&self) -> bool {
        matches!(self, Self::Linux { long: true, .. })
    }
}

/// The guest's RAM above the legacy megabyte, less the firmware tables.
pub(super) struct Room {
    pub low: Extent,
    pub high: Extent,
}

impl Room {
    pub fn new(layout: Layout, tables: &Tables) -> Self {
        Self {
            low: Extent { from: MEGABYTE, to: tables.ram_end().max(MEGABYTE) },
            high: Extent { from: Layout::HIGH, to: layout.high_end },
        }
    }

    /// Checks that a kernel may lie at `extent`.
    pub fn check(&self, extent: &Extent) -> Result<(), Problem> {
        if self.low.contains(extent) || self.high.contains(extent) {
            return Ok(());
        }
        Err(Problem::OutsideRam {
            start: extent.from,
            bytes: extent.bytes(),
            from: self.low.from,
            to: self.low.to,
        })
    }

    /// The highest free place for an initrd, on a page boundary: clear of the kernel, which grows
    /// upwards while it decompresses.
    pub fn for_initrd(&self, bytes: u64, kernel: &[Extent], max: u64, above_4_gib: bool) -> Option<Extent> {
        let below = highest(
            Extent { from: self.low.from, to: self.low.to.min(max.saturating_add(1)) },
            bytes,
            kernel,
        );
        below.or_else(|| if above_4_gib { highest(self.high, bytes, kernel) } else { None })
    }
}

/// The highest page-aligned place in `room` that overlaps nothing of `taken`.
fn highest(room: Extent, bytes: u64, taken: &[Extent]) -> Option<Extent> {
    let mut to = room.to;
    // Each step moves below one extent more, so that there are at most as many as there are extents.
    for _ in 0..=taken.len() {
        let from = to.checked_sub(bytes)? & !(PAGE - 1);
        if from < room.from {
            return None;
        }
        let candidate = Extent { from, to: from + bytes };
        match taken.iter().filter(|t| t.overlaps(&candidate)).map(|t| t.from).min() {
            None => return Some(candidate),
            Some(lower) => to = lower,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_initrd_lies_as_high_as_it_can_and_clear_of_the_kernel() {
        let room = Extent { from: MEGABYTE, to: 64 << 20 };
        let kernel = [Extent { from: 16 << 20, to: 63 << 20 }];
        assert_eq!(highest(room, 5000, &kernel).unwrap().from, (64 << 20) - 8192);
        let big = highest(room, 2 << 20, &kernel).unwrap();
        assert_eq!((big.from, big.to), (14 << 20, 16 << 20));
        assert_eq!(highest(room, 15 << 20, &kernel).unwrap().from, MEGABYTE);
        assert_eq!(highest(room, (15 << 20) + 1, &kernel), None);
        assert_eq!(highest(room, u64::MAX, &kernel), None);
    }

    #[test]
    fn an_initrd_lies_above_4_gib_only_if_it_must_and_the_kernel_can() {
        let gib = 1 << 30;
        let room =
            Room { low: Extent { from: MEGABYTE, to: 3 * gib }, high: Extent { from: 4 * gib, to: 9 * gib } };
        let max = 2 * gib - 1;
        assert_eq!(room.for_initrd(4096, &[], max, true).unwrap().to, 2 * gib);
        assert_eq!(room.for_initrd(2 * gib, &[], max, true).unwrap().to, 9 * gib);
        assert_eq!(room.for_initrd(2 * gib, &[], max, false), None);
        assert_eq!(room.for_initrd(2 * gib, &[], u64::MAX, false).unwrap().to, 3 * gib);
        assert_eq!(room.for_initrd(6 * gib, &[], max, true), None);
        assert_eq!(room.for_initrd(1, &[], 0, false), None);
    }

    #[test]
    fn an_extent_that_wraps_is_refused() {
        assert_eq!(Extent::sized(u64::MAX, 1), None);
        assert_eq!(Extent::sized(1 << 52, 1), None);
        assert!(Extent::sized(0, 1).is_some());
    }
}
