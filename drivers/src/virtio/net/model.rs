//! A virtio-net device in software, as the specification describes it, and as it misbehaves.
use crate::test_kernel::TestKernel;
use crate::virtio::model::{Common, Device};
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::{Deref, DerefMut};
use spin::{Mutex, MutexGuard};

/// The control queue where there is one pair of others only.
const CONTROL: usize = 2;

/// What the device agrees to by default: all that the driver knows.
pub const FEATURES: u64 = 1 << 0
    | 1 << 1
    | 1 << 3
    | 1 << 5
    | 1 << 7
    | 1 << 8
    | 1 << 11
    | 1 << 12
    | 1 << 13
    | 1 << 15
    | 1 << 16
    | 1 << 17
    | 1 << 18
    | 1 << 22
    | 1 << 29
    | 1 << 32;

pub struct Model {
    pub kernel: Arc<TestKernel>,
    state: Mutex<State>,
}

/// A frame that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentFrame {
    pub queue: usize,
    pub header: [u8; 12],
    pub bytes: Vec<u8>,
    /// Pieces of memory that it came in.
    pub pieces: usize,
}

/// A frame that comes, on a pair of queues.
pub struct Coming {
    pub pair: usize,
    pub header: [u8; 12],
    pub bytes: Vec<u8>,
}

/// How a device lies of the next frame that comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// It returns a buffer by another number.
    Id(u32),
    /// It says that it has written so many bytes.
    Bytes(u32),
    /// It says that the frame is in so many buffers.
    Buffers(u16),
    /// It returns a buffer twice.
    Twice,
}

