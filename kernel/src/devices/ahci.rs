//! AHCI controllers: their parts for the driver, and the disks at their ports.
use super::attach::{Driving, Function};
use super::disks::{self, Number};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use drivers::ahci::{self, Limits, Parts};

/// BAR 5: the registers (AHCI 1.3.1, 2.1.11).
const ABAR: u8 = 5;
/// Most ports of a controller: disks are numbered by controller and port, so that each keeps its name.
const PORTS: usize = 32;

/// Drives a controller until it is gone or to let go.
pub fn drive(function: Function) -> Driving {
    // Here, not in the task: controllers are numbered in the order in which they are found.
    let number = Number::take("ahci");
    Box::pin(async move {
        let Function { kernel, attachment, found, .. } = &function;
        let device = Arc::new(function.take().await.map_err(|e| e.to_string())?);
        let registers = device.map(ABAR).map_err(|e| e.to_string())?;
        // Without messages it is looked at.
        let interrupts = device.interrupts().ok();
        device.set_bus_master(true);
        let (address, first) = (found.address, number.get() * PORTS);
        let parts = Parts {
            number: number.get(),
            registers,
            interrupts,
            disk_number: Box::new(move |port| first + port as usize),
            announce: Box::new(move |port, disk| {
                disks::publish(disk, "ahci", format!("{address} port {port}"))
            }),
            stop_dma: Box::new(move || device.stop_dma()),
        };
        let started = ahci::start(kernel.clone(), parts, Limits::default()).await;
        let controller = started.map_err(|e| e.to_string())?;
        let info = controller.info();
        attachment.works(format!("{}, {} ports", info.name, info.ports));
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
