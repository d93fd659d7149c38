//! What came from a port, what it got, and what was dropped, and why.
use core::fmt;

/// Why a frame was dropped.
///
/// Counted at the port that was the cause: at the sender's, but for those of [`is_receivers`](Self::is_receivers).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// Its headers are refused ([`crate::frame::Malformed`]).
    Malformed,
    /// Its packet, or each that it is to be cut into, is longer than the network's may be.
    Oversized,
    /// It came from a port that is down, or not there.
    Down,
    /// It came from an uplink that is not the active one.
    Standby,
    /// Its source is a group or nobody.
    Source,
    /// It is for the next switch alone (IEEE 802.1Q, table 8-1; IEEE 802.3, 31A).
    Control,
    /// It is of a VLAN that its port does not carry.
    Vlan,
    /// Its source is not the guest's MAC address.
    Mac,
    /// Its source is the MAC address of another port here.
    Taken,
    /// The guest claims an IP address for a MAC address that is not its own.
    ClaimMac,
    /// The guest claims an IP address that is not its own, by ARP or neighbour discovery.
    ClaimAddress,
    /// The guest sent from an IP address that is not its own.
    Address,
    /// The guest's addresses are limited, and this one can't be checked.
    Unchecked,
    /// The port sends more than it may.
    SendLimit,
    /// The port sends more to groups than it may.
    GroupsLimit,
    /// Its destination is where it came from.
    Origin,
    /// Its destination is outside, and no uplink is up.
    NoUplink,
    /// Nobody who may get it is there.
    Nobody,
    /// The port gets more than it may.
    ReceiveLimit,
    /// The port had no room for it.
    NoRoom,
    /// It is longer than the port takes.
    TooLong,
    /// The port could not take it any more.
    Gone,
    /// Beyond the port, it would be the node's own word: of an EtherType that one of its sockets has there
    /// ([`crate::socket`]).
    NodesOwn,
}

impl Reason {
    /// All, in the order of their declaration.
    pub const ALL: [Self; 23] = [
        Self::Malformed,
        Self::Oversized,
        Self::Down,
        Self::Standby,
        Self::Source,
        Self::Control,
        Self::Vlan,
        Self::Mac,
        Self::Taken,
        Self::ClaimMac,
        Self::ClaimAddress,
        Self::Address,
        Self::Unchecked,
        Self::SendLimit,
        Self::GroupsLimit,
        Self::Origin,
        Self::NoUplink,
        Self::Nobody,
        Self::ReceiveLimit,
        Self::NoRoom,
        Self::TooLong,
        Self::Gone,
        Self::NodesOwn,
    ];

    /// Whether it is counted at the port that did not get the frame.
    pub const fn is_receivers(self) -> bool {
        matches!(self, Self::ReceiveLimit | Self::NoRoom | Self::TooLong | Self::Gone | Self::NodesOwn)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "its headers are malformed",
            Self::Oversized => "its packet is longer than the network's MTU",
            Self::Down => "it came from a port that is down",
            Self::Standby => "it came from an uplink that is on standby",
            Self::Source => "its source is no station's MAC address",
            Self::Control => "it is for the next switch alone, as STP, LLDP and pause frames are",
            Self::Vlan => "it is of a VLAN that its port does not carry",
            Self::Mac => "its source is not the guest's MAC address",
            Self::Taken => "its source is the MAC address of another port of this switch",
            Self::ClaimMac => "its ARP message is from a MAC address that is not the guest's",
            Self::ClaimAddress => "it claims an IP address that the guest may not have",
            Self::Address => "it is from an IP address that the guest may not have",
            Self::Unchecked => "the guest's IP addresses are limited, and it has a form that hides them",
            Self::SendLimit => "the port sends more than its limit",
            Self::GroupsLimit => "the port sends more broadcasts and multicasts than its limit",
            Self::Origin => "its destination is where it came from",
            Self::NoUplink => "its destination is outside, and no uplink is up",
            Self::Nobody => "nobody here may get it",
            Self::ReceiveLimit => "the port is sent more than its limit",
            Self::NoRoom => "the port had no room for it",
            Self::TooLong => "it is longer than the port takes",
            Self::Gone => "the port went down before it was delivered",
            Self::NodesOwn => "it has an EtherType by which the node itself speaks there",
        })
    }
}

/// Frames, and their bytes. A frame that is still to be cut is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub frames: u64,
    pub bytes: u64,
}

impl Traffic {
    pub(super) fn add(&mut self, bytes: usize) {
        self.frames += 1;
        self.bytes += bytes as u64;
    }
}

/// What a port has done since it was attached.
///
/// Each frame in [`received`](Self::received) was forwarded, or is in one of the sender's drops. Each copy that a port was
/// to get is in [`delivered`](Self::delivered), or in one of its receiver's drops, once the mover has told of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// What came from it.
    pub received: Traffic,
    /// What it got.
    pub delivered: Traffic,
    drops: [u64; Reason::ALL.len()],
}

impl Counters {
    /// Frames that were dropped for `reason`.
    pub const fn dropped(&self, reason: Reason) -> u64 {
        self.drops[reason as usize]
    }

    /// Each reason for which some were dropped, and how many.
    pub fn drops(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        Reason::ALL.into_iter().zip(self.drops).filter(|&(_, frames)| frames != 0)
    }

    pub(super) fn drop(&mut self, reason: Reason) {
        self.drops[reason as usize] += 1;
    }
}
