//! A card, shared by sockets and another receiver.
use super::counters::SocketInfo;
use super::lane::Lane;
use super::shared::Shared;
use super::{OpenError, Socket, SocketConfig};
use crate::frame::{EtherType, Ethernet, Tag, VlanId};
use crate::nic::{Filter, Frame, Link, Nic, Receiver};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use spin::Mutex;

/// EtherTypes that are others': IP with ARP and its reverse, by which the switch announces, tags in three forms, what
/// the two ends of a cable tell each other (IEEE 802.3, 31 and 57), and the one that nobody may have (RFC 1701).
const RESERVED: [u16; 10] = [0x0800, 0x0806, 0x8035, 0x86dd, 0x8100, 0x88a8, 0x9100, 0x8808, 0x8809, 0xffff];

/// A card. It is the card's receiver, from [`Self::start`] to [`Self::close`] or to the card's own end.
pub struct Interface {
    nic: Arc<dyn Nic>,
    /// Gets what is no socket's.
    others: Option<Arc<dyn Receiver>>,
    /// By the card's queue.
    lanes: Vec<Arc<Lane>>,
    sockets: Mutex<Vec<Arc<Shared>>>,
    /// A socket has got something since handlers were last told that it were all.
    fresh: AtomicBool,
    /// What others want.
    filter: Mutex<Filter>,
    /// Raised where what is wanted of the card changes.
    wishes: Mutex<u64>,
    closed: AtomicBool,
}

/// What a card is like at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Its link. Not up where it is gone.
    pub link: Link,
    /// It is there. If not, it does not come back.
    pub present: bool,
    /// Most bytes of a message, header and payload. Does not change.
    pub mtu: usize,
}

impl Interface {
    /// One of this card. `others`, who want `filter`, get all that is no socket's.
    pub fn new(nic: Arc<dyn Nic>, others: Option<Arc<dyn Receiver>>, filter: Filter) -> Arc<Self> {
        let lanes = (0..nic.abilities().queues.max(1)).map(|_| Lane::new(&nic)).collect();
        Arc::new(Self {
            nic,
            others,
            lanes,
            sockets: Mutex::default(),
            fresh: AtomicBool::new(false),
            filter: Mutex::new(filter),
            wishes: Mutex::new(0),
            closed: AtomicBool::new(false),
        })
    }

    /// Starts to receive, and tells all of the link.
    pub fn start(self: &Arc<Self>) {
        self.apply_filter();
        self.nic.set_receiver(Some(self.clone()));
        self.link_changed();
    }

