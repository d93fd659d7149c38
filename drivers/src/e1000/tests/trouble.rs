//! Cards that hang, or are pulled out: every frame is let go of, once.
use super::frames::{OTHER, plain};
use super::*;
use crate::e1000::registers::{RDBAL, RDH};
use net::nic::Filter;

#[test]
fn a_card_that_sends_nothing_is_reset_and_works_again() {
    for card in CARDS {
        let rig = Rig::new(card);
        rig.nic.set_filter(Filter { promiscuous: true, ..Filter::default() });
        rig.model.state().sends_nothing = true;
        let frame = plain(OTHER.0, 600, 1);
        let mut count = 0;
        while rig.send(count, &frame).is_ok() {
            count += 1;
        }
        let before = rig.kernel.now();
        rig.run(|| rig.told() == count as usize);
        assert!((2..=4).contains(&((rig.kernel.now() - before) / SECOND)));
        let counters = rig.nic.counters();
        assert_eq!((counters.resets, counters.send_errors, counters.sent), (1, count, 0));
        assert_eq!(rig.told.memory.lock().len(), 0);
        rig.model.state().sends_nothing = false;
        rig.run(|| rig.above.rooms.load(Ordering::Relaxed) == 1);
        rig.send(count, &frame).unwrap();
        rig.nic.start();
        // To another: the filter is what it was.
        rig.arrive(&plain(OTHER.0, 60, 7));
        rig.run(|| rig.told() == count as usize + 1 && rig.came() == 1);
        assert_eq!(rig.sent(), [frame]);
    }
}

#[test]
fn frames_that_nobody_started_do_not_hang() {
    let rig = Rig::new(CARDS[1]);
    rig.send(0, &plain(OTHER.0, 600, 1)).unwrap();
    rig.pass(20 * SECOND);
    assert_eq!((rig.nic.counters().resets, rig.told()), (0, 0));
    rig.nic.start();
    rig.run(|| rig.told() == 1);
    assert_eq!(rig.nic.counters().resets, 0);
}

#[test]
fn a_card_that_does_not_come_back_from_its_reset_is_given_up() {
    for card in CARDS {
        let rig = Rig::new(card);
        (0..10).for_each(|tag| rig.send(tag, &plain(OTHER.0, 600, 1)).unwrap());
        rig.nic.start();
        (rig.model.state().sends_nothing, rig.model.state().reset_hangs) = (true, true);
        let controller = rig.controller.clone();
        let model = rig.model.clone();
        rig.kernel.block_on(move || model.step(), async move { controller.ended().await });
        assert_eq!((rig.told(), rig.nic.is_present()), (10, false));
        assert!(rig.model.state().dma_stopped);
    }
}

#[test]
fn a_card_that_is_pulled_out_lets_go_of_all() {
    for (card, told_by_bus) in CARDS.into_iter().flat_map(|card| [(card, false), (card, true)]) {
        let rig = Rig::new(card);
        (0..100).for_each(|tag| rig.send(tag, &plain(OTHER.0, 600, 1)).unwrap());
        rig.nic.start();
        (0..20).for_each(|_| _ = rig.model.step());
        (100..120).for_each(|tag| rig.send(tag, &plain(OTHER.0, 600, 1)).unwrap());
        rig.model.state().gone = true;
        if told_by_bus {
            rig.controller.removed();
        }
        rig.run(|| rig.told() == 120);
        rig.run(|| !rig.nic.is_present() && rig.above.changes.load(Ordering::Relaxed) == 1);
        assert!(!rig.nic.link().up && !rig.controller.is_present() && rig.model.state().dma_stopped);
        assert_eq!(rig.send(120, &plain(OTHER.0, 600, 1)), Err(Refused::Down));
        rig.nic.start();
        rig.nic.set_filter(Filter::default());
        rig.nic.set_receiver(None);
        let Rig { kernel, model, controller, nic, above, .. } = rig;
        kernel.pass(SECOND, || false);
        drop((controller, nic, above, model));
        assert_eq!((kernel.pages_taken(), kernel.vectors_taken()), (0, 0));
    }
}

#[test]
fn buffers_that_are_filled_out_of_order_cost_a_reset() {
    for card in CARDS {
        let rig = Rig::new(card);
        rig.pass(SECOND / 2);
        {
            let mut state = rig.model.state();
            let head = state.get(RDH);
            state.set(RDH, head + 2);
            state.fill_next(&rig.kernel, &[60 | 3 << 32]);
            assert_ne!(state.ring(RDBAL).0, 0);
        }
        rig.run(|| rig.nic.counters().resets == 1);
        rig.arrive(&plain(MAC, 60, 1));
        rig.run(|| rig.came() == 1);
        assert_eq!(rig.nic.counters().receive_errors, 1);
    }
}
