//! virtio-rng: a source of random numbers (virtio 1.2, 5.4). One queue, whose buffers come back filled.
use super::control::Control;
use super::device::{Device, DeviceType};
use super::queue::{Broken, Chain, Service, Virtqueue};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Where random numbers come from.
pub trait Entropy: Send + Sync {
    /// Fills `out` with bytes that nobody can predict; `false` where it has none now.
    fn fill(&self, out: &mut [u8]) -> bool;
}

/// Entries of the queue.
const QUEUE_SIZE: u16 = 64;
/// Most segments of a buffer.
const SEGMENTS: usize = 64;
/// Most bytes that one buffer gets: a guest that wants more asks again.
const MOST: usize = 4096;
/// Bytes made at once.
const PIECE: usize = 64;

/// The device.
pub struct Rng {
    entropy: Arc<dyn Entropy>,
    queue: Option<Arc<Virtqueue>>,
}

/// The device while it serves its queue.
struct Filler<'a> {
    entropy: &'a dyn Entropy,
    queue: &'a Virtqueue,
}

impl Rng {
    /// A device that hands on what `entropy` has.
    pub fn new(entropy: Arc<dyn Entropy>) -> Self {
        Self { entropy, queue: None }
    }
}

impl Service for Filler<'_> {
    fn take(&self, chain: &mut Chain) -> Result<u32, Broken> {
        let mut written = 0;
        while written < MOST && chain.writable.bytes() > 0 {
            let mut piece = [0; PIECE];
            if !self.entropy.fill(&mut piece) {
                // The guest sees by the length that it got less, or nothing.
                break;
            }
            match chain.writable.write_front(&piece) {
                // Of a buffer in too many pieces, the first ones.
                0 => break,
                n => written += n,
            }
        }
        self.queue.give_back(chain.token, written as u32, |_| ());
        // Making them costs more than moving them.
        Ok((written / 16) as u32)
    }
}

impl Device for Rng {
    fn device_type(&self) -> DeviceType {
        DeviceType::ENTROPY
    }

    /// None of the classes that there are.
    fn class(&self) -> u32 {
        0xff_0000
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> Vec<u16> {
        alloc::vec![QUEUE_SIZE]
    }

    fn segments(&self) -> usize {
        SEGMENTS
    }

    fn connect(&mut self, queues: Vec<Arc<Virtqueue>>, _control: &Arc<Control>) {
        self.queue = queues.first().cloned();
    }

    fn config_byte(&self, _offset: u32) -> u8 {
        0
    }

    fn config_write(&self, _offset: u32, _size: u8, _value: u64) {}

    fn activate(&self, _features: u64) {}

    fn notify(&self, queue: u16) {
        if queue == 0
            && let Some(queue) = &self.queue
        {
            queue.serve(&Filler { entropy: self.entropy.as_ref(), queue });
        }
    }

    fn reset(&self) {}

    fn in_flight(&self) -> u32 {
        0
    }

    fn when_drained(&self, _drained: &Arc<dyn Fn() + Send + Sync>) {}

    fn mark_requests(&self) {}

    fn marked_are_done(&self) -> bool {
        true
    }
}
