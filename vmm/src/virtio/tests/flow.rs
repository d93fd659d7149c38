//! Requests under way: notifications and interrupts saved, resets that wait, several queues and CPUs.
use super::rig::Rig;
use crate::platform::BoardEvent;
use crate::virtio::{Feature, Status};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use std::vec::Vec;

const EVENT_FORMATS: [u64; 2] = [Feature::EVENT_IDX, Feature::EVENT_IDX | Feature::RING_PACKED];

/// Kicks if the device wants it.
fn kick_if(rig: &Rig, wanted: bool, kicks: &mut u32) {
    if wanted {
        *kicks += 1;
        rig.kick(0);
    }
}

#[test]
fn one_kick_submits_all_and_starts_the_disk_once() {
    let mut rig = Rig::new();
    let mut ring = rig.start(Feature::INDIRECT_DESC);
    rig.disk.holds.store(true, Ordering::SeqCst);
    for i in 0..32 {
        let (_, pieces) = rig.request(0, i * 8, 512);
        ring.add(&pieces);
    }
    rig.kick(0);
    assert_eq!((rig.disk.held(), rig.disk.starts.load(Ordering::SeqCst), rig.board.in_flight()), (32, 1, 32));
    rig.kick(0);
    assert_eq!(rig.disk.starts.load(Ordering::SeqCst), 1, "nothing new to start");
}

#[test]
fn a_guest_that_keeps_the_disk_busy_need_not_kick() {
    for features in EVENT_FORMATS.into_iter().chain([0, Feature::RING_PACKED]) {
        let mut rig = Rig::new();
        let mut ring = rig.start(features | Feature::INDIRECT_DESC);
        rig.disk.holds.store(true, Ordering::SeqCst);
        let mut kicks = 0;
        let mut done = 0;
        for _ in 0..500 {
            while ring.room() > 32 {
                let (_, pieces) = rig.request(0, 0, 512);
                rig.next_to(0x20_0000);
                let (_, wanted) = ring.add(&pieces);
                kick_if(&rig, wanted, &mut kicks);
            }
            // Completions, in any order, find the new ones.
            let held = rig.disk.held();
            rig.disk.finish(held / 2);
            while ring.used().is_some() {
                done += 1;
            }
        }
        assert_eq!(done, 500);
        assert!(kicks <= 4, "{features:#x}: {kicks} kicks");
        // To the end: nobody is forgotten.
        while rig.disk.held() > 0 {
            rig.disk.finish(0);
        }
        while ring.used().is_some() {
            done += 1;
        }
        assert_eq!((rig.board.in_flight(), ring.room(), done), (0, 64, 531));
        // And the guest is listened to again.
        let (_, pieces) = rig.request(0, 0, 512);
        assert!(ring.add(&pieces).1);
    }
}

#[test]
fn a_slow_flush_does_not_make_the_guests_reads_wait() {
    let mut rig = Rig::with(1, 64, |g| g.features.volatile_cache = true);
    let mut ring = rig.start(Feature::EVENT_IDX | 1 << 9);
    rig.disk.holds.store(true, Ordering::SeqCst);
    for _ in 0..8 {
        let (_, pieces) = rig.request(4, 0, 0);
        assert!(ring.add(&pieces).1, "a kick is wanted");
        rig.kick(0);
    }
    let (_, pieces) = rig.request(0, 0, 512);
    assert!(ring.add(&pieces).1);
    rig.kick(0);
    assert_eq!(rig.disk.held(), 9);
}

#[test]
fn several_completions_are_one_interrupt_until_the_guest_has_looked() {
    for features in EVENT_FORMATS {
        let mut rig = Rig::new();
        let mut ring = rig.start(features | Feature::INDIRECT_DESC);
        rig.disk.holds.store(true, Ordering::SeqCst);
        ring.enable_interrupts();
        for round in 0..40 {
            for _ in 0..16 {
                let (_, pieces) = rig.request(0, 0, 512);
                ring.add(&pieces);
            }
            rig.kick(0);
            let mut interrupts = 0;
            for _ in 0..16 {
                rig.disk.finish(0);
                interrupts += u32::from(rig.interrupt(1).is_some());
            }
            assert_eq!(interrupts, 1, "{features:#x} round {round}");
            while ring.used().is_some() {}
            ring.enable_interrupts();
            rig.next_to(0x20_0000);
        }
    }
}

