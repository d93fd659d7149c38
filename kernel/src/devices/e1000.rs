//! Intel's e1000 network cards: their parts for the driver.
use super::attach::{Driving, Function};
use super::disks::Number;
use super::nics;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use drivers::e1000::{self, Parts};
use drivers::pci::Found;

/// Whether a function is such a card.
pub fn drives(found: &Found) -> bool {
    e1000::is_e1000(found.vendor, found.device)
}

/// Drives a card until it is gone or to let go.
pub fn drive(function: Function) -> Driving {
    // Here, not in the task: cards are numbered in the order in which they are found.
    let number = Number::take(nics::PREFIX);
    Box::pin(async move {
        let Function { kernel, attachment, found, .. } = &function;
        let device = Arc::new(function.take().await.map_err(|e| e.to_string())?);
        let registers = device.map(0).map_err(|e| e.to_string())?;
        // The older ones have no messages, and are looked at.
        let interrupts = device.interrupts().ok();
        device.set_bus_master(true);
        let stop_dma = Box::new(move || device.stop_dma());
        let name = format!("{}{}", nics::PREFIX, number.get());
        let parts = Parts { name: name.clone(), registers, device: found.device, interrupts, stop_dma };
        let controller = e1000::start(kernel.clone(), parts).await.map_err(|e| e.to_string())?;
        let published = nics::publish(controller.nic(), "e1000", found.address.to_string());
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
