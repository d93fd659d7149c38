//! What all virtio devices in software share: registers, rings, messages; as the specification describes them.
//!
//! Rings are read by the test kernel's checked accesses, so that an address that the device was not given, or not any
//! more, fails the test.
use crate::pci::MessageInterrupts;
use crate::test_kernel::TestKernel;
use crate::{MsiMessage, Registers};
use alloc::sync::Arc;
use alloc::vec::Vec;
use mm::Hpa;

/// A device of some kind.
pub trait Device: Send + Sync {
    /// Lets `f` at what it shares with others.
    fn common<R>(&self, f: impl FnOnce(&mut Common) -> R) -> R;
}

#[derive(Default)]
pub struct Common {
    pub features: u64,
    pub agreed: u64,
    select: [u32; 2],
    pub status: u8,
    queue: u16,
    pub queues: Vec<ModelQueue>,
    messages: Vec<Option<MsiMessage>>,
    pub vectors: usize,
    config_vector: u16,
    generation: u8,
    /// Its own configuration.
    pub own: Vec<u8>,
    /// The configuration is another at each look.
    pub restless: bool,
    pub notifications: u32,
    pub interrupts: u32,
    pub resets: u32,
    pub reset_hangs: bool,
    pub refuses_features: bool,
    pub gone: bool,
    pub dma_stopped: bool,
    seed: u64,
}

#[derive(Default)]
pub struct ModelQueue {
    pub most: u16,
    pub size: u16,
    vector: u16,
    pub enabled: bool,
    parts: [u64; 3],
    seen: u16,
    used: u16,
    /// Chains that the device has taken and not returned: they are done in any order.
    pub taken: Vec<u16>,
}

/// A descriptor: memory, its bytes, and whether the device writes to it.
pub type Descriptor = (Hpa, usize, bool);

impl Common {
    /// A device with queues of so many entries, a message for each and one more.
    pub fn new(features: u64, queues: &[u16], own: Vec<u8>) -> Self {
        Self {
            features,
            queues: queues.iter().map(|most| ModelQueue { most: *most, ..Default::default() }).collect(),
            vectors: queues.len() + 1,
            own,
            seed: 1,
            ..Self::default()
        }
    }

