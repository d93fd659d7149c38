//! Offsets and bits of the configuration header (PCI Local Bus 3.0, 6.1 and 6.2; PCI-to-PCI Bridge 1.2, 3.2).

pub const VENDOR: u16 = 0x00;
pub const DEVICE: u16 = 0x02;
pub const COMMAND: u16 = 0x04;
pub const STATUS: u16 = 0x06;
pub const CLASS: u16 = 0x08;
pub const HEADER_TYPE: u16 = 0x0e;
pub const FIRST_BAR: u16 = 0x10;
pub const SUBSYSTEM: u16 = 0x2c;
pub const CAPABILITIES: u16 = 0x34;

/// Of a bridge.
pub const SECONDARY_BUS: u16 = 0x19;
pub const SUBORDINATE_BUS: u16 = 0x1a;
pub const MEMORY_BASE: u16 = 0x20;
pub const MEMORY_LIMIT: u16 = 0x22;
pub const PREFETCHABLE_BASE: u16 = 0x24;
pub const PREFETCHABLE_LIMIT: u16 = 0x26;
pub const PREFETCHABLE_BASE_HIGH: u16 = 0x28;
pub const PREFETCHABLE_LIMIT_HIGH: u16 = 0x2c;

/// Command: answers at its I/O BARs.
pub const IO_DECODE: u16 = 1 << 0;
/// Command: answers at its memory BARs.
pub const MEMORY_DECODE: u16 = 1 << 1;
/// Command: may do DMA and send messages.
pub const BUS_MASTER: u16 = 1 << 2;
/// Command: does not drive its interrupt line.
pub const INTX_DISABLE: u16 = 1 << 10;

/// Status: there is a capability list.
pub const HAS_CAPABILITIES: u16 = 1 << 4;

/// Header type: functions other than 0 may be there.
pub const MULTI_FUNCTION: u8 = 1 << 7;
/// Header type of a PCI-to-PCI bridge.
pub const BRIDGE: u8 = 1;
