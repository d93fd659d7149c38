//! What others put on the wire by mistake or ill will.
use super::*;
use crate::frame::checksum::Sum;
use crate::frame::{EtherType, Ethernet, Network, Protocol};

/// What the receiver of a frame says when it can't go on with it: a message of ICMP with a beginning of it.
pub(super) fn failure(headers: &Headers, frame: &[u8], kind: u8, code: u8) -> Vec<u8> {
    let packet = &frame[headers.network_at..];
    let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(packet);
    match headers.network {
        Network::V4(ip) => {
            let sum = Sum::new().bytes(&message).checksum();
            message[2..4].copy_from_slice(&sum.to_be_bytes());
            let IpAddr::V4(router) = v4(1) else { unreachable!() };
            ipv4_frame(router, ip.source, Protocol::ICMP, &message)
        }
        Network::V6(ip) => {
            let IpAddr::V6(router) = v6(1) else { unreachable!() };
            let length = message.len() as u32;
            let sum = Sum::pseudo_v6(router, ip.source, Protocol::ICMPV6, length).bytes(&message).checksum();
            message[2..4].copy_from_slice(&sum.to_be_bytes());
            ipv6_frame(router, ip.source, Protocol::ICMPV6, &message)
        }
        _ => panic!("no packet"),
    }
}

/// To station 2, by station 1.
fn ethernet(ether_type: EtherType) -> Vec<u8> {
    let header = Ethernet { destination: mac(2), source: mac(1), tag: None, ether_type };
    header.emit()[..header.size()].to_vec()
}

pub(super) fn ipv4_frame(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: Protocol,
    payload: &[u8],
) -> Vec<u8> {
    let ip = Ipv4 {
        source,
        destination,
        protocol,
        header: Ipv4::SIZE,
        length: Ipv4::SIZE + payload.len(),
        identification: 1,
        keep_whole: false,
        more: false,
        fragment: 0,
        time_to_live: 64,
        traffic_class: 0,
    };
    [&ethernet(EtherType::IPV4)[..], &ip.emit(), payload].concat()
}

pub(super) fn ipv6_frame(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    protocol: Protocol,
    payload: &[u8],
) -> Vec<u8> {
    let ip = Ipv6 {
        source,
        destination,
        protocol,
        header: Ipv6::SIZE,
        length: Ipv6::SIZE + payload.len(),
        hop_limit: 64,
        traffic_class: 0,
        fragment: None,
        complete: true,
    };
    [&ethernet(EtherType::IPV6)[..], &ip.emit(), payload].concat()
}
