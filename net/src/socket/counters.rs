//! What came by a socket, what went, and what did not.
use super::{Priority, SendError};
use crate::frame::{EtherType, Mac, VlanId};
use crate::switch::Traffic;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

/// Why a frame that came for a socket was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DropReason {
    /// Its source is no station.
    Source,
    /// Its source is the card's own address: it came back, or somebody pretends to be this node.
    Echo,
    /// It is for another station, or for a group that was not joined.
    Elsewhere,
    /// Nobody handles what comes.
    Unhandled,
}

impl DropReason {
    pub(super) const COUNT: usize = 4;
    /// All, in the order of their declaration.
    pub const ALL: [Self; Self::COUNT] = [Self::Source, Self::Echo, Self::Elsewhere, Self::Unhandled];
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "no station's source",
            Self::Echo => "own address as source",
            Self::Elsewhere => "for another station",
            Self::Unhandled => "no handler",
        })
    }
}

/// What a socket has done since it was opened. Bytes are those of whole frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Handed over. Not by priority: a frame without a tag does not tell its own.
    pub received: Traffic,
    pub(super) drops: [u64; DropReason::COUNT],
    pub(super) outgoing: [Outgoing; Priority::COUNT],
}

/// What became of the frames of one priority that were to be sent. Each is in one of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outgoing {
    /// Taken by the card.
    pub sent: Traffic,
    /// Wait for the card.
    pub waiting: Traffic,
    /// Accepted, and dropped while they waited: the link went down, or the card would not take them.
    pub dropped: u64,
    pub(super) refused: [u64; SendError::COUNT],
}

impl Counters {
    /// Frames that came and were dropped for `reason`.
    pub const fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }

    /// Each reason for which frames that came were dropped, and how many.
    pub fn drops(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.into_iter().zip(self.drops).filter(|&(_, frames)| frames != 0)
    }

    /// What was to be sent with this priority.
    pub const fn outgoing(&self, priority: Priority) -> &Outgoing {
        &self.outgoing[priority as usize]
    }
}

impl Outgoing {
    /// Frames that were refused.
    pub const fn refused(&self, error: SendError) -> u64 {
        self.refused[error as usize]
    }

    /// Each error by which frames were refused, and how many.
    pub fn refusals(&self) -> impl Iterator<Item = (SendError, u64)> + '_ {
        SendError::ALL.into_iter().zip(self.refused).filter(|&(_, frames)| frames != 0)
    }
}

/// A socket, to an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketInfo {
    /// Whose it is.
    pub name: String,
    pub ether_type: EtherType,
    pub vlan: Option<VlanId>,
    /// That it has joined.
    pub groups: Vec<Mac>,
    pub counters: Counters,
}

/// Counts on several CPUs at once.
#[derive(Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts frames and their bytes.
#[derive(Default)]
pub(super) struct TrafficCount {
    frames: Count,
    bytes: Count,
}

impl TrafficCount {
    pub fn add(&self, bytes: usize) {
        self.frames.add(1);
        self.bytes.add(bytes as u64);
    }

    pub fn get(&self) -> Traffic {
        Traffic { frames: self.frames.get(), bytes: self.bytes.get() }
    }
}
