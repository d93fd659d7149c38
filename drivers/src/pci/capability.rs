//! The list of capabilities (PCI Local Bus 3.0, 6.7).
use super::Config;
use super::register::{CAPABILITIES, HAS_CAPABILITIES, STATUS};

/// What a capability is (PCI Code and ID Assignment, chapter 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapabilityId(pub u8);

impl CapabilityId {
    /// Power management.
    pub const POWER: Self = Self(0x01);
    /// Message-signalled interrupts.
    pub const MSI: Self = Self(0x05);
    /// The vendor's own.
    pub const VENDOR: Self = Self(0x09);
    /// PCI Express.
    pub const EXPRESS: Self = Self(0x10);
    /// Message-signalled interrupts by a table.
    pub const MSI_X: Self = Self(0x11);
}

/// A capability and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// What it is.
    pub id: CapabilityId,
    /// Offset of its first byte: a multiple of 4 from 40h to FCh.
    pub offset: u16,
}

/// Walks the list. Each place is taken once, so that a list that runs in a circle ends.
pub(super) struct Capabilities<'a> {
    config: &'a Config,
    next: u8,
    /// A bit for each multiple of 4.
    seen: u64,
}

impl<'a> Capabilities<'a> {
    pub fn new(config: &'a Config) -> Self {
        let status = config.read16(STATUS);
        let has = status != u16::MAX && status & HAS_CAPABILITIES != 0;
        Self { config, next: if has { config.read8(CAPABILITIES) } else { 0 }, seen: 0 }
    }
}

impl Iterator for Capabilities<'_> {
    type Item = Capability;

    fn next(&mut self) -> Option<Capability> {
        let offset = self.next & !3;
        let bit = 1u64 << (offset / 4);
        if offset < 0x40 || self.seen & bit != 0 {
            return None;
        }
        self.seen |= bit;
        let [id, next, ..] = self.config.read32(offset.into()).to_le_bytes();
        self.next = next;
        (id != u8::MAX).then_some(Capability { id: CapabilityId(id), offset: offset.into() })
    }
}
