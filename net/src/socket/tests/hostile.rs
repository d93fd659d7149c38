//! Whatever comes by the wire.
use super::random::Random;
use super::*;

/// A number of bytes that begins like something.
fn garbage(random: &mut Random) -> Vec<u8> {
    let macs = [OWN, PEER, GROUP, Mac::BROADCAST, Mac::NONE, Mac([0x33, 0x33, 0, 0, 0, 9])];
    let types = [0x88b5, 0x88b5, 0x8100, 0x8100, 0x0800, 0x86dd, 0x88b6, 0x88a8, 46, 0, 0xffff];
    let mut bytes = Vec::new();
    bytes.extend(random.pick(&macs).0);
    bytes.extend(random.pick(&macs).0);
    for _ in 0..random.below(4) {
        bytes.extend((random.pick(&types) as u16).to_be_bytes());
        bytes.extend(random.pick(&[0u16, 5, 6, 0xfff, 0xe005, 0x88b5]).to_be_bytes());
    }
    bytes.extend((random.pick(&types) as u16).to_be_bytes());
    let more = if random.chance(4) { 0 } else { random.below(200) };
    bytes.extend((0..more).map(|_| random.next() as u8));
    if random.chance(4) {
        bytes.truncate(random.below(bytes.len() as u64 + 1) as usize);
    }
    bytes
}

/// What the frame is to a socket in this VLAN, by another's reading of it.
fn is_of(bytes: &[u8], number: u16) -> bool {
    let word = |at: usize| bytes.get(at..at + 2).map(|word| u16::from_be_bytes([word[0], word[1]]));
    match (word(12), word(14), word(16)) {
        (Some(0x8100), Some(tag), Some(0x88b5)) => tag & 0xfff == number,
        (Some(0x88b5), ..) => number == 0,
        _ => false,
    }
}

#[test]
fn whatever_comes_is_a_sockets_or_goes_on_and_is_counted() {
    let rig = Rig::new();
    rig.socket.join(GROUP).unwrap();
    let config = SocketConfig { vlan: vlan(5), ..SocketConfig::new("five", CLUSTER) };
    let five = rig.interface.open(config).unwrap();
    let heard = Arc::new(Heard::default());
    set_handler(&five, &heard);
    let mut random = Random::new(11);
    let (mut plain, mut in_five, mut others) = (0, 0, 0);
    for _ in 0..50_000 {
        let bytes = garbage(&mut random);
        let rest = [Segment { address: Hpa::new(random.below(1 << 52)), bytes: random.next() as u32 }];
        let rest = if random.chance(3) { &rest[..] } else { &[] };
        let handed = |heard: &Heard| heard.frames.lock().pop();
        rig.come_with(&bytes, rest);
        let (of_plain, of_five) = (is_of(&bytes, 0), is_of(&bytes, 5));
        (plain, in_five) = (plain + u64::from(of_plain), in_five + u64::from(of_five));
        others += usize::from(!of_plain && !of_five);
        assert_eq!(rig.others.frames.lock().len(), others, "{bytes:x?}");
        for (heard, of, groups) in [(&rig.heard, of_plain, &[GROUP][..]), (&heard, of_five, &[])] {
            let Some((source, destination, body, lent)) = handed(heard) else { continue };
            assert!(of && source.is_station() && source != OWN, "{bytes:x?}");
            assert!(destination == OWN || destination == Mac::BROADCAST || groups.contains(&destination));
            assert!(bytes.ends_with(&body) && lent == rest);
        }
        if random.chance(10) {
            rig.interface.received();
        }
    }
    assert!(plain > 1000 && in_five > 100 && others > 1000, "{plain} {in_five} {others}");
    for (socket, came) in [(&rig.socket, plain), (&five, in_five)] {
        let counters = socket.counters();
        assert_eq!(counters.received.frames + counters.drops().map(|(_, frames)| frames).sum::<u64>(), came);
        assert!(counters.received.frames > 0);
        assert!(
            [DropReason::Source, DropReason::Echo, DropReason::Elsewhere]
                .iter()
                .all(|&r| counters.dropped(r) > 0)
        );
    }
}

#[test]
fn a_runt_is_no_sockets() {
    let rig = Rig::new();
    let whole = cluster(b"x");
    for len in 0..14 {
        rig.come(&whole[..len]);
    }
    let tagged = frame(OWN, PEER, Some(Tag(0)), CLUSTER, b"x");
    for len in 14..18 {
        rig.come(&tagged[..len]);
    }
    assert_eq!((rig.heard.count(), rig.others.frames.lock().len()), (0, 18));
    rig.come(&whole[..14]);
    rig.come(&tagged[..18]);
    assert_eq!((rig.heard.count(), rig.heard.frames.lock()[1].2.len()), (2, 0));
}

#[test]
fn a_frame_that_comes_twice_is_handed_over_twice() {
    // Which of them is one too many only the protocol above can tell.
    let rig = Rig::new();
    (0..2).for_each(|_| rig.come(&cluster(b"again")));
    assert_eq!(rig.heard.count(), 2);
}
