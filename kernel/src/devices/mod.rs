//! The machine's devices: which there are, who drives them, and the disks that come of it.
//!
//! ```text
//! watch (a task): Scan, then the slots once a second ──► attach: a driver by class code, in a task of its own
//!     │                                                      │ takes pci::Device, its BARs, its vectors
//!     ▼                                                      ▼
//! inventory: all functions, for `pci`                    disks: what drivers publish, for VMs and `disk`
//! ```
//!
//! - `config_space`, `registers`: the ways to the devices.
//! - `services`: what drivers ask of the kernel (`drivers::Kernel`).
//! - `inventory`: all functions and who has them.
//! - `watch`: finds functions, gives them to drivers, and takes them away when they leave.
//! - `attach`: the drivers; `nvme`, `ahci`, `e1000`, `virtio`: what each gets, and what becomes of its disks and cards.
//! - `disks`: all disks, and who uses which part of them; `nics`: all network cards.
//!
//! The machine is up before any device is: boot waits for none. Whoever needs a disk waits for it by
//! [`disks::find`], which knows when there is nothing left to wait for.
mod ahci;
mod attach;
mod config_space;
pub mod disks;
mod e1000;
mod inventory;
pub mod nics;
mod nvme;
mod registers;
mod services;
mod virtio;
mod watch;

use crate::cpu_loop::Runtime;
use crate::interrupts;
use alloc::sync::Arc;
use drivers::pci::ConfigSpace;
pub use inventory::{functions, stop_all};
use platform::acpi::EcamWindow;
use spin::Once;

static SPACE: Once<Arc<dyn ConfigSpace>> = Once::new();

/// Finds the way to PCI configuration space, and makes the tables of devices' vectors. Once, when all CPUs have
/// their blocks.
pub fn find(windows: &[EcamWindow]) {
    interrupts::device::start();
    SPACE.call_once(|| config_space::find(windows));
}

/// Starts the task that looks for devices, on the calling CPU.
pub fn start(runtime: &Runtime) {
    let Some(space) = SPACE.get() else { return };
    runtime.executor.spawn("devices", watch::run(space.clone(), runtime.timers.clone()));
}
