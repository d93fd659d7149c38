//! virtio-scsi: a SCSI controller, whose disks are the logical units of its one target (virtio 1.2, 5.6).
//!
//! ```text
//!  request queues ─► requests: header ─► task::ask: which unit, which command, may it now?
//!                                          │ medium: READ, WRITE, ...       │ inquiry, mode, capacity, opcodes
//!                                          ▼                                ▼
//!                                       the unit's disk                  answered at once
//!  control queue  ─► functions: waits until the disk has let go of what is to be aborted
//! ```
//!
//! - [`Scsi`] is the device, `config` what the guest is told of it, `header` how requests are addressed and answered.
//! - `command` knows all CDBs: one table says what exists, what is reported, and which bits are refused.
//! - `unit` is a logical unit: its disk, serial number, and what the guest has set. `sense` says why a command failed.
//!
//! Data goes between the disk and the guest's own memory, as with virtio-blk, by the same code
//! ([`super::channel`]): a command costs one lock more, the one of its slot.
//!
//! # What it promises
//!
//! A disk's errors reach the guest as what a disk of its own would say: a medium error with its block, where it is
//! known; a write to what is read-only as data protection; a disk that is gone as not ready. A command that asks for
//! more data than its chain has room for is an overrun and does nothing. What can't even be answered, for want of a
//! header or room for the answer, stops the device; so does room for an answer in more than
//! [`ROOM_PIECES`](crate::memory::ROOM_PIECES) pieces, so that no request takes memory of ours.
//!
//! What its cache has is told by the caching mode page, and the guest may switch it off. FUA is honoured, for reads too.
//! UNMAP and WRITE SAME exist where the disk can discard and zero.
//!
//! A task that a disk has can't be called back from it. Aborting it, or resetting its logical unit, is told to be
//! complete when the disk is done with it and its answer was given.
//!
//! # Locks
//!
//! The control queue's available side, then a request queue's; then the functions that wait, then the slot of a request;
//! the used side of a queue is the last.
//!
//! # What it does not do
//!
//! No hot-plug and no events: the event queue's buffers stay with the device. No data in both directions (INOUT), no
//! protection information (T10_PI), no persistent reservations, no VERIFY (a disk here can't check without reading),
//! no WRITE SAME of anything but zeroes, no order among commands (all tasks are simple ones).
mod capacity;
mod command;
mod config;
mod functions;
mod header;
mod inquiry;
mod medium;
mod mode;
mod opcodes;
mod reply;
mod requests;
mod sense;
mod task;
mod unit;

use super::channel::Channel;
use super::control::Control;
use super::device::{Device, DeviceType};
use super::queue::{MAX_SIZE, Virtqueue};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use block::BlockDevice;
use config::{Config, SEG_MAX};
use core::any::Any;
use functions::{Functions, Waiting};
use requests::Requests;
use unit::Unit;

/// Most request queues.
pub const MAX_QUEUES: u16 = 64;
/// Most logical units.
pub const MAX_UNITS: usize = 64;

/// The control queue, behind which is the event queue, and then
const CONTROL: u16 = 0;
const FIRST_REQUEST: u16 = 2;
/// Entries of the first two.
const SMALL_QUEUE: u16 = 64;

/// A logical unit to be.
pub struct ScsiDisk {
    /// What it is above: all of it, so give it a part where it is to have less or not to write.
    pub disk: Arc<dyn BlockDevice>,
    /// Its serial number, of which 36 characters count. What has that of another one gets its LUN added: a guest takes
    /// disks with the same for one.
    pub serial: String,
}

/// What a controller is made with.
pub struct ScsiConfig {
    /// Its logical units, in the order of their numbers, at most [`MAX_UNITS`].
    pub disks: Vec<ScsiDisk>,
    /// Request queues: one for each vCPU is good. 1 to [`MAX_QUEUES`].
    pub queues: u16,
    /// Entries of each request queue: a power of two, up to 1024; 256 is good.
    pub queue_size: u16,
    /// What keeps the guest's memory from being used for anything else. Held until the last request is done.
    pub keep: Arc<dyn Any + Send + Sync>,
}

/// What the queues share.
struct Shared {
    units: Vec<Unit>,
    config: Config,
    functions: Waiting,
    _keep: Arc<dyn Any + Send + Sync>,
}

/// A virtio SCSI controller.
pub struct Scsi {
    shared: Arc<Shared>,
    queue_sizes: Vec<u16>,
    control: Option<Arc<Virtqueue>>,
    channels: Vec<Arc<Channel<Requests>>>,
}

impl Scsi {
    /// A controller that is to be attached to a board.
    pub fn new(config: ScsiConfig) -> Self {
        let ScsiConfig { disks, queues, queue_size, keep } = config;
        let queues = queues.clamp(1, MAX_QUEUES);
        // The next lower power of two.
        let size = 1 << queue_size.clamp(2, MAX_SIZE).ilog2();
        let mut units: Vec<Unit> = Vec::new();
        for (lun, ScsiDisk { disk, serial }) in disks.into_iter().take(MAX_UNITS).enumerate() {
            let mut unit = Unit::new(disk.clone(), &serial);
            if units.iter().any(|other| other.serial() == unit.serial()) {
                let room = unit::MAX_SERIAL - 4;
                let start: String = unit.serial().chars().take(room).collect();
                unit = Unit::new(disk, &format!("{start}.{lun}"));
            }
            units.push(unit);
        }
        let mut queue_sizes = [SMALL_QUEUE; FIRST_REQUEST as usize].to_vec();
        queue_sizes.resize(usize::from(FIRST_REQUEST + queues), size);
        let config = Config::new(queues, size, units.len());
        Self {
            shared: Arc::new(Shared { units, config, functions: Waiting::default(), _keep: keep }),
            queue_sizes,
            control: None,
            channels: Vec::new(),
        }
    }
}

impl Device for Scsi {
    fn device_type(&self) -> DeviceType {
        DeviceType::SCSI
    }

    /// A SCSI storage controller.
    fn class(&self) -> u32 {
        0x01_0000
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> Vec<u16> {
        self.queue_sizes.clone()
    }

    fn segments(&self) -> usize {
        // Each may cross from one chunk to the next; header and answer besides.
        2 * SEG_MAX as usize + 4
    }

    fn connect(&mut self, queues: Vec<Arc<Virtqueue>>, _control: &Arc<Control>) {
        self.control = queues.first().cloned();
        let channel = |queue| Channel::new(Requests::new(&self.shared), queue);
        self.channels = queues.into_iter().skip(usize::from(FIRST_REQUEST)).map(channel).collect();
    }

    fn config_byte(&self, offset: u32) -> u8 {
        self.shared.config.byte(offset)
    }

    fn config_write(&self, offset: u32, size: u8, value: u64) {
        self.shared.config.write(offset, size, value);
    }

    fn activate(&self, _features: u64) {}

    #[inline]
    fn notify(&self, queue: u16) {
        match (queue.checked_sub(FIRST_REQUEST), &self.control) {
            (Some(index), _) => {
                if let Some(channel) = self.channels.get(usize::from(index)) {
                    channel.serve();
                }
            }
            (None, Some(control)) if queue == CONTROL => {
                control.serve(&Functions { shared: &self.shared, queue: control, channels: &self.channels });
            }
            _ => {}
        }
    }

    fn reset(&self) {
        self.shared.functions.forget();
        self.shared.config.reset();
        self.shared.units.iter().for_each(Unit::power_on);
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
