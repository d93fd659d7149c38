//! Ethernet II and the 802.1Q tag (IEEE 802.3, 3.2; IEEE 802.1Q, 9.6).
use super::Malformed;
use super::bytes::{array, u16_at};
use core::fmt;
use core::str::FromStr;

/// A MAC address.
#[derive(Default, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// All stations.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// What is not set.
    pub const NONE: Self = Self([0; 6]);

    /// Addressed to a group; all stations are one.
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Given by an administrator, not by a manufacturer.
    pub const fn is_local(self) -> bool {
        self.0[0] & 2 != 0
    }

    /// That of one station, as a frame's source must be.
    pub fn is_station(self) -> bool {
        !self.is_group() && self != Self::NONE
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Not six pairs of hexadecimal digits with colons between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacFormat;

impl fmt::Display for MacFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a MAC address is six pairs of hexadecimal digits, such as 52:54:00:12:34:56")
    }
}

impl FromStr for Mac {
    type Err = MacFormat;

    fn from_str(text: &str) -> Result<Self, MacFormat> {
        let mut mac = [0; 6];
        let mut pairs = text.split(':');
        for byte in &mut mac {
            let pair = pairs.next().filter(|pair| pair.len() == 2).ok_or(MacFormat)?;
            // `from_str_radix` takes a sign.
            if !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(MacFormat);
            }
            *byte = u8::from_str_radix(pair, 16).map_err(|_| MacFormat)?;
        }
        if pairs.next().is_some() { Err(MacFormat) } else { Ok(Self(mac)) }
    }
}

/// What a frame carries (IANA, "IEEE 802 Numbers").
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EtherType(pub u16);

impl EtherType {
    pub const IPV4: Self = Self(0x0800);
    pub const ARP: Self = Self(0x0806);
    /// An 802.1Q tag follows.
    pub const TAG: Self = Self(0x8100);
    pub const IPV6: Self = Self(0x86dd);
    /// For experiments within an organization (IEEE 802, 9.2.4); the cluster's.
    pub const EXPERIMENT: Self = Self(0x88b5);

    /// Smaller numbers are the length of an IEEE 802.3 frame without a type.
    const LEAST: u16 = 0x600;

    /// Whether it is a type at all, and not a length.
    pub const fn is_type(self) -> bool {
        self.0 >= Self::LEAST
    }
}

impl fmt::Debug for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EtherType({:#06x})", self.0)
    }
}

/// A VLAN's number: 1 to 4094.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VlanId(u16);

impl VlanId {
    /// None for 0, which is no VLAN, and what is reserved (4095) or more.
    pub const fn new(id: u16) -> Option<Self> {
        if id == 0 || id >= 0xfff { None } else { Some(Self(id)) }
    }

    pub const fn number(self) -> u16 {
        self.0
    }
}

/// The control information of an 802.1Q tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag(pub u16);

impl Tag {
    /// Bytes of a tag with its EtherType.
    pub const SIZE: usize = 4;

    pub const fn new(vlan: VlanId, priority: u8) -> Self {
        Self((priority as u16 & 7) << 13 | vlan.0)
    }

    /// Its VLAN; None if it has a priority only (number 0) or the reserved number.
    pub const fn vlan(self) -> Option<VlanId> {
        VlanId::new(self.0 & 0xfff)
    }

    /// 0 to 7. Not in the order of their numbers: 1 is the least (802.1Q, table I-2).
    pub const fn priority(self) -> u8 {
        (self.0 >> 13) as u8
    }

    /// Whether it has the number 4095, which no frame may have (802.1Q, table 9-2).
    pub const fn is_reserved(self) -> bool {
        self.0 & 0xfff == 0xfff
    }
}

/// A frame's first header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ethernet {
    pub destination: Mac,
    pub source: Mac,
    pub tag: Option<Tag>,
    /// Behind the tag, if there is one. A length where it is none ([`EtherType::is_type`]).
    pub ether_type: EtherType,
}

impl Ethernet {
    /// Bytes without a tag.
    pub const SIZE: usize = 14;

    /// The header's bytes: 14 or 18.
    pub const fn size(&self) -> usize {
        if self.tag.is_some() { Self::SIZE + Tag::SIZE } else { Self::SIZE }
    }

    /// The header at the beginning of a frame.
    pub fn parse(frame: &[u8]) -> Result<Self, Malformed> {
        let parts = || {
            let (destination, source) = (Mac(array(frame, 0)?), Mac(array(frame, 6)?));
            let ether_type = EtherType(u16_at(frame, 12)?);
            let tagged = ether_type == EtherType::TAG;
            let tag = if tagged { Some(Tag(u16_at(frame, 14)?)) } else { None };
            let ether_type = if tagged { EtherType(u16_at(frame, 16)?) } else { ether_type };
            Some(Self { destination, source, tag, ether_type })
        };
        let header = parts().ok_or(Malformed::Truncated("Ethernet"))?;
        if !header.source.is_station() {
            return Err(Malformed::Source);
        }
        if header.tag.is_some() && header.ether_type == EtherType::TAG {
            return Err(Malformed::SecondTag);
        }
        Ok(header)
    }

    /// Its bytes; the first [`size`](Self::size) of these.
    pub fn emit(&self) -> [u8; Self::SIZE + Tag::SIZE] {
        let mut bytes = [0; Self::SIZE + Tag::SIZE];
        bytes[..6].copy_from_slice(&self.destination.0);
        bytes[6..12].copy_from_slice(&self.source.0);
        let ether_type = self.ether_type.0.to_be_bytes();
        match self.tag {
            None => bytes[12..14].copy_from_slice(&ether_type),
            Some(tag) => {
                bytes[12..14].copy_from_slice(&EtherType::TAG.0.to_be_bytes());
                bytes[14..16].copy_from_slice(&tag.0.to_be_bytes());
                bytes[16..18].copy_from_slice(&ether_type);
            }
        }
        bytes
    }
}
