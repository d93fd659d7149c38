//! Reads, writes, flushes, discards.
use super::*;

#[test]
fn what_is_written_is_read_again_queued_or_not() {
    for (depth, commands) in [(32, [0x61, 0x60]), (0, [0x35, 0x25])] {
        let mut disk = ModelDisk::new("S", 1000);
        disk.depth = depth;
        let rig = Rig::new(disk);
        rig.history();
        let data = pattern(8 * 512, 7);
        assert_eq!(rig.write(WRITE, 992, &data), Ok(()));
        assert_eq!(rig.read(992, 8).unwrap(), data);
        assert_eq!(rig.history(), commands);
        assert_eq!(rig.write(WRITE, 993, &data), Err(BlockError::OutOfRange));
        let counters = rig.controller.counters();
        assert_eq!((counters.reads, counters.writes, counters.bytes_read, counters.errors), (1, 1, 4096, 0));
    }
}

#[test]
fn many_requests_are_in_flight_at_once_and_more_wait_in_order() {
    let mut disk = ModelDisk::new("S", 1000);
    disk.depth = 24;
    let rig = Rig::new(disk);
    let told = Arc::new(Told::default());
    for tag in 0..100 {
        let memory = rig.memory(512);
        memory.copy_in(0, &[tag as u8; 512]);
        rig.submit(&told, tag, WRITE, tag, 1, &memory);
    }
    assert_eq!(rig.model.port(0, |port| port.ci), 0, "nothing before it is started");
    rig.disk(0).start();
    assert_eq!(rig.model.port(0, |port| (port.ci, port.sact)), (0xff_ffff, 0xff_ffff));
    rig.run(|| told.results.lock().len() == 100);
    assert!(told.results().iter().all(|(_, result)| result.is_ok()));
    for tag in 0..100 {
        assert_eq!(rig.model.disk(0, |disk| disk.read(tag)), [tag as u8; 512]);
    }
    assert_eq!(rig.model.port(0, |port| port.deepest), 24);
    assert_eq!(rig.controller.counters().waited, 76);
}

#[test]
fn a_request_costs_no_more_register_accesses_than_it_must() {
    let rig = Rig::new(ModelDisk::new("S", 1000));
    rig.model.state().accesses = 0;
    rig.read(0, 1).unwrap();
    // PxSACT, PxCI; IS, PxIS, both acknowledged; PxSACT, PxCI.
    assert_eq!(rig.model.state().accesses, 8);
    let told = Arc::new(Told::default());
    rig.model.state().accesses = 0;
    for tag in 0..32 {
        rig.submit(&told, tag, Operation::Read, tag, 1, &rig.memory(512));
    }
    rig.disk(0).start();
    assert_eq!(rig.model.state().accesses, 2, "one doorbell for all");
    rig.run(|| told.results.lock().len() == 32);
}

#[test]
fn completions_are_taken_without_the_interrupt_where_somebody_looks() {
    let rig = Rig::new(ModelDisk::new("S", 1000));
    let told = Arc::new(Told::default());
    rig.submit(&told, 0, Operation::Read, 1, 1, &rig.memory(512));
    rig.disk(0).start();
    rig.model.state().accesses = 0;
    assert!(!rig.controller.poll());
    assert_eq!(rig.model.state().accesses, 0);
    while rig.model.step() {}
    assert!(rig.controller.poll());
    assert_eq!(told.results(), [(0, Ok(()))]);
    assert!(!rig.controller.poll());
}

