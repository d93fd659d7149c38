//! The header of IPv4 (RFC 791, 3.1).
use super::bytes::{array, u16_at};
use super::checksum::Sum;
use super::{Malformed, Protocol};
use core::net::Ipv4Addr;

/// A header. Its options are passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4 {
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub protocol: Protocol,
    /// Bytes of the header, options included: 20 to 60.
    pub header: usize,
    /// Bytes of header and payload: at least the header's.
    pub length: usize,
    pub identification: u16,
    /// May not be split on its way.
    pub keep_whole: bool,
    /// Further fragments follow.
    pub more: bool,
    /// Where in the whole payload this fragment's lies, in bytes.
    pub fragment: usize,
    pub time_to_live: u8,
    pub traffic_class: u8,
}

impl Ipv4 {
    /// Bytes without options.
    pub const SIZE: usize = 20;

    /// The header at the beginning of `packet`, of which `available` bytes are in the frame: more than `packet` has where
    /// that is the packet's beginning only. The frame may be longer than the packet, since short ones are padded.
    pub fn parse(packet: &[u8], available: usize) -> Result<Self, Malformed> {
        const NAME: &str = "IPv4";
        let &first = packet.first().ok_or(Malformed::Truncated(NAME))?;
        if first >> 4 != 4 {
            return Err(Malformed::Version);
        }
        let header = usize::from(first & 0xf) * 4;
        if header < Self::SIZE {
            return Err(Malformed::HeaderLength(NAME));
        }
        let bytes = packet.get(..header).ok_or(Malformed::Truncated(NAME))?;
        let parts = || {
            let flags = u16_at(bytes, 6)?;
            Some(Self {
                source: array(bytes, 12)?.into(),
                destination: array(bytes, 16)?.into(),
                protocol: Protocol(*bytes.get(9)?),
                header,
                length: usize::from(u16_at(bytes, 2)?),
                identification: u16_at(bytes, 4)?,
                keep_whole: flags & 1 << 14 != 0,
                more: flags & 1 << 13 != 0,
                fragment: usize::from(flags & 0x1fff) * 8,
                time_to_live: *bytes.get(8)?,
                traffic_class: *bytes.get(1)?,
            })
        };
        let parsed = parts().ok_or(Malformed::Truncated(NAME))?;
        if parsed.length < header || parsed.length > available {
            return Err(Malformed::PacketLength(NAME));
        }
        if Sum::new().bytes(bytes).folded() != 0xffff {
            return Err(Malformed::Checksum(NAME));
        }
        Ok(parsed)
    }

    /// Whether this is a part of a packet.
    pub const fn is_fragment(&self) -> bool {
        self.more || self.fragment != 0
    }

    /// A header of 20 bytes, whatever `header` says, with its checksum.
    pub fn emit(&self) -> [u8; Self::SIZE] {
        let flags =
            u16::from(self.keep_whole) << 14 | u16::from(self.more) << 13 | (self.fragment / 8) as u16;
        let mut bytes = [0; Self::SIZE];
        bytes[0] = 0x45;
        bytes[1] = self.traffic_class;
        bytes[2..4].copy_from_slice(&(self.length as u16).to_be_bytes());
        bytes[4..6].copy_from_slice(&self.identification.to_be_bytes());
        bytes[6..8].copy_from_slice(&flags.to_be_bytes());
        bytes[8] = self.time_to_live;
        bytes[9] = self.protocol.0;
        bytes[12..16].copy_from_slice(&self.source.octets());
        bytes[16..20].copy_from_slice(&self.destination.octets());
        let checksum = Sum::new().bytes(&bytes).checksum();
        bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }
}
