//! A queue of frames to be sent, for one CPU or the few that share it.
//!
//! One lock guards it. Nobody is told that a frame is out while it is held.
//!
//! What the device has sent is noticed when more is to be sent, and by the queue's task. The device interrupts only for
//! those who wait: once three quarters are out of what it had when it was last told, as long as somebody has to be told
//! or has found no room. So each of them waits no longer than the device takes, and of a full ring come few interrupts.
use super::header::Header;
use crate::virtio::VirtioError;
use crate::virtio::ring::{Piece, Ring};
use crate::virtio::transport::Transport;
use crate::{DmaMemory, Kernel};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::array;
use core::sync::atomic::{AtomicBool, Ordering};
use executor::Signal;
use mm::addr::PAGE;
use net::nic::{Done, Frame, Refused};
use spin::Mutex;

/// Bytes of memory that each descriptor has, for what is copied.
const SLOT: usize = 2048;
const SLOTS_OF_PAGE: usize = PAGE as usize / SLOT;
/// Most of them that a frame needs.
const MOST_SLOTS: usize = slots(Frame::MOST);

/// How many slots hold the header and a frame's beginning.
const fn slots(beginning: usize) -> usize {
    (Header::BYTES + beginning).div_ceil(SLOT)
}

/// Most frames that are let go of under one lock.
const BATCH: usize = 32;

/// A queue.
pub(super) struct Sending {
    number: u16,
    transport: Arc<Transport>,
    kernel: Arc<dyn Kernel>,
    /// Raised where its task has to look.
    signal: Arc<Signal>,
    /// It is looked at by itself, and asks for no interrupts.
    polled: bool,
    ecn: bool,
    state: Mutex<State>,
    /// The device does not behave.
    pub troubled: AtomicBool,
    /// Something was sent since the last reset.
    pub progress: AtomicBool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Open,
    /// The device is being reset.
    Held,
    Closed,
}

struct State {
    mode: Mode,
    ring: Ring,
    /// The slots of all descriptors.
    memory: Vec<DmaMemory>,
    /// What is under way, by its first descriptor.
    issued: Vec<Option<Issued>>,
    under_way: u16,
    /// How many of those somebody has to be told of.
    awaited: u16,
    /// For how many descriptors somebody found no room.
    wanted: usize,
    /// When the device has last done something, or got something after it had nothing.
    since: u64,
    notify: u64,
    counters: Sent,
}

struct Issued {
    done: Option<Done>,
    bytes: u32,
}

/// What was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    pub frames: u64,
    pub bytes: u64,
    pub errors: u64,
}

/// Who is to be told.
struct Finished {
    dones: [Option<Done>; BATCH],
    count: usize,
}

impl Finished {
    const fn new() -> Self {
        Self { dones: [const { None }; BATCH], count: 0 }
    }

    fn tell(self) {
        self.dones.into_iter().take(self.count).flatten().for_each(Done::sent);
    }
}

impl Sending {
    /// `None` where there is no memory. `ecn`: the device knows of explicit congestion notification.
    pub fn new(
        number: u16,
        kernel: &Arc<dyn Kernel>,
        transport: &Arc<Transport>,
        ring: Ring,
        (signal, polled): (Arc<Signal>, bool),
        ecn: bool,
    ) -> Option<Self> {
        let size = usize::from(ring.size());
        let page = |_| kernel.allocate_dma(PAGE as usize, false);
        let state = State {
            mode: Mode::Held,
            ring,
            memory: (0..size.div_ceil(SLOTS_OF_PAGE)).map(page).collect::<Option<_>>()?,
            issued: (0..size).map(|_| None).collect(),
            under_way: 0,
            awaited: 0,
            wanted: 0,
            since: 0,
            notify: 0,
            counters: Sent::default(),
        };
        Some(Self {
            number,
            transport: transport.clone(),
            kernel: kernel.clone(),
            signal,
            polled,
            ecn,
            state: Mutex::new(state),
            troubled: AtomicBool::new(false),
            progress: AtomicBool::new(false),
        })
    }

    /// Names the queue to the device, with message `vector`.
    pub fn enable(&self, vector: u16) -> Result<(), VirtioError> {
        let mut state = self.state.lock();
        state.notify = enable(&self.transport, self.number, &state.ring, vector)?;
        Ok(())
    }

