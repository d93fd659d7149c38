//! What a disk answers: all types of requests, odd layouts, and what is refused.
use super::rig::{DISK, Rig};
use super::ring::{DriverRing, Piece};
use crate::virtio::{Feature, Status};
use block::{BlockError, Operation};
use mm::addr::Gpa;
use std::vec::Vec;

const READ: u32 = 0;
const WRITE: u32 = 1;
const FLUSH: u32 = 4;
const GET_ID: u32 = 8;
const DISCARD: u32 = 11;
const WRITE_ZEROES: u32 = 13;

const OK: u8 = 0;
const IO_ERROR: u8 = 1;
const UNSUPPORTED: u8 = 2;

/// Makes a chain available, and the status that comes back with how many bytes were written.
fn send(rig: &mut Rig, ring: &mut DriverRing, at: u64, pieces: &[Piece]) -> (u8, u32) {
    let (id, _) = ring.add(pieces);
    rig.kick(0);
    let (back, bytes) = ring.used().expect("an answer");
    assert_eq!(back, id);
    (rig.result(at), bytes)
}

fn ask(rig: &mut Rig, ring: &mut DriverRing, kind: u32, sector: u64, data: u32) -> (u8, u32) {
    let (at, pieces) = rig.request(kind, sector, data);
    send(rig, ring, at, &pieces)
}

/// A request with a range, as discard and write zeroes have.
fn ask_range(rig: &mut Rig, ring: &mut DriverRing, kind: u32, sector: u64, sectors: u32, flags: u32) -> u8 {
    let (at, pieces) = rig.request(kind, 0, 16);
    let range = [&sector.to_le_bytes()[..], &sectors.to_le_bytes(), &flags.to_le_bytes()].concat();
    rig.memory.write(Gpa::new(at + 4096), &range).unwrap();
    send(rig, ring, at, &pieces).0
}

fn config(rig: &Rig, offset: u64, size: u8) -> u64 {
    rig.read(rig.config, offset, size)
}

#[test]
fn the_configuration_tells_of_the_disk() {
    let rig = Rig::with(4, 64, |g| {
        g.block_size = 512;
        g.physical_block_size = 4096;
        g.features.volatile_cache = true;
    });
    let offered = rig.offered();
    for bit in [1, 2, 6, 9, 10, 11, 12, 13, 14, 28, 29, 32, 34] {
        assert_ne!(offered & 1 << bit, 0, "feature {bit}");
    }
    assert_eq!(offered & 1 << 5, 0, "not read-only");
    assert_eq!((config(&rig, 0, 4), config(&rig, 4, 4)), (DISK << 11, 0));
    assert_eq!(config(&rig, 0, 8), DISK << 11);
    assert_eq!((config(&rig, 8, 4), config(&rig, 12, 4)), (1 << 20, 318));
    assert_eq!((config(&rig, 20, 4), config(&rig, 24, 1), config(&rig, 26, 2)), (512, 3, 8));
    assert_eq!(config(&rig, 34, 2), 4, "queues");
    assert_eq!((config(&rig, 36, 4), config(&rig, 40, 4), config(&rig, 44, 4)), (1 << 22, 1, 8));
    assert_eq!((config(&rig, 48, 4), config(&rig, 52, 4), config(&rig, 56, 1)), (1 << 14, 1, 1));
    assert_eq!(config(&rig, 60, 8), 0, "nothing behind");
}

#[test]
fn a_disk_offers_only_what_it_can() {
    let rig = Rig::with(1, 64, |g| {
        g.features = block::Features { read_only: true, ..block::Features::default() };
    });
    let offered = rig.offered();
    assert_ne!(offered & 1 << 5, 0);
    for bit in [9, 11, 12, 13, 14] {
        assert_eq!(offered & 1 << bit, 0, "feature {bit}");
    }
}

#[test]
fn a_read_only_disk_refuses_what_would_change_it() {
    let mut rig = Rig::with(1, 64, |g| g.features.read_only = true);
    let mut ring = rig.start(0);
    assert_eq!(ask(&mut rig, &mut ring, READ, 0, 512), (OK, 513));
    assert_eq!(ask(&mut rig, &mut ring, WRITE, 0, 512), (IO_ERROR, 1));
    assert_eq!(ask_range(&mut rig, &mut ring, DISCARD, 0, 8, 0), IO_ERROR);
    assert_eq!(ask_range(&mut rig, &mut ring, WRITE_ZEROES, 0, 8, 0), IO_ERROR);
}

