//! NVMe drives: 1.4 and later, on PCI Express (NVMe 2.0; NVM Command Set 1.0).
//!
//! ```text
//! BlockDevice::submit ─► namespace ─► queue (that of the calling CPU) ─► work: commands of a request
//!                                       │    pointers: PRP entries, SGL descriptors; bounce, at last
//! BlockDevice::start ──► one doorbell   ▼
//!                        ring: slots, submission and completion queue ◄──► the controller
//!                                       │
//! interrupt ─► Signal ─► supervisor::serve, on that CPU ─► queue: a batch, one doorbell ─► Done::complete
//! Controller::poll ───────────────────────────────────────►
//!
//! supervisor: ticks, aborts, retries, resets, events, removal, shutdown ─► admin: questions and answers
//! ```
//!
//! Promises:
//! - Each request is completed exactly once, when the controller can't reach its memory any more (`lifecycle` says
//!   how that is known). The data is not copied, except where neither PRP entries nor SGL descriptors can name it.
//! - A read or write of one command costs no allocation: one lock to submit, one for its share of a doorbell, one
//!   for its share of a batch.
//! - A doorbell is rung once per batch, and mostly not at all where the controller has doorbells in memory
//!   (`shadow`).
//! - No access waits without a limit. What takes too long is aborted, then the controller is reset, then it is
//!   given up; what fails for the moment is tried again.
//! - What the controller says is checked where it is read: `identify`, `ring`, `registers`.
//!
//! Refused, with a line in the log: namespaces with metadata, or blocks other than 512 to 4096 bytes; controllers
//! without the NVM command set or with memory pages of more than 4 KiB. Not here: namespace management, firmware
//! updates, zoned namespaces, power states, the controller memory buffer. Namespaces that appear later are used
//! after a restart.

mod admin;
mod bounce;
mod command;
mod completion;
mod controller;
mod counters;
mod error;
mod health;
mod identify;
mod lifecycle;
mod limits;
#[cfg(test)]
mod model;
mod namespace;
mod pointers;
mod queue;
mod registers;
mod ring;
mod shadow;
mod supervisor;
#[cfg(test)]
mod tests;
mod wishes;

use crate::Registers;
use crate::pci::MessageInterrupts;
use alloc::boxed::Box;

pub use completion::Status;
pub use controller::{Controller, Info, start};
pub use counters::Counters;
pub use error::NvmeError;
pub use health::Health;
pub use limits::{Coalescing, Limits};
pub use registers::Version;

/// What a controller consists of, for the driver.
pub struct Parts {
    /// Its number: it is `nvme{number}`, and its namespaces are `nvme{number}n{id}`.
    pub number: usize,
    /// Its registers and doorbells: BAR 0.
    pub registers: Box<dyn Registers>,
    /// Its messages: the first for the admin queue, one more for each I/O queue.
    pub interrupts: Box<dyn MessageInterrupts>,
    /// Takes Bus Master Enable from its function (PCI Local Bus 3.0, 6.2.2), and reads the register back, so that
    /// what it has written before is in memory when this returns: from then on it reaches no memory. Called
    /// when the controller does not stop by itself; it may be gone by then.
    pub stop_dma: Box<dyn Fn() + Send + Sync>,
}
