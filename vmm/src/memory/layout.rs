//! Where a guest's RAM is in its physical address space.
use mm::addr::Gpa;

/// Where a guest's RAM lies in its physical address space: from 0 up to the 32-bit hole, and the rest
/// from 4 GiB on. The legacy video window is not RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// RAM from 0 to here.
    pub low_end: u64,
    /// RAM from 4 GiB to here; 4 GiB if there is none.
    pub high_end: u64,
}

impl Layout {
    /// Start of the hole for devices below 4 GiB.
    pub const HOLE: u64 = 0xc000_0000;
    /// End of the hole.
    pub const HIGH: u64 = 1 << 32;
    /// The legacy video window: 0xA0000 to 0xC0000.
    pub const VIDEO: core::ops::Range<u64> = 0xa_0000..0xc_0000;

    /// Whether `gpa` is in the hole, where no layout has RAM.
    #[inline(always)]
    pub const fn is_hole(gpa: Gpa) -> bool {
        gpa.get().wrapping_sub(Self::HOLE) < Self::HIGH - Self::HOLE
    }

    /// For `bytes` of RAM, a multiple of 2 MiB.
    pub const fn new(bytes: u64) -> Self {
        if bytes <= Self::HOLE {
            Self { low_end: bytes, high_end: Self::HIGH }
        } else {
            Self { low_end: Self::HOLE, high_end: Self::HIGH + (bytes - Self::HOLE) }
        }
    }
}
