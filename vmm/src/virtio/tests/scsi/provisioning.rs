//! UNMAP and WRITE SAME.
use super::{Answer, Data, Host, OK, OVERRUN, on_blocks};
use crate::virtio::tests::rig::DISK;
use block::Operation;
use std::vec::Vec;

/// A parameter list of UNMAP with these ranges.
fn ranges(ranges: &[(u64, u32)]) -> Vec<u8> {
    let length = 16 * ranges.len() as u16;
    let mut list = [&(length + 6).to_be_bytes()[..], &length.to_be_bytes(), &[0; 4]].concat();
    for (first, count) in ranges {
        list.extend([&first.to_be_bytes()[..], &count.to_be_bytes(), &[0; 4]].concat());
    }
    list
}

fn unmap(host: &mut Host, unit: u16, list: &[u8]) -> Answer {
    let [high, low] = (list.len() as u16).to_be_bytes();
    host.ask(unit, &[0x42, 0, 0, 0, 0, 0, 0, high, low, 0], Data::Out(list))
}

#[test]
fn a_range_is_discarded() {
    let mut host = Host::new();
    let answer = unmap(&mut host, 0, &ranges(&[(24, 8)]));
    assert_eq!((answer.residual, answer.good()), (0, Vec::new()));
    let asked = host.rig.disk.asked.lock().unwrap();
    assert_eq!((asked[0].operation, asked[0].block, asked[0].blocks), (Operation::Discard, 24, 8));
    assert!(asked[0].segments.is_empty());
}

#[test]
fn lists_without_ranges_do_nothing_and_wrong_ones_are_refused() {
    let mut host = Host::new();
    for list in [ranges(&[]), ranges(&[(9, 0)]), Vec::new()] {
        unmap(&mut host, 0, &list).good();
    }
    let last = (DISK << 11) - 1;
    let whole = ranges(&[(0, 8)]);
    for (list, why) in [
        (ranges(&[(0, 8), (8, 8)]), (5, 0x2600)),
        (ranges(&[(last, 2)]), (5, 0x2100)),
        (ranges(&[(u64::MAX, 1)]), (5, 0x2100)),
        (whole[..23].to_vec(), (5, 0x1a00)),
        (whole[..7].to_vec(), (5, 0x1a00)),
    ] {
        assert_eq!(unmap(&mut host, 0, &list).why(), why, "{list:x?}");
    }
    assert_eq!(unmap(&mut host, 1, &whole).why(), (7, 0x2700), "unit 1 is read-only");
    let short = host.ask(0, &[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], Data::Out(&whole[..20]));
    assert_eq!(short.response, OVERRUN);
    assert!(host.rig.disk.asked.lock().unwrap().is_empty());
}

#[test]
fn a_range_of_more_than_is_told_is_refused() {
    let mut host = Host::with(0, |g| g.blocks = 1 << 30);
    unmap(&mut host, 1, &ranges(&[(0, 1)]));
    assert_eq!(unmap(&mut host, 0, &ranges(&[(0, (1 << 22) + 1)])).why(), (5, 0x2600));
    let too_many = on_blocks(0x93, 1, 0, (1 << 14) + 1);
    assert_eq!(host.ask(0, &too_many, Data::None).why(), (5, 0x2400));
    assert!(host.rig.disk.asked.lock().unwrap().is_empty());
}

#[test]
fn blocks_are_zeroed() {
    let mut host = Host::new();
    host.ask(0, &on_blocks(0x8a, 0, 8, 4), Data::Out(&[7; 2048])).good();
    let answer = host.ask(0, &on_blocks(0x93, 0, 9, 2), Data::Out(&[0; 512]));
    assert_eq!((answer.response, answer.residual), (OK, 0));
    let read = host.ask(0, &on_blocks(0x88, 0, 8, 4), Data::In(2048)).good();
    assert!(read[..512].iter().chain(&read[1536..]).all(|&b| b == 7) && read[512..1536] == [0; 1024]);
    // By 10 bytes, with UNMAP; by 16, with UNMAP and without data.
    host.ask(0, &[0x41, 8, 0, 0, 0, 16, 0, 0, 8, 0], Data::Out(&[0; 512])).good();
    host.ask(0, &on_blocks(0x93, 9, 32, 8), Data::None).good();
    let asked = host.rig.disk.asked.lock().unwrap();
    let deallocate = Operation::WriteZeroes { deallocate: true };
    let [.., ten, sixteen] = &asked[..] else { panic!() };
    assert_eq!((ten.operation, ten.block, ten.blocks), (deallocate, 16, 8));
    assert_eq!((sixteen.operation, sixteen.block, sixteen.blocks), (deallocate, 32, 8));
}

#[test]
fn what_is_not_zeroes_or_not_there_is_not_written() {
    let mut host = Host::with(0, |g| g.features.discard = false);
    let mut data = [0; 512];
    data[511] = 1;
    assert_eq!(host.ask(0, &on_blocks(0x93, 0, 0, 1), Data::Out(&data)).why(), (5, 0x2600));
    assert_eq!(host.ask(0, &on_blocks(0x93, 0, 0, 1), Data::Out(&data[..500])).response, OVERRUN);
    assert_eq!(host.ask(0, &on_blocks(0x93, 0, 0, 0), Data::Out(&[0; 512])).why(), (5, 0x2400));
    assert_eq!(host.ask(0, &on_blocks(0x93, 0, DISK << 11, 1), Data::Out(&[0; 512])).why(), (5, 0x2100));
    assert_eq!(host.ask(0, &on_blocks(0x93, 0x10, 0, 1), Data::Out(&[0; 512])).why(), (5, 0x2400), "ANCHOR");
    assert_eq!(host.ask(1, &on_blocks(0x93, 1, 0, 1), Data::None).why(), (7, 0x2700));
    assert!(host.rig.disk.asked.lock().unwrap().is_empty());
    // A disk that can't discard keeps its storage.
    host.ask(0, &on_blocks(0x93, 9, 0, 1), Data::None).good();
    assert_eq!(
        host.rig.disk.asked.lock().unwrap()[0].operation,
        Operation::WriteZeroes { deallocate: false }
    );
}
