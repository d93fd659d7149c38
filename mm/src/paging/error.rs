//! Why page tables were not changed.
use core::fmt;

use super::format::Rights;

/// Why an operation was refused. The tables are as they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PagingError {
    /// No frame for a table.
    OutOfMemory,
    /// Something is mapped in the range already.
    AlreadyMapped {
        /// The first such address, as the format's number for it: bits 47:0.
        input: u64,
    },
    /// Something in the range is not mapped.
    NotMapped {
        /// The first such address, as the format's number for it: bits 47:0.
        input: u64,
    },
    /// An address or the length is no multiple of 4 KiB, or the length is 0.
    Misaligned,
    /// The range leaves the space that the format translates, or 52 bits of physical addresses.
    OutOfRange,
    /// The format cannot grant exactly these rights.
    Rights(Rights),
}

impl fmt::Display for PagingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::OutOfMemory => write!(f, "no memory left for page tables"),
            Self::AlreadyMapped { input } => {
                write!(f, "address {input:#x} is mapped already: unmap it first")
            }
            Self::NotMapped { input } => write!(f, "address {input:#x} is not mapped"),
            Self::Misaligned => write!(f, "page tables map whole pages: addresses and length in 4 KiB"),
            Self::OutOfRange => write!(f, "the range leaves the address space that page tables translate"),
            Self::Rights(rights) => write!(f, "page tables of this format cannot grant {rights:?}"),
        }
    }
}

impl core::error::Error for PagingError {}
