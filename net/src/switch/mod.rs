//! The virtual switch: who gets a frame.
//!
//! ```text
//!  guest ─┐    headers, length           ┌─ guests    each frame to its station; groups to their VLAN
//!  node  ─┼──► Switch::forward ─► Verdict ┼─ node
//!  uplink ┘    to whom, with which tag    └─ the active uplink    all that is not known to be here
//! ```
//!
//! It decides, and others move the data: [`Switch::forward`] is told of a frame's headers and length, and returns the ports
//! that get it and the tag it has there. Whoever moves it tells what became of it ([`Switch::delivered`],
//! [`Switch::refused`]), so that the counters are true.
//!
//! Promises, whatever comes from whom:
//! - A frame never goes back to its port, never to an uplink if it came from one, never into another VLAN, never to a port
//!   that is down. One uplink is in use, so that there is no loop; where its link goes down, the next one takes over, and
//!   [`Switch::take_announcement`] tells the addresses of which the switches outside have to learn.
//! - The address of a guest or of the node is its own while it is attached. No frame makes it anybody else's.
//! - A guest gets what is for its address and for groups. One that may have any address gets what is for unknown ones
//!   too; what is for another guest's own address, none but a mirror gets.
//! - What a guest sends from an address that it may not have goes nowhere, and neither does a claim to one.
//! - Each frame was forwarded or is in a counter by its reason ([`Reason`]).
//! - Forwarding takes a bounded time and no memory. Addresses that are learned have a table of fixed size, in which a port
//!   that sends from many displaces its own, once it has as many as others.
//!
//! Not here: moving data, multicast snooping (groups go to all of their VLAN), spanning trees (frames of bridges are
//! dropped: one uplink needs none), filters of services such as DHCP.
//!
//! There is no clock: `now` is in nanoseconds, of a clock that does not go back. There is no lock: one who calls at a time.
mod announce;
mod counters;
mod forward;
mod guard;
mod hash;
mod mirror;
mod port;
mod ports;
mod rate;
mod stations;
mod table;
mod tag;
#[cfg(test)]
mod tests;
mod uplinks;
mod vlan;

pub use announce::Announcement;
pub use counters::{Counters, Reason, Traffic};
pub use forward::{Forward, Verdict};
pub use mirror::MirrorError;
pub use port::{PortConfig, PortError, PortKind};
pub use ports::{Iter, PortId, Ports};
pub use rate::Rate;
pub use table::{Learned, Place};
pub use tag::{Beginning, retag, with_tag};
pub use vlan::{Trunk, Untagged, Vlan, VlanSet};

use alloc::vec::Vec;
use announce::Pending;
use port::{Kind, Port};
use stations::Stations;
use table::Table;

/// What a switch is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwitchConfig {
    /// At least so many addresses are learned; the next power of two, from 8.
    pub addresses: usize,
    /// Nanoseconds until an address is forgotten from which nothing comes, rounded to seconds.
    pub aging: u64,
    /// A secret of this switch, drawn at random: nobody outside may know where in the table an address lies.
    pub seed: [u64; 2],
}

/// A switch.
pub struct Switch {
    /// By number.
    ports: Vec<Option<Port>>,
    stations: Stations,
    table: Table,
    /// Those whose link is up.
    up: Ports,
    /// Those that send and get frames: what is up, without the uplinks that stand by.
    live: Ports,
    /// The uplink in use.
    active: Option<PortId>,
    uplinks: Ports,
    /// Those that get what is for unknown addresses.
    open: Ports,
    /// Those that have a limit for what they get.
    limited: Ports,
    /// Those of which others get copies.
    mirrored: Ports,
    pending: Pending,
}

impl Switch {
    /// One without ports.
    pub fn new(config: SwitchConfig) -> Self {
        Self {
            ports: Vec::new(),
            stations: Stations::default(),
            table: Table::new(config.addresses, config.aging, config.seed),
            up: Ports::EMPTY,
            live: Ports::EMPTY,
            active: None,
            uplinks: Ports::EMPTY,
            open: Ports::EMPTY,
            limited: Ports::EMPTY,
            mirrored: Ports::EMPTY,
            pending: Pending::default(),
        }
    }

    /// A new port, which is down.
    ///
    /// # Errors
    /// There are too many, or it can't be so.
    pub fn attach(&mut self, config: PortConfig) -> Result<PortId, PortError> {
        let free = self.ports.iter().position(Option::is_none).unwrap_or(self.ports.len());
        let id = PortId::new(free).ok_or(PortError::Full)?;
        let port = self.checked(config, id)?;
        if free == self.ports.len() {
            self.ports.push(None);
        }
        self.put(id, port);
        Ok(id)
    }

