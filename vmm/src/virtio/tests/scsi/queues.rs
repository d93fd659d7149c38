//! Several queues, many commands at once, and resets meanwhile.
use super::{ANSWER, Data, GOOD, Host, OK, machine, on_blocks};
use crate::virtio::{Feature, Status};
use std::sync::atomic::Ordering;
use std::time::Instant;
use std::vec::Vec;

#[test]
fn each_request_queue_has_its_ring_and_its_vector() {
    let mut rig = machine(3, 64, |_| {});
    assert!(rig.negotiate(Feature::VERSION_1));
    rig.enable_msix();
    for queue in 0..5u64 {
        rig.route(queue, queue & 1, 0x70 + queue);
    }
    let control = rig.open(0, 8, 0, 0);
    let mut rings: Vec<_> = (2..5).map(|queue| rig.open(queue, 8, 0, queue)).collect();
    rig.set_status(0xf);
    let mut host = Host { ring: rings.remove(0), rig, control, id: 0 };
    host.ask(0, &[0; 6], Data::None).why();
    while host.rig.interrupt(0).is_some() {}
    for (queue, ring) in (3..).zip(&mut rings) {
        let (at, pieces) = host.place(0, &on_blocks(0x88, 0, 0, 1), Data::In(512));
        ring.add(&pieces);
        host.rig.kick(2);
        assert_eq!(ring.used(), None, "another queue's kick");
        host.rig.kick(queue);
        let (_, used) = ring.used().unwrap();
        host.answer(at, used, Data::In(512)).good();
        assert_eq!(host.rig.interrupt(usize::from(queue & 1)), Some(0x70 + queue as u8));
    }
    for queue in [1, 5, 0xffff] {
        host.rig.kick(queue);
    }
    assert_eq!(host.rig.status(), 0xf);
}

#[test]
fn one_kick_submits_all_and_starts_each_disk_once() {
    let mut host = Host::with(Feature::INDIRECT_DESC, |_| {});
    host.rig.disk.holds.store(true, Ordering::SeqCst);
    for i in 0..16 {
        let (_, pieces) = host.place(0, &on_blocks(0x88, 0, i, 1), Data::In(512));
        host.ring.add(&pieces);
    }
    host.rig.kick(2);
    let starts = || host.rig.disk.starts.load(Ordering::SeqCst);
    assert_eq!((host.rig.disk.held(), starts(), host.rig.board.in_flight()), (16, 1, 16));
    // What no disk is needed for starts none.
    host.rig.disk.holds.store(false, Ordering::SeqCst);
    let (_, pieces) = host.place(1, &[0; 6], Data::None);
    host.ring.add(&pieces);
    host.rig.kick(2);
    assert_eq!(host.rig.disk.starts.load(Ordering::SeqCst), 1);
}

#[test]
fn a_guest_that_keeps_the_disk_busy_need_not_kick() {
    let mut host = Host::with(Feature::EVENT_IDX | Feature::INDIRECT_DESC, |_| {});
    host.rig.disk.holds.store(true, Ordering::SeqCst);
    let (_, pieces) = host.place(0, &on_blocks(0x88, 0, 0, 1), Data::In(512));
    let (mut kicks, mut done) = (0, 0);
    for _ in 0..500 {
        while host.ring.room() > 32 {
            if host.ring.add(&pieces).1 {
                kicks += 1;
                host.rig.kick(2);
            }
        }
        host.rig.disk.finish(host.rig.disk.held() / 2);
        while host.ring.used().is_some() {
            done += 1;
        }
    }
    assert_eq!(done, 500);
    assert!(kicks <= 4, "{kicks} kicks");
}

