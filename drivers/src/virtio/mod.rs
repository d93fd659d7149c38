//! virtio devices of the machine, for nodes that are VMs themselves (virtio 1.2, over PCI: 4.1).
//!
//! | file or folder | what it is |
//! |---|---|
//! | [`blk`] | disks (5.2) |
//! | [`net`] | network cards (5.1) |
//! | `transport` | the registers, by PCI capabilities |
//! | `handshake` | reset, and agreeing on features |
//! | `ring` | a split virtqueue: descriptors, available, used |
//!
//! Promises of all: what a device was given is told to be done exactly once, when the device can't reach its memory
//! any more; a device that does not behave is reset, and given up where that does not help.
//!
//! Refused: devices older than virtio 1.0 (legacy). Not here: packed rings, indirect descriptors, other kinds of
//! devices.
pub mod blk;
mod error;
mod handshake;
#[cfg(test)]
mod model;
pub mod net;
mod ring;
mod transport;

pub use blk::is_block;
pub use error::VirtioError;
pub use net::{is_net, start as start_net};
pub use transport::Windows;
