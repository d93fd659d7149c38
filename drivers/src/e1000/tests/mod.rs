//! The driver against the model.
mod bring_up;
mod frames;
mod hostile;
mod link;
mod offloads;
mod random;
mod receiving;
mod sending;
mod trouble;

use super::model::{I82540EM, I82574L, MAC, Model, ModelMessages, ModelRegisters};
use super::{Controller, E1000Error, Parts, start};
use crate::test_kernel::{SwitchOff, TestKernel};
use crate::{DmaMemory, Kernel};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};
use mm::Segment;
use net::frame::LONGEST;
use net::nic::{Done, Frame, Nic, Offload, Receiver, Refused, Sent};
use spin::Mutex;

const SECOND: u64 = 1_000_000_000;

/// The cards as they are had: the chip, and its messages.
const CARDS: [(u16, usize); 4] = [(I82540EM, 0), (I82574L, 5), (I82574L, 1), (I82574L, 0)];

struct Rig {
    kernel: Arc<TestKernel>,
    model: Arc<Model>,
    controller: Arc<Controller>,
    nic: Arc<dyn Nic>,
    above: Arc<Above>,
    told: Arc<Told>,
    _end: SwitchOff,
}

/// Who gets what the card receives.
struct Above {
    kernel: Arc<TestKernel>,
    frames: Mutex<Vec<(Vec<u8>, bool)>>,
    batches: AtomicU32,
    changes: AtomicU32,
    rooms: AtomicU32,
}

impl Receiver for Above {
    fn receive(&self, frame: &Frame<'_>) {
        assert_eq!(frame.check(), Ok(()));
        let mut bytes = frame.beginning.to_vec();
        for segment in frame.rest {
            let from = bytes.len();
            bytes.resize(from + segment.bytes as usize, 0);
            self.kernel.device_read(segment.address, &mut bytes[from..]);
        }
        self.frames.lock().push((bytes, frame.offload.verified));
    }

    fn received(&self) {
        self.batches.fetch_add(1, Ordering::Relaxed);
    }

    fn link_changed(&self) {
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    fn room(&self) {
        self.rooms.fetch_add(1, Ordering::Relaxed);
    }
}

/// Which frames were let go of. Keeps their memory until then.
#[derive(Default)]
struct Told {
    tags: Mutex<Vec<u64>>,
    memory: Mutex<Vec<(u64, Arc<DmaMemory>)>>,
}

impl Sent for Told {
    fn sent(&self, tag: u64) {
        let mut tags = self.tags.lock();
        assert!(!tags.contains(&tag), "{tag} is told of twice");
        tags.push(tag);
        self.memory.lock().retain(|(other, _)| *other != tag);
    }
}

fn try_start(kernel: &Arc<TestKernel>, model: &Arc<Model>, messages: bool) -> Result<Rig, E1000Error> {
    let (stopped, device) = (model.clone(), model.state().device);
    let parts = Parts {
        name: "eth3".into(),
        device,
        registers: Box::new(ModelRegisters(model.clone())),
        interrupts: messages.then(|| Box::new(ModelMessages(model.clone())) as _),
        stop_dma: Box::new(move || stopped.state().dma_stopped = true),
    };
    let acting = model.clone();
    let controller = kernel.block_on(move || acting.step(), start(kernel.clone(), parts))?;
    let nic = controller.nic();
    let above = Arc::new(Above {
        kernel: kernel.clone(),
        frames: Mutex::default(),
        batches: AtomicU32::new(0),
        changes: AtomicU32::new(0),
        rooms: AtomicU32::new(0),
    });
    nic.set_receiver(Some(above.clone()));
    let (kernel, model, told) = (kernel.clone(), model.clone(), Arc::default());
    let _end = SwitchOff(kernel.clone());
    Ok(Rig { kernel, model, controller, nic, above, told, _end })
}

impl Rig {
    fn new((device, messages): (u16, usize)) -> Self {
        let kernel = TestKernel::new(2);
        let model = Model::new(&kernel, device, messages);
        try_start(&kernel, &model, messages != 0).unwrap()
    }

    fn run(&self, done: impl FnMut() -> bool) {
        self.kernel.run(|| self.model.step(), done);
    }

    /// Lets time pass, and what is due in it happen.
    fn pass(&self, nanos: u64) {
        self.kernel.pass(nanos, || self.model.step());
    }

    /// Transmits a frame whose first `copied` bytes are its beginning; the rest lies in pieces of the given sizes, the last
    /// of which is repeated.
    fn transmit(
        &self,
        tag: u64,
        bytes: &[u8],
        copied: usize,
        pieces: &[usize],
        offload: Offload,
    ) -> Result<(), Refused> {
        let (beginning, rest) = bytes.split_at(copied.min(bytes.len()));
        let mut segments = Vec::new();
        if !rest.is_empty() {
            let memory = Arc::new(self.kernel.allocate_dma(rest.len(), false).unwrap());
            memory.copy_in(0, rest);
            let mut from = 0;
            while from < rest.len() {
                let wanted = pieces[segments.len().min(pieces.len() - 1)];
                let bytes = wanted.min(rest.len() - from) as u32;
                segments.push(Segment { address: memory.address() + from as u64, bytes });
                from += bytes as usize;
            }
            self.told.memory.lock().push((tag, memory));
        }
        let done = Done { to: self.told.clone(), tag };
        let result = self.nic.transmit(&Frame { beginning, rest: &segments, offload }, Some(done));
        if result.is_err() {
            self.told.memory.lock().retain(|(other, _)| *other != tag);
        }
        result
    }

    /// Transmits a frame as most come: headers, and the rest in one piece.
    fn send(&self, tag: u64, bytes: &[u8]) -> Result<(), Refused> {
        self.transmit(tag, bytes, LONGEST, &[usize::MAX], Offload::default())
    }

    fn told(&self) -> usize {
        self.told.tags.lock().len()
    }

    fn received(&self) -> Vec<(Vec<u8>, bool)> {
        core::mem::take(&mut *self.above.frames.lock())
    }

    fn came(&self) -> usize {
        self.above.frames.lock().len()
    }

    /// Puts a frame on the wire to the card.
    fn arrive(&self, frame: &[u8]) {
        self.model.state().incoming.push_back(frame.to_vec());
    }

    fn sent(&self) -> Vec<Vec<u8>> {
        core::mem::take(&mut self.model.state().sent)
    }
}
