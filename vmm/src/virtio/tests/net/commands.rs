//! What the guest asks for by its control queue.
use super::*;
use crate::virtio::net::Delivery;

fn receives(card: &mut Card, to: Mac, vlan: Option<u16>) -> bool {
    card.offer(2048);
    let frame = datagram(to, OTHER, b"x");
    let frame = Frame { beginning: &frame, rest: &[], offload: Offload::default() };
    let delivery = card.port.receive(&frame, 0, vlan);
    assert!(matches!(delivery, Delivery::Done | Delivery::Unwanted), "{delivery:?}");
    delivery == Delivery::Done
}

#[test]
fn the_configuration_tells_address_pairs_and_mtu() {
    let card = Card::with(LINUX, 4, 64);
    let config = card.rig.config;
    assert_eq!((0..6).map(|i| card.rig.read(config, i, 1) as u8).collect::<Vec<_>>(), MAC.0);
    assert_eq!((card.rig.read(config, 8, 2), card.rig.read(config, 10, 2)), (4, 1500));
    assert_eq!(card.rig.read(config, 12, 4), 0);
    assert_ne!(Card::with(LINUX, 4, 64).rig.offered() & MQ, 0);
    assert_eq!(Card::with(LINUX, 1, 64).rig.offered() & MQ, 0);
}

#[test]
fn groups_are_received_as_the_guest_wants() {
    let mut card = Card::new(LINUX);
    let (group, another) = (Mac([0x33, 0x33, 0, 0, 0, 1]), Mac([1, 0, 0x5e, 0, 0, 251]));
    assert!(receives(&mut card, group, None), "until it says otherwise");
    // A table: of one station, and of one group.
    let table = [&1u32.to_le_bytes()[..], &OTHER.0, &1u32.to_le_bytes(), &group.0].concat();
    assert_eq!(card.command(2, 1, 0, &table), 0);
    assert!(receives(&mut card, group, None) && !receives(&mut card, another, None));
    assert!(receives(&mut card, Mac::BROADCAST, None) && receives(&mut card, MAC, None));
    assert_eq!(card.command(2, 0, 1, &[1]), 0);
    assert!(receives(&mut card, another, None));
    assert_eq!((card.command(2, 0, 1, &[0]), card.command(2, 0, 5, &[1])), (0, 0));
    assert!(!receives(&mut card, another, None) && !receives(&mut card, Mac::BROADCAST, None));
    assert_eq!(card.command(2, 0, 0, &[1]), 0);
    assert!(receives(&mut card, another, None) && card.wire.promiscuous.load(Ordering::SeqCst));
}

#[test]
fn vlans_are_received_as_the_guest_wants() {
    let mut card = Card::new(LINUX);
    assert!(receives(&mut card, MAC, Some(5)));
    assert_eq!(card.command(2, 2, 0, &10u16.to_le_bytes()), 0);
    assert!(receives(&mut card, MAC, Some(10)) && !receives(&mut card, MAC, Some(5)));
    assert!(receives(&mut card, MAC, None), "what has no tag is of no VLAN");
    assert_eq!(card.command(2, 2, 1, &10u16.to_le_bytes()), 0);
    assert!(!receives(&mut card, MAC, Some(10)));
    assert_eq!(card.command(2, 2, 0, &4096u16.to_le_bytes()), 1);
}

#[test]
fn an_address_is_changed_only_to_what_is_allowed() {
    let mut card = Card::new(LINUX);
    assert_eq!(card.command(2, 1, 1, &OTHER.0), 0);
    assert_eq!(*card.wire.mac.lock().unwrap(), Some(OTHER));
    for refused in [Mac([0x52, 0x54, 0, 0, 0, 1]), Mac::BROADCAST, Mac::NONE] {
        assert_eq!(card.command(2, 1, 1, &refused.0), 1);
    }
    assert_eq!(*card.wire.mac.lock().unwrap(), Some(OTHER));
}

#[test]
fn flows_are_spread_over_the_pairs_that_the_driver_uses() {
    let mut card = Card::with(LINUX | MQ, 2, 16);
    let mut second = card.rig.open(2, 16, LINUX | MQ, 1);
    let at = card.rig.allocate(4096);
    second.add(&[(at, 2048, true)]);
    card.offer(2048);
    let bytes = datagram(MAC, OTHER, b"x");
    let frame = Frame { beginning: &bytes, rest: &[], offload: Offload::default() };
    assert_eq!(card.port.receive(&frame, 1, None), Delivery::Done);
    assert!(card.receive.used().is_some() && second.used().is_none(), "one pair until it says otherwise");
    assert_eq!(card.command(4, 4, 0, &2u16.to_le_bytes()), 0);
    assert_eq!(card.port.receive(&frame, 1, None), Delivery::Done);
    assert!(second.used().is_some());
    for pairs in [0u16, 3, 0x8000] {
        assert_eq!(card.command(4, 4, 0, &pairs.to_le_bytes()), 1);
    }
}

#[test]
fn commands_that_are_unknown_or_cut_off_are_answered_as_errors() {
    let mut card = Card::new(LINUX);
    for (class, command, data) in [
        (9, 0, &[1][..]),
        (0, 77, &[1]),
        (0, 0, &[2]),
        (0, 0, &[]),
        (1, 0, &[1, 0, 0, 0]),
        (1, 0, &[0xff, 0xff, 0xff, 0xff, 0, 0]),
        (1, 1, &[1, 2, 3]),
        (2, 0, &[1]),
        (4, 0, &[]),
        (5, 0, &[0; 8]),
    ] {
        assert_eq!(card.command(2, class, command, data), 1, "{class} {command}");
    }
}
