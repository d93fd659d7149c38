//! Why a controller can't be used, or did not answer a question.
use super::completion::Status;
use core::fmt;

/// Why a controller can't be used, or did not answer a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NvmeError {
    /// Nobody answers on the bus.
    Gone,
    /// It does not have the NVM command set.
    NoCommandSet,
    /// It is for administration or discovery alone.
    NoIo,
    /// Its smallest memory page has so many bytes.
    PageSize(u64),
    /// Its queues, or the entries of one, are not as the specification wants them; what is.
    Queues(&'static str),
    /// Its register window of so many bytes has no room for its doorbells.
    Window(u64),
    /// CSTS.RDY did not become as CC.EN, within so many ms.
    NotReady(u64),
    /// It reports a fatal error (CSTS.CFS).
    Failed,
    /// No memory for its queues.
    NoMemory,
    /// No CPU has a free interrupt vector.
    NoInterrupt,
    /// It refused an admin command; which, and how.
    Refused(&'static str, Status),
    /// It did not answer an admin command in time; which.
    Unanswered(&'static str),
    /// Too many admin commands at once; which found no place.
    Busy(&'static str),
    /// It was shut down, reset or given up meanwhile.
    Stopped,
}

impl fmt::Display for NvmeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("it does not answer on the bus: it was removed, or has no power"),
            Self::NoCommandSet => f.write_str("it does not have the NVM command set: it is no disk"),
            Self::NoIo => f.write_str("it is an administrative or discovery controller, not a disk"),
            Self::PageSize(bytes) => {
                write!(f, "it needs memory pages of {bytes} bytes, and there are pages of 4096")
            }
            Self::Queues(what) => write!(f, "its claims about queues make no sense: {what}"),
            Self::Window(bytes) => {
                write!(f, "its {bytes} bytes of registers have no room for the doorbells that it claims")
            }
            Self::NotReady(ms) => {
                write!(f, "it did not follow CC.EN within {ms} ms: switch the machine off and on again")
            }
            Self::Failed => f.write_str("it reports a fatal error: switch the machine off and on again"),
            Self::NoMemory => f.write_str("no memory for its queues"),
            Self::NoInterrupt => f.write_str("no CPU has an interrupt vector left for it"),
            Self::Refused(what, status) => write!(f, "it refused {what} with status {status}"),
            Self::Unanswered(what) => write!(f, "it did not answer {what} in time"),
            Self::Busy(what) => write!(f, "it has too many admin commands to take {what}: try again"),
            Self::Stopped => f.write_str("it was reset, shut down or given up meanwhile: try again"),
        }
    }
}
