//! Frames whose 802.1Q tag differs from port to port.
use net::frame::{EtherType, LONGEST, Tag};
use net::nic::Frame;
use net::switch::{retag, with_tag};

/// Where a tag lies in a frame.
const TAG: core::ops::Range<usize> = 12..14;

/// Hands on a frame with this tag, or without one, whatever it came with. Its beginning is copied where that changes.
#[inline]
pub fn retagged<R>(frame: &Frame<'_>, tag: Option<Tag>, hand_on: impl FnOnce(&Frame<'_>) -> R) -> R {
    let has_tag = frame.beginning.get(TAG) == Some(&EtherType::TAG.0.to_be_bytes());
    let bytes = frame.beginning.len();
    // A beginning that is longer was never made: it would be handed on with the tag that it has.
    if (!has_tag && tag.is_none()) || bytes > LONGEST + Tag::SIZE {
        return hand_on(frame);
    }
    let mut buffer = [0; LONGEST + 2 * Tag::SIZE];
    let end = Tag::SIZE + bytes;
    buffer[Tag::SIZE..end].copy_from_slice(frame.beginning);
    let start = retag(&mut buffer[..end], Tag::SIZE, tag);
    let offload = with_tag(frame.offload, has_tag, tag.is_some());
    hand_on(&Frame { beginning: &buffer[start..end], rest: frame.rest, offload })
}
