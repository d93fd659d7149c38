//! Frames by which stations tell and ask whose an address is: ARP (RFC 826) and neighbour solicitations (RFC 4861, 4.3).
//!
//! smoltcp has its own, of which it sends one in a second, whomever it looks for: who looks for a station that is not
//! there keeps it from finding all others. So pings look for theirs by these, and smoltcp learns from the answers.
use crate::frame::checksum::Sum;
use crate::frame::{Arp, ArpOperation, EtherType, Ethernet, Ipv6, Mac, Protocol};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A frame that answers a probe (RFC 5227, 2.1.1).
pub(super) fn defence(probe: Arp, mac: Mac) -> Vec<u8> {
    let arp = Arp {
        operation: ArpOperation::REPLY,
        sender: mac,
        sender_address: probe.target_address,
        target: probe.sender,
        target_address: probe.sender_address,
    };
    arp_frame(arp, probe.sender)
}

/// A frame that tells all stations whose this address is (RFC 5227, 2.3).
pub(super) fn announcement(address: Ipv4Addr, mac: Mac) -> Vec<u8> {
    request(mac, address, address)
}

/// A frame that asks for a station's MAC address. None if the two are not of the same version of IP.
pub(super) fn search(wanted: IpAddr, own: IpAddr, mac: Mac) -> Option<Vec<u8>> {
    match (wanted, own) {
        (IpAddr::V4(wanted), IpAddr::V4(own)) => Some(request(mac, own, wanted)),
        (IpAddr::V6(wanted), IpAddr::V6(own)) => Some(solicitation(mac, own, wanted)),
        _ => None,
    }
}

/// The group by which the station with an address is searched (RFC 4291, 2.7.1; RFC 2464, 7).
pub(super) fn searched_by(address: Ipv6Addr) -> (Ipv6Addr, Mac) {
    let [.., a, b, c] = address.octets();
    let low = u16::from_be_bytes([b, c]);
    (Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), low), Mac([0x33, 0x33, 0xff, a, b, c]))
}

fn request(sender: Mac, sender_address: Ipv4Addr, target_address: Ipv4Addr) -> Vec<u8> {
    let operation = ArpOperation::REQUEST;
    let arp = Arp { operation, sender, sender_address, target: Mac::NONE, target_address };
    arp_frame(arp, Mac::BROADCAST)
}

fn arp_frame(arp: Arp, destination: Mac) -> Vec<u8> {
    let header = Ethernet { destination, source: arp.sender, tag: None, ether_type: EtherType::ARP };
    [&header.emit()[..header.size()], &arp.emit()].concat()
}

fn solicitation(source: Mac, own: Ipv6Addr, wanted: Ipv6Addr) -> Vec<u8> {
    const SOLICITATION: u8 = 135;
    /// The option "source link-layer address", of 8 bytes.
    const SOURCE: [u8; 2] = [1, 1];
    let (destination, group) = searched_by(wanted);
    let mut message =
        [&[SOLICITATION, 0, 0, 0, 0, 0, 0, 0][..], &wanted.octets(), &SOURCE, &source.0].concat();
    let sum = Sum::pseudo_v6(own, destination, Protocol::ICMPV6, message.len() as u32);
    let checksum = sum.bytes(&message).checksum();
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    let header = Ethernet { destination: group, source, tag: None, ether_type: EtherType::IPV6 };
    let ip = Ipv6 {
        source: own,
        destination,
        protocol: Protocol::ICMPV6,
        header: Ipv6::SIZE,
        length: Ipv6::SIZE + message.len(),
        hop_limit: 255,
        traffic_class: 0,
        fragment: None,
        complete: true,
    };
    [&header.emit()[..header.size()], &ip.emit(), &message].concat()
}
