//! Frames that come.
use super::*;
use net::frame::checksum::Sum;
use net::nic::{Checksum, Segmentation, SegmentationKind};

/// A frame of TCP over IPv4 or IPv6, with so many bytes behind its headers.
fn tcp(version: u8, payload: usize) -> Vec<u8> {
    let mut frame = std::vec![0x52, 0x54, 0, 1, 2, 3, 0x52, 0x54, 0, 9, 9, 9];
    if version == 4 {
        let length = (40 + payload) as u16;
        let mut ip = [0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        ip[2..4].copy_from_slice(&length.to_be_bytes());
        let sum = Sum::new().bytes(&ip).checksum();
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        frame.extend([8, 0]);
        frame.extend(ip);
    } else {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        frame.extend(((20 + payload) as u16).to_be_bytes());
        frame.extend([6, 64]);
        frame.extend([0xfe; 32]);
    }
    frame.extend([0, 80, 1, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
    frame.extend(pattern(payload, 9));
    frame
}

#[test]
fn frames_come_whole_and_in_order_in_batches() {
    for (features, messages) in
        [(0, Messages::All), (1 << 29, Messages::All), (1 << 15, Messages::All), (0, Messages::None)]
    {
        let kernel = TestKernel::new(1);
        let model = Model::new(&kernel, 1);
        model.state().features &= !features;
        let rig = try_start(&kernel, &model, messages).ok().unwrap();
        let frames: Vec<_> = (0..500).map(|i| pattern(60 + i * 7 % 1459, i as u8)).collect();
        for frames in frames.chunks(50) {
            let before = rig.heard();
            frames.iter().for_each(|frame| rig.come([0; 12], frame.clone()));
            rig.run(|| rig.heard() == before + frames.len());
        }
        rig.run(|| rig.ears.batches.lock().last() == Some(&500));
        let heard = rig.ears.frames.lock();
        assert!(heard.iter().map(|heard| &heard.bytes).eq(&frames));
        assert!(heard.iter().all(|heard| heard.beginning == heard.bytes.len().min(LONGEST)));
        assert!(heard.iter().all(|heard| heard.offload == Offload::default()));
        let counters = rig.nic.counters();
        let bytes: usize = frames.iter().map(Vec::len).sum();
        assert_eq!((counters.received, counters.received_bytes), (500, bytes as u64));
        assert_eq!((counters.receive_errors, counters.resets), (0, 0));
    }
}

#[test]
fn many_frames_at_once_are_few_interrupts_and_batches() {
    let rig = Rig::new(|_| {});
    rig.model.state().interrupts = 0;
    (0..40).for_each(|i| rig.come([0; 12], pattern(60, i)));
    while rig.model.step() {}
    rig.run(|| rig.heard() == 40);
    assert_eq!((rig.model.state().interrupts, &rig.ears.batches.lock()[..]), (1, &[32, 40][..]));
}

#[test]
fn what_the_header_says_of_checksums_is_handed_on_if_it_makes_sense() {
    let rig = Rig::new(|_| {});
    let (sum, plain) = (Some(Checksum { start: 34, offset: 16 }), Offload::default());
    let cases = [
        ([0, 0, 0, 0, 0, 0, 99, 0, 9, 0, 0, 0], Some(plain)),
        ([2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Some(Offload { verified: true, ..plain })),
        ([1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0], Some(Offload { verified: true, checksum: sum, ..plain })),
        // Within Ethernet's header, at the frame's end, and behind it.
        ([1, 0, 0, 0, 0, 0, 13, 0, 16, 0, 0, 0], None),
        ([1, 0, 0, 0, 0, 0, 34, 0, 65, 0, 0, 0], None),
        ([1, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0], None),
        // Ways to be cut that nobody has agreed on.
        ([1, 3, 66, 0, 0, 5, 34, 0, 16, 0, 0, 0], None),
        ([1, 0x81, 66, 0, 0, 5, 34, 0, 16, 0, 0, 0], None),
    ];
    let mut errors = 0;
    for (header, wanted) in cases {
        let before = rig.heard();
        rig.come(header, pattern(100, 1));
        rig.come([0; 12], pattern(61, 1));
        rig.run(|| rig.ears.frames.lock().last().is_some_and(|heard| heard.bytes.len() == 61));
        let heard = rig.ears.frames.lock()[before..].to_vec();
        assert_eq!(heard.len(), 1 + usize::from(wanted.is_some()), "{header:?}");
        assert_eq!(wanted.unwrap_or_default(), heard[0].offload, "{header:?}");
        errors += u64::from(wanted.is_none());
        rig.ears.frames.lock().clear();
    }
    let counters = rig.nic.counters();
    assert_eq!((counters.receive_errors, counters.resets), (errors, 0));
    // Where checksums were not agreed on, the header says nothing.
    let rig = Rig::new(|model| model.state().features &= !2);
    rig.come([1, 1, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0], pattern(100, 1));
    rig.run(|| rig.heard() == 1);
    assert_eq!(rig.ears.frames.lock()[0].offload, plain);
}

#[test]
fn frames_that_were_put_together_come_in_several_buffers_and_say_so() {
    let rig = Rig::new(|_| {});
    for (version, start, kind) in [(4, 34, SegmentationKind::Tcp4), (6, 54, SegmentationKind::Tcp6)] {
        let gso = if version == 4 { 1 } else { 4 };
        // What the device says of the headers' length is a hint, and wrong here.
        let header = [1, gso, 7, 0, 0xa8, 5, start, 0, 16, 0, 0, 0];
        for payload in [2000, 4096, 20_000, 65_535 - 40 - 20] {
            let frame = tcp(version, payload);
            rig.come(header, frame.clone());
            rig.run(|| rig.heard() == 1);
            let heard = rig.ears.frames.lock().pop().unwrap();
            let headers = u16::from(start) + 20;
            assert!(heard.bytes == frame, "{version} {payload}");
            assert_eq!(heard.offload.segmentation, Some(Segmentation { kind, payload: 1448, headers }));
            assert_eq!(heard.offload.checksum, Some(Checksum { start: start.into(), offset: 16 }));
        }
    }
    // Of another protocol than it says, without a checksum, with one elsewhere, without payload in a piece.
    for header in [
        [1, 4, 0, 0, 0xa8, 5, 34, 0, 16, 0, 0, 0],
        [0, 1, 0, 0, 0xa8, 5, 34, 0, 16, 0, 0, 0],
        [1, 1, 0, 0, 0xa8, 5, 34, 0, 6, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0],
    ] {
        rig.come(header, tcp(4, 5000));
    }
    rig.come([1, 1, 0, 0, 0xa8, 5, 34, 0, 16, 0, 0, 0], pattern(5000, 1));
    rig.run(|| rig.nic.counters().receive_errors == 5);
    assert_eq!((rig.heard(), rig.nic.counters().resets), (0, 0));
}

#[test]
fn frames_of_a_wrong_length_are_counted_and_not_handed_over() {
    // With frames that are put together, for which there is room, and without.
    for features in [0, 1 << 7 | 1 << 8] {
        let rig = Rig::new(|model| model.state().features &= !features);
        for len in [0, 1, 13, 1519, 3000, 9000, 60_000] {
            rig.come([0; 12], pattern(len, 1));
        }
        rig.come([0; 12], pattern(14, 1));
        rig.come([0; 12], pattern(1518, 1));
        rig.run(|| rig.heard() == 2);
        assert_eq!((rig.nic.counters().receive_errors, rig.nic.counters().resets), (7, 0));
        assert!(rig.ears.frames.lock().iter().map(|heard| heard.bytes.len()).eq([14, 1518]));
    }
}

#[test]
fn jumbo_frames_come_in_several_buffers_or_in_long_ones() {
    for merged in [true, false] {
        let rig = Rig::new(|model| {
            let mut state = model.state();
            state.own[10..].copy_from_slice(&9000u16.to_le_bytes());
            if !merged {
                state.features &= !(1 << 15);
            }
        });
        assert_eq!(rig.nic.abilities().mtu, 9000);
        let (bytes, told) = (pattern(9018, 3), Arc::new(Told::default()));
        for i in 0..100 {
            rig.come([0; 12], bytes.clone());
            rig.run(|| rig.heard() == i + 1);
        }
        assert!(rig.ears.frames.lock().iter().all(|heard| heard.bytes == bytes));
        rig.transmit(&bytes, 4096, Offload::default(), (&told, 0)).unwrap();
        rig.nic.start();
        rig.run(|| told.count() == 1);
        assert!(rig.model.state().sent[0].bytes == bytes);
    }
}

#[test]
fn nobody_listens_and_frames_are_passed_over() {
    let rig = Rig::new(|_| {});
    rig.nic.set_receiver(None);
    (0..200).for_each(|i| rig.come([0; 12], pattern(60, i)));
    rig.run(|| rig.nic.counters().received == 200);
    rig.nic.set_receiver(Some(rig.ears.clone()));
    rig.come([0; 12], pattern(60, 0));
    rig.run(|| rig.heard() == 1);
}
