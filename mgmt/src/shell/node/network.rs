//! Network cards, networks and their ports, captured frames and echoes, as an operator sees them.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;
use core::time::Duration;

use net::capture::Filter;
use net::frame::{EtherType, Mac, VlanId};
use net::nic::{Abilities, Counters, Identity, Link};

/// A network card of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NicInfo {
    /// Its name, as `purevisor.toml` has it, its model and its address.
    pub identity: Identity,
    /// What drives it, and the card's address on the bus.
    pub driver: &'static str,
    pub place: String,
    /// What the driver is doing, if that is not what it should: `resetting`. Else empty.
    pub state: String,
    pub link: Link,
    pub abilities: Abilities,
    pub counters: Counters,
    /// The networks that it is an uplink of.
    pub networks: Vec<String>,
    /// Raw sockets that are open on it.
    pub sockets: Vec<SocketInfo>,
}

/// A raw socket on a card: frames of an EtherType, which no VM sends or gets there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketInfo {
    /// Whose it is.
    pub name: String,
    pub ether_type: EtherType,
    pub vlan: Option<VlanId>,
    /// What came for it, and what of that was dropped, by reason.
    pub incoming: Traffic,
    pub drops: Vec<(&'static str, u64)>,
    /// What it has sent, the most urgent first.
    pub outgoing: Vec<OutgoingInfo>,
}

/// What a socket has sent with one priority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutgoingInfo {
    pub priority: &'static str,
    pub sent: Traffic,
    /// Frames that wait for the card.
    pub waiting: u64,
    /// Frames that were refused, or dropped while they waited, by reason.
    pub drops: Vec<(&'static str, u64)>,
}

/// A network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkInfo {
    pub name: String,
    /// The cards that can lead out of it, the preferred one first.
    pub uplinks: Vec<String>,
    /// The one that does now.
    pub active: Option<String>,
    pub vlan: Option<VlanId>,
    pub mtu: u16,
    pub ports: Vec<PortInfo>,
    /// MAC addresses of which it knows at which port they are, and how many these can be at most.
    pub learned: usize,
    pub learned_most: usize,
    pub mirror: Option<Mirror>,
    pub capture: Option<CaptureInfo>,
}

/// Who is at a port of a network. `Display` is the port's name: `debian/0`, `eth0`, `node`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortOwner {
    /// A VM's NIC, by its index.
    Vm { vm: String, nic: usize },
    /// What an uplink leads to.
    Uplink(String),
    /// This node.
    Node,
}

impl fmt::Display for PortOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vm { vm, nic } => write!(f, "{vm}/{nic}"),
            Self::Uplink(name) => f.write_str(name),
            Self::Node => f.write_str("node"),
        }
    }
}

/// A port of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortInfo {
    pub owner: PortOwner,
    /// The address of whom is there, if it is one station.
    pub mac: Option<Mac>,
    /// Frames can come and go.
    pub up: bool,
    /// What came into the network here: what a guest has sent.
    pub incoming: Traffic,
    /// What left the network here: what a guest has received.
    pub outgoing: Traffic,
    /// Frames that were dropped, in either direction, by reason: `("no room", 3)`.
    pub drops: Vec<(&'static str, u64)>,
    /// Most bits a second that may come in.
    pub limit: Option<u64>,
}

impl PortInfo {
    /// All frames that were dropped.
    pub fn dropped(&self) -> u64 {
        self.drops.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }
}

/// Frames, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub frames: u64,
    pub bytes: u64,
}

/// A copy of what comes and goes at one port goes out at another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    pub from: PortOwner,
    pub to: PortOwner,
}

/// A capture of a network's frames.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaptureInfo {
    /// Frames are still being kept.
    pub running: bool,
    pub filter: Filter,
    /// Frames that are kept, and how many that will be at most.
    pub kept: usize,
    pub most: usize,
}

/// Most bytes that are kept of a frame: all of one that fits a wire without jumbo frames.
pub const CAPTURED_BYTES: usize = 1518;

/// What came of an echo request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Echo {
    /// Nothing yet, or the request is forgotten.
    Waiting,
    Reply(PingReply),
    /// There will be no reply, and why: `no answer to ARP`.
    Failed(String),
}

/// The reply to an echo request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PingReply {
    pub from: IpAddr,
    /// Bytes of the ICMP message.
    pub bytes: usize,
    /// From the request's sending to the reply's arrival.
    pub time: Duration,
}

/// The node's own place on a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressInfo {
    /// The network that it is on.
    pub network: Option<String>,
    /// A DHCP server gives the addresses, or is to.
    pub dhcp: bool,
    /// With their prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
    pub gateways: Vec<IpAddr>,
    pub dns: Vec<IpAddr>,
}
