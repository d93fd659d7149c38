//! What is left to be done to a frame ([`Offload`]), done by the CPU where whoever is to get the frame can't.
//!
//! Checksums are computed, TCP segments cut as a card would cut them (82574 datasheet, 7.2.4; virtio 1.2, 5.1.6.2). The
//! payload is read, not copied, but for what lies in the beginning of each frame that comes of it. Nothing is allocated.
//!
//! A pseudo header's sum is computed anew for each frame, from the headers: what the field holds counts only where the
//! frame is not cut.
use crate::frame::checksum::Sum;
use crate::frame::{Headers, LONGEST, Network, Protocol, Tcp, TcpFlags, Transport};
use crate::nic::{Checksum, Frame, Offload, Segmentation};
use mm::Segment;

/// Memory that frames lie in.
pub trait Memory {
    /// Copies a segment, which is as long as `into`.
    fn read(&self, segment: Segment, into: &mut [u8]);
}

/// Most segments of a frame that comes of another. Of those that are cut, a piece has fewer than the whole.
const SEGMENTS: usize = 64;
/// Bytes summed at once.
const SUMMED: usize = 256;

/// Copies a frame's bytes from `at` on, which it has.
pub fn read(frame: &Frame<'_>, memory: &impl Memory, at: usize, into: &mut [u8]) {
    Source { frame, memory }.read(at, into);
}

