//! The header of UDP (RFC 768).
use super::Malformed;
use super::bytes::u16_at;

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Udp {
    pub source: u16,
    pub destination: u16,
    /// Bytes of header and data.
    pub length: usize,
    /// 0 where there is none.
    pub checksum: u16,
}

impl Udp {
    /// Bytes of a header.
    pub const SIZE: usize = 8;

    /// The header at the beginning of `datagram`, for which the packet has room for `available` bytes.
    pub fn parse(datagram: &[u8], available: usize) -> Result<Self, Malformed> {
        let parts = || {
            Some(Self {
                source: u16_at(datagram, 0)?,
                destination: u16_at(datagram, 2)?,
                length: usize::from(u16_at(datagram, 4)?),
                checksum: u16_at(datagram, 6)?,
            })
        };
        let parsed = parts().ok_or(Malformed::Truncated("UDP"))?;
        if parsed.length < Self::SIZE || parsed.length > available {
            return Err(Malformed::PacketLength("UDP"));
        }
        Ok(parsed)
    }

    pub fn emit(&self) -> [u8; Self::SIZE] {
        let [a, b] = self.source.to_be_bytes();
        let [c, d] = self.destination.to_be_bytes();
        let [e, f] = (self.length as u16).to_be_bytes();
        let [g, h] = self.checksum.to_be_bytes();
        [a, b, c, d, e, f, g, h]
    }
}
