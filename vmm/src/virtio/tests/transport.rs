//! The PCI side: capabilities, BARs, negotiation, interrupts by either way.
use super::rig::{Located, Rig, SLOT};
use crate::platform::map;
use crate::virtio::queue::MAX_SIZE;
use crate::virtio::{Feature, Status};
use mm::addr::Gpa;

/// One read of a sector; whether it was answered.
fn reads(rig: &mut Rig, ring: &mut super::ring::DriverRing) -> bool {
    let (at, pieces) = rig.request(0, 0, 512);
    ring.add(&pieces);
    rig.kick(0);
    ring.used().is_some() && rig.result(at) == 0
}

#[test]
fn a_driver_finds_all_structures_where_they_work() {
    let rig = Rig::new();
    assert_eq!(rig.config_read(8, 4), 0x0100_0001, "class and revision");
    assert_eq!(rig.config_read(0x2c, 4), 0x1100_1af4);
    assert_eq!(rig.config_read(0x3d, 1), 1, "INTA#");
    assert_eq!((rig.common.bar, rig.common.length), (1, 0x38));
    assert_eq!((rig.notify.bar, rig.config_read(rig.notify.at + 16, 4)), (0, 0), "one port for all queues");
    assert_eq!((rig.isr.length, rig.config.length), (1, 0x100));
    assert_eq!(rig.config_read(rig.msix + 2, 2), 1, "two vectors");
    let (port, is_port) = rig.address(0, 0);
    assert!(is_port && map::PCI_PORTS.contains(&(port as u16)));
    let (memory, is_port) = rig.address(1, 0);
    assert!(!is_port && map::PCI_WINDOWS[1].contains(&memory));
    assert_eq!(rig.read(rig.common, 0x12, 2), 1, "queues");
    assert_eq!(rig.read(rig.notify, 0, 2), 0, "notifications can't be read");
}

#[test]
fn bars_tell_their_size() {
    let rig = Rig::new();
    for (bar, size) in [(0u16, !3 | 1), (1, 0xffff_c000), (2, 0), (5, 0)] {
        let at = 0x10 + 4 * bar;
        let before = rig.config_read(at, 4);
        rig.config_write(at, 4, u32::MAX);
        assert_eq!(rig.config_read(at, 4), size, "BAR {bar}");
        rig.config_write(at, 4, before);
        assert_eq!(rig.config_read(at, 4), before);
    }
}

#[test]
fn bars_are_moved_while_the_device_works() {
    let mut rig = Rig::new();
    let mut ring = rig.start(0);
    assert!(reads(&mut rig, &mut ring));
    let (old_port, _) = rig.address(0, 0);
    let (old_memory, _) = rig.address(1, 0x14);
    for (port, memory) in [(0xc000, 0xd000_0000u32), (0xfffc, 0xfebf_c000), (0x1000, 0xc000_0000)] {
        rig.config_write(0x10, 4, port);
        rig.config_write(0x14, 4, memory);
        assert_eq!(rig.address(1, 0).0, memory.into());
        assert_eq!(rig.status(), 0xf);
        assert!(reads(&mut rig, &mut ring), "{port:#x}");
    }
    let unclaimed = rig.board.unclaimed();
    if old_port != 0x1000 {
        rig.board.port_write(old_port as u16, 2, 0, 0);
        assert_ne!(rig.board.unclaimed(), unclaimed);
    }
    assert_eq!(rig.board.mmio_read(Gpa::new(old_memory), 1, 0), 0xff);
    // Below what the bridge hands on, there is nothing.
    rig.config_write(0x10, 4, 0x3f8);
    let (_, pieces) = rig.request(0, 0, 512);
    ring.add(&pieces);
    rig.kick(0);
    assert_eq!(ring.used(), None);
}

#[test]
fn the_command_register_switches_decoding_and_writing_to_memory() {
    let mut rig = Rig::new();
    let mut ring = rig.start(0);
    rig.config_write(4, 2, 0x405);
    assert_eq!(rig.status(), 0xff, "memory is not decoded");
    assert!(reads(&mut rig, &mut ring), "ports are");
    rig.config_write(4, 2, 0x406);
    assert!(!reads(&mut rig, &mut ring), "ports are not decoded");
    assert_eq!(rig.status(), 0xf);
    rig.config_write(4, 2, 0x403);
    rig.kick(0);
    assert_eq!(ring.used(), None, "no bus master");
    rig.config_write(4, 2, 0x407);
    rig.kick(0);
    assert!(ring.used().is_some());
}

