//! Files as their readers see them, and filters as operators write them.
use super::*;
use crate::frame::{
    Arp, ArpOperation, EtherType, Ethernet, Ipv4, Ipv6, LONGEST, Mac, Protocol, Tag, Udp, VlanId,
};
use core::net::{Ipv4Addr, Ipv6Addr};
use std::format;
use std::vec::Vec;

const STATION: Mac = Mac([0x52, 0x54, 0, 0, 0, 1]);

/// Records `frame`, of which the first `beginning` bytes are in one place.
fn record(capture: &mut Capture, now: u64, frame: &[u8], beginning: usize) -> bool {
    let headers = Headers::parse(&frame[..frame.len().min(LONGEST)], frame.len()).ok();
    let rest = |at: usize, into: &mut [u8]| into.copy_from_slice(&frame[beginning + at..][..into.len()]);
    capture.record(now, headers.as_ref(), frame.len(), &frame[..beginning], rest)
}

/// Time in nanoseconds, length, and what was kept, of each record of a file.
fn parse(file: &[u8]) -> Vec<(u64, usize, Vec<u8>)> {
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    assert_eq!((word(0), word(4), word(20)), (0xa1b2_3c4d, 0x0004_0002, 1));
    let mut records = Vec::new();
    let mut at = 24;
    while at < file.len() {
        let (kept, length) = (word(at + 8) as usize, word(at + 12) as usize);
        assert!(word(at + 4) < 1_000_000_000 && kept <= length && kept <= word(16) as usize);
        let time = u64::from(word(at)) * SECOND + u64::from(word(at + 4));
        records.push((time, length, file[at + 16..at + 16 + kept].to_vec()));
        at += 16 + kept;
    }
    assert_eq!(at, file.len());
    records
}

/// All that there is, by pieces of so many bytes.
fn read(capture: &Capture, cursor: &mut Cursor, piece: usize) -> Vec<u8> {
    let mut file = Vec::new();
    loop {
        let mut into = std::vec![0xee; piece];
        match capture.read(cursor, &mut into) {
            0 => return file,
            bytes => file.extend(&into[..bytes]),
        }
    }
}

fn frame(bytes: usize, seed: u8) -> Vec<u8> {
    (0..bytes).map(|at| (at as u8).wrapping_mul(7) ^ seed).collect()
}

#[test]
fn a_capture_is_a_file_of_libpcap() {
    let mut capture = Capture::new(1000, 100, None).unwrap();
    let short: [u8; 14] = [0xff; 14];
    assert!(record(&mut capture, 1_700_000_000_123_456_789, &short, 14));
    let mut cursor = Cursor::default();
    let file = read(&capture, &mut cursor, capture.piece());
    let expected = [
        &[0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 100, 0, 0, 0, 1, 0, 0, 0][..],
        &[0x00, 0xf1, 0x53, 0x65, 0x15, 0xcd, 0x5b, 0x07, 14, 0, 0, 0, 14, 0, 0, 0],
        &short,
    ];
    assert_eq!(file, expected.concat());
    assert_eq!(read(&capture, &mut cursor, capture.piece()), []);
    assert_eq!((capture.recorded(), capture.overwritten(), cursor.missed()), (1, 0, 0));
}

#[test]
fn a_frame_is_kept_up_to_the_length_that_was_asked_for() {
    let whole = frame(200, 1);
    for snap in [1, 13, 14, 100, 199, 200, 201, 100_000] {
        for beginning in [0, 14, 142, 200] {
            let mut capture = Capture::new(100_000, snap, None).unwrap();
            record(&mut capture, 5, &whole, beginning);
            let file = read(&capture, &mut Cursor::default(), capture.piece());
            assert_eq!(parse(&file), [(5, 200, whole[..snap.min(200)].to_vec())], "{snap} {beginning}");
        }
    }
}

#[test]
fn a_capture_that_holds_nothing_is_none() {
    for (bytes, snap) in [(0, 0), (1000, 0), (115, 100), (0, 1)] {
        assert_eq!(Capture::new(bytes, snap, None).err(), Some(CaptureError::Size));
    }
    assert!(Capture::new(116, 100, None).is_ok());
    assert_eq!(Capture::new(usize::MAX, 100, None).err(), Some(CaptureError::NoMemory));
}

