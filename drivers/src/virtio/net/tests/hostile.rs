//! Devices that lie.
use super::super::model::Lie;
use super::*;

#[test]
fn a_buffer_that_was_not_given_or_holds_too_much_costs_a_reset() {
    let lies = [
        Lie::Id(64),
        Lie::Id(63),
        Lie::Id(u32::MAX),
        Lie::Id(0x1_0000),
        Lie::Bytes(4097),
        Lie::Bytes(u32::MAX),
        Lie::Bytes(11),
        Lie::Bytes(0),
        Lie::Buffers(0),
        Lie::Buffers(2),
        Lie::Buffers(17),
        Lie::Buffers(18),
        Lie::Buffers(u16::MAX),
        Lie::Twice,
    ];
    let rig = Rig::new(|_| {});
    for (lie, resets) in lies.into_iter().zip(1..) {
        let before = rig.heard();
        rig.come([0; 12], pattern(60, 1));
        rig.run(|| rig.heard() == before + 1);
        rig.model.state().lie = Some(lie);
        rig.come([0; 12], pattern(100, 2));
        rig.run(|| rig.nic.counters().resets == resets && rig.model.state().status == 15);
        let frames = rig.ears.frames.lock().len();
        // A frame before the lie is good; one that was lied of is not handed over.
        let good = usize::from(lie == Lie::Twice);
        assert_eq!(frames, before + 1 + good, "{lie:?}");
    }
    rig.exchange();
    assert!(rig.nic.is_present());
}

#[test]
fn a_frame_that_was_not_given_to_be_sent_costs_a_reset() {
    let rig = Rig::new(|_| {});
    let told = Arc::new(Told::default());
    for round in 0..12 {
        for tag in round * 10..round * 10 + 10 {
            rig.transmit(&pattern(60, 1), 1, Offload::default(), (&told, tag)).unwrap();
        }
        rig.model.state().strangers = 1;
        rig.nic.start();
        rig.run(|| told.count() as u64 == round * 10 + 10);
        rig.run(|| rig.nic.counters().resets == round + 1 && rig.model.state().status == 15);
        rig.exchange();
    }
    // The last is noticed when somebody looks.
    rig.pass(2 * SECOND);
    let counters = rig.nic.counters();
    assert_eq!(counters.sent + counters.send_errors, 12 * 11);
}

#[test]
fn a_used_index_that_jumps_is_survived() {
    for jump in [1, 63, 64, 65, 1000, 32_768] {
        for queue in 0..3 {
            let (rig, told) = (Rig::new(|_| {}), Arc::new(Told::default()));
            rig.transmit(&pattern(60, 1), 1, Offload::default(), (&told, 0)).unwrap();
            rig.nic.start();
            let entries = std::vec![(jump % 64, jump); jump as usize];
            rig.model.state().give_back(&rig.kernel, queue, &entries);
            rig.nic.set_filter(net::nic::Filter::default());
            rig.run(|| told.count() == 1);
            rig.pass(20 * SECOND);
            assert!(rig.nic.is_present(), "{jump} {queue}");
            rig.exchange();
        }
    }
}

#[test]
fn a_device_that_lies_all_the_time_is_given_up() {
    let rig = Rig::new(|_| {});
    for _ in 0..4 {
        rig.model.state().lie = Some(Lie::Bytes(0));
        rig.come([0; 12], pattern(60, 1));
        rig.pass(2 * SECOND);
    }
    assert!(!rig.nic.is_present() && rig.heard() == 0);
    assert_eq!(rig.nic.counters().resets, 3);
}

#[test]
fn a_frame_stays_as_it_is_while_somebody_reads_it() {
    /// Looks whether a frame is still what it was after the device has done all that it can.
    struct Slow {
        kernel: Arc<TestKernel>,
        model: Arc<Model>,
    }
    impl Receiver for Slow {
        fn receive(&self, frame: &Frame<'_>) {
            let read = || {
                let mut bytes = std::vec![0; frame.rest[0].bytes as usize];
                self.kernel.device_read(frame.rest[0].address, &mut bytes);
                bytes
            };
            let before = read();
            while self.model.step() {}
            assert_eq!(read(), before);
        }
    }
    let rig = Rig::new(|_| {});
    let slow = Slow { kernel: rig.kernel.clone(), model: rig.model.clone() };
    rig.nic.set_receiver(Some(Arc::new(slow)));
    // More than there are buffers.
    (0..200).for_each(|i| rig.come([0; 12], pattern(1000, i)));
    rig.run(|| rig.nic.counters().received == 200);
}
