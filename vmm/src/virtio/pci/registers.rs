//! The common configuration: status, features, and where the queues are (virtio 1.2, 4.1.4.3).
use super::Transport;
use crate::virtio::control::NO_VECTOR;
use crate::virtio::device::{Feature, Status};
use crate::virtio::queue::Addresses;
use alloc::boxed::Box;

/// Offsets of the registers.
mod at {
    pub const DEVICE_FEATURE_SELECT: u64 = 0x00;
    pub const DEVICE_FEATURE: u64 = 0x04;
    pub const DRIVER_FEATURE_SELECT: u64 = 0x08;
    pub const DRIVER_FEATURE: u64 = 0x0c;
    pub const CONFIG_VECTOR: u64 = 0x10;
    pub const NUM_QUEUES: u64 = 0x12;
    pub const DEVICE_STATUS: u64 = 0x14;
    pub const CONFIG_GENERATION: u64 = 0x15;
    pub const QUEUE_SELECT: u64 = 0x16;
    pub const QUEUE_SIZE: u64 = 0x18;
    pub const QUEUE_VECTOR: u64 = 0x1a;
    pub const QUEUE_ENABLE: u64 = 0x1c;
    pub const QUEUE_DESC: u64 = 0x20;
    pub const QUEUE_DRIVER: u64 = 0x28;
    pub const QUEUE_DEVICE: u64 = 0x30;
    /// Behind the last one.
    pub const END: u64 = 0x40;
}

/// A queue's registers.
#[derive(Clone, Copy)]
struct QueueRegisters {
    max_size: u16,
    size: u16,
    enabled: bool,
    /// Descriptor, driver and device area.
    areas: [u64; 3],
}

impl QueueRegisters {
    const fn power_on(max_size: u16) -> Self {
        Self { max_size, size: max_size, enabled: false, areas: [0; 3] }
    }
}

/// What the guest has written, and no hot path reads.
pub(super) struct Registers {
    device_feature_select: u32,
    driver_feature_select: u32,
    driver_features: u64,
    queue_select: u16,
    queues: Box<[QueueRegisters]>,
    /// A reset waits for requests in flight; until then the status reads so.
    resetting: Option<u8>,
}

impl Registers {
    pub fn new(sizes: &[u16]) -> Self {
        Self {
            device_feature_select: 0,
            driver_feature_select: 0,
            driver_features: 0,
            queue_select: 0,
            queues: sizes.iter().map(|&size| QueueRegisters::power_on(size)).collect(),
            resetting: None,
        }
    }

    fn queue(&self) -> Option<&QueueRegisters> {
        self.queues.get(usize::from(self.queue_select))
    }
}

/// One half of 64 bits; none beyond.
fn half(value: u64, select: u32) -> u32 {
    match select {
        0 => value as u32,
        1 => (value >> 32) as u32,
        _ => 0,
    }
}