#[test]
fn the_oldest_records_make_room_and_a_slow_reader_is_told() {
    let mut capture = Capture::new(300, 100, None).unwrap();
    let mut cursor = Cursor::default();
    for number in 0..10 {
        record(&mut capture, number, &frame(60, number as u8), 20);
    }
    // Three of 76 bytes are left.
    assert_eq!((capture.recorded(), capture.overwritten()), (10, 7));
    let file = read(&capture, &mut cursor, capture.piece());
    let expected = [7, 8, 9].map(|number| (number, 60, frame(60, number as u8)));
    assert_eq!((parse(&file), cursor.missed()), (expected.to_vec(), 7));
    // Who follows misses nothing.
    record(&mut capture, 10, &frame(60, 10), 20);
    let more = read(&capture, &mut cursor, capture.piece());
    assert_eq!((more.len(), cursor.missed()), (76, 7));
    assert_eq!(parse(&[&file[..], &more].concat()).last(), Some(&(10, 60, frame(60, 10))));
}

#[test]
fn a_piece_that_is_too_short_is_not_filled() {
    let mut capture = Capture::new(300, 100, None).unwrap();
    record(&mut capture, 0, &frame(60, 0), 60);
    let mut cursor = Cursor::default();
    assert_eq!(capture.read(&mut cursor, &mut [0; 23]), 0);
    assert_eq!(capture.read(&mut cursor, &mut [0; 99]), 24);
    assert_eq!(capture.read(&mut cursor, &mut [0; 75]), 0);
    assert_eq!(capture.read(&mut cursor, &mut [0; 76]), 76);
}

#[test]
fn whatever_is_recorded_and_read_when_it_is_a_file() {
    // xorshift.
    let mut state = 3u64;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    for _ in 0..200 {
        let snap = 1 + random(300) as usize;
        let size = 16 + snap + random(2000) as usize;
        let mut capture = Capture::new(size, snap, None).unwrap();
        let (mut cursor, mut file, mut recorded) = (Cursor::default(), Vec::new(), Vec::new());
        for now in 0..300 {
            let whole = frame(14 + random(400) as usize, random(256) as u8);
            record(&mut capture, now, &whole, random(whole.len() as u64 + 1) as usize);
            recorded.push((now, whole.len(), whole[..whole.len().min(snap)].to_vec()));
            if random(8) == 0 {
                let mut into = std::vec![0; capture.piece() + random(600) as usize];
                let bytes = capture.read(&mut cursor, &mut into);
                file.extend(&into[..bytes]);
            }
        }
        file.extend(read(&capture, &mut cursor, capture.piece()));
        let records = parse(&file);
        assert_eq!(records.len() as u64 + cursor.missed(), capture.recorded());
        assert!(records.is_sorted_by(|one, next| one.0 < next.0));
        assert!(records.iter().all(|record| *record == recorded[record.0 as usize]));
        assert_eq!(records.last(), recorded.last());
    }
}

/// A frame of each kind, with a name.
fn samples() -> Vec<(&'static str, Headers)> {
    let ethernet =
        |tag, ether_type| Ethernet { destination: Mac::BROADCAST, source: STATION, tag, ether_type };
    let link = |tag, ether_type, packet: &[u8]| {
        let ethernet = ethernet(tag, ether_type);
        let frame = [&ethernet.emit()[..ethernet.size()], packet].concat();
        Headers::parse(&frame, frame.len()).unwrap()
    };
    let v4 = |protocol, payload: &[u8], fragment| {
        let ip = Ipv4 {
            source: Ipv4Addr::new(10, 0, 0, 1),
            destination: Ipv4Addr::new(10, 0, 0, 2),
            protocol,
            header: 20,
            length: 20 + payload.len(),
            identification: 0,
            keep_whole: false,
            more: false,
            fragment,
            time_to_live: 64,
            traffic_class: 0,
        };
        [&ip.emit(), payload].concat()
    };
    let v6 = |protocol, payload: &[u8]| {
        let ip = Ipv6 {
            source: Ipv6Addr::LOCALHOST,
            destination: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2),
            protocol,
            header: 40,
            length: 40 + payload.len(),
            hop_limit: 1,
            traffic_class: 0,
            fragment: None,
            complete: true,
        };
        [&ip.emit(), payload].concat()
    };
    let mut tcp = [0; 20];
    tcp[..4].copy_from_slice(&[0xc0, 0, 0, 22]);
    tcp[12] = 0x50;
    let udp = Udp { source: 53, destination: 4000, length: 8, checksum: 0 }.emit();
    let arp = Arp {
        operation: ArpOperation::REQUEST,
        sender: STATION,
        sender_address: Ipv4Addr::new(10, 0, 0, 1),
        target: Mac::NONE,
        target_address: Ipv4Addr::new(10, 0, 0, 3),
    };
    let ten = Some(Tag::new(VlanId::new(10).unwrap(), 0));
    std::vec![
        ("arp", link(None, EtherType::ARP, &arp.emit())),
        ("tcp4", link(None, EtherType::IPV4, &v4(Protocol::TCP, &tcp, 0))),
        ("tcp4 part", link(None, EtherType::IPV4, &v4(Protocol::TCP, &tcp, 8))),
        ("icmp4", link(None, EtherType::IPV4, &v4(Protocol::ICMP, &[8, 0, 0, 0, 0, 0, 0, 0], 0))),
        ("udp6", link(None, EtherType::IPV6, &v6(Protocol::UDP, &udp))),
        ("icmp6", link(None, EtherType::IPV6, &v6(Protocol::ICMPV6, &[128, 0, 0, 0, 0, 0, 0, 0]))),
        ("other in 10", link(ten, EtherType::EXPERIMENT, &[])),
    ]
}

