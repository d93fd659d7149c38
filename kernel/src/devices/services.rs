//! What this kernel gives to drivers.
#![allow(unsafe_code)] // memory for DMA comes from the heap and goes back to it

use super::registers;
use crate::cpu::percpu;
use crate::interrupts::device;
use crate::memory::{DIRECT, HEAP};
use crate::time;
use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use drivers::{DmaMemory, Interrupt, Kernel, Registers, Task};
use executor::{Signal, Timers};
use mm::DirectMap;
use mm::addr::{Hpa, PAGE};

/// See [`Kernel`].
pub struct Services {
    myself: Weak<Self>,
}

impl Services {
    /// One for all drivers.
    pub fn new() -> Arc<Self> {
        Arc::new_cyclic(|myself| Self { myself: myself.clone() })
    }
}

impl Kernel for Services {
    fn now(&self) -> u64 {
        time::now().0
    }

    fn cpus(&self) -> usize {
        percpu::all().len()
    }

    fn this_cpu(&self) -> usize {
        percpu::current().index
    }

    fn timers(&self) -> Arc<Timers> {
        // Drivers run in tasks, which begin after their CPU's timers.
        percpu::current().timers().cloned().unwrap_or_else(|| unreachable!("a task before its CPU's loop"))
    }

    fn spawn(&self, cpu: usize, name: &'static str, task: Task) {
        // A CPU that did not start has no loop: the booting one does its work.
        let wanted = percpu::get(cpu).and_then(|c| c.spawner());
        if let Some(spawner) = wanted.or_else(|| percpu::current().spawner()) {
            spawner.spawn(name, task);
        }
    }

    fn direct_map(&self) -> DirectMap {
        DIRECT
    }

    fn allocate_dma(&self, bytes: usize, low: bool) -> Option<DmaMemory> {
        let mut pages = (bytes as u64).div_ceil(PAGE).max(1);
        let address = if low {
            pages = pages.checked_next_power_of_two()?;
            HEAP.allocate_frames_below(pages.trailing_zeros() as mm::frames::Order, Hpa::new(1 << 32))?
        } else {
            HEAP.allocate_run(pages)?
        };
        let bytes = (pages * PAGE) as usize;
        // SAFETY: frames that were just taken, in the direct map.
        unsafe { DIRECT.pointer::<u8>(address).write_bytes(0, bytes) };
        let kernel: Arc<dyn Kernel> = self.myself.upgrade()?;
        // SAFETY: zeroed above, nobody else's, and `free_dma` takes them back.
        Some(unsafe { DmaMemory::new(kernel, address, bytes) })
    }

    unsafe fn free_dma(&self, address: Hpa, bytes: usize) {
        // SAFETY: the caller's promise. A power of two of low pages was taken as one block, which is what a run of
        // as many pages at such an address is.
        if let Err(error) = unsafe { HEAP.free_run(address, bytes as u64 / PAGE) } {
            log::error!("memory for DMA at {address} could not be freed: {error}");
        }
    }

    fn map_registers(&self, address: Hpa, bytes: u64) -> Option<Box<dyn Registers>> {
        registers::map(address, bytes)
    }

    fn interrupt(&self, cpu: usize, signal: Arc<Signal>) -> Option<Box<dyn Interrupt>> {
        device::take(cpu, signal)
    }
}
