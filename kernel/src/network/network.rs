//! A network: its switch decides who gets a frame, and here frames are moved.
use super::capture::Captured;
use super::guest::Guest;
use super::moving::retagged;
use super::node::Station;
use super::uplink::Uplink;
use super::waiting::{Passage, Source};
use crate::time;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use mgmt::config::NetworkConfig;
use mgmt::shell::node::{Mirror, PortOwner};
use net::frame::{Headers, Mac};
use net::nic::{Done, Frame, Offload};
use net::switch::{PortConfig, PortError, PortId, PortKind, Ports, Reason, Switch, SwitchConfig, Verdict};
use spin::Mutex;

/// Addresses that a switch learns.
const ADDRESSES: usize = 1024;
/// How long it remembers one from which nothing comes (IEEE 802.1Q, 8.8.3).
const AGING: u64 = 300_000_000_000;

/// Where a port of a network leads.
#[derive(Clone)]
pub enum Outlet {
    /// To a VM.
    Guest(Arc<Guest>),
    /// Out of the node.
    Uplink(Arc<Uplink>),
    /// To the node itself.
    Node(Arc<Station>),
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is there.
    Done,
    /// It waits, and is accounted for later.
    Waits,
}

/// What is plugged into a port.
pub(super) struct Plug {
    pub outlet: Outlet,
    pub owner: PortOwner,
    pub config: PortConfig,
}

pub(super) struct Inner {
    pub switch: Switch,
    /// By the number of the port.
    pub plugs: Vec<Option<Plug>>,
}

/// A network of the node.
pub struct Network {
    myself: Weak<Self>,
    /// As `purevisor.toml` has it.
    pub config: NetworkConfig,
    pub(super) inner: Mutex<Inner>,
    /// One that is internal, or has an uplink that is up.
    up: AtomicBool,
    /// An uplink has frames that were not started.
    waiting: AtomicBool,
    pub(super) captured: Captured,
}

impl Network {
    /// One without ports.
    pub fn new(config: NetworkConfig, seed: [u64; 2]) -> Arc<Self> {
        let switch = Switch::new(SwitchConfig { addresses: ADDRESSES, aging: AGING, seed });
        Arc::new_cyclic(|myself| Self {
            myself: myself.clone(),
            up: AtomicBool::new(config.uplinks.is_empty()),
            config,
            inner: Mutex::new(Inner { switch, plugs: Vec::new() }),
            waiting: AtomicBool::new(false),
            captured: Captured::default(),
        })
    }

    /// Plugs something in.
    ///
    /// # Errors
    /// Why it can't be.
    pub fn attach(&self, config: PortConfig, outlet: Outlet, owner: PortOwner) -> Result<PortId, PortError> {
        let mut inner = self.inner.lock();
        let id = inner.switch.attach(config.clone())?;
        while inner.plugs.len() <= id.index() {
            inner.plugs.push(None);
        }
        inner.plugs[id.index()] = Some(Plug { outlet, owner, config });
        Ok(id)
    }

    /// Pulls it out.
    pub fn detach(&self, id: PortId) {
        let mut inner = self.inner.lock();
        inner.switch.detach(id);
        let plug = inner.plugs.get_mut(id.index()).and_then(Option::take);
        drop(inner);
        // What goes with it may take locks of its own.
        drop(plug);
        self.look_at_link();
    }

    /// What is plugged in can send and receive, or not any more.
    pub fn set_up(&self, id: PortId, up: bool) {
        self.inner.lock().switch.set_up(id, up);
        self.look_at_link();
        self.announce();
    }

    /// A guest wants to be known by another address: whether it may be.
    pub fn set_mac(&self, id: PortId, wanted: Mac) -> bool {
        let mut inner = self.inner.lock();
        let Some(plug) = inner.plugs.get(id.index()).and_then(Option::as_ref) else { return false };
        let mut config = plug.config.clone();
        let PortKind::Guest { mac, allow_any_mac, .. } = &mut config.kind else { return false };
        if *mac == wanted {
            return true;
        }
        if !*allow_any_mac {
            return false;
        }
        *mac = wanted;
        if inner.switch.configure(id, config.clone()).is_err() {
            return false;
        }
        if let Some(Some(plug)) = inner.plugs.get_mut(id.index()) {
            plug.config = config;
        }
        true
    }

