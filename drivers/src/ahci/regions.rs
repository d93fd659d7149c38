//! Where a command's data is, as a physical region descriptor table (AHCI 1.3.1, 4.2.3.3).
//!
//! A region has an even address and an even number of bytes; what has not, or lies where the HBA does not reach,
//! goes through other memory.
use super::tables::{MOST_REGIONS, REGION_BYTES, Table};
use crate::request::Cursor;
use block::Segment;
use mm::Hpa;

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
