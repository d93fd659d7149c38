//! Devices that misbehave: it costs requests and a line, never more.
use super::*;
use core::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn a_port_that_does_not_stop_is_reset_with_the_whole_hba_and_all_disks_go_on() {
    let rig = Rig::with(std::vec![Some(ModelDisk::new("a", 1000)), Some(ModelDisk::new("b", 1000))], |_| {});
    for stuck in [true, false] {
        rig.model.port(0, |port| {
            (port.stuck_running, port.stuck_receiving) = (stuck, !stuck);
            port.interface_errors = 1;
        });
        let resets = rig.model.state().resets;
        let told = Arc::new(Told::default());
        for tag in 0..10 {
            rig.submit(&told, tag, WRITE, tag, 1, &rig.memory(512));
        }
        let done = Done { to: told.clone(), tag: 100 };
        let memory = rig.memory(512);
        let segments = [Segment { address: memory.address(), bytes: 512 }];
        rig.disk(1).submit(Request { operation: WRITE, block: 0, blocks: 1, segments: &segments, done });
        rig.disk(0).start();
        rig.disk(1).start();
        rig.run(|| told.results.lock().len() == 11);
        assert!(told.results().iter().all(|(_, result)| result.is_ok()), "{:?}", told.results());
        assert_eq!(rig.model.state().resets, resets + 1);
    }
}

#[test]
fn an_hba_whose_reset_hangs_then_loses_its_way_to_memory_first() {
    let rig = Rig::new(ModelDisk::new("a", 1000));
    rig.model.state().reset_hangs = true;
    rig.model.port(0, |port| {
        port.stuck_running = true;
        port.interface_errors = 1;
    });
    assert_eq!(rig.write(WRITE, 0, &[0; 512]), Err(BlockError::Removed));
    assert!(rig.model.state().dma_stopped);
    assert!(!rig.controller.is_present());
}

#[test]
fn a_disk_that_is_busy_for_ever_is_given_up() {
    let rig = Rig::new(ModelDisk::new("a", 1000));
    rig.model.port(0, |port| port.stuck_busy = true);
    let start = rig.kernel.now();
    assert_eq!(rig.write(WRITE, 0, &[0; 512]), Err(BlockError::TimedOut));
    assert!(rig.kernel.now() - start < 200 * SECOND);
    // Plugged in again, it may be better.
    let mut disk = rig.model.unplug(0);
    disk.serial.push('2');
    rig.model.port(0, |port| port.stuck_busy = false);
    rig.pass(2 * SECOND);
    rig.model.plug(0, disk);
    rig.run(|| rig.found.lock().len() == 2);
}

#[test]
fn fises_of_nonsense_and_completions_for_nothing_change_nothing() {
    for depth in [32, 0] {
        let mut disk = ModelDisk::new("a", 1000);
        disk.depth = depth;
        let rig = Rig::new(disk);
        rig.model.port(0, |port| port.garbage = true);
        for i in 0..20 {
            rig.model.spurious();
            let data = pattern(1024, i);
            assert_eq!(rig.write(WRITE, u64::from(i) * 7, &data), Ok(()));
            rig.controller.poll();
            assert_eq!(rig.read(u64::from(i) * 7, 2).unwrap(), data);
        }
        assert_eq!(rig.model.port(0, |port| port.comresets), 1);
    }
}

#[test]
fn a_slot_that_the_hba_says_is_done_before_the_disk_had_it_is_not_done() {
    let rig = Rig::new(ModelDisk::new("a", 1000));
    let told = Arc::new(Told::default());
    rig.submit(&told, 0, Operation::Read, 0, 1, &rig.memory(512));
    rig.disk(0).start();
    // The tag is completed, the command is still in its slot.
    rig.model.port(0, |port| port.sact = 0);
    rig.model.spurious();
    rig.kernel.pass(SECOND / 100, || false);
    assert_eq!(told.results(), []);
    rig.model.port(0, |port| port.sact = 1);
    rig.run(|| told.results.lock().len() == 1);
}

#[test]
fn a_read_that_moved_too_little_is_no_good_data() {
    let mut disk = ModelDisk::new("a", 1000);
    disk.depth = 0;
    let rig = Rig::new(disk);
    rig.model.port(0, |port| port.short = 1);
    assert_eq!(rig.read(0, 8), Err(BlockError::UnrecoveredRead));
    assert_eq!(rig.read(0, 8).unwrap().len(), 4096);
}

#[test]
fn interrupts_that_get_lost_cost_a_second() {
    let rig = Rig::new(ModelDisk::new("a", 1000));
    let told = Arc::new(Told::default());
    rig.submit(&told, 0, Operation::Read, 0, 1, &rig.memory(512));
    // GHC.IE off: no message is sent.
    crate::Registers::write32(&ModelRegisters(rig.model.clone()), 4, 1 << 31);
    rig.disk(0).start();
    let start = rig.kernel.now();
    rig.run(|| told.results.lock().len() == 1);
    assert!(rig.kernel.now() - start <= 2 * SECOND);
}

#[test]
fn all_ones_from_every_register_at_any_moment_are_survived() {
    for moment in 0..60 {
        let rig = Rig::new(ModelDisk::new("a", 1000));
        let told = Arc::new(Told::default());
        rig.model.disk(0, |disk| disk.bad.insert(5, 0x40));
        for tag in 0..40 {
            rig.submit(&told, tag, Operation::Read, tag, 1, &rig.memory(512));
        }
        rig.disk(0).start();
        let steps = AtomicUsize::new(0);
        let step = || {
            if steps.fetch_add(1, Ordering::Relaxed) == moment {
                rig.model.state().gone = true;
            }
            rig.model.step()
        };
        rig.kernel.run(step, || told.results.lock().len() == 40);
    }
}
