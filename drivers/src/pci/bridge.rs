//! PCI-to-PCI bridges, PCI Express ports among them (PCI-to-PCI Bridge 1.2, 3.2.5).
use super::register::*;
use super::{CapabilityId, Config};
use core::ops::Range;

/// What a bridge passes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bridge {
    /// The bus right behind it; 0 where the firmware gave it none.
    pub secondary: u8,
    /// The last bus behind it.
    pub subordinate: u8,
    /// It is a port of PCI Express: exactly one device, number 0, can be behind it.
    pub is_port: bool,
}

impl Bridge {
    /// What the bridge at `config` says.
    pub(super) fn read(config: &Config) -> Self {
        /// Root port, and downstream port of a switch (PCI Express Base, 7.5.3.2).
        const ROOT: u16 = 4;
        const DOWNSTREAM: u16 = 6;
        let express = config.capability(CapabilityId::EXPRESS);
        let kind = express.map(|c| config.read16(c.offset + 2) >> 4 & 15);
        Self {
            secondary: config.read8(SECONDARY_BUS),
            subordinate: config.read8(SUBORDINATE_BUS),
            is_port: matches!(kind, Some(ROOT | DOWNSTREAM)),
        }
    }
}

/// Memory addresses that a bridge passes on to what is behind it; `None` where it passes on none.
pub(super) fn memory_window(bridge: &Config) -> Option<Range<u64>> {
    let (base, limit) = (bridge.read16(MEMORY_BASE), bridge.read16(MEMORY_LIMIT));
    window(u64::from(base & !15) << 16, u64::from(limit & !15) << 16)
}

/// The same for memory without effects of reading.
pub(super) fn prefetchable_window(bridge: &Config) -> Option<Range<u64>> {
    let (base, limit) = (bridge.read16(PREFETCHABLE_BASE), bridge.read16(PREFETCHABLE_LIMIT));
    let wide = base & 15 == 1;
    let high = |offset| if wide { u64::from(bridge.read32(offset)) << 32 } else { 0 };
    window(
        u64::from(base & !15) << 16 | high(PREFETCHABLE_BASE_HIGH),
        u64::from(limit & !15) << 16 | high(PREFETCHABLE_LIMIT_HIGH),
    )
}

/// A window of whole MiB, the last one inclusive. One at 0 was never set.
fn window(base: u64, last: u64) -> Option<Range<u64>> {
    let end = last.checked_add(1 << 20)?;
    (base != 0 && base <= last && end <= 1 << 52).then_some(base..end)
}
