//! What can be wrong with what a guest is to be started with.
use crate::memory::NotRam;
use alloc::string::{String, ToString};
use core::fmt;

/// Why a guest could not be loaded: the file, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    /// The file's name, or `None` for the command line.
    pub file: Option<String>,
    /// What is wrong.
    pub problem: Problem,
}

impl LoadError {
    pub(super) fn of(file: &str, problem: Problem) -> Self {
        Self { file: Some(file.to_string()), problem }
    }

    pub(super) fn command_line(problem: Problem) -> Self {
        Self { file: None, problem }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{file}: {}", self.problem),
            None => write!(f, "kernel command line: {}", self.problem),
        }
    }
}

impl core::error::Error for LoadError {}

/// What is wrong with a file or the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The file has no bytes.
    Empty,
    /// Neither bzImage nor ELF.
    UnknownFormat,
    /// The file ends before something that it says it has.
    Truncated {
        /// What is missing.
        what: &'static str,
        /// Where it would have to end, in bytes.
        end: u64,
        /// Where the file ends.
        length: u64,
    },
    /// A boot protocol from before 2.10 (Linux 2.6.31).
    OldProtocol {
        /// `version` of the setup header.
        version: u16,
    },
    /// A zImage, which loads into the first megabyte.
    LoadsLow,
    /// A field of the file has a value that no such file has.
    Field {
        /// Its name in the format's specification.
        name: &'static str,
        /// Its value.
        value: u64,
        /// What is accepted.
        expected: &'static str,
    },
    /// The kernel must lie where the guest has no RAM, or where its start parameters lie.
    OutsideRam {
        /// First address.
        start: u64,
        /// Bytes.
        bytes: u64,
        /// Where it may lie: from here.
        from: u64,
        /// Up to here.
        to: u64,
    },
    /// Two segments of an ELF file claim the same memory.
    Overlap {
        /// Address where one of them begins.
        at: u64,
    },
    /// No room for it in the guest's memory.
    NoRoom {
        /// Bytes that it needs.
        bytes: u64,
        /// RAM of the guest in bytes.
        ram: u64,
    },
    /// The command line is longer than this kernel takes.
    CommandLineLong {
        /// Its length in bytes.
        length: usize,
        /// What the kernel takes.
        limit: u64,
    },
    /// The command line contains a zero byte.
    CommandLineZero,
    /// A write went to what is not RAM.
    NotRam(NotRam),
}

impl From<NotRam> for Problem {
    fn from(error: NotRam) -> Self {
        Self::NotRam(error)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Empty => write!(f, "the file is empty"),
            Self::UnknownFormat => write!(
                f,
                "not a kernel that can be started; a Linux bzImage (vmlinuz), an ELF64 vmlinux, or an ELF \
                 file with a PVH entry note is accepted"
            ),
            Self::Truncated { what, end, length } => write!(
                f,
                "the file is truncated: its {what} should end at byte {end}, but the file has {length} bytes; \
                 copy it again"
            ),
            Self::OldProtocol { version } => write!(
                f,
                "Linux boot protocol {}.{:02} is too old; 2.10 (Linux 2.6.31) or newer is accepted",
                version >> 8,
                version & 0xff
            ),
            Self::LoadsLow => {
                write!(f, "a zImage, which loads below 1 MiB; a bzImage is accepted (make bzImage)")
            }
            Self::Field { name, value, expected } => {
                write!(f, "damaged, or not for this machine: {name} is {value:#x}, {expected} is accepted")
            }
            Self::OutsideRam { start, bytes, from, to } => write!(
                f,
                "it needs {} KiB of memory at {start:#x}, but this VM can take it from {from:#x} to {to:#x}; \
                 give the VM more memory",
                bytes.div_ceil(1024)
            ),
            Self::Overlap { at } => {
                write!(f, "damaged: two of its segments claim the memory at {at:#x}")
            }
            Self::NoRoom { bytes, ram } => write!(
                f,
                "it needs {} KiB of free memory in one piece, which this VM of {} MiB has not; give the VM \
                 more memory",
                bytes.div_ceil(1024),
                ram >> 20
            ),
            Self::CommandLineLong { length, limit } => {
                write!(f, "{length} bytes long, this kernel takes at most {limit}")
            }
            Self::CommandLineZero => write!(f, "it contains a zero byte, which would end it"),
            Self::NotRam(error) => write!(f, "it does not fit into this VM: {error}"),
        }
    }
}
