//! A port: what it is told to be, and what it has become.
use super::guard::Guard;
use super::rate::Bucket;
use super::{Counters, Ports, Rate, Vlan};
use crate::frame::Mac;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

/// What a port is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortConfig {
    /// Who is behind it.
    pub kind: PortKind,
    /// Which VLANs it carries.
    pub vlan: Vlan,
    /// Most bytes a second that it may send.
    pub send_limit: Option<Rate>,
    /// Most bytes a second that it gets.
    pub receive_limit: Option<Rate>,
    /// Most frames a second that it may send to groups, and so to everybody.
    pub groups_limit: Option<Rate>,
}

/// Who is behind a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortKind {
    /// A virtual machine.
    Guest {
        /// Its own address, which no other port may send from.
        mac: Mac,
        /// It may send from others too, and gets what is for an unknown one: it is a switch itself, or moves addresses.
        allow_any_mac: bool,
        /// The IP addresses that it may have; any, where there is no list. Where one of IPv6 is in it, all that are
        /// link-local are too; where none is, the guest has no IPv6.
        addresses: Option<Vec<IpAddr>>,
    },
    /// A cable to the outside. Of several, only one is in use: of those that are up, one of the highest priority.
    Uplink { priority: u16 },
    /// The node's own stack.
    Node {
        /// Its address.
        mac: Mac,
    },
}

impl PortConfig {
    /// Without VLAN and limits.
    pub const fn new(kind: PortKind) -> Self {
        Self { kind, vlan: Vlan::None, send_limit: None, receive_limit: None, groups_limit: None }
    }
}

/// Why a port can't be as it was told to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortError {
    /// The switch has [`Ports::MOST`] ports.
    Full,
    /// Its address is none of a station.
    Mac(Mac),
    /// Another port that carries a VLAN of its own has its address.
    Taken(Mac),
    /// A limit is 0, or beyond what any network has.
    Limit,
    /// It is not attached.
    Detached,
}

impl fmt::Display for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => {
                write!(f, "the switch has {} ports already: detach one, or make another switch", Ports::MOST)
            }
            Self::Mac(mac) => write!(f, "{mac} is not the MAC address of a station: choose another"),
            Self::Taken(mac) => write!(f, "{mac} belongs to another port of this network: choose another"),
            Self::Limit => write!(
                f,
                "a limit is between 1 and {} a second, with a burst between 1 and {}",
                Rate::MOST,
                Rate::MOST_BURST
            ),
            Self::Detached => f.write_str("the switch has no such port"),
        }
    }
}

/// A port that is attached.
pub(super) struct Port {
    pub(super) kind: Kind,
    pub(super) vlan: Vlan,
    pub(super) sends: Option<Bucket>,
    pub(super) receives: Option<Bucket>,
    pub(super) groups: Option<Bucket>,
    pub(super) counters: Counters,
    /// Who gets a copy of what it sends and gets.
    pub(super) mirrors: Ports,
}

pub(super) enum Kind {
    Guest { mac: Mac, any_mac: bool, guard: Guard },
    Uplink { priority: u16 },
    Node { mac: Mac },
}

impl Kind {
    /// The address that is its own.
    pub(super) const fn station(&self) -> Option<Mac> {
        match self {
            Self::Guest { mac, .. } | Self::Node { mac } => Some(*mac),
            Self::Uplink { .. } => None,
        }
    }

    pub(super) const fn is_uplink(&self) -> bool {
        matches!(self, Self::Uplink { .. })
    }
}

impl Port {
    /// # Errors
    /// Its address or a limit is none.
    pub(super) fn new(config: PortConfig) -> Result<Self, PortError> {
        let PortConfig { kind, vlan, send_limit, receive_limit, groups_limit } = config;
        let kind = match kind {
            PortKind::Guest { mac, allow_any_mac, addresses } => {
                let guard = Guard::new(mac, allow_any_mac, addresses.as_deref());
                Kind::Guest { mac, any_mac: allow_any_mac, guard }
            }
            PortKind::Uplink { priority } => Kind::Uplink { priority },
            PortKind::Node { mac } => Kind::Node { mac },
        };
        if let Some(mac) = kind.station()
            && !mac.is_station()
        {
            return Err(PortError::Mac(mac));
        }
        let limits = [send_limit, receive_limit, groups_limit];
        if limits.into_iter().flatten().any(|rate| !rate.is_valid()) {
            return Err(PortError::Limit);
        }
        let [sends, receives, groups] = limits.map(|rate| rate.map(Bucket::new));
        let (counters, mirrors) = (Counters::default(), Ports::EMPTY);
        Ok(Self { kind, vlan, sends, receives, groups, counters, mirrors })
    }
}
