//! What a file holds, read again.
use super::{FILE, RECORD, SECOND};

/// A frame of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// When it came, in nanoseconds.
    pub time: u64,
    /// Bytes that it had.
    pub length: usize,
    /// Its beginning, as much as was kept.
    pub bytes: &'a [u8],
}

/// The frames of a file that [`Capture::read`](super::Capture::read) has made, oldest first.
pub fn records(file: &[u8]) -> impl Iterator<Item = Record<'_>> {
    let mut left = file.get(FILE..).unwrap_or(&[]);
    core::iter::from_fn(move || {
        let (header, rest) = left.split_first_chunk::<RECORD>()?;
        let word = |at: usize| u32::from_le_bytes(core::array::from_fn(|i| header[at * 4 + i]));
        let (bytes, after) = rest.split_at_checked(word(2) as usize)?;
        left = after;
        let time = u64::from(word(0)) * SECOND + u64::from(word(1));
        Some(Record { time, length: word(3) as usize, bytes })
    })
}
