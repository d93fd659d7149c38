//! What guests say of themselves.
use super::*;
use crate::frame::{Arp, ArpOperation, Ipv4, Ipv6, LONGEST, Protocol, Udp};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const MINE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const OTHERS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const MINE_6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const OTHERS_6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 1, 2, 3, 4);

fn limited(number: u8, allow_any_mac: bool, addresses: &[IpAddr]) -> PortConfig {
    let addresses = Some(addresses.to_vec());
    PortConfig::new(PortKind::Guest { mac: mac(number), allow_any_mac, addresses })
}

fn both() -> PortConfig {
    limited(1, false, &[MINE.into(), MINE_6.into()])
}

/// A frame from guest 1 to all, of these bytes behind its Ethernet header.
fn frame(ether_type: EtherType, parts: &[&[u8]]) -> Vec<u8> {
    let ethernet = Ethernet { destination: Mac::BROADCAST, source: mac(1), tag: None, ether_type };
    [&ethernet.emit()[..14], &parts.concat()].concat()
}

fn arp(sender: Mac, sender_address: Ipv4Addr) -> Vec<u8> {
    let operation = ArpOperation::REPLY;
    let arp = Arp { operation, sender, sender_address, target: mac(2), target_address: OTHERS };
    frame(EtherType::ARP, &[&arp.emit()])
}

fn udp(source: u16, destination: u16) -> [u8; 8] {
    Udp { source, destination, length: 8, checksum: 0 }.emit()
}

fn v4(source: Ipv4Addr, protocol: Protocol, payload: &[u8]) -> Vec<u8> {
    let ip = Ipv4 {
        source,
        destination: Ipv4Addr::BROADCAST,
        protocol,
        header: Ipv4::SIZE,
        length: Ipv4::SIZE + payload.len(),
        identification: 0,
        keep_whole: false,
        more: false,
        fragment: 0,
        time_to_live: 64,
        traffic_class: 0,
    };
    frame(EtherType::IPV4, &[&ip.emit(), payload])
}

fn v6(source: Ipv6Addr, protocol: Protocol, payload: &[u8]) -> Vec<u8> {
    let ip = Ipv6 {
        source,
        destination: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
        protocol,
        header: Ipv6::SIZE,
        length: Ipv6::SIZE + payload.len(),
        hop_limit: 255,
        traffic_class: 0,
        fragment: None,
        complete: true,
    };
    frame(EtherType::IPV6, &[&ip.emit(), payload])
}

/// A message of neighbour discovery.
fn neighbour(kind: u8, target: Ipv6Addr) -> Vec<u8> {
    [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &target.octets()].concat()
}

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

/// Whether the guest's frame reaches another one.
fn judged(config: PortConfig, frame: &[u8]) -> Result<(), Reason> {
    let headers = Headers::parse(&frame[..frame.len().min(LONGEST)], frame.len()).unwrap();
    let (mut switch, [a, b]) = switch([config, guest(2)]);
    let verdict = switch.forward(0, a, &headers, frame.len(), 1);
    match verdict {
        Verdict::Drop(reason) => {
            assert_eq!(switch.counters(a).unwrap().drops().collect::<Vec<_>>(), [(reason, 1)]);
            Err(reason)
        }
        Verdict::Forward(forward) => {
            assert_eq!(forward.to, ports(&[b]));
            Ok(())
        }
    }
}

#[test]
fn a_guest_sends_from_its_own_address_and_any_where_that_is_allowed() {
    let (mut switch, [a, b, c, node]) = switch([guest(1), open_guest(2), guest(3), node()]);
    assert_eq!(switch.send(a, headers(STRANGER, mac(3))), Err(Reason::Mac));
    assert_eq!(switch.send(a, headers(mac(3), mac(2))), Err(Reason::Mac));
    assert_eq!(switch.send(b, headers(STRANGER, mac(3))), Ok(ports(&[c])));
    assert_eq!(switch.send(b, headers(mac(3), mac(1))), Err(Reason::Taken));
    assert_eq!(switch.send(node, headers(STRANGER, mac(3))), Err(Reason::Mac));
    assert_eq!(switch.counters(a).unwrap().dropped(Reason::Mac), 2);
}

#[test]
fn arp_is_from_the_guests_own_addresses() {
    assert_eq!(judged(guest(1), &arp(mac(1), OTHERS)), Ok(()));
    assert_eq!(judged(guest(1), &arp(mac(2), OTHERS)), Err(Reason::ClaimMac));
    assert_eq!(judged(open_guest(1), &arp(mac(2), OTHERS)), Ok(()));
    assert_eq!(judged(both(), &arp(mac(1), MINE)), Ok(()));
    assert_eq!(judged(both(), &arp(mac(1), Ipv4Addr::UNSPECIFIED)), Ok(()));
    assert_eq!(judged(both(), &arp(mac(1), OTHERS)), Err(Reason::ClaimAddress));
    assert_eq!(judged(limited(1, true, &[MINE.into()]), &arp(STRANGER, OTHERS)), Err(Reason::ClaimAddress));
}

#[test]
fn arp_for_other_hardware_hides_no_claim() {
    let mut hidden = arp(mac(2), OTHERS);
    hidden[15] = 6;
    assert_eq!(judged(guest(1), &hidden), Err(Reason::Unchecked));
    assert_eq!(judged(limited(1, true, &[]), &hidden), Err(Reason::Unchecked));
    assert_eq!(judged(open_guest(1), &hidden), Ok(()));
}

