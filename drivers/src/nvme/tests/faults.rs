//! Commands that fail or take too long, controllers that fail, drives that are pulled.
use super::*;
use core::sync::atomic::{AtomicU32, Ordering};

fn started(cpus: usize) -> (Rig, Arc<Controller>, Arc<dyn BlockDevice>, DmaMemory) {
    let rig = Rig::new(cpus);
    let drive = rig.start();
    let disk = drive.namespaces().remove(0);
    let memory = rig.memory(64 << 10);
    (rig, drive, disk, memory)
}

/// Fails or delays the first `times` I/O commands.
fn first(times: u32, fate: Fate) -> impl FnMut(&Seen) -> Fate + Send {
    let mut left = times;
    move |seen| {
        if seen.is_io() && left != 0 {
            left -= 1;
            return fate;
        }
        Fate::Execute
    }
}

#[test]
fn a_status_is_what_the_caller_understands_by_it() {
    let (rig, drive, disk, memory) = started(1);
    let cases = [
        (0x4281, BlockError::UnrecoveredRead),
        (0x0281, BlockError::UnrecoveredRead),
        (0x4280, BlockError::WriteFault),
        (0x4080, BlockError::OutOfRange),
        (0x4001, BlockError::Unsupported),
        (0x400b, BlockError::Removed),
        (0x4020, BlockError::ReadOnly),
        (0x4182, BlockError::ReadOnly),
        (0x4082, BlockError::TimedOut),
        (0x4287, BlockError::UnrecoveredRead),
        (0x4006, BlockError::Device(0x006)),
        (0x47ff, BlockError::Device(0x7ff)),
    ];
    for (status, error) in cases {
        rig.decide(move |seen| if seen.is_io() { Fate::Fail(status) } else { Fate::Execute });
        let result = rig.ask(&*disk, Operation::Read, 0, 1, &[part(&memory, 0, 512)]);
        assert_eq!(result, Err(error), "{status:#x}");
    }
    assert_eq!((drive.counters().errors, drive.counters().retries), (12, 3), "only what may pass is retried");
    drop((disk, memory));
    rig.end(drive);
}

#[test]
fn an_error_that_passes_is_not_seen_and_one_that_stays_is_after_the_retries() {
    let (rig, drive, disk, memory) = started(1);
    let one = [part(&memory, 0, 512)];
    rig.decide(first(3, Fate::Fail(0x0006)));
    assert_eq!(rig.ask(&*disk, Operation::Read, 0, 1, &one), Ok(()));
    rig.decide(first(4, Fate::Fail(0x0006)));
    assert_eq!(rig.ask(&*disk, Operation::Read, 0, 1, &one), Err(BlockError::Device(6)));
    assert_eq!(drive.counters().retries, 6);
    drop((disk, memory));
    rig.end(drive);
}

#[test]
fn a_retry_waits_as_long_as_the_controller_asks_for() {
    let (rig, drive, disk, memory) = started(1);
    let one = [part(&memory, 0, 512)];
    // CRD 1: twice 100 ms, by Identify Controller.
    rig.decide(first(2, Fate::Fail(0x0806)));
    let before = rig.kernel.now();
    assert_eq!(rig.ask(&*disk, Operation::Read, 0, 1, &one), Ok(()));
    let took = (rig.kernel.now() - before) / 1_000_000;
    assert!((400..450).contains(&took), "{took} ms");
    // Not ready, without a delay of the controller's: 100 ms, then 200 ms.
    rig.decide(first(2, Fate::Fail(0x0082)));
    let before = rig.kernel.now();
    assert_eq!(rig.ask(&*disk, Operation::Read, 0, 1, &one), Ok(()));
    let took = (rig.kernel.now() - before) / 1_000_000;
    assert!((300..350).contains(&took), "{took} ms");
    drop((disk, memory));
    rig.end(drive);
}

#[test]
fn a_command_that_hangs_is_aborted_and_sent_again() {
    let (rig, drive, disk, memory) = started(2);
    rig.decide(first(1, Fate::Hang));
    let before = rig.kernel.now();
    assert_eq!(rig.ask(&*disk, Operation::Read, 0, 1, &[part(&memory, 0, 512)]), Ok(()));
    let took = (rig.kernel.now() - before) / 1_000_000_000;
    assert!((30..36).contains(&took), "{took} s");
    let counters = drive.counters();
    assert_eq!((counters.timeouts, counters.retries, counters.resets), (1, 1, 0));
    assert_eq!(rig.model.state.lock().aborts, 1);
    drop((disk, memory));
    rig.end(drive);
}