pub struct State {
    common: Common,
    pub sent: Vec<SentFrame>,
    pub coming: VecDeque<Coming>,
    /// Class, command and data.
    pub commands: Vec<([u8; 2], Vec<u8>)>,
    pub refuses_commands: bool,
    pub ignores_commands: bool,
    /// Frames are taken and not returned, as of now.
    pub keeps: bool,
    /// Frames are not even taken.
    pub sleeps: bool,
    /// So many of the next frames that were sent are returned as others.
    pub strangers: u32,
    pub lie: Option<Lie>,
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
    /// A card with so many pairs of queues of 64 entries.
    pub fn new(kernel: &Arc<TestKernel>, pairs: u16) -> Arc<Self> {
        let queues = std::vec![64; usize::from(pairs) * 2 + 1];
        let mut own = std::vec![0x52, 0x54, 0, 1, 2, 3, 1, 0];
        own.extend(pairs.to_le_bytes());
        own.extend(1500u16.to_le_bytes());
        let state = State {
            common: Common::new(FEATURES, &queues, own),
            sent: Vec::new(),
            coming: VecDeque::new(),
            commands: Vec::new(),
            refuses_commands: false,
            ignores_commands: false,
            keeps: false,
            sleeps: false,
            strangers: 0,
            lie: None,
        };
        Arc::new(Self { kernel: kernel.clone(), state: Mutex::new(state) })
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Plugs the cable in, or pulls it.
    pub fn set_link(&self, up: bool) {
        let mut state = self.state.lock();
        state.own[6] = up.into();
        state.changed(&self.kernel);
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
        let pairs = self.queues.len() / 2;
        let control = if self.agreed & 1 << 22 != 0 { pairs * 2 } else { CONTROL };
        if queue == control {
            self.command(kernel, queue)
        } else if queue.is_multiple_of(2) {
            self.receive(kernel, queue)
        } else {
            self.send(kernel, queue)
        }
    }

    fn command(&mut self, kernel: &TestKernel, queue: usize) -> bool {
        if self.offered(kernel, queue) == 0 || self.ignores_commands {
            return false;
        }
        let head = self.take(kernel, queue);
        let chain = self.chain(kernel, queue, head);
        let [(command_at, 2, false), (data_at, bytes, false), (ack_at, 1, true)] = chain[..] else {
            panic!("a command of {chain:?}")
        };
        let (mut command, mut data) = ([0; 2], std::vec![0; bytes]);
        kernel.device_read(command_at, &mut command);
        kernel.device_read(data_at, &mut data);
        self.commands.push((command, data));
        kernel.device_write(ack_at, &[self.refuses_commands.into()]);
        self.give_back(kernel, queue, &[(head.into(), 1)]);
        true
    }

    fn send(&mut self, kernel: &TestKernel, queue: usize) -> bool {
        let choice = self.random();
        let none = self.queues[queue].taken.is_empty();
        if !self.sleeps && self.offered(kernel, queue) != 0 && (none || self.keeps || choice & 1 == 0) {
            let head = self.take(kernel, queue);
            let chain = self.chain(kernel, queue, head);
            assert!(chain.iter().all(|(_, bytes, written)| *bytes != 0 && !written));
            let mut all = Vec::new();
            for (address, bytes, _) in &chain {
                let mut part = std::vec![0; *bytes];
                kernel.device_read(*address, &mut part);
                all.extend(part);
            }
            let bytes = all.split_off(12);
            let header = all.try_into().unwrap();
            self.sent.push(SentFrame { queue, header, bytes, pieces: chain.len() });
            self.queues[queue].taken.push(head);
            return true;
        }
        if none || self.keeps {
            return false;
        }
        let at = (choice >> 1) as usize % self.queues[queue].taken.len();
        if self.strangers > 0 {
            self.strangers -= 1;
            let head = self.queues[queue].taken[at];
            let id = [u32::MAX, 0x1_0000 | u32::from(head), 64, 0x7f][choice as usize >> 4 & 3];
            self.give_back(kernel, queue, &[(id, 0)]);
            return true;
        }
        let head = self.queues[queue].taken.swap_remove(at);
        self.give_back(kernel, queue, &[(head.into(), 0)]);
        true
    }

    fn receive(&mut self, kernel: &TestKernel, queue: usize) -> bool {
        let Some(at) = self.coming.iter().position(|coming| coming.pair * 2 == queue) else { return false };
        let size = |state: &Self, head| state.chain(kernel, queue, head)[0].1;
        let room: usize = self.queues[queue].taken.iter().map(|head| size(self, *head)).sum();
        let needed = 12 + self.coming[at].bytes.len();
        let merges = self.agreed & 1 << 15 != 0;
        if room < needed && (merges || self.queues[queue].taken.is_empty()) {
            if self.offered(kernel, queue) == 0 {
                return false;
            }
            let head = self.take(kernel, queue);
            self.queues[queue].taken.push(head);
            return true;
        }
        let Some(Coming { mut header, bytes, .. }) = self.coming.remove(at) else { return false };
        if room < needed {
            // The buffer is too short: it is lost.
            return true;
        }
        let heads = core::mem::take(&mut self.queues[queue].taken);
        let buffers = heads.len() as u16;
        header[10..].copy_from_slice(&buffers.to_le_bytes());
        if let Some(Lie::Buffers(buffers)) = self.lie {
            header[10..].copy_from_slice(&buffers.to_le_bytes());
        }
        let data = [&header[..], &bytes[..]].concat();
        let (mut left, mut entries) = (&data[..], Vec::new());
        for head in heads {
            let [(address, room, true)] = self.chain(kernel, queue, head)[..] else { panic!("no buffer") };
            let (part, rest) = left.split_at(left.len().min(room));
            kernel.device_write(address, part);
            entries.push((u32::from(head), part.len() as u32));
            left = rest;
        }
        match self.lie.take() {
            Some(Lie::Id(id)) => entries[0].0 = id,
            Some(Lie::Bytes(bytes)) => entries[0].1 = bytes,
            Some(Lie::Twice) => entries.push(entries[0]),
            Some(Lie::Buffers(_)) | None => {}
        }
        self.give_back(kernel, queue, &entries);
        true
    }
}