#[test]
fn a_filter_passes_what_its_words_say() {
    let samples = samples();
    let all: Vec<_> = samples.iter().map(|&(name, _)| name).collect();
    for (words, passing) in [
        ("", &all[..]),
        ("host 52:54:00:00:00:01", &all),
        ("host ff:ff:ff:ff:ff:ff", &all),
        ("host 52:54:00:00:00:02", &[]),
        ("arp", &["arp"]),
        ("ip", &["tcp4", "tcp4 part", "icmp4"]),
        ("ip6", &["udp6", "icmp6"]),
        ("icmp", &["icmp4", "icmp6"]),
        ("tcp", &["tcp4", "tcp4 part"]),
        ("udp", &["udp6"]),
        ("tcp port 22", &["tcp4"]),
        ("port 53", &["udp6"]),
        ("port 4000 and udp", &["udp6"]),
        ("port 23", &[]),
        ("vlan 10", &["other in 10"]),
        ("host 10.0.0.2", &["tcp4", "tcp4 part", "icmp4"]),
        ("host 10.0.0.3", &["arp"]),
        ("host 10.0.0.1 not arp and not tcp", &["icmp4"]),
        ("host ::1 icmp", &["icmp6"]),
        ("host fe80::2", &["udp6", "icmp6"]),
        ("not ip not ip6", &["arp", "other in 10"]),
        ("not port 22 and ip", &["tcp4 part", "icmp4"]),
        ("ip6 tcp", &[]),
    ] {
        let filter = Filter::parse(words).unwrap();
        let passed: Vec<_> =
            samples.iter().filter(|(_, headers)| filter.passes(headers)).map(|&(name, _)| name).collect();
        assert_eq!(passed, passing, "{words}");
    }
}

#[test]
fn words_that_are_no_filter_are_named() {
    use FilterError::*;
    for (words, wrong) in [
        ("tcpp", Unknown("tcpp".into())),
        ("TCP", Unknown("TCP".into())),
        ("and tcp", Unknown("and".into())),
        ("tcp and and ip", Unknown("and".into())),
        ("not not ip", Unknown("not".into())),
        ("tcp or udp", Unknown("or".into())),
        ("tcp and", Unfinished("and")),
        ("tcp not", Unfinished("not")),
        ("tcp port", Unfinished("port")),
        ("host", Unfinished("host")),
        ("vlan", Unfinished("vlan")),
        ("port ssh", Port("ssh".into())),
        ("port 65536", Port("65536".into())),
        ("vlan 0", Vlan("0".into())),
        ("vlan 4095", Vlan("4095".into())),
        ("host 10.0.0", Host("10.0.0".into())),
        ("host fe80::2::1", Host("fe80::2::1".into())),
        ("tcp udp", Never("tcp", "udp")),
        ("ip arp", Never("ip", "arp")),
        ("arp port 5", Never("port", "arp")),
        ("ip6 and ip", Never("ip6", "ip")),
    ] {
        assert_eq!(Filter::parse(words), Err(wrong), "{words}");
    }
    let told = format!("{}", Filter::parse("port ssh").unwrap_err());
    assert_eq!(told, "\"ssh\" is no port: say a number from 0 to 65535");
}

#[test]
fn what_does_not_pass_or_cannot_be_told_is_not_recorded() {
    let mut capture = Capture::new(1000, 100, Some(Filter::parse("arp").unwrap())).unwrap();
    for (name, headers) in samples() {
        let passed = capture.record(0, Some(&headers), 60, &[0; 60], |_, _| panic!("all is there"));
        assert_eq!(passed, name == "arp", "{name}");
    }
    assert!(!capture.record(0, None, 60, &[0; 60], |_, _| panic!("all is there")));
    assert_eq!(capture.recorded(), 1);
}