#[test]
fn ipv4_is_from_an_allowed_address_or_asks_for_one() {
    let none = Ipv4Addr::UNSPECIFIED;
    assert_eq!(judged(guest(1), &v4(OTHERS, Protocol::UDP, &udp(1, 2))), Ok(()));
    assert_eq!(judged(both(), &v4(MINE, Protocol::UDP, &udp(1, 2))), Ok(()));
    assert_eq!(judged(both(), &v4(OTHERS, Protocol::UDP, &udp(1, 2))), Err(Reason::Address));
    assert_eq!(judged(both(), &v4(OTHERS, Protocol::UDP, &udp(68, 67))), Err(Reason::Address));
    assert_eq!(judged(both(), &v4(none, Protocol::UDP, &udp(68, 67))), Ok(()));
    assert_eq!(judged(both(), &v4(none, Protocol::UDP, &udp(68, 53))), Err(Reason::Address));
    assert_eq!(judged(both(), &v4(none, Protocol::ICMP, &[])), Err(Reason::Address));
    let only_v6 = || limited(1, false, &[MINE_6.into()]);
    assert_eq!(judged(only_v6(), &v4(MINE, Protocol::ICMP, &[])), Err(Reason::Address));
}

#[test]
fn ipv6_is_from_an_allowed_address_a_link_local_one_or_none_yet() {
    for (source, allowed) in
        [(MINE_6, true), (LINK_LOCAL, true), (Ipv6Addr::UNSPECIFIED, true), (OTHERS_6, false)]
    {
        let frame = v6(source, Protocol::UDP, &udp(1, 2));
        let wanted = if allowed { Ok(()) } else { Err(Reason::Address) };
        assert_eq!(judged(both(), &frame), wanted, "{source}");
        assert_eq!(judged(guest(1), &frame), Ok(()));
        // Without an address of IPv6 there is none of it.
        assert_eq!(judged(limited(1, false, &[MINE.into()]), &frame), Err(Reason::Address));
    }
}

#[test]
fn a_neighbour_advertisement_is_for_an_allowed_address() {
    for (target, allowed) in [(MINE_6, true), (LINK_LOCAL, true), (OTHERS_6, false)] {
        let frame = v6(MINE_6, Protocol::ICMPV6, &neighbour(ADVERTISEMENT, target));
        let wanted = if allowed { Ok(()) } else { Err(Reason::ClaimAddress) };
        assert_eq!(judged(both(), &frame), wanted, "{target}");
        assert_eq!(judged(guest(1), &frame), Ok(()));
        // Who asks for it does not claim it.
        let asks = v6(MINE_6, Protocol::ICMPV6, &neighbour(SOLICITATION, target));
        assert_eq!(judged(both(), &asks), Ok(()));
    }
}

#[test]
fn no_claim_hides_behind_extensions() {
    let advertisement = neighbour(ADVERTISEMENT, OTHERS_6);
    // Options of so many bytes; behind the longest ones the message is where nobody looks.
    for size in (8..=160).step_by(8) {
        let mut options = std::vec![0; size];
        options[..4].copy_from_slice(&[58, (size / 8 - 1) as u8, 1, (size.min(128) - 4) as u8]);
        let payload = [&options[..], &advertisement].concat();
        let frame = v6(MINE_6, Protocol::DESTINATION, &payload);
        let reason = judged(both(), &frame).unwrap_err();
        assert!(matches!(reason, Reason::ClaimAddress | Reason::Unchecked), "{size} {reason}");
        assert_eq!(judged(guest(1), &frame), Ok(()));
    }
    let mut many: Vec<u8> = (0..20).flat_map(|_| [60, 0, 1, 4, 0, 0, 0, 0]).collect();
    many.extend(&advertisement);
    assert_eq!(judged(both(), &v6(MINE_6, Protocol::DESTINATION, &many)), Err(Reason::Unchecked));
    // Other messages behind a short way pass, and so does an echo.
    assert_eq!(judged(both(), &v6(MINE_6, Protocol::ICMPV6, &[128, 0, 0, 0, 0, 0, 0, 1])), Ok(()));
}

#[test]
fn ip_without_a_type_hides_no_address() {
    // An LLC header, and the type behind it.
    let snap = frame(EtherType(60), &[&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &[0; 52]]);
    assert_eq!(judged(both(), &snap), Err(Reason::Unchecked));
    assert_eq!(judged(guest(1), &snap), Ok(()));
    assert_eq!(judged(both(), &frame(EtherType(0x1234), &[&[0; 46]])), Ok(()));
}

#[test]
fn who_serves_dhcp_or_routes_may_do_so() {
    assert_eq!(judged(both(), &v4(MINE, Protocol::UDP, &udp(67, 68))), Ok(()));
    let router = [134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(judged(both(), &v6(LINK_LOCAL, Protocol::ICMPV6, &router)), Ok(()));
}

#[test]
fn each_reason_is_a_sentence_for_the_operator() {
    let sentences: std::collections::BTreeSet<_> =
        Reason::ALL.iter().map(|reason| std::format!("{reason}")).collect();
    assert_eq!(sentences.len(), Reason::ALL.len());
}
