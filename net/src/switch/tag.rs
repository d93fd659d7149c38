//! Puts an 802.1Q tag into the beginning of a frame, or takes one out.
//!
//! Only the two addresses before it move, into room that is left before them: what lies behind stays where it is.
use crate::frame::{EtherType, Ethernet, LONGEST, Tag};
use crate::nic::{Checksum, Offload, Segmentation};

/// Where a tag lies: behind both addresses.
const AT: usize = 12;

/// Gives the frame that begins at `start` of `buffer` this tag, or none; what it had is replaced. Where it begins then.
///
/// A frame that gets one which had none needs [`Tag::SIZE`] bytes of room before `start`.
///
/// # Panics
/// There is not so much room, or the frame is shorter than its header.
pub fn retag(buffer: &mut [u8], start: usize, tag: Option<Tag>) -> usize {
    let has_tag = buffer[start + AT..start + AT + 2] == EtherType::TAG.0.to_be_bytes();
    let start = match (has_tag, tag) {
        (true, None) => moved(buffer, start, start + Tag::SIZE),
        (false, Some(_)) => moved(buffer, start, start - Tag::SIZE),
        _ => start,
    };
    if let Some(tag) = tag {
        buffer[start + AT..][..2].copy_from_slice(&EtherType::TAG.0.to_be_bytes());
        buffer[start + AT + 2..][..2].copy_from_slice(&tag.0.to_be_bytes());
    }
    start
}

/// Moves both addresses.
fn moved(buffer: &mut [u8], from: usize, to: usize) -> usize {
    buffer.copy_within(from..from + AT, to);
    to
}

/// What is left to be done to a frame whose tag was put in or taken out: the same, as many bytes further on.
pub fn with_tag(offload: Offload, had_tag: bool, has_tag: bool) -> Offload {
    let shift = |place: u16| match (had_tag, has_tag) {
        (false, true) => place.saturating_add(Tag::SIZE as u16),
        (true, false) => place.saturating_sub(Tag::SIZE as u16),
        _ => place,
    };
    Offload {
        checksum: offload.checksum.map(|sum| Checksum { start: shift(sum.start), ..sum }),
        segmentation: offload.segmentation.map(|how| Segmentation { headers: shift(how.headers), ..how }),
        ..offload
    }
}

/// The copied beginning of a frame, with room for a tag.
#[derive(Clone, Copy, Debug)]
pub struct Beginning {
    bytes: [u8; Self::MOST + Tag::SIZE],
    start: usize,
    end: usize,
}

impl Beginning {
    /// Most bytes. Whoever copies a longer frame takes at least [`LONGEST`] and [`Tag::SIZE`] more, so that enough is left
    /// where a tag is taken out.
    pub const MOST: usize = 256;

    /// A copy of these bytes. None if they are more than [`Self::MOST`], or not even a header with its tag.
    pub fn new(beginning: &[u8]) -> Option<Self> {
        let has_tag = beginning.get(AT..AT + 2)? == EtherType::TAG.0.to_be_bytes();
        let least = if has_tag { Ethernet::SIZE + Tag::SIZE } else { Ethernet::SIZE };
        if beginning.len() < least || beginning.len() > Self::MOST {
            return None;
        }
        let (start, end) = (Tag::SIZE, Tag::SIZE + beginning.len());
        let mut bytes = [0; Self::MOST + Tag::SIZE];
        bytes[start..end].copy_from_slice(beginning);
        Some(Self { bytes, start, end })
    }

    /// Gives the frame this tag, or none; and what is left to be done to it as it is then.
    pub fn retag(&mut self, tag: Option<Tag>, offload: Offload) -> Offload {
        let before = self.start;
        self.start = retag(&mut self.bytes, before, tag);
        with_tag(offload, self.start > before, self.start < before)
    }

    /// The bytes as they are now.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }
}

const _: () = assert!(Beginning::MOST >= LONGEST + Tag::SIZE);
