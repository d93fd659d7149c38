//! What a block device is, and has to know about itself.
use crate::{BlockError, Operation, Request};
use alloc::string::String;

/// A disk, or something like one.
pub trait BlockDevice: Send + Sync {
    /// What it is called, and who made it.
    fn identity(&self) -> &Identity;

    /// How large it is and what it can do. Does not change while the device is there.
    fn geometry(&self) -> &Geometry;

    /// Queues a request. It is completed exactly once, whatever happens, maybe before this returns.
    ///
    /// It need not begin before [`Self::start`], so that a device is told once of many. A request that
    /// [`Geometry::check`] refuses is completed with that error.
    fn submit(&self, request: Request<'_>);

    /// Begins what this CPU has submitted. Without it nothing may ever happen.
    fn start(&self);

    /// Whether it is there. What was removed stays so: a disk that is plugged in again is a new device.
    fn is_present(&self) -> bool {
        true
    }
}

/// What a device is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// By which it is named in `purevisor.toml`: `nvme0n1`, `sata0`.
    pub name: String,
    /// Maker and model, as the device tells.
    pub model: String,
    /// Serial number, as the device tells; may be empty.
    pub serial: String,
    /// Revision of its firmware; may be empty.
    pub firmware: String,
}

/// How large a device is and what it can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of a block: a power of two from 512 to 4096 (NVMe and SCSI allow more; such are refused by drivers).
    pub block_size: u32,
    /// Blocks.
    pub blocks: u64,
    /// Bytes that the medium writes at once; a power of two, at least `block_size`.
    pub physical_block_size: u32,
    /// Most blocks of one read or write that the driver passes on as one command. Longer ones are split by the
    /// driver; this is advice.
    pub best_blocks: u32,
    /// What it can do.
    pub features: Features,
}

/// What a device can do beyond reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Nothing changes it.
    pub read_only: bool,
    /// It has a volatile write cache: without a flush, what was written may be lost with the power.
    pub volatile_cache: bool,
    /// It takes [`Operation::Discard`].
    pub discard: bool,
    /// It takes [`Operation::WriteZeroes`].
    pub write_zeroes: bool,
    /// It has no moving parts.
    pub solid_state: bool,
}

impl Geometry {
    /// Bytes of the device.
    pub const fn bytes(&self) -> u64 {
        self.blocks.saturating_mul(self.block_size as u64)
    }

    /// Whether a request makes sense for such a device.
    ///
    /// # Errors
    /// What it is to be completed with.
    pub fn check(&self, request: &Request<'_>) -> Result<(), BlockError> {
        let supported = match request.operation {
            Operation::Read | Operation::Write { .. } | Operation::Flush => true,
            Operation::WriteZeroes { .. } => self.features.write_zeroes,
            Operation::Discard => self.features.discard,
        };
        if self.features.read_only && request.operation.changes() {
            return Err(BlockError::ReadOnly);
        }
        if !supported {
            return Err(BlockError::Unsupported);
        }
        if request.operation == Operation::Flush {
            let empty = request.blocks == 0 && request.segments.is_empty();
            return if empty { Ok(()) } else { Err(BlockError::Malformed) };
        }
        let end = request.block.checked_add(request.blocks).ok_or(BlockError::OutOfRange)?;
        if end > self.blocks {
            return Err(BlockError::OutOfRange);
        }
        let expected = if request.operation.has_data() { request.blocks } else { 0 };
        let expected = expected.checked_mul(u64::from(self.block_size)).ok_or(BlockError::OutOfRange)?;
        let bytes: u64 = request.segments.iter().map(|s| u64::from(s.bytes)).sum();
        let whole = request.segments.iter().all(|s| s.bytes != 0);
        if request.blocks == 0 || bytes != expected || !whole {
            return Err(BlockError::Malformed);
        }
        Ok(())
    }
}
