//! A kernel for tests: some memory, a clock that jumps, tasks that run when the test says so.
//!
//! [`TestKernel::run`] is the machine's life: tasks run until none is ready, then the device models take a step,
//! and when nobody has anything to do the clock jumps to the next timer. So a driver's time-outs of seconds take
//! no time, and every run is the same.
//!
//! A device model reaches memory by [`TestKernel::device_read`] and [`TestKernel::device_write`], which fail the
//! test where the driver has not given that memory to it, or has taken it back.
#![allow(unsafe_code)] // plays physical memory

use crate::{DmaMemory, Interrupt, Kernel, MsiMessage, Registers, Task};
use alloc::alloc::{Layout, alloc_zeroed, dealloc};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use executor::{Executor, Hooks, Signal, Timers};
use mm::DirectMap;
use mm::addr::{Hpa, Hva, PAGE};
use spin::Mutex;

const MEMORY: usize = 32 << 20;
const ALIGNMENT: usize = 2 << 20;
/// Memory that nobody has touched costs nothing, but not where the allocator is asked for this alignment.
const LAYOUT: Layout = match Layout::from_size_align(MEMORY + ALIGNMENT, 8) {
    Ok(layout) => layout,
    Err(_) => panic!(),
};

/// How often [`TestKernel::run`] looks before it calls the test hung.
const MOST_ROUNDS: u32 = 2_000_000;

/// See the module.
pub struct TestKernel {
    myself: Weak<Self>,
    allocation: *mut u8,
    /// Within the allocation, aligned.
    memory: *mut u8,
    /// Runs of pages that somebody has: address and bytes.
    taken: Mutex<BTreeMap<u64, usize>>,
    now: AtomicU64,
    cpus: usize,
    this_cpu: AtomicUsize,
    timers: Vec<Arc<Timers>>,
    arrivals: Mutex<Vec<(usize, &'static str, Task)>>,
    executors: Mutex<Vec<SingleThreaded>>,
    vectors: Arc<Mutex<Vectors>>,
}

/// A test is one thread.
struct SingleThreaded(Executor);

#[derive(Default)]
struct Vectors {
    next: u32,
    signals: BTreeMap<u32, (usize, Arc<Signal>)>,
}

// SAFETY: the memory is reached by volatile accesses; the executors by the test's only thread.
unsafe impl Send for TestKernel {}
// SAFETY: likewise.
unsafe impl Sync for TestKernel {}

impl TestKernel {
    /// A machine with `cpus` CPUs and 32 MiB of memory.
    pub fn new(cpus: usize) -> Arc<Self> {
        let hooks = Hooks { notify: |_| {}, slow: |_, _, _| {} };
        // SAFETY: the layout has a size.
        let allocation = unsafe { alloc_zeroed(LAYOUT) };
        assert!(!allocation.is_null());
        Arc::new_cyclic(|myself| Self {
            myself: myself.clone(),
            allocation,
            // SAFETY: less than the alignment, by which the allocation is longer.
            memory: unsafe { allocation.add(allocation.align_offset(ALIGNMENT)) },
            taken: Mutex::default(),
            now: AtomicU64::new(1_000_000),
            cpus,
            this_cpu: AtomicUsize::new(0),
            timers: (0..cpus).map(|_| Arc::new(Timers::new(16))).collect(),
            arrivals: Mutex::default(),
            executors: Mutex::new((0..cpus).map(|cpu| SingleThreaded(Executor::new(cpu, hooks))).collect()),
            vectors: Arc::default(),
        })
    }

    /// Lets what follows run on another CPU.
    pub fn on_cpu<R>(&self, cpu: usize, f: impl FnOnce() -> R) -> R {
        let before = self.this_cpu.swap(cpu, Ordering::Relaxed);
        let result = f();
        self.this_cpu.store(before, Ordering::Relaxed);
        result
    }

    /// Lets tasks, devices and time go on until `done`. `step` lets the device models act, and says whether they
    /// did anything.
    ///
    /// # Panics
    /// Where nobody has anything to do, or all go round for ever.
    pub fn run(&self, mut step: impl FnMut() -> bool, mut done: impl FnMut() -> bool) {
        for _ in 0..MOST_ROUNDS {
            self.poll_all();
            if done() {
                return;
            }
            let started = !self.arrivals.lock().is_empty();
            if step() || started || self.executors.lock().iter().any(|e| e.0.has_ready()) {
                continue;
            }
            let Some(next) = self.timers.iter().filter_map(|t| t.next_deadline()).min() else {
                panic!("nothing will ever happen: no task is ready, no timer is armed, the devices rest");
            };
            self.now.fetch_max(next, Ordering::Relaxed);
            for timers in &self.timers {
                timers.expire(self.now(), |_| {});
            }
        }
        panic!("it goes on for ever");
    }

