//! A disk's commands: requests in, completions out.
//!
//! One lock guards a port's slots, taken once per request, once per doorbell and once per batch of completions.
//! Nothing else is locked inside of it, and nobody is told of a completion while it is held.
//!
//! Queued commands and others may not be in flight together (SATA 3, 13.6.1): a flush or a discard of a disk with
//! native command queuing waits until nothing else is, and all that comes after it waits for it. Flushes that wait
//! are done with the first of them.
use super::bounce::{BUFFER_BYTES, Bounced, Buffers, NoBuffer};
use super::counters::Counters;
use super::events::Event;
use super::fis::{Command, ERROR, FAULT, MOST_BLOCKS, Opcode};
use super::port::Port;
use super::regions::describe;
use super::registers::PortRegister;
use super::tables::{Header, TRIM_BLOCKS, Table};
use crate::request::{Batch, Cursor, Work, all};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use block::{BlockError, Completion, Done, Operation, Request, Segment};
use core::fmt;
use core::sync::atomic::Ordering;
use spin::Mutex;

/// Requests that are done: one per slot, and one that could not be made a command of.
pub(super) type Finished = Batch<33>;

/// What a command needs to know of its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    /// Bytes of a block, as a power of two.
    pub shift: u32,
    /// Reads and writes are queued.
    pub queued: bool,
    /// How a write is made durable.
    pub durable: Durable,
    /// The HBA reaches memory below this address.
    pub reach: u64,
}

/// How a write is made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durable {
    /// It is, without a volatile cache.
    Always,
    /// By the command.
    ByCommand,
    /// By a flush after it.
    ByFlush,
}

/// A disk's commands.
pub(super) struct Queue {
    pub port: Arc<Port>,
    format: Format,
    myself: Weak<Self>,
    pub state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Requests become commands.
    Open,
    /// They wait: something is being repaired.
    Held,
    /// They fail.
    Closed,
}

pub(super) struct State {
    pub mode: Mode,
    /// A command table for each slot.
    pub tables: Vec<Table>,
    pub slots: [Option<Issued>; 32],
    /// Slots, as bits: without a command; with one that the HBA is not told of; with one that it has.
    free: u32,
    pub ready: u32,
    pub issued: u32,
    /// Of the issued ones, those that take too long.
    pub late: u32,
    /// The only command is one that is not queued, among those that are.
    exclusive: bool,
    /// One command at a time, until all that were in flight are done: one of them fails, and which is not known.
    pub alone: bool,
    buffers: Buffers,
    /// Requests that found no slot, in order, with copies of their segments.
    pub waiting: VecDeque<(Work, Vec<Segment>)>,
    pub counters: Counters,
}

/// A command that has a slot.
pub(super) struct Issued {
    done: Done,
    pub opcode: Opcode,
    /// Where on the disk, of a transfer.
    pub block: u64,
    pub header: Header,
    bytes: u32,
    /// When the HBA was told of it.
    pub since: u64,
    /// How often it was given to the disk again.
    pub retries: u8,
    bounced: Option<Box<Bounced>>,
}

impl fmt::Display for Issued {
    /// For the log: `read at block 2048`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let block = self.block;
        match self.opcode {
            Opcode::READ_DMA_EXT | Opcode::READ_FPDMA_QUEUED => write!(f, "read at block {block}"),
            Opcode::WRITE_DMA_EXT | Opcode::WRITE_DMA_FUA_EXT | Opcode::WRITE_FPDMA_QUEUED => {
                write!(f, "write at block {block}")
            }
            Opcode::FLUSH_CACHE_EXT => f.write_str("flush"),
            Opcode::DATA_SET_MANAGEMENT => f.write_str("trim"),
            Opcode(other) => write!(f, "command {other:#04x}"),
        }
    }
}

/// The next command of a request, and how much of it that covers.
struct Made {
    command: Command,
    header: Header,
    blocks: u64,
    bytes: u32,
    bounced: Option<Box<Bounced>>,
}

/// How far a request got.
enum Progress {
    Complete,
    /// No slot, or no buffer, is free, or another kind of command is in flight.
    Full,
    Failed(BlockError),
}

/// The bits that are set, lowest first.
pub(super) fn bits(mut mask: u32) -> impl Iterator<Item = u32> {
    core::iter::from_fn(move || {
        let bit = mask.trailing_zeros();
        mask &= mask.wrapping_sub(1);
        (bit < 32).then_some(bit)
    })
}

