//! Errors of the disk and of the link, time-outs.
use super::*;

/// Reads of blocks 0 to 31, one of which fails.
fn reads_with(rig: &Rig) -> Vec<(u64, Result<(), BlockError>)> {
    let told = Arc::new(Told::default());
    for tag in 0..32 {
        rig.submit(&told, tag, Operation::Read, tag, 1, &rig.memory(512));
    }
    rig.disk(0).start();
    rig.run(|| told.results.lock().len() == 32);
    told.results()
}

#[test]
fn of_many_queued_commands_only_the_one_that_failed_fails() {
    let cases: [(u8, BlockError); 3] = [
        (0x40, BlockError::UnrecoveredRead),
        (0x10, BlockError::OutOfRange),
        (0x04, BlockError::Device(0x441)),
    ];
    for (error, expected) in cases {
        let rig = Rig::new(ModelDisk::new("S", 1000));
        rig.model.disk(0, |disk| disk.bad.insert(17, error));
        for (tag, result) in reads_with(&rig) {
            assert_eq!(result, if tag == 17 { Err(expected) } else { Ok(()) }, "{tag}");
        }
        assert_eq!(rig.model.port(0, |port| port.comresets), 1, "without a reset of the disk");
        assert!(rig.history().contains(&0x2f));
        assert_eq!(rig.controller.counters().errors, 1);
    }
}

#[test]
fn without_a_log_they_are_tried_one_by_one() {
    let wrong = |log: &mut ModelDisk, bytes: &[(usize, u8)]| {
        let mut block = [0; 512];
        bytes.iter().for_each(|&(at, byte)| block[at] = byte);
        log.wrong_log = Some(block);
    };
    let cases: [&dyn Fn(&mut ModelDisk); 4] = [
        &|disk| disk.no_log = true,
        // A checksum that is wrong; the log of no queued command; a tag that nobody has.
        &|disk| wrong(disk, &[(0, 3)]),
        &|disk| wrong(disk, &[(0, 0x80), (511, 0x80)]),
        &|disk| wrong(disk, &[(0, 0x1f), (511, 0xe1)]),
    ];
    for (i, case) in cases.into_iter().enumerate() {
        let mut disk = ModelDisk::new("S", 1000);
        disk.depth = 31;
        let rig = Rig::new(disk);
        rig.model.disk(0, |disk| {
            disk.bad.insert(17, 0x40);
            case(disk);
        });
        let results = reads_with(&rig);
        for (tag, result) in results {
            let expected = if tag == 17 { Err(BlockError::UnrecoveredRead) } else { Ok(()) };
            assert_eq!(result, expected, "case {i}, {tag}");
        }
        assert_eq!(rig.read(5, 1).unwrap().len(), 512);
    }
}

#[test]
fn an_error_of_a_command_that_is_not_queued_is_of_the_only_one() {
    // The second error has the HBA leave the slot's bit, the first does not.
    for (bad, error) in [(0x40, BlockError::UnrecoveredRead), (0x41, BlockError::UnrecoveredRead)] {
        let mut disk = ModelDisk::new("S", 1000);
        disk.depth = 0;
        let rig = Rig::new(disk);
        rig.model.disk(0, |disk| disk.bad.insert(17, bad));
        for (tag, result) in reads_with(&rig) {
            assert_eq!(result, if tag == 17 { Err(error) } else { Ok(()) }, "{tag}");
        }
    }
}

#[test]
fn writes_flushes_and_discards_fail_as_what_they_are() {
    let rig = Rig::new(ModelDisk::new("S", 1000));
    rig.model.disk(0, |disk| {
        disk.bad.insert(7, 0x40);
        disk.bad.insert(u64::MAX, 0x04);
        disk.trims = false;
    });
    assert_eq!(rig.write(WRITE, 6, &pattern(1024, 3)), Err(BlockError::WriteFault));
    assert_eq!(rig.ask(Operation::Flush, 0, 0, &[]), Err(BlockError::WriteFault));
    assert_eq!(rig.ask(Operation::Discard, 0, 1, &[]), Err(BlockError::Unsupported));
    assert_eq!(rig.write(WRITE, 8, &pattern(1024, 3)), Ok(()));
    // A request of several commands fails with its first error, once all of them are done.
    let rig = Rig::new(ModelDisk::new("S", 100_000));
    let memory = rig.memory(4 << 20);
    let segments = std::vec![Segment { address: memory.address(), bytes: 4 << 20 }; 9];
    rig.model.disk(0, |disk| disk.bad.insert(70_000, 0x40));
    assert_eq!(rig.ask(Operation::Read, 0, 9 * 8192, &segments), Err(BlockError::UnrecoveredRead));
}

