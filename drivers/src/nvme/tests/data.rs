//! How data is named to the controller, requests are cut into commands, and queues fill up.
use super::*;
use crate::nvme::command::Opcode;
use std::vec;

/// A drive whose controller takes SGLs of a kind (SGLS), with a byte pattern on its disk.
fn rig(sgls: u8) -> (Rig, Arc<Controller>, Arc<dyn BlockDevice>) {
    let rig = Rig::new(1);
    rig.model.state.lock().controller[536] = sgls;
    let drive = rig.start();
    let disk = drive.namespaces().remove(0);
    let mut state = rig.model.state.lock();
    let data = &mut state.disks.get_mut(&1).unwrap().data;
    data.iter_mut().enumerate().for_each(|(i, b)| *b = pattern(i));
    drop(state);
    (rig, drive, disk)
}

fn pattern(at: usize) -> u8 {
    (at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0]
}

fn read_all(memory: &DmaMemory, segments: &[Segment]) -> Vec<u8> {
    let mut all = Vec::new();
    for segment in segments {
        let mut bytes = vec![0; segment.bytes as usize];
        memory.copy_out((segment.address - memory.address()) as usize, &mut bytes);
        all.extend(bytes);
    }
    all
}

fn executed(rig: &Rig, opcode: Opcode) -> u64 {
    let state = rig.model.state.lock();
    state.executed.iter().filter(|(key, _)| key.0 != 0 && key.1 == opcode.0).map(|(_, n)| n).sum()
}

#[test]
fn segments_of_every_shape_move_the_right_bytes_with_and_without_sgls() {
    for sgls in [0, 1, 2] {
        let (rig, drive, disk) = rig(sgls);
        let memory = rig.memory(512 << 10);
        let shapes: &[&[(u64, u32)]] = &[
            &[(0, 4096)],
            &[(512, 8192)],
            &[(512, 3584), (8192, 4096), (20480, 512)],
            &[(0, 100), (5000, 412)],
            &[(1, 511), (513, 1), (600, 512)],
            &[(4, 508), (1024, 516)],
            &[(0, 128 << 10)],
            &[(8, 128 << 10)],
            &[(0, 300 << 10)],
            &[(3, 200 << 10)],
            &[(0, 64 << 10), (128 << 10, 64 << 10), (256 << 10, 64 << 10)],
            &[(0, 4096), (4096, 4096), (8192, 512)],
        ];
        for shape in shapes {
            let segments: Vec<Segment> = shape.iter().map(|&(at, len)| part(&memory, at, len)).collect();
            let bytes: u32 = shape.iter().map(|s| s.1).sum();
            let blocks = u64::from(bytes / 512);
            assert_eq!(rig.ask(&*disk, Operation::Read, 3, blocks, &segments), Ok(()), "{shape:?}");
            let expected: Vec<u8> = (3 * 512..3 * 512 + bytes as usize).map(pattern).collect();
            assert!(read_all(&memory, &segments) == expected, "{shape:?} with SGLS {sgls}");
            assert_eq!(rig.ask(&*disk, WRITE, 4000, blocks, &segments), Ok(()));
            let state = rig.model.state.lock();
            assert!(state.disks[&1].data[4000 * 512..][..bytes as usize] == expected[..], "{shape:?}");
        }
        let (bounced, sgl) = (drive.counters().bounced, rig.model.state.lock().sgl_commands);
        match sgls {
            0 => assert!(bounced > 0 && sgl == 0),
            1 => assert!(bounced == 0 && sgl > 0, "bytes are what such SGLs name: no copy"),
            _ => assert!(bounced > 0 && sgl > 0),
        }
        drop((disk, memory));
        rig.end(drive);
    }
}

#[test]
fn more_than_the_most_of_a_command_is_split_and_completed_once() {
    let (rig, drive, disk) = rig(0);
    let memory = rig.memory(1 << 20);
    assert_eq!(rig.ask(&*disk, Operation::Read, 0, 2048, &[part(&memory, 0, 1 << 20)]), Ok(()));
    assert_eq!(executed(&rig, Opcode::READ), 8, "128 KiB each");
    assert!(read_all(&memory, &[part(&memory, 0, 1 << 20)]) == (0..1 << 20).map(pattern).collect::<Vec<_>>());
    drop((disk, memory));
    rig.end(drive);
}

#[test]
fn a_part_that_fails_fails_the_whole_request_once() {
    let (rig, drive, disk) = rig(0);
    rig.decide(|seen| if seen.is_io() && seen.block() == 512 { Fate::Fail(0x4281) } else { Fate::Execute });
    let memory = rig.memory(1 << 20);
    let whole = [part(&memory, 0, 1 << 20)];
    assert_eq!(rig.ask(&*disk, Operation::Read, 0, 2048, &whole), Err(BlockError::UnrecoveredRead));
    assert_eq!(drive.counters().errors, 1);
    drop((disk, memory));
    rig.end(drive);
}

