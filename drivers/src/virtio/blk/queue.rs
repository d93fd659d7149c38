//! A queue: requests in, completions out, on one CPU or the few that share it.
//!
//! One lock guards it, taken once per request, once per notification and once per batch of completions. Nothing else
//! is locked inside of it, and nobody is told of a completion while it is held.
use crate::request::{Batch, Cursor, Work};
use crate::virtio::ring::{Piece, Ring};
use crate::virtio::transport::Transport;
use crate::{DmaMemory, Interrupt, Kernel};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use block::{BlockError, Completion, Done, Operation, Request, Segment};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use executor::Signal;
use mm::Hpa;
use spin::Mutex;

/// Most completions that are taken under one lock, and in one go.
const BATCH: usize = 32;

/// What a batch of completions ends, and one request that there is no room for.
type Finished = Batch<{ BATCH + 1 }>;
const GO: usize = 256;
/// After so many returns of what the device was not given, it is reset.
const MOST_NONSENSE: u32 = 16;

/// Types of requests (virtio 1.2, 5.2.6).
pub(super) mod kind {
    pub const IN: u32 = 0;
    pub const OUT: u32 = 1;
    pub const FLUSH: u32 = 4;
    pub const GET_ID: u32 = 8;
    pub const DISCARD: u32 = 11;
    pub const WRITE_ZEROES: u32 = 13;
}

/// A request's status is what the device writes; this is what stands there before.
const NO_STATUS: u8 = 0xff;

/// Bytes of a request's own memory: header, the range of a discard, status.
const OWN_BYTES: usize = 64;
const RANGE: usize = 16;
const STATUS: usize = 32;

/// What requests need to know of their disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    /// 512-byte sectors of a block, as a power of two.
    pub shift: u32,
    /// Most pieces of a request's data.
    pub most_pieces: usize,
    /// Most sectors of a discard, and of zeroes.
    pub discard_sectors: u32,
    pub zero_sectors: u32,
    pub may_unmap: bool,
    /// A write is durable by a flush after it.
    pub flushes: bool,
}

/// A queue.
pub(super) struct Queue {
    pub name: String,
    pub number: u16,
    kernel: Arc<dyn Kernel>,
    transport: Arc<Transport>,
    myself: Weak<Self>,
    state: Mutex<State>,
    /// Raised by its interrupt, or by requests where there are none.
    pub signal: Arc<Signal>,
    pub interrupt: Option<Box<dyn Interrupt>>,
    /// Requests that the device has.
    in_flight: AtomicU32,
    /// The device does not behave.
    pub troubled: AtomicBool,
    /// Something was completed since the last reset.
    pub progress: AtomicBool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Open,
    /// Requests wait: the device is being reset.
    Held,
    Closed,
}

struct State {
    mode: Mode,
    format: Format,
    ring: Ring,
    own: DmaMemory,
    issued: Vec<Option<Issued>>,
    waiting: VecDeque<(Work, Vec<Segment>)>,
    notify: u64,
    nonsense: u32,
    /// Requests that the device failed.
    errors: u64,
}

struct Issued {
    done: Done,
    kind: u32,
    since: u64,
}

enum Progress {
    Complete,
    Full,
    Failed(BlockError),
}

impl Queue {
    /// `None` where there is no memory.
    pub fn new(
        name: &str,
        number: u16,
        kernel: &Arc<dyn Kernel>,
        transport: &Arc<Transport>,
        ring: Ring,
        interrupt: (Arc<Signal>, Option<Box<dyn Interrupt>>),
    ) -> Option<Arc<Self>> {
        let size = usize::from(ring.size());
        let state = State {
            mode: Mode::Held,
            format: Format {
                shift: 0,
                most_pieces: 1,
                discard_sectors: 0,
                zero_sectors: 0,
                may_unmap: false,
                flushes: false,
            },
            own: kernel.allocate_dma(size * OWN_BYTES, false)?,
            ring,
            issued: (0..size).map(|_| None).collect(),
            waiting: VecDeque::new(),
            notify: 0,
            nonsense: 0,
            errors: 0,
        };
        Some(Arc::new_cyclic(|myself| Self {
            name: name.into(),
            number,
            kernel: kernel.clone(),
            transport: transport.clone(),
            myself: myself.clone(),
            state: Mutex::new(state),
            signal: interrupt.0,
            interrupt: interrupt.1,
            in_flight: AtomicU32::new(0),
            troubled: AtomicBool::new(false),
            progress: AtomicBool::new(false),
        }))
    }