#[test]
fn the_serial_number_is_cut_at_20_bytes() {
    let mut rig = Rig::new();
    let mut ring = rig.start(0);
    let (at, pieces) = rig.request(GET_ID, 0, 20);
    assert_eq!(send(&mut rig, &mut ring, at, &pieces), (OK, 21));
    assert_eq!(rig.bytes(at + 4096, 20), b"serial-0123456789-to");
    let (at, pieces) = rig.request(GET_ID, 0, 7);
    assert_eq!(send(&mut rig, &mut ring, at, &pieces), (OK, 8));
    assert_eq!(rig.bytes(at + 4096, 8), b"serial-\0");
}

#[test]
fn writes_are_durable_unless_the_guest_can_flush() {
    let cached = |g: &mut block::Geometry| g.features.volatile_cache = true;
    // FLUSH alone; nothing; CONFIG_WCE as it is found; switched off; switched on again.
    let (flush, wce) = (1 << 9, 1 << 11);
    for (features, switch, durable) in [
        (flush, None, false),
        (0, None, true),
        (flush | wce, None, false),
        (flush | wce, Some(0), true),
        (flush | wce, Some(1), false),
    ] {
        let mut rig = Rig::with(1, 64, cached);
        let mut ring = rig.start(features);
        if let Some(value) = switch {
            rig.write(rig.config, 32, 1, value);
        }
        assert_eq!(config(&rig, 32, 1), u64::from(!durable));
        assert_eq!(ask(&mut rig, &mut ring, WRITE, 0, 512), (OK, 1));
        assert_eq!(ask(&mut rig, &mut ring, FLUSH, 0, 0), (OK, 1));
        let asked = rig.disk.asked.lock().unwrap();
        assert_eq!(asked[0].operation, Operation::Write { durable });
        assert_eq!((asked[1].operation, asked[1].segments.len()), (Operation::Flush, 0));
    }
    let rig = Rig::new();
    rig.write(rig.config, 32, 1, 1);
    assert_eq!(config(&rig, 32, 1), 0, "there is no cache to switch on");
}

#[test]
fn blocks_are_discarded_and_zeroed() {
    let mut rig = Rig::new();
    let mut ring = rig.start(Feature::EVENT_IDX);
    let (at, pieces) = rig.request(WRITE, 8, 4096);
    rig.fill(at + 4096, 4096, 1);
    assert_eq!(send(&mut rig, &mut ring, at, &pieces), (OK, 1));
    assert_eq!(ask_range(&mut rig, &mut ring, WRITE_ZEROES, 9, 2, 0), OK);
    let (back, pieces) = rig.request(READ, 8, 2048);
    assert_eq!(send(&mut rig, &mut ring, back, &pieces), (OK, 2049));
    let (read, wrote) = (rig.bytes(back + 4096, 2048), rig.bytes(at + 4096, 2048));
    assert_eq!((&read[..512], &read[1536..]), (&wrote[..512], &wrote[1536..]));
    assert_eq!(read[512..1536], [0; 1024]);
    assert_eq!(ask_range(&mut rig, &mut ring, WRITE_ZEROES, 16, 8, 1), OK);
    assert_eq!(ask_range(&mut rig, &mut ring, DISCARD, 24, 8, 0), OK);
    let asked = rig.disk.asked.lock().unwrap().clone();
    let [.., zeroed, discarded] = &asked[..] else { panic!() };
    assert_eq!(zeroed.operation, Operation::WriteZeroes { deallocate: true });
    assert_eq!((discarded.operation, discarded.block, discarded.blocks), (Operation::Discard, 24, 8));
}

#[test]
fn ranges_that_are_wrong_are_refused() {
    let mut rig = Rig::new();
    let mut ring = rig.start(0);
    for (sector, sectors, flags, status) in [
        (0, 8, 2, UNSUPPORTED),
        (0, (1 << 14) + 1, 0, IO_ERROR),
        (0, 0, 0, IO_ERROR),
        (DISK << 11, 1, 0, IO_ERROR),
        (u64::MAX, 8, 0, IO_ERROR),
    ] {
        assert_eq!(ask_range(&mut rig, &mut ring, WRITE_ZEROES, sector, sectors, flags), status);
    }
    assert_eq!(ask_range(&mut rig, &mut ring, DISCARD, 0, 8, 1), UNSUPPORTED);
    for bytes in [8, 15, 17, 32] {
        assert_eq!(ask(&mut rig, &mut ring, DISCARD, 0, bytes), (IO_ERROR, 1), "{bytes} bytes");
    }
    assert_eq!(ask(&mut rig, &mut ring, DISCARD, 0, 0), (IO_ERROR, 1));
}

