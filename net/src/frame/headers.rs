//! All headers of a frame at once.
use super::{Arp, EtherType, Ethernet, Ipv4, Ipv6, Malformed, Neighbour, Protocol, Tag, Tcp, Udp};

/// Bytes of a frame's beginning that hold all headers that are looked at: a tag, IPv4 with options and TCP with options, or
/// IPv6 with as much of extensions.
pub const LONGEST: usize = Ethernet::SIZE + Tag::SIZE + 60 + 60;

/// The header behind Ethernet's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    Arp(Arp),
    V4(Ipv4),
    V6(Ipv6),
    /// Something else, which nobody here looks into.
    Other,
}

/// The header behind IP's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Tcp(Tcp),
    Udp(Udp),
    Neighbour(Neighbour),
    /// The frame holds a part of a packet. A first part is not looked into either: what it says, the others may change
    /// (RFC 1858).
    Fragment,
    /// Something else, or none.
    Other,
}

/// What a frame's headers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    pub ethernet: Ethernet,
    pub network: Network,
    pub transport: Transport,
    /// Where the network's header begins.
    pub network_at: usize,
    /// Where the transport's begins: behind IP's header, whatever follows; where the network's does if that is none of IP.
    pub transport_at: usize,
}

impl Headers {
    /// Of a frame of `length` bytes that begins with `beginning`: all of it, or at least [`LONGEST`] bytes, or, of one that
    /// is neither IP's nor ARP's, Ethernet's header.
    pub fn parse(beginning: &[u8], length: usize) -> Result<Self, Malformed> {
        let ethernet = Ethernet::parse(beginning)?;
        debug_assert!(beginning.len() <= length);
        debug_assert!(
            beginning.len() == length
                || beginning.len() >= LONGEST
                || !matches!(ethernet.ether_type, EtherType::ARP | EtherType::IPV4 | EtherType::IPV6)
        );
        let network_at = ethernet.size();
        let packet = beginning.get(network_at..).unwrap_or_default();
        let available = length.saturating_sub(network_at);
        let link = |network| Self {
            ethernet,
            network,
            transport: Transport::Other,
            network_at,
            transport_at: network_at,
        };
        match ethernet.ether_type {
            EtherType::ARP => Ok(link(Arp::parse(packet)?.map_or(Network::Other, Network::Arp))),
            EtherType::IPV4 => {
                let ip = Ipv4::parse(packet, available)?;
                let transport = match ip.is_fragment() {
                    true => Transport::Fragment,
                    false => transport(packet, ip.header, ip.length, ip.protocol)?,
                };
                Ok(Self { transport, transport_at: network_at + ip.header, ..link(Network::V4(ip)) })
            }
            EtherType::IPV6 => {
                let ip = Ipv6::parse(packet, available)?;
                let transport = match ip {
                    Ipv6 { fragment: Some(_), .. } => Transport::Fragment,
                    Ipv6 { complete: false, .. } => Transport::Other,
                    _ => transport(packet, ip.header, ip.length, ip.protocol)?,
                };
                Ok(Self { transport, transport_at: network_at + ip.header, ..link(Network::V6(ip)) })
            }
            _ => Ok(link(Network::Other)),
        }
    }
}

/// The header at `at` within a packet of `length` bytes.
fn transport(packet: &[u8], at: usize, length: usize, protocol: Protocol) -> Result<Transport, Malformed> {
    // The frame may go on behind the packet.
    let payload = packet.get(at..length.min(packet.len())).unwrap_or_default();
    let available = length - at;
    // Behind long extensions its header may not be in the beginning, though in the frame.
    let whole = length <= packet.len();
    let parsed = match protocol {
        Protocol::TCP => Tcp::parse(payload, available).map(Transport::Tcp),
        Protocol::UDP => Udp::parse(payload, available).map(Transport::Udp),
        Protocol::ICMPV6 => {
            Neighbour::parse(payload).map(|message| message.map_or(Transport::Other, Transport::Neighbour))
        }
        _ => Ok(Transport::Other),
    };
    match parsed {
        Err(Malformed::Truncated(_)) if !whole => Ok(Transport::Other),
        parsed => parsed,
    }
}
