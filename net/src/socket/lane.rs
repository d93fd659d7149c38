//! Frames on their way to one of the card's queues, and those for which it has no room.
//!
//! One at a time gives frames to the card: who has set `busy`. He holds no lock meanwhile, since the card tells of others that
//! are out before it returns. Who comes meanwhile leaves his frame here, or what he knows in `again`; who is busy looks at
//! both, under the lock, before he goes. So nothing is forgotten, and no frame overtakes one of its own priority.
//!
//! What waits goes on when the card tells that the queue that refused it has room; bulk that waits for others of its kind,
//! when one of these is out; all of it is dropped when the link goes down.
use super::shared::Shared;
use super::{Priority, SendError};
use crate::nic::{Done, Frame, Nic, Offload, Refused, Sent};
use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use mm::Segment;
use spin::{Mutex, MutexGuard};

/// Most bytes of bulk that lie in one of the card's queues, but for what the last frame has beyond: 4 ms at 1 Gbit/s.
pub const WINDOW: usize = 512 << 10;

/// See the module.
pub(super) struct Lane {
    nic: Arc<dyn Nic>,
    me: Weak<Self>,
    state: Mutex<LaneState>,
    /// The card has refused what is more than bulk, and has not told of room. Written under the lock.
    pressed: AtomicBool,
}

/// Whether there is a way for frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Open,
    Down,
    /// For ever.
    Gone,
}

struct LaneState {
    way: Way,
    /// By priority.
    queues: [VecDeque<Waiting>; Priority::COUNT],
    /// Somebody gives frames to the card.
    busy: bool,
    /// What he knows is out of date.
    again: bool,
    /// The card's queue that has refused what is first.
    refused_by: Option<usize>,
    window: Window,
}

/// A frame that waits.
struct Waiting {
    socket: Arc<Shared>,
    beginning: Vec<u8>,
    rest: Vec<Segment>,
    done: Option<Done>,
}

impl Waiting {
    fn new(socket: &Arc<Shared>, frame: &Frame<'_>, done: Option<Done>) -> Self {
        Self { socket: socket.clone(), beginning: frame.beginning.to_vec(), rest: frame.rest.to_vec(), done }
    }

    fn frame(&self) -> Frame<'_> {
        Frame { beginning: &self.beginning, rest: &self.rest, offload: Offload::default() }
    }

    fn drop(self, priority: Priority) {
        let bytes = self.frame().bytes();
        self.socket.sends(priority).dropped(bytes);
        if let Some(done) = self.done {
            done.sent();
        }
    }
}

impl Lane {
    /// One for a queue of the card, which is down until [`Self::look`].
    pub fn new(nic: &Arc<dyn Nic>) -> Arc<Self> {
        let state = LaneState {
            way: Way::Down,
            queues: Default::default(),
            busy: false,
            again: false,
            refused_by: None,
            window: Window::default(),
        };
        Arc::new_cyclic(|me| Self {
            nic: nic.clone(),
            me: me.clone(),
            state: Mutex::new(state),
            pressed: AtomicBool::new(false),
        })
    }

    /// Gives a frame to the card, or keeps it.
    pub fn send(
        &self,
        socket: &Arc<Shared>,
        priority: Priority,
        frame: &Frame<'_>,
        mut done: Option<Done>,
    ) -> Result<(), SendError> {
        let mut state = self.state.lock();
        state.way.check()?;
        if state.busy || !state.is_next(priority) {
            state.again = true;
            let kept = state.keep(socket, priority, frame, &mut done, VecDeque::push_back);
            drop(state);
            if kept.is_err() {
                // Whoever waits for room now has nothing left to start.
                self.nic.start();
            }
            return kept;
        }
        (state.busy, state.again) = (true, false);
        drop(state);
        // What comes back is dropped when nothing is locked any more, and whatever goes with it.
        let (refused, mut done) = match self.give(priority, frame, done) {
            Ok(()) => {
                socket.sends(priority).sent(frame.bytes());
                (None, None)
            }
            Err((refused, done)) => (Some(refused), done),
        };
        let mut state = self.state.lock();
        let result = match refused {
            None => Ok(()),
            Some(Refused::Full) => {
                // It was here before those that came meanwhile.
                let way = state.way.check();
                let kept =
                    way.and_then(|()| state.keep(socket, priority, frame, &mut done, VecDeque::push_front));
                if !state.again {
                    self.wait_for_room(&mut state);
                    state.busy = false;
                    drop(state);
                    // What is to make room has to go out.
                    self.nic.start();
                    return kept;
                }
                kept
            }
            Some(Refused::Down) => Err(SendError::Down),
            Some(Refused::Unable) => Err(SendError::Pieces),
        };
        self.run(state);
        result
    }

