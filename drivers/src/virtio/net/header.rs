//! What stands before each frame: what is left to be done to it (virtio 1.2, 5.1.6).
use net::frame::{Headers, Network, Tcp, TcpFlags, Transport};
use net::nic::{Checksum, Frame, Offload, Segmentation, SegmentationKind};

/// Flags.
mod flag {
    pub const NEEDS_CHECKSUM: u8 = 1;
    pub const DATA_VALID: u8 = 2;
}

/// How a frame is cut, or was put together.
mod cut {
    pub const NONE: u8 = 0;
    pub const TCP4: u8 = 1;
    pub const TCP6: u8 = 4;
    /// A bit beside the others: the sender says that it has slowed down, in the first piece only.
    pub const ECN: u8 = 0x80;
}

/// Where the flags are in TCP's header.
const TCP_FLAGS: usize = 13;

/// The header, of which all numbers are little-endian.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    pub flags: u8,
    pub cut: u8,
    /// Bytes of all headers of a frame to be cut.
    pub headers: u16,
    /// Bytes of payload of a piece.
    pub payload: u16,
    pub checksum_start: u16,
    pub checksum_offset: u16,
    /// How many buffers a received frame is in.
    pub buffers: u16,
}

impl Header {
    /// Bytes of it, since virtio 1.0 always.
    pub const BYTES: usize = 12;

    /// What is to be done to a frame that [`Frame::check`] has found good. `ecn`: the device knows of it.
    pub fn of(frame: &Frame<'_>, ecn: bool) -> Self {
        let mut header = Self::default();
        if let Some(Checksum { start, offset }) = frame.offload.checksum {
            header.flags = flag::NEEDS_CHECKSUM;
            (header.checksum_start, header.checksum_offset) = (start, offset);
        }
        if let Some(how) = frame.offload.segmentation {
            header.cut = match how.kind {
                SegmentationKind::Tcp4 => cut::TCP4,
                SegmentationKind::Tcp6 => cut::TCP6,
            };
            let flags = frame.beginning.get(usize::from(header.checksum_start) + TCP_FLAGS);
            if ecn && flags.is_some_and(|flags| TcpFlags(*flags).has(TcpFlags::CWR)) {
                header.cut |= cut::ECN;
            }
            (header.headers, header.payload) = (how.headers, how.payload);
        }
        header
    }

    /// What a device says of a frame that begins so, and has `length` bytes. `None` where that makes no sense.
    pub fn offload(&self, beginning: &[u8], length: usize) -> Option<Offload> {
        // Of an incomplete checksum the part before it was found right (5.1.6.4).
        let verified = self.flags & (flag::NEEDS_CHECKSUM | flag::DATA_VALID) != 0;
        let checksum = (self.flags & flag::NEEDS_CHECKSUM != 0)
            .then_some(Checksum { start: self.checksum_start, offset: self.checksum_offset });
        let segmentation = match self.cut {
            cut::NONE => None,
            cut::TCP4 => Some(self.put_together(SegmentationKind::Tcp4, beginning, length)?),
            cut::TCP6 => Some(self.put_together(SegmentationKind::Tcp6, beginning, length)?),
            _ => return None,
        };
        Some(Offload { checksum, segmentation, verified })
    }

    /// How a frame was put together. Where its headers end is read from them: the device only hints at it.
    fn put_together(&self, kind: SegmentationKind, beginning: &[u8], length: usize) -> Option<Segmentation> {
        let headers = Headers::parse(beginning, length).ok()?;
        let is_kind = match headers.network {
            Network::V4(_) => kind == SegmentationKind::Tcp4,
            Network::V6(_) => kind == SegmentationKind::Tcp6,
            Network::Arp(_) | Network::Other => false,
        };
        let Transport::Tcp(tcp) = headers.transport else { return None };
        let place = (usize::from(self.checksum_start), usize::from(self.checksum_offset));
        if !is_kind || place != (headers.transport_at, Tcp::CHECKSUM) {
            return None;
        }
        let headers = u16::try_from(headers.transport_at + tcp.header).ok()?;
        Some(Segmentation { kind, payload: self.payload, headers })
    }

    /// As it lies in memory.
    pub fn bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [self.flags, self.cut, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let words = [self.headers, self.payload, self.checksum_start, self.checksum_offset, self.buffers];
        for (place, word) in bytes[2..].chunks_exact_mut(2).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// As it lay in memory.
    pub fn parse(bytes: [u8; Self::BYTES]) -> Self {
        let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        Self {
            flags: bytes[0],
            cut: bytes[1],
            headers: word(2),
            payload: word(4),
            checksum_start: word(6),
            checksum_offset: word(8),
            buffers: word(10),
        }
    }
}
