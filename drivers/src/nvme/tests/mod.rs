//! The driver against the model, on a machine whose clock jumps.
mod batch;
mod bring_up;
mod data;
mod faults;
mod garbage;
mod parsing;
mod random;

use super::model::{Fate, Model, Seen};
use super::{Controller, Limits, NvmeError, Parts, start};
use crate::test_kernel::TestKernel;
use crate::{DmaMemory, Kernel};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use block::{BlockDevice, BlockError, Completion, Done, Operation, Request, Segment};
use spin::Mutex;

pub(super) const WRITE: Operation = Operation::Write { durable: false };

/// A machine with a drive.
pub(super) struct Rig {
    pub kernel: Arc<TestKernel>,
    pub model: Arc<Model>,
}

impl Rig {
    pub fn new(cpus: usize) -> Self {
        let kernel = TestKernel::new(cpus);
        let model = Model::new(&kernel, cpus + 1);
        Self { kernel, model }
    }

    /// Starts the drive.
    pub fn try_start(&self, limits: Limits) -> Result<Arc<Controller>, NvmeError> {
        let parts = Parts {
            number: 0,
            registers: self.model.registers(),
            interrupts: self.model.interrupts(),
            stop_dma: self.model.stop_dma(),
        };
        let kernel: Arc<dyn Kernel> = self.kernel.clone();
        let model = self.model.clone();
        self.kernel.block_on(move || model.step(), start(kernel, parts, limits))
    }

    pub fn start(&self) -> Arc<Controller> {
        self.try_start(Limits::default()).map_err(|error| std::format!("{error}")).unwrap()
    }

    /// Lets the machine run until `done`.
    pub fn run(&self, done: impl FnMut() -> bool) {
        self.kernel.run(|| self.model.step(), done);
    }

    pub fn pass(&self, seconds: u64) {
        self.kernel.pass(seconds * 1_000_000_000, || self.model.step());
    }

    /// The result of a request.
    pub fn ask(
        &self,
        disk: &dyn BlockDevice,
        operation: Operation,
        block: u64,
        blocks: u64,
        segments: &[Segment],
    ) -> Result<(), BlockError> {
        let told = Arc::new(Told::default());
        submit(disk, &told, 7, operation, block, blocks, segments);
        disk.start();
        self.run(|| !told.0.lock().is_empty());
        let answers = told.0.lock().clone();
        assert_eq!((answers.len(), answers[0].0), (1, 7), "completed exactly once");
        answers[0].1
    }

    pub fn memory(&self, bytes: usize) -> DmaMemory {
        self.kernel.allocate_dma(bytes, false).unwrap()
    }

    /// What the model does with commands from now on.
    pub fn decide(&self, decide: impl FnMut(&Seen) -> Fate + Send + 'static) {
        self.model.state.lock().decide = Box::new(decide);
    }

    /// Shuts the drive down; all that the driver had is given back.
    pub fn end(self, controller: Arc<Controller>) {
        let task = controller.clone();
        let model = self.model.clone();
        self.kernel.block_on(move || model.step(), async move { task.shut_down().await });
        drop(controller);
        self.settle();
        assert!(!self.model.is_enabled());
        assert_eq!((self.kernel.pages_taken(), self.kernel.vectors_taken()), (0, 0));
    }

    /// Lets tasks that have nothing left to do end.
    pub fn settle(&self) {
        self.pass(1);
    }
}

/// Remembers who was told what.
#[derive(Default)]
pub(super) struct Told(pub Mutex<Vec<(u64, Result<(), BlockError>)>>);

impl Completion for Told {
    fn complete(&self, tag: u64, result: Result<(), BlockError>) {
        self.0.lock().push((tag, result));
    }
}

impl Told {
    pub fn count(&self) -> usize {
        self.0.lock().len()
    }
}

pub(super) fn submit(
    disk: &dyn BlockDevice,
    told: &Arc<Told>,
    tag: u64,
    operation: Operation,
    block: u64,
    blocks: u64,
    segments: &[Segment],
) {
    let done = Done { to: told.clone(), tag };
    disk.submit(Request { operation, block, blocks, segments, done });
}

/// A part of some memory.
pub(super) fn part(memory: &DmaMemory, offset: u64, bytes: u32) -> Segment {
    Segment { address: memory.address() + offset, bytes }
}

/// Numbers from a seed.
pub(super) struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    /// Less than `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