    /// Lets `nanos` pass, with everything that is due in them.
    pub fn pass(&self, nanos: u64, mut step: impl FnMut() -> bool) {
        let end = self.now() + nanos;
        let _mark = self.timers[0].arm(0, end);
        self.run(&mut step, || self.now() >= end);
    }

    /// A task of the test, on CPU 0; its result, once [`Self::run`] has brought it to its end.
    pub fn block_on<R: Send + 'static>(
        &self,
        step: impl FnMut() -> bool,
        future: impl Future<Output = R> + Send + 'static,
    ) -> R {
        let result = Arc::new(Mutex::new(None));
        let place = result.clone();
        self.spawn(0, "test", Box::pin(async move { *place.lock() = Some(future.await) }));
        self.run(step, || result.lock().is_some());
        let result = result.lock().take();
        result.unwrap()
    }

    fn poll_all(&self) {
        let executors = self.executors.lock();
        for (cpu, name, task) in core::mem::take(&mut *self.arrivals.lock()) {
            executors[cpu].0.spawn(name, task);
        }
        for (cpu, executor) in executors.iter().enumerate() {
            self.on_cpu(cpu, || executor.0.run_ready(64, || self.now()));
        }
    }

    /// How many pages are given to drivers.
    pub fn pages_taken(&self) -> usize {
        self.taken.lock().values().sum::<usize>() / PAGE as usize
    }

    /// How many vectors are given to drivers.
    pub fn vectors_taken(&self) -> usize {
        self.vectors.lock().signals.len()
    }

    /// A device sends an interrupt message. Returns the CPU that takes it.
    ///
    /// # Panics
    /// Where the message is none of this machine's.
    pub fn take_message(&self, message: MsiMessage) -> usize {
        let vectors = self.vectors.lock();
        let Some((cpu, signal)) = vectors.signals.get(&message.data) else {
            panic!("{message:x?} has no vector: the driver has given it back");
        };
        assert_eq!(message.address, 0xfee0_0000 | (*cpu as u64) << 12);
        signal.raise();
        *cpu
    }

    fn at(&self, address: Hpa, len: usize) -> *mut u8 {
        let at = address.get();
        let taken = self.taken.lock();
        let run = taken.range(..=at).next_back();
        let inside = run.is_some_and(|(start, bytes)| at + len as u64 <= start + *bytes as u64);
        assert!(inside, "DMA of {len} bytes at {address}, which the device was not given");
        // SAFETY: within the memory, since all runs are.
        unsafe { self.memory.add(at as usize) }
    }

    /// A device reads memory.
    pub fn device_read(&self, address: Hpa, into: &mut [u8]) {
        let from = self.at(address, into.len());
        // SAFETY: `at` has checked the range.
        unsafe { from.copy_to_nonoverlapping(into.as_mut_ptr(), into.len()) };
    }

    /// A device writes memory.
    pub fn device_write(&self, address: Hpa, bytes: &[u8]) {
        let to = self.at(address, bytes.len());
        // SAFETY: `at` has checked the range.
        unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }
}

/// Ends all tasks when it is dropped. They have the kernel and the kernel has them: without this it would never be
/// freed.
pub struct SwitchOff(pub Arc<TestKernel>);

impl Drop for SwitchOff {
    fn drop(&mut self) {
        let executors = core::mem::take(&mut *self.0.executors.lock());
        let arrivals = core::mem::take(&mut *self.0.arrivals.lock());
        drop((executors, arrivals));
    }
}

impl Drop for TestKernel {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout.
        unsafe { dealloc(self.allocation, LAYOUT) };
    }
}

struct TestVector {
    vectors: Arc<Mutex<Vectors>>,
    cpu: usize,
    data: u32,
}

impl Interrupt for TestVector {
    fn message(&self) -> MsiMessage {
        MsiMessage { address: 0xfee0_0000 | (self.cpu as u64) << 12, data: self.data }
    }

    fn cpu(&self) -> usize {
        self.cpu
    }
}

impl Drop for TestVector {
    fn drop(&mut self) {
        self.vectors.lock().signals.remove(&self.data);
    }
}

impl Kernel for TestKernel {
    fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    fn cpus(&self) -> usize {
        self.cpus
    }

    fn this_cpu(&self) -> usize {
        self.this_cpu.load(Ordering::Relaxed)
    }

    fn timers(&self) -> Arc<Timers> {
        self.timers[self.this_cpu()].clone()
    }

    fn spawn(&self, cpu: usize, name: &'static str, task: Task) {
        self.arrivals.lock().push((cpu, name, task));
    }

