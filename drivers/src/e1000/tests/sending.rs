//! Frames go out as they are, once, and are let go of.
use super::frames::*;
use super::*;

#[test]
fn frames_of_all_lengths_go_out_as_they_are() {
    for card in CARDS {
        let rig = Rig::new(card);
        let lengths = [14, 60, 137, LONGEST, LONGEST + 1, 1514, 1518, 4096, 5000, 9014, 9018];
        let frames = lengths.map(|bytes| plain(OTHER.0, bytes, bytes as u64));
        for (tag, frame) in frames.iter().enumerate() {
            rig.send(tag as u64, frame).unwrap();
        }
        rig.nic.start();
        rig.run(|| rig.told() == lengths.len());
        assert_eq!(rig.sent(), frames);
        let counters = rig.nic.counters();
        assert_eq!((counters.sent, counters.sent_bytes), (11, lengths.iter().sum::<usize>() as u64));
        assert_eq!(*rig.told.tags.lock(), (0..11).collect::<Vec<_>>());
    }
}

#[test]
fn a_frame_in_many_pieces_or_all_copied_is_the_same_frame() {
    for card in CARDS {
        let rig = Rig::new(card);
        let frame = plain(OTHER.0, 9018, 5);
        let cases: [(usize, &[usize]); 4] =
            [(LONGEST, &[1, 2, 3, 500]), (9018, &[1]), (200, &[4096]), (1000, &[8018])];
        for (tag, (copied, pieces)) in cases.into_iter().enumerate() {
            rig.transmit(tag as u64, &frame, copied, pieces, Offload::default()).unwrap();
        }
        rig.nic.start();
        rig.run(|| rig.told() == 4);
        assert_eq!(rig.sent(), std::vec![frame; 4]);
    }
}

#[test]
fn the_device_is_told_once_of_many_frames() {
    let rig = Rig::new(CARDS[1]);
    let frame = plain(OTHER.0, 100, 1);
    for tag in 0..50 {
        rig.send(tag, &frame).unwrap();
    }
    rig.pass(SECOND / 10);
    let tails = || rig.model.state().tails;
    assert_eq!((tails(), rig.sent().len()), (0, 0));
    rig.nic.start();
    rig.nic.start();
    rig.run(|| rig.told() == 50);
    assert_eq!((tails(), rig.sent().len()), (1, 50));
}

#[test]
fn the_ring_goes_round_and_every_frame_goes_out_in_order() {
    for card in CARDS {
        let rig = Rig::new(card);
        for round in 0..60u64 {
            for i in 0..50 {
                let tag = round * 50 + i;
                rig.send(tag, &plain(OTHER.0, 100 + tag as usize % 500, tag)).unwrap();
            }
            rig.nic.start();
            rig.run(|| rig.told() == (round as usize + 1) * 50);
        }
        let sent = rig.sent();
        let wanted = (0..3000).map(|tag| plain(OTHER.0, 100 + tag as usize % 500, tag));
        assert!(sent.into_iter().eq(wanted));
    }
}

#[test]
fn a_full_ring_refuses_and_says_when_there_is_room() {
    for (card, bytes) in CARDS.into_iter().flat_map(|card| [(card, 100), (card, 3000)]) {
        let rig = Rig::new(card);
        let frame = plain(OTHER.0, bytes, 1);
        let mut count = 0;
        // Nothing but copies, so that these are used up too.
        let transmit = |tag| rig.transmit(tag, &frame, bytes, &[1], Offload::default());
        while transmit(count).is_ok() {
            count += 1;
        }
        assert_eq!(count, if bytes == 100 { 1023 } else { 87 });
        assert_eq!(transmit(count), Err(Refused::Full));
        assert_eq!(rig.above.rooms.load(Ordering::Relaxed), 0);
        // Who is refused need not start what was taken on.
        rig.run(|| rig.above.rooms.load(Ordering::Relaxed) == 1);
        transmit(count).unwrap();
        rig.nic.start();
        rig.run(|| rig.told() == count as usize + 1);
        rig.pass(SECOND);
        assert_eq!(rig.above.rooms.load(Ordering::Relaxed), 1);
    }
}

#[test]
fn what_was_sent_makes_room_without_the_task() {
    let rig = Rig::new(CARDS[1]);
    let frame = plain(OTHER.0, 100, 1);
    for tag in 0..5000 {
        rig.send(tag, &frame).unwrap();
        rig.nic.start();
        while rig.model.step() {}
    }
    assert_eq!(rig.sent().len(), 5000);
    rig.run(|| rig.told() == 5000);
}

#[test]
fn what_the_card_cannot_send_is_refused_and_nobody_is_told() {
    for card in CARDS {
        let rig = Rig::new(card);
        assert_eq!(rig.send(0, &plain(OTHER.0, 9019, 1)), Err(Refused::Unable));
        assert_eq!(rig.send(1, &[1; 13]), Err(Refused::Unable));
        let crumbs = rig.transmit(2, &plain(OTHER.0, 5000, 1), LONGEST, &[10], Offload::default());
        assert_eq!(crumbs, Err(Refused::Unable));
        rig.nic.start();
        rig.pass(SECOND);
        assert_eq!((rig.told(), rig.sent().len()), (0, 0));
    }
}

#[test]
fn sent_frames_are_let_go_of_when_the_machine_is_switched_off() {
    for card in CARDS {
        let rig = Rig::new(card);
        (0..100).for_each(|tag| rig.send(tag, &plain(OTHER.0, 600, tag)).unwrap());
        rig.nic.start();
        let (controller, model) = (rig.controller.clone(), rig.model.clone());
        rig.kernel.block_on(move || model.step(), async move { controller.shut_down().await });
        assert_eq!((rig.sent().len(), rig.told()), (100, 100));
        assert!(!rig.nic.is_present() && !rig.nic.link().up && rig.model.state().dma_stopped);
        assert_eq!(rig.send(1000, &plain(OTHER.0, 600, 1)), Err(Refused::Down));
    }
}
