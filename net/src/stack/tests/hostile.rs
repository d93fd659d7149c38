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

/// The request for a connection.
pub(super) struct Syn {
    pub from: u16,
    pub to: u16,
}

/// From station 1 to station 2.
pub(super) fn segment(syn: Syn) -> Vec<u8> {
    let (IpAddr::V4(one), IpAddr::V4(two)) = (v4(1), v4(2)) else { unreachable!() };
    ipv4_frame(one, two, Protocol::TCP, &tcp(one, two, syn.from, syn.to, 1000, 0, 2))
}

pub(super) fn tcp(
    one: Ipv4Addr,
    two: Ipv4Addr,
    from: u16,
    to: u16,
    sequence: u32,
    acknowledged: u32,
    flags: u8,
) -> Vec<u8> {
    let mut bytes = [&from.to_be_bytes()[..], &to.to_be_bytes()].concat();
    bytes.extend_from_slice(&sequence.to_be_bytes());
    bytes.extend_from_slice(&acknowledged.to_be_bytes());
    bytes.extend_from_slice(&[5 << 4, flags, 0x20, 0, 0, 0, 0, 0]);
    let sum = Sum::pseudo_v4(one, two, Protocol::TCP, bytes.len() as u32).bytes(&bytes).checksum();
    bytes[16..18].copy_from_slice(&sum.to_be_bytes());
    bytes
}

pub(super) fn echo_request(source: IpAddr, destination: IpAddr) -> Vec<u8> {
    let mut message = vec![8, 0, 0, 0, 0, 1, 0, 1, b'h', b'i'];
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let sum = Sum::new().bytes(&message).checksum();
            message[2..4].copy_from_slice(&sum.to_be_bytes());
            ipv4_frame(source, destination, Protocol::ICMP, &message)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            message[0] = 128;
            let length = message.len() as u32;
            let sum =
                Sum::pseudo_v6(source, destination, Protocol::ICMPV6, length).bytes(&message).checksum();
            message[2..4].copy_from_slice(&sum.to_be_bytes());
            ipv6_frame(source, destination, Protocol::ICMPV6, &message)
        }
        _ => unreachable!(),
    }
}

/// Station 1 asks for station 2, which knows it from then on.
pub(super) fn introduce(stack: &mut Stack, now: u64) {
    sent(stack, now);
    for (one, two) in [(v4(1), v4(2)), (v6(1), v6(2))] {
        stack.receive(neighbour::search(two, one, mac(1)).unwrap());
        assert_eq!(sent(stack, now).0.len(), 1, "an answer to the search");
    }
}

fn to_all(mut frame: Vec<u8>) -> Vec<u8> {
    frame[..6].copy_from_slice(&Mac::BROADCAST.0);
    frame
}