    /// Queues a frame that is as it says, and that the device can send.
    pub fn transmit(&self, frame: &Frame<'_>, done: Option<Done>) -> Result<(), Refused> {
        let mut finished = Finished::new();
        let mut state = self.state.lock();
        let pieces = slots(frame.beginning.len()) + frame.rest.len();
        let result = match state.mode {
            Mode::Closed => Err(Refused::Down),
            _ if pieces > usize::from(state.ring.size()) => Err(Refused::Unable),
            Mode::Held => Err(Refused::Full),
            Mode::Open => {
                if pieces > state.ring.room() {
                    self.reap(&mut state, &mut finished);
                }
                if pieces <= state.ring.room() { Ok(()) } else { Err(Refused::Full) }
            }
        };
        match result {
            Ok(()) => state.push(frame, done, Header::of(frame, self.ecn)),
            Err(Refused::Full) => {
                state.wanted = state.wanted.max(pieces);
                self.await_returns(&mut state);
            }
            Err(Refused::Down | Refused::Unable) => {}
        }
        drop(state);
        finished.tell();
        result
    }

    /// Tells the device of what was queued.
    pub fn start(&self) {
        let mut finished = Finished::new();
        let mut state = self.state.lock();
        if state.mode != Mode::Open || !state.ring.has_new() {
            return;
        }
        if state.under_way == state.ring.unpublished() {
            // It had nothing.
            state.since = self.kernel.now();
        }
        if state.ring.publish() {
            self.transport.notify(state.notify, self.number);
        }
        self.reap(&mut state, &mut finished);
        self.await_returns(&mut state);
        drop(state);
        finished.tell();
    }

    /// Lets go of what was sent, as the queue's task does. Whether somebody who found no room has some now.
    pub fn poll(&self) -> bool {
        loop {
            let mut finished = Finished::new();
            let mut state = self.state.lock();
            if state.mode != Mode::Open {
                return false;
            }
            self.reap(&mut state, &mut finished);
            let more = finished.count == BATCH;
            if !more {
                self.await_returns(&mut state);
            }
            let room = !more && state.has_room();
            if room {
                state.wanted = 0;
            }
            drop(state);
            finished.tell();
            if !more {
                return room;
            }
        }
    }

    /// Takes what the device returns, up to a batch.
    fn reap(&self, state: &mut State, finished: &mut Finished) {
        let before = finished.count;
        while finished.count < BATCH
            && let Some(next) = state.ring.next()
        {
            let Some(issued) = next.ok().and_then(|used| state.conclude(used.head)) else {
                log::warn!("virtio-net: queue {} returns a frame that it was not given", self.number);
                self.give_up(state);
                break;
            };
            finished.dones[finished.count] = issued.done;
            finished.count += 1;
            state.counters.frames += 1;
            state.counters.bytes += u64::from(issued.bytes);
        }
        if finished.count != before {
            state.since = self.kernel.now();
            self.progress.store(true, Ordering::Relaxed);
        }
    }

    /// Leaves the rest to who resets the device.
    fn give_up(&self, state: &mut State) {
        state.mode = Mode::Held;
        self.troubled.store(true, Ordering::Relaxed);
        self.signal.raise();
    }

    /// Asks for an interrupt if anybody waits for what the device has. If it has returned that already, or the room is
    /// there, the task is to look.
    fn await_returns(&self, state: &mut State) {
        let has = state.under_way - state.ring.unpublished();
        let wait = state.awaited != 0 || state.wanted != 0;
        if state.mode != Mode::Open || self.polled {
            return;
        }
        if has == 0 || !wait {
            state.ring.mute();
        } else if state.ring.listen((has * 3 / 4).max(1)) {
            self.signal.raise();
        }
        if state.has_room() {
            self.signal.raise();
        }
    }

    /// Takes no more frames, until [`Self::open`].
    pub fn hold(&self) {
        let mut state = self.state.lock();
        if state.mode == Mode::Open {
            state.mode = Mode::Held;
        }
    }

