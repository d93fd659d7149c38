//! Places within a request's memory.
use block::Segment;
use mm::Hpa;

/// A place within a request's segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Which segment.
    pub index: usize,
    /// How far into it.
    pub offset: u32,
}

impl Cursor {
    /// The pieces from here on, `limit` bytes at most.
    pub fn pieces(self, segments: &[Segment], limit: u64) -> impl Iterator<Item = (Hpa, u64)> {
        let (mut left, mut offset) = (limit, u64::from(self.offset));
        segments.get(self.index..).unwrap_or_default().iter().map_while(move |segment| {
            let bytes = u64::from(segment.bytes).saturating_sub(offset).min(left);
            let piece = (segment.address + offset, bytes);
            offset = 0;
            left -= bytes;
            (bytes != 0).then_some(piece)
        })
    }

    /// The place `bytes` further on.
    #[must_use]
    pub fn advance(mut self, segments: &[Segment], mut bytes: u64) -> Self {
        while let Some(segment) = segments.get(self.index) {
            let here = u64::from(segment.bytes).saturating_sub(self.offset.into());
            if bytes < here {
                // Less than a segment's 32 bits.
                self.offset += bytes as u32;
                break;
            }
            bytes -= here;
            self = Self { index: self.index + 1, offset: 0 };
        }
        self
    }
}
