//! Block devices: what a disk is to everyone above its driver.
//!
//! ```text
//! virtio-blk, virtio-scsi, the storage engine, ...      who wants data moved
//!        │ submit(Request), start()          ▲ Completion::complete(tag, result)
//!        ▼                                   │
//! Part: a window on a device, read-only or not          (any number, stacked)
//!        ▼                                   │
//! BlockDevice: nvme, ahci, virtio-blk, MemoryDisk       who moves it
//! ```
//!
//! A request names physical memory by [`Segment`]s and whom to tell by a [`Done`]. It is never copied on its
//! way: a driver turns it into its device's command while [`BlockDevice::submit`] runs, so all that it points
//! to may be on the caller's stack. Whoever is told keeps the memory alive: a driver holds the `Arc` of
//! [`Done`] until the device has let go of the segments.
//!
//! Promises of a device:
//! - Each request is completed exactly once, by success or an error; maybe before `submit` returns, maybe on
//!   another CPU, in any order. A device that hangs or goes away fails its requests.
//! - An error says nothing about how much of a write reached the medium. A failed read has undefined data.
//! - What a completed [`Operation::Flush`] follows is durable, as is a write with `durable`.
//! - Requests that overlap in time have no order; a flush covers what was completed before it was submitted.
//!
//! Refused before a device sees it ([`Geometry::check`]): what lies beyond the end, is not whole blocks,
//! whose segments don't add up, or changes what is read-only.
//!
//! Not here: caching, ordering, merging, partition tables.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod claims;
mod device;
mod error;
mod memory;
mod part;
mod request;
#[cfg(test)]
mod tests;
mod wait;

pub use claims::{Access, Claim, Claims, Conflict};
pub use device::{BlockDevice, Features, Geometry, Identity};
pub use error::BlockError;
pub use memory::MemoryDisk;
pub use mm::Segment;
pub use part::{BadPart, Part};
pub use request::{Completion, Done, Operation, Request};
pub use wait::{Transfer, transfer};