#[test]
fn an_error_is_not_blamed_on_the_queued_command_behind_it() {
    let rig = Rig::new(ModelDisk::new("S", 1000));
    rig.model.port(0, |port| port.echoes = true);
    rig.model.disk(0, |disk| disk.bad.insert(u64::MAX, 0x04));
    for seed in [3, 5] {
        assert_eq!(rig.ask(Operation::Flush, 0, 0, &[]), Err(BlockError::WriteFault));
        assert_eq!(rig.write(WRITE, 8, &pattern(1024, seed)), Ok(()));
        assert_eq!(rig.read(8, 2), Ok(pattern(1024, seed)));
    }
    assert_eq!(rig.model.port(0, |port| port.comresets), 1, "without a reset of the disk");
}

#[test]
fn a_report_of_an_error_that_there_is_not_costs_a_reset_and_no_command() {
    for seed in 1..20 {
        let rig = Rig::new(ModelDisk::new("S", 1000));
        rig.model.seed(seed);
        rig.model.port(0, |port| port.false_reports = 1);
        assert!(reads_with(&rig).iter().all(|(_, result)| result.is_ok()));
        assert_eq!(rig.model.port(0, |port| port.comresets), 2);
        assert_eq!(rig.controller.counters().errors, 0);
    }
}

#[test]
fn data_that_was_garbled_on_its_way_is_sent_again_but_not_for_ever() {
    let rig = Rig::new(ModelDisk::new("S", 1000));
    rig.model.disk(0, |disk| disk.bad.insert(17, 0x84));
    for (tag, result) in reads_with(&rig) {
        assert_eq!(result.is_err(), tag == 17, "{tag} {result:?}");
    }
    rig.model.port(0, |port| port.interface_errors = 2);
    assert_eq!(rig.read(0, 1).map(|data| data.len()), Ok(512));
    rig.model.port(0, |port| port.interface_errors = 1000);
    assert_eq!(rig.read(0, 1), Err(BlockError::TimedOut));
}

#[test]
fn a_command_that_is_lost_is_given_to_the_disk_again_and_others_with_it() {
    for depth in [32, 0] {
        let mut disk = ModelDisk::new("S", 1000);
        disk.depth = depth;
        let rig = Rig::new(disk);
        rig.model.port(0, |port| port.drops = 2);
        let start = rig.kernel.now();
        assert!(reads_with(&rig).iter().all(|(_, result)| result.is_ok()));
        assert!(rig.kernel.now() - start > 30 * SECOND);
        assert!(rig.controller.counters().timeouts >= 1 && rig.controller.counters().resets >= 1);
    }
}

#[test]
fn a_command_that_is_always_lost_fails_in_time_and_the_disk_with_it_where_nothing_helps() {
    let rig = Rig::new(ModelDisk::new("S", 1000));
    rig.model.port(0, |port| port.drops = u32::MAX);
    let start = rig.kernel.now();
    assert_eq!(rig.read(0, 1), Err(BlockError::TimedOut));
    assert!(rig.kernel.now() - start < 100 * SECOND);
    assert!(!rig.disk(0).is_present());
    assert_eq!(rig.read(0, 1), Err(BlockError::Removed));
}

#[test]
fn a_cache_that_a_reset_turns_on_is_turned_off_again() {
    let mut disk = ModelDisk::new("S", 1000);
    disk.cache_now = false;
    let rig = Rig::new(disk);
    // COMRESET when it was found has turned it on: that is how it was found.
    assert!(rig.disk(0).geometry().features.volatile_cache);
    let mut disk = ModelDisk::new("S", 1000);
    (disk.cache, disk.cache_now) = (false, false);
    let rig = Rig::new(disk);
    rig.model.disk(0, |disk| disk.cache = true);
    rig.model.port(0, |port| port.interface_errors = 1);
    rig.history();
    assert!(rig.read(0, 1).is_ok());
    assert!(rig.history().contains(&0xef));
    assert!(!rig.model.disk(0, |disk| disk.cache_now));
}
