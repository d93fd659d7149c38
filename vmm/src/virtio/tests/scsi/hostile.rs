//! Requests as no driver makes them.
use super::{ANSWER, BAD_TARGET, Data, FAILURE, GOOD, HEADER, Host, OK, OVERRUN, on_blocks};
use crate::platform::fuzz::Random;
use crate::virtio::tests::ring::Piece;
use crate::virtio::{Feature, Status};
use mm::addr::Gpa;
use std::vec::Vec;

#[test]
fn a_request_that_can_not_be_answered_stops_the_device() {
    let (at, answer) = (0x20_0000, 0x20_1000);
    // No answer; too little room for it, by one byte or all; no header; half a one; room where no RAM is; room in five
    // pieces.
    let wrong: [&[Piece]; 7] = [
        &[(at, HEADER, false)],
        &[(at, HEADER, false), (answer, ANSWER - 1, true)],
        &[(at, HEADER, false), (answer, 11, true)],
        &[(answer, ANSWER, true)],
        &[(at, HEADER - 1, false), (answer, ANSWER, true)],
        &[(at, HEADER, false), (0xa_0000, ANSWER, true)],
        &[
            (at, HEADER, false),
            (answer, 1, true),
            (answer + 2, 1, true),
            (answer + 4, 1, true),
            (answer + 6, 1, true),
            (answer + 8, ANSWER, true),
        ],
    ];
    for pieces in wrong {
        for features in [0, Feature::INDIRECT_DESC, Feature::RING_PACKED] {
            let mut host = Host::with(features, |_| {});
            host.ring.add(pieces);
            host.rig.kick(2);
            assert_eq!(host.rig.status(), 0xf | Status::NEEDS_RESET, "{pieces:x?}");
            assert_eq!((host.ring.used(), host.rig.interrupt(0)), (None, Some(0x50)));
            host.restart(features);
            host.ask(0, &[0; 6], Data::None).why();
            host.ask(0, &[0; 6], Data::None).good();
        }
    }
}

#[test]
fn sizes_of_cdb_and_sense_data_are_what_the_driver_sets() {
    let mut host = Host::new();
    for (cdb_size, sense_size) in [(6u32, 0u32), (16, 18), (32, 252), (260, 96)] {
        host.rig.write(host.rig.config, 24, 4, cdb_size.into());
        host.rig.write(host.rig.config, 20, 4, sense_size.into());
        let (at, mut pieces) = host.place(0, &[0x08, 0, 0, 3, 1, 0], Data::In(512));
        pieces[0].1 = 19 + cdb_size;
        pieces[1].1 = 12 + sense_size;
        host.ring.add(&pieces);
        host.rig.kick(2);
        assert_eq!(host.ring.used().map(|(_, used)| used), Some(12 + sense_size + 512));
        assert_eq!(host.rig.bytes(at + 4096 + 10, 2), [GOOD, OK]);
        // A longer one than is sent is not made up.
        let (at, mut pieces) = host.place(0, &on_blocks(0x88, 0, 3, 1), Data::In(512));
        pieces[0].1 = 19 + cdb_size;
        pieces[1].1 = 12 + sense_size;
        host.ring.add(&pieces);
        host.rig.kick(2);
        assert!(host.ring.used().is_some());
        assert_eq!(host.rig.bytes(at + 4096 + 10, 2), [if cdb_size < 16 { 2 } else { GOOD }, OK]);
    }
}

#[test]
fn sizes_that_can_not_be_change_nothing() {
    let host = Host::new();
    let config = |offset| host.rig.read(host.rig.config, offset, 4);
    for (offset, size, value) in [
        (20, 4, 253),
        (20, 4, u64::from(u32::MAX)),
        (24, 4, 0),
        (24, 4, 261),
        (20, 2, 18),
        (22, 4, 18),
        (0, 4, 9),
    ] {
        host.rig.write(host.rig.config, offset, size, value);
        assert_eq!([config(0), config(20), config(24)], [1, 96, 32], "{offset} {size} {value}");
    }
}

#[test]
fn addresses_of_other_targets_and_forms_reach_nobody() {
    let mut host = Host::new();
    for (address, response, status) in [
        ([1, 1, 0, 0, 0, 0, 0, 0], BAD_TARGET, GOOD),
        ([1, 255, 0, 0, 0, 0, 0, 0], BAD_TARGET, GOOD),
        ([0; 8], BAD_TARGET, GOOD),
        ([0xff; 8], BAD_TARGET, GOOD),
        ([0xc1, 1, 0, 0, 0, 0, 0, 0], BAD_TARGET, GOOD),
        ([1, 0, 0xc1, 1, 0, 0, 0, 0], OK, 2),
        ([1, 0, 1, 0, 0, 0, 0, 0], OK, 2),
        ([1, 0, 0, 0, 0, 1, 0, 0], OK, 2),
        ([1, 0, 0, 1, 0, 0, 0, 0], OK, GOOD),
    ] {
        let (at, pieces) = host.place(0, &on_blocks(0x88, 0, 0, 1), Data::In(512));
        host.rig.memory.write(Gpa::new(at), &address).unwrap();
        host.ring.add(&pieces);
        host.rig.kick(2);
        assert!(host.ring.used().is_some());
        assert_eq!(host.rig.bytes(at + 4096 + 10, 2), [status, response], "{address:x?}");
    }
    assert_eq!(host.rig.disk.asked.lock().unwrap().len(), 1);
}

