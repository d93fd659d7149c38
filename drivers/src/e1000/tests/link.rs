//! The cable comes and goes.
use super::frames::plain;
use super::*;
use crate::e1000::registers::{STATUS, status};
use net::nic::Link;

#[test]
fn a_link_that_goes_and_comes_is_told_of() {
    for card in CARDS {
        let rig = Rig::new(card);
        let changes = || rig.above.changes.load(Ordering::Relaxed);
        let before = rig.kernel.now();
        rig.model.set_link(false);
        rig.run(|| changes() == 1);
        assert_eq!(rig.nic.link(), Link::default());
        // By a message at once, otherwise by a look each second.
        let limit = if card.1 == 0 { SECOND } else { 0 };
        assert!(rig.kernel.now() - before <= limit);
        assert_eq!(rig.send(0, &plain(OTHER_MAC, 60, 1)), Err(Refused::Down));
        rig.pass(3 * SECOND);
        rig.model.set_link(true);
        rig.run(|| changes() == 2);
        assert!(rig.nic.link().up);
        assert_eq!((rig.nic.counters().link_changes, rig.nic.counters().resets), (2, 0));
        rig.send(0, &plain(OTHER_MAC, 60, 1)).unwrap();
        rig.nic.start();
        rig.arrive(&plain(MAC, 60, 2));
        rig.run(|| rig.told() == 1 && rig.came() == 1);
    }
}

const OTHER_MAC: [u8; 6] = super::frames::OTHER.0;

#[test]
fn the_speed_is_what_was_negotiated() {
    for (bits, megabits) in [(0, 10), (1, 100), (2, 1000), (3, 1000)] {
        let kernel = TestKernel::new(1);
        let model = Model::new(&kernel, I82574L, 5);
        model.state().set(STATUS, status::LU | bits << status::SPEED);
        let rig = try_start(&kernel, &model, true).ok().unwrap();
        assert_eq!(rig.nic.link(), Link { up: true, megabits, full_duplex: false });
    }
}

#[test]
fn a_card_without_a_cable_waits_for_one() {
    for card in CARDS {
        let kernel = TestKernel::new(2);
        let model = Model::new(&kernel, card.0, card.1);
        model.state().set(STATUS, 0);
        let rig = try_start(&kernel, &model, card.1 != 0).ok().unwrap();
        assert!(!rig.nic.link().up);
        rig.pass(5 * SECOND);
        rig.model.set_link(true);
        rig.run(|| rig.nic.link().up);
        assert_eq!((rig.nic.counters().link_changes, rig.nic.counters().resets), (1, 0));
    }
}
