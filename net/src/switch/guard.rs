//! What a guest may say of itself: whose addresses it sends from and claims.
//!
//! Addresses of IP are checked where they are limited, in all that a receiver might believe: IPv4 and IPv6 sources, the
//! sender in ARP, the target in a neighbour advertisement. What hides them (a length instead of a type, ARP for other
//! hardware, headers behind long extensions) is refused then.
use super::Reason;
use crate::frame::{
    Arp, EtherType, Headers, Ipv4, Ipv6, LONGEST, Mac, Neighbour, Network, Protocol, Transport,
};
use alloc::boxed::Box;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Tags of providers (IEEE 802.1Q, table 9-1, and the one that was in use before): a VLAN for whoever looks for them.
const PROVIDER_TAGS: [EtherType; 2] = [EtherType(0x88a8), EtherType(0x9100)];
/// To which port of UDP a guest without an address speaks (RFC 2131, 4.1).
const DHCP_SERVER: u16 = 67;
/// Bytes of a neighbour advertisement without options.
const ADVERTISEMENT: usize = 24;

pub(super) struct Guard {
    mac: Mac,
    any_mac: bool,
    addresses: Option<Addresses>,
}

/// Those that a guest may have.
struct Addresses {
    v4: Box<[Ipv4Addr]>,
    v6: Box<[Ipv6Addr]>,
}

impl Guard {
    pub(super) fn new(mac: Mac, any_mac: bool, addresses: Option<&[IpAddr]>) -> Self {
        let addresses = addresses.map(|list| Addresses {
            v4: list.iter().filter_map(|&ip| if let IpAddr::V4(ip) = ip { Some(ip) } else { None }).collect(),
            v6: list.iter().filter_map(|&ip| if let IpAddr::V6(ip) = ip { Some(ip) } else { None }).collect(),
        });
        Self { mac, any_mac, addresses }
    }

    /// Whether the guest may send a frame with these headers, of so many bytes.
    pub(super) fn check(&self, headers: &Headers, bytes: usize) -> Result<(), Reason> {
        let ethernet = &headers.ethernet;
        if PROVIDER_TAGS.contains(&ethernet.ether_type) {
            return Err(Reason::Vlan);
        }
        if !self.any_mac && ethernet.source != self.mac {
            return Err(Reason::Mac);
        }
        let arp = match headers.network {
            Network::Arp(arp) => Some(arp),
            _ => None,
        };
        if !self.any_mac && arp.is_some_and(|arp| arp.sender != self.mac) {
            return Err(Reason::ClaimMac);
        }
        // Receivers take ARP of hardware type 6 (IEEE 802) too, which has the same form.
        let limited = !self.any_mac || self.addresses.is_some();
        if limited && ethernet.ether_type == Arp::TYPE && arp.is_none() {
            return Err(Reason::Unchecked);
        }
        match &self.addresses {
            Some(addresses) => addresses.check(headers, bytes),
            None => Ok(()),
        }
    }
}

impl Addresses {
    fn check(&self, headers: &Headers, bytes: usize) -> Result<(), Reason> {
        match headers.network {
            Network::Arp(arp) => self.check_arp(&arp),
            Network::V4(ip) => self.check_v4(&ip, headers.transport),
            Network::V6(ip) => self.check_v6(&ip, headers, bytes),
            // IP may follow an LLC header.
            Network::Other if !headers.ethernet.ether_type.is_type() => Err(Reason::Unchecked),
            Network::Other => Ok(()),
        }
    }

    fn check_arp(&self, arp: &Arp) -> Result<(), Reason> {
        // Who probes says nothing of himself yet (RFC 5227, 2.1.1).
        let good = arp.sender_address.is_unspecified() || self.v4.contains(&arp.sender_address);
        if good { Ok(()) } else { Err(Reason::ClaimAddress) }
    }

    fn check_v4(&self, ip: &Ipv4, transport: Transport) -> Result<(), Reason> {
        let asks = matches!(transport, Transport::Udp(udp) if udp.destination == DHCP_SERVER);
        let good = self.v4.contains(&ip.source) || (ip.source.is_unspecified() && asks);
        if good { Ok(()) } else { Err(Reason::Address) }
    }

    fn check_v6(&self, ip: &Ipv6, headers: &Headers, bytes: usize) -> Result<(), Reason> {
        // Who has no address of IPv6 has no use for those that everybody may have.
        if self.v6.is_empty() {
            return Err(Reason::Address);
        }
        let may = |address: Ipv6Addr| address.is_unicast_link_local() || self.v6.contains(&address);
        if !ip.source.is_unspecified() && !may(ip.source) {
            return Err(Reason::Address);
        }
        match headers.transport {
            Transport::Neighbour(Neighbour::Advertisement(target)) if !may(target) => {
                Err(Reason::ClaimAddress)
            }
            Transport::Other if is_hidden(ip, headers.transport_at, bytes) => Err(Reason::Unchecked),
            _ => Ok(()),
        }
    }
}

/// Whether an advertisement may lie where nobody has looked.
fn is_hidden(ip: &Ipv6, transport_at: usize, bytes: usize) -> bool {
    let end = transport_at + ADVERTISEMENT;
    !ip.complete || (ip.protocol == Protocol::ICMPV6 && end > LONGEST && end <= bytes)
}
