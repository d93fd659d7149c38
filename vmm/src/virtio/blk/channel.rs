//! Requests to a disk on their way down and back.
use super::Shared;
use super::request::{self, HEADER, Header, Kind, RANGE, RequestStatus};
use crate::memory::Scatter;
use crate::virtio::channel::{Blocks, Channel, Next, Protocol};
use crate::virtio::queue::{Broken, Chain, Token, Virtqueue};
use alloc::sync::Arc;
use block::{BlockError, Operation};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use mm::addr::Gpa;

/// What the queues of a disk serve.
pub(super) struct Disk(pub Arc<Shared>);

/// What is kept of a request that the disk has.
#[derive(Default)]
pub(super) struct Slot {
    /// The chain.
    token: AtomicU32,
    /// Where its status goes.
    status: AtomicU64,
    /// Bytes that the guest will find written if it succeeds.
    bytes: AtomicU32,
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

impl Disk {
    /// Understands a request whose header and status were taken from the chain.
    #[inline]
    fn ask(&self, header: Header, chain: &mut Chain) -> Result<Asked, RequestStatus> {
        let Chain { readable, writable, .. } = chain;
        let Self(shared) = self;
        let geometry = shared.disk.geometry();
        let nothing = |list: &Scatter| if list.bytes() == 0 { Ok(()) } else { Err(RequestStatus::IO_ERROR) };
        Ok(match header.kind {
            Kind::IN => {
                nothing(readable)?;
                let blocks = request::blocks(geometry, header.sector, writable.bytes())?;
                Asked::Disk { operation: Operation::Read, blocks }
            }
            Kind::OUT => {
                nothing(writable)?;
                let durable = !shared.writeback.load(Ordering::Relaxed) && geometry.features.volatile_cache;
                let blocks = request::blocks(geometry, header.sector, readable.bytes())?;
                Asked::Disk { operation: Operation::Write { durable }, blocks }
            }
            Kind::FLUSH => {
                // No data is defined for it, so none is looked at.
                readable.clear();
                Asked::Disk { operation: Operation::Flush, blocks: Blocks::default() }
            }
            Kind::GET_ID => {
                nothing(readable)?;
                let written = writable.write_front(&shared.serial) as u32;
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
}

/// Answers a request.
#[inline]
fn answer(queue: &Virtqueue, reply: Reply, bytes: u32, status: RequestStatus) {
    queue.give_back(reply.token, bytes, |memory| {
        // It was RAM when the chain was taken, and is still, if maybe elsewhere. Where the host has no memory for it to
        // come back, the guest is ended.
        let _ = memory.store_u8(reply.status, status.0);
    });
}

/// Asks the disk.
#[inline]
fn submit(
    channel: &Arc<Channel<Disk>>,
    reply: Reply,
    operation: Operation,
    blocks: Blocks,
    chain: &Chain,
) -> Result<u32, Broken> {
    let list = if operation == Operation::Read { &chain.writable } else { &chain.readable };
    if list.too_long() {
        answer(channel.queue(), reply, 1, RequestStatus::IO_ERROR);
        return Ok(0);
    }
    let bytes = if operation == Operation::Read { list.bytes() as u32 + 1 } else { 1 };
    let disk = channel.protocol().0.disk.as_ref();
    channel.submit(disk, operation, blocks, list.segments(), |slot| {
        slot.token.store(reply.token.bits(), Ordering::Relaxed);
        slot.status.store(reply.status.get(), Ordering::Relaxed);
        slot.bytes.store(bytes, Ordering::Relaxed);
    })
}

impl Protocol for Disk {
    type Slot = Slot;

    #[inline]
    fn take(channel: &Arc<Channel<Self>>, chain: &mut Chain) -> Result<u32, Broken> {
        let mut header = [0; HEADER];
        if !chain.readable.take_front(&mut header) {
            return Err(Broken::Request);
        }
        let status = chain.writable.take_last().ok_or(Broken::Request)?;
        let reply = Reply { token: chain.token, status };
        match channel.protocol().ask(Header::parse(&header), chain) {
            Ok(Asked::Disk { operation, blocks }) => submit(channel, reply, operation, blocks, chain),
            Ok(Asked::Answered(bytes, status)) => {
                answer(channel.queue(), reply, bytes, status);
                Ok(0)
            }
            Err(status) => {
                answer(channel.queue(), reply, 1, status);
                Ok(0)
            }
        }
    }

    #[inline]
    fn start(&self) {
        self.0.disk.start();
    }

    #[inline]
    fn done(&self, queue: &Virtqueue, slot: &Slot, result: Result<(), BlockError>) -> Next<'_> {
        let reply = Reply {
            token: Token::from_bits(slot.token.load(Ordering::Relaxed)),
            status: Gpa::new_truncate(slot.status.load(Ordering::Relaxed)),
        };
        // What a failed read has left is not promised to be anything.
        let bytes = if result.is_ok() { slot.bytes.load(Ordering::Relaxed) } else { 1 };
        answer(queue, reply, bytes, RequestStatus::of(result));
        Next::Answered
    }
}
