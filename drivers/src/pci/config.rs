//! Configuration space: how it is reached, and one function's share of it.
use super::Address;
use super::capability::{Capabilities, Capability, CapabilityId};
use super::register::{BUS_MASTER, COMMAND, VENDOR};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

/// Buses whose configuration space can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusRange {
    /// Segment group.
    pub segment: u16,
    /// First bus.
    pub first: u8,
    /// Last bus, inclusive.
    pub last: u8,
}

/// How the machine's configuration space is reached: ECAM (PCI Express Base, 7.2.2) or the ports CF8h and CFCh
/// (PCI Local Bus 3.0, 3.2.2.3.2).
///
/// Where no function answers, reads are all ones and writes do nothing. An access has the width that it says:
/// some registers clear bits that are written as ones, so that a neighbour must not be written along.
pub trait ConfigSpace: Send + Sync {
    /// The buses that can be reached.
    fn ranges(&self) -> Vec<BusRange>;
    /// Bytes of each function's space: 4096, or 256.
    fn bytes(&self) -> u16;
    /// Reads 32 bits at a multiple of 4 below [`Self::bytes`].
    fn read32(&self, at: Address, offset: u16) -> u32;
    /// Writes 8 bits.
    fn write8(&self, at: Address, offset: u16, value: u8);
    /// Writes 16 bits at a multiple of 2.
    fn write16(&self, at: Address, offset: u16, value: u16);
    /// Writes 32 bits at a multiple of 4.
    fn write32(&self, at: Address, offset: u16, value: u32);
}

/// The configuration space of one function. An offset beyond it, or one that is not aligned, reads all ones and
/// writes nothing.
///
/// It can be revoked, with all its clones: when the function is gone, and another may be in its place, nobody who
/// still has it reaches that one.
#[derive(Clone)]
pub struct Config {
    space: Arc<dyn ConfigSpace>,
    address: Address,
    revoked: Arc<AtomicBool>,
}

impl Config {
    /// The space of the function at `address`, which need not be there.
    pub fn new(space: Arc<dyn ConfigSpace>, address: Address) -> Self {
        Self { space, address, revoked: Arc::default() }
    }

    /// Where the function is.
    pub fn address(&self) -> Address {
        self.address
    }

    /// Takes the function's bus mastering, if it is still there, and revokes this.
    pub fn cut_off(&self) {
        self.change_command(BUS_MASTER, 0);
        self.revoke();
    }

    /// Makes it, and all its clones, read all ones and write nothing.
    pub fn revoke(&self) {
        self.revoked.store(true, Ordering::Release);
    }

    /// Whether that was done.
    pub fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Acquire)
    }

    /// The space of another function, not revoked.
    pub fn elsewhere(&self, address: Address) -> Self {
        Self::new(self.space.clone(), address)
    }

    fn holds(&self, offset: u16, width: u16) -> bool {
        offset.is_multiple_of(width) && offset < self.space.bytes() && !self.is_revoked()
    }

    /// Reads 32 bits.
    pub fn read32(&self, offset: u16) -> u32 {
        if self.holds(offset, 4) { self.space.read32(self.address, offset) } else { u32::MAX }
    }

    /// Reads 16 bits.
    pub fn read16(&self, offset: u16) -> u16 {
        if !self.holds(offset, 2) {
            return u16::MAX;
        }
        (self.read32(offset & !3) >> (8 * (offset & 2))) as u16
    }

    /// Reads 8 bits.
    pub fn read8(&self, offset: u16) -> u8 {
        if !self.holds(offset, 1) {
            return u8::MAX;
        }
        (self.read32(offset & !3) >> (8 * (offset & 3))) as u8
    }

    /// Writes 8 bits.
    pub fn write8(&self, offset: u16, value: u8) {
        if self.holds(offset, 1) {
            self.space.write8(self.address, offset, value);
        }
    }

    /// Writes 16 bits.
    pub fn write16(&self, offset: u16, value: u16) {
        if self.holds(offset, 2) {
            self.space.write16(self.address, offset, value);
        }
    }

    /// Writes 32 bits.
    pub fn write32(&self, offset: u16, value: u32) {
        if self.holds(offset, 4) {
            self.space.write32(self.address, offset, value);
        }
    }

    /// Whether a function answers. All ones is no vendor's id; neither is the 1 by which a root complex reports
    /// that a function is not ready yet (PCI Express Base, 2.3.2).
    pub fn is_present(&self) -> bool {
        !matches!(self.read16(VENDOR), 0xffff | 0x0001 | 0x0000)
    }

    /// Clears and sets bits of the command register.
    pub fn change_command(&self, clear: u16, set: u16) {
        // All of its bits that can be written are plain, so reading and writing back is safe.
        self.write16(COMMAND, self.read16(COMMAND) & !clear | set);
    }

    /// The function's capabilities, in the order of its list, which may be damaged: never more than fit.
    pub fn capabilities(&self) -> impl Iterator<Item = Capability> + '_ {
        Capabilities::new(self)
    }

    /// The first capability of this kind.
    pub fn capability(&self, id: CapabilityId) -> Option<Capability> {
        self.capabilities().find(|c| c.id == id)
    }
}
