//! Which frames are let in.
//!
//! smoltcp checks what it needs. This is what a host must refuse besides (RFC 1122, 3.2.1.3 and 4.2.3.10), what smoltcp
//! would take for something else (fragments for whole packets), and what would make it panic (a DHCP server at 0.0.0.0).
use super::config::is_station;
use crate::frame::{Arp, ArpOperation, Headers, Mac, Network, Protocol, Transport};
use core::net::{IpAddr, Ipv4Addr};

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes on.
    Pass,
    /// Nobody hears of it.
    Refuse,
    /// Someone asks whether he may have one of our addresses (RFC 5227, 2.1.1), which smoltcp leaves unanswered.
    Probe(Arp),
    /// Someone else says that he has this address of ours.
    Conflict(Ipv4Addr, Mac),
}

/// What becomes of a frame with these headers at a station of this MAC address, which has the addresses that `own` knows.
pub(super) fn judge(headers: &Headers, mac: Mac, own: impl Fn(IpAddr) -> bool) -> Verdict {
    let ethernet = headers.ethernet;
    let to_group = ethernet.destination.is_group();
    if ethernet.tag.is_some() || (ethernet.destination != mac && !to_group) {
        return Verdict::Refuse;
    }
    let pass = match headers.network {
        Network::Arp(arp) => return judge_arp(arp, mac, own),
        Network::Other => false,
        _ if headers.transport == Transport::Fragment => false,
        Network::V4(ip) => {
            let to_us = own(ip.destination.into()) && !to_group;
            let kind = match ip.protocol {
                // Nobody who is not meant alone answers: a broadcast ping would be answered by all at once.
                Protocol::TCP | Protocol::ICMP => to_us,
                _ => !ip.destination.is_loopback(),
            };
            kind && is_station(ip.source.into()) && !own(ip.source.into())
        }
        Network::V6(ip) => {
            let to_us = own(ip.destination.into()) && !to_group;
            // Neighbours are found by groups; nothing else comes by them.
            let by_group = ip.protocol == Protocol::ICMPV6 && ip.destination.is_multicast();
            ip.complete && (to_us || by_group) && is_station(ip.source.into()) && !own(ip.source.into())
        }
    };
    if pass { Verdict::Pass } else { Verdict::Refuse }
}

fn judge_arp(arp: Arp, mac: Mac, own: impl Fn(IpAddr) -> bool) -> Verdict {
    let ours = |address: Ipv4Addr| own(address.into());
    if arp.sender == mac || !arp.sender.is_station() {
        Verdict::Refuse
    } else if ours(arp.sender_address) {
        Verdict::Conflict(arp.sender_address, arp.sender)
    } else if !ours(arp.target_address) {
        Verdict::Refuse
    } else if arp.sender_address.is_unspecified() && arp.operation == ArpOperation::REQUEST {
        Verdict::Probe(arp)
    } else if is_station(arp.sender_address.into()) {
        Verdict::Pass
    } else {
        Verdict::Refuse
    }
}
