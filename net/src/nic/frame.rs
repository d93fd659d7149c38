//! A frame on its way, and what is left to be done to it.
use crate::frame::{EtherType, Ethernet, LONGEST, Tag};
use alloc::sync::Arc;
use core::fmt;
use mm::Segment;

/// A frame without its frame check sequence: its beginning, then the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its beginning: all of it, or at least [`LONGEST`] bytes, without a tag as many less; of a frame that is neither IP's
    /// nor ARP's, at least Ethernet's header. A copy, which nobody else can change.
    pub beginning: &'a [u8],
    /// Where the rest is, in order. Whoever may write to it may do so until the frame is sent.
    pub rest: &'a [Segment],
    /// What is left to be done.
    pub offload: Offload,
}

/// What is left to be done to a frame, or need not be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// A checksum that is still to be computed.
    pub checksum: Option<Checksum>,
    /// The frame is to be cut into several. Then it has a checksum to be computed too, for each of them.
    pub segmentation: Option<Segmentation>,
    /// The checksums of TCP or UDP were found right, or nobody could have changed what they protect.
    pub verified: bool,
}

/// An Internet checksum (RFC 1071) to be computed over the frame from `start` to its end, beginning with what the field
/// holds: the sum of the pseudo header, not complemented (virtio 1.2, 5.1.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum {
    /// Where the transport's header begins, from the frame's beginning.
    pub start: u16,
    /// Where the field is, from `start`.
    pub offset: u16,
}

/// How a frame is to be cut: each piece gets the headers, with lengths, sequence numbers, identifications, flags and
/// checksums put right, and the next part of the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segmentation {
    /// By which protocol.
    pub kind: SegmentationKind,
    /// Most bytes of payload of a piece. Not 0.
    pub payload: u16,
    /// Bytes of all headers: Ethernet's, IP's and the transport's.
    pub headers: u16,
}

/// Protocols by which frames can be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentationKind {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
}

/// Why a frame is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadFrame {
    /// Shorter than an Ethernet header, or too much of it is not in its beginning.
    Beginning,
    /// A segment of no bytes.
    Segment,
    /// Longer than 64 KiB and a header.
    Length,
    /// The checksum's field is not in the frame's beginning, or the frame ends before it.
    Checksum,
    /// Headers that don't fit, no payload in a piece, or a frame to be cut that wants no checksum.
    Segmentation,
}

impl fmt::Display for BadFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Beginning => "it is shorter than its headers",
            Self::Segment => "it has an empty piece of memory",
            Self::Length => "it is longer than 64 KiB",
            Self::Checksum => "its checksum would not be within its headers",
            Self::Segmentation => "it can't be cut as it says",
        })
    }
}

impl Frame<'_> {
    /// Most bytes of a frame, before it is cut: the largest packet that IP has, Ethernet's header and a tag.
    pub const MOST: usize = 65535 + Ethernet::SIZE + Tag::SIZE;

    /// Bytes of all of it.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.beginning.len() + self.rest.iter().map(|segment| segment.bytes as usize).sum::<usize>()
    }

    /// Bytes of the longest frame that comes of it: of its own, or of a piece where it is to be cut.
    #[inline]
    pub fn longest(&self) -> usize {
        let bytes = self.bytes();
        self.offload
            .segmentation
            .map_or(bytes, |how| bytes.min(usize::from(how.headers) + usize::from(how.payload)))
    }

    /// Whether it is in itself as it says.
    ///
    /// # Errors
    /// By what it is not.
    pub fn check(&self) -> Result<(), BadFrame> {
        let (beginning, bytes) = (self.beginning.len(), self.bytes());
        if beginning < Ethernet::SIZE
            || (!self.rest.is_empty() && beginning < least_beginning(self.beginning))
        {
            return Err(BadFrame::Beginning);
        }
        if self.rest.iter().any(|segment| segment.bytes == 0) {
            return Err(BadFrame::Segment);
        }
        if bytes > Self::MOST {
            return Err(BadFrame::Length);
        }
        if let Some(Checksum { start, offset }) = self.offload.checksum {
            let end = usize::from(start) + usize::from(offset) + 2;
            if usize::from(start) < Ethernet::SIZE || end > beginning {
                return Err(BadFrame::Checksum);
            }
        }
        if let Some(Segmentation { payload, headers, .. }) = self.offload.segmentation {
            let headers = usize::from(headers);
            let behind = |sum: Checksum| usize::from(sum.start) + usize::from(sum.offset) + 2 <= headers;
            let summed = self.offload.checksum.is_some_and(behind);
            if payload == 0 || headers > beginning || headers >= bytes || !summed {
                return Err(BadFrame::Segmentation);
            }
        }
        Ok(())
    }
}

/// How much of a frame has to be in its beginning, where not all of it is: the headers that anybody looks at.
fn least_beginning(beginning: &[u8]) -> usize {
    const WITHOUT_TAG: usize = LONGEST - Tag::SIZE;
    if beginning.len() >= WITHOUT_TAG {
        return WITHOUT_TAG;
    }
    let ether_type =
        |at: usize| Some(EtherType(u16::from_be_bytes([*beginning.get(at)?, *beginning.get(at + 1)?])));
    let (ether_type, header) = match ether_type(12) {
        Some(EtherType::TAG) => (ether_type(16), Ethernet::SIZE + Tag::SIZE),
        untagged => (untagged, Ethernet::SIZE),
    };
    match ether_type {
        None | Some(EtherType::IPV4 | EtherType::IPV6 | EtherType::ARP) => WITHOUT_TAG,
        Some(_) => header,
    }
}

/// Is told when a card has let go of a frame's memory.
pub trait Sent: Send + Sync {
    /// The frame that was transmitted with `tag` is out, or never will be. May run within [`super::Nic::transmit`] and on
    /// any CPU, in a task, never in an interrupt handler: short, without waiting.
    fn sent(&self, tag: u64);
}

/// Whom to tell, and by which word.
#[derive(Clone)]
pub struct Done {
    /// Who is told. Keeps the frame's memory alive.
    pub to: Arc<dyn Sent>,
    /// What he knows the frame by.
    pub tag: u64,
}

impl Done {
    /// Tells him.
    pub fn sent(self) {
        self.to.sent(self.tag);
    }
}

/// Why a card does not take a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no room now: [`super::Receiver::room`] tells when there is again.
    Full,
    /// It has no link, or is not there any more.
    Down,
    /// It is longer than the card sends, or asks for what the card can't do ([`super::Abilities`]).
    Unable,
}
