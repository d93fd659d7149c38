//! Networks: Ethernet frames between the wire, virtual machines and the node itself.
//!
//! ```text
//!  virtio-net of a VM ─┐                                ┌─ another VM's
//!                      ├─► Frame ─► switch: to whom? ───┼─ the node itself
//!  Nic: e1000, virtio ─┘                                └─ Nic::transmit
//! ```
//!
//! - [`backlog`]: what waits for room, by who has sent it.
//! - [`flow`]: which frames belong together.
//! - [`frame`]: what the headers of a frame say, checked, and how they are made.
//! - [`nic`]: what a network card is to everyone above its driver, and in which form a frame travels.
//! - [`offload`]: what is left to be done to a frame, done by the CPU.
//! - [`switch`]: who gets a frame.
//! - [`socket`]: frames of an EtherType, for those in the node that speak it.
//! - [`stack`]: the node's own IP: addresses, DHCP, ping and TCP.
//! - [`capture`]: frames kept for whoever looks for a fault.
//!
//! Sans-I/O and without a clock: frames and times are passed in, so that all of it runs on the host under tests.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod backlog;
pub mod capture;
pub mod flow;
pub mod frame;
pub mod nic;
pub mod offload;
pub mod socket;
pub mod stack;
pub mod switch;
