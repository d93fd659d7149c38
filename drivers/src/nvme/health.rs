//! The health of a drive (NVMe 2.0, 5.16.1.3).
use super::identify::Page;
use alloc::vec::Vec;

/// What a drive says of its health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Critical warnings, a bit each; see [`Self::warnings`].
    pub critical: u8,
    /// Composite temperature in kelvin; 0 where it is not told.
    pub kelvin: u16,
    /// Percent of spare capacity that is left.
    pub spare: u8,
    /// Percent of spare below which it warns.
    pub spare_threshold: u8,
    /// Percent of its life that is used, by its maker's estimate; more than 100 is possible, 255 is "or more".
    pub used: u8,
    /// Read in its life, in thousands of 512 bytes.
    pub data_units_read: u128,
    /// Written in its life, in thousands of 512 bytes.
    pub data_units_written: u128,
    /// Hours with power.
    pub power_on_hours: u128,
    /// Losses of power without notice.
    pub unsafe_shutdowns: u128,
    /// Times that data was lost or damaged.
    pub media_errors: u128,
}

impl Health {
    pub(super) fn read(page: &Page) -> Self {
        let wide = |at: usize| {
            let mut bytes = [0; 16];
            bytes.copy_from_slice(&page.0[at..at + 16]);
            u128::from_le_bytes(bytes)
        };
        let byte = |at: usize| page.0[at];
        Self {
            critical: byte(0),
            kelvin: u16::from_le_bytes([byte(1), byte(2)]),
            spare: byte(3),
            spare_threshold: byte(4),
            used: byte(5),
            data_units_read: wide(32),
            data_units_written: wide(48),
            power_on_hours: wide(128),
            unsafe_shutdowns: wide(144),
            media_errors: wide(160),
        }
    }

    /// Its critical warnings, in words.
    pub fn warnings(&self) -> Vec<&'static str> {
        const WORDS: [&str; 6] = [
            "its spare capacity is low: replace it soon",
            "its temperature is outside of its limits: check the cooling",
            "its reliability is degraded: replace it",
            "it has become read-only: replace it",
            "its memory backup has failed: a loss of power may lose data",
            "its persistent memory has become unreliable or read-only",
        ];
        let set = WORDS.iter().enumerate().filter(|(bit, _)| self.critical >> bit & 1 != 0);
        set.map(|(_, words)| *words).collect()
    }
}
