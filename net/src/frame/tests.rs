//! Byte by byte as on a wire, and what is not as it should be.
use super::checksum::{Sum, updated};
use super::*;
use core::net::{Ipv4Addr, Ipv6Addr};
use std::format;
use std::vec::Vec;

const STATION: Mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
const OTHER: Mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x57]);

/// A TCP segment with SYN, captured: 10.0.2.15:41012 to 10.0.2.2:80, options of 20 bytes.
const SYN: [u8; 74] = [
    0x52, 0x55, 0x0a, 0x00, 0x02, 0x02, 0x52, 0x54, 0x00, 0x12, 0x34, 0x56, 0x08, 0x00, // Ethernet
    0x45, 0x00, 0x00, 0x3c, 0x1c, 0x46, 0x40, 0x00, 0x40, 0x06, 0x06, 0x66, 0x0a, 0x00, 0x02, 0x0f, 0x0a,
    0x00, 0x02, 0x02, // IPv4
    0xa0, 0x34, 0x00, 0x50, 0x01, 0x02, 0x03, 0x04, 0x00, 0x00, 0x00, 0x00, 0xa0, 0x02, 0xfa, 0xf0, 0x00,
    0x00, 0x00, 0x00, // TCP
    0x02, 0x04, 0x05, 0xb4, 0x04, 0x02, 0x08, 0x0a, 0, 0, 0, 1, 0, 0, 0, 0, 0x01, 0x03, 0x03,
    0x07, // its options
];

fn parse(frame: &[u8]) -> Result<Headers, Malformed> {
    Headers::parse(frame, frame.len())
}

fn ethernet(ether_type: EtherType) -> Ethernet {
    Ethernet { destination: OTHER, source: STATION, tag: None, ether_type }
}

fn v4(protocol: Protocol, payload: usize) -> Ipv4 {
    Ipv4 {
        source: Ipv4Addr::new(10, 0, 2, 15),
        destination: Ipv4Addr::new(10, 0, 2, 2),
        protocol,
        header: Ipv4::SIZE,
        length: Ipv4::SIZE + payload,
        identification: 0x1c46,
        keep_whole: true,
        more: false,
        fragment: 0,
        time_to_live: 64,
        traffic_class: 0,
    }
}

fn v6(protocol: Protocol, payload: usize) -> Ipv6 {
    Ipv6 {
        source: Ipv6Addr::new(0xfe80, 0, 0, 0, 0x5054, 0xff, 0xfe12, 0x3456),
        destination: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 2),
        protocol,
        header: Ipv6::SIZE,
        length: Ipv6::SIZE + payload,
        hop_limit: 255,
        traffic_class: 0,
        fragment: None,
        complete: true,
    }
}

