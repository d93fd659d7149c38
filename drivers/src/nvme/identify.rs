//! What the controller says of itself and its namespaces (NVMe 2.0, 5.17.2; NVM Command Set 1.0, 4.1.5). All of
//! it is a claim: every number is checked here, once, and what comes out can be computed with.
use super::registers::{PAGE_BYTES, Version};
use alloc::string::String;
use core::fmt;
use core::time::Duration;

/// A page of identify data, copied out of the memory that the controller can write.
pub(super) struct Page(pub alloc::boxed::Box<[u8; 4096]>);

impl Page {
    fn byte(&self, at: usize) -> u8 {
        self.0[at]
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.0[at], self.0[at + 1]])
    }

    pub fn u32(&self, at: usize) -> u32 {
        u32::from(self.u16(at)) | u32::from(self.u16(at + 2)) << 16
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from(self.u32(at)) | u64::from(self.u32(at + 4)) << 32
    }

    /// Text of a fixed length. What could steer a terminal becomes a question mark.
    fn text(&self, at: usize, bytes: usize) -> String {
        let printable = |&b: &u8| if (0x20..0x7f).contains(&b) { char::from(b) } else { '?' };
        let ended = self.0[at..at + bytes].split(|&b| b == 0).next().unwrap_or_default();
        let text: String = ended.iter().map(printable).collect();
        String::from(text.trim())
    }
}

/// Alignment that a controller wants of data that SGLs name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sgl {
    /// It takes no SGLs.
    No,
    /// Addresses and lengths are multiples of 4.
    Dwords,
    /// Any bytes.
    Bytes,
}

/// A controller's account of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ControllerData {
    pub model: String,
    pub serial: String,
    pub firmware: String,
    pub version: Version,
    /// An I/O controller, not one for administration or discovery alone.
    pub does_io: bool,
    /// Bytes of the entries that it wants, as powers of two: submission, completion.
    pub smallest_entries: (u8, u8),
    /// Most bytes of one command's data; `None` for no limit.
    pub most_bytes: Option<u64>,
    pub namespaces: u32,
    /// It takes doorbells in memory.
    pub shadow_doorbells: bool,
    pub write_zeroes: bool,
    pub dataset_management: bool,
    pub volatile_cache: bool,
    pub sgl: Sgl,
    /// Asynchronous events that it can send, as the feature's bits.
    pub events: u32,
    /// By Command Retry Delay, 1 to 3.
    pub retry_delays: [Duration; 3],
    /// What it may take to get ready for power-off.
    pub shutdown: Duration,
}

impl ControllerData {
    /// Reads Identify Controller.
    pub fn read(page: &Page) -> Self {
        // 0 stands for no limit; what overflows is none either.
        let most_bytes = match page.byte(77) {
            0 => None,
            shift => 1u64.checked_shl(shift.into()).and_then(|pages| pages.checked_mul(PAGE_BYTES)),
        };
        let oncs = page.u16(520);
        let delay = |i: usize| Duration::from_millis(100 * u64::from(page.u16(122 + 2 * i)));
        Self {
            model: page.text(24, 40),
            serial: page.text(4, 20),
            firmware: page.text(64, 8),
            version: Version(page.u32(80)),
            does_io: page.byte(111) <= 1,
            smallest_entries: (page.byte(512) & 0xf, page.byte(513) & 0xf),
            most_bytes,
            namespaces: page.u32(516),
            shadow_doorbells: page.u16(256) & 1 << 8 != 0,
            dataset_management: oncs & 1 << 2 != 0,
            write_zeroes: oncs & 1 << 3 != 0,
            volatile_cache: page.byte(525) & 1 != 0,
            sgl: match page.u32(536) & 3 {
                1 => Sgl::Bytes,
                2 => Sgl::Dwords,
                _ => Sgl::No,
            },
            events: page.u32(92),
            retry_delays: [delay(0), delay(1), delay(2)],
            shutdown: Duration::from_micros(page.u32(88).into()),
        }
    }
}

