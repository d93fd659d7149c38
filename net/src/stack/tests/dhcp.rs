//! DHCP, against a server of a few lines.
use super::*;
use crate::frame::{EtherType, Ethernet, Network, Protocol, Transport, Udp};
use smoltcp::wire::{DhcpMessageType as Kind, DhcpPacket, DhcpRepr};

/// Answers whoever asks.
pub(super) struct Server {
    pub offers: Ipv4Addr,
    pub mask: Ipv4Addr,
    pub router: Option<Ipv4Addr>,
    /// Where its answers come from, as their headers say.
    pub source: Ipv4Addr,
    /// Seconds.
    pub lease: u32,
    pub silent: bool,
    pub refuses: bool,
    /// Kinds of the messages that it has heard.
    pub heard: Vec<Kind>,
}

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 1);
const GIVEN: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 77);

impl Server {
    pub fn new() -> Self {
        Self {
            offers: GIVEN,
            mask: Ipv4Addr::new(255, 255, 255, 0),
            router: Some(SERVER),
            source: SERVER,
            lease: 3600,
            silent: false,
            refuses: false,
            heard: Vec::new(),
        }
    }

    /// What it answers to a frame, or to a search for its MAC address.
    pub fn answer(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        let headers = Headers::parse(frame, frame.len()).expect("a good frame");
        if let Network::Arp(arp) = headers.network
            && arp.target_address == SERVER
        {
            let probe = crate::frame::Arp { operation: crate::frame::ArpOperation::REQUEST, ..arp };
            return Some(neighbour::defence(probe, mac(1)));
        }
        let Transport::Udp(Udp { destination: 67, .. }) = headers.transport else { return None };
        let packet = DhcpPacket::new_checked(&frame[headers.transport_at + 8..]).expect("a DHCP packet");
        let asked = DhcpRepr::parse(&packet).expect("a DHCP message");
        self.heard.push(asked.message_type);
        let kind = match asked.message_type {
            _ if self.silent => return None,
            Kind::Discover => Kind::Offer,
            Kind::Request if self.refuses => Kind::Nak,
            Kind::Request => Kind::Ack,
            other => panic!("{other:?}"),
        };
        let mut dns = asked.dns_servers.clone().unwrap_or_default();
        dns.push(SERVER).unwrap();
        dns.push(Ipv4Addr::new(9, 9, 9, 9)).unwrap();
        let answer = DhcpRepr {
            message_type: kind,
            your_ip: self.offers,
            client_ip: Ipv4Addr::UNSPECIFIED,
            server_ip: SERVER,
            router: self.router,
            subnet_mask: Some(self.mask),
            requested_ip: None,
            client_identifier: None,
            server_identifier: Some(SERVER),
            parameter_request_list: None,
            dns_servers: Some(dns),
            max_size: None,
            lease_duration: Some(self.lease),
            renew_duration: None,
            rebind_duration: None,
            additional_options: &[],
            ..asked
        };
        let mut payload = vec![0; answer.buffer_len()];
        answer.emit(&mut DhcpPacket::new_unchecked(&mut payload[..])).expect("room for it");
        let udp = Udp { source: 67, destination: 68, length: 8 + payload.len(), checksum: 0 };
        let mut whole = hostile::ipv4_frame(
            self.source,
            self.offers,
            Protocol::UDP,
            &[&udp.emit()[..], &payload].concat(),
        );
        let header = Ethernet {
            destination: headers.ethernet.source,
            source: mac(1),
            tag: None,
            ether_type: EtherType::IPV4,
        };
        whole[..14].copy_from_slice(&header.emit()[..14]);
        Some(whole)
    }

    /// Serves a stack for so long, which is polled when it asks for it.
    pub fn serve(&mut self, stack: &mut Stack, now: &mut u64, time: u64) {
        let end = *now + time;
        while *now < end {
            let (frames, next) = sent(stack, *now);
            let answers: Vec<_> = frames.iter().filter_map(|frame| self.answer(frame)).collect();
            for answer in answers.iter().cloned() {
                stack.receive(answer);
            }
            if answers.is_empty() {
                match next {
                    Some(next) if next < end => *now = next,
                    _ => break,
                }
            } else {
                *now += MILLISECOND;
            }
        }
        *now = end;
        sent(stack, end);
    }
}