#[test]
fn zeroes_discards_and_flushes_reach_the_disk() {
    let (rig, drive, disk) = rig(0);
    assert_eq!(rig.ask(&*disk, Operation::WriteZeroes { deallocate: true }, 1, 1, &[]), Ok(()));
    assert_eq!(rig.ask(&*disk, Operation::Discard, 4, 2, &[]), Ok(()));
    assert_eq!(rig.ask(&*disk, Operation::Flush, 0, 0, &[]), Ok(()));
    let state = rig.model.state.lock();
    let data = &state.disks[&1].data;
    assert!(data[512..1024].iter().all(|b| *b == 0) && data[2048..3072].iter().all(|b| *b == 0));
    assert!(data[1024] == pattern(1024) && data[511] == pattern(511));
    drop(state);
    assert_eq!(executed(&rig, Opcode::FLUSH), 1);
    assert_eq!((drive.counters().flushes, drive.counters().others), (1, 2));
    drop(disk);
    rig.end(drive);
}

#[test]
fn without_a_volatile_cache_a_flush_costs_nothing() {
    let rig = Rig::new(1);
    rig.model.state.lock().controller[525] = 0;
    let drive = rig.start();
    let disk = drive.namespaces().remove(0);
    let before = rig.model.state.lock().doorbells;
    assert_eq!(rig.ask(&*disk, Operation::Flush, 0, 0, &[]), Ok(()));
    assert_eq!(rig.model.state.lock().doorbells, before);
    drop(disk);
    rig.end(drive);
}

#[test]
fn a_durable_write_forces_unit_access_and_zeroes_deallocate_where_that_reads_as_zeroes() {
    let (rig, drive, disk) = rig(0);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let into = seen.clone();
    rig.decide(move |command| {
        if command.is_io() {
            into.lock().push(command.command.0[6] as u32 & !0xffff);
        }
        Fate::Execute
    });
    let memory = rig.memory(512);
    let one = [part(&memory, 0, 512)];
    rig.ask(&*disk, Operation::Write { durable: true }, 0, 1, &one).unwrap();
    rig.ask(&*disk, WRITE, 0, 1, &one).unwrap();
    rig.ask(&*disk, Operation::WriteZeroes { deallocate: true }, 0, 1, &[]).unwrap();
    rig.ask(&*disk, Operation::WriteZeroes { deallocate: false }, 0, 1, &[]).unwrap();
    assert_eq!(*seen.lock(), [1 << 30, 0, 1 << 25, 0]);
    drop((disk, memory));
    rig.end(drive);
}

#[test]
fn the_limits_of_the_nvm_command_set_bound_zeroes_and_discards() {
    let rig = Rig::new(1);
    {
        let mut state = rig.model.state.lock();
        // 8 KiB of zeroes; 10 blocks in a range.
        state.nvm[1] = 1;
        state.nvm[4] = 10;
    }
    let drive = rig.start();
    let disk = drive.namespaces().remove(0);
    assert_eq!(rig.ask(&*disk, Operation::WriteZeroes { deallocate: false }, 0, 40, &[]), Ok(()));
    assert_eq!(rig.ask(&*disk, Operation::Discard, 0, 25, &[]), Ok(()));
    assert_eq!((executed(&rig, Opcode::WRITE_ZEROES), executed(&rig, Opcode::DATASET_MANAGEMENT)), (3, 3));
    drop(disk);
    rig.end(drive);
}

#[test]
fn blocks_of_4096_bytes_and_several_namespaces_each_have_their_own() {
    let rig = Rig::new(1);
    rig.model.add_namespace(3, 12);
    let drive = rig.start();
    let disks = drive.namespaces();
    assert_eq!(disks.iter().map(|d| d.identity().name.clone()).collect::<Vec<_>>(), ["nvme0n1", "nvme0n3"]);
    assert_eq!((disks[1].geometry().block_size, disks[1].geometry().blocks), (4096, 1024));
    let memory = rig.memory(8192);
    memory.copy_in(0, &[7; 8192]);
    assert_eq!(
        rig.ask(&*disks[1], WRITE, 1023, 1, &[part(&memory, 100, 96), part(&memory, 200, 4000)]),
        Ok(())
    );
    assert_eq!(rig.ask(&*disks[1], WRITE, 1023, 2, &[part(&memory, 0, 8192)]), Err(BlockError::OutOfRange));
    let state = rig.model.state.lock();
    assert!(state.disks[&3].data[1023 * 4096..].iter().all(|b| *b == 7));
    assert!(state.disks[&1].data.iter().all(|b| *b == 0));
    drop(state);
    drop((disks, memory));
    rig.end(drive);
}

