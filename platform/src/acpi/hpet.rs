//! The high-precision event timer (IA-PC HPET specification 1.0a, 3.2.4).
use super::fadt::{AddressSpace, Register};
use super::{Signature, Table};

/// The table.
#[derive(Clone, Copy, Debug)]
pub struct Hpet {
    /// Physical address of its registers.
    pub address: u64,
}

impl Hpet {
    /// Views `table`, if it is an HPET table that names registers in memory.
    pub fn new(table: Table<'_>) -> Option<Self> {
        let table = table.expect(Signature::HPET)?;
        let register = Register::parse(table.bytes(), 40)?;
        (register.space == AddressSpace::MEMORY).then_some(Self { address: register.address })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{noise, table, view};
    use super::*;

    #[test]
    fn the_base_address_is_read() {
        let t = table(b"HPET", &[1, 0xa2, 0x86, 0x80, 0, 0, 0, 0, 0, 0, 0xd0, 0xfe, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Hpet::new(view(&t)).unwrap().address, 0xfed0_0000);
    }

    #[test]
    fn one_in_ports_or_cut_short_is_none() {
        let t = table(b"HPET", &[1, 0xa2, 0x86, 0x80, 1, 0, 0, 0, 0, 0, 0xd0, 0xfe, 0, 0, 0, 0]);
        assert!(Hpet::new(view(&t)).is_none());
        let t = table(b"HPET", &noise(1, 15));
        assert!(Hpet::new(view(&t)).is_none());
    }
}
