//! A terminal.
use super::rig::Rig;
use super::ring::DriverRing;
use crate::platform::ConsoleOutput;
use crate::virtio::{Console, Feature, Port};
use std::sync::Arc;
use std::vec::Vec;

/// A machine whose console works, with the rings to receive and to transmit.
fn start(port: &Arc<Port>, features: u64) -> (Rig, DriverRing, DriverRing) {
    let mut rig = Rig::of(Box::new(Console::new(port.clone())));
    assert!(rig.negotiate(Feature::VERSION_1 | features));
    rig.enable_msix();
    for (entry, vector) in [(1, 0x61), (2, 0x62)] {
        rig.route(entry, 0, vector);
    }
    let receive = rig.open(0, 8, features, 1);
    let transmit = rig.open(1, 8, features, 2);
    rig.set_status(0xf);
    (rig, receive, transmit)
}

fn port() -> Arc<Port> {
    Port::new(Arc::new(ConsoleOutput::new(None)))
}

fn printed(port: &Port) -> Vec<u8> {
    let mut out = std::vec![0; 1 << 16];
    let read = port.output().read(0, &mut out);
    out.truncate(read.len);
    out
}

#[test]
fn what_the_guest_sends_is_printed() {
    for features in [0, Feature::RING_PACKED, Feature::INDIRECT_DESC | Feature::EVENT_IDX] {
        let port = port();
        let (mut rig, _, mut transmit) = start(&port, features);
        let at = rig.allocate(4096);
        transmit.put(at, b"Linux version 6.1, and a line that is longer than what is printed at once\n");
        let (id, _) = transmit.add(&[(at, 14, false), (at + 14, 60, false)]);
        rig.kick(1);
        assert_eq!(transmit.used(), Some((id, 0)));
        assert!(printed(&port).ends_with(b"printed at once\n"), "{:?}", printed(&port));
        assert_eq!(printed(&port).len(), 74);
    }
}

#[test]
fn what_is_typed_waits_for_a_buffer_and_interrupts() {
    for features in [0, Feature::EVENT_IDX, Feature::RING_PACKED | Feature::EVENT_IDX] {
        let port = port();
        let (mut rig, mut receive, _) = start(&port, features);
        receive.enable_interrupts();
        let at = rig.allocate(4096);
        // Buffers first.
        receive.add(&[(at, 4, true)]);
        rig.kick(0);
        assert_eq!(receive.used(), None, "nothing was typed");
        assert_eq!(port.input(b"ls -l\n"), 6);
        assert_eq!((receive.used().map(|u| u.1), rig.bytes(at, 4)), (Some(4), b"ls -".to_vec()));
        assert_eq!(rig.interrupt(0), Some(0x61));
        // Then what was typed before.
        assert_eq!(port.input(b"!"), 1);
        receive.enable_interrupts();
        let (_, kick) = receive.add(&[(at + 16, 16, true)]);
        assert!(kick, "the device waits for buffers");
        rig.kick(0);
        assert_eq!((receive.used().map(|u| u.1), rig.bytes(at + 16, 3)), (Some(3), b"l\n!".to_vec()));
        assert_eq!(rig.interrupt(0), Some(0x61));
    }
}

#[test]
fn typing_has_an_end_and_goes_on_when_the_guest_has_read() {
    let port = port();
    assert_eq!((port.input(&[b'x'; 5000]), port.input(b"y")), (4096, 0));
    let (mut rig, mut receive, _) = start(&port, 0);
    let at = rig.allocate(4096);
    receive.add(&[(at, 4096, true)]);
    rig.kick(0);
    assert_eq!(receive.used().map(|u| u.1), Some(4096));
    assert_eq!(port.input(b"y"), 1);
}

#[test]
fn a_port_goes_over_to_the_next_guest() {
    let port = port();
    drop(start(&port, 0));
    assert_eq!(port.input(b"a"), 1, "to nobody");
    let (mut rig, mut receive, _) = start(&port, 0);
    let at = rig.allocate(4096);
    receive.add(&[(at, 16, true)]);
    rig.kick(0);
    port.input(b"b");
    receive.add(&[(at + 8, 8, true)]);
    rig.kick(0);
    assert_eq!((rig.bytes(at, 1), rig.bytes(at + 8, 1)), (b"a".to_vec(), b"b".to_vec()));
}

#[test]
fn a_register_prints_without_a_queue() {
    let port = port();
    let rig = Rig::of(Box::new(Console::new(port.clone())));
    assert_ne!(rig.offered() & 4, 0);
    for byte in *b"panic" {
        rig.write(rig.config, 8, 4, byte.into());
    }
    assert_eq!(printed(&port), b"panic");
}

#[test]
fn more_than_is_kept_is_cut() {
    let port = port();
    let (mut rig, mut receive, mut transmit) = start(&port, 0);
    transmit.add(&[(0, 0x9_f000, false)]);
    rig.kick(1);
    assert!(transmit.used().is_some());
    assert_eq!(port.output().sequence(), 64 << 10);
    // Buffers of the wrong direction get nothing, and the typed waits.
    receive.add(&[(0x1000, 16, false)]);
    port.input(b"x");
    assert_eq!(receive.used().map(|u| u.1), Some(0));
    let at = rig.allocate(4096);
    receive.add(&[(at, 16, true)]);
    rig.kick(0);
    assert_eq!(rig.bytes(at, 1), b"x");
}
