//! What a disk tells of itself: IDENTIFY DEVICE data (ACS-3, 7.12.7).
use super::error::PortError;
use alloc::string::String;
use block::{Features, Geometry};

/// What is to be known of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DiskData {
    pub model: String,
    pub serial: String,
    pub firmware: String,
    pub geometry: Geometry,
    /// Queued commands that it holds; 0 without native command queuing.
    pub depth: u32,
    /// It has WRITE DMA FUA EXT.
    pub durable_write: bool,
}

/// The 256 words.
struct Words<'a>(&'a [u8; 512]);

impl Words<'_> {
    fn word(&self, index: usize) -> u16 {
        u16::from_le_bytes([self.0[index * 2], self.0[index * 2 + 1]])
    }

    fn bit(&self, index: usize, bit: u32) -> bool {
        self.word(index) >> bit & 1 != 0
    }

    /// Words that say by their bits 15:14 whether they mean something.
    fn valid(&self, index: usize) -> bool {
        self.word(index) >> 14 == 1
    }

    /// Text, whose bytes are swapped in each word; what does not print is left out.
    fn text(&self, words: core::ops::Range<usize>) -> String {
        let chars = words.flat_map(|index| self.word(index).to_be_bytes()).map(char::from);
        let text: String = chars.filter(|c| c.is_ascii_graphic() || *c == ' ').collect();
        text.trim().into()
    }
}

/// What word 2 says of a disk that waits for a command to spin up, and tells all or a part of the data before.
const WANTS_SPIN_UP: [u16; 2] = [0x37c8, 0x738c];

/// Whether the disk is to be told to spin up.
pub(super) fn wants_spin_up(data: &[u8; 512]) -> bool {
    WANTS_SPIN_UP.contains(&Words(data).word(2))
}

impl DiskData {
    /// Reads and checks it.
    ///
    /// # Errors
    /// What is wrong with it, or more than this driver knows.
    pub fn read(data: &[u8; 512]) -> Result<Self, PortError> {
        let words = Words(data);
        let unfit = |what| Err(PortError::Unfit(what));
        // 7.12.7.81: where the signature is there, all bytes add up to 0.
        if data[510] == 0xa5 && data.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)) != 0 {
            return unfit("its IDENTIFY data has a wrong checksum");
        }
        if words.bit(0, 15) {
            return unfit("it says that it is no ATA device");
        }
        if words.bit(128, 2) {
            return unfit("it is locked by a password");
        }
        if !words.bit(49, 8) || !words.valid(83) || !words.bit(83, 10) {
            return unfit("it has no 48-bit addresses or no DMA");
        }
        let sectors = (0..4).rev().fold(0, |sectors, i| sectors << 16 | u64::from(words.word(100 + i)));
        let sizes = if words.valid(106) { words.word(106) } else { 0 };
        let block_size = if sizes & 1 << 12 != 0 {
            (u32::from(words.word(118)) << 16 | u32::from(words.word(117))).saturating_mul(2)
        } else {
            512
        };
        if !block_size.is_power_of_two() || !(512..=4096).contains(&block_size) {
            return unfit("its blocks are not of 512 to 4096 bytes");
        }
        if sectors == 0 || sectors > 1 << 48 {
            return unfit("its size makes no sense");
        }
        let ratio = if sizes & 1 << 13 != 0 { sizes & 0xf } else { 0 };
        let queued = !matches!(words.word(76), 0 | 0xffff) && words.bit(76, 8);
        let features = Features {
            read_only: false,
            // Where it does not say that the cache is off, it may be on.
            volatile_cache: !(words.valid(83) && words.valid(87)) || words.bit(85, 5),
            discard: words.bit(169, 0),
            // TRIM is a hint, also where reads of what was trimmed return zeroes: a disk may leave parts.
            write_zeroes: false,
            solid_state: words.word(217) == 1,
        };
        Ok(Self {
            model: words.text(27..47),
            serial: words.text(10..20),
            firmware: words.text(23..27),
            geometry: Geometry {
                block_size,
                blocks: sectors,
                // At most 4096 << 15.
                physical_block_size: block_size << ratio,
                // 1 MiB: beyond, nothing is gained, and others wait.
                best_blocks: (1 << 20) / block_size,
                features,
            },
            depth: if queued { u32::from(words.word(75) & 0x1f) + 1 } else { 0 },
            durable_write: words.valid(84) && words.bit(84, 6),
        })
    }

    /// Whether this is the same disk, after a reset. The cache may have been turned on by it.
    pub fn is_same(&self, other: &Self) -> bool {
        let mut other = other.clone();
        other.geometry.features.volatile_cache = self.geometry.features.volatile_cache;
        *self == other
    }
}