    fn direct_map(&self) -> DirectMap {
        DirectMap::new(Hva::from_ptr(self.memory))
    }

    fn allocate_dma(&self, bytes: usize, _low: bool) -> Option<DmaMemory> {
        let bytes = bytes.max(1).next_multiple_of(PAGE as usize);
        let mut taken = self.taken.lock();
        // A page that nobody has between any two runs, and none at 0: an overrun is always caught.
        let mut start = PAGE;
        for (&other, &len) in taken.iter() {
            if start + bytes as u64 + PAGE <= other {
                break;
            }
            start = other + len as u64 + PAGE;
        }
        if start as usize + bytes > MEMORY {
            return None;
        }
        taken.insert(start, bytes);
        drop(taken);
        // SAFETY: within the memory and nobody's.
        unsafe { self.memory.add(start as usize).write_bytes(0, bytes) };
        let kernel: Arc<dyn Kernel> = self.myself.upgrade()?;
        // SAFETY: zeroed pages that nobody else has, in the direct map.
        Some(unsafe { DmaMemory::new(kernel, Hpa::new(start), bytes) })
    }

    unsafe fn free_dma(&self, address: Hpa, bytes: usize) {
        assert_eq!(self.taken.lock().remove(&address.get()), Some(bytes));
        // SAFETY: it was taken, so it is within the memory.
        unsafe { self.memory.add(address.get() as usize).write_bytes(0xdd, bytes) };
    }

    fn map_registers(&self, _address: Hpa, _bytes: u64) -> Option<Box<dyn Registers>> {
        None
    }

    fn interrupt(&self, cpu: usize, signal: Arc<Signal>) -> Option<Box<dyn Interrupt>> {
        let mut vectors = self.vectors.lock();
        vectors.next += 1;
        let data = vectors.next;
        vectors.signals.insert(data, (cpu, signal));
        Some(Box::new(TestVector { vectors: self.vectors.clone(), cpu, data }))
    }
}

mod tests {
    use super::*;

    #[test]
    fn time_jumps_to_the_next_timer_and_tasks_go_on() {
        let kernel = TestKernel::new(2);
        let (timers, start) = (kernel.timers(), kernel.now());
        kernel.block_on(|| false, async move { timers.sleep_until(start + 5_000_000_000).await });
        assert_eq!(kernel.now(), start + 5_000_000_000);
        kernel.pass(7, || false);
        assert_eq!(kernel.now(), start + 5_000_000_007);
    }

    #[test]
    fn an_interrupt_raises_the_signal_of_its_vector() {
        let kernel = TestKernel::new(2);
        let signal = Arc::new(Signal::new());
        let vector = kernel.interrupt(1, signal.clone()).unwrap();
        assert_eq!((kernel.take_message(vector.message()), signal.take()), (1, true));
        drop(vector);
        assert_eq!(kernel.vectors_taken(), 0);
    }

    #[test]
    #[should_panic(expected = "which the device was not given")]
    fn a_device_that_reaches_memory_that_was_taken_back_fails_its_test() {
        let kernel = TestKernel::new(1);
        let memory = kernel.allocate_dma(100, false).unwrap();
        kernel.device_write(memory.address() + 4090, &[1; 6]);
        assert_eq!((memory.bytes(), memory.read::<u8>(4095), kernel.pages_taken()), (4096, 1, 1));
        let address = memory.address();
        drop(memory);
        kernel.device_read(address, &mut [0]);
    }

    #[test]
    fn bytes_are_copied_in_and_out_at_any_place() {
        let kernel = TestKernel::new(1);
        let memory = kernel.allocate_dma(100, false).unwrap();
        for (offset, len) in (0..20).flat_map(|offset| (0..40).map(move |len| (offset, len))) {
            let bytes: Vec<u8> = (1..=len).collect();
            memory.copy_in(offset, &bytes);
            let mut all = [0; 70];
            memory.copy_out(0, &mut all);
            let around = [&all[..offset], &all[offset + bytes.len()..]].concat();
            assert!(all[offset..].starts_with(&bytes) && around.iter().all(|byte| *byte == 0));
            let mut again = std::vec![0; bytes.len()];
            memory.copy_out(offset, &mut again);
            assert_eq!(again, bytes);
            memory.copy_in(0, &[0; 70]);
        }
        memory.copy_in(4090, &[7; 6]);
        assert_eq!(memory.read::<u8>(4095), 7);
    }

    #[test]
    #[should_panic(expected = "bytes of DMA memory")]
    fn bytes_beyond_the_memory_are_not_copied() {
        let kernel = TestKernel::new(1);
        kernel.allocate_dma(100, false).unwrap().copy_in(4090, &[7; 7]);
    }
}
