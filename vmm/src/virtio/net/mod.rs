//! virtio-net: a network card (virtio 1.2, 5.1).
//!
//! ```text
//!  guest: frame in a transmit queue ─► transmit: header checked, beginning copied ─► Wire::transmit(Frame, done)
//!  whoever has a frame for the guest ─► Port::receive(&Frame): copied into its buffers, merged as many as it takes
//! ```
//!
//! [`Net`] is the device; [`Wire`] is what it is plugged into, [`Port`] what that knows of it. `header` is what stands
//! before each frame, `transmit` and `receive` are the two directions, `control` what the guest asks for beside frames,
//! `config` what it is told.
//!
//! The guest may leave checksums to be computed and frames to be cut, and takes such ones: between two guests nobody ever
//! computes them. What it may leave undone and another can't take is done by whoever is between ([`Abilities`] of the
//! [`Port`] tell). Of a frame that the guest sends, only the beginning is copied ([`net::nic`]); of one that it receives,
//! all, once.
//!
//! Refused, and counted as the guest's mistake: a header that contradicts itself or the frame, a frame shorter than
//! Ethernet's header or longer than 64 KiB, in more pieces of memory than a queue has entries. The frame is dropped, and
//! its buffer given back, as a card would.
mod config;
mod control;
mod header;
mod receive;
mod transmit;

pub use receive::{Delivery, Port};

use super::control::Control;
use super::device::{Device, DeviceType};
use super::queue::{MAX_SIZE, Virtqueue};
use alloc::sync::Arc;
use alloc::vec::Vec;
use config::{Layout, feature};
use control::Commands;
use core::any::Any;
use core::sync::atomic::{AtomicU64, Ordering};
use net::frame::{Headers, Mac};
use net::nic::{Done, Frame};
use transmit::Transmitter;

/// Most pairs of queues.
pub const MAX_PAIRS: u16 = 16;
/// Entries of the control queue, and segments of what comes there.
const CONTROL_SIZE: u16 = 64;
/// Most segments of a frame: 64 KiB in pages, each maybe across the end of a chunk, and the header.
const SEGMENTS: usize = 40;

/// What a card is plugged into.
pub trait Wire: Send + Sync {
    /// The guest sends a frame, which is in itself as it says ([`Frame::check`]), and has these headers. Its memory can be used until `done` is
    /// told, exactly once, maybe before this returns.
    fn transmit(&self, frame: &Frame<'_>, headers: &Headers, done: Done);

    /// The guest has sent what is no frame; it went nowhere.
    fn malformed(&self) {}

    /// All that the guest had is transmitted.
    fn start(&self) {}

    /// The guest offers more room to receive, after it had too little for a frame.
    fn room(&self) {}

    /// Whether the link is up.
    fn is_up(&self) -> bool;

    /// The guest wants to be known by another address. Whether it may be.
    fn set_mac(&self, mac: Mac) -> bool;

    /// The guest wants all frames that there are, or no longer.
    fn set_promiscuous(&self, on: bool);

    /// The guest's driver begins, or is gone.
    fn driver(&self, works: bool);
}

/// What a card is made with.
pub struct NetConfig {
    /// What it is plugged into.
    pub wire: Arc<dyn Wire>,
    /// How that reaches the guest.
    pub port: Arc<Port>,
    /// Its address.
    pub mac: Mac,
    /// Most bytes of a packet, 1280 to 9000.
    pub mtu: u16,
    /// Pairs of queues: one for each vCPU is good. 1 to [`MAX_PAIRS`].
    pub pairs: u16,
    /// Entries of each queue: a power of two, up to 1024; 256 is good.
    pub queue_size: u16,
    /// What keeps the guest's memory from being used for anything else. Held until the last frame is sent.
    pub keep: Arc<dyn Any + Send + Sync>,
}

/// What the queues of a card share.
struct Shared {
    wire: Arc<dyn Wire>,
    port: Arc<Port>,
    layout: Layout,
    /// What the driver has agreed to.
    features: AtomicU64,
    _keep: Arc<dyn Any + Send + Sync>,
}

/// A virtio network card.
pub struct Net {
    shared: Arc<Shared>,
    pairs: u16,
    queue_size: u16,
    transmitters: Vec<Arc<Transmitter>>,
    /// The control queue of a driver that uses one pair, and of one that may use all.
    commands: Vec<Commands>,
}

impl Net {
    /// A card that is to be attached to a board.
    pub fn new(config: NetConfig) -> Self {
        let NetConfig { wire, port, mac, mtu, pairs, queue_size, keep } = config;
        let pairs = pairs.clamp(1, MAX_PAIRS);
        // The next lower power of two.
        let queue_size = 1 << queue_size.clamp(2, MAX_SIZE).ilog2();
        let layout = Layout { mac, mtu, pairs };
        let shared = Arc::new(Shared { wire, port, layout, features: AtomicU64::new(0), _keep: keep });
        Self { shared, pairs, queue_size, transmitters: Vec::new(), commands: Vec::new() }
    }

