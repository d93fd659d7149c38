//! A card of the machine as the uplink of networks: one without a tag, and any number with one each.
use super::memory::DirectMemory;
use super::moving::retagged;
use super::network::{Network, Taken};
use super::waiting::{Passage, Source, Waiting};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};
use net::frame::{Headers, Tag, VlanId};
use net::nic::{Done, Filter, Frame, Nic, Receiver, Refused, Sent};
use net::offload;
use net::socket::Interface;
use net::switch::{PortId, Reason};
use spin::{Mutex, Once};

/// Frames that may wait for a card, of each who has sent some: all that a guest's queues have, so that none is lost.
const MOST_WAITING: usize = 1024;

/// A card, and the networks that it leads out of. It gets what is no socket's of the node, and sends nothing that would be.
pub struct Uplink {
    nic: Arc<dyn Nic>,
    /// Knows which frames are sockets'.
    interface: Once<Weak<Interface>>,
    /// By the tag that their frames have.
    networks: Mutex<Vec<Attached>>,
    waiting: Waiting,
}

#[derive(Clone)]
struct Attached {
    vlan: Option<VlanId>,
    network: Weak<Network>,
    port: PortId,
}

impl Uplink {
    /// One that no network uses yet.
    pub fn new(nic: Arc<dyn Nic>) -> Arc<Self> {
        Arc::new(Self {
            nic,
            interface: Once::new(),
            networks: Mutex::default(),
            waiting: Waiting::default(),
        })
    }

    /// The card.
    pub fn nic(&self) -> &Arc<dyn Nic> {
        &self.nic
    }

    /// Frames with this tag go to a port of `network`, from now on.
    pub fn attach(&self, vlan: Option<VlanId>, network: &Arc<Network>, port: PortId) {
        self.networks.lock().push(Attached { vlan, network: Arc::downgrade(network), port });
    }

    /// The network whose frames have this tag. Of a tag that is none's it is the first: its switch drops and counts them.
    fn of(&self, vlan: Option<VlanId>) -> Option<(Arc<Network>, PortId)> {
        let networks = self.networks.lock();
        let attached = networks.iter().find(|attached| attached.vlan == vlan).or(networks.first())?;
        Some((attached.network.upgrade()?, attached.port))
    }

    /// The card's interface, which hands over what comes. Frames are wanted whatever address they are for: the guests' are
    /// not the card's.
    pub fn interface(self: &Arc<Self>) -> Arc<Interface> {
        let filter = Filter { promiscuous: true, all_groups: true, groups: Vec::new() };
        let interface = Interface::new(self.nic.clone(), Some(self.clone()), filter);
        self.interface.call_once(|| Arc::downgrade(&interface));
        interface
    }

    /// Is no uplink any more.
    pub fn leave(&self) {
        self.waiting.flush();
        let all = core::mem::take(&mut *self.networks.lock());
        for attached in all {
            if let Some(network) = attached.network.upgrade() {
                network.detach(attached.port);
            }
        }
    }

    /// Sends a frame, or lets it wait until the card has room. Its `done` is taken if it is to be told later.
    pub(super) fn take(&self, passage: &Passage<'_>, done: &mut Option<Done>) -> Result<Taken, Reason> {
        if !self.waiting.is_some() {
            match self.transmit(passage.frame, passage.headers, passage.tag, done) {
                Err(Reason::NoRoom) => {}
                result => return result.map(|()| Taken::Done),
            }
        }
        if done.is_none() && !passage.frame.rest.is_empty() {
            // Nobody would keep it while the card reads it.
            return Err(Reason::NoRoom);
        }
        match self.waiting.hold(passage, done, MOST_WAITING) {
            Some(true) => self.drain(),
            Some(false) => {}
            None => return Err(Reason::NoRoom),
        }
        Ok(Taken::Waits)
    }

    /// There may be room for what waits.
    fn drain(&self) {
        self.waiting.drain(|held| {
            let mut done = held.done.take();
            let result = self.transmit(&held.frame(), &held.headers, held.tag, &mut done);
            held.done = done;
            result
        });
        self.start();
    }

    /// Drops what waits from a source.
    pub(super) fn forget(&self, source: Source) {
        self.waiting.forget(source);
    }

