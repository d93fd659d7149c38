//! Why the machine is not started.
use crate::information::BadInformation;
use crate::modules::BadModule;
use core::fmt;
use loader::obstacle::Obstacle;
use loader::volume_path::KERNEL_PATH;

/// What stops a boot. The text is the one line that a user sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// What would stop any loader.
    Obstacle(Obstacle),
    /// `EAX` is not Multiboot2's.
    NotMultiboot2(u32),
    /// The boot information cannot be read.
    Information(BadInformation),
    /// UEFI boot services still run.
    BootServices,
    /// There is no memory map.
    NoMemoryMap,
    /// A module is not what it should be.
    Module(BadModule),
    /// No module is the kernel.
    NoKernel,
}

impl From<Obstacle> for Refusal {
    fn from(obstacle: Obstacle) -> Self {
        Self::Obstacle(obstacle)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Obstacle(obstacle) => write!(f, "{obstacle}"),
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
            Self::NoMemoryMap => {
                write!(f, "the boot loader gives no memory map; start PureVisor with GRUB 2.06 or newer")
            }
            Self::Module(bad) => write!(f, "{bad}"),
            Self::NoKernel => write!(
                f,
                "no module is named {KERNEL_PATH}; give grub.cfg the line \
                 'module2 /{KERNEL_PATH} {KERNEL_PATH}', and the boot volume that file"
            ),
        }
    }
}
