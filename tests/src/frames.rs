//! Frames made by hand: good ones, from which a test makes bad ones.
use std::net::{Ipv4Addr, Ipv6Addr};

/// A MAC address.
pub type Mac = [u8; 6];
/// All stations.
pub const EVERYBODY: Mac = [0xff; 6];

pub const ARP: u16 = 0x0806;
pub const IPV4: u16 = 0x0800;
pub const IPV6: u16 = 0x86dd;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// Bytes of Ethernet's header without a tag.
pub const ETHERNET: usize = 14;

/// Who sends or receives.
#[derive(Clone, Copy, Debug)]
pub struct Station {
    pub mac: Mac,
    pub ip: Ipv4Addr,
}

impl Station {
    pub const fn new(mac: Mac, ip: [u8; 4]) -> Self {
        Self { mac, ip: Ipv4Addr::new(ip[0], ip[1], ip[2], ip[3]) }
    }
}

/// A frame.
pub fn ethernet(to: Mac, from: Mac, ether_type: u16, packet: &[u8]) -> Vec<u8> {
    [&to[..], &from, &ether_type.to_be_bytes(), packet].concat()
}

/// The same with a tag, behind which may be another.
pub fn tagged(frame: &[u8], vlan: u16) -> Vec<u8> {
    let (addresses, rest) = frame.split_at(12);
    [addresses, &[0x81, 0x00], &vlan.to_be_bytes(), rest].concat()
}

/// The VLAN of a frame's tag.
pub fn vlan_of(frame: &[u8]) -> Option<u16> {
    let tag = frame.get(12..16)?.strip_prefix(&[0x81, 0x00])?;
    Some(u16::from_be_bytes([tag[0], tag[1]]) & 0xfff)
}

/// Bytes behind Ethernet's header and a tag.
pub fn packet_bytes(frame: &[u8]) -> usize {
    frame.len().saturating_sub(if vlan_of(frame).is_some() { ETHERNET + 4 } else { ETHERNET })
}

/// A question to everybody who has an address.
pub fn who_has(address: Ipv4Addr, asks: Station) -> Vec<u8> {
    ethernet(EVERYBODY, asks.mac, ARP, &arp(1, asks, [0; 6], address))
}

/// ARP over Ethernet (RFC 826): 1 asks, 2 answers.
pub fn arp(operation: u16, sender: Station, target: Mac, address: Ipv4Addr) -> Vec<u8> {
    let fixed = [0, 1, 8, 0, 6, 4];
    let sender_ip = sender.ip.octets();
    [&fixed[..], &operation.to_be_bytes(), &sender.mac, &sender_ip, &target, &address.octets()].concat()
}

/// Whether a frame is an ARP message in which this station names itself.
pub fn is_arp_of(frame: &[u8], station: Station) -> bool {
    let names = [&station.mac[..], &station.ip.octets()].concat();
    frame.get(12..14) == Some(&ARP.to_be_bytes()) && frame.get(22..32) == Some(&names)
}

/// An echo request (RFC 792) with this data.
pub fn echo_request(to: Station, from: Station, data: &[u8]) -> Vec<u8> {
    let mut message = [&[8, 0, 0, 0, 0x42, 0x42, 0, 1][..], data].concat();
    let sum = checksum(&message).to_be_bytes();
    message[2..4].copy_from_slice(&sum);
    ethernet(to.mac, from.mac, IPV4, &ipv4(to.ip, from.ip, ICMP, &message))
}

/// Whether a frame is the answer to that.
pub fn is_echo_reply(frame: &[u8], to: Station, from: Station, data: &[u8]) -> bool {
    let ip = &frame[ETHERNET.min(frame.len())..];
    frame.starts_with(&[to.mac, from.mac].concat())
        && ip.get(9) == Some(&ICMP)
        && ip.get(20) == Some(&0)
        && ip.get(28..28 + data.len()) == Some(data)
}

/// An IPv4 packet without options (RFC 791).
pub fn ipv4(to: Ipv4Addr, from: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = (20 + payload.len()) as u16;
    let mut header = [0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0].to_vec();
    header[2..4].copy_from_slice(&length.to_be_bytes());
    header.extend(from.octets());
    header.extend(to.octets());
    let sum = checksum(&header).to_be_bytes();
    header[10..12].copy_from_slice(&sum);
    [&header, payload].concat()
}