    pub fn set_format(&self, format: Format) {
        self.state.lock().format = format;
    }

    /// Most pieces of a request's data that it has room for.
    pub fn most_pieces(&self) -> usize {
        usize::from(self.state.lock().ring.size()) - 2
    }

    /// Names the queue to the device, with message `vector`. Whether that was taken.
    pub fn enable(&self, vector: u16) -> bool {
        let mut state = self.state.lock();
        let (size, addresses) = (state.ring.size(), state.ring.addresses());
        if self.transport.queue_size(self.number) < size {
            return false;
        }
        let register = self.transport.enable_queue(self.number, size, vector, addresses);
        state.notify = register.unwrap_or(0);
        register.is_some()
    }

    /// Takes on a request that [`block::Geometry::check`] has found good.
    #[inline]
    pub fn submit(&self, mut request: Request<'_>) {
        if matches!(request.operation, Operation::Write { durable: true }) && self.state.lock().format.flushes
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

    /// Tells the device of what was submitted.
    #[inline]
    pub fn start(&self) {
        self.publish(&mut self.state.lock());
    }

    #[inline]
    fn publish(&self, state: &mut State) {
        if state.mode != Mode::Open || !state.ring.has_new() {
            return;
        }
        if state.ring.publish() {
            self.transport.notify(state.notify, self.number);
        }
        if self.interrupt.is_none() {
            self.signal.raise();
        }
    }

    /// Whether the device has requests.
    #[inline]
    pub fn has_requests(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) != 0
    }

    /// Asks for the disk's serial number: 20 bytes at `address`.
    pub fn ask_id(&self, address: Hpa, done: Done) {
        let mut state = self.state.lock();
        let data = [Segment { address, bytes: 20 }];
        self.push(&mut state, kind::GET_ID, 0, (&data, Cursor::default(), 20), done);
        self.publish(&mut state);
    }

    /// Makes requests to the device of as much of the request as there is room for.
    #[inline]
    fn issue(&self, state: &mut State, work: &mut Work, segments: &[Segment]) -> Progress {
        loop {
            if let Some(error) = work.failed() {
                return Progress::Failed(error);
            }
            let Format { shift, most_pieces, discard_sectors, zero_sectors, may_unmap, .. } = state.format;
            let sector = work.block << shift;
            let (kind, blocks, bytes) = match work.operation {
                Operation::Flush => (kind::FLUSH, 0, 0),
                Operation::Read | Operation::Write { .. } => {
                    // As many blocks as a device that counts bytes in 32 bits, or sectors, may take.
                    let limit = work.blocks.min(1 << (20 - shift)) << (shift + 9);
                    let Some((bytes, pieces)) = fit(segments, work.at, limit, most_pieces, 512 << shift)
                    else {
                        return Progress::Failed(BlockError::Malformed);
                    };
                    if pieces + 2 > state.ring.room() {
                        return Progress::Full;
                    }
                    let kind = if work.operation == Operation::Read { kind::IN } else { kind::OUT };
                    (kind, bytes >> (shift + 9), bytes)
                }
                Operation::Discard => {
                    (kind::DISCARD, work.blocks.min(u64::from(discard_sectors >> shift)), 0)
                }
                Operation::WriteZeroes { .. } => {
                    (kind::WRITE_ZEROES, work.blocks.min(u64::from(zero_sectors >> shift)), 0)
                }
            };
            let Some(head) = state.ring.head().filter(|_| state.ring.room() >= 3) else {
                return Progress::Full;
            };
            let last = blocks == work.blocks;
            let Some(done) = work.next(last) else { return Progress::Complete };
            if matches!(kind, kind::DISCARD | kind::WRITE_ZEROES) {
                let own = usize::from(head) * OWN_BYTES + RANGE;
                let unmap = work.operation == Operation::WriteZeroes { deallocate: true } && may_unmap;
                state.own.write(own, sector);
                // At most the limit, of 32 bits.
                state.own.write(own + 8, (blocks << shift) as u32);
                state.own.write(own + 12, u32::from(unmap));
                let range = [Segment { address: state.own.address() + own as u64, bytes: 16 }];
                self.push(state, kind, 0, (&range, Cursor::default(), 16), done);
            } else {
                self.push(state, kind, sector, (segments, work.at, bytes), done);
            }
            if last {
                return Progress::Complete;
            }
            work.block += blocks;
            work.blocks -= blocks;
            work.at = work.at.advance(segments, bytes);
        }
    }

