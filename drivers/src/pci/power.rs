//! Power states of a function (PCI Power Management 1.2, 3.2.4).
use super::{CapabilityId, Config};

/// How long a function may take from D3 to D0, in nanoseconds (table 5-6).
pub const WAKE_NANOS: u64 = 10_000_000;

/// Brings the function to D0. Whether it was elsewhere and has to be waited for.
pub fn wake(config: &Config) -> bool {
    const STATE: u16 = 3;
    let Some(capability) = config.capability(CapabilityId::POWER) else { return false };
    let at = capability.offset + 4;
    let control = config.read16(at);
    if control == u16::MAX || control & STATE == 0 {
        return false;
    }
    // Bit 15 clears an event by being written as one: it is written as zero.
    config.write16(at, control & !(STATE | 1 << 15));
    true
}
