//! Message-signalled interrupts by a table in the function's registers (PCI Local Bus 3.0, 6.8.2).
use super::{Config, MessageInterrupts};
use crate::{MsiMessage, Registers};
use alloc::boxed::Box;

/// Control: the whole function is silent.
const FUNCTION_MASK: u16 = 1 << 14;
/// Control: MSI-X is in use.
const ENABLE: u16 = 1 << 15;
/// Bytes of a table entry.
const ENTRY: u64 = 16;
/// Vector control: this entry is silent.
const MASKED: u32 = 1;

/// Where the table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// Entries, 1 to 2048.
    pub entries: u16,
    /// Number of the BAR.
    pub bar: u8,
    /// Offset in its window.
    pub offset: u64,
}

impl Table {
    /// What the capability at `at` says.
    pub fn read(config: &Config, at: u16) -> Self {
        let place = config.read32(at + 4);
        Self {
            entries: (config.read16(at + 2) & 0x7ff) + 1,
            bar: (place & 7) as u8,
            offset: u64::from(place & !7),
        }
    }

    /// Bytes.
    pub fn bytes(&self) -> u64 {
        u64::from(self.entries) * ENTRY
    }
}

/// The messages of one function.
pub struct MsiX {
    config: Config,
    /// Offset of the capability.
    at: u16,
    table: Box<dyn Registers>,
    entries: usize,
}

impl MsiX {
    /// Takes them over, all masked. `table` is the window on the table alone.
    pub fn new(config: Config, at: u16, table: Box<dyn Registers>, entries: u16) -> Self {
        let msix = Self { config, at, table, entries: entries.into() };
        // The table can be written only while the function is enabled, by the letter; so silence comes first.
        msix.control(ENABLE | FUNCTION_MASK);
        for vector in 0..msix.entries {
            msix.connect(vector, None);
        }
        msix.control(ENABLE);
        msix
    }

    fn control(&self, value: u16) {
        self.config.write16(self.at + 2, value);
    }
}

impl MessageInterrupts for MsiX {
    fn vectors(&self) -> usize {
        self.entries
    }

    fn connect(&self, vector: usize, message: Option<MsiMessage>) {
        // The table of a function that is gone may be the place of another's.
        if vector >= self.entries || self.config.is_revoked() {
            return;
        }
        let entry = vector as u64 * ENTRY;
        self.table.write32(entry + 12, MASKED);
        if let Some(message) = message {
            self.table.write32(entry, message.address as u32);
            self.table.write32(entry + 4, (message.address >> 32) as u32);
            self.table.write32(entry + 8, message.data);
            self.table.write32(entry + 12, 0);
        } else {
            // What is on its way has arrived, or will not come, once a read has come back.
            self.table.read32(entry + 12);
        }
    }
}

impl Drop for MsiX {
    fn drop(&mut self) {
        self.control(FUNCTION_MASK);
    }
}
