//! Who gets what, without VLANs and limits.
use super::super::{hash::hash, table};
use super::*;
use core::hash::Hasher;
use std::hash::DefaultHasher;

#[test]
fn a_frame_between_guests_goes_to_its_station_alone() {
    let (mut switch, [a, b, c, node, up]) = switch([guest(1), guest(2), guest(3), node(), uplink(1)]);
    assert_eq!(switch.send(a, headers(mac(1), mac(2))), Ok(ports(&[b])));
    assert_eq!(switch.send(node, headers(mac(0xee), mac(3))), Ok(ports(&[c])));
    assert_eq!(switch.send(up, headers(STRANGER, mac(1))), Ok(ports(&[a])));
    assert_eq!(switch.send(c, headers(mac(3), mac(0xee))), Ok(ports(&[node])));
}

#[test]
fn what_is_for_nobody_here_goes_outside_and_to_who_may_have_any_address() {
    let (mut switch, [a, b, up]) = switch([guest(1), open_guest(2), uplink(1)]);
    assert_eq!(switch.send(a, headers(mac(1), STRANGER)), Ok(ports(&[b, up])));
    assert_eq!(switch.send(up, headers(mac(100), STRANGER)), Ok(ports(&[b])));
    // Learned, it goes there only.
    assert_eq!(switch.send(a, headers(mac(1), mac(100))), Ok(ports(&[up])));
    assert_eq!(switch.send(b, headers(STRANGER, mac(1))), Ok(ports(&[a])));
    assert_eq!(switch.send(a, headers(mac(1), STRANGER)), Ok(ports(&[b])));
    switch.detach(b);
    assert_eq!(switch.send(a, headers(mac(1), STRANGER)), Ok(ports(&[up])));
    assert_eq!(switch.send(up, headers(mac(100), STRANGER)), Err(Reason::Nobody));
    switch.detach(up);
    assert_eq!(switch.send(a, headers(mac(1), STRANGER)), Err(Reason::Nobody));
}

#[test]
fn groups_go_to_all_but_the_sender() {
    let (mut switch, [a, b, node, up]) = switch([guest(1), guest(2), node(), uplink(1)]);
    for group in [Mac::BROADCAST, Mac([1, 0, 0x5e, 0, 0, 251]), Mac([0x33, 0x33, 0, 0, 0, 1])] {
        assert_eq!(switch.send(a, headers(mac(1), group)), Ok(ports(&[b, node, up])));
        assert_eq!(switch.send(up, headers(STRANGER, group)), Ok(ports(&[a, b, node])));
    }
    switch.set_up(b, false);
    assert_eq!(switch.send(a, headers(mac(1), Mac::BROADCAST)), Ok(ports(&[node, up])));
    let (mut alone, [a]) = super::switch([guest(1)]);
    assert_eq!(alone.send(a, headers(mac(1), Mac::BROADCAST)), Err(Reason::Nobody));
}

#[test]
fn what_concerns_two_ends_of_a_cable_stays_there() {
    let (mut switch, [a, up]) = switch([guest(1), uplink(1)]);
    for last in 0..=0x0f {
        let frame = headers(STRANGER, Mac([1, 0x80, 0xc2, 0, 0, last]));
        assert_eq!(switch.send(up, frame), Err(Reason::Control));
        assert_eq!(switch.send(a, headers(mac(1), frame.ethernet.destination)), Err(Reason::Control));
    }
    assert_eq!(switch.send(up, headers(STRANGER, Mac([1, 0x80, 0xc2, 0, 0, 0x10]))), Ok(ports(&[a])));
    let mut pause = headers(STRANGER, mac(1));
    pause.ethernet.ether_type = EtherType(0x8808);
    assert_eq!(switch.send(up, pause), Err(Reason::Control));
}

#[test]
fn a_source_that_is_no_station_is_refused() {
    let (mut switch, [_, up]) = switch([guest(1), uplink(1)]);
    for source in [Mac::NONE, Mac::BROADCAST, Mac([1, 0, 0x5e, 0, 0, 1])] {
        assert_eq!(switch.send(up, headers(source, mac(1))), Err(Reason::Source));
    }
    assert_eq!(switch.learned(0).count(), 0);
}

