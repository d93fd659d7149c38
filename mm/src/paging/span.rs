//! Ranges of input addresses, cut along the entries of a table.
use super::format::Format;
use super::input::InputAddress;
use crate::addr::PAGE;

/// Numbers `start .. end`, not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub start: u64,
    pub end: u64,
}

/// What an entry of a table at `level` covers.
pub(super) const fn entry_bytes(level: u8) -> u64 {
    PAGE << (9 * (level - 1))
}

/// Index of the entry of a table at `level` that covers `number`.
#[inline]
pub(super) const fn index(number: u64, level: u8) -> usize {
    (number / entry_bytes(level) % 512) as usize
}

impl Span {
    /// The range of `bytes` from `input`, or `None` where it leaves its space.
    pub fn new<F: Format>(input: F::Input, bytes: u64) -> Option<Self> {
        let start = input.number()?;
        let end = start.checked_add(bytes)?;
        if end <= F::Input::end_of_space(start) { Some(Self { start, end }) } else { None }
    }

    pub const fn bytes(self) -> u64 {
        self.end - self.start
    }

    /// Whether it is all that an entry at `level` covers.
    #[inline]
    pub const fn is_whole(self, level: u8) -> bool {
        self.bytes() == entry_bytes(level)
    }

    /// The parts of it that fall to different entries at `level`.
    pub fn parts(self, level: u8) -> impl Iterator<Item = Self> {
        let mut start = self.start;
        core::iter::from_fn(move || {
            if start >= self.end {
                return None;
            }
            let boundary = (start | (entry_bytes(level) - 1)) + 1;
            let part = Self { start, end: boundary.min(self.end) };
            start = part.end;
            Some(part)
        })
    }
}
