//! Intel's gigabit Ethernet cards: 82540EM and 82545EM (QEMU's `e1000`), and 82574L (QEMU's `e1000e`).
//!
//! ```text
//! Nic::transmit ─► card ─► transmit: descriptors; offload: context, headers; copies: beginnings
//! Nic::start ────► one write of the tail                  ▲          │
//!                                                         ▼          ▼
//!                                              rings and buffers ◄──► the device
//!                                                         ▲
//! message ─► Signal ─► the card's task ─► receive: frames ┘─► Receiver::receive ... received
//! or, without messages, time                    transmit: what was sent ─► Done::sent, Receiver::room
//!
//! controller: bring-up, the task, watchdog, resets, removal     hardware, filter, messages: registers
//! ```
//!
//! Promises:
//! - Of a frame that is sent its beginning is copied, of one received too; the rest is the device's to read, or to show,
//!   where it is. Neither costs an allocation.
//! - A frame costs a lock of the ring, a start one and a write of a register; sent frames are let go of in batches. There
//!   is one task, on the CPU that brought the card up: it takes what was received and what was sent, and nobody is called
//!   while the ring is locked.
//! - Frames are let go of when the device has reported them, or was reset, or may not be bus master any more: each once.
//! - A card that does nothing for 2 seconds though it has frames to send is reset and set up anew, and so is one that fills
//!   buffers out of order. One that does not come back from that is given up.
//! - What a device says of a buffer is checked; what is no frame is counted as a receive error.
//!
//! The 82574L sends messages: by MSI-X one each for what was received, what was sent, and the link; or one by MSI. The others
//! are polled: every 100 microseconds while there is traffic, down to every 4 milliseconds when there is none.
//!
//! Refused as [`net::nic::Refused::Unable`]: frames of more pieces of memory than a chip takes (with the 82574L 63 and a
//! copy), checksums beyond the first 256 bytes, and to cut TCP behind extension headers of IPv6; with the 8254x, over
//! IPv6 at all.
//!
//! Not here: several queues, VLAN tags put in or taken out, flow control, wake-up, INTx, interrupts of the 8254x, settings
//! of the PHY: it negotiates by itself.
mod card;
mod chip;
mod controller;
mod copies;
mod counters;
mod descriptor;
mod error;
mod filter;
mod hardware;
mod messages;
#[cfg(test)]
mod model;
mod offload;
mod pace;
mod receive;
mod registers;
mod shared;
#[cfg(test)]
mod tests;
mod transmit;

use crate::Registers;
use crate::pci::MessageInterrupts;
use alloc::boxed::Box;
use alloc::string::String;

pub use chip::is_e1000;
pub use controller::{Controller, start};
pub use error::E1000Error;

/// What a card consists of, for the driver.
pub struct Parts {
    /// By which it is named: `eth0`.
    pub name: String,
    /// Its PCI device ID, of those that [`is_e1000`] knows.
    pub device: u16,
    /// Its registers: all of BAR 0.
    pub registers: Box<dyn Registers>,
    /// Its messages; without, it is polled.
    pub interrupts: Option<Box<dyn MessageInterrupts>>,
    /// Takes Bus Master Enable from its function (PCI Local Bus 3.0, 6.2.2), and reads the register back, so that what it
    /// has written before is in memory when this returns: from then on it reaches no memory. Called when the card is over,
    /// or does not stop by itself; it may be gone by then.
    pub stop_dma: Box<dyn Fn() + Send + Sync>,
}