    /// Ends it: the card is given up by who had it. Sockets that are open learn that it is gone.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.nic.set_receiver(None);
        self.lanes.iter().for_each(|lane| lane.end());
        self.tell_of_change();
    }

    /// The card.
    pub fn nic(&self) -> &Arc<dyn Nic> {
        &self.nic
    }

    /// What it is like now.
    pub fn state(&self) -> State {
        let present = !self.closed.load(Ordering::SeqCst) && self.nic.is_present();
        let link = self.nic.link();
        State { link: Link { up: link.up && present, ..link }, present, mtu: self.nic.abilities().mtu.into() }
    }

    /// Opens a socket. It has joined no groups, and drops what comes until it has a handler.
    ///
    /// # Errors
    /// Why there can be none.
    pub fn open(self: &Arc<Self>, config: SocketConfig) -> Result<Socket, OpenError> {
        let (ether_type, vlan) = (config.ether_type, config.vlan);
        if !ether_type.is_type() {
            return Err(OpenError::Length(ether_type));
        }
        if RESERVED.contains(&ether_type.0) {
            return Err(OpenError::Reserved(ether_type));
        }
        if !self.nic.identity().mac.is_station() {
            return Err(OpenError::NoAddress);
        }
        if !self.state().present {
            return Err(OpenError::Gone);
        }
        let shared = Arc::new(Shared::new(config));
        let mut sockets = self.sockets.lock();
        if sockets.iter().any(|open| (open.ether_type, open.vlan) == (ether_type, vlan)) {
            return Err(OpenError::Taken(ether_type, vlan));
        }
        sockets.push(shared.clone());
        drop(sockets);
        Ok(Socket::new(self.clone(), shared))
    }

    /// Takes out what was opened.
    pub(super) fn shut(&self, socket: &Arc<Shared>) {
        self.sockets.lock().retain(|open| !Arc::ptr_eq(open, socket));
        socket.set_handler(None);
        socket.closed.store(true, Ordering::SeqCst);
        self.lanes.iter().for_each(|lane| lane.forget(socket));
        let groups = core::mem::take(&mut *socket.groups.lock());
        if !groups.is_empty() {
            self.apply_filter();
        }
    }

    /// Whether frames with this EtherType, of this VLAN or without a tag, are a socket's. Nobody else may send such.
    #[inline]
    pub fn is_open(&self, ether_type: EtherType, vlan: Option<VlanId>) -> bool {
        let is = |open: &Arc<Shared>| open.ether_type == ether_type && open.vlan == vlan;
        !is_ip(ether_type) && self.sockets.lock().iter().any(is)
    }

    /// Before a frame of others is transmitted, on this CPU: what sockets have waiting for the card, but bulk, goes first. `false`
    /// where the card has no room for all of that: then there is none for others. It costs an atomic load if nothing waits.
    #[inline]
    pub fn make_way(&self) -> bool {
        self.lane().make_way()
    }

    /// That of the queue through which this CPU's frames go.
    #[inline]
    pub(super) fn lane(&self) -> &Lane {
        // There is at least one.
        &self.lanes[self.nic.queue().min(self.lanes.len() - 1)]
    }

    fn find(&self, ether_type: EtherType, vlan: Option<VlanId>) -> Option<Arc<Shared>> {
        let sockets = self.sockets.lock();
        sockets.iter().find(|open| open.ether_type == ether_type && open.vlan == vlan).cloned()
    }

    /// All that are open, in the order in which they were opened.
    pub fn sockets(&self) -> Vec<SocketInfo> {
        self.all().iter().map(|socket| socket.info()).collect()
    }

    fn all(&self) -> Vec<Arc<Shared>> {
        self.sockets.lock().clone()
    }

    /// What others want of the card, from now on.
    pub fn set_filter(&self, filter: Filter) {
        let before = core::mem::replace(&mut *self.filter.lock(), filter);
        drop(before);
        self.apply_filter();
    }

    /// Tells the card what all want of it, until nobody wants anything else meanwhile: of two who tell it, the one who
    /// knows less may be the later.
    pub(super) fn apply_filter(&self) {
        let mut wish = {
            let mut wishes = self.wishes.lock();
            *wishes += 1;
            *wishes
        };
        loop {
            let mut filter = self.filter.lock().clone();
            for socket in self.all() {
                filter.groups.extend(socket.groups.lock().iter());
            }
            filter.groups.sort_unstable();
            filter.groups.dedup();
            self.nic.set_filter(filter);
            let latest = *self.wishes.lock();
            if core::mem::replace(&mut wish, latest) == latest {
                break;
            }
        }
    }

    /// The socket whose frame it is.
    #[inline]
    fn socket_of(&self, frame: &Frame<'_>) -> Option<Arc<Shared>> {
        let beginning = frame.beginning;
        let word = |at: usize| Some(u16::from_be_bytes([*beginning.get(at)?, *beginning.get(at + 1)?]));
        let (mut ether_type, mut vlan) = (EtherType(word(TYPE)?), None);
        if ether_type == EtherType::TAG {
            let tag = Tag(word(TYPE + 2)?);
            if tag.is_reserved() {
                return None;
            }
            (ether_type, vlan) = (EtherType(word(TYPE + Tag::SIZE)?), tag.vlan());
        }
        if is_ip(ether_type) { None } else { self.find(ether_type, vlan) }
    }

    fn tell_of_change(&self) {
        self.all().iter().filter_map(|socket| socket.handler()).for_each(|handler| handler.changed());
    }
}

/// Where a frame's EtherType is, or a tag.
const TYPE: usize = Ethernet::SIZE - 2;

/// Most frames on a wire, and none of a socket's.
#[inline]
fn is_ip(ether_type: EtherType) -> bool {
    matches!(ether_type, EtherType::IPV4 | EtherType::IPV6 | EtherType::ARP)
}

impl Receiver for Interface {
    #[inline]
    fn receive(&self, frame: &Frame<'_>) {
        match self.socket_of(frame) {
            Some(socket) => {
                if socket.receive(frame, self.nic.identity().mac) {
                    self.fresh.store(true, Ordering::Release);
                }
            }
            None => {
                if let Some(others) = &self.others {
                    others.receive(frame);
                }
            }
        }
    }

    fn received(&self) {
        if self.fresh.load(Ordering::Relaxed) && self.fresh.swap(false, Ordering::Acquire) {
            loop {
                let fresh = self.sockets.lock().iter().find(|socket| socket.take_fresh()).cloned();
                let Some(socket) = fresh else { break };
                if let Some(handler) = socket.handler() {
                    handler.received();
                }
            }
        }
        if let Some(others) = &self.others {
            others.received();
        }
    }

    fn link_changed(&self) {
        self.lanes.iter().for_each(|lane| lane.look());
        self.tell_of_change();
        if let Some(others) = &self.others {
            others.link_changed();
        }
    }

    fn room(&self) {
        let queue = self.nic.queue();
        // Most wait for their own; where a card was reset, bulk may have been refused by another.
        self.lanes.iter().for_each(|lane| lane.room(queue));
        if let Some(others) = &self.others {
            others.room();
        }
    }
}