/// A frame of these headers and payload.
fn frame(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn v4_frame(ip: Ipv4, payload: &[u8]) -> Vec<u8> {
    frame(&[&ethernet(EtherType::IPV4).emit()[..14], &ip.emit(), payload])
}

fn v6_frame(ip: Ipv6, payload: &[u8]) -> Vec<u8> {
    frame(&[&ethernet(EtherType::IPV6).emit()[..14], &ip.emit(), payload])
}

#[test]
fn a_mac_address_is_read_as_it_is_written() {
    assert_eq!("52:54:00:12:34:56".parse(), Ok(STATION));
    assert_eq!("FF:ff:Ff:fF:ff:ff".parse(), Ok(Mac::BROADCAST));
    assert_eq!(format!("{STATION}"), "52:54:00:12:34:56");
    for wrong in [
        "",
        "52:54:00:12:34",
        "52:54:00:12:34:56:78",
        "5254.0012.3456",
        "+2:54:00:12:34:56",
        "52:54:0:12:34:56",
    ] {
        assert_eq!(wrong.parse::<Mac>(), Err(MacFormat), "{wrong}");
    }
}

#[test]
fn groups_and_nobody_are_no_stations() {
    assert!(STATION.is_station() && STATION.is_local() && !STATION.is_group());
    assert!(!Mac::BROADCAST.is_station() && Mac::BROADCAST.is_group());
    assert!(!Mac::NONE.is_station());
    assert!(!Mac([1, 0, 0x5e, 0, 0, 1]).is_station());
}

#[test]
fn a_captured_segment_says_what_was_sent() {
    let headers = parse(&SYN).unwrap();
    assert_eq!(headers.ethernet.source, STATION);
    assert_eq!(headers.ethernet.tag, None);
    let Network::V4(ip) = headers.network else { panic!("{headers:?}") };
    assert_eq!(ip, v4(Protocol::TCP, 40));
    let Transport::Tcp(tcp) = headers.transport else { panic!("{headers:?}") };
    assert_eq!((tcp.source, tcp.destination, tcp.sequence), (41012, 80, 0x0102_0304));
    assert_eq!((tcp.header, tcp.flags, tcp.window), (40, TcpFlags::SYN, 64240));
    assert!(tcp.flags.has(TcpFlags::SYN) && !tcp.flags.has(TcpFlags::ACK));
    assert_eq!((headers.network_at, headers.transport_at), (14, 34));
}

#[test]
fn a_tag_shifts_all_that_follows() {
    let tag = Tag::new(VlanId::new(10).unwrap(), 5);
    let mut tagged = SYN[..12].to_vec();
    tagged.extend([0x81, 0x00, 0xa0, 0x0a]);
    tagged.extend(&SYN[12..]);
    let headers = parse(&tagged).unwrap();
    assert_eq!(headers.ethernet.tag, Some(tag));
    assert_eq!((tag.vlan(), tag.priority()), (VlanId::new(10), 5));
    assert_eq!((headers.network_at, headers.transport_at), (18, 38));
    assert_eq!(headers.network, parse(&SYN).unwrap().network);
    assert_eq!(headers.ethernet.emit(), tagged[..18]);
}

#[test]
fn a_tag_of_priority_alone_has_no_vlan_and_the_reserved_number_is_told() {
    assert_eq!((Tag(0x6000).vlan(), Tag(0x6000).priority(), Tag(0x6000).is_reserved()), (None, 3, false));
    assert_eq!((Tag(0x0fff).vlan(), Tag(0x0fff).is_reserved()), (None, true));
    assert_eq!(VlanId::new(0).or(VlanId::new(4095)).or(VlanId::new(9999)), None);
    assert_eq!(VlanId::new(4094).map(VlanId::number), Some(4094));
}

#[test]
fn two_tags_and_wrong_sources_are_refused() {
    let mut twice = SYN[..12].to_vec();
    twice.extend([0x81, 0, 0, 10, 0x81, 0, 0, 20]);
    twice.extend(&SYN[12..]);
    assert_eq!(parse(&twice), Err(Malformed::SecondTag));
    for source in [Mac::BROADCAST, Mac::NONE, Mac([1, 0, 0x5e, 0, 0, 1])] {
        let mut frame = SYN;
        frame[6..12].copy_from_slice(&source.0);
        assert_eq!(parse(&frame), Err(Malformed::Source));
    }
}

#[test]
fn a_frame_may_end_behind_any_header_and_within_none() {
    for end in 0..SYN.len() {
        let parsed = parse(&SYN[..end]);
        let expected = match end {
            0..14 => Err(Malformed::Truncated("Ethernet")),
            14..34 => Err(Malformed::Truncated("IPv4")),
            // The packet says that it is longer.
            _ => Err(Malformed::PacketLength("IPv4")),
        };
        assert_eq!(parsed, expected, "{end}");
    }
}

#[test]
fn what_pads_a_short_frame_is_no_part_of_its_packet() {
    let datagram = Udp { source: 5353, destination: 53, length: 8, checksum: 0 };
    let mut short = v4_frame(v4(Protocol::UDP, 8), &datagram.emit());
    short.resize(60, 0xee);
    assert_eq!(parse(&short).unwrap().transport, Transport::Udp(datagram));
    // A length that reaches into the padding is beyond the packet.
    let lie = Udp { length: 20, ..datagram };
    let mut frame = v4_frame(v4(Protocol::UDP, 8), &lie.emit());
    frame.resize(60, 0);
    assert_eq!(parse(&frame), Err(Malformed::PacketLength("UDP")));
    let lie = Udp { length: 7, ..datagram };
    assert_eq!(parse(&v4_frame(v4(Protocol::UDP, 8), &lie.emit())), Err(Malformed::PacketLength("UDP")));
}

#[test]
fn headers_that_lie_about_lengths_and_versions_are_refused() {
    let with = |at: usize, value: u8| {
        let mut frame = SYN;
        frame[at] = value;
        parse(&frame)
    };
    assert_eq!(with(14, 0x65), Err(Malformed::Version));
    assert_eq!(with(14, 0x44), Err(Malformed::HeaderLength("IPv4")));
    assert_eq!(with(17, 61), Err(Malformed::PacketLength("IPv4")));
    assert_eq!(with(17, 19), Err(Malformed::PacketLength("IPv4")));
    assert_eq!(with(25, 0x67), Err(Malformed::Checksum("IPv4")));
    assert_eq!(with(46, 0x40), Err(Malformed::HeaderLength("TCP")));
    assert_eq!(with(46, 0xb0), Err(Malformed::HeaderLength("TCP")));
    let mut as_v6 = SYN;
    as_v6[12..14].copy_from_slice(&EtherType::IPV6.0.to_be_bytes());
    assert_eq!(parse(&as_v6), Err(Malformed::Version));
}

#[test]
fn parts_of_packets_are_fragments_whatever_they_hold() {
    let first = Ipv4 { keep_whole: false, more: true, ..v4(Protocol::TCP, 24) };
    let last = Ipv4 { keep_whole: false, fragment: 24, ..v4(Protocol::TCP, 24) };
    for (ip, place) in [(first, 0), (last, 24)] {
        let headers = parse(&v4_frame(ip, &[0xff; 24])).unwrap();
        assert_eq!(headers.transport, Transport::Fragment);
        assert!(matches!(headers.network, Network::V4(ip) if ip.is_fragment() && ip.fragment == place));
    }
    // IPv6: the fragment header's next header, reserved, place and flag, identification.
    for (place, expected) in
        [([0x00, 0x01], Some(0)), ([0x05, 0xa8], Some(0x5a8)), ([0, 0], None), ([0, 6], None)]
    {
        let mut payload = std::vec![17, 0, place[0], place[1], 0, 0, 0, 9];
        payload.extend(Udp { source: 1, destination: 2, length: 8, checksum: 0 }.emit());
        let headers = parse(&v6_frame(v6(Protocol::FRAGMENT, 16), &payload)).unwrap();
        let Network::V6(ip) = headers.network else { panic!("{headers:?}") };
        assert_eq!((ip.fragment, ip.protocol, ip.header), (expected, Protocol::UDP, 48));
        assert_eq!(matches!(headers.transport, Transport::Fragment), expected.is_some(), "{place:?}");
    }
}

#[test]
fn the_way_leads_through_extension_headers_up_to_a_bound() {
    let udp = Udp { source: 1, destination: 2, length: 8, checksum: 0 };
    // Hop-by-hop of 8 bytes, routing of 16, authentication of 12, destination options of 8.
    let mut payload = Vec::new();
    payload.extend([43, 0, 1, 4, 0, 0, 0, 0]);
    payload.extend([51, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    payload.extend([60, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    payload.extend([17, 0, 1, 4, 0, 0, 0, 0]);
    payload.extend(udp.emit());
    let headers = parse(&v6_frame(v6(Protocol::HOP_BY_HOP, payload.len()), &payload)).unwrap();
    assert_eq!((headers.transport, headers.transport_at), (Transport::Udp(udp), 14 + 40 + 44));

    // More than anybody needs: what is behind is not looked at.
    let mut many: Vec<u8> = (0..30).flat_map(|_| [60, 0, 1, 4, 0, 0, 0, 0]).collect();
    many.extend(udp.emit());
    let headers = parse(&v6_frame(v6(Protocol::DESTINATION, many.len()), &many)).unwrap();
    assert!(matches!(headers.network, Network::V6(ip) if !ip.complete));
    assert_eq!(headers.transport, Transport::Other);

    // One that reaches beyond the packet.
    let beyond = [17, 1, 1, 4, 0, 0, 0, 0];
    assert_eq!(parse(&v6_frame(v6(Protocol::DESTINATION, 8), &beyond)), Err(Malformed::HeaderLength("IPv6")));
}

#[test]
fn neighbours_and_arp_tell_whose_addresses_they_claim() {
    let address = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
    for (kind, expected) in [
        (135, Transport::Neighbour(Neighbour::Solicitation(address))),
        (136, Transport::Neighbour(Neighbour::Advertisement(address))),
        (128, Transport::Other),
    ] {
        let mut message = std::vec![kind, 0, 0, 0, 0, 0, 0, 0];
        message.extend(address.octets());
        assert_eq!(parse(&v6_frame(v6(Protocol::ICMPV6, 24), &message)).unwrap().transport, expected);
    }
    let short = v6_frame(v6(Protocol::ICMPV6, 12), &[136, 0, 0, 0, 0, 0, 0, 0, 0xfe, 0x80, 0, 0]);
    assert_eq!(parse(&short), Err(Malformed::Truncated("ICMPv6")));

    let arp = Arp {
        operation: ArpOperation::REPLY,
        sender: STATION,
        sender_address: Ipv4Addr::new(10, 0, 2, 15),
        target: OTHER,
        target_address: Ipv4Addr::new(10, 0, 2, 2),
    };
    let mut reply = frame(&[&ethernet(Arp::TYPE).emit()[..14], &arp.emit()]);
    assert_eq!(parse(&reply).unwrap().network, Network::Arp(arp));
    assert_eq!(parse(&reply[..41]), Err(Malformed::Truncated("ARP")));
    // For other hardware it is nothing that concerns anybody here.
    reply[15] = 6;
    assert_eq!(parse(&reply).unwrap().network, Network::Other);
}

#[test]
fn headers_are_emitted_as_they_are_parsed() {
    let tcp = Tcp {
        source: 41012,
        destination: 80,
        sequence: 0x0102_0304,
        acknowledgement: 0xfeed_beef,
        header: 20,
        flags: TcpFlags(TcpFlags::ACK.0 | TcpFlags::PSH.0),
        window: 502,
        checksum: 0x1234,
        urgent: 0,
    };
    let headers = parse(&v4_frame(v4(Protocol::TCP, 20), &tcp.emit())).unwrap();
    assert_eq!(
        (headers.network, headers.transport),
        (Network::V4(v4(Protocol::TCP, 20)), Transport::Tcp(tcp))
    );
    let headers = parse(&v6_frame(v6(Protocol::TCP, 20), &tcp.emit())).unwrap();
    assert_eq!(
        (headers.network, headers.transport),
        (Network::V6(v6(Protocol::TCP, 20)), Transport::Tcp(tcp))
    );
    assert_eq!(v4(Protocol::TCP, 40).emit(), SYN[14..34]);
}

#[test]
fn a_long_frames_headers_are_in_its_beginning() {
    let ip = v4(Protocol::TCP, 1480);
    let mut whole = v4_frame(ip, &SYN[34..]);
    whole.resize(1514, 0xaa);
    let headers = Headers::parse(&whole[..LONGEST], 1514).unwrap();
    assert_eq!(headers, parse(&whole).unwrap());
    // The whole is shorter than the packet.
    assert_eq!(Headers::parse(&whole[..LONGEST], 1513), Err(Malformed::PacketLength("IPv4")));
    // Behind extensions that fill the beginning, a header in the rest of the frame is not looked at.
    let mut payload = std::vec![17, 10, 1, 4];
    payload.resize(88, 0);
    payload.extend(Udp { source: 1, destination: 2, length: 900, checksum: 0 }.emit());
    payload.resize(1400, 0);
    let whole = v6_frame(v6(Protocol::DESTINATION, 1400), &payload);
    let headers = Headers::parse(&whole[..LONGEST], whole.len()).unwrap();
    assert_eq!((headers.transport, headers.transport_at), (Transport::Other, 142));
}

#[test]
fn unknown_types_and_protocols_are_no_errors() {
    let unknown = frame(&[&ethernet(EtherType::EXPERIMENT).emit()[..14], &[1, 2, 3]]);
    let headers = parse(&unknown).unwrap();
    assert_eq!(
        (headers.network, headers.transport, headers.transport_at),
        (Network::Other, Transport::Other, 14)
    );
    let length = frame(&[&ethernet(EtherType(46)).emit()[..14], &[0; 46]]);
    assert!(!parse(&length).unwrap().ethernet.ether_type.is_type());
    let odd = parse(&v4_frame(v4(Protocol(132), 0), &[])).unwrap();
    assert_eq!(odd.transport, Transport::Other);
}

#[test]
fn a_checksum_is_that_of_the_rfc_however_the_bytes_come() {
    // RFC 1071, 3.
    let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
    assert_eq!(Sum::new().bytes(&bytes).folded(), 0xddf2);
    for first in 0..=bytes.len() {
        for second in first..=bytes.len() {
            let pieces =
                Sum::new().bytes(&bytes[..first]).bytes(&bytes[first..second]).bytes(&bytes[second..]);
            assert_eq!(pieces.checksum(), !0xddf2, "{first} {second}");
        }
    }
    assert_eq!(Sum::new().bytes(&bytes[..7]).folded(), 0xdcfb, "an odd byte is the first of its word");
}

#[test]
fn pseudo_headers_and_udps_zero_are_as_the_rfcs_say() {
    let (from, to) = (Ipv4Addr::new(10, 0, 2, 15), Ipv4Addr::new(10, 0, 2, 2));
    let sum = Sum::pseudo_v4(from, to, Protocol::UDP, 8);
    assert_eq!(sum, Sum::new().bytes(&[10, 0, 2, 15, 10, 0, 2, 2, 0, 17, 0, 8]));
    let zero = Sum::new().word(0xffff);
    assert_eq!((zero.checksum(), zero.checksum_udp()), (0, 0xffff));
    let (from, to) = (v6(Protocol::TCP, 0).source, v6(Protocol::TCP, 0).destination);
    let by_hand = Sum::new().bytes(&from.octets()).bytes(&to.octets()).bytes(&[0, 1, 0x86, 0xa0, 0, 0, 0, 6]);
    assert_eq!(Sum::pseudo_v6(from, to, Protocol::TCP, 100_000), by_hand);
}

/// xorshift.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[test]
fn a_changed_words_checksum_need_not_be_made_anew() {
    let mut random = Random(7);
    for _ in 0..10_000 {
        let words: [u16; 4] =
            core::array::from_fn(|_| random.next() as u16 & [0, 0xffff][random.next() as usize & 1]);
        let sum = |words: [u16; 4]| words.into_iter().fold(Sum::new(), Sum::word).checksum();
        let mut changed = words;
        changed[2] = random.next() as u16;
        let (before, after) = (sum(words), sum(changed));
        // Nothing but zeroes has the other zero.
        if changed != [0; 4] && words != [0; 4] {
            assert_eq!(updated(before, words[2], changed[2]), after, "{words:x?} {changed:x?}");
        }
    }
}

#[test]
fn whatever_comes_is_parsed_or_refused_and_never_more() {
    let mut random = Random(1);
    let seeds: [Vec<u8>; 4] = [
        SYN.to_vec(),
        v6_frame(v6(Protocol::HOP_BY_HOP, 60), &[0; 60]),
        frame(&[&ethernet(Arp::TYPE).emit()[..14], &[0, 1, 8, 0, 6, 4], &[7; 22]]),
        v4_frame(v4(Protocol::UDP, 8), &Udp { source: 1, destination: 2, length: 8, checksum: 0 }.emit()),
    ];
    let mut parsed = 0;
    for round in 0..400_000 {
        let mut frame = seeds[round % seeds.len()].clone();
        for _ in 0..random.next() % 6 {
            let at = random.next() as usize % frame.len();
            frame[at] = random.next() as u8;
        }
        frame.resize(random.next() as usize % 200, random.next() as u8);
        // The header's checksum right, or nothing behind it would be reached.
        if frame.len() >= 34 && frame[12..15] == [8, 0, 0x45] {
            frame[24..26].copy_from_slice(&[0, 0]);
            let checksum = Sum::new().bytes(&frame[14..34]).checksum();
            frame[24..26].copy_from_slice(&checksum.to_be_bytes());
        }
        let beginning = &frame[..frame.len().min(LONGEST)];
        let Ok(headers) = Headers::parse(beginning, frame.len()) else { continue };
        parsed += 1;
        assert!(headers.network_at <= headers.transport_at && headers.transport_at <= frame.len());
        let end = match headers.network {
            Network::V4(ip) => headers.network_at + ip.length,
            Network::V6(ip) => headers.network_at + ip.length,
            _ => frame.len(),
        };
        assert!(end <= frame.len());
        let header = match headers.transport {
            Transport::Tcp(tcp) => tcp.header,
            Transport::Udp(udp) => udp.length,
            Transport::Neighbour(_) => 24,
            Transport::Fragment | Transport::Other => 0,
        };
        assert!(headers.transport_at + header <= end, "{headers:?}");
    }
    assert!(parsed > 20_000, "{parsed} were parsed");
}
