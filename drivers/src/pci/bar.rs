//! Base address registers: where a function's registers are in the machine's address space (PCI Local Bus 3.0,
//! 6.2.5).
//!
//! How large a window is shows only when ones are written to its register, which moves the window away for that
//! moment. This is safe here because it is done for a function alone that one of our drivers takes: its decoding
//! and its bus mastering are off meanwhile, so that it neither answers for another's address nor writes anywhere,
//! and nobody else uses it. The screen, COM1, bridges and whatever the firmware left running otherwise are never
//! sized. What was in the register is put back and read back before decoding is on again.
use super::Config;
use super::register::{FIRST_BAR, HEADER_TYPE, MULTI_FUNCTION};
use alloc::vec::Vec;

/// Which address space a window is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarSpace {
    /// I/O ports.
    Io,
    /// Memory.
    Memory {
        /// Reading has no effect.
        prefetchable: bool,
        /// The address has 64 bits.
        wide: bool,
    },
}

/// A base address register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// Its number; a wide one takes this number and the next.
    pub index: u8,
    /// Where it is.
    pub space: BarSpace,
    /// First address; 0 where none was assigned.
    pub address: u64,
    /// Bytes; 0 where it was not sized.
    pub bytes: u64,
}

impl Bar {
    /// Offset of the register.
    pub(super) fn offset(&self) -> u16 {
        FIRST_BAR + 4 * u16::from(self.index)
    }

    /// Bits of the register's low half that are no address.
    fn flags(space: BarSpace) -> u64 {
        if space == BarSpace::Io { 3 } else { 15 }
    }

    /// Whether the address has 64 bits.
    pub(super) fn is_wide(&self) -> bool {
        matches!(self.space, BarSpace::Memory { wide: true, .. })
    }

    /// The registers as they are; sizes are not known.
    pub fn read_all(config: &Config) -> Vec<Self> {
        let most = match config.read8(HEADER_TYPE) & !MULTI_FUNCTION {
            0 => 6,
            1 => 2,
            _ => 0,
        };
        let mut bars = Vec::new();
        let mut index = 0;
        while index < most {
            let low = config.read32(FIRST_BAR + 4 * u16::from(index));
            let space = if low & 1 != 0 {
                BarSpace::Io
            } else {
                // Type 2 is 64 bits; 1, below 1 MiB, is of older times and treated as 32.
                BarSpace::Memory { prefetchable: low & 8 != 0, wide: low >> 1 & 3 == 2 && index + 1 < most }
            };
            let mut bar = Self { index, space, address: 0, bytes: 0 };
            bar.address = bar.raw(config) & !Self::flags(space);
            index += 1 + u8::from(bar.is_wide());
            bars.push(bar);
        }
        bars
    }

    /// The register, both halves where it has two.
    fn raw(&self, config: &Config) -> u64 {
        let high = if self.is_wide() { config.read32(self.offset() + 4) } else { 0 };
        u64::from(config.read32(self.offset())) | u64::from(high) << 32
    }

    fn write(&self, config: &Config, value: u64) {
        config.write32(self.offset(), value as u32);
        if self.is_wide() {
            config.write32(self.offset() + 4, (value >> 32) as u32);
        }
    }

    /// Sizes the window. `None` where nothing is behind the register. `Err` where the register does not keep what
    /// is written to it.
    ///
    /// Decoding and bus mastering must be off; see the module.
    pub(super) fn sized(mut self, config: &Config) -> Result<Option<Self>, BadBar> {
        let before = self.raw(config);
        self.write(config, u64::MAX);
        let mask = self.raw(config) & !Self::flags(self.space);
        self.write(config, before);
        if self.raw(config) != before {
            return Err(BadBar { index: self.index });
        }
        if mask == 0 {
            return Ok(None);
        }
        // The lowest bit that can be set is the size. All above it can be set, too, up to where the function's
        // addresses end.
        self.bytes = 1 << mask.trailing_zeros();
        let above = mask.wrapping_add(self.bytes);
        let whole = above == 0 || above.is_power_of_two();
        if !whole || !self.address.is_multiple_of(self.bytes) {
            return Err(BadBar { index: self.index });
        }
        Ok(Some(self))
    }

    /// Gives the window an address.
    pub(super) fn assign(&mut self, config: &Config, address: u64) -> Result<(), BadBar> {
        let flags = self.raw(config) & Self::flags(self.space);
        self.write(config, address | flags);
        if self.raw(config) & !Self::flags(self.space) != address {
            return Err(BadBar { index: self.index });
        }
        self.address = address;
        Ok(())
    }
}

/// A register that does not behave like one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadBar {
    /// Its number.
    pub index: u8,
}
