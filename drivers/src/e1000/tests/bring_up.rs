//! A card is what it says, or is refused with nothing left behind.
use super::*;
use crate::Registers;
use crate::e1000::is_e1000;
use net::frame::Mac;
use net::nic::{Abilities, Link};

#[test]
fn a_card_is_what_it_is() {
    for (card, model, vectors) in
        [(CARDS[0], "Intel 82540EM", 0), (CARDS[1], "Intel 82574L", 3), (CARDS[2], "Intel 82574L", 1)]
    {
        let rig = Rig::new(card);
        let identity = rig.nic.identity();
        assert_eq!((&*identity.name, &*identity.model, identity.mac), ("eth3", model, Mac(MAC)));
        let abilities = Abilities {
            mtu: 9000,
            checksum: true,
            tcp4: true,
            tcp6: card.0 == I82574L,
            verifies: true,
            queues: 1,
        };
        assert_eq!(*rig.nic.abilities(), abilities);
        assert_eq!(rig.nic.link(), Link { up: true, megabits: 1000, full_duplex: true });
        assert!(rig.nic.is_present() && rig.controller.is_present());
        assert_eq!(rig.kernel.vectors_taken(), vectors);
    }
}

#[test]
fn only_known_cards_are_taken() {
    for device in [0x100e, 0x100f, 0x10d3] {
        assert!(is_e1000(0x8086, device) && !is_e1000(0x8087, device));
    }
    assert!(!is_e1000(0x8086, 0x1000));
    assert_eq!(refused(|state| state.device = 0x1533), E1000Error::Unknown(0x1533));
}

/// Why a card is not taken. It has no memory and no vector then.
fn refused(prepare: impl Fn(&mut crate::e1000::model::State)) -> E1000Error {
    let kernel = TestKernel::new(2);
    let model = Model::new(&kernel, I82574L, 5);
    prepare(&mut model.state());
    let error = try_start(&kernel, &model, true).err().unwrap();
    assert_eq!((kernel.pages_taken(), kernel.vectors_taken()), (0, 0));
    error
}

#[test]
fn an_address_comes_from_the_eeprom_where_the_card_has_not_loaded_it() {
    for card in [CARDS[0], CARDS[1]] {
        let kernel = TestKernel::new(2);
        let model = Model::new(&kernel, card.0, card.1);
        model.state().loads_address = false;
        let rig = try_start(&kernel, &model, true).ok().unwrap();
        assert_eq!(rig.nic.identity().mac, Mac(MAC));
        rig.arrive(&super::frames::plain(MAC, 60, 1));
        rig.run(|| rig.came() == 1);
    }
    for word in [0, 0xffff, 0x0001] {
        let blank = |state: &mut crate::e1000::model::State| state.eeprom = [word; 3];
        assert_eq!(refused(blank), E1000Error::NoAddress);
    }
    let hangs = refused(|state| (state.loads_address, state.eeprom_hangs) = (false, true));
    assert_eq!(hangs, E1000Error::NoAddress);
}

#[test]
fn a_card_that_does_not_answer_or_come_back_is_refused() {
    assert_eq!(refused(|state| state.gone = true), E1000Error::Gone);
    assert_eq!(refused(|state| state.reset_hangs = true), E1000Error::HungReset);
}

#[test]
fn a_card_for_which_there_is_no_memory_is_refused() {
    let kernel = TestKernel::new(1);
    let model = Model::new(&kernel, I82574L, 5);
    let mut hoard = Vec::new();
    while let Some(memory) = kernel.allocate_dma(1 << 16, false) {
        hoard.push(memory);
    }
    let pages = kernel.pages_taken();
    assert_eq!(try_start(&kernel, &model, true).err(), Some(E1000Error::NoMemory));
    assert_eq!((kernel.pages_taken(), kernel.vectors_taken()), (pages, 0));
    drop(hoard);
    assert!(try_start(&kernel, &model, true).is_ok());
}

#[test]
fn a_window_that_is_too_small_is_refused() {
    struct Small;
    impl Registers for Small {
        fn bytes(&self) -> u64 {
            0x1000
        }
        fn read8(&self, _offset: u64) -> u8 {
            panic!()
        }
        fn read16(&self, _offset: u64) -> u16 {
            panic!()
        }
        fn read32(&self, _offset: u64) -> u32 {
            panic!()
        }
        fn read64(&self, _offset: u64) -> u64 {
            panic!()
        }
        fn write8(&self, _offset: u64, _value: u8) {}
        fn write16(&self, _offset: u64, _value: u16) {}
        fn write32(&self, _offset: u64, _value: u32) {}
        fn write64(&self, _offset: u64, _value: u64) {}
    }
    let kernel = TestKernel::new(1);
    let registers = Box::new(Small);
    let stop_dma = Box::new(|| {});
    let parts = Parts { name: "eth0".into(), device: I82540EM, registers, interrupts: None, stop_dma };
    let result = kernel.block_on(|| false, start(kernel.clone(), parts));
    assert_eq!(result.err(), Some(E1000Error::NoRegisters));
}

#[test]
fn the_messages_of_an_82540em_are_not_used() {
    let kernel = TestKernel::new(1);
    let model = Model::new(&kernel, I82540EM, 1);
    let rig = try_start(&kernel, &model, true).ok().unwrap();
    assert_eq!(kernel.vectors_taken(), 0);
    rig.arrive(&super::frames::plain(MAC, 60, 1));
    rig.run(|| rig.came() == 1);
}

#[test]
fn errors_say_what_is_wrong() {
    let errors = [
        E1000Error::Unknown(0x1533),
        E1000Error::NoRegisters,
        E1000Error::Gone,
        E1000Error::HungReset,
        E1000Error::NoAddress,
        E1000Error::NoMemory,
    ];
    let texts: Vec<_> = errors.iter().map(|error| alloc::format!("{error}")).collect();
    assert!(texts[0].contains("0x1533") && texts[3].contains("restart") && texts[5].contains("memory"));
}
