//! A virtio device's configuration space: identity, BARs, capabilities (virtio 1.2, 4.1.2 and 4.1.4).
use super::{MEMORY_BAR, MEMORY_BYTES, NOTIFY_BAR, NOTIFY_BYTES, Transport, place};
use crate::platform::pci::{
    Bar, BarKind, BarTarget, Capabilities, ConfigSpace, Firmware, PciFunction, header, msix,
};
use alloc::sync::Arc;

const VENDOR: u16 = 0x1af4;
/// A device without the legacy interface has this plus its type.
const FIRST_DEVICE: u16 = 0x1040;
/// What tells drivers that it is none of the legacy ones: revision and subsystem (4.1.2.1).
const REVISION: u8 = 1;
const SUBSYSTEM: u16 = 0x1100;

/// ID of a vendor-specific capability.
const VENDOR_SPECIFIC: u8 = 0x09;

/// What a capability locates (4.1.4).
mod cfg_type {
    pub const COMMON: u8 = 1;
    pub const NOTIFY: u8 = 2;
    pub const ISR: u8 = 3;
    pub const DEVICE: u8 = 4;
    pub const PCI: u8 = 5;
}

/// Offsets in VIRTIO_PCI_CAP_PCI_CFG (4.1.4.9).
mod window {
    pub const BAR: u8 = 4;
    pub const OFFSET: u8 = 8;
    pub const LENGTH: u8 = 12;
    pub const DATA: u8 = 16;
}

/// Bytes of the device's own configuration that the capability tells of; what a device does not have reads as 0.
const DEVICE_BYTES: u32 = 0x100;

/// A device's function on the bus.
pub struct Function {
    transport: Arc<Transport>,
    space: ConfigSpace,
    power_on: ConfigSpace,
    bars: [Bar; 2],
    /// Offsets of capabilities.
    msix: u8,
    window: u8,
}

/// A capability of 16 bytes without its first two, and what follows.
fn locate(kind: u8, bar: u8, offset: u64, length: u32, more: &[u8]) -> alloc::vec::Vec<u8> {
    let mut body = alloc::vec![16 + more.len() as u8, kind, bar, 0, 0, 0];
    body.extend((offset as u32).to_le_bytes());
    body.extend(length.to_le_bytes());
    body.extend(more);
    body
}

impl Function {
    /// Of a device, with addresses of `firmware`; `None` where it has none left.
    pub(super) fn new(transport: Arc<Transport>, firmware: &mut Firmware) -> Option<Self> {
        let device = FIRST_DEVICE + transport.device.device_type().0;
        let mut space = ConfigSpace::new(VENDOR, device, transport.device.class(), REVISION);
        space.set(header::SUBSYSTEM, &VENDOR.to_le_bytes());
        space.set(header::SUBSYSTEM + 2, &SUBSYSTEM.to_le_bytes());
        space.set(header::INTERRUPT_PIN, &[1]);
        space.set(header::INTERRUPT_LINE, &[transport.control.gsi()]);
        space.allow(header::INTERRUPT_LINE, &[0xff]);
        // As firmware leaves a device: decoding, not yet allowed to write to memory.
        space.set(header::COMMAND, &(header::IO | header::MEMORY).to_le_bytes());
        let serr = 1 << 8;
        let command = header::IO | header::MEMORY | header::BUS_MASTER | header::INTX_DISABLE | serr;
        space.allow(header::COMMAND, &command.to_le_bytes());

        let bars = [
            Bar::new(NOTIFY_BAR, BarKind::Ports, NOTIFY_BYTES.into()),
            Bar::new(MEMORY_BAR, BarKind::Memory32, MEMORY_BYTES.into()),
        ];
        for bar in &bars {
            bar.install(&mut space, firmware.assign(bar)?);
        }

        let mut list = Capabilities::default();
        let table = (place::MSIX_TABLE as u32, place::MSIX_PENDING as u32);
        let body = transport.control.msix().capability(MEMORY_BAR, table.0, table.1);
        let msix = list.add(&mut space, msix::CAPABILITY, &body);
        space.allow(msix + 2, &(msix::ENABLE | msix::FUNCTION_MASK).to_le_bytes());
        let multiplier = 0u32.to_le_bytes();
        for body in [
            locate(cfg_type::COMMON, MEMORY_BAR, place::COMMON, 0x38, &[]),
            locate(cfg_type::NOTIFY, NOTIFY_BAR, 0, NOTIFY_BYTES, &multiplier),
            locate(cfg_type::ISR, MEMORY_BAR, place::ISR, 1, &[]),
            locate(cfg_type::DEVICE, MEMORY_BAR, place::DEVICE, DEVICE_BYTES, &[]),
        ] {
            list.add(&mut space, VENDOR_SPECIFIC, &body);
        }
        let window = list.add(&mut space, VENDOR_SPECIFIC, &locate(cfg_type::PCI, 0, 0, 0, &[0; 4]));
        space.allow(window + window::BAR, &[0xff]);
        space.allow(window + window::OFFSET, &[0xff; 12]);

        let function = Self { power_on: space.clone(), transport, space, bars, msix, window };
        function.publish();
        Some(function)
    }

