//! ARP for IPv4 over Ethernet (RFC 826).
use super::bytes::{array, u16_at};
use super::{EtherType, Mac, Malformed};
use core::net::Ipv4Addr;

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ArpOperation(pub u16);

impl ArpOperation {
    pub const REQUEST: Self = Self(1);
    pub const REPLY: Self = Self(2);
}

/// Who says that he has which address, and whom he asks or tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    pub operation: ArpOperation,
    pub sender: Mac,
    pub sender_address: Ipv4Addr,
    pub target: Mac,
    pub target_address: Ipv4Addr,
}

/// Hardware type Ethernet, protocol type IPv4, 6 and 4 bytes of address.
const KIND: [u8; 6] = [0, 1, 8, 0, 6, 4];

impl Arp {
    /// Bytes of a packet.
    pub const SIZE: usize = 28;
    /// Its type in a frame.
    pub const TYPE: EtherType = EtherType::ARP;

    /// None where it is for other hardware or another protocol, which ARP allows.
    pub fn parse(packet: &[u8]) -> Result<Option<Self>, Malformed> {
        let kind: [u8; 6] = array(packet, 0).ok_or(Malformed::Truncated("ARP"))?;
        if kind != KIND {
            return Ok(None);
        }
        let parts = || {
            Some(Self {
                operation: ArpOperation(u16_at(packet, 6)?),
                sender: Mac(array(packet, 8)?),
                sender_address: array(packet, 14)?.into(),
                target: Mac(array(packet, 18)?),
                target_address: array(packet, 24)?.into(),
            })
        };
        parts().map(Some).ok_or(Malformed::Truncated("ARP"))
    }

    pub fn emit(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..6].copy_from_slice(&KIND);
        bytes[6..8].copy_from_slice(&self.operation.0.to_be_bytes());
        bytes[8..14].copy_from_slice(&self.sender.0);
        bytes[14..18].copy_from_slice(&self.sender_address.octets());
        bytes[18..24].copy_from_slice(&self.target.0);
        bytes[24..28].copy_from_slice(&self.target_address.octets());
        bytes
    }
}
