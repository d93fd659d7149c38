//! How a card starts, and what it says of itself.
use super::*;
use net::frame::Mac;
use net::nic::{Abilities, Filter, Link};
use std::string::ToString;

#[test]
fn a_card_is_what_the_device_says() {
    let rig = Rig::new(|_| {});
    let identity = rig.nic.identity();
    assert_eq!((&*identity.name, identity.mac), ("eth0", Mac([0x52, 0x54, 0, 1, 2, 3])));
    let all = Abilities { mtu: 1500, checksum: true, tcp4: true, tcp6: true, verifies: true, queues: 1 };
    assert_eq!(*rig.nic.abilities(), all);
    assert_eq!(rig.nic.link(), Link { up: true, megabits: 0, full_duplex: true });
    assert!(rig.nic.is_present());
    // Nothing but an address: no features, no more configuration.
    let bare = Rig::new(|model| {
        let mut state = model.state();
        state.features = 1 << 32 | 1 << 5;
        state.own.truncate(6);
    });
    assert_eq!(*bare.nic.abilities(), Abilities { mtu: 1500, queues: 1, ..Abilities::default() });
    assert!(bare.nic.link().up);
    bare.exchange();
    // Packets longer than any that are made.
    let long = Rig::new(|model| model.state().own[10..].copy_from_slice(&[0xff, 0xff]));
    assert_eq!(long.nic.abilities().mtu, 9000);
    // What asks for what is not there is not taken.
    let odd =
        Rig::new(|model| model.state().features = 1 << 32 | 1 << 5 | 1 << 11 | 1 << 13 | 1 << 18 | 1 << 22);
    assert_eq!(odd.model.state().agreed, 1 << 32 | 1 << 5);
}

#[test]
fn functions_are_recognized_by_both_numbers() {
    use crate::virtio::is_net;
    assert!(is_net(0x1af4, 0x1041) && is_net(0x1af4, 0x1000));
    assert!(!is_net(0x1af4, 0x1042) && !is_net(0x8086, 0x1000));
}

#[test]
fn a_device_that_can_not_be_used_says_why_and_keeps_no_memory() {
    type Prepare = fn(&Model);
    let cases: [(Prepare, &str); 11] = [
        (|model| model.state().gone = true, "does not answer on the bus"),
        (
            |model| {
                model.state().status = 1;
                model.state().reset_hangs = true;
            },
            "its reset did not end",
        ),
        (|model| model.state().features &= !(1 << 32), "older than virtio 1.0"),
        (|model| model.state().refuses_features = true, "does not take the features"),
        (|model| model.state().features &= !(1 << 5), "no address"),
        (|model| model.state().own[0] = 1, "no address"),
        (|model| model.state().own[10..].copy_from_slice(&[67, 0]), "shorter than 68"),
        (|model| model.state().queues[0].most = 3, "a queue's size"),
        (|model| model.state().queues[1].most = 48, "a queue's size"),
        (|model| model.state().queues[0].most = 16, "no room for a frame"),
        (|model| model.state().ignores_commands = true, "does not answer a request"),
    ];
    for (prepare, why) in cases {
        let kernel = TestKernel::new(1);
        let model = Model::new(&kernel, 1);
        prepare(&model);
        let error = try_start(&kernel, &model, Messages::All).err().unwrap();
        assert!(error.to_string().contains(why), "{error}, not {why}");
        kernel.pass(5 * SECOND, || model.step());
        assert_eq!((kernel.pages_taken(), kernel.vectors_taken()), (0, 0), "{why}");
    }
    // More pairs of queues than it takes commands for.
    let kernel = TestKernel::new(2);
    let model = Model::new(&kernel, 2);
    model.state().refuses_commands = true;
    let error = try_start(&kernel, &model, Messages::All).err().unwrap();
    assert!(error.to_string().contains("as many queues"), "{error}");
}

#[test]
fn which_frames_are_wanted_is_told_at_start_and_at_each_change() {
    let rig = Rig::new(|_| {});
    let commands = || core::mem::take(&mut rig.model.state().commands);
    let told = |promiscuous, groups| std::vec![([0, 0], std::vec![promiscuous]), ([0, 1], std::vec![groups])];
    assert_eq!(commands(), told(0, 0));
    let (none, groups) = (Filter::default(), std::vec![Mac([1, 0, 0x5e, 0, 0, 1])]);
    for (filter, wanted) in [
        (Filter { promiscuous: true, ..none.clone() }, told(1, 0)),
        (Filter { all_groups: true, ..none.clone() }, told(0, 1)),
        (Filter { groups, ..none.clone() }, told(0, 1)),
        (none, told(0, 0)),
    ] {
        rig.nic.set_filter(filter);
        rig.run(|| rig.model.state().commands.len() == 2);
        assert_eq!(commands(), wanted);
    }
    // After a reset again.
    rig.nic.set_filter(Filter { promiscuous: true, ..Filter::default() });
    rig.run(|| rig.model.state().commands.len() == 2);
    commands();
    rig.model.state().status |= 64;
    rig.run(|| rig.model.state().commands.len() == 2);
    assert_eq!(commands(), told(1, 0));
    // A device that does not do it does the rest.
    rig.model.state().refuses_commands = true;
    rig.nic.set_filter(Filter::default());
    rig.run(|| rig.model.state().commands.len() == 2);
    rig.exchange();
    assert_eq!(rig.nic.counters().resets, 1);
}

#[test]
fn a_configuration_that_never_rests_is_taken_at_its_last_word() {
    let rig = Rig::new(|model| model.state().restless = true);
    assert_eq!(rig.nic.identity().mac, Mac([0x52, 0x54, 0, 1, 2, 3]));
}

#[test]
fn a_card_that_is_shut_down_lets_its_last_frames_out() {
    for sleeps in [false, true] {
        let rig = Rig::new(|_| {});
        let told = Arc::new(Told::default());
        for tag in 0..10 {
            rig.transmit(&pattern(1000, 1), 500, Offload::default(), (&told, tag)).unwrap();
        }
        rig.nic.start();
        rig.model.state().sleeps = sleeps;
        let (controller, model) = (rig.controller.clone(), rig.model.clone());
        rig.kernel.block_on(move || model.step(), async move { controller.shut_down().await });
        assert_eq!(rig.model.state().sent.len(), if sleeps { 0 } else { 10 });
        assert_eq!((told.count(), rig.nic.is_present(), rig.nic.link().up), (10, false, false));
        assert_eq!(rig.transmit_short(&pattern(60, 1)), Err(Refused::Down));
        let Rig { kernel, controller, nic, ears, .. } = rig;
        drop((controller, nic, ears));
        kernel.pass(2 * SECOND, || false);
        assert_eq!((kernel.pages_taken(), kernel.vectors_taken()), (0, 0));
    }
}
