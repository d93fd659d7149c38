//! PCI and PCI Express: what is on the buses, its address windows, its interrupts, and what comes and goes.
//!
//! ```text
//! ConfigSpace (ECAM or ports, the kernel's)
//!    ▲
//! Config: one function's configuration space, every access checked
//!    ▲                    ▲                          ▲
//! Scan: who is there    Slot: comes and goes       Device: a function that a driver has
//!    │                    │                          │
//!    └─► Found ───────────┴──► kernel picks a driver ┘─► BARs, MSI-X or MSI, bus mastering
//! ```
//!
//! Promises:
//! - Looking changes nothing. [`Scan`] only reads, and only registers whose reading has no effect. Bus numbers
//!   and windows stay as the firmware set them; a bridge that it left unconfigured is left alone, with a line.
//! - A function does no DMA and sends no interrupt before a driver takes it ([`Device::take`]), nor after it lets
//!   go of it.
//! - BARs are sized only when a driver takes the function, see `bar`.
//! - Nothing that a configuration space says is believed: walks are bounded, addresses and sizes checked, and a
//!   function that is gone (all ones) is an error like any other.
//!
//! Not here: bus numbers and windows for bridges that the firmware did not configure, resizable BARs, SR-IOV,
//! ARI functions beyond 7, INTx, peer-to-peer, AER. Hot plug is what the slot's own registers tell (PCI Express
//! Base 6.7); firmware that keeps it for itself (`_OSC`) is not asked.
mod address;
mod assign;
mod bar;
mod bridge;
mod capability;
mod class;
mod config;
mod device;
mod msi;
mod msix;
mod power;
mod register;
mod scan;
mod slot;
#[cfg(test)]
mod tests;

pub use address::Address;
pub use bar::{Bar, BarSpace};
pub use bridge::Bridge;
pub use capability::{Capability, CapabilityId};
pub use class::Class;
pub use config::{BusRange, Config, ConfigSpace};
pub use device::{Device, PciError};
pub use scan::{Found, Scan, Step};
pub use slot::{Slot, SlotEvent};

use crate::MsiMessage;

/// The message-signalled interrupts of a function: MSI-X, or MSI where it has no MSI-X (PCI Local Bus 3.0, 6.8).
pub trait MessageInterrupts: Send + Sync {
    /// How many messages the function can send; at least 1.
    fn vectors(&self) -> usize;
    /// Lets message `vector` be sent as `message`, or not at all. A vector that is not there does nothing.
    fn connect(&self, vector: usize, message: Option<MsiMessage>);
}
