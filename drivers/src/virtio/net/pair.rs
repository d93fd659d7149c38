//! Two queues, one in each direction, with a task on one CPU.
use super::config::feature;
use super::receive::{Limits, Receiving};
use super::send::Sending;
use crate::virtio::VirtioError;
use crate::virtio::handshake::feature::EVENT_INDEX;
use crate::virtio::ring::{MOST_ENTRIES, Ring};
use crate::virtio::transport::{NO_VECTOR, Transport};
use crate::{Interrupt, Kernel};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use executor::Signal;
use mm::addr::PAGE;

/// Most bytes of a queue's receive buffers, unless a frame needs more.
const MOST_BUFFERS: usize = 1 << 20;

/// Two queues.
pub(super) struct Pair {
    number: u16,
    pub receiving: Receiving,
    pub sending: Sending,
    /// Raised by its interrupt, or where its task has something to do.
    pub signal: Arc<Signal>,
    pub interrupt: Option<Box<dyn Interrupt>>,
    /// Where its task runs.
    pub cpu: usize,
}

impl Pair {
    /// Pair `number`, whose task runs on `cpu`.
    pub fn new(
        (number, cpu): (u16, usize),
        kernel: &Arc<dyn Kernel>,
        transport: &Arc<Transport>,
        features: u64,
        limits: Limits,
        has_message: bool,
    ) -> Result<Self, VirtioError> {
        let signal = Arc::new(Signal::new());
        let interrupt = has_message.then(|| kernel.interrupt(cpu, signal.clone())).flatten();
        let (incoming, outgoing) = (number * 2, number * 2 + 1);
        let ring = ring(&**kernel, transport, features, incoming)?;
        // One buffer for each frame, or pages of which a frame takes as many as it needs.
        let needed = limits.needed();
        let bytes = if limits.merged { PAGE as usize } else { needed.next_multiple_of(PAGE as usize) };
        let count = usize::from(ring.size()).min((MOST_BUFFERS / bytes).max(1));
        if count * bytes < needed {
            return Err(VirtioError::Unfit("it has no room for a frame"));
        }
        let buffers = (0..count).map(|_| kernel.allocate_dma(bytes, false)).collect::<Option<_>>();
        let buffers = buffers.ok_or(VirtioError::NoMemory)?;
        let receiving = Receiving::new(incoming, transport, ring, buffers, limits);
        let ring = self::ring(&**kernel, transport, features, outgoing)?;
        let task = (signal.clone(), interrupt.is_none());
        let ecn = features & feature::HOST_ECN != 0;
        let sending = Sending::new(outgoing, kernel, transport, ring, task, ecn);
        let sending = sending.ok_or(VirtioError::NoMemory)?;
        Ok(Self { number, receiving, sending, signal, interrupt, cpu })
    }

    /// Names both queues to the device.
    pub fn enable(&self) -> Result<(), VirtioError> {
        let vector = if self.interrupt.is_some() { self.number } else { NO_VECTOR };
        self.receiving.enable(vector)?;
        self.sending.enable(vector)
    }

    /// Moves nothing from now on, but a batch that is being handed over.
    pub fn hold(&self) {
        self.receiving.hold();
        self.sending.hold();
    }

    /// Takes all back from a device that was reset, and lets go of it.
    pub fn empty(&self) {
        self.receiving.empty();
        self.sending.empty();
    }

    /// Goes on, with empty rings that the device knows.
    pub fn open(&self) {
        self.receiving.open();
        self.sending.open();
    }

    /// Whether the device does not behave.
    pub fn is_troubled(&self) -> bool {
        self.receiving.troubled.load(Ordering::Relaxed) || self.sending.troubled.load(Ordering::Relaxed)
    }
}

/// The ring for a queue of the device.
pub(super) fn ring(
    kernel: &dyn Kernel,
    transport: &Transport,
    features: u64,
    queue: u16,
) -> Result<Ring, VirtioError> {
    let size = transport.queue_size(queue).min(MOST_ENTRIES);
    if size < 4 || !size.is_power_of_two() {
        return Err(VirtioError::Unfit("a queue's size makes no sense"));
    }
    Ring::new(kernel, size, features & EVENT_INDEX != 0).ok_or(VirtioError::NoMemory)
}
