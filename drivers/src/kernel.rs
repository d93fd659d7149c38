//! What a driver asks of the kernel.
use crate::DmaMemory;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::future::Future;
use core::pin::Pin;
use executor::{Signal, Timers};
use mm::DirectMap;
use mm::addr::Hpa;

/// A window on a device's registers.
///
/// An access happens once, in the order of the program, and has the width that it says; an offset beyond the
/// window reads all ones and writes nothing. A device that is gone reads all ones.
pub trait Registers: Send + Sync {
    /// Bytes of the window.
    fn bytes(&self) -> u64;
    /// Reads 8 bits.
    fn read8(&self, offset: u64) -> u8;
    /// Reads 16 bits, at a multiple of 2.
    fn read16(&self, offset: u64) -> u16;
    /// Reads 32 bits, at a multiple of 4.
    fn read32(&self, offset: u64) -> u32;
    /// Reads 64 bits, at a multiple of 8.
    fn read64(&self, offset: u64) -> u64;
    /// Writes 8 bits.
    fn write8(&self, offset: u64, value: u8);
    /// Writes 16 bits, at a multiple of 2.
    fn write16(&self, offset: u64, value: u16);
    /// Writes 32 bits, at a multiple of 4. All stores to memory before it are seen by the device first.
    fn write32(&self, offset: u64, value: u32);
    /// Writes 64 bits, at a multiple of 8. All stores to memory before it are seen by the device first.
    fn write64(&self, offset: u64, value: u64);
}

/// What a device writes, and where, to interrupt a CPU (PCI Local Bus 3.0, 6.8; SDM vol. 3A, 11.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MsiMessage {
    /// Message address.
    pub address: u64,
    /// Message data.
    pub data: u32,
}

/// An interrupt vector of one CPU that raises a signal. Given back when dropped: the device must not send it
/// any more by then.
pub trait Interrupt: Send + Sync {
    /// What the device is to write.
    fn message(&self) -> MsiMessage;
    /// The CPU that takes it.
    fn cpu(&self) -> usize;
}

/// What runs as a task.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The kernel, as drivers need it.
pub trait Kernel: Send + Sync {
    /// Nanoseconds since some fixed moment. Never goes back.
    fn now(&self) -> u64;

    /// How many CPUs run; they are numbered from 0.
    fn cpus(&self) -> usize;

    /// The calling CPU.
    fn this_cpu(&self) -> usize;

    /// The timers of the calling CPU, for tasks that wait.
    fn timers(&self) -> Arc<Timers>;

    /// Starts a task on CPU `cpu`, which keeps it. `name` is what the watchdog and `top` print.
    fn spawn(&self, cpu: usize, name: &'static str, task: Task);

    /// Where physical memory is mapped.
    fn direct_map(&self) -> DirectMap;

    /// Zeroed memory for DMA: at least `bytes`, in whole pages, contiguous, below 4 GiB if `low`.
    fn allocate_dma(&self, bytes: usize, low: bool) -> Option<DmaMemory>;

    /// Gives pages back. For [`DmaMemory`] alone.
    ///
    /// # Safety
    /// They came from [`Self::allocate_dma`] and nobody uses them, no device either.
    #[allow(unsafe_code)] // a contract on memory
    unsafe fn free_dma(&self, address: Hpa, bytes: usize);

    /// A window on `bytes` of device registers at `address`, uncached.
    fn map_registers(&self, address: Hpa, bytes: u64) -> Option<Box<dyn Registers>>;

    /// A vector on CPU `cpu` whose interrupts raise `signal`. `None` where the CPU has none left.
    fn interrupt(&self, cpu: usize, signal: Arc<Signal>) -> Option<Box<dyn Interrupt>>;
}
