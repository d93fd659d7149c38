//! Disks that come and go, and HBAs that do.
use super::*;

#[test]
fn a_disk_that_is_pulled_fails_its_requests_and_another_is_a_new_device() {
    let rig = Rig::new(ModelDisk::new("S1", 1000));
    let told = Arc::new(Told::default());
    for tag in 0..50 {
        rig.submit(&told, tag, WRITE, tag, 1, &rig.memory(512));
    }
    rig.disk(0).start();
    rig.model.step();
    rig.model.unplug(0);
    rig.run(|| told.results.lock().len() == 50);
    assert!(told.results().iter().all(|(_, result)| *result == Err(BlockError::Removed)));
    assert!(!rig.disk(0).is_present());
    assert_eq!(rig.read(0, 1), Err(BlockError::Removed));
    assert_eq!(rig.controller.disks().len(), 0);
    rig.pass(10 * SECOND);
    rig.model.plug(0, ModelDisk::new("S2", 2000));
    rig.run(|| rig.found.lock().len() == 2);
    let disk = rig.disk(1);
    assert_eq!((&*disk.identity().name, &*disk.identity().serial), ("sata10", "S2"));
    assert!(disk.is_present() && !rig.disk(0).is_present());
}

#[test]
fn the_same_disk_that_is_back_soon_goes_on_and_another_does_not_get_its_writes() {
    for same in [true, false] {
        let rig = Rig::new(ModelDisk::new("S1", 1000));
        let told = Arc::new(Told::default());
        for tag in 0..50 {
            let memory = rig.memory(512);
            memory.copy_in(0, &[tag as u8 + 1; 512]);
            rig.submit(&told, tag, WRITE, tag, 1, &memory);
        }
        rig.disk(0).start();
        (0..20).for_each(|_| _ = rig.model.step());
        let disk = rig.model.unplug(0);
        let other = ModelDisk::new("S2", 1000);
        rig.model.plug(0, if same { disk } else { other });
        rig.run(|| told.results.lock().len() == 50);
        let written = rig.model.disk(0, |disk| disk.data.len());
        if same {
            assert!(told.results().iter().all(|(_, result)| result.is_ok()));
            assert_eq!((written, rig.found.lock().len()), (50, 1));
        } else {
            rig.run(|| rig.found.lock().len() == 2);
            assert!(told.results().iter().any(|(_, result)| *result == Err(BlockError::Removed)));
            assert_eq!(written, 0);
        }
    }
}

#[test]
fn a_disk_in_an_empty_port_is_noticed_without_an_interrupt_too() {
    let rig = Rig::with(std::vec![None, None], |_| {});
    rig.model.plug(1, ModelDisk::new("first", 100));
    rig.run(|| rig.found.lock().len() == 1);
    rig.model.state().ports[0].disk = Some(ModelDisk::new("second", 100));
    rig.run(|| rig.found.lock().len() == 2);
    assert_eq!(rig.disk(1).identity().serial, "second");
    assert_eq!(rig.controller.disks().len(), 2);
}

#[test]
fn a_link_that_bounces_for_ever_ends_in_errors() {
    let rig = Rig::new(ModelDisk::new("S1", 1000));
    let told = Arc::new(Told::default());
    rig.submit(&told, 0, WRITE, 0, 1, &rig.memory(512));
    rig.disk(0).start();
    for _ in 0..1000 {
        let disk = rig.model.unplug(0);
        rig.model.plug(0, disk);
        rig.pass(SECOND / 1000 * 7);
        if !told.results().is_empty() {
            break;
        }
        rig.model.port(0, |port| port.drops = 1);
    }
    rig.model.port(0, |port| port.drops = u32::MAX);
    rig.run(|| !told.results.lock().is_empty());
}

#[test]
fn an_hba_that_is_gone_fails_all_requests_and_ends() {
    let rig = Rig::with(std::vec![Some(ModelDisk::new("a", 1000)), Some(ModelDisk::new("b", 1000))], |_| {});
    let told = Arc::new(Told::default());
    for tag in 0..50 {
        rig.submit(&told, tag, WRITE, tag, 1, &rig.memory(512));
    }
    rig.disk(0).start();
    rig.model.step();
    rig.model.state().gone = true;
    rig.run(|| told.results.lock().len() == 50);
    assert!(told.results().iter().all(|(_, result)| *result == Err(BlockError::Removed)));
    assert!(rig.model.state().dma_stopped, "before memory was let go of");
    assert!(!rig.controller.is_present() && !rig.disk(1).is_present());
    let (controller, model) = (rig.controller.clone(), rig.model.clone());
    rig.kernel.block_on(move || model.step(), async move { controller.ended().await });
}

#[test]
fn the_bus_can_say_that_it_is_gone() {
    let rig = Rig::new(ModelDisk::new("a", 1000));
    rig.controller.removed();
    rig.run(|| !rig.disk(0).is_present());
    assert_eq!(rig.write(WRITE, 0, &[0; 512]), Err(BlockError::Removed));
}
