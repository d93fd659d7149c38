//! Frames that are sent.
use super::*;
use net::nic::{Checksum, Segmentation, SegmentationKind};

const SUM: Option<Checksum> = Some(Checksum { start: 34, offset: 16 });

fn cut(kind: SegmentationKind, payload: u16) -> Offload {
    Offload {
        checksum: SUM,
        segmentation: Some(Segmentation { kind, payload, headers: 66 }),
        verified: false,
    }
}

#[test]
fn a_frame_is_its_copied_beginning_and_its_rest_where_it_lies() {
    let (rig, told) = (Rig::new(|_| {}), Arc::new(Told::default()));
    let frames: Vec<_> = [14, 60, LONGEST, LONGEST + 1, 1000, 1514, 1518].map(|len| pattern(len, 3)).into();
    for (tag, bytes) in (0..).zip(&frames) {
        rig.transmit(bytes, 500, Offload::default(), (&told, tag)).unwrap();
    }
    rig.nic.start();
    rig.run(|| told.count() == frames.len());
    let state = rig.model.state();
    assert_eq!(
        state.sent.iter().map(|sent| &sent.bytes).collect::<Vec<_>>(),
        frames.iter().collect::<Vec<_>>()
    );
    assert_eq!(state.sent.iter().map(|sent| sent.pieces).collect::<Vec<_>>(), [1, 1, 1, 2, 3, 4, 4]);
    assert!(state.sent.iter().all(|sent| sent.header == [0; 12] && sent.queue == 1));
    drop(state);
    let counters = rig.nic.counters();
    let bytes: usize = frames.iter().map(Vec::len).sum();
    assert_eq!((counters.sent, counters.sent_bytes, counters.send_errors), (7, bytes as u64, 0));
}

#[test]
fn a_beginning_of_any_length_is_copied() {
    let rig = Rig::new(|_| {});
    for len in [200, 1518, 2035, 2036, 2037, 4084, 4085, 30_000, Frame::MOST] {
        let bytes = pattern(len, 7);
        let offload = if len > 1518 { cut(SegmentationKind::Tcp4, 1448) } else { Offload::default() };
        let frame = Frame { beginning: &bytes, rest: &[], offload };
        assert_eq!(rig.nic.transmit(&frame, None), Ok(()), "{len}");
        rig.nic.start();
        rig.run(|| !rig.model.state().sent.is_empty());
        let sent = rig.model.state().sent.pop().unwrap();
        assert!(sent.bytes == bytes && sent.pieces == (len + 12).div_ceil(2048), "{len}");
    }
}

