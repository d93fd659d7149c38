//! Network cards: what one is to everyone above its driver.
//!
//! ```text
//!  the switch                                          who has frames and wants them
//!     │ transmit(Frame, done), start()     ▲ Receiver::receive(Frame), one after the other, then received()
//!     ▼                                    │
//!  Nic: e1000, virtio-net                              who moves them
//! ```
//!
//! A frame travels as a copy of its beginning, in which all headers lie that anybody looks at, and the physical memory
//! in which the rest is. So what was checked is what goes on, whatever the owner of that memory does meanwhile; a header
//! can be changed (a VLAN tag put in) for nothing; and the rest is copied by none but the last who needs it.
//!
//! Promises of a card:
//! - The memory of a frame that was accepted is let go exactly once, by [`Sent::sent`]; maybe before `transmit` returns,
//!   maybe on another CPU. A card that hangs or goes away lets go of all that it has. That a frame was sent says nothing
//!   of its arrival.
//! - Frames that one CPU transmits go out in that order. Frames of one flow are received in their order.
//! - [`Receiver::receive`] is called in a task, never in an interrupt handler, for each frame that was received whole and
//!   without an error; its memory is the card's again when that returns.
//!
//! Who transmits promises that a [`Frame`] is as it says ([`Frame::check`]); cards take no other.
//!
//! Not here: what is in a frame, to whom it goes, and what becomes of one for which there is no room.
mod card;
mod frame;
#[cfg(test)]
mod tests;

pub use card::{Abilities, Counters, Filter, Identity, Link, Nic, Receiver};
pub use frame::{BadFrame, Checksum, Done, Frame, Offload, Refused, Segmentation, SegmentationKind, Sent};
