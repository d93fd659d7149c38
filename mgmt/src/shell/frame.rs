//! A frame in one line.

use alloc::format;
use alloc::string::String;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use net::capture::Record;
use net::frame::{
    ArpOperation, EtherType, Ethernet, Headers, LONGEST, Neighbour, Network, Protocol, TcpFlags, Transport,
};

use super::human::Moment;

/// `    4.023581    60  52:54:00:00:00:01 > ff:ff:ff:ff:ff:ff  ARP: who has 10.0.0.2? 10.0.0.1 asks`.
pub(super) fn line(frame: &Record<'_>) -> String {
    let (bytes, length) = (&frame.bytes[..frame.bytes.len().min(frame.length)], frame.length);
    let begin = format!("{} {length:5}", Moment(Duration::from_nanos(frame.time)));
    let ethernet = match Ethernet::parse(bytes) {
        Ok(ethernet) => ethernet,
        Err(why) => return format!("{begin}  malformed: {why}"),
    };
    let tag = ethernet.tag.and_then(|tag| tag.vlan()).map(|vlan| format!("VLAN {}, ", vlan.number()));
    let what = if bytes.len() < length && bytes.len() < LONGEST {
        "too little of it is kept".into()
    } else {
        Headers::parse(bytes, length)
            .map_or_else(|why| format!("malformed: {why}"), |headers| network(&headers))
    };
    format!("{begin}  {} > {}  {}{what}", ethernet.source, ethernet.destination, tag.unwrap_or_default())
}

fn network(headers: &Headers) -> String {
    match headers.network {
        Network::Arp(arp) => match arp.operation {
            ArpOperation::REQUEST => {
                format!("ARP: who has {}? {} asks", arp.target_address, arp.sender_address)
            }
            ArpOperation::REPLY => format!("ARP: {} is at {}", arp.sender_address, arp.sender),
            ArpOperation(other) => format!("ARP: operation {other}"),
        },
        Network::V4(ip) => packet(
            headers,
            ip.source.into(),
            ip.destination.into(),
            ip.protocol,
            ip.length.saturating_sub(ip.header),
        ),
        Network::V6(ip) => packet(
            headers,
            ip.source.into(),
            ip.destination.into(),
            ip.protocol,
            ip.length.saturating_sub(ip.header),
        ),
        Network::Other => match headers.ethernet.ether_type {
            EtherType(length) if !headers.ethernet.ether_type.is_type() => {
                format!("IEEE 802.3, {length} bytes")
            }
            EtherType(other) => format!("EtherType {other:#06x}"),
        },
    }
}

/// An IP packet with so many bytes behind its headers.
fn packet(
    headers: &Headers,
    source: IpAddr,
    destination: IpAddr,
    protocol: Protocol,
    bytes: usize,
) -> String {
    let between =
        |from, to| format!("{} > {}", SocketAddr::new(source, from), SocketAddr::new(destination, to));
    let what: String = match headers.transport {
        Transport::Tcp(tcp) => {
            let flags = [
                (TcpFlags::SYN, " SYN"),
                (TcpFlags::FIN, " FIN"),
                (TcpFlags::RST, " RST"),
                (TcpFlags::PSH, " PSH"),
                (TcpFlags::ACK, " ACK"),
            ];
            let set: String =
                flags.iter().filter(|(flag, _)| tcp.flags.has(*flag)).map(|(_, name)| *name).collect();
            let between = between(tcp.source, tcp.destination);
            return format!("{between} TCP{set}, {} bytes", bytes.saturating_sub(tcp.header));
        }
        Transport::Udp(udp) => {
            return format!(
                "{} UDP, {} bytes",
                between(udp.source, udp.destination),
                udp.length.saturating_sub(8)
            );
        }
        Transport::Neighbour(Neighbour::Solicitation(address)) => format!("ICMPv6: who has {address}?"),
        Transport::Neighbour(Neighbour::Advertisement(address)) => format!("ICMPv6: {address} is here"),
        Transport::Fragment => format!("fragment of protocol {}, {bytes} bytes", protocol.0),
        Transport::Other => match protocol {
            Protocol::ICMP => format!("ICMP, {bytes} bytes"),
            Protocol::ICMPV6 => format!("ICMPv6, {bytes} bytes"),
            Protocol(other) => format!("protocol {other}, {bytes} bytes"),
        },
    };
    format!("{source} > {destination} {what}")
}