#[test]
fn a_command_that_always_hangs_times_out() {
    let (rig, drive, disk, memory) = started(1);
    rig.decide(|seen| if seen.is_io() { Fate::Hang } else { Fate::Execute });
    let result = rig.ask(&*disk, Operation::Read, 0, 1, &[part(&memory, 0, 512)]);
    assert_eq!(result, Err(BlockError::TimedOut));
    assert_eq!(drive.counters().timeouts, 4);
    drop((disk, memory));
    rig.end(drive);
}

#[test]
fn a_command_that_can_not_be_aborted_costs_a_reset_and_all_goes_on() {
    let (rig, drive, disk, memory) = started(2);
    rig.decide(first(1, Fate::Lose));
    let told = Arc::new(Told::default());
    memory.copy_in(0, &[0xa5; 512]);
    for i in 0..300 {
        submit(&*disk, &told, i, WRITE, i, 1, &[part(&memory, 0, 512)]);
    }
    disk.start();
    rig.run(|| told.count() == 300);
    assert!(told.0.lock().iter().all(|t| t.1.is_ok()));
    let state = rig.model.state.lock();
    assert!(state.disks[&1].data[..300 * 512].iter().all(|b| *b == 0xa5));
    assert_eq!(state.enabled_times, 2);
    drop(state);
    let counters = drive.counters();
    assert_eq!((counters.resets, counters.errors, counters.timeouts), (1, 0, 1));
    drop((disk, memory));
    rig.end(drive);
}

#[test]
fn requests_wait_while_the_controller_is_reset() {
    let (rig, drive, disk, memory) = started(1);
    let told = Arc::new(Told::default());
    rig.model.fail();
    submit(&*disk, &told, 1, Operation::Read, 0, 1, &[part(&memory, 0, 512)]);
    disk.start();
    // A moment in the middle of the reset.
    rig.run(|| drive.counters().resets == 1);
    submit(&*disk, &told, 2, Operation::Read, 0, 1, &[part(&memory, 512, 512)]);
    disk.start();
    rig.run(|| told.count() == 2);
    assert!(told.0.lock().iter().all(|t| t.1.is_ok()));
    drop((disk, memory));
    rig.end(drive);
}

#[test]
fn a_controller_that_fails_again_and_again_is_given_up() {
    let (rig, drive, disk, memory) = started(1);
    let told = Arc::new(Told::default());
    rig.decide(|seen| if seen.is_io() { Fate::Lose } else { Fate::Execute });
    for i in 0..400 {
        submit(&*disk, &told, i, Operation::Read, i, 1, &[part(&memory, 0, 512)]);
    }
    disk.start();
    rig.run(|| told.count() == 400);
    rig.pass(100);
    assert_eq!(told.count(), 400);
    assert!(told.0.lock().iter().all(|t| t.1 == Err(BlockError::TimedOut)));
    assert!(!drive.is_present() && !disk.is_present());
    let result = rig.ask(&*disk, Operation::Read, 0, 1, &[part(&memory, 0, 512)]);
    assert_eq!(result, Err(BlockError::TimedOut));
    assert!(drive.counters().resets <= 5);
    drop((disk, memory));
    rig.end(drive);
}

#[test]
fn a_controller_that_can_not_be_reset_loses_its_way_to_memory_before_anybody_is_told() {
    let (rig, drive, disk, memory) = started(1);
    let told = Arc::new(Told::default());
    rig.decide(|seen| if seen.is_io() { Fate::Lose } else { Fate::Execute });
    submit(&*disk, &told, 1, Operation::Read, 0, 1, &[part(&memory, 0, 512)]);
    disk.start();
    rig.model.state.lock().stuck = true;
    let model = rig.model.clone();
    rig.run(|| {
        let stopped = model.state.lock().dma_stopped;
        assert!(stopped || told.count() == 0, "a controller that is not quiet may write to the memory");
        told.count() == 1
    });
    assert_eq!(told.0.lock()[0].1, Err(BlockError::TimedOut));
    drop((disk, memory));
    drop(drive);
    rig.settle();
    assert_eq!((rig.kernel.pages_taken(), rig.kernel.vectors_taken()), (0, 0));
}

