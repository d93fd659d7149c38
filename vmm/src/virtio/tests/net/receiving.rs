//! What comes for the guest.
use super::*;
use crate::virtio::net::Delivery;
use ::net::frame::LONGEST;
use ::net::nic::{Checksum, Segmentation, SegmentationKind};

/// Gives a frame, whose rest is put into host memory that is not the guest's, in `pieces`.
fn give(card: &Card, bytes: &[u8], offload: Offload, pieces: usize) -> Delivery {
    let (map, spare) = card.rig.memory.spare();
    let (beginning, rest) = bytes.split_at(bytes.len().min(LONGEST));
    let mut segments = Vec::new();
    for (i, part) in rest.chunks(rest.len().div_ceil(pieces).max(1)).enumerate() {
        // Not one behind the other.
        let address = spare + i as u64 * 0x1_1000 + 8;
        let to = map.pointer::<u8>(address);
        #[allow(unsafe_code)] // fills memory of the test's own
        // SAFETY: within the spare part.
        unsafe {
            to.copy_from_nonoverlapping(part.as_ptr(), part.len());
        }
        segments.push(Segment { address, bytes: part.len() as u32 });
    }
    let frame = Frame { beginning, rest: &segments, offload };
    assert_eq!(frame.check(), Ok(()));
    card.port.receive(&frame, 0, None)
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| (i * 7 + i / 256) as u8).collect()
}

