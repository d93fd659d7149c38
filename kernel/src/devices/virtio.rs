//! virtio devices of the machine, where it is a VM itself: their parts for the drivers.
use super::attach::{Driving, Function};
use super::disks::{self, Number};
use super::nics;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use drivers::pci::Found;
use drivers::virtio::blk::{self, Parts};
use drivers::virtio::{self, Windows, net};

/// Whether a function is such a disk.
pub fn drives(found: &Found) -> bool {
    virtio::is_block(found.vendor, found.device)
}

/// Whether a function is a network card of this kind.
pub fn drives_net(found: &Found) -> bool {
    virtio::is_net(found.vendor, found.device)
}

/// Drives a network card until it is gone or to let go.
pub fn drive_net(function: Function) -> Driving {
    let number = Number::take(nics::PREFIX);
    Box::pin(async move {
        let Function { kernel, attachment, found, config } = &function;
        let device = Arc::new(function.take().await.map_err(|e| e.to_string())?);
        let windows = Windows::map(config, &device).map_err(|e| e.to_string())?;
        // Without messages it is looked at.
        let interrupts = device.interrupts().ok();
        device.set_bus_master(true);
        let stop_dma = Box::new(move || device.stop_dma());
        let name = format!("{}{}", nics::PREFIX, number.get());
        let parts = net::Parts { name: name.clone(), windows, interrupts, stop_dma };
        let controller = net::start(kernel.clone(), parts).await.map_err(|e| e.to_string())?;
        let published = nics::publish(controller.nic(), "virtio-net", found.address.to_string());
        attachment.works(name);
        attachment.leaves(controller.ended()).await;
        // No network uses it any more, so that nothing new comes.
        drop(published);
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

/// Drives a disk until it is gone or to let go.
pub fn drive(function: Function) -> Driving {
    // Here, not in the task: disks are numbered in the order in which they are found.
    let number = Number::take("virtio");
    Box::pin(async move {
        let Function { kernel, attachment, found, config } = &function;
        let device = Arc::new(function.take().await.map_err(|e| e.to_string())?);
        let windows = Windows::map(config, &device).map_err(|e| e.to_string())?;
        // Without messages it is looked at.
        let interrupts = device.interrupts().ok();
        device.set_bus_master(true);
        let stop_dma = Box::new(move || device.stop_dma());
        let parts = Parts { number: number.get(), windows, interrupts, stop_dma };
        let controller = blk::start(kernel.clone(), parts).await.map_err(|e| e.to_string())?;
        disks::publish(controller.disk(), "virtio", found.address.to_string());
        attachment.works(format!("virtio{}, {} queues", number.get(), controller.queues()));
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
