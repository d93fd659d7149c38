//! Starting, and what is refused.
use super::*;
use std::string::ToString;

#[test]
fn a_drive_starts_with_a_queue_per_cpu_and_ends_without_a_trace() {
    let rig = Rig::new(4);
    let drive = rig.start();
    let info = drive.info();
    assert_eq!((info.name.as_str(), info.serial.as_str(), info.firmware.as_str()), ("nvme0", "SN 42", "1.0"));
    assert_eq!(info.model, "Model?[2J1", "what steers a terminal is taken out");
    assert_eq!((info.queues, info.depth, info.most_bytes), (4, 127, 128 << 10));
    assert_eq!(info.version.to_string(), "2.0");
    let disks = drive.namespaces();
    assert_eq!(disks.len(), 1);
    assert_eq!(disks[0].identity().name, "nvme0n1");
    let geometry = disks[0].geometry();
    assert_eq!((geometry.block_size, geometry.blocks, geometry.best_blocks), (512, 8192, 256));
    assert!(geometry.features.volatile_cache && geometry.features.discard && geometry.features.write_zeroes);
    drop(disks);
    rig.end(drive);
}

#[test]
fn what_is_written_is_read() {
    let rig = Rig::new(2);
    let drive = rig.start();
    let disk = drive.namespaces().remove(0);
    let memory = rig.memory(8192);
    memory.copy_in(0, &[0x5a; 4096]);
    assert_eq!(rig.ask(&*disk, WRITE, 8, 8, &[part(&memory, 0, 4096)]), Ok(()));
    assert_eq!(rig.ask(&*disk, Operation::Read, 8, 8, &[part(&memory, 4096, 4096)]), Ok(()));
    assert_eq!((memory.read::<u8>(4096), memory.read::<u8>(8191)), (0x5a, 0x5a));
    let counters = drive.counters();
    assert_eq!((counters.reads, counters.writes, counters.bytes_read), (1, 1, 4096));
    drop((disk, memory));
    rig.end(drive);
}

fn refusal(prepare: impl FnOnce(&Rig)) -> NvmeError {
    let rig = Rig::new(2);
    prepare(&rig);
    let error = rig.try_start(Limits::default()).err().unwrap();
    rig.settle();
    assert_eq!((rig.kernel.pages_taken(), rig.kernel.vectors_taken()), (0, 0), "{error}: all is given back");
    let state = rig.model.state.lock();
    let quiet = state.dma_stopped || state.gone;
    drop(state);
    assert!(quiet || !rig.model.is_enabled(), "{error}: it can't write to memory any more");
    error
}

#[test]
fn capabilities_that_make_no_sense_are_refused_before_anything_is_written() {
    const CAP: u64 = 1023 | 20 << 24 | 1 << 37;
    let cap = |cap| refusal(move |rig| rig.model.state.lock().cap = cap);
    assert_eq!(cap(u64::MAX), NvmeError::Gone);
    assert_eq!(cap(CAP & !(1 << 37) | 1 << 44), NvmeError::NoCommandSet);
    assert_eq!(cap(CAP & !0xffff), NvmeError::Queues("one of them has less than two entries"));
    assert_eq!(cap(CAP | 15 << 48), NvmeError::PageSize(4096 << 15));
    assert_eq!(cap(CAP | 15 << 32), NvmeError::Window(0x4000));
    assert_eq!(refusal(|rig| rig.model.state.lock().window = 0x1000), NvmeError::Window(0x1000));
    assert_eq!(refusal(|rig| rig.model.state.lock().gone = true), NvmeError::Gone);
}

#[test]
fn a_window_that_holds_few_doorbells_makes_few_queues() {
    let rig = Rig::new(4);
    // The admin queues and two pairs, 4 KiB apart.
    {
        let mut state = rig.model.state.lock();
        state.cap |= 10 << 32;
        state.window = 0x1000 + 5 * 4096 + 4;
    }
    let drive = rig.start();
    assert_eq!(drive.info().queues, 2);
    rig.end(drive);
}

#[test]
fn cpus_share_where_the_controller_or_the_limits_give_fewer_queues() {
    for (pairs, limit, depth) in [(2, u16::MAX, 127), (64, 3, 4), (1, 1, 1)] {
        let rig = Rig::new(5);
        rig.model.state.lock().pairs = pairs;
        let drive = rig.try_start(Limits { queues: limit, depth, ..Limits::default() }).ok().unwrap();
        assert_eq!((drive.info().queues, drive.info().depth), (pairs.min(limit).into(), depth));
        let disk = drive.namespaces().remove(0);
        let memory = rig.memory(4096);
        let told = Arc::new(Told::default());
        for cpu in 0..5 {
            rig.kernel.on_cpu(cpu, || {
                for i in 0..20 {
                    submit(&*disk, &told, i, Operation::Read, i, 1, &[part(&memory, 0, 512)]);
                }
                disk.start();
            });
        }
        rig.run(|| told.count() == 100);
        drop((disk, memory));
        rig.end(drive);
    }
}