    /// Makes a request available: header, data, status. There is room for it.
    #[inline]
    fn push(&self, state: &mut State, kind: u32, sector: u64, data: (&[Segment], Cursor, u64), done: Done) {
        let Some(head) = state.ring.head() else { return };
        let own = usize::from(head) * OWN_BYTES;
        state.own.write(own, kind);
        state.own.write(own + 4, 0u32);
        state.own.write(own + 8, sector);
        state.own.write(own + STATUS, NO_STATUS);
        let at = state.own.address() + own as u64;
        let (segments, cursor, bytes) = data;
        let written = matches!(kind, kind::IN | kind::GET_ID);
        let header = Piece { address: at, bytes: 16, written: false };
        let status = Piece { address: at + STATUS as u64, bytes: 1, written: true };
        // A piece is at most a segment, of 32 bits.
        let pieces =
            cursor.pieces(segments, bytes).map(|(address, b)| Piece { address, bytes: b as u32, written });
        state.ring.push([header].into_iter().chain(pieces).chain([status]));
        let since = self.kernel.now();
        state.issued[usize::from(head)] = Some(Issued { done, kind, since });
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes completions and tells whoever waits for them. How many there were.
    #[inline]
    pub fn reap(&self) -> usize {
        let mut taken = 0;
        loop {
            let mut finished = Finished::new();
            let mut state = self.state.lock();
            if state.mode != Mode::Open {
                return taken;
            }
            let mut here = 0;
            while here < BATCH
                && let Some(next) = state.ring.next()
            {
                match next {
                    Ok(used) => self.conclude(&mut state, used.head, &mut finished),
                    Err(nonsense) => {
                        state.nonsense += 1;
                        if state.nonsense == 1 {
                            log::warn!(
                                "{}: it returns request {:#x}, which it was not given",
                                self.name,
                                nonsense.0
                            );
                        }
                    }
                }
                here += 1;
            }
            taken += here;
            if state.nonsense >= MOST_NONSENSE {
                state.mode = Mode::Held;
                self.troubled.store(true, Ordering::Relaxed);
            }
            let again = self.drain(&mut state, &mut finished);
            self.publish(&mut state);
            let more = here == BATCH || state.ring.listen(1);
            drop(state);
            finished.tell();
            if !again && !more {
                return taken;
            }
            if taken >= GO {
                // Others want to run, too.
                self.signal.raise();
                return taken;
            }
        }
    }

    /// As [`Self::reap`], for whoever just looks: without completions it costs two loads or so, and no lock that
    /// anybody else holds.
    #[inline]
    pub fn poll(&self) -> bool {
        let there = || self.state.try_lock().is_some_and(|state| state.ring.has_used());
        self.has_requests() && there() && self.reap() != 0
    }

    #[inline]
    fn conclude(&self, state: &mut State, head: u16, finished: &mut Finished) {
        let Some(issued) = state.issued.get_mut(usize::from(head)).and_then(Option::take) else { return };
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        let result = match state.own.read::<u8>(usize::from(head) * OWN_BYTES + STATUS) {
            0 => {
                self.progress.store(true, Ordering::Relaxed);
                Ok(())
            }
            1 if issued.kind == kind::IN => Err(BlockError::UnrecoveredRead),
            1 => Err(BlockError::WriteFault),
            2 => Err(BlockError::Unsupported),
            other => Err(BlockError::Device(other.into())),
        };
        if let Err(error) = result {
            self.tell(state, head, issued.kind, error);
        }
        finished.push(issued.done, result);
    }

    /// Says what has failed, the first times and then ever more seldom.
    #[cold]
    fn tell(&self, state: &mut State, head: u16, kind: u32, error: BlockError) {
        state.errors += 1;
        let errors = state.errors;
        if errors > 8 && !errors.is_power_of_two() {
            return;
        }
        let sector: u64 = state.own.read(usize::from(head) * OWN_BYTES + 8);
        let what = match kind {
            kind::IN => "read",
            kind::OUT => "write",
            kind::FLUSH => return log::warn!("{}: flush failed: {error} (errors: {errors})", self.name),
            kind::DISCARD => "discard",
            kind::WRITE_ZEROES => "write of zeroes",
            _ => "request",
        };
        log::warn!("{}: {what} at sector {sector} failed: {error} (errors: {errors})", self.name);
    }

    /// Goes on with what waits, as far as there is room. Whether it has to be called again.
    fn drain(&self, state: &mut State, finished: &mut Finished) -> bool {
        if state.mode != Mode::Open {
            return false;
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
                    // There is one place for this besides those of a batch.
                    return true;
                }
            }
        }
        false
    }

    /// Lets requests wait from now on.
    pub fn hold(&self) {
        let mut state = self.state.lock();
        if state.mode == Mode::Open {
            state.mode = Mode::Held;
        }
    }

    /// Takes what a device that was reset had returned before, ends all else that it had with `error`, and empties
    /// the ring.
    pub fn empty(&self, error: BlockError) {
        let mut told = Vec::new();
        let mut state = self.state.lock();
        let mut finished = Finished::new();
        for _ in 0..state.ring.size() {
            let Some(next) = state.ring.next() else { break };
            if let Ok(used) = next {
                self.conclude(&mut state, used.head, &mut finished);
                // One after another: this is not where speed matters.
                drop(state);
                finished.tell();
                state = self.state.lock();
            }
        }
        told.extend(state.issued.iter_mut().filter_map(Option::take).map(|issued| issued.done));
        self.in_flight.store(0, Ordering::Relaxed);
        state.ring.restart();
        state.nonsense = 0;
        self.troubled.store(false, Ordering::Relaxed);
        drop(state);
        for done in told {
            done.complete(Err(error));
        }
    }

    /// Goes on, with an empty ring that the device knows.
    pub fn open(&self) {
        self.state.lock().mode = Mode::Open;
        // What waits.
        self.reap();
    }

    /// Ends all that waits with `error`, and all that will come. For a queue that is empty.
    pub fn close(&self, error: BlockError) {
        let mut state = self.state.lock();
        state.mode = Mode::Closed;
        let waiting = core::mem::take(&mut state.waiting);
        drop(state);
        for (mut work, _) in waiting {
            if let Some(done) = work.next(true) {
                done.complete(Err(error));
            }
        }
    }

    /// Whether the device has had a request since before `time`.
    pub fn is_late(&self, time: u64) -> bool {
        let state = self.state.lock();
        state.mode == Mode::Open && state.issued.iter().flatten().any(|issued| issued.since < time)
    }

    /// Whether it has nothing to do.
    pub fn is_idle(&self) -> bool {
        !self.has_requests() && self.state.lock().waiting.is_empty()
    }
}

impl State {
    /// Keeps a request that finds no room.
    #[cold]
    fn keep(&mut self, mut work: Work, segments: &[Segment]) -> Option<(Option<Done>, BlockError)> {
        let mut copy = Vec::new();
        let rest = segments.get(work.at.index..).unwrap_or_default();
        if copy.try_reserve_exact(rest.len()).is_err() || self.waiting.try_reserve(1).is_err() {
            return Some((work.next(true), BlockError::NoMemory));
        }
        copy.extend_from_slice(rest);
        work.at.index = 0;
        self.waiting.push_back((work, copy));
        None
    }
}

/// How much of `limit` bytes from `at` on `most` pieces hold, in whole blocks, and how many pieces that takes. `None`
/// where that is not even a block.
#[inline]
fn fit(segments: &[Segment], at: Cursor, limit: u64, most: usize, block: u64) -> Option<(u64, usize)> {
    let held: u64 = at.pieces(segments, limit).take(most).map(|(_, bytes)| bytes).sum();
    let whole = held - held % block;
    (whole != 0).then(|| (whole, at.pieces(segments, whole).count()))
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
