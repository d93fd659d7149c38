//! The log: a ring of entries in a fixed buffer, the oldest of which make room for new ones.
//!
//! It exists before the heap does, and a panic can read it. One owner writes at a time (the kernel holds
//! a lock around it); readers pass the number of the entry that they want next and learn from the
//! answer how many they missed.
/// Bytes before an entry's text: stamp (8), CPU (2), level (1), length (1).
const HEADER: usize = 12;
/// Longest text of an entry in bytes; the rest of a longer one is dropped.
pub const LONGEST: usize = u8::MAX as usize;

/// What an entry says besides its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number; the first entry ever has 0.
    pub number: u64,
    /// When it was written, in the writer's unit.
    pub stamp: u64,
    /// On which CPU.
    pub cpu: u16,
    /// How grave, as `log::Level` counts: 1 error to 5 trace.
    pub level: u8,
    /// Bytes of its text.
    pub len: usize,
}

/// A ring of `N` bytes.
pub struct LogRing<const N: usize> {
    bytes: [u8; N],
    /// Where the oldest entry starts. Positions count on; their remainder by `N` is the place.
    start: usize,
    /// Where the next entry will start.
    end: usize,
    /// Number of the oldest entry.
    oldest: u64,
    /// Number of the next entry.
    next: u64,
}

impl<const N: usize> Default for LogRing<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> LogRing<N> {
    /// An empty ring.
    pub const fn new() -> Self {
        const { assert!(N >= 1024, "a log ring holds at least a few entries") };
        Self { bytes: [0; N], start: 0, end: 0, oldest: 0, next: 0 }
    }

    /// Appends an entry. Of a text longer than [`LONGEST`], the beginning is kept.
    pub fn push(&mut self, stamp: u64, cpu: u16, level: u8, text: &str) {
        let text = beginning(text).as_bytes();
        while self.end - self.start + HEADER + text.len() > N {
            self.start += HEADER + self.entry_at(self.start, self.oldest).len;
            self.oldest += 1;
        }
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(&stamp.to_le_bytes());
        header[8..10].copy_from_slice(&cpu.to_le_bytes());
        header[10] = level;
        header[11] = text.len() as u8;
        self.put(&header);
        self.put(text);
        self.next += 1;
    }

    /// The number that the next entry will get.
    pub const fn next_number(&self) -> u64 {
        self.next
    }

    /// The number of the oldest entry that is still there.
    pub const fn oldest_number(&self) -> u64 {
        self.oldest
    }

    /// Calls `each` with all entries from number `from` on, oldest first, until it returns false. Entries
    /// that have gone are skipped.
    pub fn read(&self, from: u64, mut each: impl FnMut(Entry, &str) -> bool) {
        let mut at = self.start;
        let mut text = [0; LONGEST];
        for number in self.oldest..self.next {
            let entry = self.entry_at(at, number);
            if number >= from {
                for (i, b) in text[..entry.len].iter_mut().enumerate() {
                    *b = self.byte(at + HEADER + i);
                }
                if !each(entry, core::str::from_utf8(&text[..entry.len]).unwrap_or("")) {
                    return;
                }
            }
            at += HEADER + entry.len;
        }
    }

    fn byte(&self, at: usize) -> u8 {
        self.bytes[at % N]
    }

    fn put(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.bytes[self.end % N] = *b;
            self.end += 1;
        }
    }

    fn entry_at(&self, at: usize, number: u64) -> Entry {
        let stamp = (0..8).rev().fold(0, |t, i| t << 8 | u64::from(self.byte(at + i)));
        Entry {
            number,
            stamp,
            cpu: u16::from_le_bytes([self.byte(at + 8), self.byte(at + 9)]),
            level: self.byte(at + 10),
            len: self.byte(at + 11).into(),
        }
    }
}

/// As much of `text` as an entry holds, cut between characters.
fn beginning(text: &str) -> &str {
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{format, string::String, vec::Vec};

    fn all<const N: usize>(ring: &LogRing<N>, from: u64) -> Vec<(u64, String)> {
        let mut out = Vec::new();
        ring.read(from, |e, t| {
            out.push((e.number, t.into()));
            true
        });
        out
    }

    #[test]
    fn entries_come_back_as_they_were_written() {
        let mut ring = LogRing::<1024>::new();
        ring.push(7, 300, 2, "first");
        ring.push(9, 1, 3, "");
        let mut seen = Vec::new();
        ring.read(0, |e, t| {
            seen.push((e.number, e.stamp, e.cpu, e.level, String::from(t)));
            true
        });
        assert_eq!(seen, [(0, 7, 300, 2, "first".into()), (1, 9, 1, 3, "".into())]);
    }

    #[test]
    fn the_oldest_entries_make_room_and_numbers_go_on() {
        let mut ring = LogRing::<1024>::new();
        for i in 0..1000 {
            ring.push(i, 0, 3, &format!("entry {i}"));
        }
        let kept = all(&ring, 0);
        assert_eq!(kept.last().unwrap(), &(999, String::from("entry 999")));
        assert_eq!(kept.len() as u64, ring.next_number() - ring.oldest_number());
        assert!(kept.len() > 40);
        assert!(kept.iter().all(|(n, t)| *t == format!("entry {n}")));
        assert_eq!(all(&ring, 998).len(), 2);
        assert_eq!(all(&ring, 5000), []);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let mut ring = LogRing::<1024>::new();
        ring.push(0, 0, 3, &"ä".repeat(200));
        assert_eq!(all(&ring, 0)[0].1, "ä".repeat(127));
    }

    #[test]
    fn a_reader_can_stop() {
        let mut ring = LogRing::<1024>::new();
        ring.push(0, 0, 3, "a");
        ring.push(0, 0, 3, "b");
        let mut n = 0;
        ring.read(0, |_, _| {
            n += 1;
            false
        });
        assert_eq!(n, 1);
    }
}
