//! Reading and writing.
use super::{Answer, Data, GOOD, Host, OK, OVERRUN, on_blocks};
use block::Operation;
use std::vec::Vec;

const READ_16: u8 = 0x88;
const WRITE_16: u8 = 0x8a;

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