#[test]
fn a_guest_that_polls_gets_no_interrupt() {
    for features in [0, Feature::RING_PACKED, Feature::RING_PACKED | Feature::EVENT_IDX] {
        let mut rig = Rig::new();
        let mut ring = rig.start(features);
        ring.disable_interrupts();
        for _ in 0..100 {
            let (_, pieces) = rig.request(0, 0, 512);
            ring.add(&pieces);
            rig.kick(0);
            assert!(ring.used().is_some() && rig.interrupt(1).is_none());
            rig.next_to(0x20_0000);
        }
        ring.enable_interrupts();
        let (_, pieces) = rig.request(0, 0, 512);
        ring.add(&pieces);
        rig.kick(0);
        assert_eq!(rig.interrupt(1), Some(0x61));
    }
}

#[test]
fn a_reset_waits_for_what_is_under_way_and_nothing_is_written_afterwards() {
    for features in [0, Feature::RING_PACKED] {
        let mut rig = Rig::new();
        let mut ring = rig.start(features);
        rig.disk.holds.store(true, Ordering::SeqCst);
        let requests: Vec<u64> = (0..3)
            .map(|_| {
                let (at, pieces) = rig.request(0, 0, 512);
                ring.add(&pieces);
                at
            })
            .collect();
        rig.kick(0);
        rig.set_status(0);
        assert_ne!(rig.status(), 0, "two are under way");
        rig.set_status(Status::ACKNOWLEDGE);
        rig.write(rig.common, 0x1c, 2, 1);
        rig.disk.finish(1);
        rig.disk.finish(0);
        assert_ne!(rig.status(), 0);
        rig.disk.finish(0);
        assert_eq!(rig.status(), 0);
        assert_eq!((ring.used(), rig.interrupt(1)), (None, None));
        assert!(requests.iter().all(|&at| rig.result(at) == 0xff), "no status was written");
        // It works again.
        rig.disk.holds.store(false, Ordering::SeqCst);
        let mut ring = rig.start(features);
        let (at, pieces) = rig.request(0, 0, 512);
        ring.add(&pieces);
        rig.kick(0);
        assert_eq!((ring.used().is_some(), rig.result(at)), (true, 0));
    }
}

#[test]
fn the_guests_memory_is_kept_until_the_last_request_is_done() {
    let mut rig = Rig::new();
    let mut ring = rig.start(0);
    rig.disk.holds.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        let (_, pieces) = rig.request(0, 0, 512);
        ring.add(&pieces);
    }
    rig.kick(0);
    let told = Arc::new(AtomicUsize::new(0));
    let count = told.clone();
    rig.board.stop(Arc::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
    }));
    // What comes now is not taken.
    let (_, pieces) = rig.request(0, 0, 512);
    ring.add(&pieces);
    rig.kick(0);
    assert_eq!((rig.disk.held(), rig.board.in_flight()), (2, 2));
    let Rig { board, disk, released, memory, .. } = rig;
    disk.finish(0);
    assert_eq!((board.in_flight(), told.load(Ordering::SeqCst)), (1, 0));
    drop(board);
    assert!(!released.load(Ordering::SeqCst), "the driver has a request of it");
    disk.finish(0);
    assert_eq!(told.load(Ordering::SeqCst), 1);
    assert!(released.load(Ordering::SeqCst));
    drop((ring, memory));
}

#[test]
fn once_stopped_no_cpu_submits_anything() {
    for _ in 0..100 {
        let mut rig = Rig::new();
        let mut ring = rig.start(Feature::INDIRECT_DESC);
        rig.disk.holds.store(true, Ordering::SeqCst);
        let (_, pieces) = rig.request(0, 0, 512);
        for _ in 0..64 {
            ring.add(&pieces);
        }
        let (port, _) = rig.address(0, 0);
        let (board, disk) = (&rig.board, &rig.disk);
        std::thread::scope(|scope| {
            let kicks = scope.spawn(move || {
                (0..20).for_each(|_| {
                    let event = board.port_write(port as u16, 2, 0, 0);
                    assert!(matches!(event, None | Some(BoardEvent::AwaitsOne)), "{event:?}");
                })
            });
            board.stop(Arc::new(|| ()));
            let held = disk.held();
            kicks.join().unwrap();
            assert_eq!(disk.held(), held);
        });
    }
}

