//! Rings that break the rules, one rule at a time.
use super::*;
use crate::memory::NotRam;
use crate::virtio::queue::{BUDGET, MAX_CHAIN, MAX_SIZE, Service};
use std::cell::Cell;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

fn pop(raw: &Raw, indirect: bool) -> Result<(Vec<u32>, Vec<u32>), Broken> {
    let (mut ring, _) = raw.open(indirect)?;
    let mut chain = raw.chain(8);
    assert!(ring.pop(&raw.memory, &mut chain)?, "a chain is available");
    Ok(lengths(&chain))
}

#[test]
fn a_chain_is_read_in_order_and_neighbours_are_one() {
    for format in [Format::Split, Format::Packed] {
        let raw = Raw::new(format, 8);
        raw.heads(&[0]);
        raw.ring(0, DATA, 16, NEXT, 1);
        raw.ring(1, DATA + 16, 4, NEXT, 2);
        raw.ring(2, DATA + 512, 0, NEXT, 3);
        raw.ring(3, DATA + 1024, 100, WRITE | NEXT, 4);
        raw.ring(4, DATA + 4096, 1, WRITE, 0);
        assert_eq!(pop(&raw, false), Ok(([20].to_vec(), [100, 1].to_vec())), "{format:?}");
    }
}

#[test]
fn a_chain_that_goes_round_in_a_circle_ends() {
    for size in [1, 2, 8, 1024] {
        let raw = Raw::new(Format::Split, size);
        raw.heads(&[0]);
        for i in 0..size {
            raw.ring(i, DATA, 1, NEXT, (i + 1) % size);
        }
        assert_eq!(pop(&raw, false), Err(Broken::Length));
        raw.ring(0, DATA, 1, NEXT, 0);
        assert_eq!(pop(&raw, false), Err(Broken::Length), "a circle of one");
        let raw = Raw::new(Format::Packed, size);
        for i in 0..size {
            raw.ring(i, DATA, 1, NEXT, 0);
        }
        assert_eq!(pop(&raw, false), Err(Broken::Length));
    }
}

#[test]
fn a_head_or_a_next_that_is_not_there_breaks_the_ring() {
    let raw = Raw::new(Format::Split, 8);
    for head in [8, 9, 0x7fff, 0xffff] {
        raw.heads(&[head]);
        assert_eq!(pop(&raw, false), Err(Broken::Head));
        raw.heads(&[0]);
        raw.ring(0, DATA, 1, NEXT, head);
        assert_eq!(pop(&raw, false), Err(Broken::Head));
    }
}

#[test]
fn an_index_that_jumps_breaks_the_ring() {
    let raw = Raw::new(Format::Split, 8);
    let (mut ring, _) = raw.open(false).unwrap();
    let mut chain = raw.chain(8);
    for (index, outcome) in [(9, Err(Broken::Index)), (0xffff, Err(Broken::Index)), (8, Ok(true))] {
        raw.put(DRIVER + 2, &u16::to_le_bytes(index));
        let (mut fresh, _) = raw.open(false).unwrap();
        assert_eq!(fresh.pop(&raw.memory, &mut chain), outcome, "{index}");
    }
    // Backwards, after some were taken.
    raw.put(DRIVER + 2, &3u16.to_le_bytes());
    for _ in 0..3 {
        assert_eq!(ring.pop(&raw.memory, &mut chain), Ok(true));
    }
    raw.put(DRIVER + 2, &2u16.to_le_bytes());
    assert_eq!(ring.pop(&raw.memory, &mut chain), Err(Broken::Index));
}

#[test]
fn addresses_that_are_no_ram_break_the_ring() {
    for format in [Format::Split, Format::Packed] {
        let raw = Raw::new(format, 4);
        raw.heads(&[0]);
        for (address, bytes) in [
            (2 << 20, 1),
            ((2 << 20) - 1, 2),
            (0x9_ffff, 2),
            (0xa_0000, 1),
            (0xfee0_0000, 4),
            (u64::MAX, 1),
            (u64::MAX - 15, 16),
            (1 << 52, 1),
            ((1 << 52) - 1, 2),
        ] {
            raw.ring(0, address, bytes, 0, 0);
            let result = pop(&raw, false);
            assert!(matches!(result, Err(Broken::Address(NotRam(_)))), "{format:?} {address:#x} {result:?}");
            raw.ring(0, address, bytes, WRITE, 0);
            assert!(matches!(pop(&raw, false), Err(Broken::Address(_))));
            raw.descriptor(DATA, address, bytes, 0, 0);
            raw.ring(0, DATA, 16, INDIRECT, 0);
            assert!(matches!(pop(&raw, true), Err(Broken::Address(_))));
            raw.ring(0, address, 16, INDIRECT, 0);
            assert!(matches!(pop(&raw, true), Err(Broken::Address(_))), "a table at {address:#x}");
        }
    }
}

