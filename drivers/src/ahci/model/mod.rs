//! An HBA and its disks in software, as the specifications describe them, and as they misbehave.
//!
//! Registers act at once; commands take [`Model::step`]s. What a driver must not do fails the test: a queued command
//! among others that are not, a tag that is in use, a command for a disk that still has others from before an error,
//! and any access to memory that it has not given away (the test kernel's part).
mod disk;
mod hba;
mod port;

pub use disk::ModelDisk;
pub use hba::{Model, ModelMessages, ModelRegisters};
