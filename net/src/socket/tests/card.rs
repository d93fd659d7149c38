//! A card in software.
use crate::frame::Mac;
use crate::nic::{Abilities, Counters, Done, Filter, Frame, Identity, Link, Nic, Receiver, Refused};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::cell::Cell;
use mm::Segment;
use spin::Mutex;
use std::vec::Vec;

pub const OWN: Mac = Mac([0x52, 0x54, 0, 0, 0, 1]);
/// Most pieces of a frame.
pub const PIECES: usize = 17;

std::thread_local! {
    static QUEUE: Cell<usize> = const { Cell::new(0) };
}

/// Lets what follows run on a CPU whose frames go through this queue.
pub fn on_queue<R>(queue: usize, f: impl FnOnce() -> R) -> R {
    let before = QUEUE.replace(queue);
    let result = f();
    QUEUE.set(before);
    result
}

/// A frame that a card has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    pub queue: usize,
    pub beginning: Vec<u8>,
    pub rest: Vec<Segment>,
}

pub type Meanwhile = Box<dyn FnOnce(&Card) + Send>;

pub struct Card {
    identity: Identity,
    abilities: Abilities,
    pub state: Mutex<State>,
    receiver: Mutex<Option<Arc<dyn Receiver>>>,
    /// What happens when it has refused a frame, before whoever sends it knows.
    meanwhile: Mutex<Option<Meanwhile>>,
    /// What happens before it takes the next filter.
    before_filter: Mutex<Option<Meanwhile>>,
    /// As many frames fit into each queue.
    capacity: usize,
}

pub struct State {
    pub up: bool,
    pub present: bool,
    /// It is being reset: full, whatever is in it.
    pub held: bool,
    pub rings: Vec<Ring>,
    /// All that it has taken, in order.
    pub log: Vec<Taken>,
    pub filters: Vec<Filter>,
}

#[derive(Default)]
pub struct Ring {
    frames: VecDeque<Option<Done>>,
    /// How many of them it knows.
    pub started: usize,
    /// How many of those are out, which nobody has looked at.
    out: usize,
    starved: bool,
}

impl Card {
    /// A card with so many queues of so many frames.
    pub fn new(queues: u16, capacity: usize) -> Arc<Self> {
        Self::with_mac(queues, capacity, OWN)
    }

    pub fn with_mac(queues: u16, capacity: usize, mac: Mac) -> Arc<Self> {
        let rings = (0..queues).map(|_| Ring::default()).collect();
        let (log, filters) = (Vec::new(), Vec::new());
        Arc::new(Self {
            identity: Identity { name: "eth0".into(), model: "model".into(), mac },
            abilities: Abilities { mtu: 9000, queues, ..Abilities::default() },
            state: Mutex::new(State { up: true, present: true, held: false, rings, log, filters }),
            receiver: Mutex::default(),
            meanwhile: Mutex::default(),
            before_filter: Mutex::default(),
            capacity,
        })
    }

    /// Lets this happen when it refuses the next frame for which it is full, before whoever sends it knows.
    pub fn when_full(&self, meanwhile: impl FnOnce(&Self) + Send + 'static) {
        *self.meanwhile.lock() = Some(Box::new(meanwhile));
    }

    /// Lets this happen before it takes the next filter.
    pub fn before_filter(&self, before: impl FnOnce(&Self) + Send + 'static) {
        *self.before_filter.lock() = Some(Box::new(before));
    }

    fn receiver(&self) -> Option<Arc<dyn Receiver>> {
        self.receiver.lock().clone()
    }

    /// Takes what is out from a ring, and tells.
    fn reap(&self, queue: usize) {
        let mut state = self.state.lock();
        let ring = &mut state.rings[queue];
        let out = core::mem::take(&mut ring.out);
        ring.started -= out;
        let dones: Vec<_> = ring.frames.drain(..out).flatten().collect();
        drop(state);
        dones.into_iter().for_each(Done::sent);
    }

    /// Sends so many of what it knows.
    pub fn send(&self, queue: usize, frames: usize) -> usize {
        let ring = &mut self.state.lock().rings[queue];
        let frames = frames.min(ring.started - ring.out);
        ring.out += frames;
        frames
    }

