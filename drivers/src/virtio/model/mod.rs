//! A virtio-blk device in software, as the specification describes it, and as it misbehaves.
//!
//! It reads the rings by the test kernel's checked accesses, so that an address that it was not given, or not any
//! more, fails the test.
use crate::pci::MessageInterrupts;
use crate::test_kernel::TestKernel;
use crate::{MsiMessage, Registers};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use mm::Hpa;
use spin::{Mutex, MutexGuard};

pub struct Model {
    pub kernel: Arc<TestKernel>,
    state: Mutex<State>,
}

#[derive(Default)]
pub struct State {
    pub features: u64,
    agreed: u64,
    select: [u32; 2],
    pub status: u8,
    queue: u16,
    pub queues: Vec<ModelQueue>,
    messages: Vec<Option<MsiMessage>>,
    pub vectors: usize,
    /// The configuration, as words.
    pub own: [u32; 15],
    pub data: BTreeMap<u64, Vec<u8>>,
    pub bad: BTreeMap<u64, u8>,
    pub history: Vec<u32>,
    pub notifications: u32,
    pub resets: u32,
    /// So many of the next requests are lost.
    pub drops: u32,
    /// So many of the next are returned as others, that nobody has.
    pub strangers: u32,
    pub reset_hangs: bool,
    pub refuses_features: bool,
    pub gone: bool,
    pub dma_stopped: bool,
    seed: u64,
}

#[derive(Default)]
pub struct ModelQueue {
    pub most: u16,
    size: u16,
    vector: u16,
    enabled: bool,
    parts: [u64; 3],
    seen: u16,
    used: u16,
    /// Chains that the device has taken and not returned: they are done in any order.
    taken: Vec<u16>,
}

/// Which window.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Common,
    Notify,
    Device,
}

pub struct ModelRegisters(pub Arc<Model>, pub Kind);
pub struct ModelMessages(pub Arc<Model>);

impl MessageInterrupts for ModelMessages {
    fn vectors(&self) -> usize {
        self.0.state.lock().vectors
    }

    fn connect(&self, vector: usize, message: Option<MsiMessage>) {
        let mut state = self.0.state.lock();
        assert!(vector < state.vectors);
        let count = state.vectors;
        state.messages.resize(count, None);
        state.messages[vector] = message;
    }
}

impl Model {
    /// A disk of so many sectors with `queues` queues.
    pub fn new(kernel: &Arc<TestKernel>, sectors: u64, queues: u16) -> Arc<Self> {
        let mut own = [0; 15];
        (own[0], own[1]) = (sectors as u32, (sectors >> 32) as u32);
        (own[3], own[5], own[6], own[8]) = (126, 512, 3, u32::from(queues) << 16);
        (own[9], own[12], own[14]) = (1 << 16, 1 << 16, 1);
        let state = State {
            // Segments, block size, flush, topology, queues, discard, zeroes, event index, version 1.
            features: 1 << 2 | 1 << 6 | 1 << 9 | 1 << 10 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 29 | 1 << 32,
            queues: (0..queues).map(|_| ModelQueue { most: 128, ..Default::default() }).collect(),
            vectors: usize::from(queues) + 1,
            own,
            seed: 1,
            ..State::default()
        };
        Arc::new(Self { kernel: kernel.clone(), state: Mutex::new(state) })
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// One thing is done. Whether there was one.
    pub fn step(&self) -> bool {
        let mut state = self.state.lock();
        if state.gone || state.dma_stopped || state.status & (4 | 64) != 4 {
            return false;
        }
        let count = state.queues.len();
        let first = state.random() as usize;
        (0..count).any(|i| state.step(&self.kernel, (first + i) % count))
    }
}

impl State {
    pub fn random(&mut self) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed >> 11
    }

    pub fn seed(&mut self, seed: u64) {
        self.seed = seed | 1;
    }

    /// Returns something on a queue.
    pub fn give_back(&mut self, kernel: &TestKernel, queue: usize, id: u32) {
        let q = &mut self.queues[queue];
        let [_, available, used] = q.parts;
        let before = q.used;
        let mut entry = [0; 8];
        entry[..4].copy_from_slice(&id.to_le_bytes());
        kernel.device_write(Hpa::new(used + 4 + u64::from(q.used % q.size) * 8), &entry);
        q.used = q.used.wrapping_add(1);
        kernel.device_write(Hpa::new(used + 2), &q.used.to_le_bytes());
        let wants = if self.agreed & 1 << 29 != 0 {
            let event = read16(kernel, available + 4 + u64::from(q.size) * 2);
            q.used.wrapping_sub(event).wrapping_sub(1) < q.used.wrapping_sub(before)
        } else {
            read16(kernel, available) & 1 == 0
        };
        let message = self.messages.get(usize::from(q.vector)).copied().flatten();
        if let Some(message) = message.filter(|_| wants) {
            kernel.take_message(message);
        }
    }

    fn step(&mut self, kernel: &TestKernel, queue: usize) -> bool {
        let (choice, event_index) = (self.random(), self.agreed & 1 << 29 != 0);
        let q = &mut self.queues[queue];
        if !q.enabled {
            return false;
        }
        let [_, available, used] = q.parts;
        let offered = read16(kernel, available + 2);
        assert!(offered.wrapping_sub(q.seen) <= q.size, "more entries than the ring has");
        if q.seen != offered && (q.taken.is_empty() || choice & 1 == 0) {
            let head = read16(kernel, available + 4 + u64::from(q.seen % q.size) * 2);
            assert!(!q.taken.contains(&head), "a request that the device has already");
            q.seen = q.seen.wrapping_add(1);
            if event_index {
                kernel.device_write(Hpa::new(used + 4 + u64::from(q.size) * 8), &q.seen.to_le_bytes());
            }
            if self.drops > 0 {
                self.drops -= 1;
            } else {
                q.taken.push(head);
            }
            return true;
        }
        if q.taken.is_empty() {
            return false;
        }
        let at = (choice >> 1) as usize % q.taken.len();
        let head = q.taken.swap_remove(at);
        if self.strangers > 0 {
            self.strangers -= 1;
            let id = [u32::MAX, 0x1_0000 | u32::from(head), 200, 0x7f][choice as usize % 4];
            q.taken.push(head);
            self.give_back(kernel, queue, id);
            return true;
        }
        self.perform(kernel, queue, head);
        self.give_back(kernel, queue, head.into());
        true
    }