fn config() -> StackConfig {
    StackConfig { address: Addressing::Dhcp, ..fixed(2) }
}

fn leased() -> StackEvent {
    StackEvent::Leased {
        address: (GIVEN, 24),
        gateway: Some(SERVER),
        dns: vec![SERVER.into(), Ipv4Addr::new(9, 9, 9, 9).into()],
        server: SERVER,
    }
}

fn events(stack: &mut Stack) -> Vec<StackEvent> {
    stack.take_events().collect()
}

fn has_given(stack: &Stack) -> bool {
    stack.addresses().any(|own| own == (GIVEN.into(), 24))
}

#[test]
fn a_server_gives_an_address_a_gateway_and_dns_servers() {
    let (mut server, mut stack, mut now) = (Server::new(), up(config()), SECOND);
    server.serve(&mut stack, &mut now, SECOND);
    assert_eq!(server.heard, [Kind::Discover, Kind::Request]);
    assert_eq!(events(&mut stack), [leased()]);
    assert!(has_given(&stack));
    assert_eq!(stack.addresses().count(), 2, "the link-local one is there too");
    assert_eq!(stack.gateways(), [IpAddr::from(SERVER)]);
    assert_eq!(stack.dns(), [IpAddr::from(SERVER), Ipv4Addr::new(9, 9, 9, 9).into()]);
    assert!(stack.open_ping("192.0.2.1".parse().unwrap()).is_ok());
}

#[test]
fn a_lease_is_renewed_as_long_as_the_server_is_there_and_lost_when_its_time_is_over() {
    let (mut server, mut stack, mut now) = (Server::new(), up(config()), SECOND);
    server.serve(&mut stack, &mut now, 10 * 3600 * SECOND);
    let renewals = server.heard.iter().filter(|kind| **kind == Kind::Request).count();
    assert!((15..30).contains(&renewals), "{:?}", server.heard);
    assert_eq!(events(&mut stack), [leased()], "renewals are no news");
    server.silent = true;
    server.serve(&mut stack, &mut now, 3700 * SECOND);
    assert_eq!(events(&mut stack), [StackEvent::LeaseLost(GIVEN)]);
    assert_eq!((stack.addresses().count(), stack.gateways().len(), stack.dns().len()), (1, 0, 0));
    server.silent = false;
    server.serve(&mut stack, &mut now, 30 * SECOND);
    assert_eq!(events(&mut stack), [leased()]);
}

#[test]
fn a_lease_ends_with_the_link_and_a_new_link_asks_at_once() {
    let (mut server, mut stack, mut now) = (Server::new(), up(config()), SECOND);
    server.serve(&mut stack, &mut now, SECOND);
    assert!(has_given(&stack));
    stack.set_link(false);
    assert_eq!(events(&mut stack), [leased(), StackEvent::LeaseLost(GIVEN)]);
    assert!(!has_given(&stack));
    assert_eq!((stack.gateways().len(), stack.dns().len()), (0, 0));
    assert_eq!(sent(&mut stack, now + SECOND), (vec![], None), "nothing is sent or waited for");
    assert!(!stack.receive(vec![0; 60]));
    stack.set_link(true);
    server.heard.clear();
    server.serve(&mut stack, &mut now, SECOND);
    assert_eq!(server.heard, [Kind::Discover, Kind::Request]);
    assert!(has_given(&stack));
}

#[test]
fn streams_of_an_address_break_with_it() {
    let (mut server, mut stack, mut now) = (Server::new(), up(config()), SECOND);
    server.serve(&mut stack, &mut now, SECOND);
    let stream = connect(&mut stack, v4(1), 80, 50000);
    sent(&mut stack, now);
    stack.set_link(false);
    sent(&mut stack, now);
    assert!(stack.stream(stream).unwrap().broken);
    assert_eq!(stack.read(stream, &mut [0]), Err(StreamError::Broken));
}

#[test]
fn a_server_that_takes_its_word_back_is_believed() {
    let (mut server, mut stack, mut now) = (Server::new(), up(config()), SECOND);
    server.serve(&mut stack, &mut now, SECOND);
    server.refuses = true;
    server.serve(&mut stack, &mut now, 1900 * SECOND);
    assert_eq!(events(&mut stack), [leased(), StackEvent::LeaseLost(GIVEN)]);
}

