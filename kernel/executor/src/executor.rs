//! The executor of one CPU, and the handle by which other CPUs send it tasks.

use crate::ready::{Batch, ReadyQueue};
use crate::task::{NO_SLOT, SendFuture, Task, TaskStats};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};

/// A single poll longer than this is reported to [`Hooks::slow`], nanoseconds.
pub const LONGEST_POLL_NS: u64 = 100_000;

/// What the executor calls in the kernel.
#[derive(Clone, Copy)]
pub struct Hooks {
    /// Makes CPU `cpu` look at its executor: an inter-processor interrupt. Called from any CPU and any
    /// context, at most once per [`Executor::listen`]. For the calling CPU itself nothing need be
    /// sent: an interrupt handler that wakes a task has ended the halt or the guest by itself.
    pub notify: fn(cpu: usize),
    /// Reports that one poll of task `name` on `cpu` took `ns` nanoseconds, more than
    /// [`LONGEST_POLL_NS`].
    pub slow: fn(cpu: usize, name: &'static str, ns: u64),
}

/// The part of an executor that all CPUs see.
pub(crate) struct Shared {
    cpu: usize,
    ready: ReadyQueue,
    /// The owner halts or runs a guest, or is about to: a push must notify it.
    listening: AtomicBool,
    notify: fn(usize),
}

impl Shared {
    /// Queues a claimed task and, if the owner isn't looking, makes it look.
    pub(crate) fn submit(&self, task: Arc<Task>) {
        self.ready.push(task);
        // The load first: most wakes find the owner busy, and then its cache line stays shared.
        if self.listening.load(Ordering::SeqCst) && self.listening.swap(false, Ordering::SeqCst) {
            (self.notify)(self.cpu);
        }
    }
}

type LocalFuture = Pin<Box<dyn Future<Output = ()>>>;

struct Slot {
    task: Arc<Task>,
    /// Out of its place while it is polled, so that a task may spawn others.
    future: Option<LocalFuture>,
}

/// The tasks of one CPU.
#[derive(Default)]
struct Table {
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    /// Headers of finished tasks that a waker somewhere still holds.
    retired: VecDeque<Arc<Task>>,
}

impl Table {
    fn vacant(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        })
    }

    fn remove(&mut self, slot: usize) {
        if let Some(Slot { task, .. }) = self.slots.get_mut(slot).and_then(Option::take) {
            task.finish();
            self.free.push(slot);
            self.retired.push_back(task);
        }
        // Two looked at for one added, so that the list shrinks to what is really still held.
        for _ in 0..2 {
            match self.retired.pop_front() {
                Some(task) if Arc::strong_count(&task) > 1 => self.retired.push_back(task),
                Some(_) => {}
                None => break,
            }
        }
    }
}

/// The async executor of one CPU. Neither `Send` nor `Sync`: it lives and stays on its CPU.
pub struct Executor {
    shared: Arc<Shared>,
    slow: fn(usize, &'static str, u64),
    batch: RefCell<Batch>,
    table: RefCell<Table>,
    current: Cell<Option<&'static str>>,
}

impl Executor {
    /// An executor without tasks for CPU `cpu`.
    pub fn new(cpu: usize, hooks: Hooks) -> Self {
        let shared =
            Shared { cpu, ready: ReadyQueue::new(), listening: AtomicBool::new(false), notify: hooks.notify };
        Executor {
            shared: Arc::new(shared),
            slow: hooks.slow,
            batch: RefCell::new(Batch::empty()),
            table: RefCell::default(),
            current: Cell::new(None),
        }
    }

    /// Starts a task on this CPU. It is polled first by the next [`run_ready`](Self::run_ready).
    /// Tasks may spawn tasks. `name` is what the watchdog and `top` print.
    pub fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + 'static) {
        let mut table = self.table.borrow_mut();
        let slot = table.vacant();
        let task = Task::new(name, self.shared.clone(), slot, None);
        table.slots[slot] = Some(Slot { task: task.clone(), future: Some(Box::pin(future)) });
        drop(table);
        if task.claim() {
            self.shared.submit(task);
        }
    }

    /// A handle by which any CPU can start tasks on this one.
    pub fn spawner(&self) -> Spawner {
        Spawner { shared: self.shared.clone() }
    }

    /// Whether a task wants to be polled: one atomic load and one plain one.
    #[inline]
    pub fn has_ready(&self) -> bool {
        !self.shared.ready.is_empty() || self.batch.try_borrow().is_ok_and(|b| !b.is_empty())
    }

