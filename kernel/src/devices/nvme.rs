//! NVMe controllers: their parts for the driver, and their namespaces as disks.
use super::attach::{Driving, Function};
use super::disks::{self, Number};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use drivers::nvme::{self, Limits, Parts};

/// Drives a controller until it is gone or to let go.
pub fn drive(function: Function) -> Driving {
    // Here, not in the task: controllers are numbered in the order in which they are found.
    let number = Number::take("nvme");
    Box::pin(async move {
        let Function { kernel, attachment, found, .. } = &function;
        let device = Arc::new(function.take().await.map_err(|e| e.to_string())?);
        let registers = device.map(0).map_err(|e| e.to_string())?;
        let interrupts = device.interrupts().map_err(|e| e.to_string())?;
        device.set_bus_master(true);
        let stop_dma = Box::new(move || device.stop_dma());
        let parts = Parts { number: number.get(), registers, interrupts, stop_dma };
        let started = nvme::start(kernel.clone(), parts, Limits::default()).await;
        let controller = started.map_err(|e| e.to_string())?;
        let info = controller.info();
        for namespace in controller.namespaces() {
            disks::publish(namespace, "nvme", found.address.to_string());
        }
        attachment.works(format!("{}, {} queues", info.name, info.queues));
        attachment.leaves(controller.ended()).await;
        if attachment.is_gone() {
            controller.removed();
            controller.ended().await;
        } else {
            controller.shut_down().await;
        }
        drop(number);
        Ok(())
    })
}
