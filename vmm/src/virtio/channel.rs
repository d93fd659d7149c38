//! One queue of requests to block devices: what the types of disk controllers have in common.
//!
//! A [`Protocol`] understands what the guest asks, and says how it is answered. The channel keeps what is under way,
//! gives it to the disks, and looks for more when something is done.
use super::in_flight::InFlight;
use super::queue::{Broken, Chain, Service, Virtqueue};
use alloc::sync::{Arc, Weak};
use block::{BlockDevice, BlockError, Completion, Done, Operation, Request, Segment};

/// Most bytes that one request discards.
pub const MOST_DISCARDED: u64 = 2 << 30;
/// Most bytes that one request zeroes: little, for a disk that has to write them.
pub const MOST_ZEROED: u64 = 8 << 20;

/// Some of a disk's blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Blocks {
    /// The first one.
    pub first: u64,
    /// How many.
    pub count: u64,
}

/// What becomes of a request whose operation is done.
pub enum Next<'a> {
    /// It was answered.
    Answered,
    /// It is to be answered when what this disk has done so far is on its medium: under the same tag.
    Flush(&'a dyn BlockDevice),
}

/// What a type of disk controller makes of its queues.
pub trait Protocol: Send + Sync + Sized + 'static {
    /// What it needs to answer a request that a disk has.
    type Slot: Default + Send + Sync;

    /// As [`Service::take`].
    ///
    /// # Errors
    /// The chain breaks the rules of the device.
    fn take(channel: &Arc<Channel<Self>>, chain: &mut Chain) -> Result<u32, Broken>;

    /// Starts the disks that were given requests since the last time.
    fn start(&self);

    /// The operation of the request that `slot` is about has ended so.
    fn done(&self, queue: &Virtqueue, slot: &Self::Slot, result: Result<(), BlockError>) -> Next<'_>;
}

/// A queue and what of it is in flight.
pub struct Channel<P: Protocol> {
    protocol: P,
    queue: Arc<Virtqueue>,
    in_flight: InFlight<P::Slot>,
    /// For the requests that a completion finds in the ring.
    this: Weak<Self>,
}

impl<P: Protocol> Channel<P> {
    /// With nothing under way.
    pub fn new(protocol: P, queue: Arc<Virtqueue>) -> Arc<Self> {
        let in_flight = InFlight::new(queue.max_size());
        Arc::new_cyclic(|this| Self { protocol, queue, in_flight, this: this.clone() })
    }

    /// What it speaks.
    #[inline]
    pub fn protocol(&self) -> &P {
        &self.protocol
    }

    /// The queue.
    #[inline]
    pub fn queue(&self) -> &Virtqueue {
        &self.queue
    }

    /// Requests that disks have.
    #[inline]
    pub fn in_flight(&self) -> &InFlight<P::Slot> {
        &self.in_flight
    }

    /// Takes what the guest has put into the queue.
    #[inline]
    pub fn serve(self: &Arc<Self>) {
        self.queue.serve(self);
    }

    /// Asks a disk, after `keep` has noted what the answer needs. What it cost, as [`super::queue::BUDGET`] counts: the
    /// pages of a request that is done by now.
    ///
    /// # Errors
    /// More requests at once than the queue has entries.
    #[inline]
    pub fn submit(
        self: &Arc<Self>,
        disk: &dyn BlockDevice,
        operation: Operation,
        blocks: Blocks,
        segments: &[Segment],
        keep: impl FnOnce(&P::Slot),
    ) -> Result<u32, Broken> {
        let tag = self.in_flight.add(operation.has_data(), keep).ok_or(Broken::InFlight)?;
        let Blocks { first: block, count: blocks } = blocks;
        let done = Done { to: self.clone(), tag };
        disk.submit(Request { operation, block, blocks, segments, done });
        if self.in_flight.get(tag).is_some() {
            return Ok(0);
        }
        let bytes: u64 = segments.iter().map(|segment| u64::from(segment.bytes)).sum();
        Ok((bytes >> 12) as u32)
    }
}

impl<P: Protocol> Service for Arc<Channel<P>> {
    #[inline]
    fn take(&self, chain: &mut Chain) -> Result<u32, Broken> {
        P::take(self, chain)
    }

    #[inline]
    fn taken(&self) {
        self.protocol.start();
    }

    #[inline]
    fn busy(&self) -> bool {
        self.in_flight.busy()
    }
}

impl<P: Protocol> Completion for Channel<P> {
    fn complete(&self, tag: u64, result: Result<(), BlockError>) {
        // A driver that tells of what it was not asked for is not to reach the guest.
        let Some(slot) = self.in_flight.get(tag) else { return };
        if let Next::Flush(disk) = self.protocol.done(&self.queue, slot, result)
            && let Some(this) = self.this.upgrade()
        {
            let done = Done { to: this, tag };
            disk.submit(Request { operation: Operation::Flush, block: 0, blocks: 0, segments: &[], done });
            disk.start();
            return;
        }
        self.in_flight.remove(tag);
        // The guest was told not to notify.
        if self.queue.is_quiet()
            && let Some(this) = self.this.upgrade()
        {
            this.serve();
        }
    }
}
