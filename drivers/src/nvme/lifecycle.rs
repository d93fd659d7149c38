//! The controller as its tasks know it: how it is brought up, and how it is made to leave memory alone.
//!
//! # When memory may be freed
//! A controller that was given an address may write to it at any time until it is known to have stopped: it has
//! completed the command, or its CSTS.RDY has gone from 1 to 0 after CC.EN = 0 (NVMe 2.0, 3.7.2: it is reset and knows no
//! queue), or its function may not be bus master any more ([`super::Parts::stop_dma`]), or it is off the bus. A
//! time-out is none of these. So a request is completed with an error only
//! - by the controller's own completion, which is its last access (3.3.3.2), or
//! - after a reset that was seen to be done, or
//! - after `stop_dma` has returned;
//!
//! and queues, lists and bounce buffers are freed only after one of the latter two, by [`Core`]'s destructor if
//! nobody else. All ones from a register are no proof that a controller is gone: a link that has failed for a
//! moment looks the same. So `stop_dma` is called then, too.
use super::Limits;
use super::admin::Admin;
use super::command::{Command, DataPointer, Feature, Opcode};
use super::error::NvmeError;
use super::identify::ControllerData;
use super::queue::{Queue, Vector};
use super::registers::Window;
use super::shadow::Shadow;
use super::wishes::Wishes;
use crate::Kernel;
use crate::pci::MessageInterrupts;
use crate::request::wait::{after, pause};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use executor::{Event, Signal};
use spin::Once;

/// How often CSTS is looked at while something is awaited of it.
const LOOK: Duration = Duration::from_millis(1);

/// The asynchronous events that are wanted: all critical warnings (bits 4:0), and changes of namespaces where the
/// controller sends them (bit 8).
const WARNINGS: u32 = 0x1f;
const NAMESPACE_CHANGES: u32 = 1 << 8;

/// The I/O queues, and which of them a CPU uses.
pub(super) struct Queues {
    pub list: Vec<Queue>,
    /// Their doorbells in memory, if the controller has such.
    pub shadow: Option<Arc<Shadow>>,
    /// By CPU, index into `list`.
    pub by_cpu: Vec<u16>,
}

impl Queues {
    /// The queue of a CPU.
    #[inline]
    pub fn of(&self, cpu: usize) -> &Queue {
        let index = self.by_cpu.get(cpu).copied().unwrap_or(0);
        // There is at least one, and no index beyond (`deal`).
        &self.list[usize::from(index)]
    }
}

/// Which queue each of `cpus` uses where there are `queues`: neighbours share, which have most in common.
pub(super) fn deal(cpus: usize, queues: usize) -> Vec<u16> {
    (0..cpus).map(|cpu| (cpu * queues / cpus) as u16).collect()
}

/// The CPU whose task serves queue number `queue` of `queues`: the first that uses it.
pub(super) fn server(cpus: usize, queues: usize, queue: usize) -> usize {
    (queue * cpus).div_ceil(queues.max(1)).min(cpus - 1)
}

/// What all tasks of a controller share.
pub(super) struct Core {
    pub name: String,
    pub kernel: Arc<dyn Kernel>,
    pub window: Arc<Window>,
    pub interrupts: Box<dyn MessageInterrupts>,
    pub limits: Limits,
    pub admin: Admin,
    pub wishes: Arc<Wishes>,
    pub queues: Once<Arc<Queues>>,
    pub resets: AtomicU64,
    /// Nothing will ever happen again.
    pub over: AtomicBool,
    /// Set when it is.
    pub ended: Event,
    stop_dma: Box<dyn Fn() + Send + Sync>,
    /// The controller may have addresses of ours, or of the firmware's.
    loose: AtomicBool,
}

impl Core {
    #[expect(clippy::too_many_arguments, reason = "the parts, once")]
    pub fn new(
        name: String,
        kernel: Arc<dyn Kernel>,
        window: Arc<Window>,
        interrupts: Box<dyn MessageInterrupts>,
        stop_dma: Box<dyn Fn() + Send + Sync>,
        limits: Limits,
        admin: Admin,
        wishes: Arc<Wishes>,
    ) -> Self {
        Self {
            name,
            kernel,
            window,
            interrupts,
            limits,
            admin,
            wishes,
            queues: Once::new(),
            resets: AtomicU64::new(0),
            over: AtomicBool::new(false),
            ended: Event::new(),
            stop_dma,
            loose: AtomicBool::new(true),
        }
    }

    /// The I/O queues; none before they are made.
    pub fn queues(&self) -> &[Queue] {
        self.queues.get().map_or(&[], |queues| &queues.list)
    }