#[test]
fn a_frame_is_copied_behind_a_header_and_interrupts() {
    for features in [0, Feature::EVENT_IDX, Feature::RING_PACKED, Feature::RING_PACKED | Feature::EVENT_IDX] {
        let mut card = Card::new(LINUX | features);
        card.receive.enable_interrupts();
        let at = card.offer(2048);
        let frame = datagram(MAC, OTHER, &pattern(1400));
        assert_eq!(give(&card, &frame, Offload { verified: true, ..Offload::default() }, 3), Delivery::Done);
        let (_, bytes) = card.receive.used().unwrap();
        assert_eq!(bytes as usize, 12 + frame.len());
        // DATA_VALID, one buffer.
        assert_eq!(card.rig.bytes(at, 12), [2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        assert_eq!(card.rig.bytes(at + 12, frame.len()), frame);
        assert_eq!(card.rig.interrupt(0), Some(0x61));
    }
}

#[test]
fn a_long_frame_takes_as_many_buffers_as_it_needs_and_all_come_at_once() {
    for features in [0, Feature::RING_PACKED] {
        let mut card = Card::new(LINUX | features);
        let places: Vec<u64> = (0..10).map(|_| card.offer(1536)).collect();
        let frame = segment(MAC, OTHER, &pattern(9000));
        let checksum = Some(Checksum { start: 34, offset: 16 });
        let segmentation = Some(Segmentation { kind: SegmentationKind::Tcp4, payload: 1448, headers: 54 });
        let offload = Offload { checksum, segmentation, verified: false };
        assert_eq!(give(&card, &frame, offload, 5), Delivery::Done);
        let mut got = Vec::new();
        for (i, place) in places.iter().enumerate() {
            let Some((_, bytes)) = card.receive.used() else {
                assert_eq!(i, (12 + frame.len()).div_ceil(1536));
                break;
            };
            got.extend(card.rig.bytes(*place, bytes as usize));
        }
        assert_eq!(got[..12], [1, 1, 54, 0, 0xa8, 5, 34, 0, 16, 0, 6, 0]);
        assert_eq!(got[12..], frame);
    }
}

#[test]
fn without_room_for_all_of_a_frame_there_is_nothing_of_it() {
    for features in [0, Feature::RING_PACKED, Feature::EVENT_IDX] {
        let mut card = Card::new(LINUX | features);
        let first = card.offer(1536);
        card.offer(1536);
        let long = datagram(MAC, OTHER, &pattern(5000));
        assert_eq!(give(&card, &long, Offload::default(), 1), Delivery::NoRoom);
        assert_eq!(card.receive.used(), None);
        let short = datagram(MAC, OTHER, &pattern(1000));
        assert_eq!(give(&card, &short, Offload::default(), 1), Delivery::Done);
        assert_eq!(card.rig.bytes(first + 12, short.len()), short, "in the buffer that came first");
        // With two buffers more the long one has room.
        card.offer(1536);
        assert_eq!(give(&card, &long, Offload::default(), 1), Delivery::NoRoom);
        for _ in 0..2 {
            card.offer(1536);
        }
        assert_eq!(give(&card, &long, Offload::default(), 1), Delivery::Done);
        assert_eq!(std::iter::from_fn(|| card.receive.used()).count(), 5);
    }
}

#[test]
fn who_had_no_room_for_a_frame_is_told_of_the_next_that_the_guest_offers() {
    for features in [0, Feature::EVENT_IDX, Feature::RING_PACKED, Feature::RING_PACKED | Feature::EVENT_IDX] {
        let mut card = Card::new(LINUX | features);
        let long = datagram(MAC, OTHER, &pattern(5000));
        let offer = |card: &mut Card| {
            let at = card.rig.allocate(1536);
            let (_, notify) = card.receive.add(&[(at, 1536, true)]);
            if notify {
                card.rig.kick(0);
            }
            notify
        };
        // Nobody was in want, since the driver began.
        let short = datagram(MAC, OTHER, &pattern(100));
        offer(&mut card);
        assert_eq!(give(&card, &short, Offload::default(), 1), Delivery::Done);
        assert!(!offer(&mut card), "{features:x}");
        for offered in 1..4 {
            assert_eq!(give(&card, &long, Offload::default(), 1), Delivery::NoRoom, "{offered} buffers");
            let before = card.wire.rooms.load(Ordering::SeqCst);
            assert!(offer(&mut card), "{features:x}: {offered} buffers");
            assert_eq!(card.wire.rooms.load(Ordering::SeqCst), before + 1);
        }
        assert_eq!(give(&card, &long, Offload::default(), 1), Delivery::Done);
        assert!(!offer(&mut card), "{features:x}: nobody is in want any more");
    }
}

#[test]
fn a_guest_that_does_not_merge_gets_a_frame_in_one_buffer_or_not_at_all() {
    let mut card = Card::new(LINUX & !MRG_RXBUF);
    for _ in 0..4 {
        card.offer(1000);
    }
    assert_eq!(give(&card, &datagram(MAC, OTHER, &pattern(1400)), Offload::default(), 1), Delivery::Unable);
    assert_eq!(give(&card, &datagram(MAC, OTHER, &pattern(900)), Offload::default(), 1), Delivery::Done);
}

#[test]
fn what_a_guest_does_not_do_itself_is_not_left_to_it() {
    let card = Card::new(LINUX & !GUEST_CSUM & !GUEST_TSO4);
    let checksum = Some(Checksum { start: 34, offset: 16 });
    let frame = segment(MAC, OTHER, &pattern(100));
    assert_eq!(give(&card, &frame, Offload { checksum, ..Offload::default() }, 1), Delivery::Unable);
    assert!(!card.port.abilities().checksum && !card.port.abilities().tcp4);
}

#[test]
fn a_card_without_a_driver_gets_nothing() {
    let mut card = Card::new(LINUX);
    card.offer(2048);
    card.rig.set_status(0);
    let frame = datagram(MAC, OTHER, &[]);
    assert_eq!(give(&card, &frame, Offload::default(), 1), Delivery::Unable);
    assert_eq!(card.receive.used(), None);
}

#[test]
fn the_guest_need_not_tell_of_buffers_that_it_offers() {
    for features in [0, Feature::EVENT_IDX, Feature::RING_PACKED, Feature::RING_PACKED | Feature::EVENT_IDX] {
        let mut card = Card::new(LINUX | features);
        card.offer(2048);
        assert_eq!(give(&card, &datagram(MAC, OTHER, &[1]), Offload::default(), 1), Delivery::Done);
        for _ in 0..20 {
            let at = card.rig.allocate(2048);
            let (_, wanted) = card.receive.add(&[(at, 2048, true)]);
            assert!(!wanted);
        }
    }
}

#[test]
fn the_link_is_told() {
    let mut card = Card::new(LINUX);
    let status = |card: &Card| card.rig.read(card.rig.config, 6, 2);
    assert_eq!(status(&card), 1);
    card.wire.down.store(true, Ordering::SeqCst);
    card.port.link_changed();
    assert_eq!((status(&card), card.rig.interrupt(0)), (0, Some(0x50)));
}