#[test]
fn what_is_not_heard_of_for_long_is_forgotten() {
    let (mut switch, [a, b, up]) = switch([guest(1), open_guest(2), uplink(1)]);
    assert_eq!(switch.send_at(10 * SECOND, up, headers(STRANGER, mac(1))), Ok(ports(&[a])));
    let to = headers(mac(1), STRANGER);
    assert_eq!(switch.send_at(309 * SECOND, a, to), Ok(ports(&[up])));
    assert_eq!(
        switch.learned(309 * SECOND).map(|one| (one.mac, one.age)).collect::<Vec<_>>(),
        [(STRANGER, 299)]
    );
    assert_eq!(switch.send_at(310 * SECOND, a, to), Ok(ports(&[b, up])));
    // Heard of again, it stays.
    assert_eq!(switch.send_at(400 * SECOND, up, headers(STRANGER, mac(1))), Ok(ports(&[a])));
    assert_eq!(switch.send_at(699 * SECOND, a, to), Ok(ports(&[up])));
}

#[test]
fn an_address_is_where_it_was_seen_last() {
    let (mut switch, [a, b, c, up]) = switch([guest(1), open_guest(2), open_guest(3), uplink(1)]);
    for from in [b, c, up, b] {
        assert_eq!(switch.send(from, headers(STRANGER, mac(1))), Ok(ports(&[a])));
        assert_eq!(switch.send(a, headers(mac(1), STRANGER)), Ok(ports(&[from])));
        assert_eq!(switch.send(from, headers(STRANGER, STRANGER)), Err(Reason::Origin));
    }
    // Down, it is nowhere.
    switch.set_up(b, false);
    assert_eq!(switch.send(a, headers(mac(1), STRANGER)), Ok(ports(&[c, up])));
}

#[test]
fn the_own_address_of_a_port_is_nobody_elses() {
    let (mut switch, [a, b, up]) = switch([guest(1), open_guest(2), uplink(1)]);
    assert_eq!(switch.send(b, headers(mac(1), STRANGER)), Err(Reason::Taken));
    assert_eq!(switch.send(up, headers(mac(1), mac(2))), Err(Reason::Taken));
    assert_eq!(switch.send(up, headers(STRANGER, mac(1))), Ok(ports(&[a])));
    assert_eq!(switch.attach(guest(1)), Err(PortError::Taken(mac(1))));
    assert_eq!(switch.attach(guest(2)), Err(PortError::Taken(mac(2))));
    // Down too, no guest gets it; but outside it may be on its way here.
    switch.set_up(a, false);
    assert_eq!(switch.send(b, headers(mac(1), STRANGER)), Err(Reason::Taken));
    assert_eq!(switch.send(b, headers(mac(2), mac(1))), Ok(ports(&[up])));
    assert_eq!(switch.send(up, headers(mac(1), mac(2))), Ok(ports(&[b])));
    assert_eq!(switch.send(up, headers(STRANGER, mac(1))), Err(Reason::Nobody));
    switch.set_up(a, true);
    assert_eq!(switch.send(b, headers(mac(2), mac(1))), Ok(ports(&[a])));
}

#[test]
fn a_flood_of_sources_displaces_none_but_its_own() {
    let (mut switch, [a, b, c, up]) = switch([guest(1), open_guest(2), open_guest(3), uplink(1)]);
    // Of the eight in any set these are at most half.
    let known: Vec<Mac> = (0..4).map(|i| Mac([2, 0, 0, 0, 1, i])).collect();
    for &one in &known {
        switch.send(c, headers(one, mac(1))).unwrap();
    }
    assert_eq!(switch.capacity(), 64);
    for i in 0..100_000u32 {
        let [w, x, y, z] = i.to_be_bytes();
        assert_eq!(switch.send(b, headers(Mac([6, 6, w, x, y, z]), mac(1))), Ok(ports(&[a])));
    }
    assert_eq!(switch.learned(0).count(), 64);
    for &one in &known {
        assert_eq!(switch.send(a, headers(mac(1), one)), Ok(ports(&[c])), "{one}");
    }
    assert_eq!(switch.send(up, headers(STRANGER, mac(1))), Ok(ports(&[a])));
    assert_eq!(switch.send(a, headers(mac(1), STRANGER)), Ok(ports(&[up])));
}