#[test]
fn a_server_that_is_silent_is_asked_now_and_then() {
    let (mut server, mut stack, mut now) = (Server::new(), up(config()), SECOND);
    server.silent = true;
    server.serve(&mut stack, &mut now, 100 * SECOND);
    assert!((10..=30).contains(&server.heard.len()), "{}", server.heard.len());
    assert!(events(&mut stack).is_empty());
}

#[test]
fn another_address_takes_the_place_of_the_one_before() {
    let (mut server, mut stack, mut now) = (Server::new(), up(config()), SECOND);
    server.serve(&mut stack, &mut now, SECOND);
    events(&mut stack);
    server.offers = Ipv4Addr::new(10, 0, 2, 78);
    server.router = None;
    server.serve(&mut stack, &mut now, 1900 * SECOND);
    let events = events(&mut stack);
    assert_eq!(events[0], StackEvent::LeaseLost(GIVEN));
    assert!(matches!(events[1], StackEvent::Leased { gateway: None, .. }), "{events:?}");
    assert_eq!((stack.addresses().count(), stack.gateways().len()), (2, 0));
}

#[test]
fn what_no_station_can_have_is_not_taken_from_a_server() {
    for offers in [[127, 0, 0, 1], [0, 0, 0, 7], [240, 0, 0, 1]] {
        let (mut server, mut stack, mut now) = (Server::new(), up(config()), SECOND);
        server.offers = offers.into();
        server.serve(&mut stack, &mut now, 5 * SECOND);
        assert_eq!(stack.addresses().count(), 1);
        let events = events(&mut stack);
        assert!(events.iter().all(|event| *event == StackEvent::LeaseRefused(offers.into())), "{events:?}");
    }
    for router in [[0; 4], [255; 4], [224, 0, 0, 1], [127, 0, 0, 1], GIVEN.octets()] {
        let (mut server, mut stack, mut now) = (Server::new(), up(config()), SECOND);
        server.router = Some(router.into());
        server.serve(&mut stack, &mut now, 5 * SECOND);
        assert!(has_given(&stack));
        assert_eq!(stack.gateways().len(), 0);
    }
}

/// smoltcp would panic at the renewal, which goes to where the offer came from.
#[test]
fn a_server_at_no_address_is_not_heard() {
    for source in [Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, Ipv4Addr::new(224, 0, 0, 1)] {
        let (mut server, mut stack, mut now) = (Server::new(), up(config()), SECOND);
        server.source = source;
        server.serve(&mut stack, &mut now, 4000 * SECOND);
        assert_eq!(stack.addresses().count(), 1);
    }
}

#[test]
fn a_server_that_gives_nothing_for_long_is_not_asked_without_end() {
    let (mut server, mut stack, mut now) = (Server::new(), up(config()), SECOND);
    server.lease = 0;
    server.serve(&mut stack, &mut now, 100 * SECOND);
    assert!(server.heard.len() < 150, "{}", server.heard.len());
    assert!(events(&mut stack).len() <= MAX_EVENTS);
    let (mut server, mut stack, mut now) = (Server::new(), up(config()), SECOND);
    server.refuses = true;
    server.serve(&mut stack, &mut now, 100 * SECOND);
    assert!(server.heard.len() < 150, "{}", server.heard.len());
}

/// The answers of a server, changed here and there, while the right question is open.
#[test]
fn mutated_answers_of_a_server_do_no_harm() {
    let mut random = Random(11);
    for _ in 0..300 {
        let (mut server, mut stack, mut now) = (Server::new(), up(config()), SECOND);
        server.lease = [0, 1, 60, 3600, u32::MAX][random.below(5)];
        for _ in 0..40 {
            let (frames, _) = sent(&mut stack, now);
            let answers: Vec<_> = frames.iter().filter_map(|frame| server.answer(frame)).collect();
            for answer in answers.iter().filter(|answer| answer.len() > 282) {
                for _ in 0..2 {
                    let mut copy = answer.clone();
                    // Options begin at 282.
                    for _ in 0..random.below(3) {
                        let at = [42, 282][random.below(2)];
                        let at = at + random.below(copy.len() - at);
                        copy[at] = [0, 1, 4, 255, random.number() as u8][random.below(5)];
                    }
                    stack.receive(copy);
                }
            }
            now += random.number() % (20 * SECOND);
        }
    }
}
