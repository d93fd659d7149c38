//! Bytes of which the oldest make room for the newest.
use alloc::vec::Vec;

/// A place in it is how many bytes had been written before.
pub(super) struct Ring {
    bytes: Vec<u8>,
    start: u64,
    end: u64,
}

impl Ring {
    /// None if there is not so much memory. Not of 0 bytes.
    pub(super) fn new(size: usize) -> Option<Self> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(size).ok()?;
        bytes.resize(size, 0);
        Some(Self { bytes, start: 0, end: 0 })
    }

    /// The oldest byte's place.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// Bytes that can be written.
    pub(super) fn room(&self) -> usize {
        self.bytes.len() - (self.end - self.start) as usize
    }

    /// Lets the oldest go.
    pub(super) fn release(&mut self, bytes: usize) {
        self.start = (self.start + bytes as u64).min(self.end);
    }

    fn index(&self, place: u64) -> usize {
        (place % self.bytes.len() as u64) as usize
    }

    /// The next bytes, to be written, of which there is room for all: in two parts, since the memory may end among them.
    pub(super) fn extend(&mut self, bytes: usize) -> [&mut [u8]; 2] {
        debug_assert!(bytes <= self.room());
        let at = self.index(self.end);
        self.end += bytes as u64;
        let (front, back) = self.bytes.split_at_mut(at);
        let first = bytes.min(back.len());
        [&mut back[..first], &mut front[..bytes - first]]
    }

    /// Writes all, for which there is room.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        let [first, second] = self.extend(bytes.len());
        let (one, other) = bytes.split_at(first.len());
        first.copy_from_slice(one);
        second.copy_from_slice(other);
    }

    /// Reads what lies from a place on.
    pub(super) fn read(&self, place: u64, into: &mut [u8]) {
        debug_assert!(place >= self.start && place + into.len() as u64 <= self.end);
        let back = &self.bytes[self.index(place)..];
        let (first, second) = into.split_at_mut(into.len().min(back.len()));
        first.copy_from_slice(&back[..first.len()]);
        second.copy_from_slice(&self.bytes[..second.len()]);
    }
}
