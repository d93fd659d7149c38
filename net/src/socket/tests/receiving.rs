//! Whose a frame is that comes.
use super::*;

#[test]
fn a_sockets_frames_are_its_own_and_all_others_go_on() {
    let rig = Rig::new();
    rig.come(&cluster(b"hello"));
    let ip = frame(OWN, PEER, None, EtherType::IPV4, &[0; 46]);
    let unknown = frame(OWN, PEER, None, EtherType(0x88b6), &[0; 46]);
    let length = frame(OWN, PEER, None, EtherType(46), &[0; 46]);
    let tagged = frame(OWN, PEER, Some(Tag::new(VlanId::new(5).unwrap(), 0)), CLUSTER, &[0; 46]);
    for other in [&ip, &unknown, &length, &tagged] {
        rig.come(other);
    }
    assert_eq!(*rig.heard.frames.lock(), [(PEER, OWN, b"hello".to_vec(), Vec::new())]);
    assert_eq!(*rig.others.frames.lock(), [ip, unknown, length, tagged]);
    assert_eq!(rig.socket.counters().received.bytes, 19);
}

#[test]
fn a_socket_in_a_vlan_gets_what_has_its_tag() {
    let config = SocketConfig { vlan: vlan(5), ..SocketConfig::new("cluster", CLUSTER) };
    let rig = Rig::with(Card::new(1, 16), config);
    let tagged = |number| frame(OWN, PEER, Some(Tag(number)), CLUSTER, b"hello");
    rig.come(&tagged(5));
    rig.come(&tagged(7 << 13 | 5));
    assert_eq!(rig.heard.count(), 2);
    assert_eq!(rig.heard.frames.lock()[1].2, b"hello");
    for other in [tagged(6), tagged(0), tagged(4095), cluster(b"hello")] {
        rig.come(&other);
    }
    assert_eq!((rig.heard.count(), rig.others.frames.lock().len()), (2, 4));
}

#[test]
fn a_tag_of_a_priority_alone_is_no_vlan_and_the_reserved_one_is_nobodys() {
    let rig = Rig::new();
    rig.come(&frame(OWN, PEER, Some(Tag(6 << 13)), CLUSTER, b"urgent"));
    rig.come(&frame(OWN, PEER, Some(Tag(0xfff)), CLUSTER, b"reserved"));
    assert_eq!(rig.heard.frames.lock()[0].2, b"urgent");
    assert_eq!((rig.heard.count(), rig.others.frames.lock().len()), (1, 1));
}

#[test]
fn of_its_ether_type_a_socket_hears_what_is_for_it_and_nobody_hears_the_rest() {
    let rig = Rig::new();
    rig.socket.join(GROUP).unwrap();
    let from = |source, destination| frame(destination, source, None, CLUSTER, b"x");
    for destination in [OWN, Mac::BROADCAST, GROUP] {
        rig.come(&from(PEER, destination));
    }
    assert_eq!(rig.heard.count(), 3);
    // For a guest or a group that another node has joined, from a group, from nobody, and from this node itself.
    for (source, destination) in [
        (PEER, Mac([0x52, 0x54, 0, 0, 9, 9])),
        (PEER, Mac([0x33, 0x33, 0, 0, 0, 1])),
        (PEER, Mac::NONE),
        (GROUP, OWN),
        (Mac::NONE, OWN),
        (OWN, Mac::BROADCAST),
    ] {
        rig.come(&from(source, destination));
    }
    rig.socket.leave(GROUP);
    rig.come(&from(PEER, GROUP));
    assert_eq!((rig.heard.count(), rig.others.frames.lock().len()), (3, 0));
    let counters = rig.socket.counters();
    let drops: Vec<_> = counters.drops().collect();
    assert_eq!(drops, [(DropReason::Source, 2), (DropReason::Echo, 1), (DropReason::Elsewhere, 4)]);
}

#[test]
fn frames_without_a_handler_are_counted() {
    let rig = Rig::new();
    rig.socket.set_handler(None);
    rig.come(&cluster(b"x"));
    set_handler(&rig.socket, &Arc::new(Heard::default()));
    // It is gone already.
    rig.come(&cluster(b"x"));
    assert_eq!(rig.socket.counters().dropped(DropReason::Unhandled), 2);
    set_handler(&rig.socket, &rig.heard);
    rig.come(&cluster(b"x"));
    assert_eq!((rig.heard.count(), rig.socket.counters().received.frames), (1, 1));
}

