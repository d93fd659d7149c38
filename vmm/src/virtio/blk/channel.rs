//! One queue of a disk: requests on their way down and back.
use super::Shared;
use super::request::{self, Blocks, HEADER, Header, Kind, RANGE, RequestStatus};
use crate::memory::Scatter;
use crate::virtio::in_flight::{InFlight, Pending};
use crate::virtio::queue::{Broken, Chain, Service, Token, Virtqueue};
use alloc::sync::{Arc, Weak};
use block::{BlockError, Completion, Done, Operation, Request};
use core::sync::atomic::Ordering;
use mm::addr::Gpa;

/// A queue and what of it is in flight.
pub struct Channel {
    shared: Arc<Shared>,
    queue: Arc<Virtqueue>,
    in_flight: InFlight,
    /// For the requests that a completion finds in the ring.
    this: Weak<Self>,
}

/// How a chain is answered.
#[derive(Clone, Copy)]
struct Reply {
    token: Token,
    status: Gpa,
}

/// What becomes of a chain whose request was understood.
enum Asked {
    /// It is answered at once: so many bytes of its data were written, with this status.
    Answered(u32, RequestStatus),
    /// The disk is asked, with what the chain has to be read or written.
    Disk { operation: Operation, blocks: Blocks },
}

impl Channel {
    pub(super) fn new(shared: Arc<Shared>, queue: Arc<Virtqueue>) -> Arc<Self> {
        let in_flight = InFlight::new(queue.max_size());
        Arc::new_cyclic(|this| Self { shared, queue, in_flight, this: this.clone() })
    }

    /// Takes what the guest has put into the queue.
    #[inline]
    pub fn serve(self: &Arc<Self>) {
        self.queue.serve(self);
    }

    /// Requests that the disk has.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.count()
    }

    /// `drained` is to be called when it has none any more.
    pub fn when_drained(&self, drained: &Arc<dyn Fn() + Send + Sync>) {
        self.in_flight.when_drained(drained);
    }

    /// Understands a request whose header and status were taken from the chain.
    #[inline]
    fn ask(&self, header: Header, chain: &mut Chain) -> Result<Asked, RequestStatus> {
        let Chain { readable, writable, .. } = chain;
        let geometry = self.shared.disk.geometry();
        let nothing = |list: &Scatter| if list.bytes() == 0 { Ok(()) } else { Err(RequestStatus::IO_ERROR) };
        Ok(match header.kind {
            Kind::IN => {
                nothing(readable)?;
                let blocks = request::blocks(geometry, header.sector, writable.bytes())?;
                Asked::Disk { operation: Operation::Read, blocks }
            }
            Kind::OUT => {
                nothing(writable)?;
                let durable =
                    !self.shared.writeback.load(Ordering::Relaxed) && geometry.features.volatile_cache;
                let blocks = request::blocks(geometry, header.sector, readable.bytes())?;
                Asked::Disk { operation: Operation::Write { durable }, blocks }
            }
            Kind::FLUSH => {
                // No data is defined for it, so none is looked at.
                readable.clear();
                Asked::Disk { operation: Operation::Flush, blocks: Blocks { first: 0, count: 0 } }
            }
            Kind::GET_ID => {
                nothing(readable)?;
                let written = writable.write_front(&self.shared.serial) as u32;
                // The status is right behind, if there is no more room.
                Asked::Answered(written + u32::from(writable.bytes() == 0), RequestStatus::OK)
            }
            kind @ (Kind::DISCARD | Kind::WRITE_ZEROES) => {
                nothing(writable)?;
                let mut range = [0; RANGE];
                // One range, as the guest is told.
                if readable.bytes() != RANGE as u64 || !readable.take_front(&mut range) {
                    return Err(RequestStatus::IO_ERROR);
                }
                let (operation, blocks) = request::range(geometry, kind, &range)?;
                Asked::Disk { operation, blocks }
            }
            _ => return Err(RequestStatus::UNSUPPORTED),
        })
    }

    /// Answers a request.
    #[inline]
    fn reply(&self, reply: Reply, bytes: u32, status: RequestStatus) {
        self.queue.give_back(reply.token, bytes, |memory| {
            // It was RAM when the chain was taken, and a guest's RAM does not change.
            let _ = memory.store_u8(reply.status, status.0);
        });
    }

    /// Asks the disk. What it cost, as [`crate::virtio::queue::BUDGET`] counts: the pages of a request that is done by
    /// now.
    #[inline]
    fn submit(
        self: &Arc<Self>,
        reply: Reply,
        operation: Operation,
        blocks: Blocks,
        chain: &Chain,
    ) -> Result<u32, Broken> {
        let list = if operation == Operation::Read { &chain.writable } else { &chain.readable };
        if list.too_long() {
            self.reply(reply, 1, RequestStatus::IO_ERROR);
            return Ok(0);
        }
        let data = list.bytes() as u32;
        let pending = Pending {
            token: reply.token,
            status: reply.status,
            bytes: if operation == Operation::Read { data + 1 } else { 1 },
            moves: operation.has_data(),
        };
        let tag = self.in_flight.add(pending).ok_or(Broken::InFlight)?;
        let (block, blocks) = (blocks.first, blocks.count);
        let done = Done { to: self.clone(), tag };
        self.shared.disk.submit(Request { operation, block, blocks, segments: list.segments(), done });
        Ok(if self.in_flight.get(tag).is_none() { data >> 12 } else { 0 })
    }
}

impl Service for Arc<Channel> {
    #[inline]
    fn take(&self, chain: &mut Chain) -> Result<u32, Broken> {
        let mut header = [0; HEADER];
        if !chain.readable.take_front(&mut header) {
            return Err(Broken::Request);
        }
        let status = chain.writable.take_last().ok_or(Broken::Request)?;
        let reply = Reply { token: chain.token, status };
        match self.ask(Header::parse(&header), chain) {
            Ok(Asked::Disk { operation, blocks }) => self.submit(reply, operation, blocks, chain),
            Ok(Asked::Answered(bytes, status)) => {
                self.reply(reply, bytes, status);
                Ok(0)
            }
            Err(status) => {
                self.reply(reply, 1, status);
                Ok(0)
            }
        }
    }

    #[inline]
    fn taken(&self) {
        self.shared.disk.start();
    }

    #[inline]
    fn busy(&self) -> bool {
        self.in_flight.busy()
    }
}

impl Completion for Channel {
    fn complete(&self, tag: u64, result: Result<(), BlockError>) {
        // A driver that tells of what it was not asked for is not to reach the guest.
        let Some(pending) = self.in_flight.get(tag) else { return };
        // What a failed read has left is not promised to be anything.
        let bytes = if result.is_ok() { pending.bytes } else { 1 };
        let reply = Reply { token: pending.token, status: pending.status };
        self.reply(reply, bytes, RequestStatus::of(result));
        self.in_flight.remove(tag);
        // The guest was told not to notify.
        if self.queue.is_quiet()
            && let Some(this) = self.this.upgrade()
        {
            this.serve();
        }
    }
}