    /// The task of a queue looks.
    pub fn poll(&self, queue: usize) {
        on_queue(queue, || {
            self.reap(queue);
            let mut state = self.state.lock();
            let held = state.held;
            let ring = &mut state.rings[queue];
            let room = ring.starved && !held && ring.frames.len() <= self.capacity / 2;
            ring.starved &= !room;
            drop(state);
            if room && let Some(receiver) = self.receiver() {
                receiver.room();
            }
        });
    }

    /// Sends all that it knows, and all that comes after it.
    pub fn drain(&self) {
        while self.state.lock().rings.iter().any(|ring| ring.started != 0) {
            for queue in 0..self.abilities.queues.into() {
                self.send(queue, usize::MAX);
                self.poll(queue);
            }
        }
    }

    pub fn set_link(&self, up: bool) {
        self.state.lock().up = up;
        if let Some(receiver) = self.receiver() {
            receiver.link_changed();
        }
    }

    /// Lets go of all that it has, on the CPU of `watcher`, and is full meanwhile.
    pub fn reset(&self, watcher: usize) {
        on_queue(watcher, || {
            self.state.lock().held = true;
            self.let_go();
            self.state.lock().held = false;
        });
        (0..self.abilities.queues.into()).for_each(|queue| self.poll(queue));
    }

    fn let_go(&self) {
        let mut state = self.state.lock();
        let mut dones = Vec::new();
        for ring in &mut state.rings {
            dones.extend(ring.frames.drain(..).flatten());
            (ring.started, ring.out) = (0, 0);
        }
        drop(state);
        dones.into_iter().for_each(Done::sent);
    }

    /// It is pulled out.
    pub fn remove(&self) {
        self.state.lock().present = false;
        self.let_go();
        let receiver = self.receiver.lock().take();
        if let Some(receiver) = receiver {
            receiver.link_changed();
        }
    }

    pub fn has_receiver(&self) -> bool {
        self.receiver.lock().is_some()
    }

    /// What it has taken, by the number in the first bytes behind Ethernet's header.
    pub fn numbers(&self) -> Vec<u64> {
        self.state.lock().log.iter().map(Taken::number).collect()
    }
}

impl Taken {
    pub fn number(&self) -> u64 {
        u64::from_be_bytes(self.beginning[14..22].try_into().unwrap())
    }
}

impl Nic for Card {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn abilities(&self) -> &Abilities {
        &self.abilities
    }

    fn link(&self) -> Link {
        let state = self.state.lock();
        Link { up: state.up && state.present, megabits: 1000, full_duplex: true }
    }

    fn set_receiver(&self, receiver: Option<Arc<dyn Receiver>>) {
        let before = core::mem::replace(&mut *self.receiver.lock(), receiver);
        drop(before);
    }

    fn set_filter(&self, filter: Filter) {
        let before = self.before_filter.lock().take();
        if let Some(before) = before {
            before(self);
        }
        self.state.lock().filters.push(filter);
    }

    fn transmit(&self, frame: &Frame<'_>, done: Option<Done>) -> Result<(), Refused> {
        assert_eq!(frame.check(), Ok(()));
        assert!(frame.bytes() <= 9018);
        let queue = self.queue();
        if self.state.lock().rings[queue].frames.len() >= self.capacity {
            // As drivers do: what is out is told within.
            self.reap(queue);
        }
        let mut state = self.state.lock();
        if !state.up || !state.present {
            return Err(Refused::Down);
        }
        if frame.rest.len() + 1 > PIECES {
            return Err(Refused::Unable);
        }
        let held = state.held;
        let ring = &mut state.rings[queue];
        if held || ring.frames.len() >= self.capacity {
            ring.starved = true;
            drop(state);
            let meanwhile = self.meanwhile.lock().take();
            if let Some(meanwhile) = meanwhile {
                meanwhile(self);
            }
            return Err(Refused::Full);
        }
        ring.frames.push_back(done);
        state.log.push(Taken { queue, beginning: frame.beginning.to_vec(), rest: frame.rest.to_vec() });
        Ok(())
    }

    fn start(&self) {
        let queue = self.queue();
        let ring = &mut self.state.lock().rings[queue];
        ring.started = ring.frames.len();
    }

    fn queue(&self) -> usize {
        QUEUE.get()
    }

    fn counters(&self) -> Counters {
        Counters::default()
    }

    fn is_present(&self) -> bool {
        self.state.lock().present
    }
}
