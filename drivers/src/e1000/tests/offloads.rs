//! Checksums and segmentation: the device gets what it needs to do them right.
use super::frames::*;
use super::*;
use net::frame::checksum::Sum;
use net::frame::{Network, TcpFlags};
use net::nic::{Checksum, Segmentation, SegmentationKind};

fn shapes() -> impl Iterator<Item = (bool, bool)> {
    [(false, false), (false, true), (true, false), (true, true)].into_iter()
}

#[test]
fn checksums_are_put_in() {
    for card in CARDS {
        let rig = Rig::new(card);
        for (tag, (v6, tagged)) in shapes().enumerate() {
            let shape = Shape { v6, tagged, payload: 1401 };
            let (frame, offload) = tcp(shape, None);
            rig.transmit(tag as u64, &frame, LONGEST, &[333], offload).unwrap();
            rig.nic.start();
            rig.run(|| rig.told() == tag + 1);
            assert_eq!(rig.sent(), [whole_tcp(shape)]);
        }
    }
}

#[test]
fn a_checksum_may_be_anywhere_in_the_headers() {
    let rig = Rig::new(CARDS[1]);
    let mut frame = plain(OTHER.0, 300, 9);
    let checksum = Some(Checksum { start: 50, offset: 6 });
    rig.transmit(0, &frame, LONGEST, &[7, 500], Offload { checksum, ..Offload::default() }).unwrap();
    rig.nic.start();
    rig.run(|| rig.told() == 1);
    let sum = Sum::new().bytes(&frame[50..]).checksum();
    frame[56..58].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(rig.sent(), [frame]);
}

#[test]
fn tcp_is_cut_into_segments_that_are_right_in_all() {
    for card in CARDS {
        let rig = Rig::new(card);
        let cases = [(1448, 65_000), (1448, 1449), (1448, 1448), (1448, 1), (8900, 65_000), (536, 20_000)];
        for (tag, ((segment, payload), (v6, tagged))) in
            cases.into_iter().flat_map(|case| shapes().map(move |shape| (case, shape))).enumerate()
        {
            let (frame, offload) = tcp(Shape { v6, tagged, payload }, Some(segment));
            if v6 && !rig.nic.abilities().tcp6 {
                let refused = rig.transmit(1000, &frame, LONGEST, &[4096], offload);
                assert_eq!(refused, Err(Refused::Unable));
                continue;
            }
            let before = rig.nic.counters();
            rig.transmit(tag as u64, &frame, LONGEST, &[1000, 4096], offload).unwrap();
            rig.nic.start();
            rig.run(|| rig.told.tags.lock().contains(&(tag as u64)));
            let sent = rig.sent();
            assert_eq!(sent.len(), payload.div_ceil(segment.into()));
            let mut data: Vec<u8> = Vec::new();
            for (i, frame) in sent.iter().enumerate() {
                let (headers, tcp, payload) = read_tcp(frame);
                assert_eq!(tcp.sequence, 0xffff_f000u32.wrapping_add(data.len() as u32));
                assert_eq!(headers.ethernet.tag.is_some(), tagged);
                if let Network::V4(ip) = headers.network {
                    assert_eq!(ip.identification, 0xfffeu16.wrapping_add(i as u16));
                }
                let last = i + 1 == sent.len();
                assert_eq!(tcp.flags.has(TcpFlags::FIN), last);
                assert!(payload.len() == usize::from(segment) || last);
                data.extend(payload);
            }
            assert_eq!(data, pattern(payload, 3));
            let counters = rig.nic.counters();
            assert_eq!(counters.sent - before.sent, sent.len() as u64);
            let bytes: usize = sent.iter().map(Vec::len).sum();
            assert_eq!(counters.sent_bytes - before.sent_bytes, bytes as u64);
        }
    }
}

#[test]
fn frames_of_different_kinds_may_follow_each_other() {
    for card in CARDS {
        let rig = Rig::new(card);
        let mut count = 0;
        for tag in 0..40 {
            let kind = tag / 2 % 3;
            let v6 = tag & 1 != 0 && (rig.nic.abilities().tcp6 || kind != 0);
            let (frame, offload) = tcp(
                Shape { v6, tagged: tag % 5 == 0, payload: 3000 },
                match kind {
                    0 => Some(1000),
                    _ => None,
                },
            );
            count += if kind == 0 { 3 } else { 1 };
            if kind == 2 {
                rig.send(tag, &whole_tcp(Shape { v6, tagged: false, payload: 3000 })).unwrap();
            } else {
                rig.transmit(tag, &frame, LONGEST, &[2000], offload).unwrap();
            }
        }
        rig.nic.start();
        rig.run(|| rig.told() == 40);
        let sent = rig.sent();
        assert_eq!(sent.len(), count);
        sent.iter().for_each(|frame| _ = read_tcp(frame));
    }
}

#[test]
fn segmentation_that_is_not_as_the_headers_say_is_refused() {
    for card in CARDS {
        let rig = Rig::new(card);
        let (frame, good) = tcp(Shape { v6: false, tagged: false, payload: 3000 }, Some(1000));
        let cut = good.segmentation.unwrap();
        let with = |cut: Segmentation| Offload { segmentation: Some(cut), ..good };
        let at = |start, offset| Offload { checksum: Some(Checksum { start, offset }), ..good };
        let bad = [
            with(Segmentation { kind: SegmentationKind::Tcp6, ..cut }),
            with(Segmentation { headers: cut.headers + 4, ..cut }),
            with(Segmentation { headers: cut.headers - 12, ..cut }),
            with(Segmentation { payload: 9000, ..cut }),
            at(30, 16),
            at(34, 6),
        ];
        for offload in bad {
            assert_eq!(rig.transmit(0, &frame, LONGEST, &[4096], offload), Err(Refused::Unable));
        }
        for (place, value) in [(14, 0x46), (14, 0x65), (23, 17)] {
            let mut frame = frame.clone();
            frame[place] = value;
            assert_eq!(rig.transmit(0, &frame, LONGEST, &[4096], good), Err(Refused::Unable));
        }
        let far = Offload { checksum: Some(Checksum { start: 256, offset: 0 }), ..Offload::default() };
        assert_eq!(rig.transmit(0, &frame, 1000, &[4096], far), Err(Refused::Unable));
        rig.transmit(0, &frame, LONGEST, &[4096], good).unwrap();
    }
}
