//! How long and how often: what a caller may set.
use core::time::Duration;

/// Parameters of a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a command may take before its port is reset. It is noticed up to a second later.
    pub command: Duration,
    /// How long a disk may take to be ready after its power came or after a reset: disks spin up.
    pub ready: Duration,
    /// How often a command is given to the disk again after a time-out, or an error that may be another's.
    pub retries: u8,
    /// How many resets of a port in a row may fail until its disk is given up.
    pub resets: u32,
    /// Commands in flight per disk; up to 32, fewer where HBA or disk have fewer.
    pub depth: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            command: Duration::from_secs(30),
            ready: Duration::from_secs(30),
            retries: 2,
            resets: 3,
            depth: 32,
        }
    }
}