#[test]
fn two_who_share_a_full_table_keep_their_half() {
    let config = SwitchConfig { addresses: 8, aging: SECOND, seed: [0; 2] };
    let (mut switch, [a, b, c]) = switch([guest(1), open_guest(2), open_guest(3)]);
    switch.table = table::Table::new(config.addresses, config.aging, config.seed);
    let of = |port: u8, number: u8| headers(Mac([2, 0, 0, 0, port, number]), mac(1));
    for (from, number) in (0..4).map(|number| (b, number)).chain((0..4).map(|number| (c, number))) {
        switch.send(from, of(from.index() as u8, number)).unwrap();
    }
    let places =
        |switch: &Switch, port| switch.learned(0).filter(|one| one.place == Place::Port(port)).count();
    for number in 4..200 {
        assert_eq!(switch.send(b, of(b.index() as u8, number)), Ok(ports(&[a])));
        assert_eq!((places(&switch, b), places(&switch, c)), (4, 4));
    }
}

#[test]
fn the_table_has_at_least_the_room_that_was_asked_for() {
    for (asked, room) in [(0, 8), (1, 8), (8, 8), (9, 16), (1000, 1024), (4096, 4096)] {
        let switch = Switch::new(SwitchConfig { addresses: asked, aging: SECOND, seed: [0; 2] });
        assert_eq!(switch.capacity(), room);
    }
}

#[test]
fn where_an_address_lies_depends_on_the_seed() {
    // The reference: the standard library's, with keys 0.
    for word in [0, 1, 0x5254_0012_3456, u64::MAX] {
        let mut reference = DefaultHasher::new();
        reference.write_u64(word);
        assert_eq!(hash([0, 0], word), reference.finish());
        assert_ne!(hash([0, 0], word), hash([1, 0], word));
        assert_ne!(hash([0, 0], word), hash([0, 1], word));
    }
}

#[test]
fn counters_tell_what_came_and_what_arrived() {
    let (mut switch, [a, b]) = switch([guest(1), guest(2)]);
    for (headers, bytes) in [(headers(mac(1), mac(2)), 60), (headers(mac(1), STRANGER), 70)] {
        switch.forward(0, a, &headers, bytes, 1);
    }
    switch.malformed(a, 80);
    switch.oversized(a, 9000);
    switch.delivered(b, 60);
    switch.refused(b, Reason::NoRoom);
    let (at_a, at_b) = (switch.counters(a).unwrap(), switch.counters(b).unwrap());
    assert_eq!((at_a.received, at_a.delivered), (Traffic { frames: 4, bytes: 9210 }, Traffic::default()));
    assert_eq!(
        at_a.drops().collect::<Vec<_>>(),
        [(Reason::Malformed, 1), (Reason::Oversized, 1), (Reason::Nobody, 1)]
    );
    assert_eq!((at_b.received, at_b.delivered), (Traffic::default(), Traffic { frames: 1, bytes: 60 }));
    assert_eq!(
        (at_b.drops().collect::<Vec<_>>(), at_b.dropped(Reason::NoRoom)),
        (std::vec![(Reason::NoRoom, 1)], 1)
    );
    for (index, reason) in Reason::ALL.into_iter().enumerate() {
        assert_eq!(reason as usize, index);
    }
    // The number is the next one's, who begins anew.
    switch.detach(a);
    assert_eq!(switch.counters(a), None);
    assert_eq!(switch.send(a, headers(mac(1), mac(2))), Err(Reason::Down));
    assert_eq!(switch.attach(guest(3)), Ok(a));
    assert_eq!(switch.counters(a), Some(&Counters::default()));
}

#[test]
fn a_switch_has_as_many_ports_as_a_set_holds() {
    let mut switch = Switch::new(SwitchConfig { addresses: 8, aging: SECOND, seed: [0; 2] });
    let ids: Vec<PortId> = (0..128).map(|i| switch.attach(guest(i)).unwrap()).collect();
    assert_eq!(switch.attach(guest(200)), Err(PortError::Full));
    assert_eq!((switch.ports().len(), switch.live()), (128, Ports::EMPTY));
    assert_eq!(switch.ports().into_iter().collect::<Vec<_>>(), ids);
    ids.iter().for_each(|&id| switch.set_up(id, true));
    let all = switch.send(ids[127], headers(mac(127), Mac::BROADCAST)).unwrap();
    assert_eq!((all.len(), all.contains(ids[127]), all.contains(ids[0])), (127, false, true));
    assert_eq!(switch.attach(PortConfig::new(PortKind::Node { mac: Mac::NONE })), Err(PortError::Full));
    switch.detach(ids[64]);
    assert_eq!(
        switch.attach(PortConfig::new(PortKind::Node { mac: Mac::NONE })),
        Err(PortError::Mac(Mac::NONE))
    );
    assert_eq!(switch.attach(guest(200)), Ok(ids[64]));
}