/// Most that one command may cover, as the NVM command set says of the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CommandLimits {
    /// Most bytes of one Write Zeroes; `None` for no limit.
    pub zero_bytes: Option<u64>,
    /// Most blocks of a range that is deallocated.
    pub discard_blocks: u32,
}

impl CommandLimits {
    pub const NONE: Self = Self { zero_bytes: None, discard_blocks: u32::MAX };

    /// Reads Identify Controller of the NVM command set.
    pub fn read(page: &Page) -> Self {
        let zero_bytes = match page.byte(1) {
            0 => None,
            shift => 1u64.checked_shl(shift.into()).and_then(|pages| pages.checked_mul(PAGE_BYTES)),
        };
        let or_most = |value: u64| if value == 0 { u64::MAX } else { value };
        let blocks = or_most(page.u32(4).into()).min(or_most(page.u64(8)));
        Self { zero_bytes, discard_blocks: u32::try_from(blocks).unwrap_or(u32::MAX) }
    }
}

/// Why a namespace is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadNamespace {
    /// It has no blocks, or is not there at all.
    Empty,
    /// Its format is not in its own list of formats.
    NoFormat(u8),
    /// Blocks of two to the power of this.
    BlockSize(u8),
    /// Blocks have so many bytes of metadata.
    Metadata(u16),
    /// More bytes than 64 bits count.
    TooLarge(u64),
}

impl fmt::Display for BadNamespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it has no blocks"),
            Self::NoFormat(format) => write!(f, "its format {format} is not in its list of formats"),
            Self::BlockSize(shift) => {
                write!(f, "its blocks have 2^{shift} bytes, not 512 to 4096: format it with such blocks")
            }
            Self::Metadata(bytes) => {
                write!(f, "its blocks have {bytes} bytes of metadata each: format it without")
            }
            Self::TooLarge(blocks) => write!(f, "it claims {blocks} blocks, which no disk has"),
        }
    }
}

/// A namespace's account of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NamespaceData {
    pub blocks: u64,
    /// Bytes of a block, as a power of two from 9 to 12.
    pub block_shift: u8,
    /// Bytes that it likes to write at once; a power of two, at least a block.
    pub physical_block_size: u32,
    pub read_only: bool,
    /// Write Zeroes may deallocate, and what is deallocated reads as zeroes.
    pub deallocate_zeroes: bool,
}

impl NamespaceData {
    /// Reads Identify Namespace.
    ///
    /// # Errors
    /// Why it can't be used.
    pub fn read(page: &Page) -> Result<Self, BadNamespace> {
        let blocks = page.u64(0);
        if blocks == 0 {
            return Err(BadNamespace::Empty);
        }
        let (formats, flbas) = (page.byte(25), page.byte(26));
        let high = if formats >= 16 { flbas >> 5 & 3 } else { 0 };
        let index = flbas & 0xf | high << 4;
        if index > formats.min(63) {
            return Err(BadNamespace::NoFormat(index));
        }
        let format = page.u32(128 + 4 * usize::from(index));
        let (metadata, shift) = (format as u16, (format >> 16) as u8);
        if !(9..=12).contains(&shift) {
            return Err(BadNamespace::BlockSize(shift));
        }
        if metadata != 0 {
            return Err(BadNamespace::Metadata(metadata));
        }
        if blocks > u64::MAX >> shift {
            return Err(BadNamespace::TooLarge(blocks));
        }
        let block_size = 1u32 << shift;
        // NPWG counts only where NSFEAT says so; what is not a power of two, or absurd, does not.
        let preferred = u32::from(page.u16(64)).saturating_add(1) << shift;
        let optimal = page.byte(24) & 1 << 4 != 0 && preferred.is_power_of_two() && preferred <= 1 << 20;
        let dlfeat = page.byte(33);
        Ok(Self {
            blocks,
            block_shift: shift,
            physical_block_size: if optimal { preferred } else { block_size },
            read_only: page.byte(99) & 1 != 0,
            deallocate_zeroes: dlfeat & 7 == 1 && dlfeat & 1 << 3 != 0,
        })
    }
}
