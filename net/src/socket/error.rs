//! Why something is refused.
use crate::frame::{EtherType, Mac, VlanId};
use core::fmt;

/// Why a socket is not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// It is a length, and no type (IEEE 802.3, 3.2.6).
    Length(EtherType),
    /// It is another protocol's, which others here or in the card speak.
    Reserved(EtherType),
    /// There is a socket for it, in this VLAN, on this card.
    Taken(EtherType, Option<VlanId>),
    /// The card has no address of its own.
    NoAddress,
    /// The card is gone.
    Gone,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(EtherType(number)) => {
                write!(f, "{number:#06x} is the length of a frame and no EtherType: those begin at 0x0600")
            }
            Self::Reserved(EtherType(number)) => {
                write!(
                    f,
                    "EtherType {number:#06x} belongs to another protocol: take 0x88b5 or one of your own"
                )
            }
            Self::Taken(EtherType(number), None) => {
                write!(f, "EtherType {number:#06x} has a socket on this card: close it first")
            }
            Self::Taken(EtherType(number), Some(vlan)) => {
                let vlan = vlan.number();
                write!(f, "EtherType {number:#06x} has a socket in VLAN {vlan} on this card: close it first")
            }
            Self::NoAddress => f.write_str("the card has no MAC address to send from: take another card"),
            Self::Gone => f.write_str("the card is gone: take another card"),
        }
    }
}

/// Why a group is not joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinError {
    /// It is no group, or everybody.
    NoGroup(Mac),
    /// There are as many as there may be ([`super::GROUPS`]).
    TooMany,
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoGroup(mac) => write!(f, "{mac} is no group that could be joined"),
            Self::TooMany => write!(f, "the socket has joined {} groups: leave one first", super::GROUPS),
        }
    }
}

/// Why a frame is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SendError {
    /// As much waits as may: [`super::Socket::room`].
    Full,
    /// There is no link.
    Down,
    /// The card is gone.
    Gone,
    /// It is longer than the card sends.
    TooLong,
    /// Its destination is nobody, or the card itself.
    Destination,
    /// It has a piece of no bytes, or more pieces than the card takes.
    Pieces,
}

impl SendError {
    /// How many there are.
    pub(super) const COUNT: usize = 6;
    /// All, in the order of their declaration.
    pub const ALL: [Self; Self::COUNT] =
        [Self::Full, Self::Down, Self::Gone, Self::TooLong, Self::Destination, Self::Pieces];
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "as many frames wait for the card as may: wait for room",
            Self::Down => "the card has no link: take another way, or wait for the link",
            Self::Gone => "the card is gone: take another one",
            Self::TooLong => "the frame is longer than the card's MTU: send less at a time",
            Self::Destination => "the destination is nobody else's address",
            Self::Pieces => {
                "the payload has an empty piece, or more pieces than the card takes: send less at a time"
            }
        })
    }
}
