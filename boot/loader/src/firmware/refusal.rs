//! Why the machine is not started.
use super::volume::ReadError;
use core::fmt;
use loader::obstacle::Obstacle;
use loader::volume_path::KERNEL_PATH;
use uefi::Status;

/// What stops a boot. The text is the one line that a user sees.
#[derive(Debug)]
pub enum Refusal {
    /// What would stop any loader.
    Obstacle(Obstacle),
    FiveLevelPaging,
    Volume(Status),
    KernelFile(ReadError),
    MemoryMap(Status),
}

impl From<Obstacle> for Refusal {
    fn from(obstacle: Obstacle) -> Self {
        Self::Obstacle(obstacle)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Obstacle(obstacle) => write!(f, "{obstacle}"),
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
            Self::MemoryMap(status) => {
                write!(f, "the firmware gives no memory map ({status}); update the firmware")
            }
        }
    }
}
