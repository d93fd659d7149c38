//! A window on a device: some of its blocks, read-only or not.
use crate::{BlockDevice, Geometry, Identity, Operation, Request};
use alloc::sync::Arc;
use core::fmt;

/// Some of a device's blocks as a device of their own.
pub struct Part {
    device: Arc<dyn BlockDevice>,
    first: u64,
    geometry: Geometry,
}

/// Why a part can't be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadPart {
    /// Offset or size, in bytes, is not whole blocks of this many bytes.
    Unaligned(u32),
    /// It would end beyond the device, which has this many bytes.
    TooLarge(u64),
    /// It would have no blocks.
    Empty,
}

impl fmt::Display for BadPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unaligned(size) => write!(f, "offset and size must be multiples of its {size}-byte blocks"),
            Self::TooLarge(bytes) => write!(f, "offset and size reach beyond its end: it has {bytes} bytes"),
            Self::Empty => f.write_str("nothing of it is left: make the offset smaller than the device"),
        }
    }
}

impl Part {
    /// The `size` bytes (default: all that is left) of `device` from byte `offset` on.
    ///
    /// # Errors
    /// Where that is not whole blocks of the device.
    pub fn new(
        device: Arc<dyn BlockDevice>,
        offset: u64,
        size: Option<u64>,
        read_only: bool,
    ) -> Result<Self, BadPart> {
        let mut geometry = *device.geometry();
        let (block, total) = (u64::from(geometry.block_size), geometry.bytes());
        if !offset.is_multiple_of(block) || !size.unwrap_or(0).is_multiple_of(block) {
            return Err(BadPart::Unaligned(geometry.block_size));
        }
        let left = total.checked_sub(offset).ok_or(BadPart::TooLarge(total))?;
        let size = size.unwrap_or(left);
        if size > left {
            return Err(BadPart::TooLarge(total));
        }
        if size == 0 {
            return Err(BadPart::Empty);
        }
        geometry.blocks = size / block;
        geometry.features.read_only |= read_only;
        Ok(Self { first: offset / block, device, geometry })
    }
}

impl BlockDevice for Part {
    fn identity(&self) -> &Identity {
        self.device.identity()
    }

    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    fn submit(&self, mut request: Request<'_>) {
        if let Err(error) = self.geometry.check(&request) {
            request.done.complete(Err(error));
            return;
        }
        if request.operation != Operation::Flush {
            // Within the part, so within the device: no overflow.
            request.block += self.first;
        }
        self.device.submit(request);
    }

    fn start(&self) {
        self.device.start();
    }

    fn is_present(&self) -> bool {
        self.device.is_present()
    }
}
