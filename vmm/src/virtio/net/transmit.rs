//! Frames that the guest sends.
use super::Shared;
use super::header::{self, HEADER};
use crate::virtio::in_flight::InFlight;
use crate::virtio::queue::{Broken, Chain, Service, Token, Virtqueue};
use alloc::sync::{Arc, Weak};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use net::frame::{Headers, LONGEST, Network, Transport};
use net::nic::{Done, Frame, Offload, SegmentationKind, Sent};

/// A frame that is not longer does not keep its sender from sending on, and its buffer may come back later.
const SHORT: usize = 1024;

/// What is kept of a frame.
#[derive(Default)]
pub(super) struct Kept {
    /// The chain that it is in.
    token: AtomicU32,
    short: AtomicBool,
}

/// A transmit queue, and the frames of it that somebody has.
pub(super) struct Transmitter {
    shared: Arc<Shared>,
    queue: Arc<Virtqueue>,
    in_flight: InFlight<Kept>,
    this: Weak<Self>,
}

impl Transmitter {
    pub fn new(shared: &Arc<Shared>, queue: Arc<Virtqueue>) -> Arc<Self> {
        let in_flight = InFlight::new(queue.max_size());
        Arc::new_cyclic(|this| Self { shared: shared.clone(), queue, in_flight, this: this.clone() })
    }

    pub fn in_flight(&self) -> &InFlight<Kept> {
        &self.in_flight
    }

    /// Takes what the guest has put into the queue.
    #[inline]
    pub fn serve(&self) {
        self.queue.serve(self);
    }

    /// What a chain is about, if it is a frame: sends it. What it cost.
    #[inline]
    fn send(&self, chain: &mut Chain, beginning: &mut [u8; LONGEST]) -> Option<u32> {
        let list = &mut chain.readable;
        let mut header = [0; HEADER];
        if list.too_long() || !list.take_front(&mut header) {
            return None;
        }
        let bytes = usize::try_from(list.bytes()).ok().filter(|bytes| *bytes <= Frame::MOST)?;
        let beginning = &mut beginning[..bytes.min(LONGEST)];
        if !list.take_front(beginning) {
            return None;
        }
        let headers = Headers::parse(beginning, bytes).ok()?;
        let offload = header::parse(&header, |kind| end_of(&headers, kind))?;
        let frame = Frame { beginning, rest: list.segments(), offload };
        frame.check().ok()?;
        if !is_behind_addresses(&offload, &headers) {
            return None;
        }
        let token = chain.token.bits();
        let keep = |kept: &Kept| {
            kept.token.store(token, Ordering::Relaxed);
            kept.short.store(bytes <= SHORT, Ordering::Relaxed);
        };
        let tag = self.in_flight.add(true, keep)?;
        let to = self.this.upgrade()?;
        self.shared.wire.transmit(&frame, &headers, Done { to, tag });
        Some((bytes >> 12) as u32)
    }
}

/// Where the headers of a TCP segment end that is to be cut so. Whoever gets it whole would take it for what the kind says.
fn end_of(headers: &Headers, kind: SegmentationKind) -> Option<u16> {
    match (headers.transport, headers.network, kind) {
        (Transport::Tcp(tcp), Network::V4(_), SegmentationKind::Tcp4)
        | (Transport::Tcp(tcp), Network::V6(_), SegmentationKind::Tcp6) => {
            u16::try_from(headers.transport_at + tcp.header).ok()
        }
        _ => None,
    }
}

/// Whether a checksum goes where none of the addresses are by which the frame is judged.
fn is_behind_addresses(offload: &Offload, headers: &Headers) -> bool {
    let known = matches!(headers.network, Network::V4(_) | Network::V6(_));
    offload.checksum.is_none_or(|sum| known && usize::from(sum.start) >= headers.transport_at)
}

impl Service for Transmitter {
    fn take(&self, chain: &mut Chain) -> Result<u32, Broken> {
        let token = chain.token;
        // Of a frame that is none the buffer comes back, and nothing goes out.
        Ok(self.send(chain, &mut [0; LONGEST]).unwrap_or_else(|| {
            self.shared.wire.malformed();
            self.queue.give_back(token, 0, |_| ());
            0
        }))
    }

    #[inline]
    fn taken(&self) {
        self.shared.wire.start();
    }

    #[inline]
    fn busy(&self) -> bool {
        self.in_flight.busy()
    }
}

impl Sent for Transmitter {
    fn sent(&self, tag: u64) {
        // Who tells of what he was not given is not to reach the guest.
        let Some(kept) = self.in_flight.get(tag) else { return };
        let token = Token::from_bits(kept.token.load(Ordering::Relaxed));
        if kept.short.load(Ordering::Relaxed) {
            self.queue.give_back_later(token);
        } else {
            self.queue.give_back(token, 0, |_| ());
        }
        self.in_flight.remove(tag);
        // The guest was told not to notify.
        if self.queue.is_quiet() {
            self.serve();
        }
    }
}