    /// Lets go of all that a device had which was reset, and empties the ring.
    pub fn empty(&self) {
        let mut state = self.state.lock();
        let mut told = Vec::new();
        while let Some(Ok(used)) = state.ring.next() {
            if let Some(issued) = state.conclude(used.head) {
                state.counters.frames += 1;
                state.counters.bytes += u64::from(issued.bytes);
                told.push(issued.done);
            }
        }
        let lost: Vec<_> = state.issued.iter_mut().filter_map(Option::take).collect();
        state.counters.errors += lost.len() as u64;
        (state.under_way, state.awaited) = (0, 0);
        state.ring.restart();
        self.troubled.store(false, Ordering::Relaxed);
        drop(state);
        told.into_iter().chain(lost.into_iter().map(|issued| issued.done)).flatten().for_each(Done::sent);
    }

    /// Takes frames, with an empty ring that the device knows.
    pub fn open(&self) {
        let mut state = self.state.lock();
        state.mode = Mode::Open;
        self.await_returns(&mut state);
        drop(state);
        // Who found no room has it now.
        self.signal.raise();
    }

    /// Takes no frame ever again. For a queue that is empty.
    pub fn close(&self) {
        self.state.lock().mode = Mode::Closed;
    }

    /// The link is up again: what the device has goes out from now on.
    pub fn link_up(&self) {
        self.state.lock().since = self.kernel.now();
    }

    /// Whether the device has frames and has sent none since `time`.
    pub fn is_late(&self, time: u64) -> bool {
        let state = self.state.lock();
        state.mode == Mode::Open && state.under_way != state.ring.unpublished() && state.since < time
    }

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.state.lock().under_way == 0
    }

    /// What was sent.
    pub fn counters(&self) -> Sent {
        self.state.lock().counters
    }
}

impl State {
    /// Whether somebody who found no room has some now: for what he wanted, and not just for that.
    fn has_room(&self) -> bool {
        let (room, size) = (self.ring.room(), usize::from(self.ring.size()));
        self.wanted != 0 && room >= self.wanted.max(size / 4)
    }

    /// Makes a frame available, for which there is room.
    fn push(&mut self, frame: &Frame<'_>, done: Option<Done>, header: Header) {
        let Self { ring, memory, .. } = self;
        let Some(head) = ring.head() else { return };
        // Each descriptor has a slot, and the ring room for all pieces.
        let descriptors: [u16; MOST_SLOTS] = array::from_fn(|piece| ring.upcoming(piece).unwrap_or(head));
        let (mut before, mut left) = (&header.bytes()[..], frame.beginning);
        let copied = slots(frame.beginning.len());
        let beginning = descriptors.iter().take(copied).map(|descriptor| {
            let descriptor = usize::from(*descriptor);
            let (memory, at) = (&memory[descriptor / SLOTS_OF_PAGE], descriptor % SLOTS_OF_PAGE * SLOT);
            let first = core::mem::take(&mut before);
            let (part, rest) = left.split_at(left.len().min(SLOT - first.len()));
            left = rest;
            memory.copy_in(at, first);
            memory.copy_in(at + first.len(), part);
            let address = memory.address() + at as u64;
            // At most a slot.
            Piece { address, bytes: (first.len() + part.len()) as u32, written: false }
        });
        let rest = frame.rest.iter().map(|s| Piece { address: s.address, bytes: s.bytes, written: false });
        ring.push(beginning.chain(rest));
        self.under_way += 1;
        self.awaited += u16::from(done.is_some());
        // A frame is shorter than 4 GiB.
        let bytes = frame.bytes() as u32;
        self.issued[usize::from(head)] = Some(Issued { done, bytes });
    }

    /// What the device has returned, if it had that.
    fn conclude(&mut self, head: u16) -> Option<Issued> {
        let issued = self.issued.get_mut(usize::from(head))?.take()?;
        self.under_way -= 1;
        self.awaited -= u16::from(issued.done.is_some());
        Some(issued)
    }
}

/// Names a queue to the device, which then uses the ring. Its notification register.
pub(super) fn enable(
    transport: &Transport,
    queue: u16,
    ring: &Ring,
    vector: u16,
) -> Result<u64, VirtioError> {
    let fits = transport.queue_size(queue) >= ring.size();
    let register =
        fits.then(|| transport.enable_queue(queue, ring.size(), vector, ring.addresses())).flatten();
    register.ok_or(VirtioError::Unfit("it does not take a queue"))
}
