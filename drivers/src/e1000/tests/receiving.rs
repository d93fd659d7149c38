//! Frames that come are handed up as they are.
use super::frames::*;
use super::*;
use net::frame::Mac;
use net::nic::Filter;

#[test]
fn frames_of_all_lengths_come_up_whole_and_in_order() {
    for card in CARDS {
        let rig = Rig::new(card);
        let lengths = [60, LONGEST, LONGEST + 1, 1514, 4096, 4097, 8192, 8193, 9018];
        let frames = lengths.map(|bytes| plain(MAC, bytes, bytes as u64));
        frames.iter().for_each(|frame| rig.arrive(frame));
        rig.run(|| rig.came() == lengths.len());
        assert!(rig.received().into_iter().map(|(frame, _)| frame).eq(frames));
        let counters = rig.nic.counters();
        assert_eq!((counters.received, counters.receive_errors), (9, 0));
        assert_eq!(counters.received_bytes, lengths.iter().sum::<usize>() as u64);
        assert!(rig.above.batches.load(Ordering::Relaxed) >= 1);
    }
}

#[test]
fn the_ring_goes_round_and_no_frame_is_lost() {
    for card in CARDS {
        let rig = Rig::new(card);
        let frame = |i: usize| plain(MAC, 60 + i * 37 % 8959, i as u64);
        (0..2000).for_each(|i| rig.arrive(&frame(i)));
        rig.run(|| rig.came() == 2000);
        assert!(rig.received().into_iter().map(|(frame, _)| frame).eq((0..2000).map(frame)));
    }
}

#[test]
fn checksums_that_the_card_found_right_are_verified() {
    for card in CARDS {
        let rig = Rig::new(card);
        for v6 in [false, true] {
            let shape = Shape { v6, tagged: v6, payload: 900 };
            let right = whole_tcp(shape);
            let mut wrong = right.clone();
            wrong[500] ^= 1;
            [&right, &wrong, &plain(MAC, 100, 1)].into_iter().for_each(|frame| rig.arrive(frame));
            rig.run(|| rig.came() == 3);
            let verified: Vec<_> = rig.received().into_iter().map(|(_, verified)| verified).collect();
            assert_eq!(verified, [true, false, false]);
        }
        rig.model.state().ignorant = true;
        rig.arrive(&whole_tcp(Shape::default()));
        rig.run(|| rig.came() == 1);
        assert!(!rig.received()[0].1);
        assert_eq!(rig.nic.counters().receive_errors, 0);
    }
}

#[test]
fn the_filter_says_which_frames_come() {
    let rig = Rig::new(CARDS[1]);
    let groups = [[1, 0, 0x5e, 0, 0, 1], [0x33, 0x33, 0, 0, 0xab, 0xcd]];
    let targets = [MAC, [0xff; 6], OTHER.0, groups[0], groups[1]];
    let what_comes = |filter: Filter| {
        rig.nic.set_filter(filter);
        rig.pass(SECOND / 100);
        targets.iter().for_each(|to| rig.arrive(&plain(*to, 60, 1)));
        rig.pass(SECOND / 100);
        let of = |frame: Vec<u8>| targets.iter().position(|to| frame[..6] == *to).unwrap();
        rig.received().into_iter().map(|(frame, _)| of(frame)).collect::<Vec<_>>()
    };
    let none = Filter::default();
    assert_eq!(what_comes(none.clone()), [0, 1]);
    assert_eq!(what_comes(Filter { groups: std::vec![Mac(groups[1])], ..none.clone() }), [0, 1, 4]);
    assert_eq!(what_comes(Filter { groups: std::vec![Mac(groups[0])], ..none.clone() }), [0, 1, 3]);
    assert_eq!(what_comes(Filter { all_groups: true, ..none.clone() }), [0, 1, 3, 4]);
    assert_eq!(what_comes(Filter { promiscuous: true, ..none.clone() }), [0, 1, 2, 3, 4]);
    assert_eq!(what_comes(none), [0, 1]);
}

#[test]
fn frames_that_find_no_buffer_are_counted() {
    let rig = Rig::new(CARDS[1]);
    rig.model.state().loses = true;
    (0..600).for_each(|i| rig.arrive(&plain(MAC, 60, i)));
    while rig.model.step() {}
    rig.pass(2 * SECOND);
    let counters = rig.nic.counters();
    assert_eq!((counters.received, counters.receive_missed), (511, 89));
}

#[test]
fn nobody_need_listen() {
    let rig = Rig::new(CARDS[0]);
    rig.nic.set_receiver(None);
    (0..1000).for_each(|i| rig.arrive(&plain(MAC, 60, i)));
    rig.run(|| rig.nic.counters().received == 1000);
    assert_eq!(rig.came(), 0);
}

#[test]
fn messages_are_few_under_load_and_at_once_without() {
    let rig = Rig::new(CARDS[1]);
    rig.model.state().messages_sent = 0;
    let before = rig.kernel.now();
    rig.arrive(&plain(MAC, 60, 1));
    rig.run(|| rig.came() == 1);
    assert_eq!((rig.kernel.now(), rig.model.state().messages_sent), (before, 1));
    (0..400).for_each(|i| rig.arrive(&plain(MAC, 60, i)));
    while rig.model.step() {}
    rig.run(|| rig.came() == 401);
    // One for the first, and one for what came while the task was at it.
    assert_eq!(rig.model.state().messages_sent, 3);
}

#[test]
fn a_card_without_messages_is_looked_at_within_four_milliseconds() {
    let rig = Rig::new(CARDS[0]);
    rig.pass(SECOND);
    let before = rig.kernel.now();
    rig.arrive(&plain(MAC, 60, 1));
    rig.run(|| rig.came() == 1);
    assert!(rig.kernel.now() - before <= 4_000_000);
    let before = rig.kernel.now();
    rig.arrive(&plain(MAC, 60, 1));
    rig.run(|| rig.came() == 2);
    assert!(rig.kernel.now() - before <= 200_000);
    // What is sent after a rest is followed closely.
    rig.pass(SECOND);
    rig.send(0, &plain(OTHER.0, 60, 1)).unwrap();
    let before = rig.kernel.now();
    rig.nic.start();
    rig.run(|| rig.told() == 1);
    assert!(rig.kernel.now() - before <= 200_000);
}