impl Queue {
    /// A queue with `depth` slots, 1 to 32, held. `None` where there is no memory.
    pub fn new(port: &Arc<Port>, format: Format, depth: u32) -> Option<Arc<Self>> {
        let low = port.low_memory();
        let mut tables = Vec::new();
        for _ in 0..depth.clamp(1, 32) {
            tables.push(Table::new(&*port.kernel, low)?);
        }
        let state = State {
            mode: Mode::Held,
            free: u32::MAX >> (32 - tables.len()),
            tables,
            slots: [const { None }; 32],
            ready: 0,
            issued: 0,
            late: 0,
            exclusive: false,
            alone: false,
            buffers: Buffers::new(port.kernel.clone(), low),
            waiting: VecDeque::new(),
            counters: Counters::default(),
        };
        Some(Arc::new_cyclic(|myself| Self {
            port: port.clone(),
            format,
            myself: myself.clone(),
            state: Mutex::new(state),
        }))
    }

    /// Makes commands of a request that [`block::Geometry::check`] has found good.
    #[inline]
    pub fn submit(&self, mut request: Request<'_>) {
        if matches!(request.operation, Operation::Write { durable: true })
            && self.format.durable == Durable::ByFlush
        {
            let done = request.done.clone();
            request.done = Done { to: Arc::new(FlushAfter { queue: self.myself.clone(), done }), tag: 0 };
        }
        let segments = request.segments;
        self.take_on(Work::new((), request), segments);
    }

    #[inline]
    fn take_on(&self, mut work: Work, segments: &[Segment]) {
        let mut state = self.state.lock();
        let progress = match state.mode {
            Mode::Open if state.waiting.is_empty() => self.issue(&mut state, &mut work, segments),
            Mode::Open | Mode::Held => Progress::Full,
            Mode::Closed => Progress::Failed(BlockError::Removed),
        };
        let failed = match progress {
            Progress::Full => state.keep(work, segments),
            Progress::Failed(error) => Some((work.next(true), error)),
            Progress::Complete => None,
        };
        drop(state);
        if let Some((Some(done), error)) = failed {
            done.complete(Err(error));
        }
    }

    /// Tells the HBA of what was submitted.
    #[inline]
    pub fn start(&self) {
        self.ring(&mut self.state.lock());
    }

    #[inline]
    pub fn ring(&self, state: &mut State) {
        if state.ready == 0 || state.mode != Mode::Open {
            return;
        }
        let mut next = state.ready;
        if state.alone {
            if state.issued != 0 {
                return;
            }
            next = 1 << next.trailing_zeros();
        }
        let now = self.port.kernel.now();
        for slot in bits(next) {
            if let Some(issued) = &mut state.slots[slot as usize] {
                issued.since = now;
            }
        }
        state.ready &= !next;
        state.issued |= next;
        self.port.in_flight.store(state.issued, Ordering::Relaxed);
        if self.queued_now(state) {
            self.port.registers.write(PortRegister::SACT, next);
        }
        self.port.registers.write(PortRegister::CI, next);
        self.port.wake_poller();
    }

    /// What is in flight is queued.
    pub fn queued_now(&self, state: &State) -> bool {
        self.format.queued && !state.exclusive
    }

    /// Takes all completions and tells whoever waits for them. How many there were.
    #[inline]
    pub fn reap(&self) -> usize {
        let mut taken = 0;
        if self.port.in_flight.load(Ordering::Relaxed) == 0 {
            return taken;
        }
        loop {
            let mut finished = Finished::new();
            let mut state = self.state.lock();
            if state.mode != Mode::Open {
                return taken;
            }
            for slot in bits(self.completed(&mut state)) {
                self.conclude(&mut state, slot, &mut finished);
                taken += 1;
            }
            let again = self.drain(&mut state, &mut finished);
            self.ring(&mut state);
            drop(state);
            finished.tell();
            if !again {
                return taken;
            }
        }
    }

    /// The slots whose commands have succeeded.
    #[inline]
    fn completed(&self, state: &mut State) -> u32 {
        if state.issued == 0 {
            return 0;
        }
        let completed = state.issued & !self.outstanding(state);
        if completed != 0 && !self.queued_now(state) {
            // The only one, as nothing but reads and writes is queued: what the disk said last is of it.
            let status = self.port.memory.received_status();
            let status = status.unwrap_or_else(|| self.port.registers.task_file().0);
            if status & (ERROR | FAULT) != 0 {
                state.mode = Mode::Held;
                self.port.events.tell(Event::TASK_FILE);
                return 0;
            }
        }
        completed
    }

