//! The node's own place on one of its networks: `net::stack` with frames, a clock and those who wait.
//!
//! ```text
//!  Network::carry ─► Station::receive ─► arrived ─┐                      ┌─► Network::carry
//!                                                 ├─► task: stack.poll ──┤
//!  ping, listen, read, write, close ─► work ──────┘                      └─► changes: those who wait look again
//! ```
//!
//! - `ping`: echo requests. `tcp`: listeners and streams for tasks. `echo`: the service that sends back what it gets.
//!
//! A frame that comes is copied once, by whoever carries it, and looked at by the task: so no vCPU does the stack's work. One
//! that goes out stays in the memory that the stack has written it to.
//!
//! The card's own MAC address is the node's: of its network's cards, that of the one that came first. Inside the node, where
//! there is no card, it has one that is derived from its name.
//!
//! Locks: `stack` is held while the stack works, and never while a frame is carried; `arrived` for a moment.
mod echo;
mod ping;
mod tcp;

use super::memory::DirectMemory;
use super::network::{Network, Outlet};
use crate::cpu_loop::Runtime;
use crate::memory::DIRECT;
use crate::{random, time};
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;
use executor::{Changes, Signal, Timers};
use mgmt::config::{Node as NodeConfig, NodeAddress, derived_mac};
use mgmt::shell::node::{AddressInfo, PortOwner};
use mm::{Hva, Segment};
use net::frame::{Headers, LONGEST, Mac};
use net::nic::{Done, Frame, Offload, Sent};
use net::offload;
use net::stack::{Addressing, QUEUE, Stack, StackConfig, StackEvent};
use net::switch::{PortConfig, PortId, PortKind, Reason, Vlan};
use ping::Pings;
use spin::{Mutex, Once};

/// How long the task rests at most, in nanoseconds.
const REST: u64 = 60_000_000_000;

static STATION: Once<Arc<Station>> = Once::new();
/// A card has come.
static CARD: Signal = Signal::new();

/// The node as a station of a network.
pub struct Station {
    stack: Mutex<Stack>,
    /// Frames that the stack has not seen yet.
    arrived: Mutex<VecDeque<Vec<u8>>>,
    /// There is something for the task to do.
    work: Signal,
    /// The stack has done something.
    changes: Changes,
    pings: Mutex<Pings>,
}

/// Gives the node its addresses, as soon as it has a card for them.
pub fn start(runtime: &'static Runtime, config: &NodeConfig) {
    if config.address == NodeAddress::None {
        return;
    }
    // The configuration was checked: it names one.
    let Some(network) = config.network.as_ref().and_then(|name| super::get(name)) else { return };
    runtime.executor.spawn("node's IP", run(config.clone(), network.clone(), runtime.timers.clone()));
}

/// The node's station, when it has one.
pub fn get() -> Option<&'static Arc<Station>> {
    STATION.get()
}

/// A card has come, that the node's network may use.
pub fn card_came() {
    CARD.raise();
}

/// Where the node is, or is to be.
pub fn info(config: &NodeConfig) -> AddressInfo {
    let mut info = AddressInfo {
        network: config.network.clone().filter(|_| config.address != NodeAddress::None),
        dhcp: config.address == NodeAddress::Dhcp,
        ..AddressInfo::default()
    };
    if let Some(station) = get() {
        let stack = station.stack.lock();
        info.addresses = stack.addresses().collect();
        info.gateways = stack.gateways().to_vec();
        info.dns = stack.dns().to_vec();
    }
    info
}

/// What the node does on its network, for ever.
async fn run(config: NodeConfig, network: Arc<Network>, timers: Arc<Timers>) {
    let mac = if network.config.uplinks.is_empty() {
        derived_mac(&config.name, "", 0)
    } else {
        loop {
            if let Some(mac) = network.first_card() {
                break mac;
            }
            CARD.wait().await;
        }
    };
    let station = match Station::new(&config, &network, mac) {
        Ok(station) => STATION.call_once(|| station),
        Err(why) => {
            log::error!("network {}: the node can't be on it: {why}", network.config.name);
            return;
        }
    };
    let vlan = network.config.vlan.map_or(Vlan::None, Vlan::Access);
    let port = PortConfig { vlan, ..PortConfig::new(PortKind::Node { mac }) };
    let id = match network.attach(port, Outlet::Node(station.clone()), PortOwner::Node) {
        Ok(id) => id,
        Err(why) => {
            log::error!("network {}: the node can't be on it: {why}", network.config.name);
            return;
        }
    };
    network.set_up(id, true);
    station.set_link(network.is_up());
    if config.echo {
        echo::start(station);
    }
    loop {
        let next = station.poll(&network, id);
        station.work_or(&timers, next).await;
    }
}

