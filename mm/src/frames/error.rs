//! What can be wrong with memory that is given to the frame allocator.
use core::fmt;

use super::Order;
use crate::addr::Hpa;

/// Why a block was not taken back. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreeError {
    /// The address is no multiple of the block's size, or there is no such order.
    Misaligned {
        /// Start of the block.
        block: Hpa,
        /// Its claimed order.
        order: Order,
    },
    /// The allocator does not own (all of) this memory.
    Foreign {
        /// Start of the block.
        block: Hpa,
        /// Its claimed order.
        order: Order,
    },
    /// The block is free already, on its own or within a larger one.
    AlreadyFree {
        /// Start of the block.
        block: Hpa,
        /// Its claimed order.
        order: Order,
    },
    /// A block starts here, but it was taken with another order.
    WrongOrder {
        /// Start of the block.
        block: Hpa,
        /// Its claimed order.
        order: Order,
        /// The order it was taken with.
        taken: Order,
    },
}

impl fmt::Display for FreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Misaligned { block, order } => {
                write!(f, "memory at {block} cannot be freed as order {order}: not aligned to that size")
            }
            Self::Foreign { block, order } => {
                write!(f, "memory at {block} (order {order}) is not the frame allocator's")
            }
            Self::AlreadyFree { block, order } => {
                write!(f, "memory at {block} (order {order}) is freed a second time, or is part of a block")
            }
            Self::WrongOrder { block, order, taken } => {
                write!(f, "memory at {block} was taken as order {taken} but is freed as order {order}")
            }
        }
    }
}

impl core::error::Error for FreeError {}

/// Why a stretch of memory was not added. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionError {
    /// Less than two whole frames: one would be lost to the side table.
    TooSmall {
        /// Start of the memory.
        start: Hpa,
        /// Its length.
        bytes: u64,
    },
    /// It reaches beyond the 52 bits of a physical address.
    BeyondPhysical {
        /// Start of the memory.
        start: Hpa,
        /// Its length.
        bytes: u64,
    },
    /// Part of it belongs to the allocator already.
    Overlaps {
        /// Start of the memory.
        start: Hpa,
        /// Its length.
        bytes: u64,
    },
    /// The allocator holds [`super::MAX_REGIONS`] already.
    TooMany,
}

impl fmt::Display for RegionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooSmall { start, bytes } => {
                write!(
                    f,
                    "{bytes} bytes of memory at {start} are too few to manage: two whole frames at least"
                )
            }
            Self::BeyondPhysical { start, bytes } => {
                write!(f, "{bytes} bytes of memory at {start} reach beyond the 52 bits of physical addresses")
            }
            Self::Overlaps { start, bytes } => {
                write!(f, "{bytes} bytes of memory at {start} overlap memory that is managed already")
            }
            Self::TooMany => write!(
                f,
                "more than {} separate stretches of memory: join neighbours before adding them",
                super::MAX_REGIONS
            ),
        }
    }
}

impl core::error::Error for RegionError {}
