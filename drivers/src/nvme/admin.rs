//! The admin queue pair: questions that tasks wait for, and the one command that waits for events.
//!
//! Who asks also looks for the answer, every [`LOOK`], so that the admin queue works before its interrupt does,
//! and without. A question that is given up keeps its slot and its memory until the controller has answered it
//! or was reset.
use super::command::{Cns, Command, LogPage};
use super::completion::Status;
use super::error::NvmeError;
use super::identify::Page;
use super::queue::Vector;
use super::registers::{PAGE_BYTES, Window};
use super::ring::{Ring, peek};
use super::wishes::{Wish, Wishes};
use crate::request::wait::{after, signal_or};
use crate::{DmaMemory, Kernel};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use executor::Signal;
use mm::Hpa;
use spin::Mutex;

/// Entries of the admin queues.
const ENTRIES: u16 = 32;
/// How often who waits for an answer looks himself.
const LOOK: Duration = Duration::from_millis(10);
/// Completions taken at once.
const BATCH: usize = 32;

/// The admin queue pair.
pub(super) struct Admin {
    name: String,
    kernel: Arc<dyn Kernel>,
    window: Arc<Window>,
    wishes: Arc<Wishes>,
    /// The message that it interrupts by: always the first.
    pub vector: Arc<Vector>,
    limit: Duration,
    state: Mutex<State>,
    completion: Arc<DmaMemory>,
    expected: AtomicU32,
}

struct State {
    open: bool,
    ring: Ring<Asked>,
    /// What the last event said.
    event: Option<u32>,
    nonsense: u32,
}

enum Asked {
    /// A task waits; the memory is what the answer is written to.
    Question(Arc<Reply>, #[allow(dead_code)] Option<Arc<DmaMemory>>),
    /// The command that the controller completes when something happens.
    Event,
}

#[derive(Default)]
struct Reply {
    answer: Mutex<Option<Result<u32, Refusal>>>,
    signal: Signal,
}

#[derive(Clone, Copy)]
enum Refusal {
    Status(Status),
    Stopped,
}

impl Admin {
    /// `None` where there is no memory.
    pub fn new(
        name: &str,
        kernel: &Arc<dyn Kernel>,
        window: &Arc<Window>,
        wishes: &Arc<Wishes>,
        vector: Arc<Vector>,
        limit: Duration,
    ) -> Option<Self> {
        let ring = Ring::new(&**kernel, window, None, 0, ENTRIES)?;
        let (completion, expected) = (ring.completion(), AtomicU32::new(ring.expected()));
        let state = State { open: false, ring, event: None, nonsense: 0 };
        Some(Self {
            name: name.into(),
            kernel: kernel.clone(),
            window: window.clone(),
            wishes: wishes.clone(),
            vector,
            limit,
            state: Mutex::new(state),
            completion,
            expected,
        })
    }

    /// Enables the controller, which must be disabled, with these queues.
    pub fn enable(&self) {
        let mut state = self.state.lock();
        state.ring.restart();
        state.nonsense = 0;
        self.expected.store(state.ring.expected(), Ordering::Relaxed);
        let ring = &state.ring;
        self.window.enable(ring.entries(), ring.submission_address(), ring.completion_address());
        state.open = true;
    }

    /// Ends all questions: the controller is disabled, or never to be asked again.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.open = false;
        for slot in state.ring.busy() {
            if let Some(Asked::Question(reply, _)) = state.ring.release(slot) {
                reply.give(Err(Refusal::Stopped));
            }
        }
    }

