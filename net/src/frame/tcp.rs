//! The header of TCP (RFC 9293, 3.1).
use super::Malformed;
use super::bytes::{u16_at, u32_at};

/// Flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    pub const FIN: Self = Self(1);
    pub const SYN: Self = Self(1 << 1);
    pub const RST: Self = Self(1 << 2);
    pub const PSH: Self = Self(1 << 3);
    pub const ACK: Self = Self(1 << 4);
    pub const URG: Self = Self(1 << 5);
    /// Congestion was met (RFC 3168).
    pub const ECE: Self = Self(1 << 6);
    /// The sender has slowed down (RFC 3168).
    pub const CWR: Self = Self(1 << 7);

    /// Whether all of these are set.
    pub const fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}

/// A header. Its options are passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp {
    pub source: u16,
    pub destination: u16,
    pub sequence: u32,
    pub acknowledgement: u32,
    /// Bytes of the header, options included: 20 to 60.
    pub header: usize,
    pub flags: TcpFlags,
    pub window: u16,
    pub checksum: u16,
    pub urgent: u16,
}

impl Tcp {
    /// Bytes without options.
    pub const SIZE: usize = 20;
    /// Where its checksum lies.
    pub const CHECKSUM: usize = 16;

    /// The header at the beginning of `segment`, for which the packet has room for `available` bytes.
    pub fn parse(segment: &[u8], available: usize) -> Result<Self, Malformed> {
        let parts = || {
            Some(Self {
                source: u16_at(segment, 0)?,
                destination: u16_at(segment, 2)?,
                sequence: u32_at(segment, 4)?,
                acknowledgement: u32_at(segment, 8)?,
                header: usize::from(segment.get(12)? >> 4) * 4,
                flags: TcpFlags(*segment.get(13)?),
                window: u16_at(segment, 14)?,
                checksum: u16_at(segment, Self::CHECKSUM)?,
                urgent: u16_at(segment, 18)?,
            })
        };
        let parsed = parts().ok_or(Malformed::Truncated("TCP"))?;
        if parsed.header < Self::SIZE || parsed.header > available {
            return Err(Malformed::HeaderLength("TCP"));
        }
        Ok(parsed)
    }

    /// A header of 20 bytes, whatever `header` says.
    pub fn emit(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..2].copy_from_slice(&self.source.to_be_bytes());
        bytes[2..4].copy_from_slice(&self.destination.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.acknowledgement.to_be_bytes());
        bytes[12] = 5 << 4;
        bytes[13] = self.flags.0;
        bytes[14..16].copy_from_slice(&self.window.to_be_bytes());
        bytes[16..18].copy_from_slice(&self.checksum.to_be_bytes());
        bytes[18..20].copy_from_slice(&self.urgent.to_be_bytes());
        bytes
    }
}
