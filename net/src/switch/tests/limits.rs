//! Limits in both directions.
use super::super::rate::Bucket;
use super::*;
use crate::frame::{Tcp, TcpFlags};

const MILLISECOND: u64 = SECOND / 1000;

fn rate(per_second: u64, burst: u64) -> Option<Rate> {
    Some(Rate { per_second, burst })
}

#[test]
fn a_port_sends_its_burst_and_then_its_rate() {
    let limited = PortConfig { send_limit: rate(100_000, 1000), ..guest(1) };
    let (mut switch, [a, b]) = switch([limited, guest(2)]);
    let frame = headers(mac(1), mac(2));
    // Ten frames of 100 bytes at once, then one each millisecond.
    let sent =
        |switch: &mut Switch, now: u64| std::iter::from_fn(|| switch.send_at(now, a, frame).ok()).count();
    assert_eq!(sent(&mut switch, 0), 10);
    for now in 1..=20 {
        assert_eq!(sent(&mut switch, now * MILLISECOND), 1, "{now}");
    }
    assert_eq!(sent(&mut switch, 2 * SECOND), 10);
    assert_eq!(switch.counters(a).unwrap().dropped(Reason::SendLimit), 22);
    assert_eq!(switch.counters(b).unwrap().dropped(Reason::SendLimit), 0);
    // A clock that goes back gives nothing.
    assert_eq!(sent(&mut switch, 0), 0);
    assert_eq!(sent(&mut switch, 2 * SECOND), 0);
}

#[test]
fn who_waits_as_long_as_told_loses_nothing() {
    let limited = PortConfig { send_limit: rate(1_000_003, 64), ..guest(1) };
    let (mut switch, [a, b]) = switch([limited, guest(2)]);
    let mut now = 0;
    for _ in 0..10_000 {
        now += switch.may_send_in(now, a);
        assert_eq!(switch.send_at(now, a, headers(mac(1), mac(2))), Ok(ports(&[b])));
    }
    // A million bytes: what the burst did not give was waited for, to within one frame.
    assert!(now.abs_diff(SECOND) < 200_000, "{now}");
    assert_eq!(switch.may_send_in(now, b), 0);
}

#[test]
fn a_frame_that_is_cut_costs_what_its_pieces_have() {
    let limited = PortConfig { send_limit: rate(1000, 1000), groups_limit: rate(1, 10), ..guest(1) };
    let (mut switch, [a, _]) = switch([limited, guest(2)]);
    let tcp = Tcp {
        source: 1,
        destination: 2,
        sequence: 0,
        acknowledgement: 0,
        header: 32,
        flags: TcpFlags::ACK,
        window: 0,
        checksum: 0,
        urgent: 0,
    };
    let frame = Headers { transport: Transport::Tcp(tcp), transport_at: 34, ..headers(mac(1), mac(2)) };
    // 64 KiB in 45 pieces pass in one, and have to be worked off: headers of 66 bytes for 44 more.
    assert!(matches!(switch.forward(0, a, &frame, 65226, 45), Verdict::Forward(_)));
    let debt = 65226 + 44 * 66 - 1000;
    assert_eq!(switch.may_send_in(0, a).div_ceil(MILLISECOND), debt + 1);
    // Of groups each piece counts.
    let later = 100 * SECOND;
    let group = headers(mac(1), Mac::BROADCAST);
    assert!(matches!(switch.forward(later, a, &group, 1, 10), Verdict::Forward(_)));
    assert_eq!(switch.forward(later, a, &group, 1, 1), Verdict::Drop(Reason::GroupsLimit));
}

#[test]
fn groups_have_a_limit_of_their_own() {
    let limited = PortConfig { groups_limit: rate(10, 3), ..guest(1) };
    let (mut switch, [a, b]) = switch([limited, guest(2)]);
    let group = headers(mac(1), Mac::BROADCAST);
    for allowed in [true, true, true, false, false] {
        assert_eq!(switch.send(a, group).is_ok(), allowed);
    }
    assert_eq!(switch.send(a, headers(mac(1), mac(2))), Ok(ports(&[b])));
    assert_eq!(switch.send(b, headers(mac(2), Mac::BROADCAST)), Ok(ports(&[a])));
    assert_eq!(switch.send_at(SECOND / 10, a, group), Ok(ports(&[b])));
    assert_eq!(switch.send_at(SECOND / 10, a, group), Err(Reason::GroupsLimit));
    assert_eq!(switch.counters(a).unwrap().dropped(Reason::GroupsLimit), 3);
}

#[test]
fn what_a_port_may_not_get_is_counted_there_and_others_get_it() {
    let limited = PortConfig { receive_limit: rate(1000, 200), ..guest(2) };
    let (mut switch, [a, b, c]) = switch([guest(1), limited, guest(3)]);
    let group = headers(mac(1), Mac::BROADCAST);
    assert_eq!(switch.send(a, group), Ok(ports(&[b, c])));
    assert_eq!(switch.send(a, group), Ok(ports(&[b, c])));
    assert_eq!(switch.send(a, group), Ok(ports(&[c])));
    assert_eq!(switch.send(a, headers(mac(1), mac(2))), Err(Reason::ReceiveLimit));
    assert_eq!(switch.counters(a).unwrap().drops().count(), 0);
    assert_eq!(switch.counters(b).unwrap().dropped(Reason::ReceiveLimit), 2);
}

#[test]
fn what_is_refused_costs_nothing() {
    let limits = PortConfig { send_limit: rate(1, 100), groups_limit: rate(1, 1), ..guest(1) };
    let (mut switch, [a, b]) = switch([limits, guest(2)]);
    for _ in 0..10 {
        assert_eq!(switch.send(a, headers(STRANGER, Mac::BROADCAST)), Err(Reason::Mac));
    }
    assert_eq!(switch.send(a, headers(mac(1), Mac::BROADCAST)), Ok(ports(&[b])));
}

#[test]
fn limits_of_nothing_and_beyond_all_networks_are_refused() {
    let mut switch = Switch::new(SwitchConfig { addresses: 8, aging: SECOND, seed: [0; 2] });
    for wrong in [rate(0, 1), rate(1, 0), rate(Rate::MOST + 1, 1), rate(1, Rate::MOST_BURST + 1)] {
        for config in [
            PortConfig { send_limit: wrong, ..guest(1) },
            PortConfig { receive_limit: wrong, ..guest(1) },
            PortConfig { groups_limit: wrong, ..guest(1) },
        ] {
            assert_eq!(switch.attach(config), Err(PortError::Limit));
        }
    }
    let most = rate(Rate::MOST, Rate::MOST_BURST);
    assert!(switch.attach(PortConfig { send_limit: most, ..guest(1) }).is_ok());
}

#[test]
fn a_bucket_holds_at_the_ends_of_time_and_of_numbers() {
    for rate in [Rate { per_second: 1, burst: 1 }, Rate { per_second: Rate::MOST, burst: Rate::MOST_BURST }] {
        let mut bucket = Bucket::new(rate);
        for now in [0, 1, u64::MAX, 0, u64::MAX] {
            bucket.is_open(now);
            for _ in 0..4 {
                bucket.take(u64::MAX);
            }
            assert!(!bucket.is_open(now));
            assert!(bucket.opens_in(now) > 0);
        }
    }
}
