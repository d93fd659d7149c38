//! Networks and cards as an operator sees them.
use super::network::Network;
use super::{all, interface_of, nics};
use crate::time;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use mgmt::shell::node::{Mirror, NetworkInfo, NicInfo, OutgoingInfo, PortInfo, SocketInfo, Traffic};
use net::socket::{self, DropReason, Interface, Priority, SendError};
use net::switch::{PortId, PortKind, Reason};

/// All cards, by name.
pub fn nics() -> Vec<NicInfo> {
    let info = |card: &alloc::sync::Arc<nics::Card>| {
        let name = card.name();
        let uses =
            |network: &&alloc::sync::Arc<Network>| network.config.uplinks.iter().any(|uplink| uplink == name);
        NicInfo {
            identity: card.nic.identity().clone(),
            driver: card.driver,
            place: card.place.clone(),
            state: String::new(),
            link: card.nic.link(),
            abilities: *card.nic.abilities(),
            counters: card.nic.counters(),
            networks: all().iter().filter(uses).map(|network| network.config.name.clone()).collect(),
            sockets: interface_of(&card.nic).map(|interface| sockets(&interface)).unwrap_or_default(),
        }
    };
    nics::all().iter().map(info).collect()
}

fn sockets(interface: &Interface) -> Vec<SocketInfo> {
    let info = |socket: socket::SocketInfo| {
        let counters = &socket.counters;
        let outgoing = |priority| {
            let outgoing = counters.outgoing(priority);
            let dropped = [("while they waited", outgoing.dropped)];
            let refused = outgoing.refusals().map(|(error, frames)| (refusal(error), frames));
            OutgoingInfo {
                priority: match priority {
                    Priority::Urgent => "urgent",
                    Priority::Normal => "normal",
                    Priority::Bulk => "bulk",
                },
                sent: traffic(outgoing.sent),
                waiting: outgoing.waiting.frames,
                drops: refused.chain(dropped).collect(),
            }
        };
        SocketInfo {
            ether_type: socket.ether_type,
            vlan: socket.vlan,
            incoming: traffic(counters.received),
            drops: counters.drops().map(|(reason, frames)| (drop_word(reason), frames)).collect(),
            outgoing: Priority::ALL.map(outgoing).into(),
            name: socket.name,
        }
    };
    interface.sockets().into_iter().map(info).collect()
}

fn traffic(of: net::switch::Traffic) -> Traffic {
    Traffic { frames: of.frames, bytes: of.bytes }
}

/// All networks, in the configuration's order.
pub fn networks() -> Vec<NetworkInfo> {
    all().iter().map(|network| network.info()).collect()
}

impl Network {
    fn info(&self) -> NetworkInfo {
        let inner = self.inner.lock();
        let config = &self.config;
        let ports = inner.plugs.iter().enumerate().filter_map(|(index, plug)| {
            let (id, plug) = (PortId::new(index)?, plug.as_ref()?);
            let counters = inner.switch.counters(id)?;
            let mac = match &plug.config.kind {
                PortKind::Guest { mac, .. } | PortKind::Node { mac } => Some(*mac),
                PortKind::Uplink { .. } => None,
            };
            Some(PortInfo {
                owner: plug.owner.clone(),
                mac,
                up: inner.switch.live().contains(id),
                incoming: traffic(counters.received),
                outgoing: traffic(counters.delivered),
                drops: counters.drops().map(|(reason, frames)| (word(reason), frames)).collect(),
                limit: plug.config.send_limit.map(|rate| rate.per_second * 8),
            })
        });
        let owner_at = |id: PortId| Some(inner.plugs.get(id.index())?.as_ref()?.owner.clone());
        let mirror = inner.switch.ports().into_iter().find_map(|to| {
            let from = inner.switch.mirrored_by(to).into_iter().next()?;
            Some(Mirror { from: owner_at(from)?, to: owner_at(to)? })
        });
        NetworkInfo {
            name: config.name.clone(),
            uplinks: config.uplinks.clone(),
            active: inner.switch.active_uplink().and_then(owner_at).map(|owner| owner.to_string()),
            vlan: config.vlan,
            mtu: config.mtu,
            ports: ports.collect(),
            learned: inner.switch.learned(time::now().0).count(),
            learned_most: inner.switch.capacity(),
            mirror,
            capture: self.capture_info(),
        }
    }
}

/// A few words for a reason, under which frames are counted.
fn word(reason: Reason) -> &'static str {
    match reason {
        Reason::Malformed => "malformed",
        Reason::Oversized => "longer than the MTU",
        Reason::Down => "port is down",
        Reason::Standby => "uplink on standby",
        Reason::Source => "no station's source",
        Reason::Control => "bridges' control frames",
        Reason::Vlan => "other VLAN",
        Reason::Mac => "foreign MAC address",
        Reason::Taken => "another port's MAC address",
        Reason::ClaimMac => "claimed MAC address",
        Reason::ClaimAddress => "claimed IP address",
        Reason::Address => "foreign IP address",
        Reason::Unchecked => "can't be checked",
        Reason::SendLimit => "sends more than its limit",
        Reason::GroupsLimit => "too many broadcasts",
        Reason::Origin => "back to where it came from",
        Reason::NoUplink => "no uplink is up",
        Reason::Nobody => "for nobody here",
        Reason::ReceiveLimit => "is sent more than its limit",
        Reason::NoRoom => "no room",
        Reason::TooLong => "too long",
        Reason::Gone => "not ready",
        Reason::NodesOwn => "the node's own EtherType",
    }
}

/// A few words for a reason, under which frames that came for a socket are counted.
fn drop_word(reason: DropReason) -> &'static str {
    match reason {
        DropReason::Source => "no station's source",
        DropReason::Echo => "own address as source",
        DropReason::Elsewhere => "for another station",
        DropReason::Unhandled => "not listened to",
    }
}

/// A few words for a refusal, under which frames that were to be sent are counted.
fn refusal(error: SendError) -> &'static str {
    match error {
        SendError::Full => "no room",
        SendError::Down => "no link",
        SendError::Gone => "card is gone",
        SendError::TooLong => "too long",
        SendError::Destination => "for nobody else",
        SendError::Pieces => "too many pieces",
    }
}