#[test]
fn what_is_not_whole_sectors_or_beyond_the_end_is_an_error_of_that_request() {
    let mut rig = Rig::new();
    let mut ring = rig.start(0);
    let last = (DISK << 11) - 1;
    for (kind, sector, data) in [
        (READ, 0, 511),
        (READ, 0, 513),
        (READ, 0, 0),
        (WRITE, 0, 1),
        (WRITE, 0, 0),
        (READ, last, 1024),
        (READ, last + 1, 512),
        (WRITE, u64::MAX, 512),
        (READ, u64::MAX / 512, 512),
    ] {
        assert_eq!(ask(&mut rig, &mut ring, kind, sector, data), (IO_ERROR, 1), "{kind} {sector} {data}");
    }
    assert_eq!(ask(&mut rig, &mut ring, READ, last, 512), (OK, 513));
    assert_eq!(rig.status() & Status::NEEDS_RESET, 0);
}

#[test]
fn a_disk_of_4096_byte_blocks_takes_whole_ones_only() {
    let mut rig = Rig::with(1, 64, |g| {
        g.block_size = 4096;
        g.blocks /= 8;
    });
    let mut ring = rig.start(0);
    assert_eq!((config(&rig, 0, 8), config(&rig, 20, 4), config(&rig, 24, 1)), (DISK << 11, 4096, 0));
    for (sector, data, result) in
        [(8, 4096, (OK, 4097)), (8, 512, (IO_ERROR, 1)), (1, 4096, (IO_ERROR, 1)), (0, 4608, (IO_ERROR, 1))]
    {
        assert_eq!(ask(&mut rig, &mut ring, READ, sector, data), result, "{sector} {data}");
    }
    let asked = rig.disk.asked.lock().unwrap();
    assert_eq!((asked.len(), asked[0].block, asked[0].blocks), (1, 1, 1));
}

#[test]
fn unknown_requests_are_unsupported() {
    let mut rig = Rig::new();
    let mut ring = rig.start(0);
    for kind in [2, 3, 5, 10, 14, 0x8000_0000, u32::MAX] {
        assert_eq!(ask(&mut rig, &mut ring, kind, 0, 512), (UNSUPPORTED, 1), "{kind}");
    }
    assert!(rig.disk.asked.lock().unwrap().is_empty());
}

#[test]
fn data_in_the_wrong_direction_is_an_error() {
    let mut rig = Rig::new();
    let mut ring = rig.start(0);
    for (kind, writable) in [(READ, false), (WRITE, true), (GET_ID, false), (DISCARD, true)] {
        let (at, mut pieces) = rig.request(kind, 0, 512);
        pieces[1].2 = writable;
        assert_eq!(send(&mut rig, &mut ring, at, &pieces), (IO_ERROR, 1), "{kind}");
    }
    // Both at once.
    let (at, mut pieces) = rig.request(READ, 0, 512);
    pieces.insert(1, (at + 2048, 512, false));
    assert_eq!(send(&mut rig, &mut ring, at, &pieces), (IO_ERROR, 1));
}

#[test]
fn what_the_disk_reports_reaches_the_guest() {
    let mut rig = Rig::new();
    let mut ring = rig.start(0);
    for (error, status) in [
        (BlockError::UnrecoveredRead, IO_ERROR),
        (BlockError::WriteFault, IO_ERROR),
        (BlockError::Removed, IO_ERROR),
        (BlockError::TimedOut, IO_ERROR),
        (BlockError::Device(0x281), IO_ERROR),
        (BlockError::Unsupported, UNSUPPORTED),
    ] {
        rig.disk.errors.lock().unwrap().push_back(error);
        assert_eq!(ask(&mut rig, &mut ring, READ, 0, 4096), (status, 1), "{error:?}");
    }
    assert_eq!(ask(&mut rig, &mut ring, READ, 0, 512), (OK, 513), "and it goes on");
}

