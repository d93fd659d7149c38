//! A guest that means no good, or a driver that has lost its mind.
use super::*;
use crate::platform::fuzz::Random;
use crate::virtio::net::Delivery;

#[test]
fn what_is_no_frame_goes_nowhere_and_its_buffer_comes_back() {
    let mut card = Card::new(LINUX);
    let good = datagram(OTHER, MAC, &[1; 300]);
    let tcp = segment(OTHER, MAC, &[1; 3000]);
    let header = |bytes: &[(usize, u8)]| {
        let mut header = [0; 12];
        bytes.iter().for_each(|(at, value)| header[*at] = *value);
        header
    };
    let sum = |start: u8, offset: u8| header(&[(0, 1), (6, start), (8, offset)]);
    let cut = |kind: u8, size: u8| header(&[(0, 1), (1, kind), (4, size), (6, 34), (8, 16)]);
    let mut group = good.clone();
    group[6] |= 1;
    let cases: Vec<([u8; 12], Vec<u8>)> = [
        // No Ethernet header, or a source that is a group.
        (header(&[]), good[..13].to_vec()),
        (header(&[]), group),
        // Sums over the addresses, beyond the frame, beyond what is copied of it.
        (sum(26, 0), good.clone()),
        (sum(0, 6), good.clone()),
        (sum(34, 255), good.clone()),
        (header(&[(0, 1), (6, 0xff), (7, 0xff), (8, 0xff), (9, 0xff)]), good.clone()),
        // To be cut: no TCP, no sum, no payload, of a kind that was not offered.
        (cut(1, 100), good.clone()),
        (header(&[(1, 1), (4, 100)]), tcp.clone()),
        (cut(1, 0), tcp.clone()),
        (cut(3, 100), tcp.clone()),
        // Of another version of IP than it is.
        (cut(4, 100), tcp.clone()),
        // A packet longer than its frame.
        (header(&[]), good[..100].to_vec()),
    ]
    .into();
    for (i, (header, frame)) in cases.iter().enumerate() {
        let id = card.send(*header, frame, 4096);
        assert_eq!(card.transmit.used(), Some((id, 0)), "case {i}");
        assert_eq!(card.wire.malformed.load(Ordering::SeqCst), i + 1);
    }
    assert!(card.wire.heard.lock().unwrap().is_empty());
    assert_eq!(card.rig.status(), 0xf, "a card goes on");
    card.send(header(&[]), &good, 4096);
    assert_eq!(card.wire.heard.lock().unwrap().len(), 1);
}

#[test]
fn frames_without_a_header_or_longer_than_64_kib_are_dropped() {
    let mut card = Card::new(LINUX | Feature::INDIRECT_DESC);
    let at = card.rig.allocate(0x2_0000);
    for pieces in [
        &[(at, 11, false)][..],
        &[(at, 0, false)],
        &[(at, 12, false)],
        &[(at, 0x1_1000, false)],
        // In more pieces than are taken, none next to another.
        &(0..60).map(|i| (at + 0x1000 * (i % 30), 10, false)).collect::<Vec<_>>(),
        // Nothing to read at all.
        &[(at, 100, true)],
    ] {
        let (id, _) = card.transmit.add(pieces);
        card.rig.kick(1);
        assert_eq!(card.transmit.used(), Some((id, 0)));
    }
    assert_eq!(card.wire.malformed.load(Ordering::SeqCst), 6);
    assert_eq!(card.rig.status(), 0xf);
}

#[test]
fn buffers_without_room_never_hold_a_frame_and_never_loop() {
    let mut card = Card::new(LINUX);
    let at = card.rig.allocate(4096);
    // Nothing to write, too little for a header, a header and nothing else.
    card.receive.add(&[(at, 100, false)]);
    let frame = datagram(MAC, OTHER, &[1; 80]);
    let frame = Frame { beginning: &frame, rest: &[], offload: Offload::default() };
    assert_eq!(card.port.receive(&frame, 0, None), Delivery::Unable);
    let mut card = Card::new(LINUX);
    let at = card.rig.allocate(4096);
    card.receive.add(&[(at, 11, true)]);
    assert_eq!(card.port.receive(&frame, 0, None), Delivery::Unable);
    let mut card = Card::new(LINUX);
    let at = card.rig.allocate(4096);
    for _ in 0..64 {
        card.receive.add(&[(at, 12, true)]);
    }
    assert_eq!(card.port.receive(&frame, 0, None), Delivery::Done, "twelve bytes at a time");
    let mut card = Card::new(LINUX);
    let at = card.rig.allocate(4096);
    for _ in 0..64 {
        card.receive.add(&[(at, 13, true)]);
    }
    let long = datagram(MAC, OTHER, &[1; 96]);
    let segments = [Segment { address: card.rig.memory.spare().1, bytes: 2000 }];
    let long = Frame { beginning: &long, rest: &segments, offload: Offload::default() };
    assert_eq!(card.port.receive(&long, 0, None), Delivery::Unable, "more buffers than are merged");
    assert_eq!(card.receive.used(), None);
}

#[test]
fn a_broken_receive_ring_stops_the_card_and_nobody_else() {
    let mut card = Card::new(LINUX);
    let frame = datagram(MAC, OTHER, &[1; 80]);
    let frame = Frame { beginning: &frame, rest: &[], offload: Offload::default() };
    card.receive.add(&[(0xff00_0000, 2048, true)]);
    assert_eq!(card.port.receive(&frame, 0, None), Delivery::Unable);
    assert_ne!(card.rig.status() & Status::NEEDS_RESET, 0);
    assert_eq!(card.port.receive(&frame, 0, None), Delivery::Unable);
}

#[test]
fn random_headers_and_frames_never_reach_the_wire_but_as_frames() {
    let mut random = Random::new(3);
    let mut card = Card::new(LINUX | Feature::EVENT_IDX);
    card.wire.immediate.store(true, Ordering::SeqCst);
    for round in 0..20_000 {
        card.rig.next_to(0x40_0000);
        let mut header = [0; 12];
        header.iter_mut().for_each(|byte| *byte = if random.below(3) == 0 { random.next() as u8 } else { 0 });
        header[1] &= 0x85;
        let mut frame = if random.below(2) == 0 {
            segment(OTHER, MAC, &[1; 500])
        } else {
            datagram(OTHER, MAC, &[2; 40])
        };
        for _ in 0..random.below(4) {
            let at = random.below(frame.len() as u64) as usize;
            frame[at] = random.next() as u8;
        }
        frame.truncate(random.below(2 * frame.len() as u64) as usize);
        let pieces = 1 + random.below(600) as usize;
        let id = card.send(header, &frame, pieces.max(frame.len() / 30 + 1));
        assert_eq!(card.transmit.used(), Some((id, 0)), "round {round}");
    }
    let (heard, dropped) =
        (card.wire.heard.lock().unwrap().len(), card.wire.malformed.load(Ordering::SeqCst));
    assert_eq!(heard + dropped, 20_000);
    assert!(heard > 1000 && dropped > 1000, "{heard} {dropped}");
}