#[test]
fn what_a_host_must_not_answer_is_not_answered() {
    let mut stack = station(2);
    stack.listen(80, 4).unwrap();
    introduce(&mut stack, SECOND);
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    for (source, destination) in [(v4(1), v4(2)), (v6(1), v6(2))] {
        stack.receive(echo_request(source, destination));
        assert_eq!(sent(&mut stack, SECOND).0.len(), 1, "a ping is answered");
    }
    let (IpAddr::V4(one), IpAddr::V4(two), IpAddr::V4(all)) = (v4(1), v4(2), v4(255)) else { unreachable!() };
    let syn = |source, destination| {
        ipv4_frame(source, destination, Protocol::TCP, &tcp(source, destination, 9, 80, 1, 0, 2))
    };
    let mut fragment = echo_request(v4(1), v4(2));
    fragment[20] |= 0x20;
    fragment[24..26].fill(0);
    let sum = Sum::new().bytes(&fragment[14..34]).checksum();
    fragment[24..26].copy_from_slice(&sum.to_be_bytes());
    let frames = [
        ("a ping to all", to_all(echo_request(v4(1), v4(255)))),
        ("a ping to all everywhere", to_all(echo_request(v4(1), address("255.255.255.255")))),
        ("a ping to a group", to_all(echo_request(v4(1), address("224.0.0.1")))),
        ("a ping to us, on the Ethernet to all", to_all(echo_request(v4(1), v4(2)))),
        ("a ping to another", echo_request(v4(1), v4(3))),
        ("a ping from all", echo_request(v4(255), v4(2))),
        ("a ping from a group", echo_request(address("224.0.0.1"), v4(2))),
        ("a ping from nobody", echo_request(address("0.0.0.0"), v4(2))),
        ("a ping from a loopback", echo_request(address("127.0.0.1"), v4(2))),
        ("a ping to a loopback", echo_request(v4(1), address("127.0.0.1"))),
        ("a ping from us", echo_request(v4(2), v4(2))),
        ("an IPv6 ping from us", echo_request(v6(2), v6(2))),
        ("an IPv6 ping to a loopback", echo_request(v6(1), address("::1"))),
        ("an IPv6 ping from nobody", echo_request(address("::"), v6(2))),
        ("an IPv6 ping from a group", echo_request(address("ff02::1"), v6(2))),
        ("a connection from us (LAND)", syn(two, two)),
        ("a connection to all", to_all(syn(one, all))),
        ("a connection to us, on the Ethernet to all", to_all(syn(one, two))),
        ("a connection from nobody", syn(Ipv4Addr::UNSPECIFIED, two)),
        ("a fragment of a ping", fragment),
    ];
    for (what, frame) in frames {
        stack.receive(frame);
        assert_eq!(sent(&mut stack, SECOND).0, Vec::<Vec<u8>>::new(), "{what}");
    }
    assert_eq!(sockets(&stack, smoltcp::socket::tcp::State::Listen), 4);
}

#[test]
fn a_flood_fills_the_queue_and_no_more() {
    let mut stack = station(2);
    introduce(&mut stack, SECOND);
    let before = stack.counters();
    let ping = echo_request(v4(1), v4(2));
    let taken = (0..1000).filter(|_| stack.receive(ping.clone())).count();
    assert_eq!(taken, QUEUE);
    assert_eq!(stack.counters().receive_dropped - before.receive_dropped, 1000 - QUEUE as u64);
    // Answers that nobody takes are not made.
    assert!(stack.poll(SECOND).is_none_or(|next| next > SECOND));
    assert!(stack.receive(ping.clone()));
    assert_eq!(stack.poll(SECOND), Some(SECOND), "frames wait until answers are taken");
    for _ in 0..2 * QUEUE {
        stack.receive(ping.clone());
    }
    assert_eq!(core::iter::from_fn(|| stack.transmit()).count(), QUEUE);
    assert_eq!(sent(&mut stack, SECOND).0.len(), QUEUE);
}

#[test]
fn whoever_asks_whether_our_address_is_free_is_told_that_it_is_not() {
    let mut stack = station(2);
    sent(&mut stack, SECOND);
    let IpAddr::V4(two) = v4(2) else { unreachable!() };
    stack.receive(neighbour::search(v4(2), Ipv4Addr::UNSPECIFIED.into(), mac(9)).unwrap());
    let (frames, _) = sent(&mut stack, SECOND);
    let headers = Headers::parse(&frames[0], frames[0].len()).unwrap();
    let Network::Arp(arp) = headers.network else { panic!("{headers:?}") };
    assert_eq!((arp.sender, arp.sender_address, headers.ethernet.destination), (mac(2), two, mac(9)));
    for _ in 0..100 {
        stack.receive(neighbour::announcement(two, mac(9)));
    }
    assert_eq!(sent(&mut stack, SECOND).0.len(), 0);
    let events: Vec<_> = stack.take_events().collect();
    assert_eq!(events, [StackEvent::Conflict(two, mac(9))]);
}
