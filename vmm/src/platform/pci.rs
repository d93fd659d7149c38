//! The PCI bus: configuration mechanism #1, ECAM, and the host bridge (PCI 3.0, 3.2.2.3; PCIe 4.0, 7.2.2).
//!
//! One bus, 32 devices of one function each. What is not there reads as all ones.
use alloc::boxed::Box;
use core::fmt;

/// A PCI function's configuration space, as the bus needs it.
pub trait PciFunction: Send {
    /// Reads `size` (1, 2 or 4) bytes at `offset`, below 4096. Never crosses a 4-byte boundary.
    fn config_read(&mut self, offset: u16, size: u8) -> u32;
    /// Writes likewise.
    fn config_write(&mut self, offset: u16, size: u8, value: u32);
    /// Back to the power-on state.
    fn reset(&mut self);
}

/// 256 bytes of configuration space with a mask of what the guest can write.
#[derive(Clone, Debug)]
pub struct ConfigSpace {
    bytes: [u8; 256],
    writable: [u8; 256],
}

impl ConfigSpace {
    /// The identification of a type 0 function: vendor, device, class code (24 bits), revision.
    pub fn new(vendor: u16, device: u16, class: u32, revision: u8) -> Self {
        let mut space = Self { bytes: [0; 256], writable: [0; 256] };
        space.set(0x00, &vendor.to_le_bytes());
        space.set(0x02, &device.to_le_bytes());
        space.set(0x08, &(class << 8 | u32::from(revision)).to_le_bytes());
        space
    }

    /// Sets what the guest reads; bytes beyond the space are dropped.
    pub fn set(&mut self, offset: u8, bytes: &[u8]) {
        for (to, from) in self.bytes[usize::from(offset)..].iter_mut().zip(bytes) {
            *to = *from;
        }
    }

    /// Lets the guest write bits; a mask beyond the space is dropped.
    pub fn allow(&mut self, offset: u8, mask: &[u8]) {
        for (to, from) in self.writable[usize::from(offset)..].iter_mut().zip(mask) {
            *to = *from;
        }
    }

    /// A read. Beyond 256 bytes there is nothing: all ones, by which a kernel knows the space's size.
    pub fn read(&self, offset: u16, size: u8) -> u32 {
        (0..u16::from(size.min(4))).fold(0, |value, i| {
            let byte = self.bytes.get(usize::from(offset) + usize::from(i)).copied().unwrap_or(0xff);
            value | u32::from(byte) << (8 * i)
        })
    }

    /// A write.
    pub fn write(&mut self, offset: u16, size: u8, value: u32) {
        for i in 0..usize::from(size.min(4)) {
            let at = usize::from(offset) + i;
            let (Some(byte), Some(&mask)) = (self.bytes.get_mut(at), self.writable.get(at)) else {
                return;
            };
            *byte = *byte & !mask | (value >> (8 * i)) as u8 & mask;
        }
    }
}

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
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchDevice(n) => write!(f, "a PCI bus has no device {n}: use 1 to 31"),
            Self::Taken(n) => write!(f, "PCI device {n} is there already: use another number"),
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn mechanism_1(bus: &mut PciBus, device: u32, register: u32) -> u32 {
        bus.set_address(1 << 31 | device << 11 | register);
        bus.read_data(0, 4)
    }

    #[test]
    fn the_host_bridge_has_the_class_by_which_linux_trusts_mechanism_1() {
        let mut bus = PciBus::new();
        bus.set_address(0x8000_0000);
        assert_eq!(bus.address(), 0x8000_0000);
        assert_eq!(mechanism_1(&mut bus, 0, 0), 0x0008_1b36);
        assert_eq!(mechanism_1(&mut bus, 0, 8) >> 16, 0x0600);
        assert_eq!((bus.read_data(3, 1), bus.read_data(2, 2)), (0x06, 0x0600));
    }

    #[test]
    fn absent_functions_read_as_all_ones_by_both_mechanisms() {
        let mut bus = PciBus::new();
        for device in 1..32 {
            assert_eq!(mechanism_1(&mut bus, device, 0), u32::MAX);
            assert_eq!(bus.ecam_read(u64::from(device) << 15, 4), 0xffff_ffff);
        }
        assert_eq!(bus.ecam_read(1 << 12, 2), 0xffff, "function 1");
        assert_eq!(bus.ecam_read(1 << 20, 1), 0xff, "bus 1");
        bus.set_address(0);
        assert_eq!(bus.read_data(0, 4), u32::MAX, "not enabled");
    }

    #[test]
    fn only_writable_bits_change() {
        let mut bus = PciBus::new();
        bus.ecam_write(0, 8, u64::MAX);
        assert_eq!(bus.ecam_read(0, 8), 0x0000_0107_0008_1b36);
        bus.ecam_write(0x10, 4, u64::MAX);
        assert_eq!(bus.ecam_read(0x10, 4), 0, "no BARs");
        assert_eq!(bus.ecam_read(0x100, 4), 0xffff_ffff, "no extended space");
        bus.reset();
        assert_eq!(bus.ecam_read(4, 4), 0);
    }

    #[test]
    fn a_device_number_is_given_once() {
        let mut bus = PciBus::new();
        let function = || Box::new(HostBridge::new()) as Box<dyn PciFunction>;
        assert_eq!(bus.attach(0, function()), Err(AttachError::Taken(0)));
        assert_eq!(bus.attach(32, function()), Err(AttachError::NoSuchDevice(32)));
        assert_eq!(bus.attach(3, function()), Ok(()));
        assert_eq!(bus.ecam_read(3 << 15, 4), 0x0008_1b36);
    }

    #[test]
    fn an_access_splits_at_registers_and_loses_no_byte() {
        for offset in 0..8 {
            for size in 0..=8 {
                let parts: Vec<_> = pieces(offset, size).collect();
                let total: u32 = parts.iter().map(|p| u32::from(p.1)).sum();
                assert_eq!(total, u32::from(size));
                assert!(parts.iter().all(|&(at, size, _)| (at & 3) as u8 + size <= 4));
                assert!(parts.iter().all(|p| matches!(p.1, 1 | 2 | 4)));
            }
        }
    }

    #[test]
    fn random_accesses_never_change_the_identity() {
        let mut bus = PciBus::new();
        let mut random = super::super::fuzz::Random::new(0x1b36);
        for _ in 0..200_000 {
            let (r, value, size) = (random.next(), random.next(), random.size());
            match r & 3 {
                0 => bus.set_address(value as u32),
                1 => bus.write_data((r >> 8) as u16, size.min(4), value as u32),
                2 => bus.ecam_write(r >> 8 & 0xfff_ffff & random.next(), size, value),
                _ => {
                    bus.ecam_read(r >> 8 & 0xfff_ffff, size);
                    bus.read_data((r >> 8) as u16, size.min(4));
                }
            }
        }
        assert_eq!(bus.ecam_read(0, 4), 0x0008_1b36);
    }
}
