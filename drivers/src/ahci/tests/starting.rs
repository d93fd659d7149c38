//! Bringing HBA and disks up.
use super::*;
use std::string::ToString;

#[test]
fn a_disk_is_found_with_what_it_says_of_itself() {
    let rig = Rig::with(std::vec![None, Some(ModelDisk::new("S1", 1 << 33)), None], |_| {});
    assert_eq!(rig.found.lock().len(), 1);
    let disk = rig.disk(0);
    let identity = disk.identity();
    assert_eq!((&*identity.name, &*identity.model, &*identity.serial), ("sata11", "Model disk", "S1"));
    let geometry = disk.geometry();
    assert_eq!((geometry.block_size, geometry.blocks, geometry.physical_block_size), (512, 1 << 33, 4096));
    let features = geometry.features;
    assert!(features.volatile_cache && features.discard && features.solid_state && !features.write_zeroes);
    let info = rig.controller.info();
    assert_eq!((info.ports, info.slots, info.queued, info.version), (3, 32, true, (1, 0x301)));
    assert_eq!((rig.model.state().resets, rig.kernel.vectors_taken()), (1, 1));
}

#[test]
fn blocks_of_4096_bytes_and_a_cache_that_is_off_are_understood() {
    let mut disk = ModelDisk::new("4Kn", 1000);
    (disk.block, disk.cache, disk.cache_now, disk.physical_exponent) = (4096, false, false, 0);
    let rig = Rig::new(disk);
    let geometry = *rig.disk(0).geometry();
    assert_eq!((geometry.block_size, geometry.blocks, geometry.physical_block_size), (4096, 1000, 4096));
    assert!(!geometry.features.volatile_cache);
    let data = pattern(8192, 3);
    assert_eq!(rig.write(WRITE, 998, &data), Ok(()));
    assert_eq!(rig.read(998, 2).unwrap(), data);
    rig.history();
    assert_eq!(rig.ask(Operation::Flush, 0, 0, &[]), Ok(()));
    assert_eq!(rig.history(), [], "nothing to flush");
}

#[test]
fn what_is_no_disk_is_left_alone_and_the_disk_beside_it_works() {
    for signature in [0xeb14_0101, 0x9669_0101, 0xc33c_0101, 0x1234_5678] {
        let mut other = ModelDisk::new("CD", 1);
        other.signature = signature;
        let rig = Rig::with(std::vec![Some(other), Some(ModelDisk::new("S", 100))], |_| {});
        assert_eq!(rig.found.lock().len(), 1);
        rig.pass(5 * SECOND);
        assert_eq!(rig.model.disk(0, |disk| disk.history.clone()), []);
        assert_eq!(rig.model.port(0, |port| port.comresets), 1, "it is not reset over and over");
        assert_eq!(rig.read(0, 1).unwrap().len(), 512);
    }
}

#[test]
fn disks_spin_up_one_after_another_where_the_hba_says_so() {
    let slow = |serial| {
        let mut disk = ModelDisk::new(serial, 100);
        disk.spin_up = 8 * SECOND;
        disk
    };
    let start = |staggered: bool| {
        let disks = std::vec![Some(slow("a")), Some(slow("b")), Some(slow("c"))];
        let rig = Rig::with(disks, |model| {
            if staggered {
                model.state().capabilities |= 1 << 27;
            }
        });
        assert_eq!(rig.found.lock().len(), 3);
        rig.kernel.now()
    };
    assert!(start(false) < 12 * SECOND);
    assert!(start(true) > 24 * SECOND);
}

#[test]
fn a_disk_that_waits_for_a_command_spins_up() {
    let mut disk = ModelDisk::new("PUIS", 100);
    disk.standby = true;
    let rig = Rig::new(disk);
    assert_eq!(rig.history(), [0xec, 0xef, 0xec]);
    assert_eq!(rig.found.lock().len(), 1);
}

#[test]
fn the_firmware_hands_over_or_is_not_waited_for() {
    for (keeps, flags) in [(false, 1), (true, 1), (true, 1 | 1 << 4)] {
        let rig = Rig::with(std::vec![Some(ModelDisk::new("S", 100))], |model| {
            model.state().hand_off = Some(flags);
            model.state().firmware_keeps = keeps;
        });
        assert_eq!(rig.found.lock().len(), 1);
        assert_ne!(rig.model.state().hand_off.unwrap() & 2, 0, "the driver has asked");
        assert!(rig.kernel.now() < 4 * SECOND);
    }
}

