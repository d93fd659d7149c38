//! Where a command's data is, as a physical region descriptor table (AHCI 1.3.1, 4.2.3.3).
//!
//! A region has an even address and an even number of bytes; what has not, or lies where the HBA does not reach,
//! goes through other memory.
use super::tables::{MOST_REGIONS, REGION_BYTES, Table};
use block::Segment;
use mm::Hpa;

/// A place within a request's segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    /// Which segment.
    pub index: usize,
    /// How far into it.
    pub offset: u32,
}

impl Cursor {
    /// The pieces from here on, `limit` bytes at most.
    pub fn pieces(self, segments: &[Segment], limit: u64) -> impl Iterator<Item = (Hpa, u64)> {
        let (mut left, mut offset) = (limit, u64::from(self.offset));
        segments.get(self.index..).unwrap_or_default().iter().map_while(move |segment| {
            let bytes = u64::from(segment.bytes).saturating_sub(offset).min(left);
            let piece = (segment.address + offset, bytes);
            offset = 0;
            left -= bytes;
            (bytes != 0).then_some(piece)
        })
    }

    /// The place `bytes` further on.
    #[must_use]
    pub fn advance(mut self, segments: &[Segment], mut bytes: u64) -> Self {
        while let Some(segment) = segments.get(self.index) {
            let here = u64::from(segment.bytes).saturating_sub(self.offset.into());
            if bytes < here {
                // Less than a segment's 32 bits.
                self.offset += bytes as u32;
                break;
            }
            bytes -= here;
            self = Self { index: self.index + 1, offset: 0 };
        }
        self
    }
}

/// What one command can move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Described {
    pub regions: usize,
    /// Whole blocks, not 0.
    pub bytes: u64,
}

/// Describes as much as one command can of `limit` bytes (whole blocks of `block` bytes) from `at` on, all below
/// address `reach`. `None` where that is not even a block.
#[inline]
pub(super) fn describe(
    segments: &[Segment],
    at: Cursor,
    limit: u64,
    block: u64,
    reach: u64,
    table: &Table,
) -> Option<Described> {
    let described = write(segments, at, limit, reach, table);
    let whole = described.bytes - described.bytes % block;
    if whole == described.bytes {
        return (whole != 0).then_some(described);
    }
    // It ends within a block: again, up to the block's start.
    (whole != 0).then(|| write(segments, at, whole, reach, table))
}

/// Writes regions as far as they go.
#[inline]
fn write(segments: &[Segment], at: Cursor, limit: u64, reach: u64, table: &Table) -> Described {
    let mut bytes = 0;
    // The region that is not written yet: it may grow.
    let (mut address, mut length) = (0, 0);
    let mut regions = 0;
    'pieces: for (start, piece) in at.pieces(segments, limit) {
        let (mut start, mut left) = (start.get(), piece);
        if (start | left) & 1 != 0 || start.checked_add(left).is_none_or(|end| end > reach) {
            break;
        }
        if length != 0 && address + length == start && length + left <= REGION_BYTES {
            length += left;
            bytes += left;
            continue;
        }
        while left != 0 {
            if length != 0 {
                table.write_region(regions, Hpa::new_truncate(address), length);
                regions += 1;
                length = 0;
            }
            if regions == MOST_REGIONS {
                break 'pieces;
            }
            (address, length) = (start, left.min(REGION_BYTES));
            bytes += length;
            start += length;
            left -= length;
        }
    }
    if length != 0 {
        table.write_region(regions, Hpa::new_truncate(address), length);
        regions += 1;
    }
    Described { regions, bytes }
}
