//! PCI Express configuration space in memory (PCI Firmware Specification 3.3, 4.1.2).
use super::field::{u8_at, u16_at, u64_at};
use super::{Signature, Table};

/// The configuration space of a range of buses: 1 MiB per bus, from `base`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EcamWindow {
    /// Physical address of bus 0's space, even where the range starts at a later bus.
    pub base: u64,
    /// PCI segment group.
    pub segment: u16,
    /// First bus.
    pub first_bus: u8,
    /// Last bus, inclusive.
    pub last_bus: u8,
}

/// The table.
#[derive(Clone, Copy)]
pub struct Mcfg<'a> {
    body: &'a [u8],
}

impl<'a> Mcfg<'a> {
    /// Views `table`, if it is an MCFG.
    pub fn new(table: Table<'a>) -> Option<Self> {
        Some(Self { body: table.expect(Signature::MCFG)?.body() })
    }

    /// The windows. One whose buses are in the wrong order is left out.
    pub fn windows(&self) -> impl Iterator<Item = EcamWindow> + use<'a> {
        self.body.get(8..).unwrap_or(&[]).chunks_exact(16).filter_map(|e| {
            let w = EcamWindow {
                base: u64_at(e, 0)?,
                segment: u16_at(e, 8)?,
                first_bus: u8_at(e, 10)?,
                last_bus: u8_at(e, 11)?,
            };
            (w.first_bus <= w.last_bus && w.base != 0).then_some(w)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{table, view};
    use super::*;
    use std::vec::Vec;

    #[test]
    fn windows_are_listed_and_nonsense_is_left_out() {
        let mut body = Vec::from([0; 8]);
        body.extend([0, 0, 0, 0xb0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0, 0, 0, 0]);
        body.extend([0, 0, 0, 0xc0, 0, 0, 0, 0, 1, 0, 9, 3, 0, 0, 0, 0]);
        body.extend([1, 2, 3]);
        let t = table(b"MCFG", &body);
        let all: Vec<_> = Mcfg::new(view(&t)).unwrap().windows().collect();
        assert_eq!(all, [EcamWindow { base: 0xb000_0000, segment: 0, first_bus: 0, last_bus: 255 }]);
        let t = table(b"MCFG", &[1]);
        assert_eq!(Mcfg::new(view(&t)).unwrap().windows().count(), 0);
    }
}