/// A frame with a UDP datagram (RFC 768), whose checksum is right.
pub fn udp(to: Station, from: Station, port: u16, data: &[u8]) -> Vec<u8> {
    let length = (8 + data.len()) as u16;
    let mut datagram = Vec::from([0x30, 0x39]);
    datagram.extend(port.to_be_bytes());
    datagram.extend(length.to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(data);
    let sum = transport_checksum(to, from, UDP, &datagram).to_be_bytes();
    datagram[6..8].copy_from_slice(&sum);
    ethernet(to.mac, from.mac, IPV4, &ipv4(to.ip, from.ip, UDP, &datagram))
}

/// Where the checksum of [`udp`]'s frames is.
pub const UDP_CHECKSUM: usize = ETHERNET + 20 + 6;

/// A frame with a TCP segment (RFC 9293) of a connection that nobody has.
pub fn tcp(to: Station, from: Station, data: &[u8]) -> Vec<u8> {
    let mut segment = [0x30, 0x39, 0x30, 0x3a, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 4, 0, 0, 0, 0, 0].to_vec();
    segment.extend(data);
    let sum = transport_checksum(to, from, TCP, &segment).to_be_bytes();
    segment[16..18].copy_from_slice(&sum);
    ethernet(to.mac, from.mac, IPV4, &ipv4(to.ip, from.ip, TCP, &segment))
}

/// An advertisement (RFC 4861, 4.4) to all nodes, from `from`, that `target` is at `mac`.
pub fn neighbour_advertisement(from: Ipv6Addr, mac: Mac, target: Ipv6Addr) -> Vec<u8> {
    let everybody = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let body = [&[136, 0, 0, 0, 0x20, 0, 0, 0][..], &target.octets(), &[2, 1], &mac].concat();
    let pseudo =
        [&from.octets()[..], &everybody.octets(), &[0, 0, 0, body.len() as u8, 0, 0, 0, ICMPV6]].concat();
    let sum = checksum(&[&pseudo, &body[..]].concat()).to_be_bytes();
    let mut packet = vec![0x60, 0, 0, 0, 0, body.len() as u8, ICMPV6, 255];
    packet.extend(from.octets());
    packet.extend(everybody.octets());
    packet.extend(&body);
    packet[42..44].copy_from_slice(&sum);
    ethernet([0x33, 0x33, 0, 0, 0, 1], mac, IPV6, &packet)
}

fn transport_checksum(to: Station, from: Station, protocol: u8, payload: &[u8]) -> u16 {
    let length = (payload.len() as u16).to_be_bytes();
    let pseudo = [&from.ip.octets()[..], &to.ip.octets(), &[0, protocol], &length].concat();
    checksum(&[&pseudo, payload].concat())
}

/// The Internet's checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Station = Station::new([2, 0, 0, 0, 0, 1], [10, 0, 0, 1]);
    const TWO: Station = Station::new([2, 0, 0, 0, 0, 2], [10, 0, 0, 2]);

    #[test]
    fn checksums_are_such_that_the_sum_of_all_is_right() {
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0x220d); // RFC 1071, 3
        for frame in [udp(ONE, TWO, 9, b"abc"), tcp(ONE, TWO, b"abcd"), echo_request(ONE, TWO, b"x")] {
            assert_eq!(checksum(&frame[ETHERNET..ETHERNET + 20]), 0);
        }
        let frame = udp(ONE, TWO, 9, b"abc");
        assert_eq!(transport_checksum(ONE, TWO, UDP, &frame[ETHERNET + 20..]), 0);
        let frame = tcp(ONE, TWO, b"abc");
        assert_eq!(transport_checksum(ONE, TWO, TCP, &frame[ETHERNET + 20..]), 0);
    }

    #[test]
    fn a_tag_is_found_and_its_frame_s_packet_is_as_long_as_before() {
        let frame = udp(ONE, TWO, 9, b"abc");
        let with = tagged(&frame, 0x3000 | 10);
        assert_eq!((vlan_of(&frame), vlan_of(&with)), (None, Some(10)));
        assert_eq!((packet_bytes(&frame), packet_bytes(&with)), (31, 31));
    }

    #[test]
    fn an_answer_is_told_from_another_s_and_from_what_is_too_short() {
        let mut reply = echo_request(TWO, ONE, b"data");
        assert!(!is_echo_reply(&reply, TWO, ONE, b"data"));
        reply[ETHERNET + 20] = 0;
        assert!(is_echo_reply(&reply, TWO, ONE, b"data") && !is_echo_reply(&reply, TWO, ONE, b"other"));
        assert!(is_arp_of(&who_has(TWO.ip, ONE), ONE) && !is_arp_of(&who_has(TWO.ip, ONE), TWO));
        assert!(!is_echo_reply(&reply[..3], TWO, ONE, b"data") && !is_arp_of(&[], ONE));
    }
}