    /// Numbers of the control queue: behind the first pair, and behind all of them (5.1.2).
    fn control_queues(&self) -> [u16; 2] {
        [2, 2 * self.pairs]
    }

    /// Whether `queue` is the control queue for this driver.
    fn commands(&self, queue: u16) -> Option<&Commands> {
        let several = self.shared.features.load(Ordering::Relaxed) & feature::MQ != 0;
        let which = usize::from(several);
        (queue == self.control_queues()[which]).then(|| self.commands.get(which)).flatten()
    }
}

impl Device for Net {
    fn device_type(&self) -> DeviceType {
        DeviceType::NET
    }

    /// An Ethernet controller.
    fn class(&self) -> u32 {
        0x02_0000
    }

    fn features(&self) -> u64 {
        self.shared.layout.features()
    }

    fn queue_sizes(&self) -> Vec<u16> {
        let mut sizes = alloc::vec![self.queue_size; usize::from(2 * self.pairs)];
        sizes.push(CONTROL_SIZE);
        sizes
    }

    fn segments(&self) -> usize {
        SEGMENTS
    }

    fn connect(&mut self, queues: Vec<Arc<Virtqueue>>, control: &Arc<Control>) {
        let receive = queues.iter().step_by(2).take(self.pairs.into()).cloned().collect();
        self.shared.port.connect(receive, control);
        let transmit = queues.iter().skip(1).step_by(2).take(self.pairs.into());
        self.transmitters = transmit.map(|queue| Transmitter::new(&self.shared, queue.clone())).collect();
        let control_queue = |number: u16| queues.get(usize::from(number)).cloned();
        let commands = |queue| Commands::new(&self.shared, queue, self.pairs);
        self.commands = self.control_queues().into_iter().filter_map(control_queue).map(commands).collect();
    }

    fn config_byte(&self, offset: u32) -> u8 {
        self.shared.layout.byte(offset, self.shared.wire.is_up())
    }

    /// Nothing of it can be written.
    fn config_write(&self, _offset: u32, _size: u8, _value: u64) {}

    fn activate(&self, features: u64) {
        self.shared.features.store(features, Ordering::SeqCst);
        self.shared.port.activate(features);
        self.shared.wire.driver(true);
    }

    #[inline]
    fn notify(&self, queue: u16) {
        if let Some(commands) = self.commands(queue) {
            commands.serve();
        } else if queue % 2 == 1
            && let Some(transmitter) = self.transmitters.get(usize::from(queue / 2))
        {
            transmitter.serve();
        } else {
            // It is asked to tell of new buffers only where there were too few.
            self.shared.wire.room();
        }
    }

    fn reset(&self) {
        self.shared.wire.driver(false);
        self.shared.features.store(0, Ordering::SeqCst);
        self.shared.port.reset();
    }

    fn in_flight(&self) -> u32 {
        self.transmitters.iter().map(|transmitter| transmitter.in_flight().count()).sum()
    }

    fn when_drained(&self, drained: &Arc<dyn Fn() + Send + Sync>) {
        for transmitter in &self.transmitters {
            transmitter.in_flight().when_drained(drained);
        }
    }

    fn mark_requests(&self) {
        self.transmitters.iter().for_each(|transmitter| transmitter.in_flight().mark());
    }

    fn marked_are_done(&self) -> bool {
        self.transmitters.iter().all(|transmitter| transmitter.in_flight().marked_are_done())
    }
}