    /// Gives a frame to the card. Back comes `done`, which is not told, if it does not take it.
    fn give(
        &self,
        priority: Priority,
        frame: &Frame<'_>,
        done: Option<Done>,
    ) -> Result<(), (Refused, Option<Done>)> {
        let me = if priority == Priority::Bulk { self.me.upgrade() } else { None };
        let Some(me) = me else {
            let again = done.clone();
            return self.nic.transmit(frame, done).map_err(|refused| (refused, again));
        };
        let tag = self.state.lock().window.enter(frame.bytes(), done);
        let result = self.nic.transmit(frame, Some(Done { to: me, tag }));
        result.map_err(|refused| (refused, self.state.lock().window.leave(tag)))
    }

    /// Gives to the card what may go, until it is full. For who is busy, which ends with this.
    fn run<'a>(&'a self, mut state: MutexGuard<'a, LaneState>) {
        let (mut start, mut full) = (false, false);
        while let Some((priority, mut waiting)) = state.take_first() {
            state.again = false;
            drop(state);
            let done = waiting.done.take();
            let given = self.give(priority, &waiting.frame(), done);
            start = true;
            match given {
                Ok(()) => {
                    let bytes = waiting.frame().bytes();
                    waiting.socket.sends(priority).sent_waiting(bytes);
                    state = self.state.lock();
                }
                Err((Refused::Full, done)) => {
                    waiting.done = done;
                    state = self.state.lock();
                    if state.way != Way::Open || waiting.socket.closed.load(Ordering::SeqCst) {
                        // Who has cleared the queues has not found this one.
                        drop(state);
                        waiting.drop(priority);
                        state = self.state.lock();
                        continue;
                    }
                    state.queues[priority as usize].push_front(waiting);
                    if !state.again {
                        full = true;
                        break;
                    }
                }
                Err((Refused::Down | Refused::Unable, done)) => {
                    waiting.done = done;
                    waiting.drop(priority);
                    state = self.state.lock();
                }
            }
        }
        if full {
            self.wait_for_room(&mut state);
        } else {
            self.wait_no_more(&mut state);
        }
        state.busy = false;
        drop(state);
        if start {
            // For those who have left their frames; and what is to make room has to go out.
            self.nic.start();
        }
    }

    /// What is first goes when the card tells that this CPU's queue has room.
    fn wait_for_room(&self, state: &mut LaneState) {
        state.refused_by = Some(self.nic.queue());
        self.pressed.store(state.is_pressing(), Ordering::Relaxed);
    }

    fn wait_no_more(&self, state: &mut LaneState) {
        state.refused_by = None;
        self.pressed.store(false, Ordering::Relaxed);
    }

    /// Lets what waits for room, and is more than bulk, take what room there is. Whether others may have the rest.
    #[inline]
    pub fn make_way(&self) -> bool {
        if !self.pressed.load(Ordering::Relaxed) {
            return true;
        }
        let state = self.state.lock();
        if state.busy {
            // Who is busy sees to it.
            return true;
        }
        self.go_on(state);
        !self.pressed.load(Ordering::Relaxed)
    }

    /// What waits may find room.
    fn go_on<'a>(&'a self, mut state: MutexGuard<'a, LaneState>) {
        if state.busy {
            state.again = true;
            return;
        }
        if state.queues.iter().any(|queue| !queue.is_empty()) {
            state.busy = true;
            self.run(state);
        }
    }

    /// The card's queue `queue` has room.
    pub fn room(&self, queue: usize) {
        let mut state = self.state.lock();
        if state.busy || state.refused_by == Some(queue) {
            self.wait_no_more(&mut state);
            self.go_on(state);
        }
    }

    /// Looks whether there is a link, and drops what waits if there is none.
    pub fn look(&self) {
        self.set_way(|nic| match (nic.is_present(), nic.link().up) {
            (false, _) => Way::Gone,
            (true, false) => Way::Down,
            (true, true) => Way::Open,
        });
    }

    /// Sends nothing any more.
    pub fn end(&self) {
        self.set_way(|_| Way::Gone);
    }

    fn set_way(&self, way: impl FnOnce(&dyn Nic) -> Way) {
        let mut state = self.state.lock();
        if state.way != Way::Gone {
            // Looked at under the lock: who looks last has seen the latest.
            state.way = way(&*self.nic);
        }
        if state.way == Way::Open {
            return;
        }
        let dropped = core::mem::take(&mut state.queues);
        self.wait_no_more(&mut state);
        drop(state);
        drop_all(dropped);
    }

    /// Drops what a socket, which is closed, has waiting.
    pub fn forget(&self, socket: &Arc<Shared>) {
        let mut dropped: [VecDeque<Waiting>; Priority::COUNT] = Default::default();
        let mut state = self.state.lock();
        for (queue, dropped) in state.queues.iter_mut().zip(&mut dropped) {
            (*dropped, *queue) =
                core::mem::take(queue).into_iter().partition(|waiting| Arc::ptr_eq(&waiting.socket, socket));
        }
        let pressed = state.refused_by.is_some() && state.is_pressing();
        self.pressed.store(pressed, Ordering::Relaxed);
        drop(state);
        drop_all(dropped);
    }
}

