//! Sockets against a card in software, which is full, without a link or gone whenever a test wants it.
mod card;
mod hostile;
mod meanwhile;
mod opening;
mod random;
mod receiving;
mod sending;
mod threads;
mod trouble;

use super::*;
use crate::frame::{EtherType, Ethernet, Mac, Tag, VlanId};
use crate::nic::{Done, Filter, Frame, Nic, Offload, Receiver, Sent};
use crate::offload::Memory;
use alloc::sync::{Arc, Weak};
use card::{Card, OWN, on_queue};
use mm::{Hpa, Segment};
use spin::Mutex;
use std::task::{Context, Poll, Waker};
use std::vec::Vec;

const CLUSTER: EtherType = EtherType::EXPERIMENT;
const PEER: Mac = Mac([0x52, 0x54, 0, 0, 1, 2]);
const GROUP: Mac = Mac([0x33, 0x33, 0, 0, 0x88, 0xb5]);

fn vlan(number: u16) -> Option<VlanId> {
    Some(VlanId::new(number).unwrap())
}

/// A card with one queue, its interface, and a socket of the cluster's.
struct Rig {
    card: Arc<Card>,
    others: Arc<Others>,
    interface: Arc<Interface>,
    socket: Socket,
    heard: Arc<Heard>,
}

impl Rig {
    fn new() -> Self {
        Self::with(Card::new(1, 16), SocketConfig::new("cluster", CLUSTER))
    }

    fn with(card: Arc<Card>, config: SocketConfig) -> Self {
        let others = Arc::new(Others::default());
        let interface = Interface::new(card.clone(), Some(others.clone()), Filter::default());
        interface.start();
        let socket = interface.open(config).unwrap();
        let heard = Arc::new(Heard::default());
        set_handler(&socket, &heard);
        Self { card, others, interface, socket, heard }
    }

    /// A frame comes by the wire.
    fn come(&self, bytes: &[u8]) {
        self.come_with(bytes, &[]);
    }

    fn come_with(&self, beginning: &[u8], rest: &[Segment]) {
        self.interface.receive(&Frame { beginning, rest, offload: Offload::default() });
    }

    fn send(&self, priority: Priority, number: u64, told: &Arc<Told>) -> Result<(), SendError> {
        let header = number.to_be_bytes();
        let message = Message { to: PEER, priority, header: &header, payload: &[] };
        self.socket.send(&message, Some(told.done(number)))
    }

    fn outgoing(&self, priority: Priority) -> Outgoing {
        *self.socket.counters().outgoing(priority)
    }
}

fn set_handler<H: Handler + 'static>(socket: &Socket, handler: &Arc<H>) {
    let weak: Weak<H> = Arc::downgrade(handler);
    socket.set_handler(Some(weak));
}

/// A frame as it comes.
fn frame(destination: Mac, source: Mac, tag: Option<Tag>, ether_type: EtherType, body: &[u8]) -> Vec<u8> {
    let ethernet = Ethernet { destination, source, tag, ether_type };
    [&ethernet.emit()[..ethernet.size()], body].concat()
}

/// One of the cluster's for this card.
fn cluster(body: &[u8]) -> Vec<u8> {
    frame(OWN, PEER, None, CLUSTER, body)
}

/// Source, destination, beginning and rest of a frame that was handed over.
type Frames = Vec<(Mac, Mac, Vec<u8>, Vec<Segment>)>;

/// Hears what comes by a socket.
#[derive(Default)]
struct Heard {
    frames: Mutex<Frames>,
    batches: Mutex<usize>,
    changes: Mutex<usize>,
}

impl Handler for Heard {
    fn receive(&self, received: &Received<'_>) {
        let Received { source, destination, beginning, rest, .. } = *received;
        self.frames.lock().push((source, destination, beginning.to_vec(), rest.to_vec()));
    }

    fn received(&self) {
        *self.batches.lock() += 1;
    }

    fn changed(&self) {
        *self.changes.lock() += 1;
    }
}

impl Heard {
    fn count(&self) -> usize {
        self.frames.lock().len()
    }
}

/// Who gets what is no socket's.
#[derive(Default)]
struct Others {
    frames: Mutex<Vec<Vec<u8>>>,
    batches: Mutex<usize>,
    changes: Mutex<usize>,
    rooms: Mutex<usize>,
}

impl Receiver for Others {
    fn receive(&self, frame: &Frame<'_>) {
        self.frames.lock().push(frame.beginning.to_vec());
    }

    fn received(&self) {
        *self.batches.lock() += 1;
    }

    fn link_changed(&self) {
        *self.changes.lock() += 1;
    }

    fn room(&self) {
        *self.rooms.lock() += 1;
    }
}

/// Who was told, and that nobody was told twice.
#[derive(Default)]
struct Told(Mutex<Vec<u64>>);

impl Sent for Told {
    fn sent(&self, tag: u64) {
        let mut told = self.0.lock();
        assert!(!told.contains(&tag), "{tag} is told twice");
        told.push(tag);
    }
}

impl Told {
    fn new() -> Arc<Self> {
        Arc::default()
    }

    fn done(self: &Arc<Self>, tag: u64) -> Done {
        Done { to: self.clone(), tag }
    }

    fn all(&self) -> Vec<u64> {
        self.0.lock().clone()
    }
}

/// Polls once.
fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    core::pin::Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}
