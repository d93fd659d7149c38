//! Several CPUs at once.
use super::random::Random;
use super::*;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

const SENDERS: u64 = 4;
const FRAMES: u64 = 4000;

/// Sends all of one sender's frames, each as soon as there is room, and returns how many were accepted.
fn send_all(rig: &Rig, sender: u64, told: &Arc<Told>) -> Vec<u64> {
    let mut random = Random::new(sender);
    let mut accepted = Vec::new();
    for count in 0..FRAMES {
        let priority = random.pick(&Priority::ALL);
        let number = sender << 60 | (priority as u64) << 56 | count;
        loop {
            match rig.send(priority, number, told) {
                Ok(()) => {
                    accepted.push(number);
                    break;
                }
                Err(SendError::Full) => {
                    let mut room = std::boxed::Box::pin(rig.socket.room(priority));
                    while poll(&mut room).is_pending() {
                        std::thread::yield_now();
                    }
                }
                Err(SendError::Down) => break,
                Err(error) => panic!("{error}"),
            }
        }
        if random.chance(8) {
            rig.socket.start();
        }
    }
    rig.socket.start();
    accepted
}

fn play(links: bool) {
    let limits = [Limit { frames: 20, bytes: 10_000 }; 3];
    let rig = Rig::with(Card::new(1, 32), SocketConfig { limits, ..SocketConfig::new("cluster", CLUSTER) });
    let (told, over) = (Told::new(), AtomicBool::new(false));
    let accepted = std::thread::scope(|scope| {
        let (rig, told, over) = (&rig, &told, &over);
        let senders: Vec<_> = (0..SENDERS).map(|id| scope.spawn(move || send_all(rig, id, told))).collect();
        scope.spawn(move || {
            let mut random = Random::new(99);
            while !over.load(Ordering::SeqCst) {
                rig.card.send(0, random.below(16) as usize);
                rig.card.poll(0);
                rig.interface.make_way();
                if links && random.chance(50) {
                    let up = rig.card.state.lock().up;
                    rig.card.set_link(!up);
                }
                std::thread::yield_now();
            }
        });
        let accepted: BTreeSet<u64> = senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect();
        over.store(true, Ordering::SeqCst);
        accepted
    });
    rig.card.set_link(true);
    rig.socket.start();
    rig.card.drain();
    let mut all = told.all();
    all.sort_unstable();
    assert!(all.iter().eq(&accepted));
    let (numbers, mut sent) = (rig.card.numbers(), 0);
    for stream in (0..SENDERS).flat_map(|sender| [0, 1, 2].map(|priority| sender << 4 | priority)) {
        assert!(numbers.iter().filter(|&number| number >> 56 == stream).is_sorted());
    }
    for priority in Priority::ALL {
        let counters = rig.outgoing(priority);
        assert_eq!(counters.waiting.frames, 0);
        sent += counters.sent.frames;
    }
    assert_eq!(sent as usize, numbers.len());
    if !links {
        assert_eq!(
            (accepted.len(), numbers.len()),
            ((SENDERS * FRAMES) as usize, (SENDERS * FRAMES) as usize)
        );
    }
}

#[test]
fn cpus_that_share_a_queue_lose_nothing_and_keep_their_order() {
    play(false);
}

#[test]
fn a_link_that_comes_and_goes_under_all_of_them_loses_frames_and_no_done() {
    play(true);
}

#[test]
fn of_two_who_change_what_the_card_lets_in_none_is_forgotten() {
    let rig = Rig::new();
    let second = rig.interface.open(SocketConfig::new("second", EtherType(0x88b6))).unwrap();
    for round in 0..500 {
        let group = |last| Mac([0x33, 0x33, 0, 0, round as u8, last]);
        std::thread::scope(|scope| {
            scope.spawn(|| rig.socket.join(group(1)).unwrap());
            scope.spawn(|| second.join(group(2)).unwrap());
        });
        assert_eq!(rig.card.state.lock().filters.last().unwrap().groups, [group(1), group(2)]);
        assert!(rig.socket.leave(group(1)) && second.leave(group(2)));
    }
}
