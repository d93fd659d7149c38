//! Copies for who looks on.
use super::*;

#[test]
fn a_mirror_gets_what_others_send_and_get() {
    let (mut switch, [a, b, c, probe, up]) = switch([guest(1), guest(2), guest(3), guest(4), uplink(1)]);
    assert_eq!(switch.mirror(ports(&[a, up]), probe), Ok(()));
    let mut send = |from, headers| {
        let forward = switch.send_whole(from, headers);
        (forward.to, forward.mirror)
    };
    assert_eq!(send(a, headers(mac(1), mac(2))), (ports(&[b]), ports(&[probe])));
    assert_eq!(send(b, headers(mac(2), mac(1))), (ports(&[a]), ports(&[probe])));
    assert_eq!(send(b, headers(mac(2), mac(3))), (ports(&[c]), Ports::EMPTY));
    assert_eq!(send(b, headers(mac(2), STRANGER)), (ports(&[up]), ports(&[probe])));
    // What it gets or sends itself it does not get twice.
    assert_eq!(send(a, headers(mac(1), Mac::BROADCAST)), (ports(&[b, c, probe, up]), Ports::EMPTY));
    assert_eq!(send(probe, headers(mac(4), mac(1))), (ports(&[a]), Ports::EMPTY));
    // What is refused, nobody gets.
    assert_eq!(switch.send(a, headers(STRANGER, mac(2))), Err(Reason::Mac));
    switch.set_up(probe, false);
    assert_eq!(switch.send_whole(a, headers(mac(1), mac(2))).mirror, Ports::EMPTY);
    switch.set_up(probe, true);
    assert_eq!(switch.mirror(Ports::EMPTY, probe), Ok(()));
    assert_eq!(switch.send_whole(a, headers(mac(1), mac(2))).mirror, Ports::EMPTY);
}

#[test]
fn a_copy_has_the_tag_of_its_vlan() {
    let (mut switch, [a, b, probe]) = switch([access(10, guest(1)), access(10, guest(2)), guest(4)]);
    switch.mirror(ports(&[b]), probe).unwrap();
    let forward = switch.send_whole(a, headers(mac(1), mac(2)));
    assert_eq!((forward.to, forward.mirror), (ports(&[b]), ports(&[probe])));
    assert_eq!([forward.tag_at(b), forward.tag_at(probe)], [None, Some(Tag::new(vlan(10), 0))]);
}

#[test]
fn a_mirror_gets_the_copy_of_what_its_receiver_may_not_get_any_more() {
    let limited = PortConfig { receive_limit: Some(Rate { per_second: 1, burst: 1 }), ..guest(2) };
    let (mut switch, [a, b, probe]) = switch([guest(1), limited, guest(4)]);
    switch.mirror(ports(&[b]), probe).unwrap();
    assert_eq!(switch.send_whole(a, headers(mac(1), mac(2))).to, ports(&[b]));
    let forward = switch.send_whole(a, headers(mac(1), mac(2)));
    assert_eq!((forward.to, forward.mirror), (Ports::EMPTY, ports(&[probe])));
}

#[test]
fn several_may_look_on_and_none_where_it_would_be_wrong() {
    let (mut switch, [a, b, c, up]) = switch([guest(1), guest(2), guest(3), uplink(1)]);
    let nobody = PortId::new(9).unwrap();
    assert_eq!(switch.mirror(ports(&[a]), up), Err(MirrorError::Uplink));
    assert_eq!(switch.mirror(ports(&[a]), a), Err(MirrorError::Itself));
    assert_eq!(switch.mirror(ports(&[a]), nobody), Err(MirrorError::Detached));
    switch.mirror(ports(&[a]), b).unwrap();
    switch.mirror(ports(&[a]), c).unwrap();
    assert_eq!(switch.send_whole(a, headers(mac(1), STRANGER)).mirror, ports(&[b, c]));
    // One that is detached is no mirror when its number is another's.
    switch.detach(b);
    assert_eq!(switch.attach(guest(5)), Ok(b));
    switch.set_up(b, true);
    assert_eq!(switch.send_whole(a, headers(mac(1), STRANGER)).mirror, ports(&[c]));
    switch.detach(a);
    assert_eq!(switch.attach(guest(6)), Ok(a));
    switch.set_up(a, true);
    assert_eq!(switch.send_whole(a, headers(mac(6), STRANGER)).mirror, Ports::EMPTY);
}
