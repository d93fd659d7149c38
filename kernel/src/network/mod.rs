//! The node's networks: what connects VMs, the machine's cards and the node itself.
//!
//! ```text
//!  VM: virtio-net ──► guest::GuestWire ──┐                       ┌──► vmm::virtio::net::Port: copied to the guest
//!                                        ├─► Network::carry ─────┤
//!  card ──► uplink::Uplink (Receiver) ───┘    net::switch says   └──► uplink::Uplink::transmit ──► Nic
//!    └──── net::socket::Interface: what is a socket's of the node goes to that, and is sent by nobody else
//! ```
//!
//! - `network`: a network: the switch, what is plugged into it, and how frames are moved.
//! - `guest`: a VM's card; `uplink`: a card of the machine, for all networks that use it.
//! - `waiting`: frames that wait for room, in a guest's ring or in a card's.
//! - `moving`: tags that differ from port to port; `memory`: frames' memory, read by the CPU.
//! - `node`: the node itself, with its own IP.
//! - `capture`: frames that an operator wants to see; `info`: all else that he sees.
//!
//! A frame is carried by whoever has it: the vCPU whose guest has sent it, in its exit, or the task of a card's queue. From
//! guest to guest it is copied once, from the memory of one to that of the other; from guest to card not at all but its
//! headers; from card to guest once. Where there is no room it waits (`waiting`).
//!
//! Locks: that of a network is held while its switch decides, and never while a frame is moved; that of frames that wait
//! never while one is. A guest's receive queue is locked while a transmit queue is, never the other way round.
mod capture;
mod guest;
mod info;
mod memory;
mod moving;
#[expect(clippy::module_inception, reason = "the field's word")]
mod network;
mod node;
mod uplink;
mod waiting;

pub use guest::GuestWire;
pub use info::{networks as network_infos, nics as nic_infos};
pub use network::Network;
pub use node::{get as station, info as address_info};

use crate::cpu_loop::Runtime;
use crate::devices::nics;
use crate::random;
use alloc::sync::Arc;
use alloc::vec::Vec;
use mgmt::config::{NetworkConfig, Node as NodeConfig};
use mgmt::shell::node::PortOwner;
use net::nic::{Filter, Nic};
use net::socket::Interface;
use net::switch::{PortConfig, PortKind, Trunk, Untagged, Vlan, VlanSet};
use network::Outlet;
use spin::{Mutex, Once};
use uplink::Uplink;

static NETWORKS: Once<Vec<Arc<Network>>> = Once::new();
static CARDS: Mutex<Vec<Card>> = Mutex::new(Vec::new());

/// A card that is there.
struct Card {
    interface: Arc<Interface>,
    /// Where networks use it.
    uplink: Option<Arc<Uplink>>,
}

/// Makes the networks of the configuration. Once, before any card or VM is started.
pub fn start(runtime: &'static Runtime, configs: &[NetworkConfig], node: &NodeConfig) {
    let make = |config: &NetworkConfig| {
        let seed = random::bytes();
        let half = |at: usize| u64::from_le_bytes(core::array::from_fn(|i| seed[at + i]));
        Network::new(config.clone(), [half(0), half(8)])
    };
    NETWORKS.call_once(|| configs.iter().map(make).collect());
    runtime.executor.spawn("frames that wait", waiting::watch(runtime.timers.clone()));
    node::start(runtime, node);
}

/// All networks, in the configuration's order.
pub fn all() -> &'static [Arc<Network>] {
    NETWORKS.get().map_or(&[], |networks| networks)
}

/// The network of this name.
pub fn get(name: &str) -> Option<&'static Arc<Network>> {
    all().iter().find(|network| network.config.name == name)
}

/// A card works: the networks that it is an uplink of use it.
pub fn card_came(nic: &Arc<dyn Nic>) {
    let name = &nic.identity().name;
    let uplink = Uplink::new(nic.clone());
    let mut used = false;
    for network in all() {
        let config = &network.config;
        let Some(place) = config.uplinks.iter().position(|uplink| uplink == name) else { continue };
        if config.mtu > nic.abilities().mtu {
            log::warn!(
                "network {}: {name} takes packets of {} bytes at most, and so not all that its mtu allows",
                config.name,
                nic.abilities().mtu
            );
        }
        // The first is preferred.
        let kind = PortKind::Uplink { priority: u16::MAX - place as u16 };
        let vlan = config.vlan.map_or(Vlan::None, |vlan| {
            let mut tagged = VlanSet::empty();
            tagged.insert(vlan);
            Vlan::Trunk(Trunk { tagged, untagged: Untagged::Dropped })
        });
        let port = PortConfig { vlan, ..PortConfig::new(kind) };
        let owner = PortOwner::Uplink(name.clone());
        match network.attach(port, Outlet::Uplink(uplink.clone()), owner) {
            Ok(id) => {
                uplink.attach(config.vlan, network, id);
                used = true;
            }
            Err(error) => log::error!("network {}: {name} can't be its uplink: {error}", config.name),
        }
    }
    // One that no network uses is for sockets alone.
    let interface = match used {
        true => uplink.interface(),
        false => Interface::new(nic.clone(), None, Filter::default()),
    };
    CARDS.lock().push(Card { interface: interface.clone(), uplink: used.then_some(uplink) });
    interface.start();
    if used {
        node::card_came();
    }
}

/// The interface of a card, on which sockets can be opened.
pub fn interface_of(nic: &Arc<dyn Nic>) -> Option<Arc<Interface>> {
    let cards = CARDS.lock();
    let card = cards.iter().find(|card| Arc::ptr_eq(card.interface.nic(), nic))?;
    Some(card.interface.clone())
}

/// A card is gone.
pub fn card_left(nic: &Arc<dyn Nic>) {
    let mut cards = CARDS.lock();
    let place = cards.iter().position(|card| Arc::ptr_eq(card.interface.nic(), nic));
    let card = place.map(|place| cards.swap_remove(place));
    drop(cards);
    let Some(Card { interface, uplink }) = card else { return };
    interface.close();
    if let Some(uplink) = uplink {
        uplink.leave();
    }
}
