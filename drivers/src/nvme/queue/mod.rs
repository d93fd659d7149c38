//! An I/O queue pair: requests in, completions out, on one CPU or the few that share it.
//!
//! One lock guards it, which its CPU takes once per request, once per doorbell and once per batch of
//! completions; where each CPU has its queue it is never contended. Inside of it only the first error of
//! a split request is locked, and the log; nobody is told of a completion while it is held. `recovery` is what it
//! does when things go wrong.
mod recovery;

use super::bounce::{BUFFER_BYTES, Bounced, Buffers};
use super::command::{COMMAND_BYTES, Command, DSM_DEALLOCATE, DataPointer, Opcode, flags};
use super::completion::Entry;
use super::counters::Counters;
use super::identify::Sgl;
use super::namespace::Format;
use super::pointers::{LIST_BYTES, List, MOST_BYTES, describe};
use super::registers::Window;
use super::ring::{Ring, peek};
use super::shadow::Shadow;
use super::wishes::Wishes;
use crate::request::{Batch, Cursor, Work};
use crate::{DmaMemory, Interrupt, Kernel};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use block::{BlockError, Done, Operation, Request, Segment};
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use executor::Signal;
use spin::Mutex;

/// Most completions that are taken at once.
pub(super) const BATCH: usize = 32;
/// Most blocks of a command that counts them in 16 bits.
const MOST_BLOCKS: u64 = 1 << 16;

const _: () = assert!(COMMAND_BYTES == size_of::<Command>());

/// What all queues of a controller have in common.
pub(super) struct Terms {
    /// The controller's name, for the log.
    pub name: String,
    pub kernel: Arc<dyn Kernel>,
    pub window: Arc<Window>,
    pub wishes: Arc<Wishes>,
    /// Doorbells in memory, if the controller has them.
    pub shadow: Option<Arc<Shadow>>,
    pub entries: u16,
    /// Most bytes of a command's data: whole pages.
    pub most_bytes: u64,
    pub sgl: Sgl,
    pub retries: u8,
    pub retry_delays: [Duration; 3],
}

/// A message of the controller's and the vector that takes it.
pub(super) struct Vector {
    /// Which message.
    pub number: u16,
    /// Raised by it.
    pub signal: Arc<Signal>,
    pub interrupt: Box<dyn Interrupt>,
}

/// A queue pair.
pub(super) struct Queue {
    terms: Arc<Terms>,
    /// The message that it interrupts by.
    pub vector: Arc<Vector>,
    state: Mutex<State>,
    /// For a look without the lock: the completion queue and where its next entry will be.
    completion: Arc<DmaMemory>,
    expected: AtomicU32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Requests become commands.
    Open,
    /// They wait: the controller is being reset.
    Paused,
    /// They fail.
    Closed(BlockError),
}

struct State {
    mode: Mode,
    ring: Ring<Issued>,
    lists: DmaMemory,
    bounce: Option<Buffers>,
    /// Requests that found no slot, in order, with copies of their segments.
    waiting: VecDeque<(Work<Format>, Vec<Segment>)>,
    counters: Counters,
    /// Completions for nothing since the last reset.
    nonsense: u32,
}

/// A command that has a slot.
struct Issued {
    done: Done,
    opcode: Opcode,
    stage: Stage,
    /// How often it was given to the controller again.
    attempts: u8,
    bytes: u32,
    bounced: Option<Box<Bounced>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The controller has it.
    Sent,
    /// It took too long, and the controller was told to abort it.
    Aborted,
    /// It waits for another try, until this time.
    Delayed(u64),
}

/// How far a request got.
enum Progress {
    Complete,
    /// No slot, or no buffer, is free.
    Full,
    Failed(BlockError),
}

/// What a batch of completions ends, and one request more.
type Finished = Batch<{ BATCH + 1 }>;

impl Queue {
    /// `None` where there is no memory.
    pub fn new(terms: &Arc<Terms>, number: u16, vector: Arc<Vector>) -> Option<Self> {
        let kernel = &*terms.kernel;
        let ring = Ring::new(kernel, &terms.window, terms.shadow.clone(), number, terms.entries)?;
        let lists = kernel.allocate_dma(usize::from(ring.entries()) * LIST_BYTES, false)?;
        let bounce = if terms.sgl == Sgl::Bytes { None } else { Some(Buffers::new(kernel)?) };
        let (completion, expected) = (ring.completion(), AtomicU32::new(ring.expected()));
        let state = State {
            mode: Mode::Paused,
            ring,
            lists,
            bounce,
            waiting: VecDeque::new(),
            counters: Counters::default(),
            nonsense: 0,
        };
        Some(Self { terms: terms.clone(), vector, state: Mutex::new(state), completion, expected })
    }

    pub fn number(&self) -> u16 {
        self.state.lock().ring.number()
    }

