//! Ping, and how stations find each other.
use super::*;
use core::net::Ipv4Addr;

/// Sends one request to each of these, and waits for what comes of them.
fn ping_all(
    wire: &mut Wire,
    stacks: &mut [Stack],
    to: &[IpAddr],
    data: &[u8],
    patience: u64,
) -> Vec<PingOutcome> {
    let ids: Vec<_> = to.iter().map(|&to| stacks[0].open_ping(to).expect("a way to it")).collect();
    for &id in &ids {
        stacks[0].ping(id, 1, data.to_vec(), wire.now + patience).expect("room for a request");
    }
    let mut outcomes = vec![None; ids.len()];
    let done = wire.run(stacks, 2 * patience, |stacks| {
        for (id, outcome) in ids.iter().zip(&mut outcomes) {
            if let Some(result) = stacks[0].take_ping(*id) {
                assert_eq!((result.sequence, *outcome), (1, None));
                *outcome = Some(result.outcome);
            }
        }
        outcomes.iter().all(Option::is_some)
    });
    assert!(done, "{outcomes:?}");
    for id in ids {
        stacks[0].close_ping(id);
    }
    outcomes.into_iter().flatten().collect()
}

fn round_trip(outcome: PingOutcome) -> u64 {
    match outcome {
        PingOutcome::Reply { round_trip } => round_trip,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_station_answers_a_ping_to_each_of_its_addresses() {
    let (mut wire, mut stacks) = (Wire::new(), [station(2), station(3)]);
    let local: IpAddr = config::link_local(mac(3)).into();
    for to in [v4(3), v6(3), local] {
        for data in [0, 1, 56, 1400] {
            let data: Vec<u8> = (0..data).map(|byte| byte as u8).collect();
            let outcomes = ping_all(&mut wire, &mut stacks, &[to], &data, 3 * SECOND);
            assert_eq!(round_trip(outcomes[0]), 2 * wire.delay, "{to}");
        }
    }
}

#[test]
fn several_pings_do_not_wait_for_one_that_nobody_answers() {
    let (mut wire, mut stacks) = (Wire::new(), [station(2), station(3), station(4)]);
    let outcomes =
        ping_all(&mut wire, &mut stacks, &[v4(99), v4(3), v6(4), v6(99), v4(4)], b"who", 8 * SECOND);
    for at in [1, 2, 4] {
        assert_eq!(round_trip(outcomes[at]), 2 * wire.delay);
    }
    assert_eq!((outcomes[0], outcomes[3]), (PingOutcome::TimedOut, PingOutcome::TimedOut));
}

#[test]
fn the_node_answers_itself() {
    let (mut wire, mut stacks) = (Wire::new(), [station(2)]);
    let own = ping_all(&mut wire, &mut stacks, &[v4(2), v6(2)], b"me", SECOND);
    assert_eq!(own, [PingOutcome::Reply { round_trip: 0 }; 2]);
}

#[test]
fn a_ping_finds_its_station_on_a_wire_that_loses_frames() {
    let (mut wire, mut stacks) = (Wire::new(), [station(2), station(3)]);
    wire.loss = 30;
    let mut replies = 0;
    for _ in 0..20 {
        let outcomes = ping_all(&mut wire, &mut stacks, &[v4(3), v6(3)], b"data", 5 * SECOND);
        replies += outcomes.iter().filter(|outcome| matches!(outcome, PingOutcome::Reply { .. })).count();
    }
    assert!((8..40).contains(&replies), "{replies}");
}

#[test]
fn requests_of_a_ping_are_told_apart_by_their_numbers() {
    let (mut wire, mut stacks) = (Wire::new(), [station(2), station(3)]);
    let id = stacks[0].open_ping(v4(3)).unwrap();
    for sequence in 0..MAX_REQUESTS as u16 {
        assert_eq!(stacks[0].ping(id, sequence, vec![sequence as u8], 9 * SECOND), Ok(()));
    }
    assert_eq!(stacks[0].ping(id, 99, vec![], 9 * SECOND), Err(PingRefused::TooMany));
    wire.pass(&mut stacks, SECOND);
    let results: Vec<_> = core::iter::from_fn(|| stacks[0].take_ping(id)).collect();
    assert_eq!(results.len(), MAX_REQUESTS);
    for (sequence, result) in results.iter().enumerate() {
        assert_eq!(usize::from(result.sequence), sequence);
        round_trip(result.outcome);
    }
    assert_eq!(stacks[0].ping(id, 99, vec![], 9 * SECOND), Ok(()));
    assert_eq!(stacks[0].ping(id, 99, vec![], 9 * SECOND), Err(PingRefused::Sequence));
    stacks[0].close_ping(id);
    assert_eq!(stacks[0].ping(id, 100, vec![], 9 * SECOND), Err(PingRefused::Unknown));
}

#[test]
fn a_ping_that_cannot_be_is_refused() {
    let mut stack = station(2);
    let all =
        [v4(255), Ipv4Addr::BROADCAST.into(), Ipv4Addr::UNSPECIFIED.into(), "224.0.0.1".parse().unwrap()];
    for to in all.into_iter().chain(["::", "::1", "ff02::1", "::ffff:10.0.2.3"].map(|to| to.parse().unwrap()))
    {
        assert_eq!(stack.open_ping(to), Err(PingRefused::Station), "{to}");
    }
    let id = stack.open_ping(v4(3)).unwrap();
    assert_eq!(stack.ping(id, 1, vec![0; 1473], SECOND), Err(PingRefused::TooLong));
    assert_eq!(stack.ping(id, 1, vec![0; 1472], SECOND), Ok(()));
    for _ in 1..MAX_PINGS {
        stack.open_ping(v6(3)).unwrap();
    }
    assert_eq!(stack.open_ping(v6(3)), Err(PingRefused::TooMany));
    let mut lonely = up(StackConfig { address: Addressing::Dhcp, ..fixed(2) });
    assert_eq!(lonely.open_ping(v4(3)), Err(PingRefused::NoRoute));
    assert!(lonely.open_ping("fe80::3".parse().unwrap()).is_ok());
}

#[test]
fn a_router_that_cannot_go_on_is_heard() {
    let (mut wire, mut stacks) = (Wire::new(), [station(2), station(1)]);
    for (to, kind) in [("192.0.2.9", 3), ("192.0.2.9", 11), ("2001:db8::9", 1), ("2001:db8::9", 3)] {
        let to: IpAddr = to.parse().unwrap();
        let id = stacks[0].open_ping(to).unwrap();
        stacks[0].ping(id, 7, b"far".to_vec(), wire.now + 5 * SECOND).unwrap();
        let mut request = None;
        for _ in 0..300 {
            let (frames, _) = sent(&mut stacks[0], wire.now);
            wire.now += 10 * MILLISECOND;
            for frame in frames {
                stacks[1].receive(frame.clone());
                let headers = Headers::parse(&frame, frame.len()).unwrap();
                let far = match headers.network {
                    crate::frame::Network::V4(ip) => IpAddr::V4(ip.destination) == to,
                    crate::frame::Network::V6(ip) => IpAddr::V6(ip.destination) == to,
                    _ => false,
                };
                if far {
                    request = Some((headers, frame));
                }
            }
            for frame in sent(&mut stacks[1], wire.now).0 {
                stacks[0].receive(frame);
            }
            if request.is_some() {
                break;
            }
        }
        let (headers, frame) = request.expect("a request by the router");
        stacks[0].receive(hostile::failure(&headers, &frame, kind, 1));
        sent(&mut stacks[0], wire.now);
        let failure =
            if kind == 3 && to.is_ipv4() || kind == 1 { Failure::Unreachable(1) } else { Failure::HopLimit };
        let from = if to.is_ipv4() { v4(1) } else { v6(1) };
        let outcome = PingOutcome::Failed { from, failure };
        assert_eq!(stacks[0].take_ping(id), Some(PingResult { sequence: 7, outcome }));
        stacks[0].close_ping(id);
    }
}
