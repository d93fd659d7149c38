//! The registers of a device on PCI, by its capabilities (virtio 1.2, 4.1.4).
use super::error::VirtioError;
use crate::Registers;
use crate::pci::{CapabilityId, Config, Device};
use alloc::boxed::Box;
use core::sync::atomic::{AtomicBool, Ordering};

/// Virtio's vendor.
pub(super) const VENDOR: u16 = 0x1af4;

/// What a capability is of (4.1.4).
const COMMON: u8 = 1;
const NOTIFY: u8 = 2;
const DEVICE: u8 = 4;

/// Offsets in the common configuration (4.1.4.3).
const DEVICE_FEATURE_SELECT: u64 = 0x00;
const DEVICE_FEATURE: u64 = 0x04;
const DRIVER_FEATURE_SELECT: u64 = 0x08;
const DRIVER_FEATURE: u64 = 0x0c;
const CONFIG_VECTOR: u64 = 0x10;
const QUEUES: u64 = 0x12;
const STATUS: u64 = 0x14;
const GENERATION: u64 = 0x15;
const QUEUE_SELECT: u64 = 0x16;
const QUEUE_SIZE: u64 = 0x18;
const QUEUE_VECTOR: u64 = 0x1a;
const QUEUE_ENABLE: u64 = 0x1c;
const QUEUE_NOTIFY_OFFSET: u64 = 0x1e;
const QUEUE_DESCRIPTORS: u64 = 0x20;
const QUEUE_AVAILABLE: u64 = 0x28;
const QUEUE_USED: u64 = 0x30;
/// Bytes of it that are needed.
const COMMON_BYTES: u64 = 0x38;

/// No message.
pub(super) const NO_VECTOR: u16 = 0xffff;

/// Device status (2.1).
pub(super) mod status {
    pub const ACKNOWLEDGE: u8 = 1;
    pub const DRIVER: u8 = 2;
    pub const DRIVER_OK: u8 = 4;
    pub const FEATURES_OK: u8 = 8;
    pub const NEEDS_RESET: u8 = 64;
}

/// The windows of a device.
pub struct Windows<R> {
    /// The common configuration.
    pub common: R,
    /// The notification registers.
    pub notify: R,
    /// Bytes from one of them to the next.
    pub notify_multiplier: u32,
    /// The device's own configuration.
    pub device: R,
}

impl Windows<Box<dyn Registers>> {
    /// Finds and maps them.
    ///
    /// # Errors
    /// Where one is missing, or lies where it can't.
    pub fn map(config: &Config, device: &Device) -> Result<Self, VirtioError> {
        let (mut common, mut notify, mut own, mut notify_multiplier) = (None, None, None, 0);
        for at in config.capabilities().filter(|c| c.id == CapabilityId::VENDOR).map(|c| c.offset) {
            let (kind, bar) = (config.read8(at + 3), config.read8(at + 4));
            let (offset, bytes) = (config.read32(at + 8), config.read32(at + 12));
            let place = match kind {
                COMMON => &mut common,
                NOTIFY => &mut notify,
                DEVICE => &mut own,
                _ => continue,
            };
            // The first that can be reached is to be taken (4.1.4).
            if place.is_none() {
                *place = device.map_part(bar, offset.into(), bytes.into()).ok();
                if kind == NOTIFY {
                    notify_multiplier = config.read32(at + 16);
                }
            }
        }
        let [common, notify, device] = [common, notify, own].map(|w| w.ok_or(VirtioError::NoRegisters));
        Ok(Self { common: common?, notify: notify?, notify_multiplier, device: device? })
    }
}

/// A device's registers, by their names.
pub(super) struct Transport {
    windows: Windows<Box<dyn Registers>>,
    /// Nobody answers any more, whatever may be at its place.
    closed: AtomicBool,
}

impl Transport {
    pub fn new(windows: Windows<Box<dyn Registers>>) -> Result<Self, VirtioError> {
        if windows.common.bytes() < COMMON_BYTES || windows.notify.bytes() < 2 {
            return Err(VirtioError::NoRegisters);
        }
        Ok(Self { windows, closed: AtomicBool::new(false) })
    }

