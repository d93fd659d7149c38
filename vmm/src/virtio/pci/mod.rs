//! virtio over PCI (virtio 1.2, 4.1): a device's function on the bus, and what its BARs do.
//!
//! | BAR | offset | what |
//! |---|---|---|
//! | 0, four ports | 0 | notification of all queues: the value written is the queue's number |
//! | 1, 16 KiB of memory | 0x0000 | common configuration |
//! | | 0x1000 | ISR status |
//! | | 0x2000 | the device's own configuration |
//! | | 0x3000 | MSI-X table |
//! | | 0x3800 | MSI-X pending bits |
//!
//! Each is in a page of its own but for the last two, so that a guest can map it alone.
mod function;
mod registers;

pub use function::Function;

use super::control::Control;
use super::device::{Device, Feature};
use super::queue::Virtqueue;
use crate::memory::GuestMemory;
use crate::platform::Postponed;
use crate::platform::apic::ApicFabric;
use crate::platform::pci::msix::Msix;
use crate::platform::pci::{AttachError, BarTarget, Firmware, Intx};
use crate::time::Nanos;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use registers::Registers;
use spin::Mutex;

/// BAR of the notify port.
pub const NOTIFY_BAR: u8 = 0;
/// BAR of everything else.
pub const MEMORY_BAR: u8 = 1;
/// Ports of [`NOTIFY_BAR`].
pub const NOTIFY_BYTES: u32 = 4;
/// Bytes of [`MEMORY_BAR`].
pub const MEMORY_BYTES: u32 = 0x4000;

/// Where in [`MEMORY_BAR`] each structure is, a page from one to the next.
mod place {
    pub const COMMON: u64 = 0x0000;
    pub const ISR: u64 = 0x1000;
    pub const DEVICE: u64 = 0x2000;
    pub const MSIX_TABLE: u64 = 0x3000;
    pub const MSIX_PENDING: u64 = 0x3800;
}

/// Most vectors that fit before the pending bits.
const MAX_VECTORS: u16 = 128;

/// Where a device is put, and what it is wired to.
pub struct Place {
    /// Its number on bus 0.
    pub slot: u8,
    /// Carries its message-signalled interrupts.
    pub fabric: Arc<ApicFabric>,
    /// Its pin.
    pub intx: Intx,
    /// Where it asks to be called again.
    pub postponed: Arc<Postponed>,
}

/// A device as the board has it.
pub struct Transport {
    device: Box<dyn Device>,
    control: Arc<Control>,
    queues: Box<[Arc<Virtqueue>]>,
    offered: u64,
    registers: Mutex<Registers>,
}

impl Transport {
    /// Makes a function of a device, with queues in `memory` and addresses of `firmware`.
    ///
    /// # Errors
    /// No address is left.
    pub fn plug(
        mut device: Box<dyn Device>,
        memory: &Arc<GuestMemory>,
        place: Place,
        firmware: &mut Firmware,
    ) -> Result<Function, AttachError> {
        let Place { slot, fabric, intx, postponed } = place;
        let sizes = device.queue_sizes();
        let vectors = u16::try_from(sizes.len() + 1).unwrap_or(MAX_VECTORS).min(MAX_VECTORS);
        let control = Arc::new(Control::new(Msix::new(fabric, vectors), intx, postponed, slot));
        let segments = device.segments();
        let queue = |(number, size): (u16, &u16)| {
            let make = if device.names_places(number) { Virtqueue::of_places } else { Virtqueue::new };
            Arc::new(make(memory, &control, *size, segments))
        };
        let queues: Vec<_> = (0..).zip(&sizes).map(queue).collect();
        device.connect(queues.clone(), &control);
        let transport = Arc::new(Self {
            offered: device.features() | Feature::OFFERED,
            registers: Mutex::new(Registers::new(&sizes)),
            queues: queues.into_boxed_slice(),
            device,
            control,
        });
        Function::new(transport, firmware).ok_or(AttachError::NoRoom(slot))
    }

