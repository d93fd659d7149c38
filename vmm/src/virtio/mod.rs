//! virtio 1.2: paravirtual devices on the PCI bus, and the rings that they share with the guest.
//!
//! # How a request travels
//!
//! ```text
//!  guest: buffers in a ring, OUT to the notify port
//!     │ one exit, no instruction decoded; the port's BAR names the device
//!     ▼
//!  pci::Transport ─► blk::Blk ─► queue::Virtqueue::serve, under the queue's own lock
//!     split or packed ring ─► Chain: readable and writable memory, checked and translated to segments
//!     ▼
//!  channel::Channel, blk: header parsed, Request submitted with the guest's own memory as its segments; all that the
//!     ring has; then BlockDevice::start, once
//!     ▼                                        the vCPU goes on
//!  the driver, on any CPU, in a task ─► Channel::complete: status byte, used ring, MSI-X message to a vCPU,
//!     and a look at the ring for more
//! ```
//!
//! - [`queue`]: the two formats of rings, descriptor chains, notifications and their suppression.
//! - [`pci`]: the transport: capabilities, registers, MSI-X or INTx#.
//! - [`Device`]: what a type of device has to say and do. [`blk`]: disks; [`scsi`]: controllers of disks; [`rng`]: random numbers; [`console`]: a
//!   terminal; [`balloon`]: memory that goes back to the host; [`net`](self::net): network cards.
//! - [`channel`]: a queue of requests to disks. [`in_flight`]: those that a driver below us has.
//!
//! # What it costs
//!
//! A request moves no data but by the disk's own DMA, allocates nothing, and takes: one lock that only servers of the
//! same queue contend for, one short lock for the used ring, and a handful of atomic operations. What costs more than
//! all of that is a change of world, so:
//!
//! - The notify port is an I/O port of its own: its exit carries port and value, and needs no instruction decoder. All
//!   queues of a device share it, the value names the queue (multiplier 0).
//! - A kick serves all that the ring has. While [`in_flight::BUSY`] or more requests are under way the guest is told
//!   not to kick at all: every completion looks at the ring itself. With fewer it kicks, so that a request does not
//!   wait long behind a slow one.
//! - A guest that makes many requests is looked at and does not kick at all (`queue/watch.rs`).
//! - An interrupt is sent where the guest wants one: with event indices, one for all that completes before the guest
//!   has looked. Without them the mailbox of the vCPU joins what comes together.
//!
//! # What it promises
//!
//! Everything in the guest's memory is an allegation. A ring is read once, field by field; addresses become segments
//! only through [`crate::memory::GuestMemory`]; chains have at most [`queue::MAX_CHAIN`] descriptors, and so many
//! requests are in flight as the queue has entries. A ring that breaks the rules sets DEVICE_NEEDS_RESET and sends the
//! configuration interrupt (2.1.1); from then on its device does nothing until it is reset. One call serves a
//! bounded amount ([`queue::BUDGET`]), then lets others run ([`crate::platform::Postponed`]).
//!
//! # Who waits for whom
//!
//! A request in flight holds, by its completion, the queue and what keeps the guest's memory. A device that the guest
//! resets reads back its old status until the last request is done (2.4.2), and touches neither rings nor status
//! bytes from then on. At the end of a VM the kernel calls `Board::stop` and waits until `Board::in_flight` is 0.
//!
//! Locks, in this order: registers of the transport, available side of a queue, used side, the board's interrupt
//! controllers. What a type of device adds comes between the sides ([`scsi`]). The used side is never held while a request is submitted, since the completion may come within.
//!
//! # What it does not do
//!
//! No legacy interface, no NOTIFICATION_DATA, no IN_ORDER, no per-queue reset, no hot-plug.
pub mod balloon;
pub mod blk;
pub mod channel;
pub mod console;
mod control;
mod device;
pub mod in_flight;
pub mod net;
pub mod pci;
mod put_off;
pub mod queue;
pub mod rng;
pub mod scsi;
#[cfg(test)]
mod tests;

pub use self::net::{Net, NetConfig, Wire};
pub use balloon::{Balloon, BalloonDevice};
pub use blk::{Blk, BlkConfig};
pub use console::{Console, Port};
pub use control::Control;
pub use device::{Device, DeviceType, Feature, Status};
pub use pci::{Place, Transport};
pub use rng::{Entropy, Rng};
pub use scsi::{Scsi, ScsiConfig, ScsiDisk};