    /// The device is gone: it is not touched any more.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    fn open(&self) -> bool {
        !self.closed.load(Ordering::Relaxed)
    }

    /// Its status; all ones where nobody answers, which no device says.
    pub fn status(&self) -> u8 {
        if self.open() { self.windows.common.read8(STATUS) } else { u8::MAX }
    }

    pub fn set_status(&self, status: u8) {
        if self.open() {
            self.windows.common.write8(STATUS, status);
        }
    }

    fn write16(&self, register: u64, value: u16) {
        if self.open() {
            self.windows.common.write16(register, value);
        }
    }

    fn write32(&self, register: u64, value: u32) {
        if self.open() {
            self.windows.common.write32(register, value);
        }
    }

    fn read16(&self, register: u64) -> u16 {
        if self.open() { self.windows.common.read16(register) } else { 0 }
    }

    pub fn features(&self) -> u64 {
        (0..2).fold(0, |features, half| {
            self.write32(DEVICE_FEATURE_SELECT, half);
            features | u64::from(self.windows.common.read32(DEVICE_FEATURE)) << (32 * half)
        })
    }

    pub fn set_features(&self, features: u64) {
        for half in 0..2 {
            self.write32(DRIVER_FEATURE_SELECT, half);
            self.write32(DRIVER_FEATURE, (features >> (32 * half)) as u32);
        }
    }

    /// How many queues it has.
    pub fn queues(&self) -> u16 {
        self.read16(QUEUES)
    }

    /// Selects a queue; the entries that it may have at most.
    pub fn queue_size(&self, queue: u16) -> u16 {
        self.write16(QUEUE_SELECT, queue);
        self.read16(QUEUE_SIZE)
    }

    /// Names the message for changes of the device's own configuration. Whether that was taken.
    pub fn set_config_vector(&self, vector: u16) -> bool {
        self.write16(CONFIG_VECTOR, vector);
        self.read16(CONFIG_VECTOR) == vector
    }

    /// Sets a queue up and enables it: entries, message, and where its parts are. Its notification register, if that
    /// is within the window.
    pub fn enable_queue(&self, queue: u16, size: u16, vector: u16, parts: [u64; 3]) -> Option<u64> {
        self.write16(QUEUE_SELECT, queue);
        self.write16(QUEUE_SIZE, size);
        self.write16(QUEUE_VECTOR, vector);
        let taken = self.read16(QUEUE_VECTOR);
        for (register, address) in [QUEUE_DESCRIPTORS, QUEUE_AVAILABLE, QUEUE_USED].into_iter().zip(parts) {
            // Two halves: 32 bits are what 4.1.3.1 allows.
            self.write32(register, address as u32);
            self.write32(register + 4, (address >> 32) as u32);
        }
        let offset = u64::from(self.read16(QUEUE_NOTIFY_OFFSET)) * u64::from(self.windows.notify_multiplier);
        let inside = offset.is_multiple_of(2) && offset + 2 <= self.windows.notify.bytes();
        if !inside || taken != vector {
            return None;
        }
        self.write16(QUEUE_ENABLE, 1);
        Some(offset)
    }

    /// Tells the device of new entries.
    #[inline]
    pub fn notify(&self, register: u64, queue: u16) {
        if self.open() {
            self.windows.notify.write16(register, queue);
        }
    }

    /// Reads the device's own configuration, whole words, without a change in between; 0 beyond its end.
    pub fn read_own<const N: usize>(&self) -> [u32; N] {
        let word = |at| if self.is_own(at, 4) { self.windows.device.read32(at) } else { 0 };
        self.consistent(|| core::array::from_fn(|i| word(i as u64 * 4)))
    }

    /// Reads bytes of the device's own configuration from its beginning on, then words of 16 bits, each by an access of
    /// its own width (4.1.3.1), without a change in between; 0 beyond its end.
    pub fn read_own_fields<const BYTES: usize, const WORDS: usize>(&self) -> ([u8; BYTES], [u16; WORDS]) {
        let byte = |at| if self.is_own(at, 1) { self.windows.device.read8(at) } else { 0 };
        let word = |at| if self.is_own(at, 2) { self.windows.device.read16(at) } else { 0 };
        self.consistent(|| {
            let bytes = core::array::from_fn(|i| byte(i as u64));
            (bytes, core::array::from_fn(|i| word((BYTES + 2 * i) as u64)))
        })
    }

    /// Whether somebody answers within his own configuration.
    fn is_own(&self, offset: u64, bytes: u64) -> bool {
        self.open() && offset + bytes <= self.windows.device.bytes()
    }

    fn consistent<T>(&self, read: impl Fn() -> T) -> T {
        let generation = || self.windows.common.read8(GENERATION);
        // A device that changes it all the time is taken at its last word.
        for _ in 0..16 {
            let before = generation();
            let what = read();
            if generation() == before {
                return what;
            }
        }
        read()
    }
}