#[test]
fn accesses_that_cross_the_end_of_a_bar_reach_nothing() {
    let rig = Rig::new();
    let (port, _) = rig.address(0, 0);
    let before = rig.board.unclaimed();
    assert_eq!(rig.board.port_read(port as u16 + 2, 4, 0) >> 16, 0xffff);
    assert_eq!(rig.board.unclaimed(), before + 2);
    let (memory, _) = rig.address(1, 0x3ffc);
    assert_eq!(rig.board.mmio_read(Gpa::new(memory), 8, 0), u64::MAX);
}

#[test]
fn the_window_in_configuration_space_reaches_all_bars() {
    let mut rig = Rig::new();
    let window = rig.window.at;
    let access = |rig: &Rig, bar: u32, offset: u32, length: u32| {
        rig.config_write(window + 4, 1, bar);
        rig.config_write(window + 8, 4, offset);
        rig.config_write(window + 12, 4, length);
    };
    access(&rig, 1, 0x12, 2);
    assert_eq!(rig.config_read(window + 16, 2), 1, "number of queues");
    let mut ring = rig.start(0);
    access(&rig, 1, 0x14, 1);
    assert_eq!(rig.config_read(window + 16, 1), 0xf);
    // A notification.
    let (_, pieces) = rig.request(0, 0, 512);
    ring.add(&pieces);
    access(&rig, 0, 0, 2);
    rig.config_write(window + 16, 2, 0);
    assert!(ring.used().is_some());
    // The ISR status is cleared by a read, also by this one; a reset works, too.
    access(&rig, 1, 0x14, 1);
    rig.config_write(window + 16, 1, 0);
    assert_eq!(rig.status(), 0);
    for (bar, offset, length) in
        [(2, 0, 4), (1, 0x4000, 1), (1, 0x3ffe, 4), (1, 1, 2), (1, 0, 3), (1, 0, 8), (0, 4, 1), (0xff, 0, 4)]
    {
        access(&rig, bar, offset, length);
        rig.config_write(window + 16, 4, 0xffff_ffff);
        rig.config_read(window + 16, 4);
    }
    assert_eq!(rig.status(), 0);
}

#[test]
fn features_that_were_not_offered_are_not_agreed_upon() {
    let rig = Rig::new();
    assert!(!rig.negotiate(0), "without VERSION_1");
    assert!(!rig.negotiate(Feature::VERSION_1 | 1 << 5));
    assert!(!rig.negotiate(Feature::VERSION_1 | 1 << 63));
    assert!(rig.negotiate(Feature::VERSION_1));
    // Agreed is agreed.
    rig.write(rig.common, 8, 4, 0);
    rig.write(rig.common, 12, 4, 1 << 29);
    assert_eq!(rig.read(rig.common, 12, 4), 0);
    assert!(rig.negotiate(rig.offered()));
    rig.write(rig.common, 0, 4, 2);
    assert_eq!(rig.read(rig.common, 4, 4), 0, "there are 64");
}

#[test]
fn a_driver_that_skips_a_step_gets_no_device() {
    let mut rig = Rig::new();
    rig.set_status(Status::DRIVER_OK);
    assert_eq!(rig.status() & Status::DRIVER_OK, 0);
    rig.write(rig.common, 0x1c, 2, 1);
    assert_eq!(rig.read(rig.common, 0x1c, 2), 0, "no queue before features");
    // Put into the queue before the driver is there: found when it is.
    assert!(rig.negotiate(Feature::VERSION_1));
    let mut ring = rig.open(0, 64, 0, 0xffff);
    let (_, pieces) = rig.request(0, 0, 512);
    ring.add(&pieces);
    rig.kick(0);
    assert_eq!(ring.used(), None);
    rig.set_status(0xf);
    assert!(ring.used().is_some());
    // Only a reset takes bits away, and the driver can't say that the device needs one.
    rig.set_status(1);
    assert_eq!(rig.status(), 0xf);
    rig.set_status(Status::NEEDS_RESET | 0xf);
    assert_eq!(rig.status(), 0xf);
}

#[test]
fn a_queue_that_works_does_not_move() {
    let mut rig = Rig::new();
    let mut ring = rig.start(0);
    for (offset, size, value) in
        [(0x18, 2, 2), (0x20, 4, 0x1000), (0x24, 4, 1), (0x28, 8, 0x2000), (0x30, 4, 0x3000), (0x1c, 2, 0)]
    {
        rig.write(rig.common, offset, size, value);
    }
    assert_eq!(rig.read(rig.common, 0x20, 8), ring.descriptors);
    assert_eq!((rig.read(rig.common, 0x18, 2), rig.read(rig.common, 0x1c, 2)), (64, 1));
    assert!(reads(&mut rig, &mut ring));
}