#[test]
fn a_machine_that_is_reset_under_load_comes_up_again() {
    let mut rig = Rig::new();
    let mut ring = rig.start(Feature::EVENT_IDX);
    rig.disk.holds.store(true, Ordering::SeqCst);
    let (_, pieces) = rig.request(0, 0, 512);
    ring.add(&pieces);
    rig.kick(0);
    rig.board.reset(0);
    rig.disk.finish(0);
    rig.disk.holds.store(false, Ordering::SeqCst);
    for apic in &mut rig.apics {
        apic.mmio_write(0xf0, 4, 0x1ff, 0);
    }
    rig.probe();
    let mut ring = rig.start(Feature::EVENT_IDX);
    let (at, pieces) = rig.request(0, 0, 512);
    ring.add(&pieces);
    rig.kick(0);
    assert_eq!((ring.used().is_some(), rig.result(at)), (true, 0));
}

#[test]
fn each_queue_has_its_ring_and_its_vector() {
    let mut rig = Rig::with(4, 32, |_| {});
    assert!(rig.negotiate(Feature::VERSION_1 | 1 << 12));
    rig.enable_msix();
    for queue in 0..4u64 {
        rig.route(queue, queue & 1, 0x70 + queue);
    }
    let mut rings: Vec<_> = (0..4).map(|queue| rig.open(queue, 8, 0, queue)).collect();
    rig.set_status(0xf);
    for (queue, ring) in rings.iter_mut().enumerate() {
        let (at, pieces) = rig.request(0, 0, 512);
        ring.add(&pieces);
        rig.kick(3 - queue as u16);
        assert!(queue >= 2 || ring.used().is_none(), "another queue's kick");
        rig.kick(queue as u16);
        assert!(queue >= 2 || (ring.used().is_some() && rig.result(at) == 0));
    }
    let vectors: Vec<_> = [0, 1, 0, 1].into_iter().map(|vcpu| rig.interrupt(vcpu)).collect();
    assert!(vectors.iter().all(Option::is_some), "{vectors:x?}");
    rig.kick(4);
    rig.kick(0xffff);
    assert_eq!(rig.status(), 0xf);
}

#[test]
fn work_that_was_put_off_goes_on_with_the_boards_timers() {
    let mut rig = Rig::with(1, 1024, |_| {});
    let mut ring = rig.start(Feature::INDIRECT_DESC);
    // Each moves a megabyte while it is submitted.
    for _ in 0..40 {
        let (_, mut pieces) = rig.request(0, 0, 512);
        pieces[1] = (0x40_0000, 1 << 20, true);
        ring.add(&pieces);
    }
    let mut done = 0;
    rig.kick(0);
    let mut rounds = 0;
    loop {
        let before = done;
        while ring.used().is_some() {
            done += 1;
        }
        assert!(done - before < 20, "{} at once", done - before);
        if rig.board.next_deadline().is_none() {
            break;
        }
        rounds += 1;
        rig.board.expire(0);
    }
    assert!(done == 40 && rounds > 1, "{done} in {rounds}");
}

