//! Network cards, networks and their ports, captured frames and echoes, as an operator sees them.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;
use core::time::Duration;

use net::frame::{Headers, Mac, Network, Protocol, Transport, VlanId};
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaptureInfo {
    /// Frames are still being kept.
    pub running: bool,
    pub filter: CaptureFilter,
    /// Frames that are kept, and how many that will be at most.
    pub kept: usize,
    pub most: usize,
}

/// Which frames are kept: those that meet all that is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaptureFilter {
    pub protocol: Option<CaptureProtocol>,
    /// From or to this address; in ARP also what is said or asked of it.
    pub host: Option<IpAddr>,
    /// From or to this station.
    pub mac: Option<Mac>,
    /// From or to this port of TCP or UDP.
    pub port: Option<u16>,
}

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureProtocol {
    Arp,
    Ipv4,
    Ipv6,
    /// Of IPv4 or of IPv6.
    Icmp,
    Tcp,
    Udp,
}

impl CaptureProtocol {
    /// Each by the operator's word for it.
    pub const WORDS: [(&str, Self); 6] = [
        ("arp", Self::Arp),
        ("ip", Self::Ipv4),
        ("ip6", Self::Ipv6),
        ("icmp", Self::Icmp),
        ("tcp", Self::Tcp),
        ("udp", Self::Udp),
    ];
}

impl CaptureFilter {
    /// Whether a frame is kept.
    pub fn takes(&self, headers: &Headers) -> bool {
        let (ip, hosts): (_, [IpAddr; 2]) = match headers.network {
            Network::V4(ip) => (Some(ip.protocol), [ip.source.into(), ip.destination.into()]),
            Network::V6(ip) => (Some(ip.protocol), [ip.source.into(), ip.destination.into()]),
            Network::Arp(arp) => (None, [arp.sender_address.into(), arp.target_address.into()]),
            // A frame without addresses is of no host.
            Network::Other => (None, [IpAddr::V4(core::net::Ipv4Addr::UNSPECIFIED); 2]),
        };
        let protocol = self.protocol.is_none_or(|wanted| match wanted {
            CaptureProtocol::Arp => matches!(headers.network, Network::Arp(_)),
            CaptureProtocol::Ipv4 => matches!(headers.network, Network::V4(_)),
            CaptureProtocol::Ipv6 => matches!(headers.network, Network::V6(_)),
            CaptureProtocol::Icmp => matches!(ip, Some(Protocol::ICMP | Protocol::ICMPV6)),
            CaptureProtocol::Tcp => ip == Some(Protocol::TCP),
            CaptureProtocol::Udp => ip == Some(Protocol::UDP),
        });
        let ports = match headers.transport {
            Transport::Tcp(tcp) => Some([tcp.source, tcp.destination]),
            Transport::Udp(udp) => Some([udp.source, udp.destination]),
            Transport::Neighbour(_) | Transport::Fragment | Transport::Other => None,
        };
        let stations = [headers.ethernet.source, headers.ethernet.destination];
        protocol
            && self.host.is_none_or(|host| hosts.contains(&host))
            && self.mac.is_none_or(|mac| stations.contains(&mac))
            && self.port.is_none_or(|port| ports.is_some_and(|ports| ports.contains(&port)))
    }
}

impl fmt::Display for CaptureFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::default() {
            return f.write_str("all");
        }
        let mut gap = "";
        let mut word = |f: &mut fmt::Formatter<'_>, text: fmt::Arguments<'_>| {
            f.write_str(core::mem::replace(&mut gap, " "))?;
            f.write_fmt(text)
        };
        let protocol = CaptureProtocol::WORDS.iter().find(|(_, meaning)| Some(*meaning) == self.protocol);
        protocol.map_or(Ok(()), |(name, _)| word(f, format_args!("{name}")))?;
        self.host.map_or(Ok(()), |host| word(f, format_args!("host {host}")))?;
        self.mac.map_or(Ok(()), |mac| word(f, format_args!("mac {mac}")))?;
        self.port.map_or(Ok(()), |port| word(f, format_args!("port {port}")))
    }
}

/// Most bytes that are kept of a frame: all of one that fits a wire without jumbo frames.
pub const CAPTURED_BYTES: usize = 1518;

/// A frame that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapturedFrame {
    /// Time since the kernel was entered.
    pub time: Duration,
    /// Bytes that it had, without the frame check sequence.
    pub length: usize,
    /// Its beginning, [`CAPTURED_BYTES`] of it at most.
    pub bytes: Vec<u8>,
}

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
