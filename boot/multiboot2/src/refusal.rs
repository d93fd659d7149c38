//! Why the machine is not started.
use crate::information::BadInformation;
use crate::modules::BadModule;
use core::fmt;
use loader::cpu::Unsuitable;
use loader::elf::BadKernel;
use loader::volume_path::KERNEL_PATH;
use mm::PagingError;

/// What stops a boot. The text is the one line that a user sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `EAX` is not Multiboot2's.
    NotMultiboot2(u32),
    /// The boot information cannot be read.
    Information(BadInformation),
    /// UEFI boot services still run.
    BootServices,
    /// The processor lacks something.
    Cpu(Unsuitable),
    /// There is no memory map.
    NoMemoryMap,
    /// A module is not what it should be.
    Module(BadModule),
    /// No module is the kernel.
    NoKernel,
    /// The kernel is not one.
    Kernel(BadKernel),
    /// There is no place for something.
    NoMemory {
        /// What.
        what: &'static str,
        /// How much of it.
        bytes: u64,
    },
    /// What is left would not do.
    TooLittleMemory {
        /// Bytes that are free.
        usable: u64,
        /// Bytes that should be.
        needed: u64,
    },
    /// The page tables could not be built.
    Tables(PagingError),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NotMultiboot2(value) => write!(
                f,
                "not started by Multiboot2 (EAX is {value:#x}); let grub.cfg start it by 'multiboot2'"
            ),
            Self::Information(bad) => write!(f, "{bad}"),
            Self::BootServices => {
                write!(
                    f,
                    "the boot loader left UEFI boot services on; start PureVisor with GRUB 2.06 or newer"
                )
            }
            Self::Cpu(missing) => write!(f, "{missing}"),
            Self::NoMemoryMap => {
                write!(f, "the boot loader gives no memory map; start PureVisor with GRUB 2.06 or newer")
            }
            Self::Module(bad) => write!(f, "{bad}"),
            Self::NoKernel => write!(
                f,
                "no module is named {KERNEL_PATH}; give grub.cfg the line \
                 'module2 /{KERNEL_PATH} {KERNEL_PATH}', and the boot volume that file"
            ),
            Self::Kernel(bad) => write!(f, "{KERNEL_PATH} is not usable: {bad}"),
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
            Self::Tables(PagingError::OutOfMemory) => {
                write!(f, "no memory for page tables; give the machine more memory or name smaller files")
            }
            Self::Tables(error) => write!(f, "the page tables could not be built: {error}; please report it"),
        }
    }
}