    /// Asks, and waits for dword 0 of the answer. `what` is for the error; `memory` is kept for the controller.
    ///
    /// # Errors
    /// Where it refuses, or does not answer in time.
    pub async fn ask(
        &self,
        what: &'static str,
        command: Command,
        memory: Option<Arc<DmaMemory>>,
    ) -> Result<u32, NvmeError> {
        let reply = Arc::new(Reply::default());
        {
            let mut state = self.state.lock();
            if !state.open {
                return Err(NvmeError::Stopped);
            }
            let slot = state.ring.take().ok_or(NvmeError::Busy(what))?;
            state.ring.send(slot, command, Asked::Question(reply.clone(), memory));
            state.ring.ring_submissions(&self.window);
        }
        let limit = after(&*self.kernel, self.limit);
        loop {
            self.reap();
            let answer = reply.answer.lock().take();
            match answer {
                Some(Ok(result)) => return Ok(result),
                Some(Err(Refusal::Status(status))) => return Err(NvmeError::Refused(what, status)),
                Some(Err(Refusal::Stopped)) => return Err(NvmeError::Stopped),
                None if self.window.status().gone() => return Err(NvmeError::Gone),
                None if self.kernel.now() >= limit => return Err(NvmeError::Unanswered(what)),
                None => {}
            }
            let look = after(&*self.kernel, LOOK).min(limit);
            signal_or(&*self.kernel, &reply.signal, look).await;
        }
    }

    /// Asks for a page of data.
    ///
    /// # Errors
    /// As [`Self::ask`].
    async fn page(&self, what: &'static str, command: impl Fn(Hpa) -> Command) -> Result<Page, NvmeError> {
        let memory = self.kernel.allocate_dma(PAGE_BYTES as usize, false).ok_or(NvmeError::NoMemory)?;
        let memory = Arc::new(memory);
        self.ask(what, command(memory.address()), Some(memory.clone())).await?;
        let mut page = Page(Box::new([0; 4096]));
        memory.copy_out(0, &mut page.0[..]);
        Ok(page)
    }

    /// Asks for identify data.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub async fn identify(&self, what: &'static str, cns: Cns, namespace: u32) -> Result<Page, NvmeError> {
        self.page(what, |to| Command::identify(cns, namespace, to)).await
    }

    /// Asks for the first 512 bytes of a log page.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub async fn log_page(&self, what: &'static str, page: LogPage) -> Result<Page, NvmeError> {
        self.page(what, |to| Command::log_page(page, 512, to)).await
    }

    /// Gives the controller a command to complete when something happens.
    pub fn await_event(&self) {
        let mut state = self.state.lock();
        if !state.open {
            return;
        }
        if let Some(slot) = state.ring.take() {
            let command = Command::new(super::command::Opcode::ASYNCHRONOUS_EVENT, 0);
            state.ring.send(slot, command, Asked::Event);
            state.ring.ring_submissions(&self.window);
        }
    }

    /// What has happened, if something has.
    pub fn take_event(&self) -> Option<u32> {
        self.state.lock().event.take()
    }

    /// Takes completions. How many there were.
    pub fn reap(&self) -> usize {
        if !peek(&self.completion, self.expected.load(Ordering::Relaxed)) {
            return 0;
        }
        let mut state = self.state.lock();
        if !state.open {
            return 0;
        }
        let mut taken = 0;
        while taken < BATCH
            && let Some(next) = state.ring.next()
        {
            taken += 1;
            match next {
                Ok((slot, entry)) => {
                    let succeeded = entry.status().code() == 0;
                    match state.ring.release(slot) {
                        Some(Asked::Question(reply, _)) if succeeded => reply.give(Ok(entry.result)),
                        Some(Asked::Question(reply, _)) => reply.give(Err(Refusal::Status(entry.status()))),
                        // One that fails is not asked for again.
                        Some(Asked::Event) if succeeded => {
                            state.event = Some(entry.result);
                            self.wishes.wish(Wish::EVENT);
                        }
                        Some(Asked::Event) | None => {}
                    }
                }
                Err(nonsense) => {
                    state.nonsense += 1;
                    if state.nonsense.is_power_of_two() {
                        log::warn!("{}: an answer to no question: {nonsense}", self.name);
                    }
                    if state.nonsense == 64 {
                        self.wishes.wish(Wish::RESET);
                    }
                }
            }
        }
        if taken != 0 {
            self.expected.store(state.ring.expected(), Ordering::Relaxed);
            state.ring.ring_completions(&self.window);
        }
        taken
    }
}

impl Reply {
    fn give(&self, answer: Result<u32, Refusal>) {
        *self.answer.lock() = Some(answer);
        self.signal.raise();
    }
}