    /// The address of the uplink that came first.
    pub fn first_card(&self) -> Option<Mac> {
        Some(self.inner.lock().uplinks().next()?.nic().identity().mac)
    }

    /// Whether the network leads where it is to lead.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::SeqCst)
    }

    /// Tells the guests where the last uplink has gone down or the first come up.
    fn look_at_link(&self) {
        if self.config.uplinks.is_empty() {
            return;
        }
        let up = self.inner.lock().switch.active_uplink().is_some();
        if self.up.swap(up, Ordering::SeqCst) == up {
            return;
        }
        log::info!(
            "network {}: {}",
            self.config.name,
            if up { "its uplink is up" } else { "no uplink is up" }
        );
        let outlets: Vec<Outlet> = self.inner.lock().outlets().collect();
        for outlet in outlets {
            match outlet {
                Outlet::Guest(guest) => guest.port.link_changed(),
                Outlet::Node(station) => station.set_link(up),
                Outlet::Uplink(_) => {}
            }
        }
    }

    /// Tells the switches outside who is here.
    fn announce(&self) {
        loop {
            let mut inner = self.inner.lock();
            let Some(announcement) = inner.switch.take_announcement(time::now().0) else { break };
            let outlet = inner.outlet(announcement.to);
            drop(inner);
            let bytes = announcement.emit();
            let frame = Frame { beginning: &bytes, rest: &[], offload: Offload::default() };
            if let Some(Outlet::Uplink(uplink)) = outlet {
                // Lost is lost: the first frame of the guest's own does the same.
                let _ = uplink.send(&frame, &mut None);
                uplink.start();
            }
        }
    }

    /// Copies what passes at the port of `from` to that of `to` from now on, and nothing else; `None`: nothing.
    ///
    /// # Errors
    /// One of them is not there, or can't be mirrored to.
    pub fn mirror(&self, mirror: Option<&Mirror>) -> Result<(), String> {
        let mut inner = self.inner.lock();
        let port = |owner: &PortOwner| {
            let at = |plug: &Option<Plug>| plug.as_ref().is_some_and(|plug| plug.owner == *owner);
            let found = inner.plugs.iter().position(at).and_then(PortId::new);
            found.ok_or_else(|| format!("there is no port {owner}"))
        };
        let wanted = match mirror {
            Some(Mirror { from, to }) => Some((port(from)?, port(to)?)),
            None => None,
        };
        for to in inner.switch.ports() {
            let from =
                wanted.filter(|(_, wanted)| *wanted == to).map_or(Ports::EMPTY, |(from, _)| Ports::of(from));
            inner.switch.mirror(from, to).map_err(|why| why.to_string())?;
        }
        Ok(())
    }

    /// What came from a port is no frame.
    pub fn malformed(&self, id: PortId, bytes: usize) {
        self.inner.lock().switch.malformed(id, bytes);
    }

    /// Moves a frame that came from a port to whoever is to get it. `done` is told when its memory is not used any more.
    pub fn carry(&self, from: PortId, frame: &Frame<'_>, headers: &Headers, mut done: Option<Done>) {
        self.captured.look_at(frame, headers);
        let bytes = frame.bytes();
        let pieces = match frame.offload.segmentation {
            Some(how) => {
                bytes.saturating_sub(how.headers.into()).div_ceil(usize::from(how.payload).max(1)).max(1)
                    as u32
            }
            None => 1,
        };
        let mut inner = self.inner.lock();
        if frame.longest() > headers.network_at + usize::from(self.config.mtu) {
            inner.switch.oversized(from, bytes);
            drop(inner);
            if let Some(done) = done {
                done.sent();
            }
            return;
        }
        let verdict = inner.switch.forward(time::now().0, from, headers, bytes, pieces);
        if let Verdict::Forward(forward) = verdict {
            let mut left = forward.to | forward.mirror;
            while let Some((id, outlet)) = inner.next(&mut left) {
                drop(inner);
                let tag = forward.tag_at(id);
                let passage = Passage { network: self, from, to: id, frame, headers, tag };
                // The last of them may take as long as it wants.
                let done = if left.is_empty() { &mut done } else { &mut None };
                let result = match &outlet {
                    Some(Outlet::Guest(guest)) => guest.take(&passage, done),
                    Some(Outlet::Uplink(uplink)) => {
                        self.waiting.store(true, Ordering::Relaxed);
                        uplink.take(&passage, done)
                    }
                    Some(Outlet::Node(station)) => {
                        retagged(frame, tag, |frame| station.receive(frame, headers)).map(|()| Taken::Done)
                    }
                    None => Err(Reason::Gone),
                };
                inner = self.inner.lock();
                match result {
                    Ok(Taken::Done) => inner.switch.delivered(id, bytes),
                    Ok(Taken::Waits) => {}
                    Err(reason) => inner.switch.refused(id, reason),
                }
            }
        }
        drop(inner);
        if let Some(done) = done {
            done.sent();
        }
    }

    /// A frame that has waited was delivered or dropped.
    pub(super) fn account(&self, to: PortId, bytes: usize, result: Result<(), Reason>) {
        let mut inner = self.inner.lock();
        match result {
            Ok(()) => inner.switch.delivered(to, bytes),
            Err(reason) => inner.switch.refused(to, reason),
        }
    }

    /// Who is at a port, among all networks.
    pub(super) fn source(&self, from: PortId) -> Source {
        (core::ptr::from_ref(self).addr(), from)
    }

    pub(super) fn weak(&self) -> Weak<Self> {
        self.myself.clone()
    }

    /// All guests that are plugged in.
    pub(super) fn guests(&self) -> Vec<Arc<Guest>> {
        let guest = |outlet| match outlet {
            Outlet::Guest(guest) => Some(guest),
            Outlet::Uplink(_) | Outlet::Node(_) => None,
        };
        self.inner.lock().outlets().filter_map(guest).collect()
    }

    /// Drops frames from this port that wait anywhere: who has sent them is about to go.
    pub(super) fn forget(&self, from: PortId) {
        let source = self.source(from);
        let outlets: Vec<Outlet> = self.inner.lock().outlets().collect();
        for outlet in outlets {
            match outlet {
                Outlet::Guest(guest) => guest.waiting.forget(source),
                Outlet::Uplink(uplink) => uplink.forget(source),
                Outlet::Node(_) => {}
            }
        }
    }

    /// What was carried goes out.
    pub fn flush(&self) {
        if self.waiting.load(Ordering::Relaxed) && self.waiting.swap(false, Ordering::SeqCst) {
            let uplinks: Vec<Arc<Uplink>> = self.inner.lock().uplinks().collect();
            uplinks.iter().for_each(|uplink| uplink.start());
        }
    }
}

impl Inner {
    /// The next of these ports that gets a frame, and where it leads. Guests come first: for them a frame is copied, while an
    /// uplink keeps it.
    #[inline]
    fn next(&self, left: &mut Ports) -> Option<(PortId, Option<Outlet>)> {
        let active = self.switch.active_uplink().map_or(Ports::EMPTY, Ports::of);
        let id = (*left - active).into_iter().next().or_else(|| left.into_iter().next())?;
        left.remove(id);
        Some((id, self.outlet(id)))
    }

    fn outlet(&self, id: PortId) -> Option<Outlet> {
        Some(self.plugs.get(id.index())?.as_ref()?.outlet.clone())
    }

    fn outlets(&self) -> impl Iterator<Item = Outlet> {
        self.plugs.iter().flatten().map(|plug| plug.outlet.clone())
    }

    fn uplinks(&self) -> impl Iterator<Item = Arc<Uplink>> {
        self.outlets().filter_map(|outlet| match outlet {
            Outlet::Uplink(uplink) => Some(uplink),
            Outlet::Guest(_) | Outlet::Node(_) => None,
        })
    }
}
