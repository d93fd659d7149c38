//! Several cables to the outside, of which one is in use.
use super::*;

#[test]
fn one_uplink_of_the_highest_priority_that_is_up_is_in_use() {
    let (mut switch, [a, low, high, same]) = switch([guest(1), uplink(1), uplink(5), uplink(5)]);
    assert_eq!((switch.active_uplink(), switch.live()), (Some(high), ports(&[a, high])));
    assert_eq!(switch.send(a, headers(mac(1), Mac::BROADCAST)), Ok(ports(&[high])));
    switch.set_up(high, false);
    assert_eq!(switch.active_uplink(), Some(same));
    // No better than the one in use: nothing changes.
    switch.set_up(high, true);
    assert_eq!(switch.active_uplink(), Some(same));
    switch.set_up(high, false);
    switch.detach(same);
    assert_eq!(switch.active_uplink(), Some(low));
    switch.set_up(high, true);
    assert_eq!(switch.active_uplink(), Some(high));
    switch.set_up(high, false);
    switch.set_up(low, false);
    assert_eq!((switch.active_uplink(), switch.live()), (None, ports(&[a])));
    assert_eq!(switch.send(a, headers(mac(1), STRANGER)), Err(Reason::NoUplink));
    assert_eq!(switch.send(high, headers(STRANGER, mac(1))), Err(Reason::Down));
}

#[test]
fn what_comes_from_an_uplink_on_standby_is_dropped_and_counted() {
    let (mut switch, [a, first, second]) = switch([guest(1), uplink(2), uplink(1)]);
    assert_eq!(switch.send(second, headers(STRANGER, mac(1))), Err(Reason::Standby));
    assert_eq!(switch.send(second, headers(STRANGER, Mac::BROADCAST)), Err(Reason::Standby));
    assert_eq!(switch.counters(second).unwrap().dropped(Reason::Standby), 2);
    assert_eq!(switch.learned(0).count(), 0);
    assert_eq!(switch.send(first, headers(STRANGER, Mac::BROADCAST)), Ok(ports(&[a])));
    // Whatever it is sent to, it never goes to the other one.
    assert_eq!(switch.send(first, headers(STRANGER, mac(77))), Err(Reason::Nobody));
}

#[test]
fn what_was_learned_outside_is_behind_the_next_uplink_at_once() {
    let (mut switch, [a, _, first, second]) = switch([guest(1), open_guest(2), uplink(2), uplink(1)]);
    switch.send(first, headers(STRANGER, mac(1))).unwrap();
    assert_eq!(switch.send(a, headers(mac(1), STRANGER)), Ok(ports(&[first])));
    switch.set_up(first, false);
    assert_eq!(switch.send(a, headers(mac(1), STRANGER)), Ok(ports(&[second])));
    switch.set_up(second, false);
    assert_eq!(switch.send(a, headers(mac(1), STRANGER)), Err(Reason::NoUplink));
}

#[test]
fn the_switches_outside_learn_who_is_here_when_an_uplink_takes_over() {
    let (mut switch, [_, down, open, node, none, inside, first, second]) = switch([
        guest(1),
        guest(2),
        open_guest(3),
        node(),
        trunk(&[10], Untagged::Dropped, guest(4)),
        access(10, guest(5)),
        uplink(2),
        uplink(1),
    ]);
    assert!(!switch.announced().is_empty());
    assert_eq!(switch.announced(), []);
    let ten = Tag::new(vlan(10), 0);
    let in_ten = Some(ten);
    switch.set_up(down, false);
    switch.send(open, headers(STRANGER, mac(1))).unwrap();
    switch.send(none, tagged(ten, mac(4), Mac::BROADCAST)).unwrap();
    switch.send(first, headers(mac(100), mac(1))).unwrap();
    switch.set_up(first, false);
    let one = |mac, tag| Announcement { mac, to: second, tag };
    let mut announced = switch.announced();
    announced[4..].sort_by_key(|one| one.mac);
    let own = [one(mac(1), None), one(mac(3), None), one(mac(0xee), None), one(mac(5), in_ten)];
    assert_eq!(announced[..4], own);
    assert_eq!(announced[4..], [one(STRANGER, None), one(mac(4), in_ten)]);
    // One that goes up is told of alone: it may have come from another node.
    switch.set_up(down, true);
    assert_eq!(switch.announced(), [one(mac(2), None)]);
    // Without an uplink nothing is told, and with one again, all of what is here then.
    switch.set_up(second, false);
    switch.detach(node);
    switch.set_up(inside, false);
    assert_eq!(switch.announced(), []);
    switch.set_up(second, true);
    let macs: Vec<Mac> = switch.announced().iter().map(|one| one.mac).collect();
    assert_eq!(macs[..3], [mac(1), mac(2), mac(3)]);
    assert_eq!(macs.len(), 5);
}

#[test]
fn nothing_is_announced_in_a_vlan_that_the_uplink_does_not_carry() {
    let narrow = trunk(&[20], Untagged::Dropped, PortConfig::new(PortKind::Uplink { priority: 1 }));
    let (mut switch, [_, _, _, up]) = switch([guest(1), access(10, guest(2)), access(20, guest(3)), narrow]);
    let tag = Some(Tag::new(vlan(20), 0));
    assert_eq!(switch.announced(), [Announcement { mac: mac(3), to: up, tag }]);
}

#[test]
fn an_announcement_is_a_frame_that_parses() {
    let (_, [up]) = switch([uplink(1)]);
    for tag in [None, Some(Tag::new(vlan(10), 0))] {
        let frame = Announcement { mac: mac(1), to: up, tag }.emit();
        let headers = Headers::parse(&frame, frame.len()).unwrap();
        let expected =
            Ethernet { destination: Mac::BROADCAST, source: mac(1), tag, ether_type: EtherType(0x8035) };
        assert_eq!(headers.ethernet, expected);
        let at = headers.network_at;
        assert_eq!(frame[at..at + 8], [0, 1, 8, 0, 6, 4, 0, 3]);
        assert_eq!((&frame[at + 8..at + 14], &frame[at + 18..at + 24]), (&mac(1).0[..], &mac(1).0[..]));
    }
}
