//! Devices that misbehave.
use super::*;
use std::string::ToString;

#[test]
fn a_device_that_can_not_be_used_says_why_and_keeps_no_memory() {
    type Prepare = fn(&Model);
    let cases: [(Prepare, &str); 10] = [
        (|model| model.state().gone = true, "does not answer on the bus"),
        (|model| model.state().reset_hangs = true, "does not answer"),
        (|model| model.state().features &= !(1 << 32), "older than virtio 1.0"),
        (|model| model.state().features |= 1 << 1, "limits the bytes"),
        (|model| model.state().refuses_features = true, "does not take the features"),
        (|model| model.state().set_own(5, 100), "its blocks"),
        (|model| model.state().set_own(5, 8192), "its blocks"),
        (|model| model.state().own[..8].fill(0), "its size"),
        (|model| model.state().queues[0].most = 3, "a queue's size"),
        (|model| model.state().drops = 100, "does not answer a request"),
    ];
    for (prepare, why) in cases {
        let kernel = TestKernel::new(1);
        let model = Model::new(&kernel, 1 << 16, 1);
        model.state().status = 0;
        if why == "does not answer" {
            model.state().status = 1;
        }
        prepare(&model);
        let error = try_start(&kernel, &model, true).err().unwrap();
        assert!(error.to_string().contains(why) || why == "does not answer", "{error}, not {why}");
        kernel.pass(5 * SECOND, || model.step());
        assert_eq!((kernel.pages_taken(), kernel.vectors_taken()), (0, 0), "{why}");
    }
}

#[test]
fn a_request_fails_as_its_status_says() {
    let rig = Rig::new(|model| {
        model.state().bad.extend([(1, 1), (2, 2), (3, 77), (u64::MAX, 1)]);
    });
    assert_eq!(rig.read(1, 1), Err(BlockError::UnrecoveredRead));
    assert_eq!(rig.write(WRITE, 1, &[0; 512]), Err(BlockError::WriteFault));
    assert_eq!(rig.read(2, 1), Err(BlockError::Unsupported));
    assert_eq!(rig.read(3, 1), Err(BlockError::Device(77)));
    assert_eq!(rig.ask(Operation::Flush, 0, 0, &[]), Err(BlockError::WriteFault));
    assert_eq!(rig.read(4, 1).unwrap(), [0; 512]);
}

#[test]
fn a_request_that_is_lost_costs_a_reset_and_the_disk_goes_on() {
    let rig = Rig::new(|_| {});
    rig.model.state().drops = 1;
    let start = rig.kernel.now();
    assert_eq!(rig.read(0, 1), Err(BlockError::TimedOut));
    assert!(rig.kernel.now() - start < 40 * SECOND);
    assert_eq!(rig.model.state().resets, 2);
    assert_eq!(rig.read(0, 1).unwrap(), [0; 512]);
    rig.model.state().drops = u32::MAX;
    for _ in 0..4 {
        assert!(rig.read(0, 1).is_err());
    }
    assert!(!rig.disk.is_present());
    assert_eq!(rig.read(0, 1), Err(BlockError::Removed));
}

#[test]
fn requests_that_were_not_given_are_noticed_and_end_nothing() {
    let rig = Rig::new(|_| {});
    rig.model.state().strangers = 5;
    let data = pattern(512, 9);
    assert_eq!(rig.write(WRITE, 7, &data), Ok(()));
    assert_eq!(rig.read(7, 1).unwrap(), data);
    rig.model.state().strangers = 1000;
    assert_eq!(rig.read(7, 1), Err(BlockError::TimedOut));
    rig.model.state().strangers = 0;
    assert_eq!(rig.read(7, 1).unwrap(), data);
}

#[test]
fn a_device_that_asks_for_a_reset_gets_it() {
    let rig = Rig::new(|_| {});
    rig.model.state().status |= 64;
    let _ = rig.read(7, 1);
    assert_eq!(rig.model.state().resets, 2);
    assert_eq!(rig.read(7, 1).unwrap(), [0; 512]);
}

#[test]
fn a_device_whose_reset_hangs_loses_its_way_to_memory_first() {
    let rig = Rig::new(|_| {});
    rig.model.state().reset_hangs = true;
    rig.model.state().drops = 1;
    assert_eq!(rig.read(0, 1), Err(BlockError::TimedOut));
    assert!(rig.model.state().dma_stopped && !rig.disk.is_present());
}

#[test]
fn a_device_that_is_gone_fails_all_requests() {
    for told_by_bus in [false, true] {
        let rig = Rig::new(|_| {});
        let told = Arc::new(Told::default());
        let memory = rig.memory(512);
        for tag in 0..100 {
            let segments = [Segment { address: memory.address(), bytes: 512 }];
            let done = Done { to: told.clone(), tag };
            rig.disk.submit(Request { operation: WRITE, block: tag, blocks: 1, segments: &segments, done });
        }
        rig.disk.start();
        rig.model.step();
        rig.model.state().gone = true;
        if told_by_bus {
            rig.controller.removed();
        }
        rig.run(|| told.results.lock().len() == 100);
        assert!(told.results.lock().iter().all(|(_, result)| *result == Err(BlockError::Removed)));
        assert!(rig.model.state().dma_stopped && !rig.disk.is_present());
    }
}

#[test]
fn a_used_index_that_jumps_is_survived() {
    let rig = Rig::new(|_| {});
    for jump in [200, 40_000, 65_535] {
        let told = Arc::new(Told::default());
        let memory = rig.memory(512);
        let segments = [Segment { address: memory.address(), bytes: 512 }];
        let done = Done { to: told.clone(), tag: 0 };
        rig.disk.submit(Request { operation: WRITE, block: 0, blocks: 1, segments: &segments, done });
        rig.disk.start();
        for _ in 0..jump % 300 {
            rig.model.state().give_back(&rig.kernel, 0, &[(jump, 0)]);
        }
        rig.run(|| told.results.lock().len() == 1);
        assert!(rig.read(0, 1).is_ok() || rig.read(0, 1).is_ok());
    }
}
