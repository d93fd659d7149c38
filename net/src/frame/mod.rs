//! Headers of Ethernet frames, as far as a switch and its filters look into them.
//!
//! ```text
//!  Ethernet ─ 802.1Q tag ─┬─ ARP
//!   [`Ethernet`]          ├─ IPv4 ─────────────────┬─ TCP, UDP
//!                         └─ IPv6 ─ extensions ────┴─ ICMPv6 (whose address an advertisement claims)
//! ```
//!
//! A frame comes from a guest or from the wire, so all of it is an allegation. [`Headers::parse`] is the one place that
//! takes it: it looks at a copy of the frame's beginning, which nobody else can change any more, and at the length of
//! the whole. What it returns are values and offsets within that beginning, never beyond it.
//!
//! Each protocol has a file, with its field's offsets, a `parse` that checks, and an `emit` that is its reverse.
//!
//! What is refused is [`Malformed`]: what a receiver would drop unseen. What a receiver might understand and this does
//! not (an unknown EtherType, an unknown protocol) is no error: its headers end there.
mod arp;
mod bytes;
pub mod checksum;
mod ethernet;
mod headers;
mod icmpv6;
mod ipv4;
mod ipv6;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;

pub use arp::{Arp, ArpOperation};
pub use ethernet::{EtherType, Ethernet, Mac, MacFormat, Tag, VlanId};
pub use headers::{Headers, LONGEST, Network, Transport};
pub use icmpv6::Neighbour;
pub use ipv4::Ipv4;
pub use ipv6::Ipv6;
pub use tcp::{Tcp, TcpFlags};
pub use udp::Udp;

use core::fmt;

/// Why a frame's headers are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It ends within this header.
    Truncated(&'static str),
    /// A source that is a group or nobody.
    Source,
    /// A version of IP that is not what the EtherType says.
    Version,
    /// A header's own length is below its least or beyond the packet.
    HeaderLength(&'static str),
    /// A packet's own length is below its headers or beyond the frame.
    PacketLength(&'static str),
    /// A header's checksum is wrong.
    Checksum(&'static str),
    /// An 802.1Q tag within an 802.1Q tag of the same kind.
    SecondTag,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated(what) => write!(f, "it ends within its {what} header"),
            Self::Source => f.write_str("its source is a group or nobody"),
            Self::Version => f.write_str("its version of IP is not what its EtherType says"),
            Self::HeaderLength(what) => write!(f, "the length of its {what} header cannot be"),
            Self::PacketLength(what) => write!(f, "its {what} length is not that of the frame"),
            Self::Checksum(what) => write!(f, "the checksum of its {what} header is wrong"),
            Self::SecondTag => f.write_str("it has two VLAN tags"),
        }
    }
}

/// The protocol of a packet's payload (IANA, "Protocol Numbers").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Protocol(pub u8);

impl Protocol {
    pub const HOP_BY_HOP: Self = Self(0);
    pub const ICMP: Self = Self(1);
    pub const TCP: Self = Self(6);
    pub const UDP: Self = Self(17);
    pub const ROUTING: Self = Self(43);
    pub const FRAGMENT: Self = Self(44);
    pub const AUTHENTICATION: Self = Self(51);
    pub const ICMPV6: Self = Self(58);
    pub const NONE: Self = Self(59);
    pub const DESTINATION: Self = Self(60);
}
