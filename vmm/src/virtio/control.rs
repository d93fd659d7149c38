//! What a device's transport, queues and requests share: the device status, and the ways to interrupt the guest.
use super::device::Status;
use super::put_off::Interrupts;
use super::queue::Broken;
use crate::platform::Postponed;
use crate::platform::pci::Intx;
use crate::platform::pci::msix::Msix;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, Ordering};

/// A vector that stands for no interrupt (virtio 1.2, 4.1.5.1.2).
pub const NO_VECTOR: u16 = 0xffff;

/// ISR status: a queue has used buffers (4.1.4.5).
const ISR_QUEUE: u8 = 1;
/// ISR status: the configuration has changed.
const ISR_CONFIG: u8 = 2;

/// Bits of `state` beside the device status.
const BUS_MASTER: u32 = 1 << 8;
const STOPPED: u32 = 1 << 9;
const STATUS: u32 = 0xff;

/// The state of a device that is read at each request: without a lock.
pub struct Control {
    state: AtomicU32,
    isr: AtomicU8,
    generation: AtomicU8,
    config_vector: AtomicU16,
    intx_disabled: AtomicBool,
    /// A broken ring was logged. Once: a guest could fill the log.
    logged: AtomicBool,
    interrupts: Interrupts,
    msix: Msix,
    intx: Intx,
    postponed: Arc<Postponed>,
    slot: u8,
}

impl Control {
    /// In the power-on state, for the device in `slot`.
    pub fn new(msix: Msix, intx: Intx, postponed: Arc<Postponed>, slot: u8) -> Self {
        Self {
            state: AtomicU32::new(0),
            isr: AtomicU8::new(0),
            generation: AtomicU8::new(0),
            config_vector: AtomicU16::new(NO_VECTOR),
            intx_disabled: AtomicBool::new(false),
            logged: AtomicBool::new(false),
            interrupts: Interrupts::new(),
            msix,
            intx,
            postponed,
            slot,
        }
    }

    /// Its place on the bus.
    pub fn slot(&self) -> u8 {
        self.slot
    }

    /// Its message-signalled interrupts.
    pub fn msix(&self) -> &Msix {
        &self.msix
    }

    /// Global system interrupt of its pin.
    pub fn gsi(&self) -> u8 {
        self.intx.gsi()
    }

    /// Whether queues are to be served: the driver works, no ring is broken, and the function may write to memory.
    #[inline]
    pub fn running(&self) -> bool {
        let mask = u32::from(Status::DRIVER_OK | Status::NEEDS_RESET) | BUS_MASTER | STOPPED;
        self.state.load(Ordering::SeqCst) & mask == u32::from(Status::DRIVER_OK) | BUS_MASTER
    }

    /// The device status.
    pub fn status(&self) -> u8 {
        self.state.load(Ordering::SeqCst) as u8
    }

    /// Sets bits of the device status.
    pub fn add_status(&self, bits: u8) {
        self.state.fetch_or(bits.into(), Ordering::SeqCst);
    }

    /// The device is reset: status and interrupts, not what the function's command register says.
    pub fn reset(&self) {
        self.state.fetch_and(!STATUS, Ordering::SeqCst);
        self.config_vector.store(NO_VECTOR, Ordering::Relaxed);
        self.take_isr();
    }

    /// The function may or may not write to memory, and assert its pin, as its command register says.
    pub fn set_command(&self, bus_master: bool, intx_disabled: bool) {
        if bus_master {
            self.state.fetch_or(BUS_MASTER, Ordering::SeqCst);
        } else {
            self.state.fetch_and(!BUS_MASTER, Ordering::SeqCst);
        }
        self.intx_disabled.store(intx_disabled, Ordering::SeqCst);
        self.update_pin();
    }

    /// No queue is served any more.
    pub fn stop(&self) {
        self.state.fetch_or(STOPPED, Ordering::SeqCst);
    }

    /// The board is to call the device again, since it has not done all.
    pub fn postpone(&self) {
        self.postponed.add(self.slot);
    }

    /// A ring breaks the rules: the device stops and says so (2.1.1).
    #[cold]
    pub fn needs_reset(&self, why: Broken) {
        let before = self.state.fetch_or(Status::NEEDS_RESET.into(), Ordering::SeqCst);
        if !self.logged.swap(true, Ordering::Relaxed) {
            log::warn!("a guest's virtio device {} is stopped until its driver resets it: {why}", self.slot);
        }
        if before & u32::from(Status::NEEDS_RESET) == 0 && before & u32::from(Status::DRIVER_OK) != 0 {
            self.config_interrupt();
        }
    }

    /// The configuration has changed: the guest is told, and sees it by the generation.
    pub fn config_changed(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        if self.status() & Status::DRIVER_OK != 0 {
            self.config_interrupt();
        }
    }

    /// Changes with each change of the configuration (2.5.1).
    pub fn generation(&self) -> u8 {
        self.generation.load(Ordering::SeqCst)
    }

    /// Vector of the configuration interrupt.
    pub fn config_vector(&self) -> u16 {
        self.config_vector.load(Ordering::Relaxed)
    }

    /// Sets it. One that the table does not have becomes [`NO_VECTOR`].
    pub fn set_config_vector(&self, vector: u16) {
        self.config_vector.store(self.valid_vector(vector), Ordering::Relaxed);
    }

    /// The vector, if the table has it; else [`NO_VECTOR`].
    pub fn valid_vector(&self, vector: u16) -> u16 {
        if vector < self.msix.vectors() { vector } else { NO_VECTOR }
    }

    fn config_interrupt(&self) {
        self.interrupt(self.config_vector(), ISR_CONFIG);
    }

    /// A queue has used buffers. Whether a message went out: then a vCPU is about to take it.
    #[inline]
    pub fn queue_interrupt(&self, vector: u16) -> bool {
        self.interrupt(vector, ISR_QUEUE)
    }

    /// Whether a message went out.
    #[inline]
    fn interrupt(&self, vector: u16, isr: u8) -> bool {
        if self.msix.enabled() {
            self.msix.raise(vector)
        } else {
            self.isr.fetch_or(isr, Ordering::SeqCst);
            self.update_pin();
            false
        }
    }

    /// What is put off of its interrupts.
    #[inline]
    pub fn interrupts(&self) -> &Interrupts {
        &self.interrupts
    }

    /// Reads the ISR status, which clears it and releases the pin.
    pub fn take_isr(&self) -> u8 {
        let isr = self.isr.swap(0, Ordering::SeqCst);
        self.update_pin();
        isr
    }

    /// Whether the pin has a reason to be asserted, whether or not it may.
    pub fn interrupt_status(&self) -> bool {
        self.isr.load(Ordering::SeqCst) != 0
    }

    /// MSI-X was switched on or off.
    pub fn update_pin(&self) {
        self.intx.update(|| {
            self.interrupt_status() && !self.intx_disabled.load(Ordering::SeqCst) && !self.msix.enabled()
        });
    }
}