#[test]
fn odd_and_scattered_memory_gets_the_right_bytes() {
    let rig = Rig::new(ModelDisk::new("S", 10_000));
    let memory = rig.memory(256 << 10);
    let at = memory.address();
    let cases: &[&[(u64, u32)]] = &[
        &[(0, 512)],
        &[(2, 510), (1024, 514)],
        &[(1, 1024)],
        &[(0, 511), (600, 513)],
        &[(4094, 4), (8192, 508)],
        // The first command ends within a block, for which there is a bounce buffer.
        &[(0, 1024), (2000, 512), (3001, 1024)],
        &[(7, 100_001), (120_000, 127), (130_001, 2272)],
    ];
    for (i, case) in cases.iter().enumerate() {
        let segments: Vec<_> =
            case.iter().map(|&(offset, bytes)| Segment { address: at + offset, bytes }).collect();
        let total: u32 = case.iter().map(|(_, bytes)| bytes).sum();
        let (blocks, data) = (u64::from(total / 512), pattern(total as usize, i as u8 * 2 + 3));
        memory.copy_in(0, &[0xee; 256 << 10]);
        let mut from = 0;
        for &(offset, bytes) in *case {
            memory.copy_in(offset as usize, &data[from..from + bytes as usize]);
            from += bytes as usize;
        }
        assert_eq!(rig.ask(WRITE, 100, blocks, &segments), Ok(()), "{case:?}");
        let disk: Vec<u8> =
            (100..100 + blocks).flat_map(|b| rig.model.disk(0, |disk| disk.read(b))).collect();
        assert_eq!(disk, data, "{case:?}");
        memory.copy_in(0, &[0xee; 256 << 10]);
        assert_eq!(rig.ask(Operation::Read, 100, blocks, &segments), Ok(()), "{case:?}");
        let mut seen = std::vec![0; 256 << 10];
        memory.copy_out(0, &mut seen);
        let mut expected = std::vec![0xee; 256 << 10];
        let mut from = 0;
        for &(offset, bytes) in *case {
            expected[offset as usize..][..bytes as usize].copy_from_slice(&data[from..from + bytes as usize]);
            from += bytes as usize;
        }
        assert!(seen == expected, "{case:?}");
    }
    assert!(rig.controller.counters().bounced > 3);
}

#[test]
fn a_request_of_more_pieces_or_bytes_than_a_command_holds_is_several_commands() {
    let rig = Rig::new(ModelDisk::new("S", 100_000));
    let memory = rig.memory(4 << 20);
    let data = pattern(1000 * 1024, 11);
    // 1000 runs of 1024 bytes that don't touch.
    let segments: Vec<_> =
        (0..1000).map(|i| Segment { address: memory.address() + i * 2048, bytes: 1024 }).collect();
    for (i, data) in data.chunks(1024).enumerate() {
        memory.copy_in(i * 2048, data);
    }
    rig.history();
    assert_eq!(rig.ask(WRITE, 0, 2000, &segments), Ok(()));
    assert_eq!(rig.history().len(), 5);
    let disk: Vec<u8> = (0..2000).flat_map(|b| rig.model.disk(0, |disk| disk.read(b))).collect();
    assert!(disk == data);
    // 65537 blocks, whose runs lie in the same memory.
    let whole = Segment { address: memory.address(), bytes: 4 << 20 };
    let mut segments = std::vec![whole; 8];
    segments.push(Segment { address: memory.address(), bytes: 512 });
    assert_eq!(rig.ask(Operation::Read, 0, 65537, &segments), Ok(()));
    assert_eq!(rig.history(), [0x60, 0x60]);
}

#[test]
fn a_flush_waits_for_its_turn_and_what_comes_later_for_the_flush() {
    let rig = Rig::new(ModelDisk::new("S", 1000));
    rig.history();
    let (told, memory) = (Arc::new(Told::default()), rig.memory(512));
    for tag in 0..4 {
        rig.submit(&told, tag, WRITE, tag, 1, &memory);
    }
    rig.submit(&told, 4, Operation::Flush, 0, 0, &memory);
    rig.submit(&told, 5, WRITE, 5, 1, &memory);
    rig.submit(&told, 6, Operation::Flush, 0, 0, &memory);
    rig.submit(&told, 7, Operation::Read, 5, 1, &memory);
    rig.disk(0).start();
    rig.run(|| told.results.lock().len() == 8);
    assert!(told.results().iter().all(|(_, result)| result.is_ok()));
    // The second flush asks for nothing that the first has not done.
    let history = rig.history();
    assert_eq!(history[..5], [0x61, 0x61, 0x61, 0x61, 0xea]);
    assert_eq!(history.iter().filter(|command| **command == 0xea).count(), 1);
    assert_eq!(history.len(), 7);
}

