//! Frames for tests, and whether one is right.
use super::MAC;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr};
use net::frame::checksum::Sum;
use net::frame::{
    EtherType, Ethernet, Headers, Ipv4, Ipv6, Mac, Network, Protocol, Tag, Tcp, TcpFlags, Transport, VlanId,
};
use net::nic::{Checksum, Offload, Segmentation, SegmentationKind};

pub const OTHER: Mac = Mac([2, 0, 0, 0, 0, 9]);
const SOURCE4: Ipv4Addr = Ipv4Addr::new(10, 1, 2, 3);
const TARGET4: Ipv4Addr = Ipv4Addr::new(10, 200, 0, 77);
const SOURCE6: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 2, 3, 4, 5, 6, 7);
const TARGET6: Ipv6Addr = Ipv6Addr::new(0xfd00, 9, 8, 7, 6, 5, 4, 0xfffe);

/// What TCP segments are like.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shape {
    pub v6: bool,
    pub tagged: bool,
    pub payload: usize,
}

/// Bytes of which none is like its neighbours.
pub fn pattern(bytes: usize, seed: u64) -> Vec<u8> {
    (0..bytes as u64).map(|i| ((i * 31 + seed * 101) ^ (i >> 8)) as u8).collect()
}

/// A frame to `to` that is of no known kind.
pub fn plain(to: [u8; 6], bytes: usize, seed: u64) -> Vec<u8> {
    let mut frame = pattern(bytes, seed);
    let head = Ethernet { destination: Mac(to), source: OTHER, tag: None, ether_type: EtherType::EXPERIMENT };
    frame[..14].copy_from_slice(&head.emit()[..14]);
    frame
}

/// A TCP segment, its checksum field being the sum of its pseudo header; and what is left to be done to it.
pub fn tcp(shape: Shape, cut: Option<u16>) -> (Vec<u8>, Offload) {
    let Shape { v6, tagged, payload } = shape;
    let tag = tagged.then(|| Tag::new(VlanId::new(7).unwrap(), 3));
    let ether_type = if v6 { EtherType::IPV6 } else { EtherType::IPV4 };
    let ethernet = Ethernet { destination: Mac(MAC), source: OTHER, tag, ether_type };
    let mut frame = ethernet.emit()[..ethernet.size()].to_vec();
    let length = 32 + payload;
    // Longer than the field holds where it is to be cut, as it may be.
    let sum = if v6 {
        let ip = Ipv6 {
            source: SOURCE6,
            destination: TARGET6,
            protocol: Protocol::TCP,
            header: 40,
            length: 40 + length,
            hop_limit: 64,
            traffic_class: 0,
            fragment: None,
            complete: true,
        };
        frame.extend(ip.emit());
        Sum::pseudo_v6(SOURCE6, TARGET6, Protocol::TCP, length as u32)
    } else {
        let ip = Ipv4 {
            source: SOURCE4,
            destination: TARGET4,
            protocol: Protocol::TCP,
            header: 20,
            length: 20 + length,
            identification: 0xfffe,
            keep_whole: true,
            more: false,
            fragment: 0,
            time_to_live: 64,
            traffic_class: 0,
        };
        frame.extend(ip.emit());
        Sum::pseudo_v4(SOURCE4, TARGET4, Protocol::TCP, length as u32)
    };
    let start = frame.len() as u16;
    let tcp = Tcp {
        source: 4000,
        destination: 80,
        sequence: 0xffff_f000,
        acknowledgement: 1,
        header: 32,
        flags: TcpFlags(TcpFlags::ACK.0 | TcpFlags::PSH.0 | TcpFlags::FIN.0),
        window: 500,
        checksum: sum.folded(),
        urgent: 0,
    };
    let mut header = tcp.emit();
    header[12] = 8 << 4;
    frame.extend(header);
    frame.extend([1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8]);
    let headers = frame.len() as u16;
    frame.extend(pattern(payload, 3));
    let kind = if v6 { SegmentationKind::Tcp6 } else { SegmentationKind::Tcp4 };
    let offload = Offload {
        checksum: Some(Checksum { start, offset: Tcp::CHECKSUM as u16 }),
        segmentation: cut.map(|payload| Segmentation { kind, payload, headers }),
        verified: false,
    };
    (frame, offload)
}

/// The same with its checksum.
pub fn whole_tcp(shape: Shape) -> Vec<u8> {
    let (mut frame, offload) = tcp(shape, None);
    let Checksum { start, offset } = offload.checksum.unwrap();
    let sum = Sum::new().bytes(&frame[start.into()..]).checksum();
    let at = usize::from(start + offset);
    frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// The headers of a TCP segment whose lengths and checksums are right, and its payload.
pub fn read_tcp(frame: &[u8]) -> (Headers, Tcp, &[u8]) {
    let headers = Headers::parse(frame, frame.len()).unwrap();
    let Transport::Tcp(tcp) = headers.transport else { panic!("{headers:?}") };
    let segment = &frame[headers.transport_at..];
    let length = segment.len() as u32;
    let pseudo = match headers.network {
        Network::V4(ip) => {
            assert_eq!(ip.length, frame.len() - headers.network_at);
            Sum::pseudo_v4(ip.source, ip.destination, Protocol::TCP, length)
        }
        Network::V6(ip) => {
            assert_eq!(ip.length, frame.len() - headers.network_at);
            Sum::pseudo_v6(ip.source, ip.destination, Protocol::TCP, length)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(pseudo.bytes(segment).folded(), 0xffff, "its checksum is right");
    (headers, tcp, &segment[tcp.header..])
}
