//! Why a card can't be used.
use core::fmt;

/// Why a card can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum E1000Error {
    /// It is none that this driver knows; its PCI device ID.
    Unknown(u16),
    /// Its registers are not all in its window.
    NoRegisters,
    /// Nobody answers on the bus.
    Gone,
    /// Its reset did not end.
    HungReset,
    /// It has no address of its own.
    NoAddress,
    /// No memory for its rings and buffers.
    NoMemory,
}

impl fmt::Display for E1000Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(device) => {
                write!(f, "this driver is for 82540EM, 82545EM and 82574L, not for {device:#06x}")
            }
            Self::NoRegisters => f.write_str("its window in memory is too small for its registers"),
            Self::Gone => f.write_str("it does not answer on the bus: it was removed"),
            Self::HungReset => f.write_str("its reset did not end: restart the machine"),
            Self::NoAddress => f.write_str("it has no valid MAC address in its EEPROM: replace it"),
            Self::NoMemory => f.write_str("no memory for its rings and buffers"),
        }
    }
}