#[test]
fn a_drive_that_is_pulled_fails_all_requests_whoever_notices_first() {
    for the_bus_tells in [true, false] {
        let (rig, drive, disk, memory) = started(2);
        let told = Arc::new(Told::default());
        rig.decide(|seen| if seen.is_io() { Fate::Hang } else { Fate::Execute });
        for i in 0..200 {
            submit(&*disk, &told, i, Operation::Read, i, 1, &[part(&memory, 0, 512)]);
        }
        disk.start();
        rig.kernel.pass(1_000_000, || rig.model.step());
        rig.model.state.lock().gone = true;
        if the_bus_tells {
            drive.removed();
        }
        let before = rig.kernel.now();
        rig.run(|| told.count() == 200);
        let took = (rig.kernel.now() - before) / 1_000_000;
        assert!(took < if the_bus_tells { 10 } else { 2600 }, "{took} ms");
        assert!(told.0.lock().iter().all(|t| t.1 == Err(BlockError::Removed)));
        assert!(rig.model.state.lock().dma_stopped, "all ones are no proof that it is off the bus");
        assert!(!disk.is_present());
        let result = rig.ask(&*disk, WRITE, 0, 1, &[part(&memory, 0, 512)]);
        assert_eq!(result, Err(BlockError::Removed));
        drop((disk, memory, drive));
        rig.settle();
        assert_eq!((rig.kernel.pages_taken(), rig.kernel.vectors_taken()), (0, 0));
    }
}

#[test]
fn a_drive_that_is_pulled_during_its_reset_is_gone() {
    let (rig, drive, disk, memory) = started(1);
    let told = Arc::new(Told::default());
    rig.model.fail();
    submit(&*disk, &told, 1, Operation::Read, 0, 1, &[part(&memory, 0, 512)]);
    disk.start();
    rig.run(|| drive.counters().resets == 1);
    rig.model.state.lock().gone = true;
    rig.run(|| told.count() == 1);
    assert_eq!(told.0.lock()[0].1, Err(BlockError::Removed));
    drop((disk, memory, drive));
    rig.settle();
    assert_eq!((rig.kernel.pages_taken(), rig.kernel.vectors_taken()), (0, 0));
}

#[test]
fn an_interrupt_that_is_lost_costs_a_tick() {
    let (rig, drive, disk, memory) = started(1);
    rig.decide(first(1, Fate::Quiet));
    let before = rig.kernel.now();
    assert_eq!(rig.ask(&*disk, Operation::Read, 0, 1, &[part(&memory, 0, 512)]), Ok(()));
    assert!(rig.kernel.now() - before <= 2_500_000_000);
    assert_eq!(drive.counters().timeouts, 0);
    drop((disk, memory));
    rig.end(drive);
}

#[test]
fn a_completion_that_comes_twice_is_taken_once() {
    let (rig, drive, disk, memory) = started(1);
    rig.decide(|seen| if seen.is_io() { Fate::Twice } else { Fate::Execute });
    let told = Arc::new(Told::default());
    for round in 0..20 {
        for i in 0..30 {
            submit(&*disk, &told, round * 30 + i, Operation::Read, i, 1, &[part(&memory, 0, 512)]);
        }
        disk.start();
        let expected = (round as usize + 1) * 30;
        rig.run(|| told.count() >= expected);
        rig.pass(5);
        assert_eq!(told.count(), expected);
    }
    assert!(told.0.lock().iter().all(|t| t.1.is_ok()));
    assert!(drive.counters().nonsense >= 600);
    drop((disk, memory));
    rig.end(drive);
}

#[test]
fn completions_for_nothing_are_counted_and_too_many_cost_a_reset() {
    let (rig, drive, disk, memory) = started(1);
    let garbage = [(0xffff, 1, 0), (0x0105, 1, 0), (0, 7, 0), (0, 1, 0xffff), (0x00ff, 0, 0)];
    let turn = AtomicU32::new(0);
    rig.decide(move |seen| {
        if !seen.is_io() {
            return Fate::Execute;
        }
        let (cid, queue, head) = garbage[turn.fetch_add(1, Ordering::Relaxed) as usize % garbage.len()];
        Fate::Garbled { cid: if queue == 7 || head != 0 { seen.cid() } else { cid }, queue, head }
    });
    let one = [part(&memory, 0, 512)];
    for _ in 0..5 {
        assert_eq!(rig.ask(&*disk, Operation::Read, 0, 1, &one), Ok(()));
    }
    assert_eq!((drive.counters().nonsense, drive.counters().resets), (5, 0));
    for _ in 5..64 {
        assert_eq!(rig.ask(&*disk, Operation::Read, 0, 1, &one), Ok(()));
    }
    rig.run(|| drive.counters().resets == 1);
    rig.pass(1);
    rig.decide(|_| Fate::Execute);
    assert_eq!(rig.ask(&*disk, Operation::Read, 0, 1, &one), Ok(()));
    assert_eq!((drive.counters().nonsense, drive.counters().resets), (64, 1));
    drop((disk, memory));
    rig.end(drive);
}

