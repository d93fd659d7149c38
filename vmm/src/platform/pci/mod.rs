//! The PCI bus: configuration mechanism #1, ECAM, and the host bridge (PCI 3.0, 3.2.2.3; PCIe 4.0, 7.2.2).
//!
//! One bus, 32 devices of one function each. What is not there reads as all ones.
mod bar;
mod config_space;
mod intx;
pub mod msix;
#[cfg(test)]
mod tests;

pub use bar::{Bar, BarKind, BarTarget, Decoder, Firmware};
pub use config_space::{Capabilities, ConfigSpace, PciFunction, header};
pub use intx::Intx;

use alloc::boxed::Box;
use core::fmt;

/// The host bridge: the generic one of QEMU's virtual machines, for which kernels have no quirks.
struct HostBridge(ConfigSpace);

impl HostBridge {
    fn new() -> Self {
        let mut space = ConfigSpace::new(0x1b36, 0x0008, 0x06_0000, 0);
        // Command: I/O, memory, bus master, SERR#; interrupt line.
        space.allow(0x04, &[0x07, 0x01]);
        space.allow(0x3c, &[0xff]);
        Self(space)
    }
}

impl PciFunction for HostBridge {
    fn config_read(&mut self, offset: u16, size: u8) -> u32 {
        self.0.read(offset, size)
    }

    fn config_write(&mut self, offset: u16, size: u8, value: u32) {
        self.0.write(offset, size, value);
    }

    fn reset(&mut self) {
        *self = Self::new();
    }
}

/// A device could not be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachError {
    /// The device number is above 31.
    NoSuchDevice(u8),
    /// Another device has that number.
    Taken(u8),
    /// The addresses or ports for PCI devices are used up.
    NoRoom(u8),
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchDevice(n) => write!(f, "a PCI bus has no device {n}: use 1 to 31"),
            Self::Taken(n) => write!(f, "PCI device {n} is there already: use another number"),
            Self::NoRoom(n) => write!(f, "no address is left for PCI device {n}: give the VM fewer devices"),
        }
    }
}

/// Bus 0.
pub struct PciBus {
    devices: [Option<Box<dyn PciFunction>>; 32],
    address: u32,
}

impl Default for PciBus {
    fn default() -> Self {
        Self::new()
    }
}

/// All ones in `size` bytes.
fn nothing(size: u8) -> u32 {
    match size {
        1 => 0xff,
        2 => 0xffff,
        _ => u32::MAX,
    }
}

impl PciBus {
    /// With the host bridge as device 0.
    pub fn new() -> Self {
        let mut devices = [const { None }; 32];
        devices[0] = Some(Box::new(HostBridge::new()) as Box<dyn PciFunction>);
        Self { devices, address: 0 }
    }

    /// Puts a device on the bus.
    pub fn attach(&mut self, device: u8, function: Box<dyn PciFunction>) -> Result<(), AttachError> {
        let slot = self.devices.get_mut(usize::from(device)).ok_or(AttachError::NoSuchDevice(device))?;
        if slot.is_some() {
            return Err(AttachError::Taken(device));
        }
        *slot = Some(function);
        Ok(())
    }

    /// Back to the power-on state, with all devices.
    pub fn reset(&mut self) {
        self.address = 0;
        for device in self.devices.iter_mut().flatten() {
            device.reset();
        }
    }

    /// The configuration address register, port 0xCF8.
    pub fn address(&self) -> u32 {
        self.address
    }

    /// Writes the configuration address register.
    pub fn set_address(&mut self, value: u32) {
        self.address = value & 0x80ff_fffc;
    }

    /// Reads configuration data at byte `lane` (0 to 3) of the register that was addressed.
    pub fn read_data(&mut self, lane: u16, size: u8) -> u32 {
        match self.addressed(lane) {
            Some((function, offset)) => self.config_read(function, offset, size),
            None => nothing(size),
        }
    }

    /// Writes configuration data likewise.
    pub fn write_data(&mut self, lane: u16, size: u8, value: u32) {
        if let Some((function, offset)) = self.addressed(lane) {
            self.config_write(function, offset, size, value);
        }
    }

    fn addressed(&self, lane: u16) -> Option<(u32, u16)> {
        (self.address >> 31 != 0)
            .then_some((self.address >> 8 & 0xffff, (self.address & 0xfc) as u16 | lane & 3))
    }

    /// A read of the ECAM window, by offset from its start.
    pub fn ecam_read(&mut self, offset: u64, size: u8) -> u64 {
        let mut value = 0;
        for (at, size, shift) in pieces(offset, size) {
            let piece = self.config_read((at >> 12) as u32, (at & 0xfff) as u16, size);
            value |= u64::from(piece) << shift;
        }
        value
    }

    /// A write to the ECAM window.
    pub fn ecam_write(&mut self, offset: u64, size: u8, value: u64) {
        for (at, size, shift) in pieces(offset, size) {
            self.config_write((at >> 12) as u32, (at & 0xfff) as u16, size, (value >> shift) as u32);
        }
    }

    /// The function with bus, device and function number in the 16 bits of `function`.
    fn function(&mut self, function: u32) -> Option<&mut Box<dyn PciFunction>> {
        // Bus 0, function 0.
        if function & !0xf8 != 0 {
            return None;
        }
        self.devices.get_mut(function as usize >> 3)?.as_mut()
    }

    fn config_read(&mut self, function: u32, offset: u16, size: u8) -> u32 {
        match self.function(function) {
            Some(function) => function.config_read(offset, size) & nothing(size),
            None => nothing(size),
        }
    }

    fn config_write(&mut self, function: u32, offset: u16, size: u8, value: u32) {
        if let Some(function) = self.function(function) {
            function.config_write(offset, size, value & nothing(size));
        }
    }
}

/// Splits an access of up to 8 bytes into ones that don't cross a 4-byte boundary: address, size, and
/// where the piece lies in the value.
fn pieces(offset: u64, size: u8) -> impl Iterator<Item = (u64, u8, u32)> {
    let size = size.min(8);
    let mut done = 0u8;
    core::iter::from_fn(move || {
        if done >= size {
            return None;
        }
        let at = offset.wrapping_add(u64::from(done));
        let room = (4 - (at & 3) as u8).min(size - done);
        let piece = match room {
            4 => 4,
            2 | 3 if at & 1 == 0 => 2,
            _ => 1,
        };
        let shift = u32::from(done) * 8;
        done += piece;
        Some((at, piece, shift))
    })
}
