//! Mode pages: what they tell, and what a guest may change by them.
use super::{Data, Host, on_blocks};
use block::Operation;
use std::vec::Vec;

fn cached(g: &mut block::Geometry) {
    g.features.volatile_cache = true;
}

/// MODE SENSE (6) without block descriptors.
fn sense(host: &mut Host, unit: u16, page: u8) -> Vec<u8> {
    host.ask(unit, &[0x1a, 8, page, 0, 255, 0], Data::In(255)).good()
}

/// MODE SELECT (6).
fn select(host: &mut Host, list: &[u8]) -> super::Answer {
    host.ask(0, &[0x15, 0x10, 0, 0, list.len() as u8, 0], Data::Out(list))
}

const CACHING: [u8; 20] = [8, 18, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const CONTROL: [u8; 12] = [10, 10, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0];

fn with(page: &[u8], at: usize, byte: u8) -> Vec<u8> {
    let mut list = [&[0; 4], page].concat();
    list[4 + at] = byte;
    list
}

#[test]
fn pages_tell_of_cache_and_write_protection() {
    let mut host = Host::with(0, cached);
    assert_eq!(sense(&mut host, 0, 8), [&[23, 0, 0x10, 0], &CACHING[..]].concat());
    assert_eq!(sense(&mut host, 1, 8)[..4], [23, 0, 0x90, 0], "unit 1 is read-only");
    assert_eq!(sense(&mut host, 0, 10), [&[15, 0, 0x10, 0], &CONTROL[..]].concat());
    assert_eq!(sense(&mut host, 0, 0x3f), [&[35, 0, 0x10, 0], &CACHING[..], &CONTROL].concat());
    // Changeable, and default values.
    assert_eq!(sense(&mut host, 0, 0x48)[4..8], [8, 18, 4, 0]);
    assert_eq!(sense(&mut host, 0, 0x4a)[4..8], [10, 10, 4, 0]);
    assert_eq!(sense(&mut host, 0, 0x88)[4..], CACHING);
    let mut without = Host::new();
    assert_eq!((sense(&mut without, 0, 8)[6], sense(&mut without, 0, 0x48)[6]), (0, 0));
}

#[test]
fn block_descriptors_come_in_each_form() {
    let mut host = Host::new();
    let short = [0, 0, 0x20, 0, 0, 0, 2, 0];
    let six = host.ask(0, &[0x1a, 0, 10, 0, 255, 0], Data::In(255)).good();
    assert_eq!((&six[..4], &six[4..12], &six[12..]), (&[23, 0, 0x10, 8][..], &short[..], &CONTROL[..]));
    let ten = host.ask(0, &[0x5a, 0, 10, 0, 0, 0, 0, 0, 255, 0], Data::In(255)).good();
    assert_eq!((&ten[..8], &ten[8..16]), (&[0, 26, 0, 0x10, 0, 0, 0, 8][..], &short[..]));
    let long = host.ask(0, &[0x5a, 0x10, 10, 0xff, 0, 0, 0, 0, 255, 0], Data::In(255)).good();
    assert_eq!(long[..8], [0, 34, 0, 0x10, 1, 0, 0, 16]);
    assert_eq!(long[8..24], [0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 2, 0]);
    let none = host.ask(0, &[0x5a, 8, 10, 0, 0, 0, 0, 0, 4, 0], Data::In(255)).good();
    assert_eq!(none, [0, 18, 0, 0x10]);
}

#[test]
fn pages_and_values_that_are_not_there_are_refused() {
    let mut host = Host::new();
    let mut why = |cdb: &[u8]| host.ask(0, cdb, Data::In(255)).why();
    assert_eq!(why(&[0x1a, 8, 1, 0, 255, 0]), (5, 0x2400));
    assert_eq!(why(&[0x1a, 8, 8, 1, 255, 0]), (5, 0x2400));
    assert_eq!(why(&[0x1a, 8, 0xc8, 0, 255, 0]), (5, 0x3900), "nothing is saved");
}

#[test]
fn a_cache_that_is_switched_off_is_emptied_and_no_write_stays_in_it() {
    let mut host = Host::with(0, cached);
    let write = on_blocks(0x8a, 0, 0, 1);
    host.ask(0, &write, Data::Out(&[1; 512])).good();
    select(&mut host, &with(&CACHING, 2, 0)).good();
    assert_eq!(sense(&mut host, 0, 8)[6], 0);
    host.ask(0, &write, Data::Out(&[2; 512])).good();
    // Off already: nothing to empty.
    select(&mut host, &with(&CACHING, 2, 0)).good();
    select(&mut host, &with(&CACHING, 2, 4)).good();
    host.ask(0, &write, Data::Out(&[3; 512])).good();
    // FUA.
    host.ask(0, &on_blocks(0x8a, 8, 0, 1), Data::Out(&[4; 512])).good();
    let asked: Vec<_> = host.rig.disk.asked.lock().unwrap().iter().map(|a| a.operation).collect();
    let (cached, durable) = (Operation::Write { durable: false }, Operation::Write { durable: true });
    assert_eq!(asked, [cached, Operation::Flush, durable, cached, durable]);
}

#[test]
fn what_is_zeroed_with_the_cache_off_and_read_with_fua_is_flushed_before_it_is_done() {
    let mut host = Host::with(0, cached);
    host.ask(0, &on_blocks(0x88, 8, 3, 1), Data::In(512)).good();
    host.ask(0, &on_blocks(0x93, 1, 3, 8), Data::None).good();
    select(&mut host, &with(&CACHING, 2, 0)).good();
    host.ask(0, &on_blocks(0x93, 1, 3, 8), Data::None).good();
    let asked: Vec<_> = host.rig.disk.asked.lock().unwrap().iter().map(|a| a.operation).collect();
    let (zero, flush) = (Operation::WriteZeroes { deallocate: false }, Operation::Flush);
    assert_eq!(asked, [Operation::Read, flush, zero, flush, zero, flush]);
    assert_eq!(host.rig.board.in_flight(), 0);
    // What fails there is told without a block.
    let errors = &host.rig.disk.errors;
    errors.lock().unwrap().extend([block::BlockError::WriteFault]);
    let at_once = host.ask(0, &on_blocks(0x93, 1, 3, 1), Data::None);
    assert_eq!((at_once.why(), at_once.sense[0]), ((3, 0x0300), 0xf0));
}

#[test]
fn sense_data_comes_as_descriptors_where_the_guest_wants_that() {
    let mut host = Host::new();
    select(&mut host, &with(&CONTROL, 2, 4)).good();
    let answer = host.ask(0, &on_blocks(0x88, 0, 1 << 40, 1), Data::In(512));
    assert_eq!(answer.sense, [0x72, 5, 0x21, 0, 0, 0, 0, 0]);
    host.rig.disk.errors.lock().unwrap().push_back(block::BlockError::UnrecoveredRead);
    let answer = host.ask(0, &on_blocks(0x88, 0, 77, 1), Data::In(512));
    assert_eq!(answer.sense[..10], [0x72, 3, 0x11, 0, 0, 0, 0, 12, 0, 10]);
    assert_eq!((answer.sense[19], answer.sense.len()), (77, 20));
    // Of this unit alone, until it is reset.
    assert_eq!(host.ask(1, &[1; 6], Data::None).sense[0], 0x70);
    select(&mut host, &with(&CONTROL, 2, 0)).good();
    assert_eq!(host.ask(0, &[1; 6], Data::None).sense[0], 0x70);
}

#[test]
fn a_list_that_would_change_anything_else_changes_nothing() {
    let mut host = Host::with(0, cached);
    let both = [&with(&CACHING, 2, 0)[..], &CONTROL].concat();
    let (invalid, cut_off) = ((5, 0x2600), (5, 0x1a00));
    for (list, why) in [
        (with(&CACHING, 2, 0x14), invalid),
        (with(&CACHING, 19, 1), invalid),
        (with(&CACHING, 1, 17), invalid),
        (with(&CONTROL, 3, 0), invalid),
        (with(&CONTROL, 0, 0x8a), invalid),
        (with(&CONTROL, 0, 1), invalid),
        (both[..both.len() - 1].to_vec(), cut_off),
        (both[..25].to_vec(), cut_off),
        ([0; 3].to_vec(), cut_off),
        ([0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 2].to_vec(), invalid),
        ([0, 0, 0, 8, 0, 0, 0x20, 0, 0, 0, 4, 0].to_vec(), invalid),
        ([0, 0, 0, 8, 0, 0, 0x20, 0].to_vec(), cut_off),
        ([0; 65].to_vec(), cut_off),
    ] {
        assert_eq!(select(&mut host, &list).why(), why, "{list:x?}");
        assert_eq!(sense(&mut host, 0, 8)[6], 4, "{list:x?}");
    }
    // The byte that is in error.
    assert_eq!(select(&mut host, &with(&CACHING, 19, 1)).sense[15..18], [0x80, 0, 23]);
    // What is asked for first is what is not changed then, either; whole lists are taken.
    let descriptor = [0, 0, 0, 8, 0, 0, 0x20, 0, 0, 0, 2, 0];
    select(&mut host, &[&descriptor[..], &both[4..]].concat()).good();
    assert_eq!(sense(&mut host, 0, 8)[6], 0);
    select(&mut host, &[]).good();
    // By 10 bytes, with the large descriptor.
    let size = [0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 2, 0];
    let list = [&[0, 0, 0, 0, 1, 0, 0, 16][..], &size, &CACHING].concat();
    let cdb = [0x55, 0x10, 0, 0, 0, 0, 0, 0, list.len() as u8, 0];
    host.ask(0, &cdb, Data::Out(&list)).good();
    assert_eq!(sense(&mut host, 0, 8)[6], 4);
}

#[test]
fn saved_pages_and_lists_longer_than_their_data_are_refused() {
    let mut host = Host::with(0, cached);
    let list = with(&CACHING, 2, 0);
    assert_eq!(host.ask(0, &[0x15, 0x11, 0, 0, 24, 0], Data::Out(&list)).why(), (5, 0x2400));
    let answer = host.ask(0, &[0x15, 0x10, 0, 0, 25, 0], Data::Out(&list));
    assert_eq!((answer.response, sense(&mut host, 0, 8)[6]), (super::OVERRUN, 4));
}
