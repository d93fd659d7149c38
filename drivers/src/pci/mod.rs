//! PCI and PCI Express: what is on the buses, its address windows, its interrupts.
use crate::MsiMessage;

/// The message-signalled interrupts of a function: MSI-X, or MSI where it has no MSI-X (PCI Local Bus 3.0, 6.8).
pub trait MessageInterrupts: Send + Sync {
    /// How many messages the function can send; at least 1.
    fn vectors(&self) -> usize;
    /// Lets message `vector` be sent as `message`, or not at all. A vector that is not there does nothing.
    fn connect(&self, vector: usize, message: Option<MsiMessage>);
}
