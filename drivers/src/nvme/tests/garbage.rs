//! A controller that answers noise: no panic, no hang, no request that nobody is told of.
use super::*;

/// Flips bits of the pages that the controller tells by.
fn damage(rig: &Rig, random: &mut Random) {
    let mut state = rig.model.state.lock();
    let state = &mut *state;
    let pages = [&mut state.controller, &mut state.nvm, &mut state.active]
        .into_iter()
        .chain(state.disks.values_mut().map(|disk| &mut disk.identify));
    for page in pages {
        match random.below(6) {
            0..3 => {}
            3 => page.iter_mut().for_each(|b| *b = random.next() as u8),
            4 => page.fill(0xff),
            _ => {
                for _ in 0..random.below(64) {
                    let at = random.below(640) as usize;
                    page[at] = random.next() as u8;
                }
            }
        }
    }
    // The model itself holds a driver to what it says here.
    state.controller[77] = 5;
}

#[test]
fn identify_data_of_noise_gives_an_error_or_a_drive_that_works() {
    let mut random = Random(0xdead_beef_0bad_cafe);
    let (mut started, mut used) = (0, 0);
    for _ in 0..60 {
        let rig = Rig::new(2);
        rig.model.add_namespace(2, 12);
        damage(&rig, &mut random);
        let drive = rig.try_start(Limits { retries: 1, ..Limits::default() });
        let Ok(drive) = drive else { continue };
        started += 1;
        let memory = rig.memory(8192);
        for disk in drive.namespaces() {
            used += 1;
            let last = disk.geometry().blocks - 1;
            let size = disk.geometry().block_size;
            for block in [0, last / 2, last] {
                let _ = rig.ask(&*disk, Operation::Read, block, 1, &[part(&memory, 4, size)]);
                let _ = rig.ask(&*disk, Operation::WriteZeroes { deallocate: true }, block, 1, &[]);
                let _ = rig.ask(&*disk, Operation::Discard, block, 1, &[]);
            }
        }
        drop(memory);
        rig.end(drive);
    }
    assert!(started > 10 && used > 10, "{started} and {used}: the damage is not all there is");
}

#[test]
fn registers_of_noise_end_in_an_error_within_their_time() {
    let mut random = Random(0x0dd0_5eed);
    for round in 0..60u64 {
        let rig = Rig::new(1);
        let mut noise = Random(random.next());
        if round % 2 == 0 {
            rig.model.state.lock().cap = random.next() | u64::from(round % 4 == 0) << 37;
        }
        rig.model.state.lock().noise = Some(Box::new(move || match noise.below(8) {
            0 => u64::MAX,
            1..5 => noise.below(2),
            _ => noise.next(),
        }));
        let before = rig.kernel.now();
        let result = rig.try_start(Limits::default());
        assert!(rig.kernel.now() - before < 36_000_000_000_000, "CRTO and CAP.TO are bounded");
        if let Ok(drive) = result {
            rig.model.state.lock().gone = true;
            drive.removed();
            drop(drive);
        }
        rig.settle();
        assert_eq!((rig.kernel.pages_taken(), rig.kernel.vectors_taken()), (0, 0));
    }
}

#[test]
fn a_drive_that_turns_to_noise_completes_every_request_once() {
    let mut random = Random(0xfeed_5eed_1234);
    for round in 0..36 {
        let rig = Rig::new(2);
        rig.model.state.lock().controller[536] = (round % 3) as u8;
        let drive = rig.try_start(Limits { depth: 15, ..Limits::default() }).ok().unwrap();
        let disk = drive.namespaces().remove(0);
        let memory = rig.memory(256 << 10);
        let mut noise = Random(random.next());
        // Completions of any kind, of the admin queue, too.
        rig.decide(move |seen| match noise.below(if seen.is_io() { 7 } else { 20 }) {
            0 => Fate::Fail(noise.next() as u16 & 0x7fff),
            1 => Fate::ExecuteAndFail(noise.next() as u16 & 0x7fff),
            2 => Fate::Lose,
            3 => Fate::Twice,
            4 => Fate::Garbled {
                cid: noise.next() as u16,
                queue: noise.below(3) as u16,
                head: noise.below(40) as u16,
            },
            5 => Fate::Hang,
            _ => Fate::Execute,
        });
        if round % 4 == 0 {
            damage(&rig, &mut random);
        }
        let told = Arc::new(Told::default());
        for i in 0..100 {
            let blocks = 1 + random.below(256);
            let segments = [part(&memory, random.below(1024), blocks as u32 * 512)];
            rig.kernel.on_cpu(i as usize % 2, || {
                submit(&*disk, &told, i, Operation::Read, random.below(4096), blocks, &segments);
                disk.start();
            });
            if i == 50 && round % 3 == 0 {
                rig.pass(random.below(3));
                let mut noise = Random(random.next());
                rig.model.state.lock().noise = Some(Box::new(move || noise.next()));
            }
        }
        rig.run(|| told.count() >= 100);
        rig.pass(300);
        let mut tags: Vec<u64> = told.0.lock().iter().map(|t| t.0).collect();
        tags.sort();
        assert!(tags.into_iter().eq(0..100), "each exactly once");
        drop((disk, memory));
        drive.removed();
        drop(drive);
        rig.settle();
        assert_eq!((rig.kernel.pages_taken(), rig.kernel.vectors_taken()), (0, 0));
    }
}
