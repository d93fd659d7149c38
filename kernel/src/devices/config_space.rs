//! The ways to PCI configuration space: memory (ECAM) where the firmware's MCFG table names it, else two ports.
#![allow(unsafe_code)] // accesses by mapped memory and by ports

use crate::cpu::port::Port;
use crate::memory;
use crate::sync::IrqLock;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::arch::asm;
use drivers::pci::{Address, BusRange, ConfigSpace};
use mm::addr::{Hpa, Hva};
use platform::acpi::EcamWindow;

/// Bytes of a bus in ECAM.
const BUS: u64 = 1 << 20;

/// The best way that this machine has.
pub fn find(windows: &[EcamWindow]) -> Arc<dyn ConfigSpace> {
    let ports = Arc::new(Ports(IrqLock::new(())));
    let mapped: Vec<Window> = windows.iter().filter_map(Window::map).collect();
    if mapped.is_empty() {
        return ports;
    }
    let ecam = Ecam(mapped);
    // What the firmware says may be wrong. Both ways must lead to the same host bridge.
    let first = Address::new(0, 0, 0, 0);
    let (told, asked) = (ecam.read32(first, 0), ports.read32(first, 0));
    if ecam.window(first).is_some() && asked != u32::MAX && told != asked {
        log::warn!("pci: the firmware's MCFG table leads nowhere ({told:#x}, not {asked:#x}): using ports");
        return ports;
    }
    Arc::new(ecam)
}

struct Window {
    found: EcamWindow,
    /// Where the first bus' space is mapped.
    at: Hva,
}

impl Window {
    fn map(found: &EcamWindow) -> Option<Self> {
        let first = found.base.checked_add(u64::from(found.first_bus) * BUS)?;
        let bytes = (u64::from(found.last_bus - found.first_bus) + 1) * BUS;
        let start = Hpa::try_new(first).filter(|start| start.is_aligned(BUS));
        let Some(start) = start.filter(|start| !memory::is_ram(*start, bytes)) else {
            log::warn!("pci: the firmware's MCFG table names {first:#x}, which can't be: left out");
            return None;
        };
        let at = memory::map_device(start, bytes).ok()?;
        Some(Self { found: *found, at })
    }
}

/// Configuration space in memory (PCI Express Base, 7.2.2).
struct Ecam(Vec<Window>);

impl Ecam {
    fn window(&self, at: Address) -> Option<&Window> {
        self.0.iter().find(|w| {
            w.found.segment == at.segment() && (w.found.first_bus..=w.found.last_bus).contains(&at.bus())
        })
    }

    fn place(&self, at: Address, offset: u16) -> Option<Hva> {
        let window = self.window(at).filter(|_| offset < 4096)?;
        let function = u64::from(at.routing_id()) - (u64::from(window.found.first_bus) << 8);
        Some(window.at + (function << 12) + u64::from(offset))
    }
}

impl ConfigSpace for Ecam {
    fn ranges(&self) -> Vec<BusRange> {
        let range = |w: &Window| BusRange {
            segment: w.found.segment,
            first: w.found.first_bus,
            last: w.found.last_bus,
        };
        self.0.iter().map(range).collect()
    }

    fn bytes(&self) -> u16 {
        4096
    }

    // All by EAX: some AMD families take no other register (BKDG of family 10h, 2.11).

    fn read32(&self, at: Address, offset: u16) -> u32 {
        let Some(place) = self.place(at, offset) else { return u32::MAX };
        let value;
        // SAFETY: within the window, which is mapped; reading configuration space has no effect on memory.
        unsafe { asm!("mov eax, [{}]", in(reg) place.get(), out("eax") value, options(nostack)) };
        value
    }

    fn write8(&self, at: Address, offset: u16, value: u8) {
        let Some(place) = self.place(at, offset) else { return };
        // SAFETY: within the window. What the register does is the driver's business.
        unsafe { asm!("mov [{}], al", in(reg) place.get(), in("al") value, options(nostack)) };
    }

    fn write16(&self, at: Address, offset: u16, value: u16) {
        let Some(place) = self.place(at, offset) else { return };
        // SAFETY: as in `write8`.
        unsafe { asm!("mov [{}], ax", in(reg) place.get(), in("ax") value, options(nostack)) };
    }

    fn write32(&self, at: Address, offset: u16, value: u32) {
        let Some(place) = self.place(at, offset) else { return };
        // SAFETY: as in `write8`.
        unsafe { asm!("mov [{}], eax", in(reg) place.get(), in("eax") value, options(nostack)) };
    }
}

/// Configuration space by an address and a data port (PCI Local Bus 3.0, 3.2.2.3.2). The lock keeps the two
/// accesses together.
struct Ports(IrqLock<()>);

impl Ports {
    const ADDRESS: Port = Port(0xcf8);
    const DATA: u16 = 0xcfc;

    fn select(&self, at: Address, offset: u16) -> Port {
        let address = 1 << 31 | u32::from(at.routing_id()) << 8 | u32::from(offset & 0xfc);
        // SAFETY: the address register has no effect by itself.
        unsafe { Self::ADDRESS.write_u32(address) };
        Port(Self::DATA + (offset & 3))
    }

    fn reaches(at: Address, offset: u16) -> bool {
        at.segment() == 0 && offset < 256
    }
}

impl ConfigSpace for Ports {
    fn ranges(&self) -> Vec<BusRange> {
        Vec::from([BusRange { segment: 0, first: 0, last: 255 }])
    }

    fn bytes(&self) -> u16 {
        256
    }

    fn read32(&self, at: Address, offset: u16) -> u32 {
        if !Self::reaches(at, offset) {
            return u32::MAX;
        }
        let _together = self.0.lock();
        // SAFETY: reading configuration space has no effect on memory.
        unsafe { self.select(at, offset).read_u32() }
    }

    fn write8(&self, at: Address, offset: u16, value: u8) {
        if Self::reaches(at, offset) {
            let _together = self.0.lock();
            // SAFETY: what the register does is the driver's business.
            unsafe { self.select(at, offset).write_u8(value) };
        }
    }

    fn write16(&self, at: Address, offset: u16, value: u16) {
        if Self::reaches(at, offset) {
            let _together = self.0.lock();
            // SAFETY: as in `write8`.
            unsafe { self.select(at, offset).write_u16(value) };
        }
    }

    fn write32(&self, at: Address, offset: u16, value: u32) {
        if Self::reaches(at, offset) {
            let _together = self.0.lock();
            // SAFETY: as in `write8`.
            unsafe { self.select(at, offset).write_u32(value) };
        }
    }
}
