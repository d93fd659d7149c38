//! What the guest sends.
use super::*;
use crate::virtio::net::Delivery;
use ::net::frame::{LONGEST, Transport};
use ::net::nic::{Checksum, Segmentation, SegmentationKind};

fn plain() -> [u8; 12] {
    [0; 12]
}

#[test]
fn a_frame_goes_out_as_a_copy_of_its_headers_and_the_guest_s_own_memory() {
    for features in [0, Feature::RING_PACKED, Feature::INDIRECT_DESC | Feature::EVENT_IDX] {
        let mut card = Card::new(LINUX | features);
        let payload: Vec<u8> = (0..1400u32).map(|i| i as u8).collect();
        let frame = datagram(OTHER, MAC, &payload);
        let id = card.send(plain(), &frame, 500);
        let heard = card.wire.heard.lock().unwrap();
        let [Heard { beginning, rest, offload, headers, .. }] = &heard[..] else { panic!() };
        assert_eq!((&beginning[..], *offload), (&frame[..LONGEST], Offload::default()));
        assert_eq!(headers.ethernet.source, MAC);
        // The pieces lie one behind the other.
        let host = rest[0].address;
        assert_eq!(rest[..], [Segment { address: host, bytes: (frame.len() - LONGEST) as u32 }]);
        drop(heard);
        assert_eq!(card.transmit.used(), None, "its memory is in use");
        assert!(card.wire.finish());
        assert_eq!(card.transmit.used(), Some((id, 0)));
        assert_eq!(card.wire.started.load(Ordering::SeqCst), 1);
    }
}

#[test]
fn a_short_frame_is_all_beginning() {
    let mut card = Card::new(LINUX);
    let frame = datagram(OTHER, MAC, b"hello");
    card.send(plain(), &frame, 4096);
    let heard = card.wire.heard.lock().unwrap();
    assert_eq!((&heard[0].beginning, heard[0].rest.len()), (&frame, 0));
}

#[test]
fn what_the_guest_leaves_undone_goes_along() {
    let mut card = Card::new(LINUX);
    let frame = segment(OTHER, MAC, &[7; 3000]);
    // NEEDS_CSUM, TCPv4, a header length that is a hint, 1448 bytes of payload, the sum from 34 on goes to 34 + 16.
    card.send([1, 1, 99, 0, 0xa8, 5, 34, 0, 16, 0, 0, 0], &frame, 1000);
    let heard = card.wire.heard.lock().unwrap();
    let checksum = Some(Checksum { start: 34, offset: 16 });
    let segmentation = Some(Segmentation { kind: SegmentationKind::Tcp4, payload: 1448, headers: 54 });
    assert_eq!(heard[0].offload, Offload { checksum, segmentation, verified: false });
    assert!(matches!(heard[0].headers.transport, Transport::Tcp(_)));
}

#[test]
fn what_is_finished_at_once_is_given_back_at_once() {
    let mut card = Card::new(LINUX | Feature::EVENT_IDX);
    card.wire.immediate.store(true, Ordering::SeqCst);
    let frame = datagram(OTHER, MAC, &[1; 200]);
    for _ in 0..200 {
        card.rig.next_to(0x30_0000);
        let id = card.send(plain(), &frame, 4096);
        assert_eq!(card.transmit.used(), Some((id, 0)));
    }
    assert_eq!(card.wire.heard.lock().unwrap().len(), 200);
    assert_eq!(card.rig.board.in_flight(), 0);
}

#[test]
fn while_many_are_under_way_the_guest_need_not_notify() {
    let mut card = Card::new(LINUX);
    let frame = datagram(OTHER, MAC, &[1; 200]);
    for _ in 0..4 {
        card.send(plain(), &frame, 4096);
    }
    // A fifth that nobody is told of.
    let at = card.rig.allocate(4096);
    card.transmit.put(at, &[&plain()[..], &frame].concat());
    let (_, wanted) = card.transmit.add(&[(at, 12 + frame.len() as u32, false)]);
    assert!(!wanted);
    assert_eq!(card.wire.heard.lock().unwrap().len(), 4);
    assert!(card.wire.finish());
    assert_eq!(card.wire.heard.lock().unwrap().len(), 5, "found when another was done");
    while card.wire.finish() {}
    assert_eq!(card.rig.board.in_flight(), 0);
}

#[test]
fn a_reset_waits_for_frames_under_way_and_nothing_is_written_for_them() {
    let mut card = Card::new(LINUX);
    card.send(plain(), &datagram(OTHER, MAC, &[1; 2000]), 4096);
    card.rig.set_status(0);
    assert_ne!(card.rig.status(), 0);
    assert!(card.wire.finish());
    assert_eq!(card.rig.status(), 0);
    assert_eq!(card.transmit.used(), None);
    assert_eq!(card.wire.drivers.lock().unwrap()[..], [false, true, false]);
}

#[test]
fn a_guest_that_is_interrupted_for_what_comes_is_not_for_what_it_has_sent_if_it_looks_by_itself() {
    for features in [Feature::EVENT_IDX, Feature::RING_PACKED | Feature::EVENT_IDX] {
        for looks in [true, false] {
            let mut card = Card::new(LINUX | features);
            let out = datagram(OTHER, MAC, &[1; 80]);
            let come = |card: &mut Card| {
                card.offer(2048);
                card.receive.enable_interrupts();
                let frame = datagram(MAC, OTHER, &[1; 80]);
                let frame = Frame { beginning: &frame, rest: &[], offload: Offload::default() };
                assert_eq!(card.port.receive(&frame, 0, None), Delivery::Done);
            };
            // The one that comes and the one that is sent are told of at once.
            card.transmit.enable_interrupts();
            card.send(plain(), &out, 4096);
            come(&mut card);
            assert!(card.wire.finish());
            card.rig.board.look(0, 0);
            assert_eq!([card.rig.interrupt(0), card.rig.interrupt(0)], [Some(0x61), None], "{features:x}");
            // The guest sends on, and has looked before.
            if looks {
                assert!(card.transmit.used().is_some());
                card.transmit.enable_interrupts();
            }
            card.rig.board.look(0, 0);
            assert_eq!(card.rig.interrupt(0), (!looks).then_some(0x62), "{features:x} {looks}");
            // Where nothing comes, it is told at once.
            card.send(plain(), &out, 4096);
            if !looks {
                assert!(card.transmit.used().is_some());
                card.transmit.enable_interrupts();
            }
            assert!(card.wire.finish());
            assert_eq!(card.rig.interrupt(0), Some(0x62), "{features:x} {looks}");
        }
    }
}
