//! The Internet checksum (RFC 1071): the complement of the sum, with carries added back, of 16-bit words.
//!
//! [`Sum`] grows by pieces of any length, as a frame's segments come. IP headers, TCP, UDP and ICMPv6 have it.
use super::Protocol;
use core::net::{Ipv4Addr, Ipv6Addr};

/// A sum that is not folded yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Of words in network byte order. 64 bits hold 2^48 words.
    words: u64,
    /// The next byte is the second of its word.
    odd: bool,
}

impl Sum {
    /// Of nothing.
    pub const fn new() -> Self {
        Self { words: 0, odd: false }
    }

    /// What follows, behind an odd number of bytes too.
    pub fn bytes(mut self, mut bytes: &[u8]) -> Self {
        if self.odd
            && let [first, rest @ ..] = bytes
        {
            self.words += u64::from(*first);
            self.odd = false;
            bytes = rest;
        }
        let (pairs, rest) = bytes.as_chunks::<2>();
        self.words += pairs.iter().map(|&pair| u64::from(u16::from_be_bytes(pair))).sum::<u64>();
        if let [last] = rest {
            self.words += u64::from(*last) << 8;
            self.odd = true;
        }
        self
    }

    /// A word, at an even place.
    pub fn word(mut self, word: u16) -> Self {
        debug_assert!(!self.odd, "a word at an odd place");
        self.words += u64::from(word);
        self
    }

    /// The header that TCP and UDP imagine before theirs (RFC 9293, 3.1; RFC 768). `length` is that of their header and
    /// data.
    pub fn pseudo_v4(source: Ipv4Addr, destination: Ipv4Addr, protocol: Protocol, length: u32) -> Self {
        Self::new().bytes(&source.octets()).bytes(&destination.octets()).protocol(protocol, length)
    }

    /// The same for IPv6, and for ICMPv6 too (RFC 8200, 8.1).
    pub fn pseudo_v6(source: Ipv6Addr, destination: Ipv6Addr, protocol: Protocol, length: u32) -> Self {
        Self::new().bytes(&source.octets()).bytes(&destination.octets()).protocol(protocol, length)
    }

    fn protocol(self, protocol: Protocol, length: u32) -> Self {
        self.bytes(&length.to_be_bytes()).word(protocol.0.into())
    }

    /// The sum itself: 0xffff over what contains its own right checksum; what a device is given that is to go on with it
    /// (virtio 1.2, 5.1.6.2).
    pub fn folded(self) -> u16 {
        let mut sum = self.words;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    /// The checksum that belongs into a header whose own field was 0 or left out.
    pub fn checksum(self) -> u16 {
        !self.folded()
    }

    /// The same for UDP, where 0 says that there is none (RFC 768).
    pub fn checksum_udp(self) -> u16 {
        match self.checksum() {
            0 => 0xffff,
            sum => sum,
        }
    }
}

/// A checksum after a word under it has changed (RFC 1624, equation 3).
pub fn updated(checksum: u16, old: u16, new: u16) -> u16 {
    Sum::new().word(!checksum).word(!old).word(new).checksum()
}