#[test]
fn a_full_queue_keeps_the_rest_in_order_and_rings_one_doorbell_per_batch() {
    let (rig, drive, disk) = rig(0);
    let order = Arc::new(Mutex::new(Vec::new()));
    let into = order.clone();
    rig.decide(move |seen| {
        if seen.is_io() {
            into.lock().push(seen.block());
        }
        Fate::Execute
    });
    let memory = rig.memory(4096);
    let told = Arc::new(Told::default());
    let before = rig.model.state.lock().doorbells;
    for i in 0..1000 {
        // What the caller's segments say afterwards does not matter.
        let mut segments = [part(&memory, 0, 512)];
        submit(&*disk, &told, i, Operation::Read, i, 1, &segments);
        segments[0] = Segment { address: mm::Hpa::new(0), bytes: 0 };
        let _ = segments;
    }
    disk.start();
    disk.start();
    rig.run(|| told.count() == 1000);
    rig.pass(1);
    assert!(told.0.lock().iter().map(|t| t.0).eq(0..1000));
    assert!(told.0.lock().iter().all(|t| t.1.is_ok()));
    assert!(order.lock().iter().copied().eq(0..1000), "the order of their submission");
    let after = rig.model.state.lock().doorbells;
    let (submissions, completions) = (after.0 - before.0, after.1 - before.1);
    assert!(submissions <= 1000 / 32 + 8 && completions <= 1000 / 32 + 16, "{submissions} and {completions}");
    assert_eq!(drive.counters().waited, 1000 - 127);
    drop((disk, memory));
    rig.end(drive);
}

#[test]
fn one_write_of_a_page_is_one_command_two_doorbells_and_no_copy() {
    let (rig, drive, disk) = rig(0);
    let memory = rig.memory(4096);
    let before = rig.model.state.lock().doorbells;
    assert_eq!(rig.ask(&*disk, WRITE, 8, 8, &[part(&memory, 0, 4096)]), Ok(()));
    let after = rig.model.state.lock().doorbells;
    assert_eq!((after.0 - before.0, after.1 - before.1), (1, 1));
    assert_eq!((executed(&rig, Opcode::WRITE), drive.counters().bounced), (1, 0));
    drop((disk, memory));
    rig.end(drive);
}

#[test]
fn each_cpu_has_its_queue_and_a_poll_takes_what_is_there() {
    let rig = Rig::new(3);
    let drive = rig.start();
    let disk = drive.namespaces().remove(0);
    let memory = rig.memory(4096);
    let told = Arc::new(Told::default());
    for cpu in 0..3 {
        rig.kernel.on_cpu(cpu, || {
            submit(&*disk, &told, cpu as u64, Operation::Read, 0, 1, &[part(&memory, 0, 512)]);
            disk.start();
        });
    }
    assert!(!rig.kernel.on_cpu(1, || drive.poll()), "the controller has not done it yet");
    rig.model.step();
    for cpu in [1, 0, 2] {
        assert!(rig.kernel.on_cpu(cpu, || drive.poll()));
        assert!(!rig.kernel.on_cpu(cpu, || drive.poll()));
        assert_eq!(told.0.lock().last(), Some(&(cpu as u64, Ok(()))));
    }
    let state = rig.model.state.lock();
    for queue in 1..=3 {
        assert_eq!(state.executed[&(queue, Opcode::READ.0)], 1);
    }
    drop(state);
    drop((disk, memory));
    rig.end(drive);
}

#[test]
fn a_busy_controller_with_doorbells_in_memory_is_seldom_rung_for() {
    let mut rung = [0, 0];
    for (shadow, rung) in rung.iter_mut().enumerate() {
        let rig = Rig::new(1);
        rig.model.state.lock().controller[257] = shadow as u8;
        rig.model.state.lock().shuffle = Some(7);
        let drive = rig.start();
        let disk = drive.namespaces().remove(0);
        let memory = rig.memory(4096);
        let told = Arc::new(Told::default());
        let before = rig.model.state.lock().doorbells;
        for round in 0..50 {
            for i in 0..8 {
                submit(&*disk, &told, i, Operation::Read, i, 1, &[part(&memory, 0, 512)]);
                disk.start();
            }
            rig.run(|| told.count() >= round * 8 + 4);
        }
        rig.run(|| told.count() == 400);
        let after = rig.model.state.lock().doorbells;
        *rung = after.0 - before.0 + after.1 - before.1;
        drop((disk, memory));
        rig.end(drive);
    }
    assert!(rung[1] * 2 < rung[0], "{rung:?}");
}

#[test]
fn a_controller_that_refuses_doorbells_in_memory_is_rung_for() {
    let rig = Rig::new(1);
    rig.model.state.lock().controller[257] = 1;
    rig.decide(|seen| if seen.opcode().0 == 0x7c { Fate::Fail(0x4002) } else { Fate::Execute });
    let drive = rig.start();
    let disk = drive.namespaces().remove(0);
    let memory = rig.memory(4096);
    for _ in 0..300 {
        assert_eq!(rig.ask(&*disk, Operation::Read, 0, 1, &[part(&memory, 0, 512)]), Ok(()));
    }
    drop((disk, memory));
    rig.end(drive);
}
