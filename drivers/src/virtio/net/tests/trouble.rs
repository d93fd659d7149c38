//! Links that come and go, cards that hang, resets and removals.
use super::*;

#[test]
fn a_link_that_goes_is_told_of_at_once_or_within_a_second() {
    for messages in [Messages::All, Messages::One, Messages::None] {
        let kernel = TestKernel::new(1);
        let model = Model::new(&kernel, 1);
        let rig = try_start(&kernel, &model, messages).ok().unwrap();
        for (i, up) in [false, true, false, true].into_iter().enumerate() {
            let start = kernel.now();
            model.set_link(up);
            rig.run(|| rig.nic.link().up == up && *rig.ears.link_changes.lock() == i as u32 + 1);
            let within = if messages == Messages::All { 0 } else { SECOND };
            assert!(kernel.now() - start <= within, "{messages:?}");
            if !up {
                assert_eq!(rig.transmit_short(&pattern(60, 1)), Err(Refused::Down));
            }
        }
        assert_eq!(rig.nic.counters().link_changes, 4);
        rig.exchange();
    }
}

#[test]
fn a_card_that_starts_without_a_link_gets_one() {
    let rig = Rig::new(|model| model.state().own[6] = 0);
    assert!(!rig.nic.link().up);
    rig.model.set_link(true);
    rig.run(|| rig.nic.link().up);
    rig.exchange();
}

#[test]
fn a_card_that_sends_nothing_is_reset_and_goes_on() {
    let (rig, told) = (Rig::new(|_| {}), Arc::new(Told::default()));
    rig.model.state().keeps = true;
    for tag in 0..64 {
        rig.transmit(&pattern(60, 1), 1, Offload::default(), (&told, tag)).unwrap();
    }
    assert_eq!(rig.transmit_short(&pattern(60, 1)), Err(Refused::Full));
    rig.nic.start();
    let start = rig.kernel.now();
    rig.run(|| told.count() == 64);
    assert!((5 * SECOND..7 * SECOND).contains(&(rig.kernel.now() - start)));
    rig.model.state().keeps = false;
    rig.run(|| rig.ears.rooms.lock().len() == 1);
    assert_eq!((rig.nic.counters().resets, rig.nic.counters().send_errors), (1, 64));
    rig.exchange();
    assert_eq!(rig.nic.counters().resets, 1);
}

#[test]
fn frames_that_wait_for_start_or_for_the_link_are_no_hang() {
    let (rig, told) = (Rig::new(|_| {}), Arc::new(Told::default()));
    rig.transmit(&pattern(60, 1), 1, Offload::default(), (&told, 0)).unwrap();
    rig.pass(20 * SECOND);
    rig.nic.start();
    rig.run(|| told.count() == 1);
    rig.model.state().sleeps = true;
    rig.transmit(&pattern(60, 1), 1, Offload::default(), (&told, 1)).unwrap();
    rig.nic.start();
    rig.model.set_link(false);
    rig.pass(20 * SECOND);
    rig.model.set_link(true);
    rig.pass(4 * SECOND);
    rig.model.state().sleeps = false;
    // The device was told already.
    rig.run(|| told.count() == 2);
    assert_eq!(rig.nic.counters().resets, 0);
}

#[test]
fn a_card_that_never_sends_is_given_up() {
    let (rig, told) = (Rig::new(|_| {}), Arc::new(Told::default()));
    rig.model.state().keeps = true;
    let mut tag = 0;
    while rig.nic.is_present() {
        // That frames come does not help.
        rig.come([0; 12], pattern(60, 1));
        if rig.transmit(&pattern(60, 1), 1, Offload::default(), (&told, tag)).is_ok() {
            tag += 1;
        }
        rig.nic.start();
        rig.pass(SECOND);
        assert!(tag < 100);
    }
    assert_eq!((told.count() as u64, rig.nic.counters().resets), (tag, 3));
    assert!(rig.model.state().dma_stopped && !rig.nic.link().up);
    assert_eq!(*rig.ears.link_changes.lock(), 1);
}

#[test]
fn a_device_that_asks_for_a_reset_gets_it() {
    let rig = Rig::new(|_| {});
    for resets in 1..6 {
        rig.model.state().status |= 64;
        rig.run(|| rig.nic.counters().resets == resets && rig.model.state().status == 15);
        rig.exchange();
    }
    // Without anything in between it is not worth while.
    for _ in 0..4 {
        rig.model.state().status |= 64;
        rig.pass(2 * SECOND);
    }
    assert!(!rig.nic.is_present());
}

#[test]
fn a_device_whose_reset_hangs_loses_its_way_to_memory_first() {
    let (rig, told) = (Rig::new(|_| {}), Arc::new(Told::default()));
    (rig.model.state().reset_hangs, rig.model.state().keeps) = (true, true);
    rig.transmit(&pattern(1000, 1), 500, Offload::default(), (&told, 0)).unwrap();
    rig.nic.start();
    rig.run(|| told.count() == 1);
    assert!(rig.model.state().dma_stopped && !rig.nic.is_present());
}

#[test]
fn a_device_that_is_another_after_its_reset_is_given_up() {
    let rig = Rig::new(|_| {});
    rig.model.state().features &= !(1 << 15);
    rig.model.state().status |= 64;
    rig.run(|| !rig.nic.is_present());
}

#[test]
fn a_device_that_no_longer_answers_commands_is_reset_and_then_given_up() {
    let rig = Rig::new(|_| {});
    rig.model.state().ignores_commands = true;
    rig.nic.set_filter(net::nic::Filter::default());
    rig.run(|| !rig.nic.is_present());
    assert_eq!(rig.nic.counters().resets, 1);
}

#[test]
fn a_card_that_is_gone_lets_go_of_everything() {
    for told_by_bus in [false, true] {
        let (rig, told) = (Rig::new(|_| {}), Arc::new(Told::default()));
        for tag in 0..20 {
            rig.transmit(&pattern(1000, 1), 500, Offload::default(), (&told, tag)).unwrap();
        }
        rig.nic.start();
        rig.model.step();
        rig.model.state().gone = true;
        if told_by_bus {
            rig.controller.removed();
        }
        rig.run(|| told.count() == 20);
        let (controller, model) = (rig.controller.clone(), rig.model.clone());
        rig.kernel.block_on(move || model.step(), async move { controller.ended().await });
        assert!(rig.model.state().dma_stopped && !rig.nic.is_present() && !rig.nic.link().up);
        assert_eq!(*rig.ears.link_changes.lock(), 1);
        assert_eq!(rig.transmit_short(&pattern(60, 1)), Err(Refused::Down));
        assert!(told.memory.lock().is_empty());
    }
}
