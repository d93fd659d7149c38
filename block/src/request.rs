//! What is asked of a device, and how the answer comes back.
use crate::BlockError;
use alloc::sync::Arc;
use mm::Segment;

/// What a device is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Blocks to memory.
    Read,
    /// Memory to blocks.
    Write {
        /// On the medium before it completes (force unit access), not in a volatile cache.
        durable: bool,
    },
    /// All that was completed before goes to the medium. Has no blocks.
    Flush,
    /// The blocks read as zeroes from then on.
    WriteZeroes {
        /// The device may give the blocks' storage back if they still read as zeroes.
        deallocate: bool,
    },
    /// The blocks' content is not needed any more; what they read as is the device's choice.
    Discard,
}

impl Operation {
    /// Whether it moves data by segments.
    pub const fn has_data(self) -> bool {
        matches!(self, Self::Read | Self::Write { .. })
    }

    /// Whether it changes what is stored.
    pub const fn changes(self) -> bool {
        matches!(self, Self::Write { .. } | Self::WriteZeroes { .. } | Self::Discard)
    }
}

/// Is told when requests are done.
pub trait Completion: Send + Sync {
    /// The request that was submitted with `tag` is done, and the device has let go of its memory. May run
    /// within [`crate::BlockDevice::submit`] and on any CPU, in a task, never in an interrupt handler: short,
    /// without waiting. It may submit further requests, if it holds no lock that submitting takes.
    fn complete(&self, tag: u64, result: Result<(), BlockError>);
}

/// Whom to tell, and by which word.
#[derive(Clone)]
pub struct Done {
    /// Who is told. Keeps the request's memory alive.
    pub to: Arc<dyn Completion>,
    /// What he knows the request by.
    pub tag: u64,
}

impl Done {
    /// Tells him.
    pub fn complete(self, result: Result<(), BlockError>) {
        self.to.complete(self.tag, result);
    }
}

/// A request to a block device.
#[derive(Clone)]
pub struct Request<'a> {
    /// What to do.
    pub operation: Operation,
    /// First block.
    pub block: u64,
    /// Blocks; 0 for a flush.
    pub blocks: u64,
    /// The memory, in order; together as long as the blocks for an operation with data, else none.
    pub segments: &'a [Segment],
    /// Whom to tell.
    pub done: Done,
}
