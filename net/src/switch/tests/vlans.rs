//! VLANs: who is in which, and how a frame looks there.
use super::*;

#[test]
fn frames_stay_in_their_vlan() {
    let (mut switch, [a, b, c, d, plain, up]) = switch([
        access(10, guest(1)),
        access(10, guest(2)),
        access(20, guest(3)),
        trunk(&[20], Untagged::Dropped, open_guest(4)),
        guest(5),
        uplink(1),
    ]);
    assert_eq!(switch.send(a, headers(mac(1), Mac::BROADCAST)), Ok(ports(&[b, up])));
    assert_eq!(switch.send(c, headers(mac(3), Mac::BROADCAST)), Ok(ports(&[d, up])));
    assert_eq!(switch.send(plain, headers(mac(5), Mac::BROADCAST)), Ok(ports(&[up])));
    // Another VLAN's station is unknown in this one.
    assert_eq!(switch.send(a, headers(mac(1), mac(3))), Ok(ports(&[up])));
    let ten = Tag::new(vlan(10), 0);
    assert_eq!(switch.send(up, tagged(ten, STRANGER, mac(3))), Err(Reason::Nobody));
    assert_eq!(switch.send(up, tagged(ten, STRANGER, mac(1))), Ok(ports(&[a])));
    assert_eq!(switch.send(up, headers(STRANGER, mac(1))), Err(Reason::Nobody));
    assert_eq!(switch.send(up, headers(STRANGER, mac(5))), Ok(ports(&[plain])));
    // Nobody carries it but where it came from.
    assert_eq!(switch.send(up, tagged(Tag::new(vlan(30), 0), STRANGER, Mac::BROADCAST)), Err(Reason::Nobody));
}

#[test]
fn a_frame_has_a_tag_on_trunks_and_none_elsewhere() {
    let (mut switch, [a, b, c, up]) = switch([
        access(10, guest(1)),
        access(10, guest(2)),
        trunk(&[10, 20], Untagged::Vlan(vlan(20)), guest(3)),
        uplink(1),
    ]);
    let forward = switch.send_whole(a, headers(mac(1), Mac::BROADCAST));
    let ten = Some(Tag::new(vlan(10), 0));
    assert_eq!((forward.to, forward.tagged), (ports(&[b, c, up]), ports(&[c, up])));
    assert_eq!([b, c, up].map(|port| forward.tag_at(port)), [None, ten, ten]);
    // What has a tag on one side has it on the other, with its priority and whether it may be dropped.
    let came = Tag(0xb00a);
    let forward = switch.send_whole(up, tagged(came, STRANGER, Mac::BROADCAST));
    assert_eq!([a, b, c].map(|port| forward.tag_at(port)), [None, None, Some(came)]);
    // A trunk's own VLAN leaves without one, whether it came with one or not.
    let twenty = Tag::new(vlan(20), 0);
    for frame in [headers(mac(3), Mac::BROADCAST), tagged(twenty, mac(3), Mac::BROADCAST)] {
        let forward = switch.send_whole(c, frame);
        assert_eq!((forward.to, forward.tag_at(up)), (ports(&[up]), Some(twenty)));
    }
    let forward = switch.send_whole(up, tagged(twenty, STRANGER, Mac::BROADCAST));
    assert_eq!((forward.to, forward.tag_at(c)), (ports(&[c]), None));
}

#[test]
fn a_priority_alone_is_no_vlan() {
    let (mut switch, [a, b, plain, up]) =
        switch([access(10, guest(1)), access(10, guest(2)), guest(3), uplink(1)]);
    let five = Tag(5 << 13);
    let forward = switch.send_whole(a, tagged(five, mac(1), Mac::BROADCAST));
    assert_eq!((forward.to, forward.tag_at(b)), (ports(&[b, up]), None));
    assert_eq!(forward.tag_at(up), Some(Tag::new(vlan(10), 5)));
    let forward = switch.send_whole(up, tagged(five, STRANGER, Mac::BROADCAST));
    assert_eq!((forward.to, forward.tag_at(plain)), (ports(&[plain]), None));
}

#[test]
fn a_tag_that_the_port_does_not_carry_is_refused() {
    let (mut switch, [a, plain, c, up]) = switch([
        access(10, guest(1)),
        guest(2),
        trunk(&[10], Untagged::Dropped, guest(3)),
        trunk(&[10], Untagged::Plain, PortConfig::new(PortKind::Uplink { priority: 1 })),
    ]);
    let with = |number: u16, source| tagged(Tag(number), source, Mac::BROADCAST);
    // Its own VLAN too: who has no tags has none.
    for number in [10, 20, 4095] {
        assert_eq!(switch.send(a, with(number, mac(1))), Err(Reason::Vlan));
        assert_eq!(switch.send(plain, with(number, mac(2))), Err(Reason::Vlan));
    }
    assert_eq!(switch.send(c, with(10, mac(3))), Ok(ports(&[a, up])));
    assert_eq!(switch.send(c, with(20, mac(3))), Err(Reason::Vlan));
    assert_eq!(switch.send(c, with(4095, mac(3))), Err(Reason::Vlan));
    assert_eq!(switch.send(c, headers(mac(3), Mac::BROADCAST)), Err(Reason::Vlan));
    assert_eq!(switch.send(c, with(0, mac(3))), Err(Reason::Vlan));
    assert_eq!(switch.send(up, with(20, STRANGER)), Err(Reason::Vlan));
    assert_eq!(switch.counters(up).unwrap().dropped(Reason::Vlan), 1);
    // A guest's provider tags would be VLANs for switches outside.
    for ether_type in [0x88a8, 0x9100] {
        let mut frame = headers(mac(2), Mac::BROADCAST);
        frame.ethernet.ether_type = EtherType(ether_type);
        assert_eq!(switch.send(plain, frame), Err(Reason::Vlan));
    }
}