#[test]
fn a_durable_write_is_forced_or_followed_by_a_flush() {
    for (depth, fua, cache, commands) in [
        (32, false, true, &[0x61][..]),
        (0, true, true, &[0x3d]),
        (0, false, true, &[0x35, 0xea]),
        (0, false, false, &[0x35]),
    ] {
        let mut disk = ModelDisk::new("S", 1000);
        (disk.depth, disk.fua, disk.cache, disk.cache_now) = (depth, fua, cache, cache);
        let rig = Rig::new(disk);
        rig.history();
        assert_eq!(rig.write(DURABLE, 0, &pattern(512, 3)), Ok(()));
        assert_eq!(rig.history(), commands);
    }
}

#[test]
fn a_discard_of_any_length_reaches_the_disk_in_ranges() {
    let rig = Rig::new(ModelDisk::new("S", 1 << 40));
    rig.write(WRITE, 7, &pattern(1024, 3)).unwrap();
    rig.history();
    assert_eq!(rig.ask(Operation::Discard, 7, 1, &[]), Ok(()));
    assert_eq!(rig.read(7, 1).unwrap(), [0; 512]);
    assert_eq!(rig.read(8, 1).unwrap(), pattern(1024, 3)[512..]);
    rig.history();
    assert_eq!(rig.ask(Operation::Discard, 8, 3 * 64 * 0xffff, &[]), Ok(()));
    assert_eq!(rig.history(), [0x06; 3]);
    let mut disk = ModelDisk::new("no TRIM", 100);
    disk.trims = false;
    let rig = Rig::new(disk);
    assert_eq!(rig.ask(Operation::Discard, 0, 1, &[]), Err(BlockError::Unsupported));
    assert_eq!(rig.ask(Operation::WriteZeroes { deallocate: true }, 0, 1, &[]), Err(BlockError::Unsupported));
}

#[test]
fn an_hba_that_reaches_4_gib_has_what_is_beyond_go_through_memory_below() {
    use crate::ahci::regions::describe;
    use crate::ahci::tables::Table;
    use crate::request::Cursor;
    let kernel = TestKernel::new(1);
    let table = Table::new(&*kernel, true).unwrap();
    let segment = |address, bytes| Segment { address: mm::Hpa::new(address), bytes };
    let reach = 1 << 32;
    let cases: &[(&[Segment], Option<u64>)] = &[
        (&[segment(reach - 512, 512)], Some(512)),
        (&[segment(reach, 512)], None),
        (&[segment(reach - 256, 512)], None),
        (&[segment(0x1000, 1024), segment(reach, 1024)], Some(1024)),
        (&[segment(0x1000, 700), segment(reach, 1348)], Some(512)),
    ];
    for (segments, bytes) in cases {
        let total = segments.iter().map(|segment| u64::from(segment.bytes)).sum();
        let described = describe(segments, Cursor::default(), total, 512, reach, &table);
        assert_eq!(described.map(|described| described.bytes), *bytes, "{segments:?}");
    }
}

#[test]
fn a_shut_down_ends_with_the_cache_written_back() {
    let rig = Rig::new(ModelDisk::new("S", 1000));
    rig.history();
    let told = Arc::new(Told::default());
    for tag in 0..50 {
        rig.submit(&told, tag, WRITE, tag, 1, &rig.memory(512));
    }
    rig.disk(0).start();
    let (controller, model) = (rig.controller.clone(), rig.model.clone());
    rig.kernel.block_on(move || model.step(), async move { controller.shut_down().await });
    assert!(told.results().len() == 50 && told.results().iter().all(|(_, result)| result.is_ok()));
    assert_eq!(rig.history()[50..], [0xea, 0xe0]);
    assert!(!rig.disk(0).is_present() && !rig.controller.is_present());
    assert_eq!(rig.read(0, 1), Err(BlockError::Removed));
}