    pub fn random(&mut self) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed >> 11
    }

    pub fn seed(&mut self, seed: u64) {
        self.seed = seed | 1;
    }

    /// Whether the driver has let it go, and it has no reason to rest.
    pub fn is_live(&self) -> bool {
        !self.gone && !self.dma_stopped && self.status & (4 | 64) == 4
    }

    /// Changes words of its own configuration.
    pub fn set_own(&mut self, word: usize, value: u32) {
        self.own[word * 4..word * 4 + 4].copy_from_slice(&value.to_le_bytes());
    }

    pub fn own_word(&self, word: usize) -> u32 {
        u32::from_le_bytes(self.own[word * 4..word * 4 + 4].try_into().unwrap())
    }

    /// Says that its own configuration has changed.
    pub fn changed(&mut self, kernel: &TestKernel) {
        self.generation = self.generation.wrapping_add(1);
        self.interrupt(kernel, self.config_vector);
    }

    fn interrupt(&mut self, kernel: &TestKernel, vector: u16) {
        if let Some(message) = self.messages.get(usize::from(vector)).copied().flatten() {
            self.interrupts += 1;
            kernel.take_message(message);
        }
    }

    /// Whether a queue has something that the device has not taken.
    pub fn offered(&self, kernel: &TestKernel, queue: usize) -> u16 {
        let q = &self.queues[queue];
        if !q.enabled {
            return 0;
        }
        let offered = read16(kernel, q.parts[1] + 2).wrapping_sub(q.seen);
        assert!(offered <= q.size, "more entries than the ring has");
        offered
    }

    /// Takes the next chain of a queue that has one.
    pub fn take(&mut self, kernel: &TestKernel, queue: usize) -> u16 {
        let q = &mut self.queues[queue];
        let [_, available, used] = q.parts;
        let head = read16(kernel, available + 4 + u64::from(q.seen % q.size) * 2);
        assert!(!q.taken.contains(&head), "a request that the device has already");
        q.seen = q.seen.wrapping_add(1);
        if self.agreed & 1 << 29 != 0 {
            kernel.device_write(Hpa::new(used + 4 + u64::from(q.size) * 8), &q.seen.to_le_bytes());
        }
        head
    }

    /// The descriptors of a chain.
    pub fn chain(&self, kernel: &TestKernel, queue: usize, head: u16) -> Vec<Descriptor> {
        let q = &self.queues[queue];
        let mut chain = Vec::new();
        let mut index = head;
        loop {
            assert!(index < q.size && chain.len() < usize::from(q.size));
            let mut descriptor = [0; 16];
            kernel.device_read(Hpa::new(q.parts[0] + u64::from(index) * 16), &mut descriptor);
            let address = u64::from_le_bytes(descriptor[..8].try_into().unwrap());
            let bytes = u32::from_le_bytes(descriptor[8..12].try_into().unwrap()) as usize;
            let flags = u16::from_le_bytes([descriptor[12], descriptor[13]]);
            chain.push((Hpa::new(address), bytes, flags & 2 != 0));
            if flags & 1 == 0 {
                return chain;
            }
            index = u16::from_le_bytes([descriptor[14], descriptor[15]]);
        }
    }

    /// Returns something on a queue, all at once: what, and how many bytes were written.
    pub fn give_back(&mut self, kernel: &TestKernel, queue: usize, entries: &[(u32, u32)]) {
        let event_index = self.agreed & 1 << 29 != 0;
        let q = &mut self.queues[queue];
        let [_, available, used] = q.parts;
        let before = q.used;
        for (id, bytes) in entries {
            let mut entry = [0; 8];
            entry[..4].copy_from_slice(&id.to_le_bytes());
            entry[4..].copy_from_slice(&bytes.to_le_bytes());
            kernel.device_write(Hpa::new(used + 4 + u64::from(q.used % q.size) * 8), &entry);
            q.used = q.used.wrapping_add(1);
        }
        kernel.device_write(Hpa::new(used + 2), &q.used.to_le_bytes());
        let wants = if event_index {
            let event = read16(kernel, available + 4 + u64::from(q.size) * 2);
            q.used.wrapping_sub(event).wrapping_sub(1) < q.used.wrapping_sub(before)
        } else {
            read16(kernel, available) & 1 == 0
        };
        let vector = q.vector;
        if wants {
            self.interrupt(kernel, vector);
        }
    }

    fn read(&mut self, kind: Kind, offset: u64, bytes: usize) -> u32 {
        if self.gone {
            return u32::MAX;
        }
        let q = self.queues.get(usize::from(self.queue));
        match (kind, offset) {
            (Kind::Device, _) => {
                if self.restless {
                    self.generation = self.generation.wrapping_add(1);
                }
                let mut value = [0; 4];
                value[..bytes].copy_from_slice(&self.own[offset as usize..offset as usize + bytes]);
                u32::from_le_bytes(value)
            }
            (Kind::Notify, _) => 0,
            (Kind::Common, 0x04) => (self.features >> (32 * self.select[0])) as u32,
            (Kind::Common, 0x10) => self.config_vector.into(),
            (Kind::Common, 0x12) => self.queues.len() as u32,
            (Kind::Common, 0x14) => self.status.into(),
            (Kind::Common, 0x15) => self.generation.into(),
            (Kind::Common, 0x18) => q.map_or(0, |q| q.most.into()),
            (Kind::Common, 0x1a) => q.map_or(0xffff, |q| q.vector.into()),
            (Kind::Common, 0x1e) => self.queue.into(),
            _ => 0,
        }
    }

    fn write(&mut self, kind: Kind, offset: u64, value: u32) {
        if self.gone {
            return;
        }
        if kind == Kind::Notify {
            self.notifications += 1;
            assert_eq!(offset, u64::from(value) * 4);
            return;
        }
        let current = usize::from(self.queue);
        match offset {
            0x00 => self.select[0] = value,
            0x08 => self.select[1] = value,
            0x0c => {
                let shift = 32 * self.select[1];
                self.agreed = self.agreed & !(0xffff_ffff << shift) | u64::from(value) << shift;
            }
            0x10 => self.config_vector = value as u16,
            0x14 if value == 0 && self.reset_hangs => {}
            0x14 if value == 0 => {
                self.resets += 1;
                (self.status, self.agreed) = (0, 0);
                self.config_vector = 0xffff;
                for q in &mut self.queues {
                    *q = ModelQueue { most: q.most, vector: 0xffff, ..Default::default() };
                }
            }
            0x14 => {
                assert_eq!(self.agreed & !self.features, 0, "features that were not offered");
                self.status = value as u8;
                if self.refuses_features {
                    self.status &= !8;
                }
            }
            0x16 => self.queue = value as u16,
            0x18 => self.queues[current].size = value as u16,
            0x1a => self.queues[current].vector = value as u16,
            0x1c => self.queues[current].enabled = true,
            0x20..0x38 => {
                let part = &mut self.queues[current].parts[(offset as usize - 0x20) / 8];
                let shift = offset % 8 * 8;
                *part = *part & !(0xffff_ffff << shift) | u64::from(value) << shift;
            }
            _ => {}
        }
    }
}