#[test]
fn what_is_left_to_be_done_stands_in_the_header() {
    let (rig, told) = (Rig::new(|_| {}), Arc::new(Told::default()));
    let mut slowed = pattern(5000, 1);
    slowed[34 + 13] = 0x90;
    let mut steady = slowed.clone();
    steady[34 + 13] = 0x10;
    let frames = [
        (pattern(100, 2), Offload::default(), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        (
            pattern(100, 2),
            Offload { checksum: SUM, ..Offload::default() },
            [1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0],
        ),
        (pattern(100, 2), Offload { verified: true, ..Offload::default() }, [0; 12]),
        (steady, cut(SegmentationKind::Tcp4, 1448), [1, 1, 66, 0, 0xa8, 5, 34, 0, 16, 0, 0, 0]),
        (slowed.clone(), cut(SegmentationKind::Tcp4, 1448), [1, 0x81, 66, 0, 0xa8, 5, 34, 0, 16, 0, 0, 0]),
        (slowed, cut(SegmentationKind::Tcp6, 1428), [1, 0x84, 66, 0, 0x94, 5, 34, 0, 16, 0, 0, 0]),
    ];
    for (tag, (bytes, offload, header)) in (0..).zip(frames) {
        rig.transmit(&bytes, 4096, offload, (&told, tag)).unwrap();
        rig.nic.start();
        rig.run(|| !rig.model.state().sent.is_empty());
        let sent = rig.model.state().sent.pop().unwrap();
        assert_eq!((sent.header, sent.bytes == bytes), (header, true), "{offload:?}");
    }
}

#[test]
fn a_device_without_congestion_notification_is_not_told_of_it() {
    let rig = Rig::new(|model| model.state().features &= !(1 << 13));
    let mut bytes = pattern(5000, 1);
    bytes[34 + 13] = 0x90;
    let told = Arc::new(Told::default());
    rig.transmit(&bytes, 4096, cut(SegmentationKind::Tcp4, 1448), (&told, 0)).unwrap();
    rig.nic.start();
    rig.run(|| told.count() == 1);
    assert_eq!(rig.model.state().sent[0].header[1], 1);
}

#[test]
fn one_notification_is_for_many_and_none_goes_before_start() {
    let (rig, told) = (Rig::new(|_| {}), Arc::new(Told::default()));
    rig.model.state().notifications = 0;
    for tag in 0..20 {
        rig.transmit(&pattern(100, 1), 100, Offload::default(), (&told, tag)).unwrap();
    }
    rig.pass(SECOND / 10);
    assert_eq!(rig.model.state().notifications, 0);
    assert!(rig.model.state().sent.is_empty());
    rig.nic.start();
    assert_eq!(rig.model.state().notifications, 1);
    rig.run(|| told.count() == 20);
    rig.nic.start();
    assert_eq!(rig.model.state().notifications, 1);
}

#[test]
fn frames_that_nobody_waits_for_cost_no_interrupt_and_others_few() {
    let (rig, told) = (Rig::new(|_| {}), Arc::new(Told::default()));
    rig.model.state().interrupts = 0;
    for i in 0..300 {
        rig.transmit_short(&pattern(60, i as u8)).unwrap();
        rig.nic.start();
        rig.run(|| rig.model.state().sent.len() > i);
        while rig.model.step() {}
    }
    assert_eq!(rig.model.state().interrupts, 0);
    for tag in 0..60 {
        rig.transmit(&pattern(60, 1), 100, Offload::default(), (&told, tag)).unwrap();
    }
    rig.nic.start();
    let start = rig.kernel.now();
    rig.run(|| told.count() == 60);
    assert_eq!(rig.kernel.now(), start, "nobody waits for a timer");
    let interrupts = rig.model.state().interrupts;
    assert!((1..8).contains(&interrupts), "{interrupts}");
}

#[test]
fn the_only_frame_is_told_of_as_soon_as_it_is_out() {
    for event_index in [true, false] {
        let rig = Rig::new(|model| {
            if !event_index {
                model.state().features &= !(1 << 29);
            }
        });
        let told = Arc::new(Told::default());
        for tag in 0..200 {
            rig.transmit(&pattern(60, 1), 100, Offload::default(), (&told, tag)).unwrap();
            rig.nic.start();
            let start = rig.kernel.now();
            rig.run(|| told.count() as u64 == tag + 1);
            assert_eq!(rig.kernel.now(), start);
        }
    }
}

#[test]
fn a_full_ring_refuses_and_tells_when_there_is_room() {
    for event_index in [true, false] {
        let rig = Rig::new(|model| {
            model.state().sleeps = true;
            if !event_index {
                model.state().features &= !(1 << 29);
            }
        });
        for i in 0..64 {
            assert_eq!(rig.transmit_short(&pattern(60, i)), Ok(()));
        }
        assert_eq!(rig.transmit_short(&pattern(60, 64)), Err(Refused::Full));
        rig.nic.start();
        assert_eq!(rig.transmit_short(&pattern(60, 64)), Err(Refused::Full));
        rig.pass(SECOND / 10);
        assert_eq!(rig.ears.rooms.lock().len(), 0);
        rig.model.state().sleeps = false;
        let start = rig.kernel.now();
        rig.run(|| rig.ears.rooms.lock().len() == 1);
        assert_eq!(rig.kernel.now(), start);
        assert_eq!(rig.transmit_short(&pattern(60, 64)), Ok(()));
        rig.nic.start();
        rig.run(|| rig.model.state().sent.len() == 65);
        rig.pass(2 * SECOND);
        assert_eq!(rig.ears.rooms.lock().len(), 1);
    }
}

#[test]
fn frames_beyond_what_the_card_can_are_refused() {
    let (rig, told) = (Rig::new(|_| {}), Arc::new(Told::default()));
    let send = |rig: &Rig, len, piece, offload| rig.transmit(&pattern(len, 1), piece, offload, (&told, 0));
    assert_eq!(send(&rig, 1519, 4096, Offload::default()), Err(Refused::Unable));
    assert_eq!(send(&rig, 9000, 4096, cut(SegmentationKind::Tcp4, 1460)), Err(Refused::Unable));
    // More pieces than the ring has.
    assert_eq!(send(&rig, 1500, 20, Offload::default()), Err(Refused::Unable));
    let bare = Rig::new(|model| model.state().features &= !(1 | 1 << 12));
    assert!(!bare.nic.abilities().checksum && !bare.nic.abilities().tcp4);
    let summed = Offload { checksum: SUM, ..Offload::default() };
    assert_eq!(send(&bare, 1000, 4096, summed), Err(Refused::Unable));
    let four = Rig::new(|model| model.state().features &= !(1 << 12));
    assert_eq!(send(&four, 9000, 4096, cut(SegmentationKind::Tcp6, 1000)), Err(Refused::Unable));
    assert_eq!(told.count(), 0);
}

#[test]
fn each_cpu_has_a_pair_of_queues_as_far_as_there_are_some() {
    let kernel = TestKernel::new(4);
    let model = Model::new(&kernel, 2);
    let rig = try_start(&kernel, &model, Messages::All).ok().unwrap();
    assert_eq!((rig.nic.abilities().queues, rig.kernel.vectors_taken()), (2, 3));
    assert_eq!(model.state().commands[0], ([4, 0], std::vec![2, 0]));
    for cpu in 0..4 {
        kernel.on_cpu(cpu, || {
            assert_eq!(rig.nic.queue(), cpu / 2);
            rig.transmit_short(&pattern(60, cpu as u8)).unwrap();
            rig.nic.start();
        });
    }
    rig.run(|| model.state().sent.len() == 4);
    let mut sent: Vec<_> = model.state().sent.iter().map(|sent| (sent.bytes[0], sent.queue)).collect();
    sent.sort_unstable();
    assert_eq!(sent, [(0, 1), (1, 1), (2, 3), (3, 3)]);
    for pair in 0..2 {
        model.state().coming.push_back(Coming { pair, header: [0; 12], bytes: pattern(60, pair as u8) });
    }
    rig.run(|| rig.heard() == 2);
    let mut heard: Vec<_> = rig.ears.frames.lock().iter().map(|heard| (heard.bytes[0], heard.cpu)).collect();
    heard.sort_unstable();
    assert_eq!(heard, [(0, 0), (1, 2)]);
}

#[test]
fn that_there_is_room_is_told_where_the_queue_was_full() {
    let kernel = TestKernel::new(4);
    let model = Model::new(&kernel, 2);
    let rig = try_start(&kernel, &model, Messages::All).ok().unwrap();
    let full_on = |cpu| {
        kernel.on_cpu(cpu, || {
            while rig.transmit_short(&pattern(60, 0)).is_ok() {}
            rig.nic.start();
        });
    };
    full_on(3);
    rig.run(|| rig.ears.rooms.lock().len() == 1);
    full_on(1);
    rig.run(|| rig.ears.rooms.lock().len() == 2);
    let queues: Vec<_> =
        rig.ears.rooms.lock().iter().map(|&cpu| kernel.on_cpu(cpu, || rig.nic.queue())).collect();
    assert_eq!(queues, [1, 0]);
}
