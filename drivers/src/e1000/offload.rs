//! What the device is told of a frame's checksum and segmentation, and what must stand in its headers for it.
use super::descriptor::{Context, Cut, command};
use net::frame::checksum::Sum;
use net::frame::{EtherType, Ethernet, Protocol, Tag, Tcp};
use net::nic::{Checksum, Frame, Segmentation, SegmentationKind};

/// What is to be done to a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub context: Option<Context>,
    /// Of all its data descriptors.
    pub commands: u64,
    /// Numbers in the headers that are to be others, by their places.
    pub changes: [Option<(usize, u16)>; 3],
}

impl Plan {
    /// `None` where the device can't do it: headers beyond what a context can say, or that are not as the frame claims.
    pub fn of(frame: &Frame<'_>) -> Option<Self> {
        let Some(checksum) = frame.offload.checksum else { return Some(Self::default()) };
        let start = u8::try_from(checksum.start).ok()?;
        let at = u8::try_from(checksum.start.checked_add(checksum.offset)?).ok()?;
        let tcp = usize::from(checksum.offset) == Tcp::CHECKSUM;
        match frame.offload.segmentation {
            None => Some(Self {
                context: Some(Context::new(start, at, tcp, None)),
                commands: command::TXSM,
                changes: [None; 3],
            }),
            Some(how) if tcp => Self::cut(frame, checksum, start, at, how),
            Some(_) => None,
        }
    }

    /// SDM 3.5: the device puts right the lengths, the identification, the sequence number, the flags and the checksums of
    /// each segment. It wants the lengths to be 0, the IPv4 header's checksum too, and in TCP's the sum of a pseudo header
    /// without a length, which it adds.
    fn cut(frame: &Frame<'_>, checksum: Checksum, start: u8, at: u8, how: Segmentation) -> Option<Self> {
        let bytes = frame.beginning;
        let tagged = bytes.get(12..14)? == EtherType::TAG.0.to_be_bytes();
        let network = Ethernet::SIZE + if tagged { Tag::SIZE } else { 0 };
        let transport = usize::from(checksum.start);
        let options = usize::from(bytes.get(transport + 12)? >> 4) * 4;
        if options < Tcp::SIZE || transport + options != usize::from(how.headers) {
            return None;
        }
        let packet = bytes.get(network..transport)?;
        let (sum, length, changed) = match how.kind {
            SegmentationKind::Tcp4 => (pseudo_v4(packet)?, network + 2, Some((network + 10, 0))),
            SegmentationKind::Tcp6 => (pseudo_v6(packet)?, network + 4, None),
        };
        let v4 = how.kind == SegmentationKind::Tcp4;
        let cut = Cut {
            network: u8::try_from(network).ok()?,
            v4,
            headers: u8::try_from(how.headers).ok()?,
            payload: u32::try_from(frame.bytes().checked_sub(usize::from(how.headers))?).ok()?,
            segment: how.payload,
        };
        Some(Self {
            context: Some(Context::new(start, at, true, Some(cut))),
            commands: command::TSE | command::TXSM | if v4 { command::IXSM } else { 0 },
            changes: [Some((length, 0)), changed, Some((usize::from(at), sum.folded()))],
        })
    }
}

/// That of an IPv4 header, all of it, that TCP follows.
fn pseudo_v4(packet: &[u8]) -> Option<Sum> {
    let (&first, protocol) = (packet.first()?, *packet.get(9)?);
    let fits = first >> 4 == 4 && packet.len() >= 20 && usize::from(first & 0xf) * 4 == packet.len();
    let addresses = packet.get(12..20)?;
    (fits && protocol == Protocol::TCP.0).then(|| Sum::new().bytes(addresses).word(protocol.into()))
}

/// That of an IPv6 header that TCP follows: behind extensions it might have another destination.
fn pseudo_v6(packet: &[u8]) -> Option<Sum> {
    let (&first, protocol) = (packet.first()?, *packet.get(6)?);
    let fits = first >> 4 == 6 && packet.len() == 40 && protocol == Protocol::TCP.0;
    fits.then(|| Sum::new().bytes(&packet[8..]).word(protocol.into()))
}
