//! A disk: a block device.
use super::counters::Counters;
use super::error::PortError;
use super::identify::DiskData;
use super::port::Port;
use super::queue::{Durable, Format, Queue};
use alloc::sync::Arc;
use block::{BlockDevice, BlockError, Geometry, Identity, Operation, Request};
use core::sync::atomic::{AtomicBool, Ordering};

/// A disk.
pub struct Disk {
    identity: Identity,
    data: DiskData,
    queue: Arc<Queue>,
    present: AtomicBool,
}

impl Disk {
    /// The disk at a port, held.
    pub(super) fn new(port: &Arc<Port>, data: DiskData) -> Result<Self, PortError> {
        let queued = port.capabilities.queued() && data.depth != 0;
        let depth = port.capabilities.slots().min(port.limits.depth).max(1);
        // Where nothing is queued the disk does one after another anyway, and an error is of the only one.
        let depth = if queued { depth.min(data.depth) } else { 1 };
        let format = Format {
            shift: data.geometry.block_size.trailing_zeros(),
            queued,
            durable: if !data.geometry.features.volatile_cache {
                Durable::Always
            } else if queued || data.durable_write {
                Durable::ByCommand
            } else {
                Durable::ByFlush
            },
            reach: if port.capabilities.wide() { u64::MAX } else { 1 << 32 },
        };
        let queue = Queue::new(port, format, depth).ok_or(PortError::NoMemory)?;
        let identity = Identity {
            name: alloc::format!("sata{}", port.disk_number),
            model: data.model.clone(),
            serial: data.serial.clone(),
            firmware: data.firmware.clone(),
        };
        let how = if queued { "queued" } else { "not queued" };
        log::info!("{}: {}, commands {how}, {depth} at once", port.name, identity.name);
        Ok(Self { identity, data, queue, present: AtomicBool::new(true) })
    }

    pub(super) fn queue(&self) -> &Queue {
        &self.queue
    }

    pub(super) fn data(&self) -> &DiskData {
        &self.data
    }

    /// It is there no more, and the HBA has let go of its memory: requests end with `error`, later ones with
    /// [`BlockError::Removed`].
    pub(super) fn close(&self, error: BlockError) {
        self.present.store(false, Ordering::Relaxed);
        self.queue.close(error);
    }

    /// Takes completions now, if there are any, and tells whoever waits: for a CPU's loop or exit handler that does
    /// not want to wait for the interrupt. Without completions it costs two loads and no access to the device.
    /// Whether there were some.
    #[inline]
    pub fn poll(&self) -> bool {
        let port = &self.queue.port;
        port.has_commands() && port.memory.take_device_bits() && self.queue.reap() != 0
    }

    /// What it has done so far.
    pub fn counters(&self) -> Counters {
        self.queue.counters()
    }
}

impl BlockDevice for Disk {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn geometry(&self) -> &Geometry {
        &self.data.geometry
    }

    #[inline]
    fn submit(&self, request: Request<'_>) {
        if let Err(error) = self.data.geometry.check(&request) {
            request.done.complete(Err(error));
        } else if request.operation == Operation::Flush
            && !self.data.geometry.features.volatile_cache
            && self.is_present()
        {
            // What is completed is on the medium where there is no volatile write cache.
            request.done.complete(Ok(()));
        } else {
            self.queue.submit(request);
        }
    }

    #[inline]
    fn start(&self) {
        self.queue.start();
    }

    fn is_present(&self) -> bool {
        self.present.load(Ordering::Relaxed)
    }
}