#[test]
fn an_address_may_be_in_two_vlans_at_two_ports() {
    let (mut switch, [a, b, up]) = switch([access(10, guest(1)), access(20, guest(1)), uplink(1)]);
    assert_eq!(switch.attach(trunk(&[20, 30], Untagged::Dropped, guest(1))), Err(PortError::Taken(mac(1))));
    assert_eq!(
        switch.attach(trunk(&[30], Untagged::Vlan(vlan(10)), guest(1))),
        Err(PortError::Taken(mac(1)))
    );
    let plain = switch.attach(trunk(&[30], Untagged::Plain, guest(1))).unwrap();
    assert_eq!(switch.attach(guest(1)), Err(PortError::Taken(mac(1))));
    switch.set_up(plain, true);
    for (number, port) in [(10, a), (20, b), (30, plain)] {
        let frame = tagged(Tag::new(vlan(number), 0), STRANGER, mac(1));
        assert_eq!(switch.send(up, frame), Ok(ports(&[port])));
    }
    assert_eq!(switch.send(up, headers(STRANGER, mac(1))), Ok(ports(&[plain])));
}

#[test]
fn an_address_is_learned_in_each_vlan_for_itself() {
    let all = |number| trunk(&[10, 20], Untagged::Dropped, open_guest(number));
    let (mut switch, [a, b, c, up]) = switch([all(1), all(2), all(3), uplink(1)]);
    let (ten, twenty) = (Tag::new(vlan(10), 0), Tag::new(vlan(20), 0));
    switch.send(a, tagged(ten, STRANGER, mac(3))).unwrap();
    switch.send(b, tagged(twenty, STRANGER, mac(3))).unwrap();
    assert_eq!(switch.send(c, tagged(ten, mac(3), STRANGER)), Ok(ports(&[a])));
    assert_eq!(switch.send(c, tagged(twenty, mac(3), STRANGER)), Ok(ports(&[b])));
    assert_eq!(switch.send(up, tagged(twenty, mac(100), STRANGER)), Ok(ports(&[b])));
    let mut learned: Vec<_> = switch.learned(0).map(|one| (one.mac, one.vlan, one.place)).collect();
    learned.sort_by_key(|&(mac, vlan, _)| (mac, vlan));
    let (in_ten, in_twenty) = (Some(vlan(10)), Some(vlan(20)));
    let expected = [
        (STRANGER, in_ten, Place::Port(a)),
        (STRANGER, in_twenty, Place::Port(b)),
        (mac(3), in_ten, Place::Port(c)),
        (mac(3), in_twenty, Place::Port(c)),
        (mac(100), in_twenty, Place::Uplink),
    ];
    assert_eq!(learned, expected);
}

#[test]
fn a_port_that_is_made_another_stays_up_and_counts_on() {
    let (mut switch, [a, b, up]) = switch([guest(1), open_guest(2), uplink(1)]);
    switch.mirror(ports(&[a]), b).unwrap();
    switch.send(b, headers(STRANGER, mac(1))).unwrap();
    assert_eq!(switch.configure(b, access(10, guest(1))), Ok(()));
    assert_eq!(switch.configure(b, guest(1)), Err(PortError::Taken(mac(1))));
    assert_eq!(switch.configure(PortId::new(77).unwrap(), guest(9)), Err(PortError::Detached));
    // What was learned behind it is forgotten; its old address is nobody's; it mirrors on.
    assert_eq!(switch.send(a, headers(mac(1), STRANGER)), Ok(ports(&[up])));
    assert_eq!(switch.send_whole(a, headers(mac(1), mac(2))).mirror, ports(&[b]));
    assert_eq!(switch.mirrored_by(b), ports(&[a]));
    assert_eq!(switch.send(b, headers(mac(1), Mac::BROADCAST)), Ok(ports(&[up])));
    assert_eq!(switch.counters(b).unwrap().received.frames, 2);
    // Mirrored too.
    assert_eq!(switch.configure(a, access(10, guest(3))), Ok(()));
    assert_eq!(switch.send_whole(a, headers(mac(3), STRANGER)).mirror, ports(&[b]));
}
