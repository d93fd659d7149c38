//! Why the machine is not started.
use super::volume::ReadError;
use core::fmt;
use loader::cpu::Unsuitable;
use loader::elf::BadKernel;
use loader::volume_path::KERNEL_PATH;
use mm::PagingError;
use uefi::Status;

/// What stops a boot. The text is the one line that a user sees.
#[derive(Debug)]
pub enum Refusal {
    Cpu(Unsuitable),
    FiveLevelPaging,
    Volume(Status),
    KernelFile(ReadError),
    Kernel(BadKernel),
    NoMemory { what: &'static str, bytes: u64 },
    TooLittleMemory { usable: u64, needed: u64 },
    MemoryMap(Status),
    Tables(PagingError),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu(missing) => write!(f, "{missing}"),
            Self::FiveLevelPaging => write!(
                f,
                "the firmware runs with 5-level paging, which PureVisor does not use; switch 5-level paging \
                 (LA57) off in the firmware's set-up"
            ),
            Self::Volume(status) => write!(
                f,
                "boot.efi was not started from a volume with a file system that the firmware can read \
                 ({status}); start it from the boot volume that 'cargo xtask image' writes"
            ),
            Self::KernelFile(ReadError::NotFound) => write!(
                f,
                "{} is not on the boot volume; copy it there from the build that boot.efi is of",
                KERNEL_PATH
            ),
            Self::KernelFile(error) => {
                write!(f, "{} could not be read: {error}", KERNEL_PATH)
            }
            Self::Kernel(bad) => write!(f, "{} is not usable: {bad}", KERNEL_PATH),
            Self::NoMemory { what, bytes } => write!(
                f,
                "no memory for {what} ({} KiB); give the machine more memory or name smaller files",
                bytes.div_ceil(1024)
            ),
            Self::TooLittleMemory { usable, needed } => write!(
                f,
                "only {} MiB of memory are free, PureVisor needs {}; give the machine more memory or name \
                 smaller files",
                usable >> 20,
                needed >> 20
            ),
            Self::MemoryMap(status) => {
                write!(f, "the firmware gives no memory map ({status}); update the firmware")
            }
            Self::Tables(PagingError::OutOfMemory) => {
                write!(f, "no memory for page tables; give the machine more memory or name smaller files")
            }
            Self::Tables(error) => write!(f, "the page tables could not be built: {error}; please report it"),
        }
    }
}