#[test]
fn header_data_and_status_may_be_split_in_any_way() {
    for features in
        [0, Feature::INDIRECT_DESC, Feature::RING_PACKED, Feature::RING_PACKED | Feature::INDIRECT_DESC]
    {
        let mut rig = Rig::new();
        let mut ring = rig.start(features);
        let mut random = crate::platform::fuzz::Random::new(features ^ 0x1a70);
        for round in 0..300 {
            let sector = random.below(4000);
            let sectors = 1 + random.below(6);
            let bytes = sectors * 512;
            // All in one stretch of memory: header, then data to be written; or header, room for data and status.
            let at = rig.allocate(16 + bytes + 1);
            let header = [&[1u8, 0, 0, 0, 0, 0, 0, 0][..], &sector.to_le_bytes()].concat();
            rig.memory.write(Gpa::new(at), &header).unwrap();
            let data = rig.fill(at + 16, bytes as usize, round);
            let mut cut = |from: u64, to: u64, write: bool| -> Vec<Piece> {
                let mut pieces = Vec::new();
                let mut at = from;
                while at < to {
                    let left = 12usize.saturating_sub(pieces.len());
                    let n = if left <= 1 { to - at } else { 1 + random.below((to - at).min(700)) };
                    pieces.push((at, n as u32, write));
                    at += n;
                }
                pieces
            };
            let status = at + 16 + bytes;
            let write = [cut(at, status, false), cut(status, status + 1, true)].concat();
            let (id, _) = ring.add(&write);
            rig.kick(0);
            assert_eq!((ring.used(), rig.bytes(status, 1)), (Some((id, 1)), [0].to_vec()), "{features:#x}");
            rig.memory.write(Gpa::new(at), &[0]).unwrap();
            rig.memory.zero(Gpa::new(at + 16), bytes + 1).unwrap();
            let read = [cut(at, at + 16, false), cut(at + 16, status + 1, true)].concat();
            let (id, _) = ring.add(&read);
            rig.kick(0);
            assert_eq!(ring.used(), Some((id, bytes as u32 + 1)));
            assert_eq!(rig.bytes(at + 16, bytes as usize), data);
            rig.next_to(0x20_0000);
        }
        // Neighbours are one: the disk's memory is asked for in one piece.
        assert!(rig.disk.asked.lock().unwrap().iter().all(|asked| asked.segments.len() <= 2));
    }
}

#[test]
fn a_request_across_chunks_of_the_hosts_memory_is_several_segments() {
    let mut rig = Rig::new();
    let mut ring = rig.start(0);
    let (at, mut pieces) = rig.request(WRITE, 0, 8192);
    pieces[1].0 = (4 << 20) - 512;
    let data = rig.fill(pieces[1].0, 8192, 5);
    assert_eq!(send(&mut rig, &mut ring, at, &pieces), (OK, 1));
    assert_eq!(rig.disk.asked.lock().unwrap()[0].segments.len(), 2);
    let (back, pieces) = rig.request(READ, 0, 8192);
    assert_eq!(send(&mut rig, &mut ring, back, &pieces), (OK, 8193));
    assert_eq!(rig.bytes(back + 4096, 8192), data);
}

#[test]
fn a_request_of_more_than_the_guest_was_told_is_an_error_and_not_a_broken_ring() {
    let mut rig = Rig::with(1, 1024, |_| {});
    let mut ring = rig.start(0);
    let (at, header) = rig.request(READ, 0, 512);
    let mut pieces: Vec<Piece> = (0..700).map(|i| (0x20_0000 + i * 1024, 512, true)).collect();
    pieces.insert(0, header[0]);
    pieces.push(header[2]);
    assert_eq!(send(&mut rig, &mut ring, at, &pieces), (IO_ERROR, 1));
    let (at, mut pieces) = rig.request(READ, 0, 512);
    pieces[1] = (0, !511, true);
    assert_eq!(send(&mut rig, &mut ring, at, &pieces), (IO_ERROR, 1));
    assert_eq!(rig.status() & Status::NEEDS_RESET, 0);
    assert!(rig.disk.asked.lock().unwrap().is_empty());
}

#[test]
fn a_request_that_can_not_be_answered_stops_the_device() {
    // No status; no room for it; no header; half a header; a status where no RAM is.
    let wrong: [&[Piece]; 5] = [
        &[(0x20_0000, 16, false)],
        &[(0x20_0000, 16, false), (0x20_1000, 0, true)],
        &[(0x20_1000, 1, true)],
        &[(0x20_0000, 15, false), (0x20_1000, 1, true)],
        &[(0x20_0000, 16, false), (0xa_0000, 1, true)],
    ];
    for pieces in wrong {
        for features in [0, Feature::INDIRECT_DESC, Feature::RING_PACKED] {
            let mut rig = Rig::new();
            let mut ring = rig.start(features);
            ring.add(pieces);
            rig.kick(0);
            assert_eq!(rig.status(), 0xf | Status::NEEDS_RESET, "{pieces:x?}");
            assert_eq!(rig.interrupt(0), Some(0x50), "the configuration's interrupt");
            assert_eq!((ring.used(), rig.interrupt(1)), (None, None));
            // A reset brings it back.
            let mut ring = rig.start(features);
            assert_eq!(ask(&mut rig, &mut ring, READ, 0, 512), (OK, 513));
        }
    }
}
