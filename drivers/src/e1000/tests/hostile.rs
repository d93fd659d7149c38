//! What a card says that cannot be: counted, and no more.
use super::frames::{OTHER, plain};
use super::*;
use crate::e1000::registers::{RDH, RDT, TDBAL};
use mm::Hpa;

const DONE: u64 = 1 << 32;
const LAST: u64 = 1 << 33;

#[test]
fn what_is_no_frame_is_an_error_and_the_next_frame_comes() {
    let cases: [&[u64]; 9] = [
        // Beyond the buffer.
        &[DONE | LAST | 4097],
        &[DONE | LAST | 0xffff],
        // Nothing, and less than a header.
        &[DONE | LAST],
        &[DONE | LAST | 13],
        // A buffer that is not full though there is more.
        &[DONE | 100, DONE | LAST | 100],
        // Longer than any frame.
        &[DONE | 4096, DONE | 4096, DONE | LAST | 900],
        &[DONE | 4096, DONE | 4096, DONE | 4096, DONE | LAST | 4],
        // Ten times too long.
        &[DONE | 4096; 31],
        // Damaged.
        &[DONE | LAST | 60 | 1 << 40],
    ];
    for card in CARDS {
        let rig = Rig::new(card);
        for (i, case) in cases.into_iter().enumerate() {
            rig.model.state().fill_next(&rig.kernel, case);
            if case.len() == 31 {
                rig.model.state().fill_next(&rig.kernel, &[DONE | LAST | 60]);
            }
            let frame = plain(MAC, 5000, i as u64);
            rig.arrive(&frame);
            rig.run(|| rig.came() == 1);
            assert_eq!(rig.received()[0].0, frame);
            assert_eq!(rig.nic.counters().receive_errors, i as u64 + 1);
        }
        assert_eq!(rig.nic.counters().received, cases.len() as u64);
    }
}

#[test]
fn a_chain_without_an_end_gives_its_buffers_back() {
    let rig = Rig::new(CARDS[1]);
    for _ in 0..100 {
        rig.model.state().fill_next(&rig.kernel, &[DONE | 4096; 50]);
        rig.pass(SECOND / 1000);
        let state = rig.model.state();
        let left = (state.get(RDT) + 512 - state.get(RDH)) % 512;
        assert!(left >= 509, "{left}");
    }
    assert_eq!((rig.came(), rig.nic.counters().receive_errors), (0, 0));
    rig.model.state().fill_next(&rig.kernel, &[DONE | LAST | 60]);
    rig.arrive(&plain(MAC, 60, 1));
    rig.run(|| rig.came() == 1);
    assert_eq!(rig.nic.counters().receive_errors, 1);
}

#[test]
fn random_words_in_the_rings_never_harm() {
    for seed in 0..40 {
        let card = CARDS[seed as usize % CARDS.len()];
        let rig = Rig::new(card);
        rig.model.state().seed(seed);
        (rig.model.state().sends_nothing, rig.model.state().receives_nothing) = (true, true);
        for tag in 0..200 {
            rig.send(tag, &plain(OTHER.0, 600, 1)).unwrap();
        }
        rig.nic.start();
        for _ in 0..20 {
            {
                let mut state = rig.model.state();
                let (ring, entries) = state.ring(TDBAL);
                for _ in 0..40 {
                    let word = state.random() << 32 | state.random();
                    let place = state.random() % (u64::from(entries) * 2);
                    rig.kernel.device_write(Hpa::new(ring + place * 8), &word.to_le_bytes());
                }
                let words: Vec<_> = (0..30)
                    .map(|_| {
                        let word = state.random() << 20 | state.random();
                        // Mostly done, and of lengths that make sense now and then.
                        word | u64::from(word & 7 != 0) << 32
                    })
                    .collect();
                state.fill_next(&rig.kernel, &words);
            }
            rig.pass(SECOND / 100);
        }
        (rig.model.state().sends_nothing, rig.model.state().receives_nothing) = (true, false);
        rig.run(|| rig.told() == 200);
        let mut count = 200;
        rig.model.state().sends_nothing = false;
        // Whatever it was, a reset or an end brings a frame through.
        rig.run(|| {
            rig.arrive(&plain(MAC, 60, 1));
            if rig.send(count, &plain(OTHER.0, 700, 1)).is_ok() {
                count += 1;
                rig.nic.start();
            }
            rig.model.state().sent.iter().any(|frame| frame.len() == 700)
        });
    }
}

#[test]
fn registers_of_random_words_are_survived() {
    for seed in 0..50 {
        let rig = Rig::new(CARDS[seed as usize % CARDS.len()]);
        rig.model.state().seed(seed);
        for _ in 0..50 {
            {
                let mut state = rig.model.state();
                let register = [0x8, 0xc0, 0x4000, 0x400c, 0x4010, 0x5400][state.random() as usize % 6];
                let word = state.random() as u32 | 2;
                state.set(register, word);
            }
            _ = rig.send(1, &plain(OTHER.0, 600, 1)).is_ok_and(|()| {
                rig.nic.start();
                rig.run(|| rig.told() == 1 || !rig.nic.is_present());
                rig.told.tags.lock().clear();
                true
            });
            rig.pass(SECOND / 3);
        }
    }
}
