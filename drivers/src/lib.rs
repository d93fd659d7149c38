//! Drivers of the machine's devices.
//!
//! | folder | devices |
//! |---|---|
//! | [`ahci`] | SATA disks |
//! | [`e1000`] | Intel's gigabit Ethernet cards 82540EM, 82545EM and 82574L |
//! | [`nvme`] | NVMe drives |
//! | [`pci`] | the bus: what is there, its address windows, its interrupts |
//! | [`virtio`] | virtio-blk disks and virtio-net cards, for nodes that are VMs themselves |
//!
//! A driver touches the machine through two traits only: [`Registers`], a window on its device's registers,
//! and [`Kernel`], which gives it memory for DMA, interrupts, time and tasks. On the host both are played by a
//! software model of the device and by a kernel of the test's own, which checks that the device reaches no memory
//! that it was not given.
//!
//! Promises of each driver: a device that misbehaves (a bad status, a stuck bit, a completion for nothing, a
//! surprise removal) costs an error on its requests and a line in the log, never the node. Nothing that a device
//! says is used as a length, an index or an address without a check. No driver waits without a limit.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod ahci;
mod dma;
pub mod e1000;
mod kernel;
pub mod nvme;
pub mod pci;
mod request;
#[cfg(test)]
mod test_kernel;
pub mod virtio;

pub use dma::DmaMemory;
pub use kernel::{Interrupt, Kernel, MsiMessage, Registers, Task};