#[test]
fn data_in_both_directions_is_refused() {
    let mut host = Host::new();
    for cdb in [&on_blocks(0x88, 0, 0, 1)[..], &on_blocks(0x8a, 0, 0, 1), &[0; 6]] {
        let (at, mut pieces) = host.place(0, cdb, Data::None);
        pieces.insert(1, (0x20_0000, 512, false));
        pieces.push((0x20_1000, 512, true));
        host.ring.add(&pieces);
        host.rig.kick(2);
        let (_, used) = host.ring.used().unwrap();
        let answer = host.answer(at, used, Data::None);
        assert_eq!((answer.response, answer.residual), (FAILURE, 1024));
    }
    assert!(host.rig.disk.asked.lock().unwrap().is_empty());
}

#[test]
fn an_answer_has_to_have_the_room_that_its_cdb_speaks_of() {
    let mut host = Host::new();
    let all: [&[u8]; 8] = [
        &[0x03, 0, 0, 0, 18, 0],
        &[0x12, 0, 0, 0, 36, 0],
        &[0x1a, 8, 8, 0, 24, 0],
        &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0x5a, 8, 8, 0, 0, 0, 0, 0, 28, 0],
        &on_blocks(0x9e, 0x10, 0, 32),
        &[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0],
        &[0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 0, 100, 0, 0],
    ];
    for cdb in all {
        for data in [Data::None, Data::In(7), Data::Out(&[0; 100])] {
            assert_eq!(host.ask(0, cdb, data).response, OVERRUN, "{cdb:x?}");
        }
        host.ask(0, cdb, Data::In(100)).good();
    }
}

#[test]
fn an_answer_over_its_own_header_or_the_next_ones_is_the_guests_own_harm() {
    let mut host = Host::new();
    for _ in 0..100 {
        let (at, _) = host.place(0, &on_blocks(0x88, 0, 0, 8), Data::None);
        // Header, answer and data are all the same memory.
        host.ring.add(&[(at, HEADER, false), (at, ANSWER, true), (at, 4096, true)]);
        host.rig.kick(2);
        assert_eq!(host.ring.used().map(|(_, used)| used), Some(ANSWER + 4096));
        host.rig.next_to(at);
    }
    assert_eq!((host.rig.status(), host.rig.board.in_flight()), (0xf, 0));
}

/// Any CDB, with any data: an answer comes, its numbers make sense, and nothing is written beyond.
#[test]
fn random_commands_are_answered() {
    let mut random = Random::new(0x5c51_5c51);
    let mut host = Host::with(0, |g| g.features.volatile_cache = true);
    let mut good = 0;
    for round in 0..20_000 {
        let mut cdb: Vec<u8> = (0..16).map(|_| random.next() as u8).collect();
        if random.below(8) != 0 {
            // One that there is, with few bits.
            let known = [
                0x00, 0x03, 0x08, 0x0a, 0x12, 0x15, 0x1a, 0x1b, 0x1e, 0x25, 0x28, 0x2a, 0x35, 0x41, 0x42,
                0x55, 0x5a, 0x88, 0x8a, 0x91, 0x93, 0x9e, 0xa0, 0xa3, 0xa8, 0xaa,
            ];
            cdb.iter_mut().for_each(|byte| *byte &= if random.below(8) == 0 { 0x1b } else { 0 });
            cdb[0] = known[random.below(known.len() as u64) as usize];
            match cdb[0] {
                0x9e => cdb[1] = 0x10,
                0xa3 => cdb[1] = 0x0c,
                // Not for good.
                0x1b => cdb[4] |= 1,
                _ => {}
            }
        }
        let bytes = [0, 1, 4, 8, 24, 36, 512, 600, 4096, 70_000][random.below(10) as usize];
        let out = std::vec![0; bytes];
        let data = match random.below(3) {
            0 => Data::None,
            1 => Data::In(bytes as u32),
            _ => Data::Out(&out),
        };
        let (at, pieces) = host.place(random.below(3) as u16, &cdb, data);
        // What is behind the data.
        let behind = at + 8192 + bytes as u64;
        host.rig.memory.write(Gpa::new(behind), &[0x5a; 16]).unwrap();
        host.ring.add(&pieces);
        host.rig.kick(2);
        let (_, used) = host.ring.used().expect("an answer");
        let answer = host.rig.bytes(at + 4096, ANSWER as usize);
        let residual = u32::from_le_bytes(answer[4..8].try_into().unwrap());
        let length = if matches!(data, Data::None) { 0 } else { bytes as u32 };
        assert!(residual <= length && used <= ANSWER + length, "{round} {cdb:x?}");
        let status = (answer[11], answer[10]);
        assert!(
            [(OK, GOOD), (OK, 2), (OVERRUN, GOOD), (FAILURE, GOOD)].contains(&status),
            "{round} {cdb:x?}"
        );
        if status == (OK, GOOD) {
            good += 1;
            let sent = if matches!(data, Data::In(_)) { length - residual } else { 0 };
            assert_eq!(used, ANSWER + sent, "{round} {cdb:x?}");
        }
        assert_eq!(host.rig.bytes(behind, 16), [0x5a; 16], "{round} {cdb:x?}");
        host.rig.next_to(at);
        host.rig.disk.asked.lock().unwrap().clear();
    }
    assert!(good > 2000, "{good}");
    assert_eq!((host.rig.status(), host.rig.board.in_flight()), (0xf, 0));
}