    /// Announces that this CPU will halt or enter a guest, so that the next wake notifies it. Call it
    /// with interrupts off and go ahead only if it returns true; false means that a task is ready.
    ///
    /// No wake is lost: this stores `listening` and then loads the queue's head, a waker stores the
    /// head and then loads `listening`, all sequentially consistent, so one of the two sees the
    /// other. Between the answer and the halt, interrupts are off: a notification stays pending
    /// and ends the halt (STI takes effect after the HLT; VMRUN and VM entry exit at once).
    ///
    /// A CPU that handles exits in a loop calls this once before the loop and checks
    /// [`has_ready`](Self::has_ready), with interrupts off, before each entry.
    pub fn listen(&self) -> bool {
        self.shared.listening.store(true, Ordering::SeqCst);
        if self.has_ready() {
            self.shared.listening.store(false, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// Polls ready tasks, in the order of their wakes, until none is ready or `budget` polls are
    /// done. Returns whether a task is still ready. `clock` gives nanoseconds from any origin, read
    /// once per poll and once before.
    ///
    /// A task that is woken during its own poll is polled again after those that were ready before.
    /// Called from within a task it polls nothing: tasks don't nest.
    pub fn run_ready(&self, budget: u32, clock: impl Fn() -> u64) -> bool {
        self.shared.listening.store(false, Ordering::Relaxed);
        if !self.has_ready() || self.current.get().is_some() {
            return self.has_ready();
        }
        let mut started = clock();
        for _ in 0..budget {
            let Some(task) = self.next() else { return false };
            self.poll(&task);
            let ended = clock();
            let ns = ended.saturating_sub(started);
            started = ended;
            task.record(ns);
            if ns > LONGEST_POLL_NS {
                (self.slow)(self.shared.cpu, task.name, ns);
            }
        }
        self.has_ready()
    }

    /// The name of the task that is being polled, for the watchdog and for a panic's report.
    pub fn current(&self) -> Option<&'static str> {
        self.current.get()
    }

    /// The statistics of every live task. For `top`, another CPU sends a task that asks and answers.
    pub fn stats(&self) -> Vec<TaskStats> {
        let table = self.table.borrow();
        table.slots.iter().flatten().map(|slot| slot.task.stats()).collect()
    }

    fn next(&self) -> Option<Arc<Task>> {
        let mut batch = self.batch.borrow_mut();
        if batch.is_empty() {
            *batch = self.shared.ready.take();
        }
        batch.pop()
    }

    fn poll(&self, task: &Arc<Task>) {
        if let Some(future) = task.take_arrival() {
            let mut table = self.table.borrow_mut();
            let slot = table.vacant();
            task.set_slot(slot);
            table.slots[slot] = Some(Slot { task: task.clone(), future: Some(future) });
        }
        let slot = task.slot();
        if slot == NO_SLOT {
            return; // Finished before this wake came to its turn.
        }
        let future = match self.table.borrow_mut().slots.get_mut(slot) {
            Some(Some(slot)) => slot.future.take(),
            _ => None,
        };
        let Some(mut future) = future else { return };
        task.unclaim();
        let waker = Waker::from(task.clone());
        self.current.set(Some(task.name));
        let done = future.as_mut().poll(&mut Context::from_waker(&waker));
        self.current.set(None);
        match done {
            Poll::Ready(()) => {
                // First the future, outside the borrow: its destructor may spawn.
                drop(future);
                drop(waker);
                self.table.borrow_mut().remove(slot);
            }
            Poll::Pending => {
                if let Some(Some(slot)) = self.table.borrow_mut().slots.get_mut(slot) {
                    slot.future = Some(future);
                }
            }
        }
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        // Futures go on their own CPU, outside the borrow. Wakers that are left are harmless.
        let slots = core::mem::take(&mut self.table.borrow_mut().slots);
        slots.iter().flatten().for_each(|slot| slot.task.finish());
        drop(slots);
        // What is queued refers to the queue itself: taking it out breaks that circle.
        drop(self.shared.ready.take());
    }
}

/// Starts tasks on one CPU from any other.
#[derive(Clone)]
pub struct Spawner {
    shared: Arc<Shared>,
}

impl Spawner {
    /// The CPU on which the tasks will run.
    pub fn cpu(&self) -> usize {
        self.shared.cpu
    }

    /// Sends `future` to that CPU, which is notified if it isn't looking. Allocates, so not for
    /// interrupt handlers.
    pub fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        let future: SendFuture = Box::pin(future);
        let task = Task::new(name, self.shared.clone(), NO_SLOT, Some(future));
        if task.claim() {
            self.shared.submit(task);
        }
    }
}
