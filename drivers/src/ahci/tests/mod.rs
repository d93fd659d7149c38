//! The driver against the model.
mod data;
mod errors;
mod hostile;
mod plugging;
mod random;
mod starting;

use super::model::{Model, ModelDisk, ModelMessages, ModelRegisters};
use super::{AhciError, Controller, Limits, Parts, start};
use crate::test_kernel::{SwitchOff, TestKernel};
use crate::{DmaMemory, Kernel};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use block::{BlockDevice, BlockError, Completion, Done, Operation, Request, Segment};
use spin::Mutex;

const WRITE: Operation = Operation::Write { durable: false };
const DURABLE: Operation = Operation::Write { durable: true };
const SECOND: u64 = 1_000_000_000;

/// A controller and what it has found.
struct Rig {
    kernel: Arc<TestKernel>,
    model: Arc<Model>,
    controller: Arc<Controller>,
    found: Arc<Mutex<Vec<Arc<dyn BlockDevice>>>>,
    _end: SwitchOff,
}

/// What came of requests, by tag. Keeps their memory until then.
#[derive(Default)]
struct Told {
    results: Mutex<Vec<(u64, Result<(), BlockError>)>>,
    memory: Mutex<Vec<(u64, Arc<DmaMemory>)>>,
}

impl Completion for Told {
    fn complete(&self, tag: u64, result: Result<(), BlockError>) {
        let mut results = self.results.lock();
        assert!(results.iter().all(|(other, _)| *other != tag), "completed twice");
        results.push((tag, result));
        self.memory.lock().retain(|(other, _)| *other != tag);
    }
}

impl Told {
    fn results(&self) -> Vec<(u64, Result<(), BlockError>)> {
        let mut results = self.results.lock().clone();
        results.sort_by_key(|(tag, _)| *tag);
        results
    }
}

fn try_start(
    kernel: &Arc<TestKernel>,
    model: &Arc<Model>,
    limits: Limits,
    interrupts: bool,
) -> Result<Rig, AhciError> {
    let found = Arc::new(Mutex::new(Vec::new()));
    let (list, stopped) = (found.clone(), model.clone());
    let parts = Parts {
        number: 0,
        registers: Box::new(ModelRegisters(model.clone())),
        interrupts: interrupts.then(|| Box::new(ModelMessages(model.clone())) as _),
        disk_number: Box::new(|port| port as usize + 10),
        announce: Box::new(move |_, disk| list.lock().push(disk)),
        stop_dma: Box::new(move || stopped.state().dma_stopped = true),
    };
    let acting = model.clone();
    let controller = kernel.block_on(move || acting.step(), start(kernel.clone(), parts, limits))?;
    Ok(Rig {
        kernel: kernel.clone(),
        model: model.clone(),
        controller,
        found,
        _end: SwitchOff(kernel.clone()),
    })
}

impl Rig {
    fn new(disk: ModelDisk) -> Self {
        Self::with(alloc::vec![Some(disk)], |_| {})
    }

    fn with(disks: Vec<Option<ModelDisk>>, prepare: impl FnOnce(&Model)) -> Self {
        let kernel = TestKernel::new(2);
        let model = Model::new(&kernel, disks);
        prepare(&model);
        try_start(&kernel, &model, Limits::default(), true).unwrap()
    }

    fn disk(&self, number: usize) -> Arc<dyn BlockDevice> {
        self.found.lock()[number].clone()
    }

    fn run(&self, done: impl FnMut() -> bool) {
        self.kernel.run(|| self.model.step(), done);
    }

    fn pass(&self, nanos: u64) {
        self.kernel.pass(nanos, || self.model.step());
    }

    fn memory(&self, bytes: usize) -> Arc<DmaMemory> {
        Arc::new(self.kernel.allocate_dma(bytes, false).unwrap())
    }

    /// Submits a request, without starting it.
    fn submit(
        &self,
        told: &Arc<Told>,
        tag: u64,
        operation: Operation,
        block: u64,
        blocks: u64,
        memory: &Arc<DmaMemory>,
    ) {
        let bytes = blocks * 512;
        let segments = [Segment { address: memory.address(), bytes: bytes as u32 }];
        let segments = if operation.has_data() { &segments[..] } else { &[] };
        told.memory.lock().push((tag, memory.clone()));
        let done = Done { to: told.clone(), tag };
        self.disk(0).submit(Request { operation, block, blocks, segments, done });
    }

    /// Submits, starts and waits.
    fn ask(
        &self,
        operation: Operation,
        block: u64,
        blocks: u64,
        segments: &[Segment],
    ) -> Result<(), BlockError> {
        let told = Arc::new(Told::default());
        let done = Done { to: told.clone(), tag: 0 };
        let disk = self.disk(0);
        disk.submit(Request { operation, block, blocks, segments, done });
        disk.start();
        self.run(|| !told.results.lock().is_empty());
        told.results()[0].1
    }

    fn write(&self, operation: Operation, block: u64, data: &[u8]) -> Result<(), BlockError> {
        let memory = self.memory(data.len());
        memory.copy_in(0, data);
        let segment = Segment { address: memory.address(), bytes: data.len() as u32 };
        let size = u64::from(self.disk(0).geometry().block_size);
        self.ask(operation, block, data.len() as u64 / size, &[segment])
    }

    fn read(&self, block: u64, blocks: u64) -> Result<Vec<u8>, BlockError> {
        let len = blocks as usize * self.disk(0).geometry().block_size as usize;
        let memory = self.memory(len);
        let segment = Segment { address: memory.address(), bytes: len as u32 };
        self.ask(Operation::Read, block, blocks, &[segment])?;
        let mut data = alloc::vec![0; len];
        memory.copy_out(0, &mut data);
        Ok(data)
    }

    fn history(&self) -> Vec<u8> {
        self.model.disk(0, |disk| core::mem::take(&mut disk.history))
    }
}

fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|i| (i / 512) as u8 ^ (i as u8).wrapping_mul(seed)).collect()
}