#[test]
fn one_message_for_everything_is_enough() {
    let kernel = TestKernel::new(3);
    let rig = Rig { model: Model::new(&kernel, 1), kernel };
    let drive = rig.start();
    assert_eq!(drive.info().queues, 1);
    let disk = drive.namespaces().remove(0);
    let memory = rig.memory(4096);
    let before = rig.kernel.now();
    for block in 0..200 {
        assert_eq!(rig.ask(&*disk, Operation::Read, block, 1, &[part(&memory, 0, 512)]), Ok(()));
    }
    assert!(rig.kernel.now() - before < 1_000_000_000, "by interrupts, not by ticks");
    drop((disk, memory));
    rig.end(drive);
}

#[test]
fn a_queue_of_two_entries_works() {
    let rig = Rig::new(1);
    rig.model.state.lock().cap = 1 | 20 << 24 | 1 << 37;
    let drive = rig.start();
    assert_eq!(drive.info().depth, 1);
    let disk = drive.namespaces().remove(0);
    let memory = rig.memory(1 << 20);
    for _ in 0..3 {
        assert_eq!(rig.ask(&*disk, WRITE, 0, 2048, &[part(&memory, 0, 1 << 20)]), Ok(()));
    }
    drop((disk, memory));
    rig.end(drive);
}

#[test]
fn a_controller_that_never_gets_ready_is_given_up_after_its_own_time() {
    let rig = Rig::new(1);
    rig.model.state.lock().stuck = true;
    let before = rig.kernel.now();
    assert_eq!(rig.try_start(Limits::default()).err(), Some(NvmeError::NotReady(10_500)));
    let took = (rig.kernel.now() - before) / 1_000_000_000;
    assert!((10..25).contains(&took), "{took} s");
    rig.settle();
    assert!(rig.model.state.lock().dma_stopped);
    assert_eq!((rig.kernel.pages_taken(), rig.kernel.vectors_taken()), (0, 0));
}

#[test]
fn a_controller_that_refuses_or_ignores_what_it_is_asked_is_stopped_and_named() {
    let at = |opcode: u8, fate| {
        refusal(move |rig| rig.decide(move |s| if s.opcode().0 == opcode { fate } else { Fate::Execute }))
    };
    let refused = at(6, Fate::Fail(0x4002));
    assert_eq!(refused.to_string(), "it refused Identify Controller with status 0/02h");
    assert_eq!(at(6, Fate::Hang), NvmeError::Unanswered("Identify Controller"));
    assert!(matches!(at(9, Fate::Fail(0x4002)), NvmeError::Refused("Set Features (number of queues)", _)));
    assert!(matches!(at(5, Fate::Fail(0x4101)), NvmeError::Refused("Create I/O Completion Queue", _)));
    assert!(matches!(at(1, Fate::Lose), NvmeError::Unanswered("Create I/O Submission Queue")));
    assert_eq!(refusal(|rig| rig.model.state.lock().controller[111] = 2), NvmeError::NoIo);
    assert!(matches!(refusal(|rig| rig.model.state.lock().controller[512] = 7), NvmeError::Queues(_)));
}

#[test]
fn a_start_that_nobody_waits_for_any_more_leaves_no_way_to_memory() {
    let rig = Rig::new(1);
    rig.decide(|_| Fate::Hang);
    let parts = Parts {
        number: 0,
        registers: rig.model.registers(),
        interrupts: rig.model.interrupts(),
        stop_dma: rig.model.stop_dma(),
    };
    let mut starting = Box::pin(start(rig.kernel.clone(), parts, Limits::default()));
    let mut context = core::task::Context::from_waker(core::task::Waker::noop());
    for _ in 0..20 {
        assert!(starting.as_mut().poll(&mut context).is_pending());
        rig.pass(0);
        rig.kernel.pass(3_000_000, || rig.model.step());
    }
    assert!(rig.model.is_enabled() && rig.kernel.pages_taken() != 0);
    drop(starting);
    assert!(rig.model.state.lock().dma_stopped, "before its queues were freed");
    assert_eq!((rig.kernel.pages_taken(), rig.kernel.vectors_taken()), (0, 0));
}

