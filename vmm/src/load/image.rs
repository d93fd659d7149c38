//! A file's bytes, read only within their bounds.
use super::error::Problem;

/// A kernel file. Every offset into it is an allegation until one of these functions has checked it.
#[derive(Clone, Copy)]
pub(super) struct Image<'a>(pub &'a [u8]);

impl<'a> Image<'a> {
    pub fn starts_with(&self, magic: &[u8]) -> bool {
        self.0.starts_with(magic)
    }

    /// `length` bytes from `start`, which are the file's `what`.
    pub fn part(&self, what: &'static str, start: u64, length: u64) -> Result<&'a [u8], Problem> {
        let file = self.0.len() as u64;
        let end = start.saturating_add(length);
        if end > file {
            return Err(Problem::Truncated { what, end, length: file });
        }
        // Both fit in `usize`, since they are at most the slice's length.
        Ok(&self.0[start as usize..end as usize])
    }
}

/// A little-endian field of a record whose size was checked; zero where the record ends before it.
pub(super) fn field<const N: usize>(record: &[u8], at: usize) -> [u8; N] {
    record.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

pub(super) fn u16_at(record: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(field(record, at))
}

pub(super) fn u32_at(record: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(field(record, at))
}

pub(super) fn u64_at(record: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(field(record, at))
}