#[test]
fn a_namespace_that_is_another_after_a_reset_is_not_used_any_more() {
    let rig = Rig::new(1);
    rig.model.add_namespace(2, 9);
    let drive = rig.start();
    let disks = drive.namespaces();
    let memory = rig.memory(4096);
    rig.model.state.lock().disks.get_mut(&2).unwrap().identify[130] = 12;
    rig.model.fail();
    rig.pass(5);
    assert_eq!(drive.counters().resets, 1);
    assert!(disks[0].is_present() && !disks[1].is_present());
    let one = [part(&memory, 0, 512)];
    assert_eq!(rig.ask(&*disks[0], Operation::Read, 0, 1, &one), Ok(()));
    assert_eq!(rig.ask(&*disks[1], Operation::Read, 0, 1, &one), Err(BlockError::Removed));
    drop((disks, memory));
    rig.end(drive);
}

#[test]
fn a_controller_that_gives_fewer_queues_after_a_reset_is_given_up() {
    let (rig, drive, disk, memory) = started(2);
    rig.model.state.lock().pairs = 1;
    rig.model.fail();
    rig.pass(10);
    assert!(!disk.is_present());
    drop((disk, memory, drive));
    rig.settle();
    assert_eq!(rig.kernel.pages_taken(), 0);
}

#[test]
fn events_are_asked_for_again_and_a_namespace_that_goes_is_noticed() {
    let (rig, drive, disk, memory) = started(1);
    rig.pass(1);
    for _ in 0..3 {
        // Health, with its log page.
        assert!(rig.model.report(0x02_0001));
        assert!(!rig.model.report(0x02_0001), "one at a time");
        rig.pass(2);
    }
    rig.model.state.lock().disks.clear();
    assert!(rig.model.report(0x04_0002));
    rig.pass(2);
    assert!(!disk.is_present() && drive.is_present());
    drop((disk, memory));
    rig.end(drive);
}

#[test]
fn a_shutdown_waits_for_what_is_in_flight_and_refuses_what_comes_later() {
    let (rig, drive, disk, memory) = started(1);
    rig.model.state.lock().shuffle = Some(1);
    let told = Arc::new(Told::default());
    for i in 0..300 {
        submit(&*disk, &told, i, WRITE, i, 1, &[part(&memory, 0, 512)]);
    }
    disk.start();
    let (task, model) = (drive.clone(), rig.model.clone());
    rig.kernel.block_on(move || model.step(), async move { task.shut_down().await });
    assert_eq!(told.count(), 300);
    assert!(told.0.lock().iter().all(|t| t.1.is_ok()));
    assert!(!rig.model.is_enabled() && !rig.model.state.lock().dma_stopped);
    let result = rig.ask(&*disk, Operation::Read, 0, 1, &[part(&memory, 0, 512)]);
    assert_eq!(result, Err(BlockError::Removed));
    drop((disk, memory));
    rig.end(drive);
}

#[test]
fn a_shutdown_of_a_drive_that_hangs_ends_all_the_same() {
    let (rig, drive, disk, memory) = started(1);
    rig.decide(|seen| if seen.is_io() { Fate::Lose } else { Fate::Execute });
    let told = Arc::new(Told::default());
    submit(&*disk, &told, 1, WRITE, 0, 1, &[part(&memory, 0, 512)]);
    disk.start();
    rig.kernel.pass(1_000_000, || rig.model.step());
    rig.model.state.lock().stuck = true;
    let (task, model) = (drive.clone(), rig.model.clone());
    rig.kernel.block_on(move || model.step(), async move { task.shut_down().await });
    assert_eq!(*told.0.lock(), [(1, Err(BlockError::Removed))]);
    assert!(rig.model.state.lock().dma_stopped);
    drop((disk, memory, drive));
    rig.settle();
    assert_eq!(rig.kernel.pages_taken(), 0);
}

#[test]
fn a_controller_that_forgets_to_ask_for_a_doorbell_is_rung_for_after_a_tick() {
    let rig = Rig::new(1);
    rig.model.state.lock().controller[257] = 1;
    let drive = rig.start();
    let disk = drive.namespaces().remove(0);
    let memory = rig.memory(4096);
    let one = [part(&memory, 0, 512)];
    assert_eq!(rig.ask(&*disk, Operation::Read, 0, 1, &one), Ok(()));
    rig.model.state.lock().forgets_to_ask = true;
    let before = rig.kernel.now();
    assert_eq!(rig.ask(&*disk, Operation::Read, 0, 1, &one), Ok(()));
    assert_eq!(rig.ask(&*disk, Operation::Read, 0, 1, &one), Ok(()));
    let took = (rig.kernel.now() - before) / 1_000_000_000;
    assert!((1..15).contains(&took), "{took} s");
    assert_eq!((drive.counters().timeouts, drive.counters().resets), (0, 0));
    drop((disk, memory));
    rig.end(drive);
}