#[test]
fn cpus_that_kick_and_complete_at_once_lose_nothing() {
    for features in [0, Feature::EVENT_IDX, Feature::RING_PACKED | Feature::EVENT_IDX] {
        let mut rig = Rig::new();
        let mut ring = rig.start(features | Feature::INDIRECT_DESC);
        rig.disk.holds.store(true, Ordering::SeqCst);
        let (_, pieces) = rig.request(0, 0, 512);
        let disk = rig.disk.clone();
        let total = 20_000;
        let finished = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while finished.load(Ordering::SeqCst) < total {
                        if disk.finish_any() {
                            finished.fetch_add(1, Ordering::SeqCst);
                        } else {
                            std::thread::yield_now();
                        }
                    }
                });
            }
            let (mut added, mut used) = (0, 0);
            let mut idle = Instant::now();
            while used < total {
                if added < total && ring.room() > 0 {
                    added += 1;
                    if ring.add(&pieces).1 {
                        rig.kick(0);
                    }
                }
                let before = used;
                while ring.used().is_some() {
                    used += 1;
                }
                // What a CPU put off because it had served so much at once.
                if rig.board.next_deadline().is_some() {
                    rig.board.expire(0);
                }
                if used > before {
                    idle = Instant::now();
                } else {
                    std::thread::yield_now();
                }
                // Other programs may have the CPUs for a while.
                if idle.elapsed().as_secs() > 20 {
                    finished.store(total, Ordering::SeqCst);
                    panic!("{features:#x}: stuck at {used} of {added}, {} under way", rig.board.in_flight());
                }
            }
        });
        assert_eq!(rig.board.in_flight(), 0);
    }
}

#[test]
fn a_kick_tells_that_one_request_is_awaited_where_it_is_the_only_one() {
    let mut rig = Rig::new();
    let mut ring = rig.start(Feature::INDIRECT_DESC);
    rig.disk.holds.store(true, Ordering::SeqCst);
    let (port, _) = rig.address(0, 0);
    let mut kick = |requests| {
        for _ in 0..requests {
            let (_, pieces) = rig.request(0, 0, 512);
            ring.add(&pieces);
        }
        let event = rig.board.port_write(port as u16, 2, 0, 0);
        while rig.disk.held() > 0 {
            rig.disk.finish(0);
        }
        event
    };
    assert_eq!(
        [kick(0), kick(1), kick(2), kick(1)],
        [None, Some(BoardEvent::AwaitsOne), None, Some(BoardEvent::AwaitsOne)]
    );
}

/// Nanoseconds between two looks.
const PACE: u64 = 1_000_000;

/// A vCPU looks each [`PACE`] while its guest makes `requests` between two looks and kicks where it is wanted. How
/// often it was, in the second half of so many `rounds`.
fn kicks_of_a_guest_that_is_looked_at(features: u64, requests: u64, rounds: u64) -> u32 {
    let mut rig = Rig::new();
    let mut ring = rig.start(features | Feature::INDIRECT_DESC);
    ring.enable_interrupts();
    let (mut kicks, mut looks, mut done) = (0, false, 0);
    for round in 0..rounds {
        for _ in 0..requests {
            let (_, pieces) = rig.request(0, 0, 512);
            rig.next_to(0x20_0000);
            let (_, wanted) = ring.add(&pieces);
            kick_if(&rig, wanted, &mut kicks);
        }
        if round == rounds / 2 {
            kicks = 0;
        }
        looks = rig.board.look(round * PACE, PACE);
        while ring.used().is_some() {
            done += 1;
        }
    }
    // The guest rests: what it made last is done, and from now on it kicks.
    let (_, pieces) = rig.request(0, 0, 512);
    let (_, wanted) = ring.add(&pieces);
    assert_ne!(wanted, looks);
    rig.board.rest();
    kick_if(&rig, wanted, &mut 0);
    while ring.used().is_some() {
        done += 1;
    }
    assert_eq!((done, rig.board.in_flight()), (rounds * requests + 1, 0));
    let (_, pieces) = rig.request(0, 0, 512);
    assert!(ring.add(&pieces).1);
    kicks
}

#[test]
fn a_guest_with_many_requests_is_looked_at_and_need_not_kick() {
    for features in EVENT_FORMATS.into_iter().chain([0, Feature::RING_PACKED]) {
        assert_eq!(kicks_of_a_guest_that_is_looked_at(features, 8, 400), 0, "{features:#x}");
    }
}

#[test]
fn a_guest_with_one_request_at_a_time_or_few_kicks() {
    for features in EVENT_FORMATS {
        assert!(kicks_of_a_guest_that_is_looked_at(features, 1, 400) > 150, "{features:#x}");
    }
}

#[test]
fn a_look_at_a_queue_that_is_off_or_broken_does_nothing() {
    let rig = Rig::new();
    for now in 0..100 {
        assert!(!rig.board.look(now * PACE, PACE));
    }
    rig.board.rest();
    assert_eq!(rig.board.in_flight(), 0);
}
