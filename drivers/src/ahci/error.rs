//! Why a controller, or the disk at a port, can't be used.
use core::fmt;

/// Why a controller can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AhciError {
    /// Nobody answers on the bus.
    Gone,
    /// Its register window of so many bytes has no room for its ports.
    Window(u64),
    /// It says that it has no ports.
    NoPorts,
    /// Its reset did not end.
    HungReset,
    /// No memory for its ports.
    NoMemory,
}

impl fmt::Display for AhciError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("it does not answer on the bus: it was removed, or has no power"),
            Self::Window(bytes) => {
                write!(f, "its {bytes} bytes of registers have no room for the ports that it claims")
            }
            Self::NoPorts => {
                f.write_str("it has no ports: look whether the firmware's settings disable them")
            }
            Self::HungReset => f.write_str("its reset did not end: switch the machine off and on again"),
            Self::NoMemory => f.write_str("no memory for its ports"),
        }
    }
}

/// Why what is at a port can't be used, or did not answer a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PortError {
    /// Nothing is plugged in.
    Empty,
    /// Something is, but the link to it does not come up.
    NoLink,
    /// It stays busy.
    Busy,
    /// The port can't be stopped: PxCMD.CR or PxCMD.FR stays set.
    Stuck,
    /// It is no disk; its signature.
    Foreign(u32),
    /// It refused a command: which, its status and error registers.
    Refused(&'static str, u8, u8),
    /// It did not answer a command; which.
    Unanswered(&'static str),
    /// What it tells of itself makes no sense, or is more than this driver knows; what.
    Unfit(&'static str),
    /// No memory for its commands.
    NoMemory,
    /// The HBA is gone, or was given up.
    HbaGone,
}

impl fmt::Display for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Empty => f.write_str("nothing is plugged in"),
            Self::NoLink => f.write_str("the link does not come up: check the cable"),
            Self::Busy => f.write_str("the disk stays busy: check its power, or replace it"),
            Self::Stuck => f.write_str("the port can't be stopped"),
            Self::Foreign(0xeb14_0101) => f.write_str("a CD or tape drive (ATAPI), which is left alone"),
            Self::Foreign(0x9669_0101) => f.write_str("a port multiplier, which is left alone"),
            Self::Foreign(0xc33c_0101) => f.write_str("an enclosure, which is left alone"),
            Self::Foreign(signature) => {
                write!(f, "a device with signature {signature:#010x}, which is left alone")
            }
            Self::Refused(what, status, error) => {
                write!(f, "the disk refuses {what}: status {status:#04x}, error {error:#04x}")
            }
            Self::Unanswered(what) => write!(f, "the disk does not answer {what}"),
            Self::Unfit(what) => write!(f, "the disk can't be used: {what}"),
            Self::NoMemory => f.write_str("no memory for the disk's commands"),
            Self::HbaGone => f.write_str("the controller is gone"),
        }
    }
}