    /// The slots that the HBA, or the disk, is not done with. An HBA that is gone is done with none.
    #[inline]
    pub fn outstanding(&self, state: &State) -> u32 {
        // A tag's slot, too: a disk that completes what it was not given yet would have it used twice.
        let active = if self.queued_now(state) { self.port.registers.read(PortRegister::SACT) } else { 0 };
        active | self.port.registers.read(PortRegister::CI)
    }

    /// Makes commands of as much of the request as there are slots for.
    #[inline]
    fn issue(&self, state: &mut State, work: &mut Work, segments: &[Segment]) -> Progress {
        loop {
            if let Some(error) = work.failed() {
                return Progress::Failed(error);
            }
            if state.free == 0 || !self.admits(state, work.operation) {
                return Progress::Full;
            }
            let slot = state.free.trailing_zeros();
            let Made { command, header, blocks, bytes, bounced } =
                match self.make(state, work, segments, slot) {
                    Ok(made) => made,
                    Err(progress) => return progress,
                };
            let last = blocks == work.blocks;
            let Some(mut done) = work.next(last) else { return Progress::Complete };
            if work.operation == Operation::Flush {
                done = state.with_other_flushes(done);
            }
            let table = &state.tables[slot as usize];
            table.write_fis(command.fis());
            self.port.memory.write_header(slot, header, table.address());
            let Command { opcode, block, .. } = command;
            let issued = Issued { done, opcode, block, header, bytes, since: 0, retries: 0, bounced };
            state.slots[slot as usize] = Some(issued);
            state.free &= !(1 << slot);
            state.ready |= 1 << slot;
            state.exclusive = self.format.queued && !work.operation.has_data();
            if last {
                return Progress::Complete;
            }
            work.block += blocks;
            work.blocks -= blocks;
            work.at = work.at.advance(segments, bytes.into());
        }
    }

    /// Whether such a command may be in flight with what is.
    fn admits(&self, state: &State, operation: Operation) -> bool {
        let idle = state.ready | state.issued == 0;
        !state.alone && (!self.format.queued || idle || (operation.has_data() && !state.exclusive))
    }

    /// The next command of a request, for a slot.
    #[inline]
    fn make(
        &self,
        state: &mut State,
        work: &Work,
        segments: &[Segment],
        slot: u32,
    ) -> Result<Made, Progress> {
        let Format { shift, queued, durable, reach } = self.format;
        let table = &state.tables[slot as usize];
        let (write, durable) = match work.operation {
            Operation::Read => (false, false),
            Operation::Write { durable: wanted } => (true, wanted && durable == Durable::ByCommand),
            Operation::Flush => {
                let header = Header::new(0, false);
                return Ok(Made { command: Command::FLUSH, header, blocks: 0, bytes: 0, bounced: None });
            }
            Operation::Discard => {
                let blocks = work.blocks.min(TRIM_BLOCKS);
                table.write_ranges(work.block, blocks);
                let header = Header::new(1, true);
                return Ok(Made { command: Command::trim(1), header, blocks, bytes: 0, bounced: None });
            }
            // Not offered.
            Operation::WriteZeroes { .. } => return Err(Progress::Failed(BlockError::Unsupported)),
        };
        let (block, limit) = (1 << shift, work.blocks.min(MOST_BLOCKS) << shift);
        let mut bounced = None;
        let described = match describe(segments, work.at, limit, block, reach, table) {
            Some(described) => described,
            None => {
                let bytes = limit.min(BUFFER_BYTES);
                let taken = state.buffers.take(segments, work.at, bytes, !write).map_err(|e| match e {
                    NoBuffer::Busy => Progress::Full,
                    NoBuffer::NoMemory => Progress::Failed(BlockError::NoMemory),
                })?;
                let buffer = [taken.segment()];
                state.counters.bounced += 1;
                bounced = Some(Box::new(taken));
                // A run of whole pages within reach: one region covers it.
                describe(&buffer, Cursor::default(), bytes, block, u64::MAX, table)
                    .ok_or(Progress::Failed(BlockError::Malformed))?
            }
        };
        let blocks = described.bytes >> shift;
        let command = if queued {
            let opcode = if write { Opcode::WRITE_FPDMA_QUEUED } else { Opcode::READ_FPDMA_QUEUED };
            Command::queued(opcode, work.block, blocks, slot, durable)
        } else {
            let opcode = match (write, durable) {
                (false, _) => Opcode::READ_DMA_EXT,
                (true, false) => Opcode::WRITE_DMA_EXT,
                (true, true) => Opcode::WRITE_DMA_FUA_EXT,
            };
            Command::transfer(opcode, work.block, blocks)
        };
        let header = Header::new(described.regions, write);
        // At most MOST_BLOCKS of 4096.
        Ok(Made { command, header, blocks, bytes: described.bytes as u32, bounced })
    }

