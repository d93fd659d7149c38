//! A virtio-blk device in software, as the specification describes it, and as it misbehaves.
use crate::test_kernel::TestKernel;
use crate::virtio::model::{Common, Device};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::{Deref, DerefMut};
use spin::{Mutex, MutexGuard};

pub struct Model {
    pub kernel: Arc<TestKernel>,
    state: Mutex<State>,
}

pub struct State {
    common: Common,
    pub data: BTreeMap<u64, Vec<u8>>,
    pub bad: BTreeMap<u64, u8>,
    pub history: Vec<u32>,
    /// So many of the next requests are lost.
    pub drops: u32,
    /// So many of the next are returned as others, that nobody has.
    pub strangers: u32,
}

impl Deref for State {
    type Target = Common;

    fn deref(&self) -> &Common {
        &self.common
    }
}

impl DerefMut for State {
    fn deref_mut(&mut self) -> &mut Common {
        &mut self.common
    }
}

impl Device for Model {
    fn common<R>(&self, f: impl FnOnce(&mut Common) -> R) -> R {
        f(&mut self.state.lock().common)
    }
}

impl Model {
    /// A disk of so many sectors with `queues` queues.
    pub fn new(kernel: &Arc<TestKernel>, sectors: u64, queues: u16) -> Arc<Self> {
        // Segments, block size, flush, topology, queues, discard, zeroes, event index, version 1.
        let features = 1 << 2 | 1 << 6 | 1 << 9 | 1 << 10 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 29 | 1 << 32;
        let mut common = Common::new(features, &std::vec![128; queues.into()], std::vec![0; 60]);
        for (word, value) in [
            (0, sectors as u32),
            (1, (sectors >> 32) as u32),
            (3, 126),
            (5, 512),
            (6, 3),
            (8, u32::from(queues) << 16),
            (9, 1 << 16),
            (12, 1 << 16),
            (14, 1),
        ] {
            common.set_own(word, value);
        }
        let (data, bad) = Default::default();
        let state = State { common, data, bad, history: Vec::new(), drops: 0, strangers: 0 };
        Arc::new(Self { kernel: kernel.clone(), state: Mutex::new(state) })
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// One thing is done. Whether there was one.
    pub fn step(&self) -> bool {
        let mut state = self.state.lock();
        if !state.is_live() {
            return false;
        }
        let count = state.queues.len();
        let first = state.random() as usize;
        (0..count).any(|i| state.step(&self.kernel, (first + i) % count))
    }
}

impl State {
    fn step(&mut self, kernel: &TestKernel, queue: usize) -> bool {
        let choice = self.random();
        let none = self.queues[queue].taken.is_empty();
        if self.offered(kernel, queue) != 0 && (none || choice & 1 == 0) {
            let head = self.take(kernel, queue);
            if self.drops > 0 {
                self.drops -= 1;
            } else {
                self.queues[queue].taken.push(head);
            }
            return true;
        }
        if none {
            return false;
        }
        let at = (choice >> 1) as usize % self.queues[queue].taken.len();
        if self.strangers > 0 {
            let head = self.queues[queue].taken[at];
            self.strangers -= 1;
            let id = [u32::MAX, 0x1_0000 | u32::from(head), 200, 0x7f][choice as usize % 4];
            self.give_back(kernel, queue, &[(id, 0)]);
            return true;
        }
        let head = self.queues[queue].taken.swap_remove(at);
        self.perform(kernel, queue, head);
        self.give_back(kernel, queue, &[(head.into(), 0)]);
        true
    }

    fn perform(&mut self, kernel: &TestKernel, queue: usize, head: u16) {
        let mut chain = self.chain(kernel, queue, head);
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
        let capacity = u64::from(self.own_word(0)) | u64::from(self.own_word(1)) << 32;
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
}