    /// Its BARs.
    pub fn bars(&self) -> &[Bar] {
        &self.bars
    }

    /// Its device.
    pub fn transport(&self) -> &Arc<Transport> {
        &self.transport
    }

    /// Makes the registers take effect.
    fn publish(&self) {
        for bar in &self.bars {
            bar.update(&self.space);
        }
        let command = self.space.command();
        let set = |bit| command & bit != 0;
        self.transport.control.set_command(set(header::BUS_MASTER), set(header::INTX_DISABLE));
    }

    /// The access that the window in configuration space stands for: BAR, offset, size.
    fn windowed(&self) -> Option<(u8, u64, u8)> {
        let register = |at: u8, size| self.space.read(u16::from(self.window + at), size);
        let (bar, offset) = (register(window::BAR, 1) as u8, u64::from(register(window::OFFSET, 4)));
        let length = register(window::LENGTH, 4);
        let bytes = match bar {
            NOTIFY_BAR => NOTIFY_BYTES,
            MEMORY_BAR => MEMORY_BYTES,
            _ => return None,
        };
        let valid = matches!(length, 1 | 2 | 4) && offset.is_multiple_of(length.into());
        (valid && offset + u64::from(length) <= bytes.into()).then_some((bar, offset, length as u8))
    }

    fn is_window_data(&self, offset: u16) -> bool {
        offset == u16::from(self.window + window::DATA)
    }
}

/// Whether the `size` bytes at `offset` touch the `length` bytes at `register`.
fn touches(offset: u16, size: u8, register: u8, length: u16) -> bool {
    let register = u16::from(register);
    offset < register + length && register < offset + u16::from(size)
}

impl PciFunction for Function {
    fn config_read(&mut self, offset: u16, size: u8) -> u32 {
        if touches(offset, size, header::STATUS, 2) {
            let pending = self.transport.control.interrupt_status();
            let status = self.space.read(header::STATUS.into(), 2) as u16 & !header::INTX_STATUS;
            let status = status | if pending { header::INTX_STATUS } else { 0 };
            self.space.set(header::STATUS, &status.to_le_bytes());
        }
        if self.is_window_data(offset)
            && let Some((bar, offset, size)) = self.windowed()
        {
            let value = self.transport.bar_read(bar, offset, size) as u32;
            self.space.set(self.window + window::DATA, &value.to_le_bytes());
        }
        self.space.read(offset, size)
    }

    fn config_write(&mut self, offset: u16, size: u8, value: u32) {
        self.space.write(offset, size, value);
        if touches(offset, size, header::COMMAND, 2) || touches(offset, size, header::BAR0, 24) {
            self.publish();
        }
        if touches(offset, size, self.msix + 2, 2) {
            let control = self.space.read(u16::from(self.msix) + 2, 2) as u16;
            self.transport.control.msix().set_control(control);
            self.transport.control.update_pin();
        }
        if self.is_window_data(offset)
            && let Some((bar, offset, size)) = self.windowed()
        {
            let data = self.space.read(u16::from(self.window + window::DATA), 4);
            let value = u64::from(data) & (u64::MAX >> (64 - 8 * u32::from(size)));
            self.transport.bar_write(bar, offset, size, value);
        }
    }

    fn reset(&mut self) {
        self.space = self.power_on.clone();
        self.transport.power_on();
        self.publish();
    }
}