    /// The commands that create it.
    pub fn creation(&self) -> [Command; 2] {
        let state = self.state.lock();
        let (ring, number) = (&state.ring, state.ring.number());
        let (entries, vector) = (ring.entries(), self.vector.number);
        [
            Command::create_completion_queue(number, entries, ring.completion_address(), vector),
            Command::create_submission_queue(number, entries, ring.submission_address()),
        ]
    }

    /// Makes commands of a request that [`block::Geometry::check`] has found good.
    #[inline]
    pub fn submit(&self, format: Format, request: Request<'_>) {
        let segments = request.segments;
        let mut work = Work::new(format, request);
        let mut state = self.state.lock();
        let progress = match state.mode {
            Mode::Open if state.waiting.is_empty() => self.issue(&mut state, &mut work, segments),
            Mode::Open | Mode::Paused => Progress::Full,
            Mode::Closed(error) => Progress::Failed(error),
        };
        let progress = match progress {
            Progress::Full => state.keep(work, segments),
            Progress::Failed(error) => Some((work.next(true), error)),
            Progress::Complete => None,
        };
        drop(state);
        if let Some((Some(done), error)) = progress {
            done.complete(Err(error));
        }
    }

    /// Tells the controller of what was submitted.
    #[inline]
    pub fn start(&self) {
        let mut state = self.state.lock();
        if state.mode == Mode::Open {
            state.ring.ring_submissions(&self.terms.window);
        }
    }

    /// Takes a batch of completions and tells whoever waits for them. How many there were.
    #[inline]
    pub fn reap(&self) -> usize {
        if !peek(&self.completion, self.expected.load(Ordering::Relaxed)) {
            return 0;
        }
        self.take_batch(false)
    }

    /// Takes all completions that are there, of a controller that is disabled and adds none.
    pub fn collect(&self) {
        for _ in 0..2 * usize::from(self.terms.entries) / BATCH + 1 {
            if self.take_batch(true) == 0 {
                break;
            }
        }
    }

    fn take_batch(&self, paused: bool) -> usize {
        let mut taken = 0;
        loop {
            let mut finished = Finished::new();
            let mut state = self.state.lock();
            if (state.mode == Mode::Paused) != paused || matches!(state.mode, Mode::Closed(_)) {
                return taken;
            }
            while taken < BATCH {
                match state.ring.next() {
                    None => break,
                    Some(Ok((slot, entry))) => self.conclude(&mut state, slot, entry, &mut finished),
                    Some(Err(nonsense)) => self.wonder(&mut state, nonsense),
                }
                taken += 1;
            }
            self.expected.store(state.ring.expected(), Ordering::Relaxed);
            let mut again = false;
            if !paused {
                if taken != 0 {
                    state.ring.ring_completions(&self.terms.window);
                }
                again = self.drain(&mut state, &mut finished);
                state.ring.ring_submissions(&self.terms.window);
            }
            drop(state);
            finished.tell();
            if !again {
                return taken;
            }
        }
    }

    /// Makes commands of as much of the request as there are slots for.
    #[inline]
    fn issue(&self, state: &mut State, work: &mut Work<Format>, segments: &[Segment]) -> Progress {
        loop {
            if let Some(error) = work.failed() {
                return Progress::Failed(error);
            }
            let Some(slot) = state.ring.take() else { return Progress::Full };
            let made = self.make(state, work, segments, slot);
            let Made { command, opcode, blocks, bytes, bounced } = match made {
                Ok(made) => made,
                Err(progress) => {
                    state.ring.give_back(slot);
                    return progress;
                }
            };
            let last = blocks == work.blocks;
            let Some(done) = work.next(last) else {
                state.ring.give_back(slot);
                return Progress::Complete;
            };
            let issued = Issued { done, opcode, stage: Stage::Sent, attempts: 0, bytes, bounced };
            state.ring.send(slot, command, issued);
            if last {
                return Progress::Complete;
            }
            work.block += blocks;
            work.blocks -= blocks;
            work.at = work.at.advance(segments, u64::from(bytes));
        }
    }