impl Station {
    fn new(config: &NodeConfig, network: &Network, mac: Mac) -> Result<Arc<Self>, net::stack::BadConfig> {
        let address = match &config.address {
            NodeAddress::Static { addresses, gateways, dns } => Addressing::Static {
                addresses: addresses.clone(),
                gateways: gateways.clone(),
                dns: dns.clone(),
            },
            NodeAddress::Dhcp | NodeAddress::None => Addressing::Dhcp,
        };
        let random = random::bytes();
        let seed = u64::from_le_bytes(core::array::from_fn(|i| random[i]));
        let stack = Stack::new(StackConfig { mac, mtu: network.config.mtu, address, seed })?;
        Ok(Arc::new(Self {
            stack: Mutex::new(stack),
            arrived: Mutex::default(),
            work: Signal::new(),
            changes: Changes::new(),
            pings: Mutex::default(),
        }))
    }

    /// The network leads somewhere, or not any more.
    pub fn set_link(&self, up: bool) {
        self.stack.lock().set_link(up);
        self.work.raise();
    }

    /// A frame for the node, or for all: copies it.
    pub fn receive(&self, frame: &Frame<'_>, headers: &Headers) -> Result<(), Reason> {
        let mut result = Ok(());
        let done = offload::finish(frame, headers, &DirectMemory, |piece| {
            let mut bytes = vec![0; piece.bytes()];
            offload::read(piece, &DirectMemory, 0, &mut bytes);
            let mut arrived = self.arrived.lock();
            if arrived.len() < QUEUE {
                arrived.push_back(bytes);
            } else {
                result = Err(Reason::NoRoom);
            }
        });
        self.work.raise();
        if done { result } else { Err(Reason::Malformed) }
    }

    /// Lets the stack do what there is to do. When to come again at the latest.
    fn poll(&self, network: &Network, id: PortId) -> Option<u64> {
        let arrived = core::mem::take(&mut *self.arrived.lock());
        let mut stack = self.stack.lock();
        for frame in arrived {
            stack.receive(frame);
        }
        let next = stack.poll(time::now().0);
        let mut frames = Vec::new();
        while let Some(frame) = stack.transmit() {
            frames.push(frame);
        }
        let events: Vec<StackEvent> = stack.take_events().collect();
        drop(stack);
        for event in events {
            match event {
                StackEvent::Leased { .. } => log::info!("network {}: {event}", network.config.name),
                _ => log::warn!("network {}: {event}", network.config.name),
            }
        }
        let any = !frames.is_empty();
        for frame in frames {
            send(network, id, frame);
        }
        if any {
            network.flush();
        }
        self.changes.announce();
        next
    }

    /// Waits until there is something to do, or until `next`.
    async fn work_or(&self, timers: &Arc<Timers>, next: Option<u64>) {
        let mut work = pin!(self.work.wait());
        let mut late = pin!(timers.sleep_until(next.unwrap_or(u64::MAX).min(time::now().0 + REST)));
        poll_fn(|context| {
            // Both, so that each leaves its waker.
            let ready = [work.as_mut().poll(context).is_ready(), late.as_mut().poll(context).is_ready()];
            if ready.contains(&true) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// Carries a frame of the stack's, in the memory that it lies in.
fn send(network: &Network, id: PortId, bytes: Vec<u8>) {
    let Ok(headers) = Headers::parse(&bytes, bytes.len()) else { return };
    let offload = Offload { verified: true, ..Offload::default() };
    if bytes.len() <= LONGEST {
        network.carry(id, &Frame { beginning: &bytes, rest: &[], offload }, &headers, None);
        return;
    }
    let mut beginning = [0; LONGEST];
    beginning.copy_from_slice(&bytes[..LONGEST]);
    let rest = &bytes[LONGEST..];
    // The heap is in the direct map. A frame is shorter than 64 KiB.
    let rest = [Segment { address: DIRECT.physical(Hva::from_ptr(rest.as_ptr())), bytes: rest.len() as u32 }];
    let done = Done { to: Arc::new(Kept(bytes)), tag: 0 };
    network.carry(id, &Frame { beginning: &beginning, rest: &rest, offload }, &headers, Some(done));
}

/// A frame that a card may still read.
struct Kept(#[expect(dead_code, reason = "is kept, not read")] Vec<u8>);

impl Sent for Kept {
    fn sent(&self, _tag: u64) {}
}
