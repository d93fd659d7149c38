//! What a guest asks of a disk, and how it is answered (virtio 1.2, 5.2.6).
use crate::virtio::channel::{Blocks, MOST_DISCARDED, MOST_ZEROED};
use block::{BlockError, Geometry, Operation};

/// Bytes of a sector, in which the protocol counts whatever the disk's blocks.
pub(super) const SECTOR: u64 = 512;

/// Most sectors that one request discards.
pub(super) const DISCARD_SECTORS: u32 = (MOST_DISCARDED / SECTOR) as u32;
/// Most sectors that one request zeroes.
pub(super) const WRITE_ZEROES_SECTORS: u32 = (MOST_ZEROED / SECTOR) as u32;

/// Bytes of a request's header.
pub(super) const HEADER: usize = 16;
/// Bytes of the one range that a request discards or zeroes.
pub(super) const RANGE: usize = 16;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RequestStatus(pub u8);

impl RequestStatus {
    pub const OK: Self = Self(0);
    pub const IO_ERROR: Self = Self(1);
    pub const UNSUPPORTED: Self = Self(2);

    pub fn of(result: Result<(), BlockError>) -> Self {
        match result {
            Ok(()) => Self::OK,
            Err(BlockError::Unsupported) => Self::UNSUPPORTED,
            Err(_) => Self::IO_ERROR,
        }
    }
}

/// Type of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind(pub u32);

impl Kind {
    pub const IN: Self = Self(0);
    pub const OUT: Self = Self(1);
    pub const FLUSH: Self = Self(4);
    pub const GET_ID: Self = Self(8);
    pub const DISCARD: Self = Self(11);
    pub const WRITE_ZEROES: Self = Self(13);
}

/// A request's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub kind: Kind,
    pub sector: u64,
}

impl Header {
    pub fn parse(bytes: &[u8; HEADER]) -> Self {
        let [a, b, c, d, _, _, _, _, sector @ ..] = *bytes;
        Self { kind: Kind(u32::from_le_bytes([a, b, c, d])), sector: u64::from_le_bytes(sector) }
    }
}

/// The blocks that `bytes` from `sector` on are; an error where they are not whole ones. Whether the disk has them is
/// the disk's to say.
#[inline]
pub(super) fn blocks(geometry: &Geometry, sector: u64, bytes: u64) -> Result<Blocks, RequestStatus> {
    // Powers of two.
    let shift = geometry.block_size.trailing_zeros();
    let sectors_shift = shift.saturating_sub(SECTOR.trailing_zeros());
    let partial = bytes & ((1 << shift) - 1) | sector & ((1 << sectors_shift) - 1);
    if partial != 0 || bytes == 0 {
        return Err(RequestStatus::IO_ERROR);
    }
    Ok(Blocks { first: sector >> sectors_shift, count: bytes >> shift })
}

/// What a request to discard or to zero does.
pub(super) fn range(
    geometry: &Geometry,
    kind: Kind,
    range: &[u8; RANGE],
) -> Result<(Operation, Blocks), RequestStatus> {
    const UNMAP: u32 = 1;
    let [sector @ .., a, b, c, d, e, f, g, h] = *range;
    let sector = u64::from_le_bytes(sector);
    let (sectors, flags) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
    let (operation, most, known) = match kind {
        Kind::DISCARD => (Operation::Discard, DISCARD_SECTORS, 0),
        _ => {
            let deallocate = flags & UNMAP != 0 && geometry.features.discard;
            (Operation::WriteZeroes { deallocate }, WRITE_ZEROES_SECTORS, UNMAP)
        }
    };
    // 5.2.6.2: a flag that the device does not know makes the request one that it does not support.
    if flags & !known != 0 {
        return Err(RequestStatus::UNSUPPORTED);
    }
    if sectors > most {
        return Err(RequestStatus::IO_ERROR);
    }
    Ok((operation, blocks(geometry, sector, u64::from(sectors) * SECTOR)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(block_size: u32) -> Geometry {
        Geometry {
            block_size,
            blocks: 1000,
            physical_block_size: 4096,
            best_blocks: 8,
            features: block::Features::default(),
        }
    }

    #[test]
    fn a_header_is_little_endian() {
        let mut bytes = [0; HEADER];
        (bytes[0], bytes[3], bytes[8], bytes[15]) = (1, 0x80, 2, 0x70);
        assert_eq!(Header::parse(&bytes), Header { kind: Kind(0x8000_0001), sector: 0x7000_0000_0000_0002 });
    }

    #[test]
    fn sectors_become_blocks_only_where_they_are_whole_ones() {
        assert_eq!(blocks(&disk(512), 7, 1024), Ok(Blocks { first: 7, count: 2 }));
        assert_eq!(blocks(&disk(4096), 16, 8192), Ok(Blocks { first: 2, count: 2 }));
        for (sector, bytes) in [(16, 512), (15, 4096), (16, 4097), (16, 0)] {
            assert_eq!(blocks(&disk(4096), sector, bytes), Err(RequestStatus::IO_ERROR));
        }
        assert_eq!(blocks(&disk(512), u64::MAX, 512).map(|b| b.first), Ok(u64::MAX));
    }

    #[test]
    fn a_range_with_flags_or_length_that_the_device_does_not_know_is_refused() {
        let bytes = |sector: u64, sectors: u32, flags: u32| {
            let mut all = [0; RANGE];
            all[..8].copy_from_slice(&sector.to_le_bytes());
            all[8..12].copy_from_slice(&sectors.to_le_bytes());
            all[12..].copy_from_slice(&flags.to_le_bytes());
            all
        };
        let with = |kind, sectors, flags| range(&disk(512), kind, &bytes(8, sectors, flags));
        let zeroes = Operation::WriteZeroes { deallocate: false };
        assert_eq!(with(Kind::WRITE_ZEROES, 2, 1), Ok((zeroes, Blocks { first: 8, count: 2 })));
        assert_eq!(with(Kind::WRITE_ZEROES, 2, 2), Err(RequestStatus::UNSUPPORTED));
        assert_eq!(with(Kind::DISCARD, 2, 1), Err(RequestStatus::UNSUPPORTED));
        assert_eq!(with(Kind::DISCARD, DISCARD_SECTORS + 1, 0), Err(RequestStatus::IO_ERROR));
        assert_eq!(with(Kind::DISCARD, 0, 0), Err(RequestStatus::IO_ERROR));
        assert!(with(Kind::DISCARD, DISCARD_SECTORS, 0).is_ok());
    }
}
