//! virtio-blk as a disk of the machine (virtio 1.2, 5.2).
//!
//! ```text
//! BlockDevice::submit ─► disk ─► queue (that of the calling CPU) ─► request: its commands
//! BlockDevice::start ──► one notification, if the device wants it   ▼
//!                                                       ring: descriptors, available, used ◄──► the device
//! interrupt ─► Signal ─► a task per queue, on its CPU ─► queue: a batch ─► Done::complete
//! Controller::poll ───────────────────────────────────►
//!
//! controller: features, time-outs, resets, removal
//! ```
//!
//! Promises:
//! - Each request is completed exactly once, when the device can't reach its memory any more: the device has
//!   returned it, or was seen to be reset, or may not be bus master any more. The data is never copied.
//! - A read or write of one command costs no allocation, one lock to submit, one for its share of a notification,
//!   one for its share of a batch; no device access but the notification, and that only where the device asks for it
//!   (event index).
//! - A device that takes too long, returns what it was not given, or says that it needs a reset, is reset: what it
//!   had fails, what waits goes on. Where that does not help, all requests fail.
//!
//! Refused: disks with blocks other than 512 to 4096 bytes. Not here: change of size while in use, a block of more
//! pieces of memory than a request may have. A ring entry per piece of memory is enough for 85 requests of a page.
mod controller;
mod disk;
#[cfg(test)]
mod model;
mod queue;
#[cfg(test)]
mod tests;

use super::transport::{VENDOR, Windows};
use crate::Registers;
use crate::pci::MessageInterrupts;
use alloc::boxed::Box;

pub use controller::{Controller, start};
pub use disk::Disk;

/// Its own number, and the one that older drivers know.
const DEVICES: [u16; 2] = [0x1042, 0x1001];

/// Whether a function is a disk of this kind.
pub fn is_block(vendor: u16, device: u16) -> bool {
    vendor == VENDOR && DEVICES.contains(&device)
}

/// What a device consists of, for the driver.
pub struct Parts {
    /// Its number: it is `virtio{number}`.
    pub number: usize,
    /// Its registers.
    pub windows: Windows<Box<dyn Registers>>,
    /// Its messages, one for each queue; without, it is polled.
    pub interrupts: Option<Box<dyn MessageInterrupts>>,
    /// Takes Bus Master Enable from its function (PCI Local Bus 3.0, 6.2.2), and reads the register back, so that
    /// what it has written before is in memory when this returns: from then on it reaches no memory. Called
    /// when the device is over, or does not stop by itself; it may be gone by then.
    pub stop_dma: Box<dyn Fn() + Send + Sync>,
}
