//! virtio-blk: a disk (virtio 1.2, 5.2).
//!
//! [`Blk`] is the device, `channel` what it makes of its queues ([`super::channel`]), `request` what the guest asks for,
//! `config` what it is told of the disk.
//!
//! Data goes between the disk and the guest's own memory. What the disk can't do is not offered; what is not whole
//! blocks, is too long, goes in the wrong direction or beyond the end is an I/O error of that request. A request that
//! can't even be answered, for want of a header or room for the status, stops the device.
//!
//! A disk with a volatile cache offers FLUSH and CONFIG_WCE: a guest that takes neither, or switches the cache to
//! write-through, gets each of its writes on the medium before it is told of its end (5.2.5.2).
mod channel;
mod config;
mod request;

use super::channel::Channel;
use super::control::Control;
use super::device::{Device, DeviceType};
use super::queue::{MAX_SIZE, Virtqueue};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use block::BlockDevice;
use channel::Disk;
use config::{Layout, feature};
use core::any::Any;
use core::sync::atomic::{AtomicBool, Ordering};

/// Most queues of a disk.
pub const MAX_QUEUES: u16 = 64;
/// Most segments of a request's data that the guest is told of; with header and status they are 320. A request of 1 MiB
/// may have 256 pages.
const SEG_MAX: u32 = 318;
/// Most bytes of one of them. No longer than a 2 MiB chunk, so that each takes two of the host's at most.
const SIZE_MAX: u32 = 1 << 20;

/// What a disk is made with.
pub struct BlkConfig {
    /// What it is above: all of it, so give it a part where it is to have less or not to write.
    pub disk: Arc<dyn BlockDevice>,
    /// Its serial number, of which 20 bytes count.
    pub serial: String,
    /// Queues: one for each vCPU is good. 1 to [`MAX_QUEUES`].
    pub queues: u16,
    /// Entries of each queue: a power of two, up to 1024; 256 is good.
    pub queue_size: u16,
    /// What keeps the guest's memory from being used for anything else. Held until the last request is done.
    pub keep: Arc<dyn Any + Send + Sync>,
}

/// What the queues of a disk share.
struct Shared {
    disk: Arc<dyn BlockDevice>,
    serial: [u8; 20],
    layout: Layout,
    /// The guest uses the disk's cache: its writes need not be on the medium.
    writeback: AtomicBool,
    _keep: Arc<dyn Any + Send + Sync>,
}

/// A virtio disk.
pub struct Blk {
    shared: Arc<Shared>,
    queue_sizes: Vec<u16>,
    channels: Vec<Arc<Channel<Disk>>>,
}

impl Blk {
    /// A disk that is to be attached to a board.
    pub fn new(config: BlkConfig) -> Self {
        let BlkConfig { disk, serial, queues, queue_size, keep } = config;
        let queues = queues.clamp(1, MAX_QUEUES);
        let size = queue_size.clamp(2, MAX_SIZE);
        // The next lower power of two.
        let size = 1 << size.ilog2();
        let mut id = [0; 20];
        for (to, from) in id.iter_mut().zip(serial.bytes()) {
            *to = from;
        }
        let layout = Layout::new(disk.geometry(), queues);
        Self {
            shared: Arc::new(Shared {
                disk,
                serial: id,
                layout,
                writeback: AtomicBool::new(false),
                _keep: keep,
            }),
            queue_sizes: alloc::vec![size; queues.into()],
            channels: Vec::new(),
        }
    }
}

impl Device for Blk {
    fn device_type(&self) -> DeviceType {
        DeviceType::BLOCK
    }

    /// A SCSI storage controller, as which guests list such disks.
    fn class(&self) -> u32 {
        0x01_0000
    }

    fn features(&self) -> u64 {
        self.shared.layout.features()
    }

    fn queue_sizes(&self) -> Vec<u16> {
        self.queue_sizes.clone()
    }

    fn segments(&self) -> usize {
        // Each may cross from one chunk to the next; header and status besides.
        2 * SEG_MAX as usize + 4
    }

    fn connect(&mut self, queues: Vec<Arc<Virtqueue>>, _control: &Arc<Control>) {
        let channel = |queue| Channel::new(Disk(self.shared.clone()), queue);
        self.channels = queues.into_iter().map(channel).collect();
    }

    fn config_byte(&self, offset: u32) -> u8 {
        self.shared.layout.byte(offset, self.shared.writeback.load(Ordering::Relaxed))
    }

    fn config_write(&self, offset: u32, size: u8, value: u64) {
        if offset == config::WRITEBACK && size == 1 && self.features() & feature::CONFIG_WCE != 0 {
            self.shared.writeback.store(value & 1 != 0, Ordering::SeqCst);
        }
    }

    fn activate(&self, features: u64) {
        // 5.2.5.2: whoever can't switch it has the cache if he can flush it.
        if features & feature::CONFIG_WCE == 0 {
            self.shared.writeback.store(features & feature::FLUSH != 0, Ordering::SeqCst);
        }
    }

    #[inline]
    fn notify(&self, queue: u16) {
        if let Some(channel) = self.channels.get(usize::from(queue)) {
            channel.serve();
        }
    }

    fn reset(&self) {
        // With the cache on, if there is one, as the guest finds it.
        self.shared.writeback.store(self.features() & feature::FLUSH != 0, Ordering::SeqCst);
    }

    fn in_flight(&self) -> u32 {
        self.channels.iter().map(|channel| channel.in_flight().count()).sum()
    }

    fn when_drained(&self, drained: &Arc<dyn Fn() + Send + Sync>) {
        for channel in &self.channels {
            channel.in_flight().when_drained(drained);
        }
    }

    fn mark_requests(&self) {
        self.channels.iter().for_each(|channel| channel.in_flight().mark());
    }

    fn marked_are_done(&self) -> bool {
        self.channels.iter().all(|channel| channel.in_flight().marked_are_done())
    }
}
