//! Frames and what they claim.
use super::*;
use crate::frame::LONGEST;
use mm::{Hpa, Segment};

const REST: [Segment; 2] =
    [Segment { address: Hpa::new(0x1000), bytes: 1000 }, Segment { address: Hpa::new(0x8000), bytes: 500 }];

fn check(beginning: usize, rest: &[Segment], offload: Offload) -> Result<(), BadFrame> {
    Frame { beginning: &[0; LONGEST + 100][..beginning], rest, offload }.check()
}

#[test]
fn a_frame_is_its_headers_and_the_memory_of_its_rest() {
    let frame = Frame { beginning: &[0; LONGEST], rest: &REST, offload: Offload::default() };
    assert_eq!((frame.bytes(), frame.check()), (LONGEST + 1500, Ok(())));
    assert_eq!(check(14, &[], Offload::default()), Ok(()));
    assert_eq!(check(13, &[], Offload::default()), Err(BadFrame::Beginning));
    let empty = [Segment { bytes: 0, ..REST[0] }];
    assert_eq!(check(LONGEST, &empty, Offload::default()), Err(BadFrame::Segment));
    let most = Segment { bytes: (Frame::MOST - LONGEST) as u32, ..REST[0] };
    assert_eq!(check(LONGEST, &[most], Offload::default()), Ok(()));
    assert_eq!(check(LONGEST, &[most, most], Offload::default()), Err(BadFrame::Length));
}

#[test]
fn a_checksum_is_computed_within_the_headers_only() {
    for (start, offset, good) in [
        (14, 0, true),
        (34, 16, true),
        (34, 30, true),
        (34, 31, false),
        (13, 0, false),
        (u16::MAX, u16::MAX, false),
    ] {
        let offload = Offload { checksum: Some(Checksum { start, offset }), ..Offload::default() };
        let wanted = if good { Ok(()) } else { Err(BadFrame::Checksum) };
        assert_eq!(check(66, &[], offload), wanted, "{start} {offset}");
    }
}

#[test]
fn a_frame_is_cut_behind_its_headers_into_pieces_with_payload_and_checksum() {
    let checksum = Some(Checksum { start: 34, offset: 16 });
    let kind = SegmentationKind::Tcp4;
    for (payload, headers, checksum, good) in [
        (1448, 66, checksum, true),
        (1, 52, checksum, true),
        (0, 66, checksum, false),
        (1448, 51, checksum, false),
        (1448, LONGEST as u16 + 1, checksum, false),
        (1448, 66, None, false),
    ] {
        let offload = Offload {
            checksum,
            segmentation: Some(Segmentation { kind, payload, headers }),
            ..Offload::default()
        };
        let wanted = if good { Ok(()) } else { Err(BadFrame::Segmentation) };
        assert_eq!(check(LONGEST, &REST, offload), wanted, "{payload} {headers}");
    }
    // Nothing behind the headers.
    let segmentation = Some(Segmentation { kind, payload: 100, headers: 66 });
    let offload = Offload { checksum, segmentation, ..Offload::default() };
    assert_eq!(check(66, &[], offload), Err(BadFrame::Segmentation));
    assert_eq!(check(67, &[], offload), Ok(()));
}

#[test]
fn what_is_behind_the_beginning_holds_no_header_that_anybody_looks_at() {
    let check = |ether_type: &[u8], beginning: usize| {
        let mut bytes = [0; LONGEST];
        bytes[12..12 + ether_type.len()].copy_from_slice(ether_type);
        Frame { beginning: &bytes[..beginning], rest: &REST, offload: Offload::default() }.check()
    };
    for ip in [&[8, 0][..], &[8, 6], &[0x86, 0xdd], &[0x81, 0, 0, 1, 8, 0], &[0x81, 0, 0, 1, 0x86, 0xdd]] {
        assert_eq!(check(ip, LONGEST - 4), Ok(()));
        for beginning in [14, 17, 18, LONGEST - 5] {
            assert_eq!(check(ip, beginning), Err(BadFrame::Beginning), "{ip:x?} {beginning}");
        }
    }
    assert_eq!(check(&[0x88, 0xb5], 13), Err(BadFrame::Beginning));
    assert_eq!(check(&[0x88, 0xb5], 14), Ok(()));
    // Which it is stands behind the tag.
    for beginning in [14, 16, 17] {
        assert_eq!(check(&[0x81, 0, 0, 1, 0x88, 0xb5], beginning), Err(BadFrame::Beginning));
    }
    assert_eq!(check(&[0x81, 0, 0, 1, 0x88, 0xb5], 18), Ok(()));
}

#[test]
fn the_longest_of_what_comes_of_a_frame_is_itself_or_a_piece() {
    let longest = |payload: Option<u16>| {
        let how = |payload| Segmentation { kind: SegmentationKind::Tcp4, payload, headers: 66 };
        let offload = Offload { segmentation: payload.map(how), ..Offload::default() };
        Frame { beginning: &[0; LONGEST], rest: &REST, offload }.longest()
    };
    let whole = LONGEST + 1500;
    assert_eq!([longest(None), longest(Some(1)), longest(Some(1448))], [whole, 67, 1514]);
    // What is shorter than a piece may be is not made longer.
    assert_eq!(longest(Some(u16::MAX)), whole);
}

#[test]
fn a_card_is_asked_for_no_more_than_it_can() {
    let checksum = Some(Checksum { start: 34, offset: 16 });
    let segmentation = Some(Segmentation { kind: SegmentationKind::Tcp6, payload: 1428, headers: 86 });
    let frame = |offload| Frame { beginning: &[0; LONGEST], rest: &REST, offload };
    let plain = frame(Offload::default());
    let summed = frame(Offload { checksum, ..Offload::default() });
    let cut = frame(Offload { checksum, segmentation, ..Offload::default() });
    let none = Abilities::default();
    let sums = Abilities { checksum: true, tcp4: true, ..none };
    let all = Abilities { tcp6: true, ..sums };
    for (abilities, can) in [(none, [true, false, false]), (sums, [true, true, false]), (all, [true; 3])] {
        assert_eq!([plain, summed, cut].map(|frame| abilities.suffice(&frame)), can);
    }
}
