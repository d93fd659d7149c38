//! The driver against the model.
mod hostile;
mod random;

use super::model::Model;
use super::{Controller, Parts, Windows, start};
use crate::test_kernel::{SwitchOff, TestKernel};
use crate::virtio::VirtioError;
use crate::virtio::model::{Kind, ModelMessages, ModelRegisters};
use crate::{DmaMemory, Kernel};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use block::{BlockDevice, BlockError, Completion, Done, Operation, Request, Segment};
use spin::Mutex;

const WRITE: Operation = Operation::Write { durable: false };
const SECOND: u64 = 1_000_000_000;

struct Rig {
    kernel: Arc<TestKernel>,
    model: Arc<Model>,
    controller: Arc<Controller>,
    disk: Arc<dyn BlockDevice>,
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

fn try_start(kernel: &Arc<TestKernel>, model: &Arc<Model>, interrupts: bool) -> Result<Rig, VirtioError> {
    let window = |kind| Box::new(ModelRegisters(model.clone(), kind)) as Box<dyn crate::Registers>;
    let stopped = model.clone();
    let parts = Parts {
        number: 3,
        windows: Windows {
            common: window(Kind::Common),
            notify: window(Kind::Notify),
            notify_multiplier: 4,
            device: window(Kind::Device),
        },
        interrupts: interrupts.then(|| Box::new(ModelMessages(model.clone())) as _),
        stop_dma: Box::new(move || stopped.state().dma_stopped = true),
    };
    let acting = model.clone();
    let controller = kernel.block_on(move || acting.step(), start(kernel.clone(), parts))?;
    let disk = controller.disk();
    Ok(Rig {
        kernel: kernel.clone(),
        model: model.clone(),
        controller,
        disk,
        _end: SwitchOff(kernel.clone()),
    })
}

impl Rig {
    fn new(prepare: impl FnOnce(&Model)) -> Self {
        let kernel = TestKernel::new(4);
        let model = Model::new(&kernel, 1 << 20, 2);
        prepare(&model);
        let rig = try_start(&kernel, &model, true).unwrap();
        rig.model.state().history.clear();
        rig
    }

    fn run(&self, done: impl FnMut() -> bool) {
        self.kernel.run(|| self.model.step(), done);
    }

    fn memory(&self, bytes: usize) -> Arc<DmaMemory> {
        Arc::new(self.kernel.allocate_dma(bytes, false).unwrap())
    }

    fn ask(
        &self,
        operation: Operation,
        block: u64,
        blocks: u64,
        segments: &[Segment],
    ) -> Result<(), BlockError> {
        let told = Arc::new(Told::default());
        let done = Done { to: told.clone(), tag: 0 };
        self.disk.submit(Request { operation, block, blocks, segments, done });
        self.disk.start();
        self.run(|| !told.results.lock().is_empty());
        told.results.lock()[0].1
    }

    fn write(&self, operation: Operation, block: u64, data: &[u8]) -> Result<(), BlockError> {
        let memory = self.memory(data.len());
        memory.copy_in(0, data);
        let segment = Segment { address: memory.address(), bytes: data.len() as u32 };
        let size = u64::from(self.disk.geometry().block_size);
        self.ask(operation, block, data.len() as u64 / size, &[segment])
    }

    fn read(&self, block: u64, blocks: u64) -> Result<Vec<u8>, BlockError> {
        let len = blocks as usize * self.disk.geometry().block_size as usize;
        let memory = self.memory(len);
        let segment = Segment { address: memory.address(), bytes: len as u32 };
        self.ask(Operation::Read, block, blocks, &[segment])?;
        let mut data = std::vec![0; len];
        memory.copy_out(0, &mut data);
        Ok(data)
    }
}

fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|i| (i / 512) as u8 ^ (i as u8).wrapping_mul(seed)).collect()
}

#[test]
fn a_disk_is_what_the_device_says() {
    let rig = Rig::new(|_| {});
    let (identity, geometry) = (rig.disk.identity(), rig.disk.geometry());
    assert_eq!((&*identity.name, &*identity.serial), ("virtio3", "SERIAL 1"));
    assert_eq!((geometry.block_size, geometry.blocks, geometry.physical_block_size), (512, 1 << 20, 4096));
    let features = geometry.features;
    assert!(features.volatile_cache && features.discard && features.write_zeroes && !features.read_only);
    assert_eq!((rig.controller.queues(), rig.kernel.vectors_taken()), (2, 2));
    let rig = Rig::new(|model| {
        let mut state = model.state();
        state.set_own(5, 4096);
        state.features = (state.features | 1 << 5) & !(1 << 9);
    });
    let geometry = rig.disk.geometry();
    assert_eq!((geometry.block_size, geometry.blocks), (4096, 1 << 17));
    assert!(geometry.features.read_only && !geometry.features.volatile_cache);
    assert_eq!(rig.write(WRITE, 0, &[0; 4096]), Err(BlockError::ReadOnly));
    assert_eq!(rig.read(5, 2).unwrap().len(), 8192);
}

