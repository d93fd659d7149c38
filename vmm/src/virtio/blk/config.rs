//! What the guest is told of the disk: features and configuration (virtio 1.2, 5.2.3 and 5.2.4).
use super::request::{DISCARD_SECTORS, SECTOR, WRITE_ZEROES_SECTORS};
use super::{SEG_MAX, SIZE_MAX};
use block::Geometry;

/// Feature bits (5.2.3).
pub(super) mod feature {
    pub const SIZE_MAX: u64 = 1 << 1;
    pub const SEG_MAX: u64 = 1 << 2;
    pub const RO: u64 = 1 << 5;
    pub const BLK_SIZE: u64 = 1 << 6;
    pub const FLUSH: u64 = 1 << 9;
    pub const TOPOLOGY: u64 = 1 << 10;
    pub const CONFIG_WCE: u64 = 1 << 11;
    pub const MQ: u64 = 1 << 12;
    pub const DISCARD: u64 = 1 << 13;
    pub const WRITE_ZEROES: u64 = 1 << 14;
}

/// Offset of `writeback`, the one register that the guest may write.
pub(super) const WRITEBACK: u32 = 32;

/// The configuration, as bytes, and the features that go with it.
pub(super) struct Layout {
    features: u64,
    bytes: [u8; 60],
}

impl Layout {
    pub fn new(geometry: &Geometry, queues: u16) -> Self {
        let of = geometry.features;
        let mut features = feature::SIZE_MAX | feature::SEG_MAX | feature::BLK_SIZE | feature::TOPOLOGY;
        let mut offer = |bits, condition| features |= if condition { bits } else { 0 };
        offer(feature::RO, of.read_only);
        offer(feature::FLUSH | feature::CONFIG_WCE, of.volatile_cache);
        offer(feature::MQ, queues > 1);
        offer(feature::DISCARD, of.discard && !of.read_only);
        offer(feature::WRITE_ZEROES, of.write_zeroes && !of.read_only);

        let block = geometry.block_size.max(SECTOR as u32);
        let per_physical = (geometry.physical_block_size / block).max(1);
        let mut bytes = [0; 60];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &(geometry.bytes() / SECTOR).to_le_bytes());
        put(8, &SIZE_MAX.to_le_bytes());
        put(12, &SEG_MAX.to_le_bytes());
        put(20, &block.to_le_bytes());
        // Physical block exponent, offset of the first, least and best size of an access in blocks.
        put(24, &[per_physical.ilog2() as u8, 0]);
        put(26, &(per_physical as u16).to_le_bytes());
        put(34, &queues.to_le_bytes());
        if of.discard {
            put(36, &DISCARD_SECTORS.to_le_bytes());
            put(40, &1u32.to_le_bytes());
            put(44, &(block * per_physical / SECTOR as u32).to_le_bytes());
        }
        if of.write_zeroes {
            put(48, &WRITE_ZEROES_SECTORS.to_le_bytes());
            put(52, &1u32.to_le_bytes());
            put(56, &[u8::from(of.discard)]);
        }
        Self { features, bytes }
    }

    pub fn features(&self) -> u64 {
        self.features
    }

    pub fn byte(&self, offset: u32, writeback: bool) -> u8 {
        match offset {
            WRITEBACK => writeback.into(),
            _ => self.bytes.get(offset as usize).copied().unwrap_or(0),
        }
    }
}
