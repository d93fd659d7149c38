//! Why a device can't be used.
use core::fmt;

/// Why a device can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VirtioError {
    /// It has no virtio 1.0 registers, or not all of them.
    NoRegisters,
    /// Nobody answers on the bus.
    Gone,
    /// Its reset did not end.
    HungReset,
    /// It has no virtio 1.0.
    Legacy,
    /// It does not take the features that were chosen.
    Features,
    /// What it says of itself makes no sense, or is more than this driver knows; what.
    Unfit(&'static str),
    /// No memory for its queues.
    NoMemory,
    /// It does not answer a request.
    Unanswered,
}

impl fmt::Display for VirtioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRegisters => {
                f.write_str("it lacks registers of virtio 1.0: let the hypervisor offer that")
            }
            Self::Gone => f.write_str("it does not answer on the bus: it was removed"),
            Self::HungReset => f.write_str("its reset did not end: restart the machine"),
            Self::Legacy => f.write_str("it is older than virtio 1.0: let the hypervisor offer that"),
            Self::Features => f.write_str("it does not take the features that it offers"),
            Self::Unfit(what) => write!(f, "it can't be used: {what}"),
            Self::NoMemory => f.write_str("no memory for its queues"),
            Self::Unanswered => f.write_str("it does not answer a request in time"),
        }
    }
}
