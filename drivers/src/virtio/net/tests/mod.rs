//! The driver against the model.
mod bring_up;
mod hostile;
mod random;
mod receiving;
mod sending;
mod trouble;

use super::model::{Coming, Model};
use super::{Controller, Parts, start};
use crate::test_kernel::{SwitchOff, TestKernel};
use crate::virtio::model::{Kind, ModelMessages, ModelRegisters};
use crate::virtio::{VirtioError, Windows};
use crate::{DmaMemory, Kernel};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use mm::Segment;
use net::frame::LONGEST;
use net::nic::{Done, Frame, Nic, Offload, Receiver, Refused, Sent};
use spin::Mutex;

const SECOND: u64 = 1_000_000_000;

/// How a card is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Messages {
    /// A message for each queue.
    All,
    /// One message, for frames.
    One,
    /// None.
    None,
}

struct Rig {
    kernel: Arc<TestKernel>,
    model: Arc<Model>,
    controller: Arc<Controller>,
    nic: Arc<dyn Nic>,
    ears: Arc<Ears>,
    _end: SwitchOff,
}

/// A frame that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Heard {
    bytes: Vec<u8>,
    beginning: usize,
    offload: Offload,
    cpu: usize,
}

/// Hears all that a card says.
struct Ears {
    kernel: Arc<TestKernel>,
    frames: Mutex<Vec<Heard>>,
    /// Frames that had come at the end of each batch.
    batches: Mutex<Vec<usize>>,
    link_changes: Mutex<u32>,
    /// On which CPU.
    rooms: Mutex<Vec<usize>>,
}

impl Receiver for Ears {
    fn receive(&self, frame: &Frame<'_>) {
        assert_eq!(frame.check(), Ok(()));
        let mut bytes = frame.beginning.to_vec();
        for segment in frame.rest {
            let mut part = std::vec![0; segment.bytes as usize];
            self.kernel.device_read(segment.address, &mut part);
            bytes.extend(part);
        }
        let (beginning, offload) = (frame.beginning.len(), frame.offload);
        self.frames.lock().push(Heard { bytes, beginning, offload, cpu: self.kernel.this_cpu() });
    }

    fn received(&self) {
        self.batches.lock().push(self.frames.lock().len());
    }

    fn link_changed(&self) {
        *self.link_changes.lock() += 1;
    }

    fn room(&self) {
        self.rooms.lock().push(self.kernel.this_cpu());
    }
}

/// Who was told that frames are out. Keeps their memory until then.
#[derive(Default)]
struct Told {
    tags: Mutex<Vec<u64>>,
    memory: Mutex<Vec<(u64, DmaMemory)>>,
}

impl Sent for Told {
    fn sent(&self, tag: u64) {
        let mut tags = self.tags.lock();
        assert!(!tags.contains(&tag), "{tag} is told twice");
        tags.push(tag);
        self.memory.lock().retain(|(other, _)| *other != tag);
    }
}

impl Told {
    fn done(self: &Arc<Self>, tag: u64) -> Option<Done> {
        Some(Done { to: self.clone(), tag })
    }

    fn count(&self) -> usize {
        self.tags.lock().len()
    }
}

fn try_start(kernel: &Arc<TestKernel>, model: &Arc<Model>, messages: Messages) -> Result<Rig, VirtioError> {
    let window = |kind| Box::new(ModelRegisters(model.clone(), kind)) as Box<dyn crate::Registers>;
    if messages == Messages::One {
        model.state().vectors = 1;
    }
    let stopped = model.clone();
    let parts = Parts {
        name: "eth0".into(),
        windows: Windows {
            common: window(Kind::Common),
            notify: window(Kind::Notify),
            notify_multiplier: 4,
            device: window(Kind::Device),
        },
        interrupts: (messages != Messages::None).then(|| Box::new(ModelMessages(model.clone())) as _),
        stop_dma: Box::new(move || stopped.state().dma_stopped = true),
    };
    let acting = model.clone();
    let controller = kernel.block_on(move || acting.step(), start(kernel.clone(), parts))?;
    let (nic, (frames, batches, link_changes, rooms)) = (controller.nic(), Default::default());
    let ears = Arc::new(Ears { kernel: kernel.clone(), frames, batches, link_changes, rooms });
    nic.set_receiver(Some(ears.clone()));
    Ok(Rig {
        kernel: kernel.clone(),
        model: model.clone(),
        controller,
        nic,
        ears,
        _end: SwitchOff(kernel.clone()),
    })
}

impl Rig {
    fn new(prepare: impl FnOnce(&Model)) -> Self {
        let kernel = TestKernel::new(4);
        let model = Model::new(&kernel, 1);
        prepare(&model);
        try_start(&kernel, &model, Messages::All).unwrap()
    }

    fn run(&self, done: impl FnMut() -> bool) {
        self.kernel.run(|| self.model.step(), done);
    }

    fn pass(&self, nanos: u64) {
        self.kernel.pass(nanos, || self.model.step());
    }

    /// Sends a frame whose rest lies in pieces of at most `piece` bytes, which `told` keeps until it is told.
    fn transmit(
        &self,
        bytes: &[u8],
        piece: usize,
        offload: Offload,
        (told, tag): (&Arc<Told>, u64),
    ) -> Result<(), Refused> {
        let (beginning, rest) = bytes.split_at(bytes.len().min(LONGEST));
        let memory = self.kernel.allocate_dma(rest.len(), false).unwrap();
        memory.copy_in(0, rest);
        let mut segments = Vec::new();
        for (i, part) in rest.chunks(piece).enumerate() {
            let address = memory.address() + (i * piece) as u64;
            segments.push(Segment { address, bytes: part.len() as u32 });
        }
        told.memory.lock().push((tag, memory));
        let result = self.nic.transmit(&Frame { beginning, rest: &segments, offload }, told.done(tag));
        if result.is_err() {
            told.memory.lock().retain(|(other, _)| *other != tag);
        }
        result
    }

    /// Sends a short frame, of which nobody is told.
    fn transmit_short(&self, bytes: &[u8]) -> Result<(), Refused> {
        self.nic.transmit(&Frame { beginning: bytes, rest: &[], offload: Offload::default() }, None)
    }

    /// Lets a frame come on the first pair of queues.
    fn come(&self, header: [u8; 12], bytes: Vec<u8>) {
        self.model.state().coming.push_back(Coming { pair: 0, header, bytes });
    }

    fn heard(&self) -> usize {
        self.ears.frames.lock().len()
    }

    /// Sends a frame and receives another, when the card is ready for it.
    fn exchange(&self) {
        let (sent, heard) = (self.model.state().sent.len(), self.heard());
        self.run(|| self.transmit_short(&pattern(60, 5)).is_ok());
        self.nic.start();
        self.come([0; 12], pattern(60, 6));
        self.run(|| self.heard() == heard + 1 && self.model.state().sent.len() == sent + 1);
    }
}

fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|i| (i / 256) as u8 ^ (i as u8).wrapping_mul(seed).wrapping_add(seed)).collect()
}
