//! The header of IPv6 and the extension headers behind it (RFC 8200, 3 and 4).
use super::bytes::{array, u16_at};
use super::{Malformed, Protocol};
use core::net::Ipv6Addr;

/// A header, and where its extensions lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6 {
    pub source: Ipv6Addr,
    pub destination: Ipv6Addr,
    /// That of the payload behind all extension headers; of an unknown extension, or of one beyond what there is of the
    /// packet, where the way ends there.
    pub protocol: Protocol,
    /// Bytes of header and extensions; `protocol` begins behind them.
    pub header: usize,
    /// Bytes of header, extensions and payload.
    pub length: usize,
    pub hop_limit: u8,
    pub traffic_class: u8,
    /// A fragment header is among the extensions, and says that this is a part of a packet: its place in bytes.
    pub fragment: Option<usize>,
    /// The way through the extensions came to its end.
    pub complete: bool,
}

/// More extension headers than any sender has use for; a longer way is not gone to its end.
const MOST_EXTENSIONS: usize = 8;

/// Of the second word of a fragment header: where the part lies, and what means nothing. What is left says that more follow.
const PLACE: u16 = !7;
const RESERVED: u16 = 6;

impl Ipv6 {
    /// Bytes without extensions.
    pub const SIZE: usize = 40;

    /// The header at the beginning of `packet`, of which `available` bytes are in the frame.
    pub fn parse(packet: &[u8], available: usize) -> Result<Self, Malformed> {
        const NAME: &str = "IPv6";
        let truncated = Malformed::Truncated(NAME);
        let first = u16_at(packet, 0).ok_or(truncated)?;
        if first >> 12 != 6 {
            return Err(Malformed::Version);
        }
        let parts = || {
            Some(Self {
                source: array::<16>(packet, 8)?.into(),
                destination: array::<16>(packet, 24)?.into(),
                protocol: Protocol(*packet.get(6)?),
                header: Self::SIZE,
                length: Self::SIZE + usize::from(u16_at(packet, 4)?),
                hop_limit: *packet.get(7)?,
                traffic_class: (first >> 4) as u8,
                fragment: None,
                complete: false,
            })
        };
        let mut parsed = parts().ok_or(truncated)?;
        // Jumbograms (RFC 2675), whose length is 0 here, do not exist on an Ethernet.
        if parsed.length > available {
            return Err(Malformed::PacketLength(NAME));
        }
        for _ in 0..=MOST_EXTENSIONS {
            let is_extension = matches!(
                parsed.protocol,
                Protocol::HOP_BY_HOP
                    | Protocol::ROUTING
                    | Protocol::DESTINATION
                    | Protocol::FRAGMENT
                    | Protocol::AUTHENTICATION
            );
            if !is_extension {
                parsed.complete = true;
                break;
            }
            // Where the beginning that there is ends, so does the way; where the packet ends, it is malformed.
            let Some([next, size]) = array::<2>(packet, parsed.header) else { break };
            let size = match parsed.protocol {
                Protocol::FRAGMENT => 8,
                Protocol::AUTHENTICATION => (usize::from(size) + 2) * 4,
                _ => (usize::from(size) + 1) * 8,
            };
            if parsed.header + size > parsed.length {
                return Err(Malformed::HeaderLength(NAME));
            }
            let place = match parsed.protocol {
                Protocol::FRAGMENT => u16_at(packet, parsed.header + 2),
                _ => Some(0),
            };
            let Some(place) = place else { break };
            parsed.header += size;
            parsed.protocol = Protocol(next);
            // Of one that is whole (RFC 6946) the payload can be read; of a part, nothing behind this header.
            if place & !RESERVED != 0 {
                parsed.fragment = Some(usize::from(place & PLACE));
                parsed.complete = true;
                break;
            }
        }
        if parsed.header > parsed.length {
            return Err(Malformed::HeaderLength(NAME));
        }
        Ok(parsed)
    }

    /// A header of 40 bytes without extensions, whatever `header` says.
    pub fn emit(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..2].copy_from_slice(&(6 << 12 | u16::from(self.traffic_class) << 4).to_be_bytes());
        bytes[4..6].copy_from_slice(&(self.length.saturating_sub(Self::SIZE) as u16).to_be_bytes());
        bytes[6] = self.protocol.0;
        bytes[7] = self.hop_limit;
        bytes[8..24].copy_from_slice(&self.source.octets());
        bytes[24..40].copy_from_slice(&self.destination.octets());
        bytes
    }
}
