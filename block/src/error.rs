//! How a request fails.
use core::fmt;

/// Why a block device did not do what it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockError {
    /// Blocks beyond the end of the device.
    OutOfRange,
    /// A write to what must not be written.
    ReadOnly,
    /// The device has no such command.
    Unsupported,
    /// The request is malformed: segments that don't add up to its blocks, or none.
    Malformed,
    /// The medium gave no good data, after all retries of the device.
    UnrecoveredRead,
    /// The medium did not take the data.
    WriteFault,
    /// The device did not answer in time, and not after a reset either.
    TimedOut,
    /// The device is gone, or was given up.
    Removed,
    /// No memory for what the driver needs.
    NoMemory,
    /// Another error, by the device's own status.
    Device(u32),
}

impl fmt::Display for BlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfRange => f.write_str("beyond the end of the device"),
            Self::ReadOnly => f.write_str("it is read-only"),
            Self::Unsupported => f.write_str("the device can't do that"),
            Self::Malformed => f.write_str("a malformed request"),
            Self::UnrecoveredRead => f.write_str("unrecovered read error: the medium is damaged there"),
            Self::WriteFault => f.write_str("write fault: the medium took no data there"),
            Self::TimedOut => f.write_str("the device did not answer in time"),
            Self::Removed => f.write_str("the device is gone"),
            Self::NoMemory => f.write_str("no memory for the request"),
            Self::Device(status) => write!(f, "the device reports status {status:#x}"),
        }
    }
}
