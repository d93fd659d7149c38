//! The I/O APICs: where device interrupts that are no messages enter (82093AA data sheet).
#![allow(unsafe_code)] // register access by memory

use super::Vector;
use crate::cpu::percpu;
use crate::memory::{self, NoMemory};
use crate::sync::IrqLock;
use alloc::vec::Vec;
use mm::addr::{Hpa, Hva, PAGE};
use platform::acpi::{IrqRoute, Polarity, Trigger};

/// Register numbers.
const VERSION: u32 = 1;
const REDIRECTION: u32 = 0x10;

/// Redirection entry: delivers nothing.
const MASKED: u32 = 1 << 16;

struct IoApic {
    window: Hva,
    first_gsi: u32,
    pins: u32,
}

static ALL: IrqLock<Vec<IoApic>> = IrqLock::new(Vec::new());

impl IoApic {
    fn read(&mut self, register: u32) -> u32 {
        // SAFETY: the window maps this I/O APIC; select and data are used under the lock.
        unsafe {
            self.window.as_mut_ptr::<u32>().write_volatile(register);
            (self.window + 0x10).as_mut_ptr::<u32>().read_volatile()
        }
    }

    fn write(&mut self, register: u32, value: u32) {
        // SAFETY: as in `read`.
        unsafe {
            self.window.as_mut_ptr::<u32>().write_volatile(register);
            (self.window + 0x10).as_mut_ptr::<u32>().write_volatile(value);
        }
    }
}

/// Maps the I/O APICs and masks all their inputs.
pub fn start(found: &[platform::acpi::IoApic]) -> Result<(), NoMemory> {
    for f in found {
        let page = Hpa::new(f.address.into()).align_down(PAGE);
        let window = memory::map_device(page, PAGE)? + (u64::from(f.address) - page.get());
        let mut io = IoApic { window, first_gsi: f.first_gsi, pins: 0 };
        io.pins = (io.read(VERSION) >> 16 & 0xff) + 1;
        for pin in 0..io.pins {
            io.write(REDIRECTION + 2 * pin, MASKED);
        }
        ALL.lock().push(io);
    }
    Ok(())
}

/// Sends a device's interrupt to CPU `cpu` as `vector`. Returns false where no I/O APIC has the input, or
/// the CPU's APIC id does not fit into an entry's 8 bits.
pub fn route(route: IrqRoute, vector: Vector, cpu: usize) -> bool {
    let Some(destination) = percpu::get(cpu).and_then(|c| u8::try_from(c.apic_id()).ok()) else {
        return false;
    };
    let mut all = ALL.lock();
    let found = all.iter_mut().find(|io| route.gsi >= io.first_gsi && route.gsi - io.first_gsi < io.pins);
    let Some(io) = found else { return false };
    let entry = REDIRECTION + 2 * (route.gsi - io.first_gsi);
    let low = u32::from(vector.0)
        | u32::from(route.polarity == Polarity::ActiveLow) << 13
        | u32::from(route.trigger == Trigger::Level) << 15;
    io.write(entry, MASKED);
    io.write(entry + 1, u32::from(destination) << 24);
    io.write(entry, low);
    true
}