    /// Sends a frame, with this tag, after doing what the card can't. Where the card has taken it, `done` is too.
    fn transmit(
        &self,
        frame: &Frame<'_>,
        headers: &Headers,
        tag: Option<Tag>,
        done: &mut Option<Done>,
    ) -> Result<(), Reason> {
        if self.is_nodes_own(headers, tag) {
            return Err(Reason::NodesOwn);
        }
        if self.nic.abilities().suffice(frame) {
            return retagged(frame, tag, |frame| self.send(frame, done));
        }
        // All that comes of it lies in the same memory.
        let whole = done.take();
        let several =
            whole.map(|done| Arc::new(Several { left: AtomicU32::new(1), done: Mutex::new(Some(done)) }));
        let (mut sent, mut result) = (0, Ok(()));
        let finished = offload::finish(frame, headers, &DirectMemory, |piece| {
            if result == Err(Reason::NoRoom) {
                return;
            }
            let mut part = several.as_ref().map(Several::another);
            match retagged(piece, tag, |piece| self.send(piece, &mut part)) {
                Ok(()) => sent += 1,
                Err(why) => result = Err(why),
            }
            if let Some(part) = part {
                part.sent();
            }
        });
        if let Some(several) = several {
            if sent == 0 {
                *done = several.done.lock().take();
            } else {
                several.sent(0);
            }
        }
        match (finished, sent, result) {
            (true, 0, result) => result,
            // The rest is lost, as it may be on any wire.
            (true, ..) => Ok(()),
            (false, ..) => Err(Reason::Malformed),
        }
    }

    /// Whether a frame would be taken for one of the node's sockets outside. Guests don't speak for the node.
    #[inline]
    fn is_nodes_own(&self, headers: &Headers, tag: Option<Tag>) -> bool {
        if !matches!(headers.network, net::frame::Network::Other) {
            return false;
        }
        let interface = self.interface.get().and_then(Weak::upgrade);
        let vlan = tag.and_then(|tag| tag.vlan());
        interface.is_some_and(|interface| interface.is_open(headers.ethernet.ether_type, vlan))
    }

    /// Sends a frame as it is, if the node's own that wait for the card leave room for it. Where the card has taken it, it
    /// tells `done`.
    pub fn send(&self, frame: &Frame<'_>, done: &mut Option<Done>) -> Result<(), Reason> {
        let interface = self.interface.get().and_then(Weak::upgrade);
        if interface.is_some_and(|interface| !interface.make_way()) {
            return Err(Reason::NoRoom);
        }
        self.nic.transmit(frame, done.clone()).map_err(|refused| match refused {
            Refused::Full => Reason::NoRoom,
            Refused::Down => Reason::Gone,
            Refused::Unable => Reason::TooLong,
        })?;
        *done = None;
        Ok(())
    }

    /// What was sent goes out.
    pub fn start(&self) {
        self.nic.start();
    }
}

impl Receiver for Uplink {
    fn receive(&self, frame: &Frame<'_>) {
        let headers = Headers::parse(frame.beginning, frame.bytes());
        let vlan = headers.as_ref().ok().and_then(|headers| headers.ethernet.tag).and_then(|tag| tag.vlan());
        let Some((network, port)) = self.of(vlan) else { return };
        match headers {
            Ok(headers) => network.carry(port, frame, &headers, None),
            Err(_) => network.malformed(port, frame.bytes()),
        }
    }

    fn room(&self) {
        self.drain();
    }

    fn link_changed(&self) {
        let up = self.nic.is_present() && self.nic.link().up;
        if !up {
            self.waiting.flush();
        }
        let all = self.networks.lock().clone();
        for attached in all {
            if let Some(network) = attached.network.upgrade() {
                network.set_up(attached.port, up);
            }
        }
    }
}

/// Frames that lie in the memory of one.
struct Several {
    left: AtomicU32,
    done: Mutex<Option<Done>>,
}

impl Several {
    /// For one more of them.
    fn another(self: &Arc<Self>) -> Done {
        self.left.fetch_add(1, Ordering::SeqCst);
        Done { to: self.clone(), tag: 0 }
    }
}

impl Sent for Several {
    fn sent(&self, _tag: u64) {
        if self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            let done = self.done.lock().take();
            if let Some(done) = done {
                done.sent();
            }
        }
    }
}