#[test]
fn a_queue_where_none_can_be_stops_the_device() {
    for (size, descriptors) in [(64, 0x1008), (64, 0xffff_f000), (48, 0x1000), (64, !15)] {
        let rig = Rig::new();
        assert!(rig.negotiate(Feature::VERSION_1));
        rig.write(rig.common, 0x18, 2, size);
        rig.write(rig.common, 0x20, 8, descriptors);
        rig.write(rig.common, 0x28, 8, 0x2000);
        rig.write(rig.common, 0x30, 8, 0x3000);
        rig.write(rig.common, 0x1c, 2, 1);
        assert_eq!(rig.read(rig.common, 0x1c, 2), 0);
        assert_ne!(rig.status() & Status::NEEDS_RESET, 0);
        assert!(rig.negotiate(Feature::VERSION_1), "a reset helps");
    }
}

#[test]
fn queues_that_are_not_there_have_size_0_and_take_nothing() {
    let rig = Rig::with(2, 1 << 15, |_| {});
    assert_eq!(rig.read(rig.common, 0x18, 2), MAX_SIZE.into(), "no larger than the device's");
    rig.write(rig.common, 0x18, 2, 2048);
    assert_eq!(rig.read(rig.common, 0x18, 2), MAX_SIZE.into());
    rig.write(rig.common, 0x18, 2, 0);
    assert_eq!(rig.read(rig.common, 0x18, 2), MAX_SIZE.into());
    for queue in [2, 3, 0xffff] {
        rig.write(rig.common, 0x16, 2, queue);
        for (offset, size) in [(0x18, 2), (0x1a, 2), (0x1c, 2), (0x20, 8), (0x30, 4)] {
            rig.write(rig.common, offset, size, 1);
            assert_eq!(rig.read(rig.common, offset, size), 0, "{queue}");
        }
    }
}

#[test]
fn a_vector_that_is_not_there_is_no_vector() {
    let mut rig = Rig::new();
    let mut ring = rig.start(0);
    for vector in [2, 3, 0x800, 0xffff] {
        rig.write(rig.common, 0x10, 2, vector);
        rig.write(rig.common, 0x1a, 2, vector);
        assert_eq!((rig.read(rig.common, 0x10, 2), rig.read(rig.common, 0x1a, 2)), (0xffff, 0xffff));
    }
    assert!(reads(&mut rig, &mut ring));
    assert_eq!((rig.interrupt(0), rig.interrupt(1)), (None, None));
}

#[test]
fn a_masked_vector_is_pending_until_it_is_unmasked() {
    let mut rig = Rig::new();
    let mut ring = rig.start(0);
    let table = Located { bar: 1, offset: 0x3000, ..Located::default() };
    let pending = Located { bar: 1, offset: 0x3800, ..Located::default() };
    // By its entry.
    rig.write(table, 16 + 12, 4, 1);
    assert!(reads(&mut rig, &mut ring));
    assert_eq!((rig.interrupt(1), rig.read(pending, 0, 8)), (None, 2));
    // Moved meanwhile, as an interrupt's affinity is.
    rig.write(table, 16, 4, 0xfee0_0000);
    rig.write(table, 16 + 8, 4, 0x77);
    rig.write(table, 16 + 12, 4, 0);
    assert_eq!((rig.interrupt(0), rig.interrupt(1), rig.read(pending, 0, 4)), (Some(0x77), None, 0));
    // By the function.
    rig.config_write(rig.msix + 2, 2, 0xc000);
    assert!(reads(&mut rig, &mut ring) && reads(&mut rig, &mut ring));
    assert_eq!((rig.interrupt(0), rig.read(pending, 0, 8)), (None, 2));
    rig.enable_msix();
    assert_eq!((rig.interrupt(0), rig.interrupt(0), rig.read(pending, 0, 8)), (Some(0x77), None, 0));
    // Somewhere else than at a local APIC it is lost.
    rig.write(table, 16, 4, 0x1000);
    assert!(reads(&mut rig, &mut ring));
    assert_eq!((rig.interrupt(0), rig.interrupt(1), rig.read(pending, 0, 8)), (None, None, 0));
    assert_eq!(rig.read(table, 16, 8), 0x1000);
    assert_eq!(rig.read(table, 16 + 8, 8), 0x77);
    // Beyond the table there is nothing.
    rig.write(table, 32, 4, 0xfee0_0000);
    assert_eq!(rig.read(table, 32, 4), 0);
}