    /// Makes a port another one: it stays up or down, and what it has counted and who mirrors it stays.
    ///
    /// # Errors
    /// It can't be so, and stays as it was.
    pub fn configure(&mut self, id: PortId, config: PortConfig) -> Result<(), PortError> {
        let old = self.port(id).ok_or(PortError::Detached)?;
        let (counters, mirrors, up) = (old.counters, old.mirrors, self.up.contains(id));
        let port = Port { counters, mirrors, ..self.checked(config, id)? };
        let mirroring = self.mirrored_by(id);
        self.detach(id);
        self.put(id, port);
        self.mirrored.set(id, !mirrors.is_empty());
        // An uplink can't get copies.
        let _ = self.mirror(mirroring, id);
        self.set_up(id, up);
        Ok(())
    }

    fn checked(&self, config: PortConfig, id: PortId) -> Result<Port, PortError> {
        let port = Port::new(config)?;
        if let Some(mac) = port.kind.station() {
            let others = self.stations.of(mac).filter(|&other| other != id).filter_map(|id| self.port(id));
            if others.into_iter().any(|other| other.vlan.overlaps(&port.vlan)) {
                return Err(PortError::Taken(mac));
            }
        }
        Ok(port)
    }

    fn put(&mut self, id: PortId, port: Port) {
        if let Some(mac) = port.kind.station() {
            self.stations.insert(mac, id);
        }
        self.uplinks.set(id, port.kind.is_uplink());
        self.open.set(id, matches!(port.kind, Kind::Guest { any_mac: true, .. }));
        self.limited.set(id, port.receives.is_some());
        self.ports[id.index()] = Some(port);
    }

    /// Removes a port, with all that was learned behind it. Its number may be the next one's.
    pub fn detach(&mut self, id: PortId) {
        if self.port(id).is_none() {
            return;
        }
        self.set_up(id, false);
        let _ = self.mirror(Ports::EMPTY, id);
        self.stations.remove(id);
        for set in [&mut self.uplinks, &mut self.open, &mut self.limited, &mut self.mirrored] {
            set.remove(id);
        }
        self.ports[id.index()] = None;
    }

    /// The port's link is up or down. What is for the address of a guest that is down goes outside: a virtual machine that
    /// moves to or from another node is there.
    pub fn set_up(&mut self, id: PortId, up: bool) {
        if self.port(id).is_none() || self.up.contains(id) == up {
            return;
        }
        self.up.set(id, up);
        if self.uplinks.contains(id) {
            self.choose_uplink();
        } else {
            self.live.set(id, up);
            if up {
                self.pending.add(id);
            } else {
                self.table.forget(Place::Port(id));
            }
        }
    }

    /// The mover has delivered a frame of so many bytes to the port.
    pub fn delivered(&mut self, id: PortId, bytes: usize) {
        if let Some(port) = self.port_mut(id) {
            port.counters.delivered.add(bytes);
        }
    }

    /// The mover could not deliver a frame to the port.
    pub fn refused(&mut self, id: PortId, reason: Reason) {
        if let Some(port) = self.port_mut(id) {
            port.counters.drop(reason);
        }
    }

    /// A frame of so many bytes came from the port whose headers can't be parsed.
    pub fn malformed(&mut self, id: PortId, bytes: usize) {
        if let Some(port) = self.port_mut(id) {
            port.counters.received.add(bytes);
            port.counters.drop(Reason::Malformed);
        }
    }

    /// A frame of so many bytes came from the port whose packet is longer than the network's may be: it was forwarded to
    /// nobody.
    pub fn oversized(&mut self, id: PortId, bytes: usize) {
        if let Some(port) = self.port_mut(id) {
            port.counters.received.add(bytes);
            port.counters.drop(Reason::Oversized);
        }
    }

    /// Nanoseconds until the port may send again; 0 if it may now. Who waits so long instead of sending loses nothing to
    /// [`Reason::SendLimit`].
    pub fn may_send_in(&mut self, now: u64, id: PortId) -> u64 {
        let limit = self.port_mut(id).and_then(|port| port.sends.as_mut());
        limit.map_or(0, |limit| limit.opens_in(now))
    }

    /// What the port has done; None where there is none.
    pub fn counters(&self, id: PortId) -> Option<&Counters> {
        self.port(id).map(|port| &port.counters)
    }

    /// All ports.
    pub fn ports(&self) -> Ports {
        self.ports
            .iter()
            .enumerate()
            .filter(|(_, port)| port.is_some())
            .filter_map(|(i, _)| PortId::new(i))
            .collect()
    }

    /// Those that send and get frames: they are up, and no uplinks that stand by.
    pub fn live(&self) -> Ports {
        self.live
    }

    /// The uplink in use.
    pub fn active_uplink(&self) -> Option<PortId> {
        self.active
    }

    /// What was learned and is not too old.
    pub fn learned(&self, now: u64) -> impl Iterator<Item = Learned> + '_ {
        (0..self.table.capacity()).filter_map(move |index| self.table.get(now, index))
    }

    /// Most addresses that are learned.
    pub fn capacity(&self) -> usize {
        self.table.capacity()
    }

    fn port(&self, id: PortId) -> Option<&Port> {
        self.ports.get(id.index())?.as_ref()
    }

    fn port_mut(&mut self, id: PortId) -> Option<&mut Port> {
        self.ports.get_mut(id.index())?.as_mut()
    }
}