#[test]
fn overlapping_addresses_are_the_guests_own_business() {
    for format in [Format::Split, Format::Packed] {
        let raw = Raw::new(format, 4);
        raw.heads(&[0]);
        raw.ring(0, DATA, 64, NEXT, 1);
        raw.ring(1, DATA, 64, NEXT, 2);
        raw.ring(2, DESCRIPTORS, 64, WRITE, 0);
        assert_eq!(pop(&raw, false), Ok(([64, 64].to_vec(), [64].to_vec())));
    }
}

#[test]
fn lengths_that_sum_up_beyond_all_limits_are_too_long_and_nothing_else() {
    for format in [Format::Split, Format::Packed] {
        let raw = Raw::new(format, 8);
        raw.heads(&[0]);
        for i in 0..7 {
            raw.ring(i, 0x10_0000, u32::MAX, WRITE | NEXT, i + 1);
        }
        raw.ring(7, DATA, 1, WRITE, 0);
        let (mut ring, _) = raw.open(false).unwrap();
        let mut chain = raw.chain(8);
        assert_eq!(ring.pop(&raw.memory, &mut chain), Ok(true));
        assert!(chain.writable.too_long() && chain.writable.segments().is_empty());
        assert_eq!(chain.writable.bytes(), 7 * u64::from(u32::MAX) + 1);
        assert_eq!(chain.writable.take_last(), Some(Gpa::new(DATA)));
    }
}

#[test]
fn more_segments_than_there_is_room_for_are_too_long() {
    for format in [Format::Split, Format::Packed] {
        let raw = Raw::new(format, 16);
        raw.heads(&[0]);
        for i in 0..9 {
            raw.ring(i, DATA + 32 * u64::from(i), 16, if i < 8 { NEXT } else { 0 }, i + 1);
        }
        let (mut ring, _) = raw.open(false).unwrap();
        let mut chain = raw.chain(8);
        assert_eq!(ring.pop(&raw.memory, &mut chain), Ok(true));
        assert!(chain.readable.too_long());
    }
}

#[test]
fn what_is_to_be_read_comes_before_what_is_to_be_written() {
    for format in [Format::Split, Format::Packed] {
        let raw = Raw::new(format, 4);
        raw.heads(&[0]);
        raw.ring(0, DATA, 16, WRITE | NEXT, 1);
        raw.ring(1, DATA, 16, 0, 0);
        assert_eq!(pop(&raw, false), Err(Broken::Order));
    }
}

#[test]
fn indirect_tables_are_read_where_they_may_be() {
    for format in [Format::Split, Format::Packed] {
        // An odd address, and across a page, is as good as any.
        for table in [DATA, DATA + 3, DATA + 4096 - 24] {
            let raw = Raw::new(format, 4);
            raw.heads(&[0]);
            raw.descriptor(table, DATA + 0x8000, 16, NEXT, 1);
            raw.descriptor(table + 16, DATA + 0x9000, 32, WRITE, 0);
            // The direction of the table itself means nothing.
            raw.ring(0, table, 32, INDIRECT | WRITE, 0);
            assert_eq!(pop(&raw, true), Ok(([16].to_vec(), [32].to_vec())), "{format:?} {table:#x}");
            assert_eq!(pop(&raw, false), Err(Broken::Indirect), "not agreed upon");
        }
    }
}

#[test]
fn a_split_chain_may_end_in_a_table_and_a_packed_one_may_not() {
    for format in [Format::Split, Format::Packed] {
        let raw = Raw::new(format, 4);
        raw.heads(&[0]);
        raw.ring(0, DATA, 16, NEXT, 1);
        raw.ring(1, DATA + 0x1000, 16, INDIRECT, 0);
        raw.descriptor(DATA + 0x1000, DATA + 0x2000, 4, WRITE, 0);
        let expected = match format {
            Format::Split => Ok(([16].to_vec(), [4].to_vec())),
            Format::Packed => Err(Broken::Indirect),
        };
        assert_eq!(pop(&raw, true), expected);
    }
}

#[test]
fn tables_that_are_nested_odd_overlong_or_linked_break_the_ring() {
    for format in [Format::Split, Format::Packed] {
        let raw = Raw::new(format, 4);
        raw.heads(&[0]);
        raw.descriptor(DATA, DATA, 16, INDIRECT, 0);
        raw.ring(0, DATA, 16, INDIRECT, 0);
        assert_eq!(pop(&raw, true), Err(Broken::Indirect), "nested");
        for odd in [0, 1, 15, 17, 31, u32::MAX] {
            raw.ring(0, DATA, odd, INDIRECT, 0);
            assert_eq!(pop(&raw, true), Err(Broken::Indirect), "{odd} bytes");
        }
        for long in [16 * (MAX_CHAIN + 1), 0xffff_fff0] {
            raw.ring(0, DATA, long, INDIRECT, 0);
            assert_eq!(pop(&raw, true), Err(Broken::Length), "{long} bytes");
        }
        raw.ring(0, DATA, 16, INDIRECT | NEXT, 1);
        assert_eq!(pop(&raw, true), Err(Broken::Indirect), "linked");
    }
}

