//! ACPI tables as checked views over byte slices (ACPI 6.5, chapter 5).
//!
//! ```text
//! RSDP ──► XSDT (or RSDT) ──► MADT  CPUs and interrupt controllers
//!                         ├─► FADT  PM timer, power-off, reset ──► DSDT  the \_S5 package
//!                         ├─► HPET  the event timer
//!                         └─► MCFG  PCI Express configuration space
//! ```
//!
//! [`Tables::find`] walks from the root pointer; each table is accepted only with a plausible length
//! and a good checksum ([`Table::read`]). A view such as [`Madt`] takes an accepted table and answers
//! questions; what a table is too short to say is answered with `None`, never by reading on.
//!
//! AML is not interpreted. The one thing needed from it, the sleep type of S5, is found by a bounded
//! scan ([`sleep_type_s5`]).
mod fadt;
mod field;
mod hpet;
mod madt;
mod mcfg;
mod root;
mod sleep;
mod table;

pub use fadt::{AddressSpace, Fadt, FadtFlags, Register};
pub use hpet::Hpet;
pub use madt::{Entry, IoApic, IrqRoute, Madt, Polarity, Trigger};
pub use mcfg::{EcamWindow, Mcfg};
pub use root::{RootError, Tables};
pub use sleep::{SleepType, sleep_type_s5};
pub use table::{Signature, Table, TableError};

use mm::addr::Hpa;

/// Physical memory that may hold firmware tables.
pub trait PhysicalMemory {
    /// The `len` bytes at `base`, or `None` where not all of them can be read.
    fn bytes(&self, base: Hpa, len: usize) -> Option<&[u8]>;
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use std::vec::Vec;

    /// A stretch of physical memory for tests.
    pub struct Ram {
        pub base: u64,
        pub bytes: Vec<u8>,
    }

    impl PhysicalMemory for Ram {
        fn bytes(&self, base: Hpa, len: usize) -> Option<&[u8]> {
            let start = base.get().checked_sub(self.base)? as usize;
            self.bytes.get(start..start.checked_add(len)?)
        }
    }

    /// A table with a good header and checksum around `body`.
    pub fn table(signature: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let mut t = Vec::new();
        t.extend_from_slice(signature);
        t.extend_from_slice(&(36 + body.len() as u32).to_le_bytes());
        t.extend_from_slice(&[1, 0]);
        t.extend_from_slice(b"OEMID OEMTABLE");
        t.extend_from_slice(&[0; 12]);
        t.extend_from_slice(body);
        t[9] = 0u8.wrapping_sub(t.iter().fold(0u8, |s, b| s.wrapping_add(*b)));
        t
    }

    /// Reads the table at the start of `bytes`.
    pub fn view(bytes: &[u8]) -> Table<'_> {
        Table::from_bytes(bytes).expect("a good table")
    }

    /// Deterministic noise.
    pub fn noise(seed: u64, len: usize) -> Vec<u8> {
        let mut s = seed | 1;
        (0..len)
            .map(|_| {
                s ^= s << 13;
                s ^= s >> 7;
                s ^= s << 17;
                (s >> 32) as u8
            })
            .collect()
    }
}