#[test]
fn a_reset_waits_for_what_is_under_way_and_nothing_is_written_afterwards() {
    let mut host = Host::with(0, |g| g.features.volatile_cache = true);
    host.rig.disk.holds.store(true, Ordering::SeqCst);
    while host.rig.interrupt(1).is_some() {}
    // The second goes on with a flush.
    let places = [0, 8].map(|fua| host.begin(0, &on_blocks(0x88, fua, 0, 1), Data::In(512)));
    host.rig.set_status(0);
    host.rig.disk.finish(0);
    host.rig.disk.finish(0);
    assert_ne!(host.rig.status(), 0, "the flush is under way");
    host.rig.disk.finish(0);
    assert_eq!((host.rig.status(), host.ring.used(), host.rig.interrupt(1)), (0, None, None));
    for at in places {
        assert_eq!(host.rig.bytes(at + 4096, ANSWER as usize), [0xee; ANSWER as usize]);
    }
    host.rig.disk.holds.store(false, Ordering::SeqCst);
    host.restart(Feature::RING_PACKED);
    host.ask(0, &[0; 6], Data::None).why();
    host.ask(0, &on_blocks(0x88, 0, 0, 1), Data::In(512)).good();
}

#[test]
fn the_guests_memory_is_kept_until_the_last_command_is_done() {
    let mut host = Host::new();
    host.rig.disk.holds.store(true, Ordering::SeqCst);
    host.begin(0, &on_blocks(0x88, 0, 0, 1), Data::In(512));
    host.begin_function(0, [1, 0, 0, 0, 0, 0, 0, 0], host.last_id());
    host.rig.board.stop(std::sync::Arc::new(|| ()));
    let Host { rig, .. } = host;
    let crate::virtio::tests::rig::Rig { board, disk, released, memory, .. } = rig;
    drop(board);
    assert!(!released.load(Ordering::SeqCst));
    disk.finish(0);
    assert!(released.load(Ordering::SeqCst));
    drop(memory);
}

#[test]
fn cpus_that_ask_abort_and_complete_at_once_lose_nothing() {
    let mut host = Host::with(Feature::EVENT_IDX | Feature::INDIRECT_DESC, |_| {});
    host.rig.disk.holds.store(true, Ordering::SeqCst);
    let (at, pieces) = host.place(0, &on_blocks(0x88, 0, 0, 1), Data::In(512));
    let disk = host.rig.disk.clone();
    let total = 5_000;
    let finished = std::sync::atomic::AtomicUsize::new(0);
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
        let (mut added, mut used, mut functions) = (0, 0, 0);
        let mut waits = None;
        let mut idle = Instant::now();
        while used < total {
            if added < total && host.ring.room() > 0 {
                added += 1;
                if host.ring.add(&pieces).1 {
                    host.rig.kick(2);
                }
            }
            match waits {
                None if added % 16 == 0 => {
                    host.rig.next_to(0x40_0000);
                    waits = Some((host.begin_function(1, [1, 0, 0, 0, 0, 0, 0, 0], 0), added));
                }
                None => {}
                Some((function, before)) => {
                    if let Some(response) = host.end_function(function) {
                        assert_eq!(response, OK);
                        functions += 1;
                        waits = None;
                        // All that was there before is answered before.
                        while host.ring.used().is_some() {
                            used += 1;
                        }
                        assert!(used >= before, "{used} of {before}");
                    }
                }
            }
            let now = used;
            while host.ring.used().is_some() {
                used += 1;
            }
            if host.rig.board.next_deadline().is_some() {
                host.rig.board.expire(0);
            }
            if used > now {
                idle = Instant::now();
            } else {
                std::thread::yield_now();
            }
            if idle.elapsed().as_secs() > 20 {
                finished.store(total, Ordering::SeqCst);
                panic!("stuck at {used} of {added}, {} under way", host.rig.board.in_flight());
            }
        }
        assert!(functions > 10, "{functions}");
    });
    assert_eq!((host.rig.board.in_flight(), host.rig.status() & Status::NEEDS_RESET), (0, 0));
    assert_eq!(host.rig.bytes(at + 4096 + 10, 2), [GOOD, OK]);
}
