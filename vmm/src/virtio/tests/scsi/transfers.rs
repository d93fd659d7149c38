//! Reading and writing.
use super::{Answer, Data, GOOD, Host, OK, OVERRUN, machine, on_blocks};
use crate::virtio::Feature;
use crate::virtio::tests::rig::DISK;
use block::Operation;
use std::vec::Vec;

const READ_16: u8 = 0x88;
const WRITE_16: u8 = 0x8a;
/// Blocks of unit 0.
const END: u64 = DISK << 11;

fn random(bytes: usize, seed: u64) -> Vec<u8> {
    let mut random = crate::platform::fuzz::Random::new(seed);
    (0..bytes).map(|_| random.next() as u8).collect()
}

#[test]
fn what_was_written_is_read_back_by_cdbs_of_all_lengths() {
    let mut host = Host::new();
    for (seed, (write, read)) in [
        ([0x0a, 0, 0, 9, 4, 0].to_vec(), [0x08, 0, 0, 9, 4, 0].to_vec()),
        ([0x2a, 0, 0, 0, 0, 9, 0, 0, 4, 0].to_vec(), [0x28, 0, 0, 0, 0, 9, 0, 0, 4, 0].to_vec()),
        ([0xaa, 0, 0, 0, 0, 9, 0, 0, 0, 4, 0, 0].to_vec(), [0xa8, 0, 0, 0, 0, 9, 0, 0, 0, 4, 0, 0].to_vec()),
        (on_blocks(WRITE_16, 0, 9, 4), on_blocks(READ_16, 0, 9, 4)),
    ]
    .into_iter()
    .enumerate()
    {
        let data = random(2048, seed as u64);
        let answer = host.ask(0, &write, Data::Out(&data));
        assert_eq!((answer.response, answer.status, answer.residual), (OK, GOOD, 0));
        assert_eq!(host.ask(0, &read, Data::In(2048)).good(), data);
    }
    let asked = host.rig.disk.asked.lock().unwrap();
    assert!(asked.iter().all(|asked| (asked.block, asked.blocks, asked.segments.len()) == (9, 4, 1)));
    assert!(matches!(asked[0].operation, Operation::Write { durable: false }));
}

#[test]
fn a_buffer_that_is_longer_than_the_cdb_says_keeps_its_rest() {
    let mut host = Host::new();
    let data = random(1536, 3);
    let answer = host.ask(0, &on_blocks(WRITE_16, 0, 0, 2), Data::Out(&data));
    assert_eq!((answer.status, answer.residual), (GOOD, 512));
    let Answer { status, residual, data: read, .. } =
        host.ask(0, &on_blocks(READ_16, 0, 0, 2), Data::In(5000));
    assert_eq!((status, residual, &read[..]), (GOOD, 5000 - 1024, &data[..1024]));
}

#[test]
fn a_buffer_that_is_shorter_than_the_cdb_says_is_an_overrun_and_nothing_is_done() {
    let mut host = Host::new();
    for data in [Data::In(1023), Data::In(512), Data::None, Data::Out(&[0; 1024])] {
        let answer = host.ask(0, &on_blocks(READ_16, 0, 0, 2), data);
        assert_eq!((answer.response, answer.status), (OVERRUN, GOOD));
    }
    let answer = host.ask(0, &on_blocks(WRITE_16, 0, 0, 2), Data::Out(&[0; 1000]));
    assert_eq!((answer.response, answer.residual), (OVERRUN, 1000));
    assert!(host.rig.disk.asked.lock().unwrap().is_empty());
}

#[test]
fn no_blocks_are_no_work_but_have_to_be_there() {
    let mut host = Host::new();
    for cdb in [on_blocks(READ_16, 0, END, 0), on_blocks(WRITE_16, 0, 5, 0)] {
        host.ask(0, &cdb, Data::None).good();
    }
    let answer = host.ask(0, &on_blocks(READ_16, 0, 0, 0), Data::In(512));
    assert_eq!((answer.status, answer.residual), (GOOD, 512));
    assert_eq!(host.ask(0, &on_blocks(READ_16, 0, END + 1, 0), Data::None).why(), (5, 0x2100));
    assert!(host.rig.disk.asked.lock().unwrap().is_empty());
}

#[test]
fn blocks_beyond_the_end_are_refused() {
    let mut host = Host::new();
    for (first, count) in [(END - 1, 2), (END, 1), (u64::MAX, 1), (u64::MAX, u32::MAX), (0, u32::MAX)] {
        for code in [READ_16, WRITE_16, 0x91] {
            let answer = host.ask(0, &on_blocks(code, 0, first, count), Data::None);
            assert_eq!(answer.why(), (5, 0x2100), "{code:#x} {first:#x} {count:#x}");
        }
    }
    host.ask(0, &on_blocks(READ_16, 0, END - 1, 1), Data::In(512)).good();
    // Unit 1 begins and ends elsewhere.
    host.ask(1, &on_blocks(READ_16, 0, END - 2049, 1), Data::In(512)).good();
    assert_eq!(host.rig.disk.asked.lock().unwrap()[1].block, END - 1);
    assert_eq!(host.ask(1, &on_blocks(READ_16, 0, END - 2048, 1), Data::In(512)).why(), (5, 0x2100));
}

