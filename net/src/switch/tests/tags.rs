//! Tags put in and taken out.
use super::*;
use crate::frame::LONGEST;
use crate::nic::{Checksum, Frame, Offload, Segmentation, SegmentationKind};

/// What a frame's bytes are with another tag, in the simplest way.
fn expected(frame: &[u8], tag: Option<Tag>) -> Vec<u8> {
    let behind = if frame[12..14] == [0x81, 0] { 16 } else { 12 };
    let tag = tag.map(|tag| [[0x81, 0], tag.0.to_be_bytes()].concat()).unwrap_or_default();
    [&frame[..12], &tag, &frame[behind..]].concat()
}

fn frame(tag: Option<Tag>, bytes: usize) -> Vec<u8> {
    let plain: Vec<u8> = (0..bytes).map(|at| at as u8).collect();
    expected(&plain, tag)
}

#[test]
fn a_tag_is_put_in_taken_out_and_replaced() {
    let tags = [None, Some(Tag(0)), Some(Tag::new(vlan(10), 7)), Some(Tag::new(vlan(4094), 0))];
    for bytes in [14, 60, LONGEST, Beginning::MOST - 4] {
        for (had, wanted) in tags.into_iter().flat_map(|had| tags.map(|wanted| (had, wanted))) {
            let whole = frame(had, bytes);
            let mut beginning = Beginning::new(&whole).unwrap();
            assert_eq!(beginning.bytes(), whole);
            beginning.retag(wanted, Offload::default());
            assert_eq!(beginning.bytes(), expected(&whole, wanted), "{bytes} {had:?} {wanted:?}");
            // And back.
            beginning.retag(had, Offload::default());
            assert_eq!(beginning.bytes(), whole);
        }
    }
}

#[test]
fn what_is_left_to_be_done_moves_with_the_headers() {
    let offload = |shift: u16| Offload {
        checksum: Some(Checksum { start: 34 + shift, offset: 16 }),
        segmentation: Some(Segmentation { kind: SegmentationKind::Tcp4, payload: 1448, headers: 66 + shift }),
        verified: true,
    };
    let tag = Some(Tag::new(vlan(10), 0));
    let mut beginning = Beginning::new(&frame(None, LONGEST)).unwrap();
    let moved = beginning.retag(tag, offload(0));
    assert_eq!(moved, offload(4));
    assert_eq!(Frame { beginning: beginning.bytes(), rest: &[], offload: moved }.check(), Ok(()));
    assert_eq!(beginning.retag(Some(Tag(1)), moved), offload(4));
    assert_eq!(beginning.retag(None, moved), offload(0));
    assert_eq!(beginning.retag(None, offload(0)), offload(0));
    assert_eq!(with_tag(Offload::default(), false, true), Offload::default());
}

#[test]
fn a_beginning_is_a_header_at_least_and_no_more_than_fits() {
    for (bytes, good) in
        [(0, false), (13, false), (14, true), (Beginning::MOST, true), (Beginning::MOST + 1, false)]
    {
        assert_eq!(Beginning::new(&std::vec![0; bytes]).is_some(), good, "{bytes}");
    }
    let cut = &frame(Some(Tag(1)), 60)[..17];
    assert!(Beginning::new(cut).is_none());
    assert!(Beginning::new(&frame(Some(Tag(1)), 60)[..18]).is_some());
}

#[test]
fn a_frame_of_any_length_is_tagged_where_it_lies() {
    let whole = frame(None, 1514);
    let mut buffer = [&[0xee; 10][..], &whole].concat();
    let tag = Some(Tag::new(vlan(10), 3));
    assert_eq!(retag(&mut buffer, 10, tag), 6);
    assert_eq!((&buffer[6..], &buffer[..6]), (&expected(&whole, tag)[..], &[0xee; 6][..]));
    assert_eq!(retag(&mut buffer, 6, None), 10);
    assert_eq!(buffer[10..], whole);
}
