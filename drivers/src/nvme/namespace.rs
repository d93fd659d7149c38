//! A namespace: a block device.
use super::identify::{CommandLimits, ControllerData, NamespaceData};
use super::lifecycle::{Core, Queues};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use block::{BlockDevice, BlockError, Features, Geometry, Identity, Operation, Request};
use core::sync::atomic::{AtomicBool, Ordering};

/// What a command needs to know of its namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    /// Namespace identifier.
    pub namespace: u32,
    /// Bytes of a block, as a power of two.
    pub shift: u8,
    /// Most blocks of one Write Zeroes.
    pub zero_blocks: u32,
    /// Most blocks of one deallocation.
    pub discard_blocks: u32,
    /// Write Zeroes may deallocate.
    pub deallocate_zeroes: bool,
}

/// A namespace as the supervisor knows it.
pub(super) struct Place {
    pub id: u32,
    pub name: String,
    pub data: NamespaceData,
    /// It is not there any more, or not what it was.
    pub gone: AtomicBool,
}

/// A namespace.
pub(super) struct Namespace {
    identity: Identity,
    geometry: Geometry,
    format: Format,
    place: Arc<Place>,
    /// Before the queues, so that it goes first: its end makes the controller leave them alone.
    core: Arc<Core>,
    queues: Arc<Queues>,
}

impl Namespace {
    pub fn new(
        core: Arc<Core>,
        queues: Arc<Queues>,
        place: Arc<Place>,
        controller: &ControllerData,
        limits: CommandLimits,
        most_bytes: u64,
    ) -> Self {
        let data = place.data;
        let shift = data.block_shift;
        let zero_blocks = limits.zero_bytes.map_or(1 << 16, |bytes| (bytes >> shift).clamp(1, 1 << 16));
        Self {
            identity: Identity {
                name: place.name.clone(),
                model: controller.model.clone(),
                serial: controller.serial.clone(),
                firmware: controller.firmware.clone(),
            },
            geometry: Geometry {
                block_size: 1 << shift,
                blocks: data.blocks,
                physical_block_size: data.physical_block_size,
                // At most MOST_BYTES of 512.
                best_blocks: (most_bytes >> shift) as u32,
                features: Features {
                    read_only: data.read_only,
                    volatile_cache: controller.volatile_cache,
                    discard: controller.dataset_management,
                    write_zeroes: controller.write_zeroes,
                    solid_state: true,
                },
            },
            format: Format {
                namespace: place.id,
                shift,
                // At most 65536.
                zero_blocks: zero_blocks as u32,
                discard_blocks: limits.discard_blocks,
                deallocate_zeroes: data.deallocate_zeroes,
            },
            place,
            core,
            queues,
        }
    }

    /// Its name on a controller.
    pub fn name(controller: &str, id: u32) -> String {
        format!("{controller}n{id}")
    }
}

impl BlockDevice for Namespace {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    #[inline]
    fn submit(&self, request: Request<'_>) {
        if let Err(error) = self.geometry.check(&request) {
            request.done.complete(Err(error));
        } else if self.place.gone.load(Ordering::Relaxed) {
            request.done.complete(Err(BlockError::Removed));
        } else if request.operation == Operation::Flush && !self.geometry.features.volatile_cache {
            // What is completed is on the medium where there is no volatile write cache.
            request.done.complete(Ok(()));
        } else {
            self.queues.of(self.core.kernel.this_cpu()).submit(self.format, request);
        }
    }

    #[inline]
    fn start(&self) {
        self.queues.of(self.core.kernel.this_cpu()).start();
    }

    fn is_present(&self) -> bool {
        !self.place.gone.load(Ordering::Relaxed) && !self.core.is_over()
    }
}