#[test]
fn a_chain_within_a_table_that_goes_round_or_out_ends() {
    let raw = Raw::new(Format::Split, 4);
    raw.heads(&[0]);
    raw.ring(0, DATA, 48, INDIRECT, 0);
    for next in [0, 1, 2] {
        raw.descriptor(DATA, DATA, 1, NEXT, 1);
        raw.descriptor(DATA + 16, DATA, 1, NEXT, 2);
        raw.descriptor(DATA + 32, DATA, 1, NEXT, next);
        assert_eq!(pop(&raw, true), Err(Broken::Length));
    }
    for next in [3, 0xffff] {
        raw.descriptor(DATA + 16, DATA, 1, NEXT, next);
        assert_eq!(pop(&raw, true), Err(Broken::Head));
    }
}

#[test]
fn rings_that_are_not_in_memory_are_not_opened() {
    for format in [Format::Split, Format::Packed] {
        let raw = Raw::new(format, 8);
        let control = control();
        let queue = Virtqueue::new(&raw.memory.share(), &control, 256, 4);
        let features = if format == Format::Packed { crate::virtio::Feature::RING_PACKED } else { 0 };
        let good = raw.addresses();
        assert_eq!(queue.enable(good, features), Ok(()));
        let bad = [
            Addresses { size: 0, ..good },
            Addresses { size: 512, ..good },
            Addresses { descriptors: DESCRIPTORS + 8, ..good },
            Addresses { descriptors: (2 << 20) - 64, ..good },
            Addresses { descriptors: 0x9_fff0, ..good },
            Addresses { descriptors: !15, ..good },
            Addresses { driver: DRIVER + 1, ..good },
            Addresses { driver: 0xb_0000, ..good },
            Addresses { device: DEVICE + 2, ..good },
            Addresses { device: 1 << 40, ..good },
        ];
        for (i, addresses) in bad.into_iter().enumerate() {
            assert_eq!(queue.enable(addresses, features), Err(Broken::Place), "{format:?} {i}");
        }
        let three = queue.enable(Addresses { size: 3, ..good }, features);
        assert_eq!(three.is_ok(), format == Format::Packed, "packed rings may have any size");
    }
}

/// Counts what it is given.
struct Counter {
    taken: Cell<u32>,
    cost: u32,
}

impl Service for Counter {
    fn take(&self, _: &mut Chain) -> Result<u32, Broken> {
        self.taken.set(self.taken.get() + 1);
        Ok(self.cost)
    }
}

#[test]
fn one_call_serves_a_bounded_amount_and_asks_for_another() {
    for (format, cost, expected) in
        [(Format::Split, 0, MAX_SIZE.into()), (Format::Split, BUDGET / 4, 4), (Format::Packed, BUDGET, 1)]
    {
        let raw = Raw::new(format, MAX_SIZE);
        for i in 0..MAX_SIZE {
            raw.ring(i, DATA, 16, 0, 0);
        }
        raw.heads(&(0..MAX_SIZE).collect::<Vec<_>>());
        let queue = Virtqueue::new(&raw.memory.share(), &control(), MAX_SIZE, 4);
        let features = if format == Format::Packed { crate::virtio::Feature::RING_PACKED } else { 0 };
        queue.enable(raw.addresses(), features).unwrap();
        let counter = Counter { taken: Cell::new(0), cost };
        queue.serve(&counter);
        assert_eq!(counter.taken.get(), expected);
        if cost != 0 {
            queue.serve(&counter);
            assert_eq!(counter.taken.get(), 2 * expected, "and goes on where it was");
        }
    }
}

#[test]
fn long_chains_use_up_what_one_call_may_do() {
    let raw = Raw::new(Format::Split, 64);
    for i in 0..64 {
        raw.ring(i, DATA, 16 * MAX_CHAIN, INDIRECT, 0);
    }
    for i in 0..MAX_CHAIN {
        let next = u16::from(i + 1 < MAX_CHAIN);
        raw.descriptor(DATA + 16 * u64::from(i), DATA, 1, next, i as u16 + 1);
    }
    raw.heads(&(0..64).collect::<Vec<_>>());
    let queue = Virtqueue::new(&raw.memory.share(), &control(), 64, 4);
    queue.enable(raw.addresses(), crate::virtio::Feature::INDIRECT_DESC).unwrap();
    let counter = Counter { taken: Cell::new(0), cost: 0 };
    queue.serve(&counter);
    assert_eq!(counter.taken.get(), BUDGET / MAX_CHAIN);
}

#[test]
fn a_broken_ring_stops_the_device_and_is_not_looked_at_again() {
    let raw = Raw::new(Format::Split, 4);
    raw.heads(&[0, 9, 0]);
    raw.ring(0, DATA, 16, 0, 0);
    let control = control();
    let queue = Virtqueue::new(&raw.memory.share(), &control, 4, 4);
    queue.enable(raw.addresses(), 0).unwrap();
    let counter = Counter { taken: Cell::new(0), cost: 0 };
    for _ in 0..3 {
        queue.serve(&counter);
        assert_eq!((counter.taken.get(), control.status()), (1, Status::DRIVER_OK | Status::NEEDS_RESET));
    }
}