/// Does what is left to be done to `frame`, whose headers these are, and hands what comes of it to `each`: frames to which
/// nothing is left to be done. `false`, and nothing more comes, for what can't be: more pieces of memory than there is room
/// for, or a frame to be cut whose headers are not TCP's.
pub fn finish(
    frame: &Frame<'_>,
    headers: &Headers,
    memory: &impl Memory,
    mut each: impl FnMut(&Frame<'_>),
) -> bool {
    let source = Source { frame, memory };
    match frame.offload {
        Offload { segmentation: Some(how), .. } => cut(&source, headers, how, each),
        Offload { checksum: Some(Checksum { start, offset }), .. } => {
            let mut beginning = [0; LONGEST];
            // A beginning may be longer: by what somebody has put in.
            let Some(copy) = beginning.get_mut(..frame.beginning.len().min(LONGEST)) else { return false };
            if copy.len() != frame.beginning.len() {
                return false;
            }
            copy.copy_from_slice(frame.beginning);
            let sum = source.sum(Sum::new(), start.into(), frame.bytes());
            put_checksum(copy, usize::from(start) + usize::from(offset), sum);
            each(&Frame {
                beginning: copy,
                rest: frame.rest,
                offload: Offload { verified: true, ..Offload::default() },
            });
            true
        }
        _ => {
            each(frame);
            true
        }
    }
}

/// A sum of 0 is sent as its other form: for UDP 0 says that there is none (RFC 768), for TCP both are the same.
fn put_checksum(bytes: &mut [u8], at: usize, sum: Sum) {
    if let Some(field) = bytes.get_mut(at..at + 2) {
        field.copy_from_slice(&sum.checksum_udp().to_be_bytes());
    }
}

fn cut<M: Memory>(
    source: &Source<'_, '_, M>,
    headers: &Headers,
    how: Segmentation,
    mut each: impl FnMut(&Frame<'_>),
) -> bool {
    let Transport::Tcp(tcp) = headers.transport else { return false };
    let all = usize::from(how.headers);
    if all != headers.transport_at + tcp.header || all > LONGEST || how.payload == 0 {
        return false;
    }
    // Behind the packet there may be padding, which is nobody's.
    let end = match headers.network {
        Network::V4(ip) => headers.network_at + ip.length,
        Network::V6(ip) => headers.network_at + ip.length,
        _ => return false,
    };
    let mut number = 0u16;
    let mut at = all;
    while at < end {
        let next = (at + usize::from(how.payload)).min(end);
        let mut beginning = [0; LONGEST];
        let copied = (LONGEST - all).min(next - at);
        let (head, payload) = beginning.split_at_mut(all);
        source.read(0, head);
        source.read(at, &mut payload[..copied]);
        let place = Piece { number, offset: at - all, payload: next - at, is_last: next == end };
        put_headers(head, headers, tcp, place);
        let tcp_header = head.get(headers.transport_at..).unwrap_or(&[]);
        let pseudo = pseudo_header(headers, tcp.header + next - at);
        let sum = source.sum(pseudo.bytes(tcp_header), at, next);
        put_checksum(head, headers.transport_at + Tcp::CHECKSUM, sum);
        let mut rest = [Segment { address: mm::Hpa::new(0), bytes: 0 }; SEGMENTS];
        let Some(rest) = source.segments(at + copied, next, &mut rest) else { return false };
        let Some(beginning) = beginning.get(..all + copied) else { return false };
        each(&Frame { beginning, rest, offload: Offload { verified: true, ..Offload::default() } });
        number = number.wrapping_add(1);
        at = next;
    }
    true
}

/// One of the frames that another is cut into.
struct Piece {
    number: u16,
    /// Bytes of payload before it.
    offset: usize,
    payload: usize,
    is_last: bool,
}

/// Puts the headers of a whole right for a piece. The checksum of TCP is left 0.
fn put_headers(head: &mut [u8], headers: &Headers, tcp: Tcp, piece: Piece) {
    let at = headers.transport_at;
    let mut put = |at: usize, value: u16| {
        if let Some(field) = head.get_mut(at..at + 2) {
            field.copy_from_slice(&value.to_be_bytes());
        }
    };
    let sequence = tcp.sequence.wrapping_add(piece.offset as u32);
    put(at + 4, (sequence >> 16) as u16);
    put(at + 6, sequence as u16);
    put(at + Tcp::CHECKSUM, 0);
    let network = headers.network_at;
    let length = at - network + tcp.header + piece.payload;
    match headers.network {
        Network::V4(ip) => {
            put(network + 2, length as u16);
            put(network + 4, ip.identification.wrapping_add(piece.number));
            put(network + 10, 0);
            let sum = Sum::new().bytes(head.get(network..at).unwrap_or(&[])).checksum();
            if let Some(field) = head.get_mut(network + 10..network + 12) {
                field.copy_from_slice(&sum.to_be_bytes());
            }
        }
        Network::V6(_) => put(network + 4, (length - 40) as u16),
        _ => {}
    }
    // The end of the stream, and that it be handed on, come with the last; that the sender has slowed down, with the first.
    let mut flags = tcp.flags.0;
    if !piece.is_last {
        flags &= !(TcpFlags::FIN.0 | TcpFlags::PSH.0);
    }
    if piece.number != 0 {
        flags &= !TcpFlags::CWR.0;
    }
    if let Some(field) = head.get_mut(at + 13) {
        *field = flags;
    }
}

fn pseudo_header(headers: &Headers, bytes: usize) -> Sum {
    match headers.network {
        Network::V4(ip) => Sum::pseudo_v4(ip.source, ip.destination, Protocol::TCP, bytes as u32),
        Network::V6(ip) => Sum::pseudo_v6(ip.source, ip.destination, Protocol::TCP, bytes as u32),
        _ => Sum::new(),
    }
}

/// A frame by the places of its bytes.
struct Source<'a, 'b, M> {
    frame: &'a Frame<'b>,
    memory: &'a M,
}

impl<M: Memory> Source<'_, '_, M> {
    /// Copies bytes from `at` on.
    fn read(&self, at: usize, into: &mut [u8]) {
        let beginning = self.frame.beginning;
        let here = beginning.len().saturating_sub(at).min(into.len());
        let (first, second) = into.split_at_mut(here);
        first.copy_from_slice(beginning.get(at..at + here).unwrap_or(&[]));
        let mut done = 0;
        let length = second.len();
        self.each_segment(at + here, at + here + length, |segment| {
            if let Some(part) = second.get_mut(done..done + segment.bytes as usize) {
                self.memory.read(segment, part);
            }
            done += segment.bytes as usize;
        });
    }

    /// Adds bytes to a sum.
    fn sum(&self, mut sum: Sum, mut from: usize, to: usize) -> Sum {
        let mut bytes = [0; SUMMED];
        while from < to {
            let some = &mut bytes[..SUMMED.min(to - from)];
            self.read(from, some);
            sum = sum.bytes(some);
            from += some.len();
        }
        sum
    }

    /// The memory of bytes that are all behind the beginning. `None` where they are in too many pieces, or were cut off.
    fn segments<'c>(
        &self,
        from: usize,
        to: usize,
        into: &'c mut [Segment; SEGMENTS],
    ) -> Option<&'c [Segment]> {
        let (mut count, mut bytes) = (0, 0);
        self.each_segment(from, to, |segment| {
            if let Some(slot) = into.get_mut(count) {
                *slot = segment;
                bytes += segment.bytes as usize;
            }
            count += 1;
        });
        (from + bytes == to || from >= to).then(|| into.get(..count)).flatten()
    }

    fn each_segment(&self, from: usize, to: usize, mut each: impl FnMut(Segment)) {
        let mut begin = self.frame.beginning.len();
        for segment in self.frame.rest {
            let end = begin + segment.bytes as usize;
            let (first, last) = (from.max(begin), to.min(end));
            if first < last {
                let address = segment.address + (first - begin) as u64;
                each(Segment { address, bytes: (last - first) as u32 });
            }
            begin = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nic::SegmentationKind;
    use std::vec::Vec;

    /// Memory that begins at address 0.
    struct Bytes(Vec<u8>);

    impl Memory for Bytes {
        fn read(&self, segment: Segment, into: &mut [u8]) {
            let at = segment.address.get() as usize;
            into.copy_from_slice(&self.0[at..at + segment.bytes as usize]);
        }
    }

    /// What comes of a frame, whole.
    fn finished(bytes: &[u8], pieces: &[usize], offload: Offload) -> Option<Vec<Vec<u8>>> {
        let (beginning, rest) = bytes.split_at(bytes.len().min(LONGEST));
        // Pieces with gaps between.
        let (mut memory, mut segments, mut left) = (Vec::new(), Vec::new(), rest);
        for &piece in pieces.iter().chain([&rest.len()]) {
            let (part, others) = left.split_at(piece.min(left.len()));
            if !part.is_empty() {
                let address = mm::Hpa::new(memory.len() as u64);
                segments.push(Segment { address, bytes: part.len() as u32 });
                memory.extend_from_slice(part);
                memory.extend_from_slice(&[0xee; 3]);
            }
            left = others;
        }
        let frame = Frame { beginning, rest: &segments, offload };
        assert_eq!(frame.check(), Ok(()));
        let headers = Headers::parse(beginning, bytes.len()).unwrap();
        let (memory, mut all) = (Bytes(memory), Vec::new());
        let done = finish(&frame, &headers, &memory, |frame| {
            assert_eq!((frame.check(), frame.offload.checksum), (Ok(()), None));
            let mut bytes = std::vec![0; frame.bytes()];
            Source { frame, memory: &memory }.read(0, &mut bytes);
            all.push(bytes);
        });
        done.then_some(all)
    }

    fn tcp4(payload: &[u8], flags: u8) -> Vec<u8> {
        let ip = crate::frame::Ipv4 {
            source: [10, 0, 0, 1].into(),
            destination: [10, 0, 0, 2].into(),
            protocol: Protocol::TCP,
            header: 20,
            length: 20 + 32 + payload.len(),
            identification: 0xfffe,
            keep_whole: true,
            more: false,
            fragment: 0,
            time_to_live: 64,
            traffic_class: 0,
        };
        [&[0x52; 12][..], &[8, 0], &ip.emit(), &tcp(flags), payload].concat()
    }

    /// With 12 bytes of options.
    fn tcp(flags: u8) -> Vec<u8> {
        let mut tcp = std::vec![1; 32];
        tcp[..4].copy_from_slice(&[0x10, 0, 0x20, 0]);
        tcp[4..8].copy_from_slice(&0xffff_fc00u32.to_be_bytes());
        tcp[12..20].copy_from_slice(&[8 << 4, flags, 1, 0, 0, 0, 0, 0]);
        tcp
    }

    fn tcp6(payload: &[u8]) -> Vec<u8> {
        let mut ip = std::vec![0; 40];
        ip[0] = 0x60;
        ip[4..6].copy_from_slice(&(32 + payload.len() as u16).to_be_bytes());
        ip[6..8].copy_from_slice(&[6, 64]);
        ip[8] = 0xfd;
        ip[24] = 0xfd;
        (ip[23], ip[39]) = (1, 2);
        [&[0x52; 12][..], &[0x86, 0xdd], &ip, &tcp(0x18), payload].concat()
    }

    fn pattern(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|i| (i * 31 + i / 200) as u8).collect()
    }

    fn cut_by(kind: SegmentationKind, payload: u16, headers: u16) -> Offload {
        let checksum = Some(Checksum { start: headers - 32, offset: 16 });
        let segmentation = Some(Segmentation { kind, payload, headers });
        Offload { checksum, segmentation, verified: false }
    }

    /// Checks a piece's sums and lengths; its sequence number, flags and payload.
    fn check(frame: &[u8]) -> (u32, u8, Vec<u8>) {
        let headers = Headers::parse(&frame[..frame.len().min(LONGEST)], frame.len()).unwrap();
        let Transport::Tcp(tcp) = headers.transport else { panic!() };
        let segment = &frame[headers.transport_at..];
        let sum = pseudo_header(&headers, segment.len()).bytes(segment);
        assert_eq!(sum.folded(), 0xffff);
        (tcp.sequence, tcp.flags.0, segment[tcp.header..].to_vec())
    }

    #[test]
    fn a_stream_is_cut_into_frames_that_say_the_same() {
        let flags = TcpFlags::ACK.0 | TcpFlags::PSH.0 | TcpFlags::FIN.0 | TcpFlags::CWR.0;
        for length in [1, 71, 72, 73, 1447, 1448, 1449, 2896, 20_000, 65_000] {
            for pieces in [&[][..], &[1, 2, 3], &[1000, 4096, 4096], &[500; 30]] {
                let payload = pattern(length);
                let whole = tcp4(&payload, flags);
                let all = finished(&whole, pieces, cut_by(SegmentationKind::Tcp4, 1448, 66)).unwrap();
                assert_eq!(all.len(), length.div_ceil(1448));
                let mut got = Vec::new();
                for (i, frame) in all.iter().enumerate() {
                    let (sequence, flags, payload) = check(frame);
                    assert_eq!(sequence, 0xffff_fc00u32.wrapping_add(got.len() as u32));
                    let is_last = i + 1 == all.len();
                    assert_eq!((flags & 9 == 9, flags & 9 == 0), (is_last, !is_last));
                    assert_eq!(flags & TcpFlags::CWR.0 != 0, i == 0);
                    assert_eq!(frame[18..20], 0xfffeu16.wrapping_add(i as u16).to_be_bytes());
                    got.extend(payload);
                }
                assert_eq!(got, payload);
            }
        }
    }

    #[test]
    fn ipv6_is_cut_too() {
        let payload = pattern(5000);
        let all = finished(&tcp6(&payload), &[700], cut_by(SegmentationKind::Tcp6, 1428, 86)).unwrap();
        let got: Vec<u8> = all.iter().flat_map(|frame| check(frame).2).collect();
        assert_eq!((all.len(), got), (4, payload));
    }

    #[test]
    fn a_checksum_is_put_where_it_belongs() {
        for length in [0, 1, 50, 200, 1400] {
            let mut frame = tcp4(&pattern(length), 0x10);
            let headers = Headers::parse(&frame[..frame.len().min(LONGEST)], frame.len()).unwrap();
            // What the guest leaves in the field.
            let pseudo = pseudo_header(&headers, 32 + length).folded();
            frame[50..52].copy_from_slice(&pseudo.to_be_bytes());
            let offload =
                Offload { checksum: Some(Checksum { start: 34, offset: 16 }), ..Offload::default() };
            let all = finished(&frame, &[33, 200], offload).unwrap();
            assert_eq!((all.len(), check(&all[0]).2), (1, pattern(length)));
        }
    }

    #[test]
    fn what_needs_nothing_is_handed_on_as_it_is() {
        let frame = tcp4(&pattern(700), 0x10);
        assert_eq!(finished(&frame, &[100], Offload::default()), Some([frame].to_vec()));
    }

    #[test]
    fn what_is_padded_is_cut_at_the_packet_s_end() {
        let mut frame = tcp4(&pattern(100), 0x10);
        frame.extend([0xdd; 50]);
        let all = finished(&frame, &[], cut_by(SegmentationKind::Tcp4, 60, 66)).unwrap();
        let got: Vec<u8> = all.iter().flat_map(|frame| check(frame).2).collect();
        assert_eq!(got, pattern(100));
    }

    #[test]
    fn what_is_not_tcp_or_has_other_headers_is_not_cut() {
        let payload = pattern(3000);
        let mut frame = tcp4(&payload, 0x10);
        assert_eq!(finished(&frame, &[], cut_by(SegmentationKind::Tcp4, 1448, 70)), None);
        // UDP.
        frame[23] = 17;
        frame[38..40].copy_from_slice(&3032u16.to_be_bytes());
        let sum = crate::frame::checksum::updated(u16::from_be_bytes([frame[24], frame[25]]), 0x4006, 0x4011);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(finished(&frame, &[], cut_by(SegmentationKind::Tcp4, 1448, 66)), None);
    }
}
