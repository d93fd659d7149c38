//! All small rings over a small set of values, against a walk that is too simple to be wrong.
use super::*;
use crate::memory::Scatter;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// A descriptor as the test knows it.
#[derive(Clone, Copy, Debug)]
struct D {
    address: u64,
    bytes: u32,
    flags: u16,
    next: u16,
}

/// What a chain is: bytes to read, bytes to write.
type Walked = Option<(u64, u64)>;

/// Counts what a chain names.
#[derive(Default)]
struct Walk {
    read: u64,
    write: u64,
    writes: bool,
}

impl Walk {
    fn add(&mut self, d: D, ram: u64) -> Option<()> {
        let end = d.address.checked_add(d.bytes.into())?;
        if d.address >= 1 << 52 || (d.bytes != 0 && end > ram) {
            return None;
        }
        self.writes |= d.flags & WRITE != 0;
        match (self.writes, d.flags & WRITE != 0) {
            (true, false) => return None,
            (_, true) => self.write += u64::from(d.bytes),
            (_, false) => self.read += u64::from(d.bytes),
        }
        Some(())
    }

    /// A table that is the ring itself, or in memory that is all zero.
    fn table(&mut self, format: Format, ring: &[D], at: D, ram: u64) -> Option<()> {
        if at.bytes == 0 || !at.bytes.is_multiple_of(16) || at.flags & NEXT != 0 {
            return None;
        }
        let entries = (at.bytes / 16) as usize;
        let mut index = 0;
        for _ in 0..entries {
            if index >= entries || at.address.checked_add(16 * index as u64 + 16)? > ram {
                return None;
            }
            let zero = D { address: 0, bytes: 0, flags: 0, next: 0 };
            let d = if at.address == DESCRIPTORS { *ring.get(index).unwrap_or(&zero) } else { zero };
            if d.flags & INDIRECT != 0 {
                return None;
            }
            self.add(d, ram)?;
            if format == Format::Packed {
                index += 1;
            } else if d.flags & NEXT == 0 {
                return Some(());
            } else {
                index = d.next.into();
            }
        }
        (format == Format::Packed).then_some(())
    }
}

/// What a chain is, if it is one.
fn walk(format: Format, ring: &[D], start: usize, ram: u64) -> Walked {
    let mut walk = Walk::default();
    let mut at = start;
    for step in 0..ring.len() {
        let d = *ring.get(at)?;
        if d.flags & INDIRECT != 0 {
            if format == Format::Packed && step != 0 {
                return None;
            }
            walk.table(format, ring, d, ram)?;
            return Some((walk.read, walk.write));
        }
        walk.add(d, ram)?;
        if d.flags & NEXT == 0 {
            return Some((walk.read, walk.write));
        }
        at = if format == Format::Split { d.next.into() } else { (at + 1) % ring.len() };
    }
    None
}

fn inside(raw: &Raw, list: &Scatter) -> bool {
    list.segments().iter().all(|s| s.bytes != 0 && s.address.get() + u64::from(s.bytes) <= raw.memory.bytes())
}

/// Counts through all combinations of one value of each set.
fn each(sets: usize, values: &[D], mut f: impl FnMut(&[D])) {
    let mut indices = std::vec![0; sets];
    loop {
        let table: Vec<D> = indices.iter().map(|&i| values[i]).collect();
        f(&table);
        let Some(at) = indices.iter().rposition(|&i| i + 1 < values.len()) else { return };
        indices[at] += 1;
        indices[at + 1..].fill(0);
    }
}

fn values(addresses: &[u64], lengths: &[u32], nexts: &[u16]) -> Vec<D> {
    let mut all = Vec::new();
    for &address in addresses {
        for &bytes in lengths {
            for flags in 0..8 {
                for &next in nexts {
                    all.push(D { address, bytes, flags, next });
                }
            }
        }
    }
    all
}

fn check(raw: &Raw, tables: usize, values: &[D], starts: &[u16]) -> u64 {
    let (mut count, mut good) = (0u64, 0u64);
    let mut chain = raw.chain(4);
    each(tables, values, |table| {
        for (i, d) in table.iter().enumerate() {
            raw.ring(i as u16, d.address, d.bytes, d.flags, d.next);
        }
        for &start in starts {
            raw.heads(&[start]);
            let (mut ring, _) = raw.open(true).unwrap();
            let found = ring.pop(&raw.memory, &mut chain);
            let expected = walk(raw.format, table, usize::from(start), raw.memory.bytes());
            let bytes = found.ok().map(|taken| {
                assert!(taken);
                (chain.readable.bytes(), chain.writable.bytes())
            });
            assert_eq!(bytes, expected, "{table:x?} from {start}: {found:?}");
            if found.is_ok() {
                good += 1;
                assert!(inside(raw, &chain.readable) && inside(raw, &chain.writable));
            }
            count += 1;
        }
    });
    assert!(good > 0 && good < count, "{good} of {count}");
    count
}

#[test]
fn all_split_rings_of_two() {
    let raw = Raw::new(Format::Split, 2);
    let values = values(&[0x10_0000, DESCRIPTORS, (2 << 20) - 16, u64::MAX - 7], &[0, 16, 24], &[0, 1, 2]);
    let count = check(&raw, 2, &values, &[0, 1, 2]);
    assert!(count > 200_000, "{count}");
}

#[test]
fn all_packed_rings_of_three() {
    let raw = Raw::new(Format::Packed, 3);
    let values = values(&[0x10_0000, DESCRIPTORS, (2 << 20) - 16], &[16, 24, 32], &[7]);
    let count = check(&raw, 3, &values, &[0]);
    assert!(count > 300_000, "{count}");
}

#[test]
fn all_availability_bits_of_packed_rings_of_two() {
    // What is not available is not taken; what is, is, whatever the others' bits are.
    let raw = Raw::new(Format::Packed, 2);
    for bits in 0..16u16 {
        let flags = |n: u16| (bits >> (2 * n) & 1) << 7 | (bits >> (2 * n + 1) & 1) << 15;
        for n in 0..2 {
            raw.descriptor(DESCRIPTORS + 16 * u64::from(n), 0x10_0000, 16, flags(n), n);
        }
        let (mut ring, _) = raw.open(false).unwrap();
        let mut chain = raw.chain(4);
        let available = |n: u16| flags(n) == 1 << 7;
        assert_eq!(ring.pop(&raw.memory, &mut chain), Ok(available(0)));
        if available(0) {
            assert_eq!((chain.token.id, ring.pop(&raw.memory, &mut chain)), (0, Ok(available(1))));
        }
        if available(0) && available(1) {
            // In the next round both bits mean the opposite.
            assert_eq!(ring.pop(&raw.memory, &mut chain), Ok(false));
        }
    }
}

#[test]
fn all_split_indices_of_a_ring_of_two() {
    let raw = Raw::new(Format::Split, 2);
    raw.ring(0, 0x10_0000, 16, 0, 0);
    let mut chain = raw.chain(4);
    for index in 0..=u16::MAX {
        raw.put(DRIVER + 2, &index.to_le_bytes());
        let (mut ring, _) = raw.open(false).unwrap();
        let expected = match index {
            0 => Ok(false),
            1 | 2 => Ok(true),
            _ => Err(Broken::Index),
        };
        assert_eq!(ring.pop(&raw.memory, &mut chain), expected, "{index}");
    }
}