#[test]
fn an_hba_that_can_not_be_used_says_why_and_keeps_no_memory() {
    type Prepare = fn(&Model);
    let cases: [(Prepare, &str); 3] = [
        (|model| model.state().gone = true, "it does not answer"),
        (|model| model.state().reset_hangs = true, "its reset did not end"),
        (|model| model.state().implemented = 0, "it has no ports"),
    ];
    for (prepare, why) in cases {
        let kernel = TestKernel::new(1);
        let model = Model::new(&kernel, std::vec![Some(ModelDisk::new("S", 100))]);
        prepare(&model);
        let error = try_start(&kernel, &model, Limits::default(), true).err().unwrap();
        assert!(error.to_string().contains(why), "{error}");
        assert_eq!((kernel.pages_taken(), kernel.vectors_taken()), (0, 0));
    }
}

#[test]
fn ports_that_are_claimed_and_not_there_are_empty() {
    let rig = Rig::with(std::vec![Some(ModelDisk::new("S", 100))], |model| {
        model.state().implemented = u32::MAX;
    });
    assert_eq!((rig.found.lock().len(), rig.controller.info().ports), (1, 32));
    assert!(rig.kernel.now() < 5 * SECOND);
}

#[test]
fn identify_data_that_makes_no_sense_costs_that_disk_only() {
    let cases: &[&[(usize, u16)]] = &[
        &[(100, 0), (101, 0), (255, 0)],
        &[(103, 0xffff), (255, 0)],
        &[(0, 0x8000), (255, 0)],
        &[(83, 0), (255, 0)],
        &[(83, 0xffff), (255, 0)],
        &[(49, 0), (255, 0)],
        &[(106, 0x5000), (117, 0), (118, 0), (255, 0)],
        &[(106, 0x5000), (117, 0xffff), (118, 0xffff), (255, 0)],
        &[(106, 0x5000), (117, 4096), (255, 0)],
        &[(106, 0x5000), (117, 300), (255, 0)],
        &[(128, 4), (255, 0)],
        // A wrong checksum.
        &[(100, 7)],
    ];
    for patches in cases {
        let mut bad = ModelDisk::new("bad", 100);
        bad.patches = patches.to_vec();
        let rig = Rig::with(std::vec![Some(bad), Some(ModelDisk::new("good", 100))], |_| {});
        assert_eq!(rig.found.lock().len(), 1, "{patches:?}");
        assert_eq!(rig.disk(0).identity().serial, "good");
    }
}

#[test]
fn a_port_whose_disk_never_answers_ends_in_time() {
    let cases: [fn(&Model); 4] = [
        |model| model.port(0, |port| port.stuck_busy = true),
        |model| model.port(0, |port| port.no_link = true),
        |model| model.port(0, |port| port.drops = u32::MAX),
        |model| model.disk(0, |disk| disk.spin_up = 3600 * SECOND),
    ];
    for prepare in cases {
        let disks = std::vec![Some(ModelDisk::new("bad", 100)), Some(ModelDisk::new("good", 100))];
        let rig = Rig::with(disks, prepare);
        assert_eq!(rig.found.lock().len(), 1);
        assert!(rig.kernel.now() < 100 * SECOND);
        assert_eq!(rig.read(7, 1).unwrap(), std::vec![0; 512]);
    }
}

#[test]
fn an_hba_without_messages_is_looked_at() {
    let kernel = TestKernel::new(1);
    let model = Model::new(&kernel, std::vec![Some(ModelDisk::new("S", 100))]);
    let rig = try_start(&kernel, &model, Limits::default(), false).ok().unwrap();
    let data = pattern(1024, 5);
    let before = rig.kernel.now();
    assert_eq!(rig.write(WRITE, 3, &data), Ok(()));
    assert_eq!(rig.read(3, 2).unwrap(), data);
    assert!(rig.kernel.now() - before < SECOND / 100);
    assert!(!rig.controller.info().interrupts);
}
