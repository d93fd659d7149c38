//! A disk: a block device.
use super::queue::Queue;
use alloc::sync::Arc;
use alloc::vec::Vec;
use block::{BlockDevice, BlockError, Geometry, Identity, Operation, Request};
use core::sync::atomic::{AtomicBool, Ordering};

/// A disk.
pub struct Disk {
    pub(super) identity: Identity,
    pub(super) geometry: Geometry,
    pub(super) kernel: Arc<dyn crate::Kernel>,
    /// At least one.
    pub(super) queues: Vec<Arc<Queue>>,
    pub(super) over: Arc<AtomicBool>,
}

impl Disk {
    /// The calling CPU's queue: neighbours share one where there are fewer.
    #[inline]
    pub(super) fn queue(&self) -> &Queue {
        let (cpu, cpus) = (self.kernel.this_cpu(), self.kernel.cpus().max(1));
        // Below the number of queues, since the CPU is below that of CPUs.
        &self.queues[(cpu * self.queues.len() / cpus).min(self.queues.len() - 1)]
    }
}

impl BlockDevice for Disk {
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
        } else if !self.is_present() {
            request.done.complete(Err(BlockError::Removed));
        } else if request.operation == Operation::Flush && !self.geometry.features.volatile_cache {
            // What is completed is on the medium where there is no volatile write cache.
            request.done.complete(Ok(()));
        } else {
            self.queue().submit(request);
        }
    }

    #[inline]
    fn start(&self) {
        self.queue().start();
    }

    fn is_present(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }
}
