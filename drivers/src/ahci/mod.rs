//! SATA disks: AHCI 1.0 to 1.3.1 host bus adapters (HBA), disks that follow ATA-7 or later (ACS-3).
//!
//! ```text
//! BlockDevice::submit ─► disk ─► queue: slots of the port ─► request: its commands
//!                                  │      regions: where the data is; bounce, at last
//! BlockDevice::start ──► PxSACT,   ▼
//!                        PxCI    tables: command list and tables, received FISes ◄──► the HBA
//!                                  │
//! interrupt ─► Signal ─► controller::serve ─► port: what happened ─► queue: a batch ─► Done::complete
//! Controller::poll ──────────────────────────────────────────────►     │
//!                                                                      │ errors, time-outs, links
//!                        recovery: one task per port ◄─────────────────┘
//!                          port: stop, reset, link, questions ─► fis, identify
//! ```
//!
//! Promises:
//! - Each request is completed exactly once, when the HBA can't reach its memory any more ([`controller`] says how
//!   that is known). The data is not copied, except at odd addresses or beyond an HBA's reach of 4 GiB.
//! - A read or write of one command costs no allocation: one lock to submit, one for its share of a doorbell, one
//!   for its share of a batch. Where disk and HBA have native command queuing, up to 32 are in flight.
//! - No access waits without a limit. A command that fails is the only one that does; all others that were in
//!   flight go to the disk again. What takes too long costs a reset of the port, and then the disk.
//! - Disks may come and go while the machine runs. One that is back soon goes on; another is a new device.
//! - What HBA and disk say is checked where it is read: `identify`, `fis`, `registers`, `queue`.
//!
//! Refused, with a line in the log: disks without 48-bit addresses or DMA, with blocks other than 512 to 4096 bytes,
//! or locked by a password. Left alone: CD drives (ATAPI), port multipliers, enclosures. Not here: link power
//! management, several messages, coalescing of completions, legacy IDE mode, staggered spin-up of more than one disk
//! at a time, WRITE ZEROES (TRIM is a hint, and writing zeroes is what the caller can do as well).
mod bounce;
mod controller;
mod counters;
mod disk;
mod error;
mod events;
mod fis;
mod identify;
mod limits;
#[cfg(test)]
mod model;
mod port;
mod queue;
mod recovery;
mod regions;
mod registers;
mod repair;
mod tables;
#[cfg(test)]
mod tests;

use crate::Registers;
use crate::pci::MessageInterrupts;
use alloc::boxed::Box;
use alloc::sync::Arc;
use block::BlockDevice;

pub use controller::{Controller, Info, start};
pub use counters::Counters;
pub use disk::Disk;
pub use error::AhciError;
pub use limits::Limits;

/// Is told of a disk, and the port that it is at.
pub type Announce = Box<dyn Fn(u32, Arc<dyn BlockDevice>) + Send + Sync>;

/// What a controller consists of, for the driver.
pub struct Parts {
    /// Its number: it is `ahci{number}`.
    pub number: usize,
    /// Its registers: BAR 5.
    pub registers: Box<dyn Registers>,
    /// Its messages, of which the first is used; without, it is polled.
    pub interrupts: Option<Box<dyn MessageInterrupts>>,
    /// The number of the disk at a port of the HBA (0 to 31): it is `sata{number}`. By the port, so that a disk keeps
    /// its name whatever becomes of the others.
    pub disk_number: Box<dyn Fn(u32) -> usize + Send + Sync>,
    /// Is told of each disk that is found and its port, when the controller is started and whenever one is plugged
    /// in. Called in a task.
    pub announce: Announce,
    /// Takes Bus Master Enable from its function (PCI Local Bus 3.0, 6.2.2), and reads the register back, so that
    /// what it has written before is in memory when this returns: from then on it reaches no memory. Called
    /// when the controller is over, or does not stop by itself; it may be gone by then.
    pub stop_dma: Box<dyn Fn() + Send + Sync>,
}