fn read16(kernel: &TestKernel, address: u64) -> u16 {
    let mut bytes = [0; 2];
    kernel.device_read(Hpa::new(address), &mut bytes);
    u16::from_le_bytes(bytes)
}

/// Its messages.
pub struct ModelMessages<D>(pub Arc<D>);

impl<D: Device> MessageInterrupts for ModelMessages<D> {
    fn vectors(&self) -> usize {
        self.0.common(|common| common.vectors)
    }

    fn connect(&self, vector: usize, message: Option<MsiMessage>) {
        self.0.common(|common| {
            assert!(vector < common.vectors);
            common.messages.resize(common.vectors, None);
            common.messages[vector] = message;
        });
    }
}

/// Which window.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Common,
    Notify,
    Device,
}

/// One of its windows.
pub struct ModelRegisters<D>(pub Arc<D>, pub Kind);

impl<D: Device> ModelRegisters<D> {
    fn read(&self, offset: u64, bytes: usize) -> u32 {
        self.0.common(|common| common.read(self.1, offset, bytes))
    }

    fn write(&self, offset: u64, value: u32) {
        self.0.common(|common| common.write(self.1, offset, value));
    }
}

impl<D: Device> Registers for ModelRegisters<D> {
    fn bytes(&self) -> u64 {
        match self.1 {
            Kind::Common => 0x38,
            Kind::Notify => 0x100,
            Kind::Device => self.0.common(|common| common.own.len() as u64),
        }
    }

    fn read8(&self, offset: u64) -> u8 {
        self.read(offset, 1) as u8
    }

    fn read16(&self, offset: u64) -> u16 {
        self.read(offset, 2) as u16
    }

    fn read32(&self, offset: u64) -> u32 {
        self.read(offset, 4)
    }

    fn read64(&self, offset: u64) -> u64 {
        panic!("64 bits at {offset:#x}")
    }

    fn write8(&self, offset: u64, value: u8) {
        self.write(offset, value.into());
    }

    fn write16(&self, offset: u64, value: u16) {
        self.write(offset, value.into());
    }

    fn write32(&self, offset: u64, value: u32) {
        self.write(offset, value);
    }

    fn write64(&self, offset: u64, _value: u64) {
        panic!("64 bits at {offset:#x}")
    }
}
