//! What stops a boot under any firmware.
//!
//! Each loader has reasons of its own besides (`firmware/refusal.rs`; `boot/multiboot2/src/refusal.rs`), and
//! shows either kind as the one line that a user sees.
use crate::cpu::Unsuitable;
use crate::elf::BadKernel;
use crate::volume_path::KERNEL_PATH;
use core::fmt;
use mm::PagingError;

/// What stands in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The processor lacks something.
    Cpu(Unsuitable),
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

/// What helps where memory is short.
const MORE_MEMORY: &str = "give the machine more memory or name smaller files";

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Cpu(missing) => write!(f, "{missing}"),
            Self::Kernel(bad) => write!(f, "{KERNEL_PATH} is not usable: {bad}"),
            Self::NoMemory { what, bytes } => {
                write!(f, "no memory for {what} ({} KiB); {MORE_MEMORY}", bytes.div_ceil(1024))
            }
            Self::TooLittleMemory { usable, needed } => write!(
                f,
                "only {} MiB of memory are free, PureVisor needs {}; {MORE_MEMORY}",
                usable >> 20,
                needed >> 20
            ),
            Self::Tables(PagingError::OutOfMemory) => write!(f, "no memory for page tables; {MORE_MEMORY}"),
            Self::Tables(error) => write!(f, "the page tables could not be built: {error}; please report it"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn what_is_short_is_told_with_its_amount_and_what_helps() {
        let cases = [
            (
                Obstacle::NoMemory { what: "the memory map", bytes: 1025 },
                "no memory for the memory map (2 KiB)",
            ),
            (
                Obstacle::TooLittleMemory { usable: 63 << 20 | 0xf_ffff, needed: 64 << 20 },
                "only 63 MiB of memory are free, PureVisor needs 64",
            ),
            (Obstacle::Tables(PagingError::OutOfMemory), "no memory for page tables"),
        ];
        for (obstacle, what) in cases {
            let text = obstacle.to_string();
            assert_eq!(text.split_once("; "), Some((what, MORE_MEMORY)), "{text}");
        }
    }

    #[test]
    fn a_bad_kernel_is_named_by_its_path() {
        let text = Obstacle::Kernel(BadKernel::Truncated).to_string();
        assert!(text.starts_with("purevisor/kernel.elf is not usable: it is cut off"), "{text}");
    }

    #[test]
    fn what_is_our_own_mistake_asks_for_a_report() {
        let text = Obstacle::Tables(PagingError::Misaligned).to_string();
        assert!(text.contains(&PagingError::Misaligned.to_string()) && text.contains("report it"), "{text}");
    }
}