#[test]
fn namespaces_that_make_no_sense_are_left_out_and_the_others_used() {
    let rig = Rig::new(1);
    for id in 2..12 {
        rig.model.add_namespace(id, 9);
    }
    {
        let mut state = rig.model.state.lock();
        let mut damage = |id: u32, at: usize, bytes: &[u8]| {
            state.disks.get_mut(&id).unwrap().identify[at..at + bytes.len()].copy_from_slice(bytes);
        };
        damage(2, 130, &[63]);
        damage(3, 0, &[0; 8]);
        damage(4, 128, &[8, 0]);
        damage(5, 26, &[5]);
        damage(6, 0, &[0xff; 8]);
        damage(7, 130, &[255]);
        damage(8, 130, &[0]);
        damage(9, 0, &[0xff; 384]);
        damage(10, 130, &[13]);
    }
    let drive = rig.start();
    let names: Vec<_> = drive.namespaces().iter().map(|d| d.identity().name.clone()).collect();
    assert_eq!(names, ["nvme0n1", "nvme0n11"]);
    rig.end(drive);
}

#[test]
fn a_list_of_namespaces_that_makes_no_sense_ends_where_it_does() {
    let cases: &[(&[u32], usize)] =
        &[(&[1, 1], 1), (&[u32::MAX], 0), (&[0, 1], 0), (&[2, 1], 0), (&[1, u32::MAX], 1)];
    for (list, expected) in cases {
        let rig = Rig::new(1);
        {
            let mut state = rig.model.state.lock();
            state.controller[516..520].fill(0xff);
            for (place, id) in state.active.chunks_exact_mut(4).zip(*list) {
                place.copy_from_slice(&id.to_le_bytes());
            }
        }
        let drive = rig.start();
        assert_eq!(drive.namespaces().len(), *expected, "{list:?}");
        rig.end(drive);
    }
}

#[test]
fn without_a_list_of_namespaces_the_first_numbers_are_tried() {
    let rig = Rig::new(1);
    rig.model.add_namespace(2, 12);
    rig.model.state.lock().controller[516..520].fill(0xff);
    rig.decide(|seen| {
        let list = !seen.is_io() && seen.opcode().0 == 6 && seen.command.0[5] as u8 == 2;
        if list { Fate::Fail(0x4002) } else { Fate::Execute }
    });
    let drive = rig.start();
    assert_eq!(drive.namespaces().len(), 2);
    rig.end(drive);
}

#[test]
fn a_most_of_a_command_that_overflows_is_none() {
    for (mdts, expected) in
        [(0, 1 << 20), (1, 8192), (8, 1 << 20), (63, 1 << 20), (64, 1 << 20), (255, 1 << 20)]
    {
        let rig = Rig::new(1);
        rig.model.state.lock().controller[77] = mdts;
        let drive = rig.start();
        assert_eq!(drive.info().most_bytes, expected, "MDTS {mdts}");
        rig.end(drive);
    }
}

#[test]
fn coalescing_is_set_only_where_it_is_asked_for() {
    for coalescing in [None, Some(crate::nvme::Coalescing { completions: 4, time: 1 })] {
        let rig = Rig::new(1);
        let set = Arc::new(Mutex::new(None));
        let into = set.clone();
        rig.decide(move |seen| {
            if !seen.is_io() && seen.opcode().0 == 9 && seen.command.0[5] as u8 == 8 {
                *into.lock() = Some((seen.command.0[5] >> 32) as u32);
            }
            Fate::Execute
        });
        let drive = rig.try_start(Limits { coalescing, ..Limits::default() }).ok().unwrap();
        assert_eq!(*set.lock(), coalescing.map(|_| 0x104));
        rig.end(drive);
    }
}

#[test]
fn health_is_told_with_its_warnings_in_words() {
    let rig = Rig::new(1);
    {
        let health = &mut rig.model.state.lock().health;
        health[..6].copy_from_slice(&[0b1001, 0x3c, 1, 90, 10, 3]);
        health[128] = 77;
    }
    let drive = rig.start();
    let asker = drive.clone();
    let model = rig.model.clone();
    let health = rig.kernel.block_on(move || model.step(), async move { asker.health().await }).ok().unwrap();
    assert_eq!((health.kelvin, health.spare, health.used, health.power_on_hours), (316, 90, 3, 77));
    assert_eq!(health.warnings().len(), 2);
    assert!(health.warnings()[1].contains("read-only"));
    rig.end(drive);
}