fn drop_all(queues: [VecDeque<Waiting>; Priority::COUNT]) {
    for (priority, queue) in Priority::ALL.into_iter().zip(queues) {
        queue.into_iter().for_each(|waiting| waiting.drop(priority));
    }
}

/// Told of bulk that is out.
impl Sent for Lane {
    fn sent(&self, tag: u64) {
        let mut state = self.state.lock();
        let done = state.window.leave(tag);
        self.go_on(state);
        if let Some(done) = done {
            done.sent();
        }
    }
}

impl Way {
    fn check(self) -> Result<(), SendError> {
        match self {
            Self::Open => Ok(()),
            Self::Down => Err(SendError::Down),
            Self::Gone => Err(SendError::Gone),
        }
    }
}

impl LaneState {
    /// Whether a new frame of this priority need not wait for others.
    fn is_next(&self, priority: Priority) -> bool {
        let before = &self.queues[..=priority as usize];
        before.iter().all(VecDeque::is_empty) && self.may_go(priority)
    }

    /// Whether more than bulk waits.
    fn is_pressing(&self) -> bool {
        self.queues[..Priority::Bulk as usize].iter().any(|queue| !queue.is_empty())
    }

    fn may_go(&self, priority: Priority) -> bool {
        priority != Priority::Bulk || self.window.bytes < WINDOW
    }

    /// Takes out the frame that goes next.
    fn take_first(&mut self) -> Option<(Priority, Waiting)> {
        let mut which = Priority::ALL.into_iter();
        let next = which.find(|&which| !self.queues[which as usize].is_empty() && self.may_go(which))?;
        Some((next, self.queues[next as usize].pop_front()?))
    }

    /// Keeps a frame, if its socket may have one more waiting.
    fn keep(
        &mut self,
        socket: &Arc<Shared>,
        priority: Priority,
        frame: &Frame<'_>,
        done: &mut Option<Done>,
        put: impl FnOnce(&mut VecDeque<Waiting>, Waiting),
    ) -> Result<(), SendError> {
        socket.sends(priority).enter(frame.bytes())?;
        put(&mut self.queues[priority as usize], Waiting::new(socket, frame, done.take()));
        Ok(())
    }
}

/// Bulk that the card has.
#[derive(Default)]
struct Window {
    bytes: usize,
    /// By tag.
    frames: Vec<Option<(usize, Option<Done>)>>,
    free: Vec<usize>,
}

impl Window {
    /// A frame is in the card from now on: the tag by which it leaves.
    fn enter(&mut self, bytes: usize, done: Option<Done>) -> u64 {
        let tag = self.free.pop().unwrap_or_else(|| {
            self.frames.push(None);
            self.frames.len() - 1
        });
        self.frames[tag] = Some((bytes, done));
        self.bytes += bytes;
        tag as u64
    }

    /// It is no longer: who is to be told.
    fn leave(&mut self, tag: u64) -> Option<Done> {
        let (bytes, done) = self.frames.get_mut(tag as usize)?.take()?;
        self.free.push(tag as usize);
        self.bytes -= bytes;
        done
    }
}