#[test]
fn what_is_written_is_read_again_with_every_kind_of_notification() {
    for (event_index, interrupts) in [(true, true), (false, true), (true, false), (false, false)] {
        let kernel = TestKernel::new(2);
        let model = Model::new(&kernel, 1 << 16, 2);
        if !event_index {
            model.state().features &= !(1 << 29);
        }
        let rig = try_start(&kernel, &model, interrupts).ok().unwrap();
        for i in 0..300u64 {
            let data = pattern(1024, i as u8);
            rig.kernel.on_cpu(i as usize % 2, || rig.write(WRITE, i * 3, &data)).unwrap();
            assert_eq!(rig.read(i * 3, 2).unwrap(), data);
        }
    }
}

#[test]
fn memory_of_any_shape_moves_without_a_copy_and_long_requests_are_several() {
    let rig = Rig::new(|_| {});
    let memory = rig.memory(1 << 20);
    let data = pattern(512 * 600, 7);
    let mut segments = Vec::new();
    let mut at = 0;
    let mut from = 0;
    while from < data.len() {
        let bytes = (from % 1777 + 1).min(data.len() - from);
        memory.copy_in(at, &data[from..from + bytes]);
        segments.push(Segment { address: memory.address() + at as u64, bytes: bytes as u32 });
        at += bytes + 3;
        from += bytes;
    }
    assert!(segments.len() > 252, "{}", segments.len());
    assert_eq!(rig.ask(WRITE, 9, 600, &segments), Ok(()));
    assert!(rig.model.state().history.len() >= 3);
    assert_eq!(rig.read(9, 600).unwrap(), data);
    // A block in more pieces than a request has.
    let crumbs: Vec<_> = (0..512).map(|i| Segment { address: memory.address() + i, bytes: 1 }).collect();
    assert_eq!(rig.ask(WRITE, 0, 1, &crumbs), Err(BlockError::Malformed));
}

#[test]
fn requests_beyond_the_ring_wait_and_one_notification_is_for_many() {
    let rig = Rig::new(|_| {});
    let told = Arc::new(Told::default());
    rig.model.state().notifications = 0;
    for tag in 0..200 {
        let memory = rig.memory(512);
        memory.copy_in(0, &[tag as u8; 512]);
        let segments = [Segment { address: memory.address(), bytes: 512 }];
        told.memory.lock().push((tag, memory));
        let done = Done { to: told.clone(), tag };
        rig.disk.submit(Request { operation: WRITE, block: tag, blocks: 1, segments: &segments, done });
    }
    assert_eq!(rig.model.state().notifications, 0);
    rig.disk.start();
    assert_eq!(rig.model.state().notifications, 1);
    rig.run(|| told.results.lock().len() == 200);
    assert!(told.results.lock().iter().all(|(_, result)| result.is_ok()));
    assert!((0..200).all(|tag| rig.model.state().sector(tag) == [tag as u8; 512]));
}

#[test]
fn flushes_discards_zeroes_and_durable_writes_are_what_they_say() {
    let rig = Rig::new(|_| {});
    let history = || core::mem::take(&mut rig.model.state().history);
    assert_eq!(rig.write(Operation::Write { durable: true }, 4, &pattern(1024, 3)), Ok(()));
    assert_eq!(history(), [1, 4]);
    assert_eq!(rig.ask(Operation::Flush, 0, 0, &[]), Ok(()));
    assert_eq!(rig.ask(Operation::Discard, 4, 1, &[]), Ok(()));
    assert_eq!(rig.ask(Operation::WriteZeroes { deallocate: true }, 5, 3 << 16, &[]), Ok(()));
    assert_eq!(history(), [4, 11, 13, 13, 13]);
    assert_eq!(rig.read(4, 2).unwrap(), [0; 1024]);
}

#[test]
fn somebody_who_looks_needs_no_interrupt_and_a_shut_down_flushes() {
    let rig = Rig::new(|_| {});
    let (told, memory) = (Arc::new(Told::default()), rig.memory(512));
    let segments = [Segment { address: memory.address(), bytes: 512 }];
    let done = Done { to: told.clone(), tag: 0 };
    assert!(!rig.controller.poll());
    rig.disk.submit(Request { operation: Operation::Read, block: 0, blocks: 1, segments: &segments, done });
    rig.disk.start();
    while rig.model.step() {}
    assert!(rig.controller.poll() && !rig.controller.poll());
    assert_eq!(told.results.lock().len(), 1);
    rig.model.state().history.clear();
    let (controller, model) = (rig.controller.clone(), rig.model.clone());
    rig.kernel.block_on(move || model.step(), async move { controller.shut_down().await });
    assert_eq!(rig.model.state().history, [4]);
    assert_eq!(rig.read(0, 1), Err(BlockError::Removed));
}
