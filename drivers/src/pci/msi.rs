//! Message-signalled interrupts (PCI Local Bus 3.0, 6.8.1).
//!
//! One message per function, though a function may offer up to 32: those would need a block of vectors of one CPU,
//! and functions that need several have MSI-X.
use super::{Config, MessageInterrupts};
use crate::MsiMessage;
use spin::Mutex;

const ENABLE: u16 = 1 << 0;
/// How many messages are in use, as a power of two.
const MULTIPLE: u16 = 7 << 4;
/// The address has 64 bits.
const WIDE: u16 = 1 << 7;
/// Messages can be masked one by one.
const MASKABLE: u16 = 1 << 8;

/// The messages of one function.
pub struct Msi {
    config: Config,
    /// Offset of the capability.
    at: u16,
    wide: bool,
    maskable: bool,
    /// The control register is read and written back by one at a time.
    changing: Mutex<()>,
}

impl Msi {
    /// Takes them over, disabled.
    pub fn new(config: Config, at: u16) -> Self {
        let control = config.read16(at + 2);
        let msi = Self {
            config,
            at,
            wide: control & WIDE != 0,
            maskable: control & MASKABLE != 0,
            changing: Mutex::new(()),
        };
        msi.connect(0, None);
        msi
    }

    fn set_enabled(&self, on: bool) {
        let control = self.config.read16(self.at + 2) & !(ENABLE | MULTIPLE);
        self.config.write16(self.at + 2, control | if on { ENABLE } else { 0 });
    }
}

impl MessageInterrupts for Msi {
    fn vectors(&self) -> usize {
        1
    }

    fn connect(&self, vector: usize, message: Option<MsiMessage>) {
        if vector != 0 {
            return;
        }
        let _one = self.changing.lock();
        // Off while address and data don't belong together.
        self.set_enabled(false);
        let Some(message) = message else { return };
        if message.address >> 32 != 0 && !self.wide {
            log::error!("pci: {} can't send a message to {:#x}", self.config.address(), message.address);
            return;
        }
        let data = if self.wide { self.at + 12 } else { self.at + 8 };
        self.config.write32(self.at + 4, message.address as u32);
        if self.wide {
            self.config.write32(self.at + 8, (message.address >> 32) as u32);
        }
        self.config.write16(data, message.data as u16);
        if self.maskable {
            self.config.write32(data + 4, 0);
        }
        self.set_enabled(true);
    }
}

impl Drop for Msi {
    fn drop(&mut self) {
        self.connect(0, None);
    }
}
