//! virtio-net as a network card of the machine (virtio 1.2, 5.1).
//!
//! ```text
//! Nic::transmit ─► card ─► pair of the calling CPU ─► sending: beginning copied behind a header, rest as it lies ─┐
//! Nic::start ────► one notification, if the device wants it                                                      ▼
//!                                                                                              ring ◄──► the device
//! interrupt ─► Signal ─► a task per pair, on its CPU ─► receiving: a batch ─► Receiver::receive, ... received    ▲
//!                                            │                      └─ the buffers go back ──────────────────────┘
//!                                            └────────► sending: frames that are out ─► Done::sent, Receiver::room
//!
//! controller: bring-up      lifecycle: link, filter, hangs, resets, removal      control: commands to the device
//! ```
//!
//! Promises:
//! - The memory of a frame is let go of exactly once, when the device can't reach it any more: the device has returned
//!   it, or was seen to be reset, or may not be bus master any more. What lies behind a frame's beginning is not copied.
//! - A frame costs no allocation, one lock to send, and no device access but a notification per [`net::nic::Nic::start`]
//!   where the device asks for it. Frames that nobody waits for cost no interrupt.
//! - What comes is handed over when it is whole, of a length that may come, and as its header says; else it is counted.
//! - A device that keeps all frames for five seconds, returns what it was not given or more than there is room for, or
//!   says that it needs a reset, is reset, and set up as before. Where that does not help three times in a row, it is
//!   given up: no link, not present.
//! - Without an interrupt for changes of the link it is looked at once a second; without any, queues are polled.
//!
//! Refused: devices without an address. Not here: addresses to be filtered one by one (with groups, all groups are
//! taken), VLANs, steering by flows (the device does it by what was sent), UDP that is cut, announcements, speeds.
mod card;
mod config;
mod control;
mod controller;
mod header;
mod lifecycle;
#[cfg(test)]
mod model;
mod pair;
mod receive;
mod send;
#[cfg(test)]
mod tests;

use super::transport::{VENDOR, Windows};
use crate::Registers;
use crate::pci::MessageInterrupts;
use alloc::boxed::Box;
use alloc::string::String;

pub use controller::{Controller, start};

/// Its own number, and the one that older drivers know.
const DEVICES: [u16; 2] = [0x1041, 0x1000];

/// Whether a function is a network card of this kind.
pub fn is_net(vendor: u16, device: u16) -> bool {
    vendor == VENDOR && DEVICES.contains(&device)
}

/// What a device consists of, for the driver.
pub struct Parts {
    /// What it is called: `eth0`.
    pub name: String,
    /// Its registers.
    pub windows: Windows<Box<dyn Registers>>,
    /// Its messages: one for each pair of queues, and one for changes of the link; without, it is polled.
    pub interrupts: Option<Box<dyn MessageInterrupts>>,
    /// Takes Bus Master Enable from its function (PCI Local Bus 3.0, 6.2.2), and reads the register back, so that
    /// what it has written before is in memory when this returns: from then on it reaches no memory. Called
    /// when the device is over, or does not stop by itself; it may be gone by then.
    pub stop_dma: Box<dyn Fn() + Send + Sync>,
}
