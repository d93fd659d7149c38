//! Raw sockets: frames of one EtherType, sent and received on one card. The one interface that the cluster's protocol
//! has to the wire.
//!
//! ```text
//!            the cluster's protocol                                    the virtual switch
//!   Socket::send      ▲ Handler::receive: borrowed                       ▲        │ Nic::transmit
//!        │            │ or Inbox: copied, bounded                        │        │ (not what is a socket's:
//!        ▼            │                                                  │        ▼  Interface::is_open)
//!  Lane: urgent ─┐    │ of an EtherType and VLAN with a socket           │ all others
//!        normal ─┤    └──────────────┬───────────────────────────────────┘
//!        bulk ───┤               Interface (Receiver)
//!                ▼                    ▲
//!              Nic::transmit          │                 the card          (after Interface::make_way)
//! ```
//!
//! - [`Interface`]: a card, shared by sockets and one other receiver, which gets all that is no socket's. It makes the
//!   card's filter of what all of them want.
//! - [`Socket`]: an EtherType, in one VLAN or without a tag. Who has it opened sends and receives; nobody else can open
//!   it there.
//! - `lane`: frames for which the card has no room, for each of its queues.
//! - [`Handler`], [`Inbox`]: what becomes of that which comes.
//!
//! # Sending
//!
//! [`Socket::send`] makes the Ethernet header and copies the message's header behind it; the payload is not copied: the
//! card reads it where it lies, and tells [`Done`](crate::nic::Done) when it is through. A frame costs a lock of the lane,
//! twice, and no memory, as long as the card takes it.
//!
//! When the card is full, frames wait, by [`Priority`]: what is urgent goes before what is normal, that before bulk,
//! always; so bulk may wait for as long as others send. As many wait as the socket's [`Limit`] for the priority says;
//! who has more gets [`SendError::Full`], and [`Socket::room`] to wait for.
//!
//! Priority ends where the card begins: its ring is first come, first served. So that bulk does not fill it, at most
//! [`WINDOW`] bytes of bulk lie in each of the card's queues at a time, from all sockets; the rest waits in the lane.
//! Frames of VMs fill it too, and wait in their senders' memory where it has no room. Whoever sends those asks
//! [`Interface::make_way`] first, which lets what is urgent or normal and waits here have what room there is, and says
//! whether others may have the rest: else guests that keep the ring nearly full would take each place that gets free, and a
//! card that tells of room when half of it is free would not do so for long. When it does, what waits here goes in before
//! theirs. Hence an urgent frame waits for what is in the ring when it is sent, at most, and for urgent ones before it. VMs
//! get what urgent and normal frames leave, which are mostly their own writes; with bulk they share as it comes. A ring of a
//! thousand frames of VMs is long on a slow wire, 12 ms of full frames at 1 Gbit/s: where that is too much, cards are
//! better not shared.
//!
//! Who sends tells the card by [`Socket::start`] that it has something, once for all that it has sent.
//!
//! # Promises
//! - `done` of a frame that was accepted is told exactly once: when the card is through with it, when its socket is closed
//!   while it waits, or when the link goes down while it waits. Of one that was refused it is never told. That it was told
//!   says nothing of the frame's arrival.
//! - Frames of one priority that one CPU sends by one socket go out in their order. (Where the card is reset, what it had
//!   is lost.)
//! - Without a link nothing waits: what did is dropped, and what is sent is refused by [`SendError::Down`]. A frame that
//!   would go out seconds later helps nobody, while its sender, told at once, takes another way. [`Handler::changed`]
//!   tells of the link. A card that is gone does not come back: [`SendError::Gone`].
//! - Each frame is counted ([`Counters`]): sent, waiting, refused or dropped; handed over, or dropped by its reason.
//! - No handler and no `done` is called with a lock held, and no function of the card but those that tell what it is like.
//!
//! # Receiving
//!
//! [`Handler::receive`] is called where the card's task is, with the frame as it lies in the card's memory. A replica that
//! decrypts or checks what it writes does so from there right into the memory that the disk reads: one pass, which it needs
//! in any case, and no copy beside it. Lending is all that cards offer ([`Receiver`](crate::nic::Receiver)), so a queue
//! needs a copy; those for whom that is cheap enough, as discovery, take an [`Inbox`].
//!
//! A frame of the socket's EtherType and VLAN is the socket's alone: neither the switch nor a guest sees it, whoever it is
//! for. Handed over are those for the card's address, for everybody, and for groups that were joined, from another
//! station. What comes is an allegation. Frames shorter than 60 bytes come with zeros behind them, from most cards.
//!
//! # Guests
//!
//! A guest must not speak for the node. Whoever sends frames of guests by the same card asks [`Interface::is_open`], and
//! drops what is of a socket's EtherType and VLAN: it is one comparison for frames of IP and ARP, which can't be a socket's.
//! Neither do guests get such frames from outside. In another VLAN, on another card and among guests of a node that EtherType
//! is one like others. What comes by the wire may still be from anybody: peers authenticate.
//!
//! # Refused
//! EtherTypes that others speak or that are none ([`OpenError`]), a second socket for the same, frames longer than the
//! card's MTU, of more than [`SEGMENTS`] pieces, or to nobody.
//!
//! # Not here
//! Fragments, acknowledgements, which of several cards to take, promiscuous sockets, and rates: the wire's is the only one.
mod counters;
mod error;
mod handler;
mod inbox;
mod interface;
mod lane;
mod outgoing;
mod priority;
mod shared;
#[expect(clippy::module_inception, reason = "the field's word")]
mod socket;
#[cfg(test)]
mod tests;

pub use counters::{Counters, DropReason, Outgoing, SocketInfo};
pub use error::{JoinError, OpenError, SendError};
pub use handler::{Handler, Received};
pub use inbox::{Inbox, Parcel};
pub use interface::{Interface, State};
pub use lane::WINDOW;
pub use priority::{Limit, Priority};
pub use socket::{GROUPS, Message, SEGMENTS, Socket, SocketConfig};