#[test]
fn a_closed_sockets_frames_are_like_others() {
    let rig = Rig::new();
    let Rig { socket, interface, heard, others, .. } = rig;
    drop(socket);
    let bytes = cluster(b"x");
    interface.receive(&Frame { beginning: &bytes, rest: &[], offload: Offload::default() });
    assert_eq!((heard.count(), others.frames.lock().len()), (0, 1));
}

#[test]
fn the_end_of_a_batch_is_told_to_those_who_got_something() {
    let rig = Rig::new();
    let second = rig.interface.open(SocketConfig::new("second", EtherType(0x88b6))).unwrap();
    let heard = Arc::new(Heard::default());
    set_handler(&second, &heard);
    let batches = || [*rig.heard.batches.lock(), *heard.batches.lock(), *rig.others.batches.lock()];
    rig.interface.received();
    assert_eq!(batches(), [0, 0, 1]);
    (0..3).for_each(|_| rig.come(&cluster(b"x")));
    rig.interface.received();
    rig.interface.received();
    assert_eq!(batches(), [1, 0, 3]);
    rig.come(&cluster(b"x"));
    rig.come(&frame(OWN, PEER, None, EtherType(0x88b6), b"y"));
    rig.interface.received();
    assert_eq!(batches(), [2, 1, 4]);
    // What was dropped is no news.
    rig.come(&frame(OWN, OWN, None, CLUSTER, b"x"));
    rig.interface.received();
    assert_eq!(batches(), [2, 1, 5]);
}

#[test]
fn the_rest_is_lent_where_it_lies() {
    let rig = Rig::new();
    let rest = [
        Segment { address: Hpa::new(0x5000), bytes: 4096 },
        Segment { address: Hpa::new(0x9000), bytes: 10 },
    ];
    rig.come_with(&cluster(&[7; 124]), &rest);
    assert_eq!(*rig.heard.frames.lock(), [(PEER, OWN, std::vec![7; 124], rest.to_vec())]);
    assert_eq!(rig.socket.counters().received.bytes, 14 + 124 + 4106);
}

/// Memory in which each byte is its address.
struct Addresses;

impl Memory for Addresses {
    fn read(&self, segment: Segment, into: &mut [u8]) {
        assert_eq!(into.len(), segment.bytes as usize);
        for (i, byte) in into.iter_mut().enumerate() {
            *byte = (segment.address.get() + i as u64) as u8;
        }
    }
}

#[test]
fn an_inbox_copies_whole_frames_and_wakes_who_waits() {
    let rig = Rig::new();
    let inbox = Arc::new(Inbox::new(Addresses, 8, 10000));
    set_handler(&rig.socket, &inbox);
    let mut take = std::boxed::Box::pin(inbox.take());
    assert!(poll(&mut take).is_pending());
    let rest = [Segment { address: Hpa::new(0x10), bytes: 3 }, Segment { address: Hpa::new(0x20), bytes: 2 }];
    rig.come_with(&cluster(b"ab"), &rest);
    rig.interface.received();
    let bytes = std::vec![b'a', b'b', 0x10, 0x11, 0x12, 0x20, 0x21];
    assert_eq!(poll(&mut take), Poll::Ready(Parcel { source: PEER, destination: OWN, tag: None, bytes }));
    assert_eq!(inbox.try_take(), None);
}

#[test]
fn an_inbox_drops_and_counts_what_it_has_no_room_for() {
    let rig = Rig::new();
    let inbox = Arc::new(Inbox::new(Addresses, 3, 100));
    set_handler(&rig.socket, &inbox);
    rig.come(&cluster(&[1; 101]));
    assert_eq!(inbox.dropped(), 1);
    rig.come(&cluster(&[2; 60]));
    rig.come(&cluster(&[3; 60]));
    rig.come(&cluster(&[4; 40]));
    assert_eq!(inbox.dropped(), 2);
    // Frames without content have their number as bound.
    rig.come(&cluster(&[]));
    rig.come(&cluster(&[]));
    assert_eq!(inbox.dropped(), 3);
    let first = |parcel: Option<Parcel>| parcel.map(|parcel| parcel.bytes.first().copied());
    let taken = [inbox.try_take(), inbox.try_take(), inbox.try_take(), inbox.try_take()].map(first);
    assert_eq!(taken, [Some(Some(2)), Some(Some(4)), Some(None), None]);
    rig.come(&cluster(&[5; 100]));
    assert_eq!(first(inbox.try_take()), Some(Some(5)));
}