impl Transport {
    /// The registers, with a reset ended that had nothing left to wait for.
    fn registers(&self) -> spin::MutexGuard<'_, Registers> {
        let mut registers = self.registers.lock();
        if registers.resetting.is_some() && self.device.in_flight() == 0 {
            registers.resetting = None;
        }
        registers
    }

    /// A read. None has side effects, so any size at any offset finds its bytes.
    pub(super) fn common_read(&self, offset: u64, size: u8) -> u64 {
        let r = self.registers();
        let mut bytes = [0u8; at::END as usize + 8];
        let mut put = |at: u64, value: &[u8]| {
            bytes[at as usize..at as usize + value.len()].copy_from_slice(value);
        };
        put(at::DEVICE_FEATURE_SELECT, &r.device_feature_select.to_le_bytes());
        put(at::DEVICE_FEATURE, &half(self.offered, r.device_feature_select).to_le_bytes());
        put(at::DRIVER_FEATURE_SELECT, &r.driver_feature_select.to_le_bytes());
        put(at::DRIVER_FEATURE, &half(r.driver_features, r.driver_feature_select).to_le_bytes());
        put(at::CONFIG_VECTOR, &self.control.config_vector().to_le_bytes());
        put(at::NUM_QUEUES, &(self.queues.len() as u16).to_le_bytes());
        put(at::DEVICE_STATUS, &[r.resetting.unwrap_or_else(|| self.control.status())]);
        put(at::CONFIG_GENERATION, &[self.control.generation()]);
        put(at::QUEUE_SELECT, &r.queue_select.to_le_bytes());
        // A queue that is not there has size 0, by which the driver knows. All share the notify port: offset 0.
        if let Some(queue) = r.queue() {
            let vector = self.queues.get(usize::from(r.queue_select)).map_or(NO_VECTOR, |q| q.vector());
            put(at::QUEUE_SIZE, &queue.size.to_le_bytes());
            put(at::QUEUE_VECTOR, &vector.to_le_bytes());
            put(at::QUEUE_ENABLE, &u16::from(queue.enabled).to_le_bytes());
            for (area, at) in queue.areas.iter().zip([at::QUEUE_DESC, at::QUEUE_DRIVER, at::QUEUE_DEVICE]) {
                put(at, &area.to_le_bytes());
            }
        }
        let bytes = bytes.iter().skip(offset as usize).take(size.min(8).into());
        bytes.enumerate().fold(0, |value, (i, &byte)| value | u64::from(byte) << (8 * i))
    }

    /// A write of a register in its own size; 64-bit ones also by halves. Others are dropped.
    pub(super) fn common_write(&self, offset: u64, size: u8, value: u64) {
        let mut r = self.registers();
        // All that the guest could say now belongs to what is being reset.
        if r.resetting.is_some() {
            return;
        }
        match (offset, size) {
            (at::DEVICE_FEATURE_SELECT, 4) => r.device_feature_select = value as u32,
            (at::DRIVER_FEATURE_SELECT, 4) => r.driver_feature_select = value as u32,
            (at::DRIVER_FEATURE, 4) if self.control.status() & Status::FEATURES_OK == 0 => {
                let shift = match r.driver_feature_select {
                    0 => 0,
                    1 => 32,
                    _ => return,
                };
                r.driver_features &= !(0xffff_ffff << shift);
                r.driver_features |= (value & 0xffff_ffff) << shift;
            }
            (at::CONFIG_VECTOR, 2) => self.control.set_config_vector(value as u16),
            (at::DEVICE_STATUS, 1) if value as u8 == 0 => self.begin_reset(&mut r),
            (at::DEVICE_STATUS, 1) => {
                if self.advance(&r, value as u8) {
                    drop(r);
                    // What was put into the queues before nobody has looked for.
                    self.resume();
                }
            }
            (at::QUEUE_SELECT, 2) => r.queue_select = value as u16,
            (at::QUEUE_VECTOR, 2) => {
                if let Some(queue) = self.queues.get(usize::from(r.queue_select)) {
                    queue.set_vector(value as u16);
                }
            }
            _ => self.write_queue(&mut r, offset, size, value),
        }
    }

    /// A register of the selected queue that can't change any more once the queue is enabled.
    fn write_queue(&self, r: &mut Registers, offset: u64, size: u8, value: u64) {
        let select = usize::from(r.queue_select);
        let features = r.driver_features;
        let Some(queue) = r.queues.get_mut(select).filter(|queue| !queue.enabled) else { return };
        match (offset, size) {
            (at::QUEUE_SIZE, 2) if value != 0 && value <= u64::from(queue.max_size) => {
                queue.size = value as u16
            }
            (at::QUEUE_ENABLE, 2) if value == 1 => {
                if self.control.status() & Status::FEATURES_OK == 0 {
                    return;
                }
                let [descriptors, driver, device] = queue.areas;
                let addresses = Addresses { size: queue.size, descriptors, driver, device };
                match self.queues.get(select).map(|q| q.enable(addresses, features)) {
                    Some(Ok(())) => queue.enabled = true,
                    Some(Err(broken)) => self.control.needs_reset(broken),
                    None => {}
                }
            }
            (at::QUEUE_DESC..at::END, 4 | 8) if offset.is_multiple_of(size.into()) => {
                let Some(area) = queue.areas.get_mut(((offset - at::QUEUE_DESC) / 8) as usize) else {
                    return;
                };
                *area = match (size, offset & 4) {
                    (8, _) => value,
                    (_, 0) => *area & !0xffff_ffff | value & 0xffff_ffff,
                    _ => *area & 0xffff_ffff | value << 32,
                };
            }
            _ => {}
        }
    }

    /// The driver gets on (3.1.1). Whether the device is to begin.
    fn advance(&self, r: &Registers, value: u8) -> bool {
        let before = self.control.status();
        let mut new = value & !before & !Status::NEEDS_RESET;
        if new & Status::FEATURES_OK != 0 {
            let agreed =
                r.driver_features & !self.offered == 0 && r.driver_features & Feature::VERSION_1 != 0;
            // 3.1.1: the driver reads the status again to see whether the bit stays.
            if !agreed {
                new &= !Status::FEATURES_OK;
            }
        }
        if (before | new) & Status::FEATURES_OK == 0 {
            new &= !Status::DRIVER_OK;
        }
        let begins = new & Status::DRIVER_OK != 0;
        if begins {
            self.device.activate(r.driver_features);
        }
        self.control.add_status(new);
        begins
    }

    /// Resets the device (2.4). From here on it touches neither rings nor status bytes; the data of what is in flight
    /// goes on, and until that is done the status does not read as 0.
    fn begin_reset(&self, r: &mut Registers) {
        let before = self.control.status();
        self.control.reset();
        for queue in &self.queues {
            queue.disable();
        }
        for queue in &mut r.queues {
            *queue = QueueRegisters::power_on(queue.max_size);
        }
        r.device_feature_select = 0;
        r.driver_feature_select = 0;
        r.driver_features = 0;
        r.queue_select = 0;
        self.device.reset();
        r.resetting = (self.device.in_flight() != 0).then_some(before.max(1));
    }

    /// The machine is reset.
    pub(super) fn power_on(&self) {
        let mut r = self.registers();
        if r.resetting.is_none() {
            self.begin_reset(&mut r);
        }
        self.control.msix().reset();
    }
}