#[test]
fn without_msix_the_pin_interrupts_until_the_isr_is_read() {
    let mut rig = Rig::new();
    assert!(rig.negotiate(Feature::VERSION_1));
    let mut ring = rig.open(0, 8, 0, 0xffff);
    rig.config_write(4, 2, 0x007);
    rig.set_status(0xf);
    // The pin's entry in the IOAPIC: level-triggered, active low, vector 0x41, vCPU 1.
    let pin = u64::from(map::intx_gsi(SLOT, 0));
    for (register, value) in [(0x11 + 2 * pin, 1 << 24), (0x10 + 2 * pin, 0xa041)] {
        rig.board.mmio_write(Gpa::new(map::IOAPIC_BASE), 4, register, 0);
        rig.board.mmio_write(Gpa::new(map::IOAPIC_BASE + 0x10), 4, value, 0);
    }
    assert!(reads(&mut rig, &mut ring));
    assert_eq!(rig.config_read(6, 2) & 8, 8, "interrupt status");
    assert_eq!((rig.interrupt(1), rig.interrupt(1)), (Some(0x41), Some(0x41)), "still asserted");
    assert_eq!((rig.read(rig.isr, 0, 1), rig.read(rig.isr, 0, 1)), (1, 0));
    assert_eq!(rig.interrupt(1), Some(0x41), "of the time before");
    assert_eq!(rig.interrupt(1), None);
    assert_eq!(rig.config_read(6, 2) & 8, 0);
    // Switched off by the command register.
    rig.config_write(4, 2, 0x407);
    assert!(reads(&mut rig, &mut ring));
    assert_eq!((rig.interrupt(1), rig.config_read(6, 2) & 8), (None, 8));
    rig.config_write(4, 2, 0x007);
    assert_eq!(rig.interrupt(1), Some(0x41));
    // Switching MSI-X on releases it.
    rig.enable_msix();
    rig.interrupt(1);
    assert_eq!(rig.interrupt(1), None);
    // A broken ring says so as a change of the configuration.
    rig.config_write(rig.msix + 2, 2, 0);
    rig.read(rig.isr, 0, 1);
    ring.put(ring.driver + 2, &0x7000u16.to_le_bytes());
    rig.kick(0);
    assert_eq!((rig.status(), rig.read(rig.isr, 0, 1)), (0x4f, 2));
}

#[test]
fn a_reset_of_the_device_leaves_what_is_pcis() {
    let mut rig = Rig::new();
    rig.start(0);
    rig.set_status(0);
    assert_eq!(rig.config_read(rig.msix + 2, 2), 0x8001);
    assert_eq!(rig.config_read(4, 2), 0x407);
    assert_eq!((rig.read(rig.common, 0x10, 2), rig.read(rig.common, 0x1a, 2)), (0xffff, 0xffff));
    assert_eq!((rig.read(rig.common, 0x1c, 2), rig.read(rig.common, 0x20, 8)), (0, 0));
}

#[test]
fn a_reset_of_the_machine_resets_that_too() {
    let mut rig = Rig::new();
    let before = (rig.config_read(0x10, 4), rig.config_read(0x14, 4));
    rig.start(0);
    rig.config_write(0x14, 4, 0xd000_0000);
    rig.board.reset(0);
    assert_eq!((rig.config_read(0x10, 4), rig.config_read(0x14, 4)), before);
    assert_eq!((rig.config_read(4, 2), rig.config_read(rig.msix + 2, 2)), (3, 1));
    assert_eq!(rig.status(), 0);
}

#[test]
fn random_accesses_to_everything_end_and_break_nothing_else() {
    let mut rig = Rig::with(2, 16, |_| {});
    let mut random = crate::platform::fuzz::Random::new(0x1042);
    for round in 0..60 {
        let features = random.next() & (Feature::RING_PACKED | Feature::INDIRECT_DESC | Feature::EVENT_IDX);
        rig.next_to(0x10_0000);
        rig.board.reset(0);
        rig.probe();
        let ring = rig.start(features);
        let places = [rig.common, rig.notify, rig.isr, rig.config, Located { bar: 1, ..Located::default() }];
        for _ in 0..2000 {
            let (r, value) = (random.next(), random.next());
            let place = places[(r >> 8) as usize % places.len()];
            let offset = if place.at == 0 { r >> 16 & 0x3fff } else { r >> 16 & 0x3f };
            match r & 7 {
                0 => {
                    rig.read(place, offset & if place.bar == 0 { 1 } else { !0 }, 1);
                }
                1..4 => rig.poke(place, offset & !1 & if place.bar == 0 { 0 } else { !0 }, 2, value),
                4 if place.bar == 1 => rig.poke(place, offset & !3, 4, value),
                5 => rig.config_write(random.below(0x100) as u16 & !3, 4, value as u32),
                6 => rig.kick(value as u16 & 3),
                _ => ring.put(ring.descriptors + (r >> 40 & 0x1ff), &value.to_le_bytes()[..4]),
            }
        }
        // It can be had back.
        rig.board.reset(0);
        for apic in &mut rig.apics {
            apic.power_on();
            apic.mmio_write(0xf0, 4, 0x1ff, 0);
        }
        rig.next_to(0x10_0000);
        rig.probe();
        let mut ring = rig.start(features);
        assert!(reads(&mut rig, &mut ring), "round {round}");
    }
}
