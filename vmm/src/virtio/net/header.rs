//! What stands before each frame in a queue: `virtio_net_hdr` (virtio 1.2, 5.1.6).
use net::nic::{Checksum, Offload, Segmentation, SegmentationKind};

/// Bytes of it.
pub(super) const HEADER: usize = 12;

/// Flags.
const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;

/// Kinds of segmentation, and a flag beside them.
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_ECN: u8 = 0x80;

/// Offsets of the fields; those from the third on are of 16 bits.
const FLAGS: usize = 0;
const GSO_TYPE: usize = 1;
const HDR_LEN: usize = 2;
const GSO_SIZE: usize = 4;
const CSUM_START: usize = 6;
const CSUM_OFFSET: usize = 8;
const NUM_BUFFERS: usize = 10;

/// What a guest says is left to be done to a frame. What it may not leave undone by `features` is no such thing. `None` for
/// what nobody can do. Where headers end is not taken from it, since 5.1.6.2 calls that a hint: `headers` tells, if the frame
/// can be cut so at all.
pub(super) fn parse(
    header: &[u8; HEADER],
    headers: impl FnOnce(SegmentationKind) -> Option<u16>,
) -> Option<Offload> {
    let word = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    let checksum = (header[FLAGS] & NEEDS_CSUM != 0)
        .then(|| Checksum { start: word(CSUM_START), offset: word(CSUM_OFFSET) });
    let kind = match header[GSO_TYPE] & !GSO_ECN {
        GSO_NONE => None,
        GSO_TCPV4 => Some(SegmentationKind::Tcp4),
        GSO_TCPV6 => Some(SegmentationKind::Tcp6),
        _ => return None,
    };
    let segmentation = match kind {
        None => None,
        Some(kind) => Some(Segmentation { kind, payload: word(GSO_SIZE), headers: headers(kind)? }),
    };
    Some(Offload { checksum, segmentation, verified: false })
}

/// What a guest is told of a frame, which lies in `buffers` of its buffers.
pub(super) fn emit(offload: &Offload, buffers: u16) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    let mut put = |at: usize, value: u16| header[at..at + 2].copy_from_slice(&value.to_le_bytes());
    put(NUM_BUFFERS, buffers);
    if let Some(Checksum { start, offset }) = offload.checksum {
        put(CSUM_START, start);
        put(CSUM_OFFSET, offset);
    }
    if let Some(Segmentation { payload, headers, .. }) = offload.segmentation {
        put(GSO_SIZE, payload);
        put(HDR_LEN, headers);
    }
    header[FLAGS] = match offload {
        Offload { checksum: Some(_), .. } => NEEDS_CSUM,
        Offload { verified: true, .. } => DATA_VALID,
        _ => 0,
    };
    header[GSO_TYPE] = match offload.segmentation.map(|how| how.kind) {
        None => GSO_NONE,
        Some(SegmentationKind::Tcp4) => GSO_TCPV4,
        Some(SegmentationKind::Tcp6) => GSO_TCPV6,
    };
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_emitted_is_parsed_as_it_was() {
        let checksum = Some(Checksum { start: 34, offset: 16 });
        for kind in [SegmentationKind::Tcp4, SegmentationKind::Tcp6] {
            let segmentation = Some(Segmentation { kind, payload: 1448, headers: 66 });
            for offload in [
                Offload::default(),
                Offload { checksum, ..Offload::default() },
                Offload { checksum, segmentation, verified: false },
            ] {
                let header = emit(&offload, 3);
                assert_eq!(header[10..], [3, 0]);
                assert_eq!(parse(&header, |_| Some(66)), Some(offload));
            }
        }
        assert_eq!(emit(&Offload { verified: true, ..Offload::default() }, 1)[0], 2);
    }

    #[test]
    fn what_nobody_can_do_is_refused() {
        let header = |gso: u8| {
            let mut header = [0; HEADER];
            header[1] = gso;
            header
        };
        // UDP fragmentation and segmentation were not offered.
        for gso in [2, 3, 5, 6, 0x7f] {
            assert_eq!(parse(&header(gso), |_| Some(54)), None, "{gso}");
        }
        assert_eq!(parse(&header(GSO_TCPV4), |_| None), None, "no TCP there");
        assert!(parse(&header(GSO_TCPV4 | GSO_ECN), |_| Some(54)).is_some());
    }
}