    /// Goes on with what waits, as far as there are slots. Whether it has to be called again.
    pub fn drain(&self, state: &mut State, finished: &mut Finished) -> bool {
        if state.ready | state.issued == 0 {
            state.alone = false;
        }
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
                    // There is one place for this besides those of the slots.
                    return true;
                }
            }
        }
        false
    }

    /// A command has succeeded, as the HBA says.
    #[inline]
    pub fn conclude(&self, state: &mut State, slot: u32, finished: &mut Finished) {
        let Some(issued) = &state.slots[slot as usize] else { return };
        let (opcode, bytes) = (issued.opcode, issued.bytes);
        let mut result = Ok(());
        if opcode == Opcode::READ_DMA_EXT {
            let moved = self.port.memory.moved(slot);
            if moved != bytes {
                let name = &self.port.name;
                log::warn!("{name}: a read of {bytes} bytes ended well, and moved {moved}: it has failed");
                result = Err(BlockError::UnrecoveredRead);
            }
        }
        let counters = &mut state.counters;
        match opcode {
            _ if result.is_err() => {}
            Opcode::READ_FPDMA_QUEUED | Opcode::READ_DMA_EXT => {
                counters.reads += 1;
                counters.bytes_read += u64::from(bytes);
            }
            Opcode::FLUSH_CACHE_EXT => counters.flushes += 1,
            Opcode::DATA_SET_MANAGEMENT => counters.discards += 1,
            _ => {
                counters.writes += 1;
                counters.bytes_written += u64::from(bytes);
            }
        }
        if let Some(done) = self.end(state, slot, result) {
            finished.push(done, result);
        }
    }

    /// A command is over; whom to tell.
    #[inline]
    pub fn end(&self, state: &mut State, slot: u32, result: Result<(), BlockError>) -> Option<Done> {
        let issued = state.slots[slot as usize].take()?;
        if let Some(bounced) = issued.bounced {
            state.buffers.give_back(*bounced, result.is_ok());
        }
        if result.is_err() {
            state.counters.errors += 1;
        }
        let bit = 1 << slot;
        state.free |= bit;
        state.ready &= !bit;
        state.issued &= !bit;
        state.late &= !bit;
        state.exclusive = false;
        self.port.in_flight.store(state.issued, Ordering::Relaxed);
        Some(issued.done)
    }

    pub fn counters(&self) -> Counters {
        self.state.lock().counters
    }

    /// Whether it has nothing to do.
    pub fn is_idle(&self) -> bool {
        let state = self.state.lock();
        state.ready | state.issued == 0 && state.waiting.is_empty()
    }
}

impl State {
    /// Keeps a request that finds no slot.
    #[cold]
    fn keep(&mut self, mut work: Work, segments: &[Segment]) -> Option<(Option<Done>, BlockError)> {
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

    /// All flushes that wait are done with this one: what they follow was completed before it begins.
    fn with_other_flushes(&mut self, done: Done) -> Done {
        if !self.waiting.iter().any(|(work, _)| work.operation == Operation::Flush) {
            return done;
        }
        let mut dones = alloc::vec![done];
        self.waiting.retain_mut(|(work, _)| {
            if work.operation != Operation::Flush {
                return true;
            }
            dones.extend(work.next(true));
            false
        });
        all(dones)
    }
}

/// A write that is durable by the flush after it.
struct FlushAfter {
    queue: Weak<Queue>,
    done: Done,
}

impl Completion for FlushAfter {
    fn complete(&self, _tag: u64, result: Result<(), BlockError>) {
        let done = self.done.clone();
        match (result, self.queue.upgrade()) {
            (Ok(()), Some(queue)) => {
                queue.take_on(Work::flush(done), &[]);
                queue.start();
            }
            (Ok(()), None) => done.complete(Err(BlockError::Removed)),
            (Err(error), _) => done.complete(Err(error)),
        }
    }
}