#[test]
fn a_read_only_unit_is_read_and_not_written() {
    let mut host = Host::new();
    assert_eq!(host.ask(1, &on_blocks(WRITE_16, 0, 0, 1), Data::Out(&[0; 512])).why(), (7, 0x2700));
    host.ask(1, &on_blocks(READ_16, 0, 0, 1), Data::In(512)).good();
    host.ask(1, &on_blocks(0x91, 0, 0, 0), Data::None).good();
    let asked = host.rig.disk.asked.lock().unwrap();
    assert_eq!(asked.iter().map(|a| a.operation).collect::<Vec<_>>(), [Operation::Read, Operation::Flush]);
}

#[test]
fn more_than_the_guest_was_told_is_refused() {
    let mut host = Host::with(0, |g| g.blocks = 1 << 30);
    let most = 16 << 11;
    for code in [READ_16, WRITE_16] {
        let refused = host.ask(0, &on_blocks(code, 0, 0, most + 1), Data::None);
        assert_eq!((refused.why(), &refused.sense[15..18]), ((5, 0x2400), &[0xc0, 0, 10][..]));
        // As much as that, without room for it.
        assert_eq!(host.ask(0, &on_blocks(code, 0, 0, most), Data::None).response, OVERRUN);
    }
    // In more pieces than it was told of.
    let mut host = Host::on(machine(1, 1024, |_| {}), 0);
    host.ask(0, &[0; 6], Data::None).why();
    let (at, mut pieces) = host.place(0, &on_blocks(READ_16, 0, 0, 700), Data::None);
    pieces.extend((0..700).map(|i| (0x20_0000 + i * 1024, 512, true)));
    host.ring.add(&pieces);
    host.rig.kick(2);
    let (_, used) = host.ring.used().expect("an answer");
    assert_eq!(host.answer(at, used, Data::None).response, super::FAILURE);
    assert!(host.rig.disk.asked.lock().unwrap().is_empty());
}

#[test]
fn a_disk_of_4096_byte_blocks_counts_in_them() {
    let mut host = Host::with(0, |g| {
        g.block_size = 4096;
        g.blocks /= 8;
    });
    let data = random(8192, 5);
    host.ask(0, &on_blocks(WRITE_16, 0, 1, 2), Data::Out(&data)).good();
    assert_eq!(host.ask(0, &on_blocks(READ_16, 0, 1, 2), Data::In(8192)).good(), data);
    assert_eq!(host.ask(0, &on_blocks(READ_16, 0, 1, 2), Data::In(4096)).response, OVERRUN);
    let asked = host.rig.disk.asked.lock().unwrap();
    assert_eq!((asked.len(), asked[0].block, asked[0].blocks), (2, 1, 2));
}

#[test]
fn header_answer_and_data_may_be_split_in_any_way() {
    for features in [0, Feature::INDIRECT_DESC, Feature::RING_PACKED | Feature::INDIRECT_DESC] {
        let mut host = Host::with(features, |_| {});
        let mut random = crate::platform::fuzz::Random::new(features ^ 0x5c51);
        for round in 0..200 {
            let (first, count) = (random.below(4000), 1 + random.below(6));
            let bytes = count as u32 * 512;
            let data = self::random(bytes as usize, round);
            let mut ask = |cdb: &[u8], data: Data<'_>| {
                let (at, pieces) = host.place(0, cdb, data);
                let mut split = Vec::new();
                for (mut from, mut left, write) in pieces {
                    for more in (0..4).rev() {
                        let now = if more == 0 { left } else { random.below(u64::from(left) + 1) as u32 };
                        split.push((from, now, write));
                        (from, left) = (from + u64::from(now), left - now);
                    }
                }
                split.retain(|&(_, bytes, _)| bytes != 0);
                let (id, _) = host.ring.add(&split);
                host.rig.kick(2);
                let (back, used) = host.ring.used().expect("an answer");
                assert_eq!(back, id);
                let answer = host.answer(at, used, data);
                host.rig.next_to(at);
                answer.good()
            };
            ask(&on_blocks(WRITE_16, 0, first, count as u32), Data::Out(&data));
            let read = ask(&on_blocks(READ_16, 0, first, count as u32), Data::In(bytes));
            assert_eq!(read, data, "{features:#x} {round}");
        }
        // Neighbours are one again.
        assert!(host.rig.disk.asked.lock().unwrap().iter().all(|asked| asked.segments.len() == 1));
    }
}

#[test]
fn data_across_chunks_of_the_hosts_memory_moves_in_place() {
    let mut host = Host::new();
    let buffer = (4 << 20) - 512;
    let data = random(4096, 9);
    host.rig.memory.write(mm::addr::Gpa::new(buffer), &data).unwrap();
    for (code, write) in [(WRITE_16, false), (READ_16, true)] {
        let (at, mut pieces) = host.place(0, &on_blocks(code, 0, 0, 8), Data::None);
        pieces.insert(if write { 2 } else { 1 }, (buffer, 4096, write));
        host.ring.add(&pieces);
        host.rig.kick(2);
        assert!(host.ring.used().is_some());
        assert_eq!(host.rig.bytes(at + 4096 + 10, 2), [GOOD, OK]);
        if !write {
            host.rig.memory.zero(mm::addr::Gpa::new(buffer), 4096).unwrap();
        }
    }
    assert_eq!(host.rig.bytes(buffer, 4096), data);
    assert!(host.rig.disk.asked.lock().unwrap().iter().all(|asked| asked.segments.len() == 2));
}