    /// Waits until CSTS is as `wanted`.
    async fn await_status(&self, time: Duration, wanted: impl Fn() -> bool) -> Result<(), NvmeError> {
        let limit = after(&*self.kernel, time);
        loop {
            // The time first: a CPU that was away for long looks once more after it.
            let late = self.kernel.now() >= limit;
            if self.window.status().gone() {
                return Err(NvmeError::Gone);
            }
            if wanted() {
                return Ok(());
            }
            if late {
                return Err(NvmeError::NotReady(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)));
            }
            pause(&*self.kernel, LOOK).await;
        }
    }

    /// Resets the controller; it knows none of our memory then.
    ///
    /// # Errors
    /// Where it is not seen to have done so.
    pub async fn disable(&self) -> Result<(), NvmeError> {
        let time = self.window.ready_time();
        // CC.EN must not change until CSTS.RDY has followed it (3.1.3.5), so as firmware may have left it.
        if self.window.enabled() && !self.window.status().ready() && !self.window.status().failed() {
            match self.await_status(time, || self.window.status().ready()).await {
                Ok(()) | Err(NvmeError::NotReady(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let was_ready = self.window.status().ready();
        self.window.disable();
        self.await_status(time, || !self.window.status().ready()).await?;
        if was_ready {
            // Of one that never was, CSTS.RDY = 0 proves nothing.
            self.loose.store(false, Ordering::Release);
        }
        self.admin.close();
        Ok(())
    }

    /// Enables the controller, which must be disabled.
    ///
    /// # Errors
    /// Where it does not get ready.
    pub async fn enable(&self) -> Result<(), NvmeError> {
        self.loose.store(true, Ordering::Release);
        self.admin.enable();
        let ready = || {
            let status = self.window.status();
            status.ready() || status.failed()
        };
        self.await_status(self.window.ready_time(), ready).await?;
        if self.window.status().failed() { Err(NvmeError::Failed) } else { Ok(()) }
    }

    /// Asks for I/O queues, up to `wanted`; how many there are to be.
    ///
    /// # Errors
    /// Where the controller gives none.
    pub async fn ask_for_queues(&self, wanted: u16) -> Result<u16, NvmeError> {
        let wanted = u32::from(wanted.max(1)) - 1;
        let command = Command::set_feature(Feature::NUMBER_OF_QUEUES, wanted | wanted << 16);
        let given = self.admin.ask("Set Features (number of queues)", command, None).await?;
        // Both numbers are less by one; 65535 is reserved. More than was asked for is no use.
        let given = (given & 0xffff).min(given >> 16).min(wanted);
        Ok(given as u16 + 1)
    }

    /// Creates all I/O queues on a controller that has none.
    ///
    /// # Errors
    /// Where it does not want them.
    pub async fn create_queues(&self, shadow: Option<&Shadow>) -> Result<(), NvmeError> {
        if let Some(shadow) = shadow {
            shadow.turn(false);
            let (doorbells, events) = shadow.addresses();
            let pointer = DataPointer::Prp(doorbells.get(), events.get());
            let command = Command::new(Opcode::DOORBELL_BUFFER_CONFIG, 0).data(pointer);
            match self.admin.ask("Doorbell Buffer Config", command, None).await {
                Ok(_) => shadow.turn(true),
                Err(error @ NvmeError::Refused(..)) => {
                    log::warn!("{}: doorbells are rung each time: {error}", self.name);
                }
                Err(error) => return Err(error),
            }
        }
        for queue in self.queues() {
            let [completion, submission] = queue.creation();
            self.admin.ask("Create I/O Completion Queue", completion, None).await?;
            self.admin.ask("Create I/O Submission Queue", submission, None).await?;
        }
        Ok(())
    }

    /// What is set after every reset, and is no reason to fail: events, coalescing.
    pub async fn configure(&self, data: &ControllerData) {
        if let Some(coalescing) = self.limits.coalescing {
            let value = u32::from(coalescing.completions) | u32::from(coalescing.time) << 8;
            let command = Command::set_feature(Feature::INTERRUPT_COALESCING, value);
            if let Err(error) = self.admin.ask("Set Features (interrupt coalescing)", command, None).await {
                log::warn!("{}: no interrupt coalescing: {error}", self.name);
            }
        }
        let events = WARNINGS | data.events & NAMESPACE_CHANGES;
        let command = Command::set_feature(Feature::ASYNCHRONOUS_EVENTS, events);
        match self.admin.ask("Set Features (asynchronous events)", command, None).await {
            Ok(_) => self.admin.await_event(),
            Err(error) => log::warn!("{}: no asynchronous events: {error}", self.name),
        }
    }

    /// Tells the controller that power will go, and waits for it to be ready for that.
    ///
    /// # Errors
    /// Where it does not say so in time.
    pub async fn notify_shut_down(&self, time: Duration) -> Result<(), NvmeError> {
        self.window.notify_shut_down();
        self.await_status(time, || self.window.status().shut_down()).await
    }

    /// Takes the controller's way to memory, unless it is known to have left it alone.
    pub fn make_quiet(&self) {
        if self.loose.swap(false, Ordering::AcqRel) {
            (self.stop_dma)();
            // Nobody waits for it, but it may as well rest.
            self.window.disable();
        }
    }

    /// Gives the controller's messages vectors, one per entry, and makes I/O queues for them.
    ///
    /// # Errors
    /// Where there are no vectors or no memory.
    pub fn connect(
        kernel: &dyn Kernel,
        interrupts: &dyn MessageInterrupts,
        number: u16,
        cpu: usize,
    ) -> Result<Arc<Vector>, NvmeError> {
        let signal = Arc::new(Signal::new());
        let interrupt = kernel.interrupt(cpu, signal.clone()).ok_or(NvmeError::NoInterrupt)?;
        interrupts.connect(number.into(), Some(interrupt.message()));
        Ok(Arc::new(Vector { number, signal, interrupt }))
    }

    /// Whether the controller is over and done with.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Ends everything: the controller leaves memory alone, every request is done with `error`, every task
    /// ends, its messages are off.
    pub fn end(&self, error: block::BlockError) {
        self.make_quiet();
        self.over.store(true, Ordering::Release);
        self.admin.close();
        for queue in self.queues() {
            queue.close(error);
            queue.vector.signal.raise();
        }
        self.admin.vector.signal.raise();
        self.disconnect();
        self.ended.set();
    }

    fn disconnect(&self) {
        self.interrupts.connect(0, None);
        for queue in self.queues() {
            self.interrupts.connect(queue.vector.number.into(), None);
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.make_quiet();
        self.disconnect();
    }
}
