//! What a type of virtio device is to its transport.
use super::control::Control;
use super::queue::Virtqueue;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Type of a device (virtio 1.2, 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceType(pub u16);

impl DeviceType {
    /// Network card.
    pub const NET: Self = Self(1);
    /// Disk.
    pub const BLOCK: Self = Self(2);
    /// Console.
    pub const CONSOLE: Self = Self(3);
    /// Source of random numbers.
    pub const ENTROPY: Self = Self(4);
    /// Memory balloon.
    pub const BALLOON: Self = Self(5);
    /// SCSI host.
    pub const SCSI: Self = Self(8);
}

/// Bits of the device status (2.1).
pub struct Status;

impl Status {
    /// The guest has seen the device.
    pub const ACKNOWLEDGE: u8 = 1;
    /// It has a driver for it.
    pub const DRIVER: u8 = 2;
    /// The driver works.
    pub const DRIVER_OK: u8 = 4;
    /// Features are agreed upon.
    pub const FEATURES_OK: u8 = 8;
    /// The device can't go on without a reset.
    pub const NEEDS_RESET: u8 = 64;
    /// The driver has given up.
    pub const FAILED: u8 = 128;
}

/// Feature bits that all types of devices share (6).
pub struct Feature;

impl Feature {
    /// Descriptors may name a table of descriptors.
    pub const INDIRECT_DESC: u64 = 1 << 28;
    /// Notifications and interrupts are suppressed by index.
    pub const EVENT_IDX: u64 = 1 << 29;
    /// virtio 1.0 or later; there is nothing else here.
    pub const VERSION_1: u64 = 1 << 32;
    /// Packed rings.
    pub const RING_PACKED: u64 = 1 << 34;
    /// What the rings and the transport offer, whatever the type.
    pub const OFFERED: u64 = Self::INDIRECT_DESC | Self::EVENT_IDX | Self::VERSION_1 | Self::RING_PACKED;
}

/// A device: its features, configuration, and what it does with what comes in its queues.
///
/// All but [`Self::connect`] is called on any CPU, several at once.
pub trait Device: Send + Sync {
    /// Its type.
    fn device_type(&self) -> DeviceType;

    /// Its PCI class code, 24 bits.
    fn class(&self) -> u32;

    /// Features of its type. Those of [`Feature::OFFERED`] are added.
    fn features(&self) -> u64;

    /// Most entries of each of its queues: powers of two, up to [`super::queue::MAX_SIZE`].
    fn queue_sizes(&self) -> Vec<u16>;

    /// Most segments that one descriptor chain may have in one direction.
    fn segments(&self) -> usize;

    /// Whether the memory that the chains of a queue would have it write is only spoken of
    /// ([`super::queue::Chain::of_places`]).
    fn names_places(&self, _queue: u16) -> bool {
        false
    }

    /// Its queues, in the order of [`Self::queue_sizes`], and how it reaches the guest beside them. Called once,
    /// before the guest starts.
    fn connect(&mut self, queues: Vec<Arc<Virtqueue>>, control: &Arc<Control>);

    /// Byte `offset` of its configuration; 0 beyond its end.
    fn config_byte(&self, offset: u32) -> u8;

    /// The guest writes `size` bytes of its configuration.
    fn config_write(&self, offset: u32, size: u8, value: u64);

    /// The driver has agreed to `features`, and begins (DRIVER_OK).
    fn activate(&self, features: u64);

    /// The guest has put something into a queue, or the device is to look anyway. A number from the guest.
    fn notify(&self, queue: u16);

    /// Back to the power-on state. What is in flight goes on.
    fn reset(&self);

    /// Requests that use the guest's memory now.
    fn in_flight(&self) -> u32;

    /// `drained` is to be called when [`Self::in_flight`] becomes 0.
    fn when_drained(&self, drained: &Arc<dyn Fn() + Send + Sync>);

    /// Marks the requests that somebody below it has now, by host addresses of guest memory. One caller at a time, and
    /// not again before [`Self::marked_are_done`].
    fn mark_requests(&self);

    /// Whether all that were marked are done.
    fn marked_are_done(&self) -> bool;
}