    /// The next command of a request.
    #[inline]
    fn make(
        &self,
        state: &mut State,
        work: &Work<Format>,
        segments: &[Segment],
        slot: u8,
    ) -> Result<Made, Progress> {
        let &Work { disk: Format { namespace, shift, .. }, block, .. } = work;
        let simple = |opcode, blocks: u64, flags| {
            let command = Command::blocks(opcode, namespace, block, blocks as u32, flags);
            Ok(Made { command, opcode, blocks, bytes: 0, bounced: None })
        };
        let (opcode, flags) = match work.operation {
            Operation::Read => (Opcode::READ, 0),
            Operation::Write { durable: false } => (Opcode::WRITE, 0),
            Operation::Write { durable: true } => (Opcode::WRITE, flags::FORCE_UNIT_ACCESS),
            Operation::Flush => {
                let command = Command::new(Opcode::FLUSH, namespace);
                return Ok(Made { command, opcode: Opcode::FLUSH, blocks: 0, bytes: 0, bounced: None });
            }
            Operation::WriteZeroes { deallocate } => {
                let flags = if deallocate && work.disk.deallocate_zeroes { flags::DEALLOCATE } else { 0 };
                let most = work.blocks.min(work.disk.zero_blocks.into());
                return simple(Opcode::WRITE_ZEROES, most, flags);
            }
            Operation::Discard => {
                let blocks = work.blocks.min(work.disk.discard_blocks.into());
                let list = List::of(&state.lists, slot);
                list.write(0, &[blocks << 32, block]);
                let opcode = Opcode::DATASET_MANAGEMENT;
                let command = Command::new(opcode, namespace).dwords_10(0, DSM_DEALLOCATE);
                let command = command.data(DataPointer::Prp(list.address().get(), 0));
                return Ok(Made { command, opcode, blocks, bytes: 0, bounced: None });
            }
        };
        let block_bytes = 1u64 << shift;
        let limit = (work.blocks.min(MOST_BLOCKS) << shift).min(self.terms.most_bytes).min(MOST_BYTES);
        let list = List::of(&state.lists, slot);
        let mut bounced = None;
        let described = match describe(segments, work.at, limit, block_bytes, self.terms.sgl, list) {
            Some(described) => described,
            None => {
                let read = opcode == Opcode::READ;
                let buffers = state.bounce.as_mut().ok_or(Progress::Failed(BlockError::Malformed))?;
                if !buffers.available() {
                    return Err(Progress::Full);
                }
                let taken = buffers.take(segments, work.at, limit.min(BUFFER_BYTES), read);
                let taken = Box::new(taken.ok_or(Progress::Failed(BlockError::NoMemory))?);
                let buffer = [buffers.segment(&taken)];
                state.counters.bounced += 1;
                bounced = Some(taken);
                // A run of whole pages: one command always covers it.
                describe(&buffer, Cursor::default(), buffer[0].bytes.into(), block_bytes, Sgl::No, list)
                    .ok_or(Progress::Failed(BlockError::Malformed))?
            }
        };
        let blocks = described.bytes >> shift;
        let command = Command::blocks(opcode, namespace, block, blocks as u32, flags);
        // At most MOST_BYTES.
        let bytes = described.bytes as u32;
        Ok(Made { command: command.data(described.pointer), opcode, blocks, bytes, bounced })
    }

    /// Goes on with what waits, as far as there are slots. Whether it has to be called again.
    fn drain(&self, state: &mut State, finished: &mut Finished) -> bool {
        while let Some((mut work, segments)) = state.waiting.pop_front() {
            match self.issue(state, &mut work, &segments) {
                Progress::Complete => {}
                Progress::Full => {
                    state.waiting.push_front((work, segments));
                    return false;
                }
                Progress::Failed(error) => {
                    if let Some(done) = work.next(true) {
                        finished.push(done, Err(error));
                    }
                    // There is one place for this besides those of the batch.
                    return true;
                }
            }
        }
        false
    }

    #[inline]
    fn conclude(&self, state: &mut State, slot: u8, entry: Entry, finished: &mut Finished) {
        let status = entry.status();
        if status.code() != 0 && self.retry(state, slot, status) {
            return;
        }
        let Some(issued) = state.ring.release(slot) else { return };
        let result = if status.code() == 0 { Ok(()) } else { Err(status.error()) };
        let counters = &mut state.counters;
        if result.is_ok() {
            match issued.opcode {
                Opcode::READ => {
                    counters.reads += 1;
                    counters.bytes_read += u64::from(issued.bytes);
                }
                Opcode::WRITE => {
                    counters.writes += 1;
                    counters.bytes_written += u64::from(issued.bytes);
                }
                Opcode::FLUSH => counters.flushes += 1,
                _ => counters.others += 1,
            }
        } else {
            counters.errors += 1;
        }
        if let (Some(bounced), Some(buffers)) = (issued.bounced, state.bounce.as_mut()) {
            buffers.give_back(*bounced, result.is_ok());
        }
        finished.push(issued.done, result);
    }

    /// Whether it has nothing to do.
    pub fn is_idle(&self) -> bool {
        let state = self.state.lock();
        state.ring.in_flight() == 0 && state.waiting.is_empty()
    }

    pub fn counters(&self) -> Counters {
        self.state.lock().counters
    }
}

/// A command, and how much of its request it covers.
struct Made {
    command: Command,
    opcode: Opcode,
    blocks: u64,
    bytes: u32,
    bounced: Option<Box<Bounced>>,
}

impl State {
    /// Keeps a request that finds no slot.
    #[cold]
    fn keep(&mut self, mut work: Work<Format>, segments: &[Segment]) -> Option<(Option<Done>, BlockError)> {
        let mut copy = Vec::new();
        let rest = segments.get(work.at.index..).unwrap_or_default();
        if copy.try_reserve_exact(rest.len()).is_err() || self.waiting.try_reserve(1).is_err() {
            return Some((work.next(true), BlockError::NoMemory));
        }
        copy.extend_from_slice(rest);
        work.at.index = 0;
        self.counters.waited += 1;
        self.waiting.push_back((work, copy));
        None
    }
}