    fn perform(&mut self, kernel: &TestKernel, queue: usize, head: u16) {
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
                break;
            }
            index = u16::from_le_bytes([descriptor[14], descriptor[15]]);
        }
        let (header_at, header_bytes, written) = chain.remove(0);
        assert!(header_bytes == 16 && !written);
        let (status_at, 1, true) = chain.pop().unwrap() else { panic!("no status") };
        assert!(chain.len() <= 126, "more segments than the device takes");
        let mut header = [0; 16];
        kernel.device_read(header_at, &mut header);
        let kind = u32::from_le_bytes(header[..4].try_into().unwrap());
        let sector = u64::from_le_bytes(header[8..].try_into().unwrap());
        let bytes: usize = chain.iter().map(|(_, bytes, _)| bytes).sum();
        let reads = matches!(kind, 0 | 8);
        assert!(chain.iter().all(|(_, _, written)| *written == reads));
        self.history.push(kind);
        let end = sector + bytes as u64 / 512;
        let capacity = u64::from(self.own[0]) | u64::from(self.own[1]) << 32;
        let mut status = 0;
        match kind {
            0 | 1 => {
                assert!(bytes.is_multiple_of(512) && end <= capacity && bytes > 0);
                if let Some((_, bad)) = self.bad.range(sector..end).next() {
                    status = *bad;
                } else if kind == 0 {
                    let data: Vec<u8> = (sector..end).flat_map(|sector| self.sector(sector)).collect();
                    let mut from = 0;
                    for (address, bytes, _) in &chain {
                        kernel.device_write(*address, &data[from..from + bytes]);
                        from += bytes;
                    }
                } else {
                    let mut data = std::vec![0; bytes];
                    let mut to = 0;
                    for (address, bytes, _) in &chain {
                        kernel.device_read(*address, &mut data[to..to + bytes]);
                        to += bytes;
                    }
                    for (i, sector_data) in data.chunks(512).enumerate() {
                        self.data.insert(sector + i as u64, sector_data.to_vec());
                    }
                }
            }
            4 => {
                assert!(sector == 0 && chain.is_empty());
                status = self.bad.get(&u64::MAX).copied().unwrap_or(0);
            }
            8 => kernel.device_write(chain[0].0, b"SERIAL 1\0\0\0\0\0\0\0\0\0\0\0\0"),
            11 | 13 => {
                assert!(sector == 0 && bytes == 16);
                let mut range = [0; 16];
                kernel.device_read(chain[0].0, &mut range);
                let first = u64::from_le_bytes(range[..8].try_into().unwrap());
                let count = u64::from(u32::from_le_bytes(range[8..12].try_into().unwrap()));
                assert!(first + count <= capacity && count <= 1 << 16 && count > 0);
                let there: Vec<u64> = self.data.range(first..first + count).map(|(s, _)| *s).collect();
                there.iter().for_each(|sector| _ = self.data.remove(sector));
            }
            other => panic!("a request of type {other}"),
        }
        kernel.device_write(status_at, &[status]);
    }

    pub fn sector(&self, sector: u64) -> Vec<u8> {
        self.data.get(&sector).cloned().unwrap_or_else(|| std::vec![0; 512])
    }

    fn read(&self, kind: Kind, offset: u64) -> u32 {
        if self.gone {
            return u32::MAX;
        }
        let q = self.queues.get(usize::from(self.queue));
        match (kind, offset) {
            (Kind::Device, _) => self.own[offset as usize / 4],
            (Kind::Notify, _) => 0,
            (Kind::Common, 0x04) => (self.features >> (32 * self.select[0])) as u32,
            (Kind::Common, 0x12) => self.queues.len() as u32,
            (Kind::Common, 0x14) => self.status.into(),
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
            0x14 if value == 0 && self.reset_hangs => {}
            0x14 if value == 0 => {
                self.resets += 1;
                self.status = 0;
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

impl Registers for ModelRegisters {
    fn bytes(&self) -> u64 {
        match self.1 {
            Kind::Common => 0x38,
            Kind::Notify => 0x100,
            Kind::Device => 60,
        }
    }

    fn read8(&self, offset: u64) -> u8 {
        self.0.state.lock().read(self.1, offset) as u8
    }

    fn read16(&self, offset: u64) -> u16 {
        self.0.state.lock().read(self.1, offset) as u16
    }

    fn read32(&self, offset: u64) -> u32 {
        self.0.state.lock().read(self.1, offset)
    }

    fn read64(&self, offset: u64) -> u64 {
        panic!("64 bits at {offset:#x}")
    }

    fn write8(&self, offset: u64, value: u8) {
        self.0.state.lock().write(self.1, offset, value.into());
    }

    fn write16(&self, offset: u64, value: u16) {
        self.0.state.lock().write(self.1, offset, value.into());
    }

    fn write32(&self, offset: u64, value: u32) {
        self.0.state.lock().write(self.1, offset, value);
    }

    fn write64(&self, offset: u64, _value: u64) {
        panic!("64 bits at {offset:#x}")
    }
}