    /// Its number on bus 0.
    pub fn slot(&self) -> u8 {
        self.control.slot()
    }

    /// As the board's decoder knows it.
    pub fn target(self: &Arc<Self>) -> Arc<dyn BarTarget> {
        self.clone()
    }

    /// Requests that use the guest's memory now.
    pub fn in_flight(&self) -> u32 {
        self.device.in_flight()
    }

    /// A vCPU in its turn looks at the queues that the guest need not notify of. Whether it is to come again after
    /// `pace` at the latest.
    pub fn look(&self, now: Nanos, pace: Nanos) -> bool {
        self.pay(false);
        let mut again = false;
        for (number, queue) in (0..).zip(&self.queues) {
            again |= queue.look(now, pace);
            if queue.is_quiet() {
                self.device.notify(number);
            }
        }
        again
    }

    /// Interrupts that were put off go out, if they are due now that a vCPU is about to enter its guest, or ends its turn.
    #[inline]
    pub fn pay(&self, ends: bool) {
        if self.control.interrupts().look(ends) {
            self.queues.iter().for_each(|queue| queue.pay());
        }
    }

    /// The vCPU's turn ends.
    pub fn rest(&self) {
        for (number, queue) in (0..).zip(&self.queues) {
            if queue.rest() {
                self.device.notify(number);
            }
        }
    }

    /// As [`Device::mark_requests`].
    pub fn mark_requests(&self) {
        self.device.mark_requests();
    }

    /// As [`Device::marked_are_done`].
    pub fn marked_are_done(&self) -> bool {
        self.device.marked_are_done()
    }

    /// It takes no further requests; `drained` is called when it has none left.
    pub fn stop(&self, drained: &Arc<dyn Fn() + Send + Sync>) {
        self.device.when_drained(drained);
        self.control.stop();
        // Who looked before might still submit what he has found.
        self.queues.iter().for_each(|queue| queue.wait_for_server());
    }

    /// It had asked to be called again.
    pub fn resume(&self) {
        for queue in 0..self.queues.len() {
            self.device.notify(queue as u16);
        }
    }

    fn memory_read(&self, offset: u64, size: u8) -> u64 {
        let within = offset & 0xfff;
        match offset & !0xfff {
            place::COMMON => self.common_read(within, size),
            place::ISR if within == 0 => self.control.take_isr().into(),
            place::DEVICE => (0..u32::from(size.min(8)))
                .fold(0, |value, i| value | u64::from(self.device.config_byte(within as u32 + i)) << (8 * i)),
            place::MSIX_TABLE if offset < place::MSIX_PENDING => self.control.msix().table_read(within, size),
            place::MSIX_TABLE => self.control.msix().pending_read(offset - place::MSIX_PENDING, size),
            _ => 0,
        }
    }

    fn memory_write(&self, offset: u64, size: u8, value: u64) {
        let within = offset & 0xfff;
        match offset & !0xfff {
            place::COMMON => self.common_write(within, size, value),
            place::DEVICE => self.device.config_write(within as u32, size, value),
            place::MSIX_TABLE if offset < place::MSIX_PENDING => {
                self.control.msix().table_write(within, size, value);
            }
            _ => {}
        }
    }
}

impl BarTarget for Transport {
    fn bar_read(&self, bar: u8, offset: u64, size: u8) -> u64 {
        match bar {
            MEMORY_BAR => self.memory_read(offset, size),
            // Notifications can't be read back.
            _ => 0,
        }
    }

    #[inline]
    fn bar_write(&self, bar: u8, offset: u64, size: u8, value: u64) {
        match bar {
            NOTIFY_BAR if offset == 0 => self.device.notify(value as u16),
            MEMORY_BAR => self.memory_write(offset, size, value),
            _ => {}
        }
    }
}
