//! Fixed hardware: PM timer, power-off and reset registers (ACPI 6.5, 5.2.9).
use super::field::{u8_at, u16_at, u32_at, u64_at};
use super::{Signature, Table};
use core::fmt;

/// Where a register lives (ACPI 6.5, table 5.1).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AddressSpace(pub u8);

impl AddressSpace {
    /// System memory.
    pub const MEMORY: Self = Self(0);
    /// System I/O ports.
    pub const IO: Self = Self(1);
    /// PCI configuration space of a device on bus 0 of segment 0.
    pub const PCI_CONFIG: Self = Self(2);
}

impl fmt::Debug for AddressSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::MEMORY => write!(f, "memory"),
            Self::IO => write!(f, "port"),
            Self::PCI_CONFIG => write!(f, "PCI configuration"),
            Self(n) => write!(f, "address space {n}"),
        }
    }
}

/// A register, as a generic address structure (ACPI 6.5, 5.2.3.2) or a legacy port field names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register {
    /// Its address space.
    pub space: AddressSpace,
    /// Its width in bits, 0 if the table does not say.
    pub bits: u8,
    /// Its address.
    pub address: u64,
}

impl Register {
    pub(super) fn parse(bytes: &[u8], at: usize) -> Option<Self> {
        let address = u64_at(bytes, at.checked_add(4)?)?;
        let space = AddressSpace(u8_at(bytes, at)?);
        (address != 0).then_some(Self { space, bits: u8_at(bytes, at + 1)?, address })
    }

    fn port(address: u32, bytes: u8) -> Option<Self> {
        let bits = bytes.saturating_mul(8);
        (address != 0).then_some(Self { space: AddressSpace::IO, bits, address: address.into() })
    }

    /// The port number, if the register is a port.
    pub fn as_port(&self) -> Option<u16> {
        if self.space == AddressSpace::IO { u16::try_from(self.address).ok() } else { None }
    }
}

/// Fixed feature flags (ACPI 6.5, table 5.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FadtFlags(pub u32);

impl FadtFlags {
    /// The PM timer has 32 bits rather than 24.
    pub const TMR_VAL_EXT: u32 = 1 << 8;
    /// The reset register is there.
    pub const RESET_REG_SUP: u32 = 1 << 10;
    /// No fixed hardware: sleep control and status registers instead of PM1.
    pub const HW_REDUCED_ACPI: u32 = 1 << 20;

    /// Whether `flag` is set.
    pub const fn has(self, flag: u32) -> bool {
        self.0 & flag != 0
    }
}

/// The table.
#[derive(Clone, Copy)]
pub struct Fadt<'a> {
    bytes: &'a [u8],
}

impl<'a> Fadt<'a> {
    /// Views `table`, if it is a FADT.
    pub fn new(table: Table<'a>) -> Option<Self> {
        Some(Self { bytes: table.expect(Signature::FADT)?.bytes() })
    }

    /// The flags; all clear in a table too short for them.
    pub fn flags(&self) -> FadtFlags {
        FadtFlags(u32_at(self.bytes, 112).unwrap_or(0))
    }

    /// Physical address of the DSDT.
    pub fn dsdt(&self) -> Option<u64> {
        let wide = u64_at(self.bytes, 140).filter(|a| *a != 0);
        wide.or_else(|| u32_at(self.bytes, 40).map(u64::from).filter(|a| *a != 0))
    }

    /// The PM timer's register.
    pub fn pm_timer(&self) -> Option<Register> {
        if self.hardware_reduced() {
            return None;
        }
        self.block(208, 76, 91)
    }

    /// Bits that the PM timer counts in: 24 or 32.
    pub fn pm_timer_bits(&self) -> u32 {
        if self.flags().has(FadtFlags::TMR_VAL_EXT) { 32 } else { 24 }
    }

    /// PM1a control block.
    pub fn pm1a_control(&self) -> Option<Register> {
        self.block(172, 64, 89)
    }

    /// PM1b control block.
    pub fn pm1b_control(&self) -> Option<Register> {
        self.block(184, 68, 89)
    }

    /// The port and value that switch a machine into ACPI mode, if it has a legacy mode.
    pub fn acpi_enable(&self) -> Option<(u16, u8)> {
        let port = u32_at(self.bytes, 48).filter(|p| *p != 0)?;
        let value = u8_at(self.bytes, 52).filter(|v| *v != 0)?;
        Some((u16::try_from(port).ok()?, value))
    }

    /// The reset register and the value that resets the machine.
    pub fn reset(&self) -> Option<(Register, u8)> {
        if !self.flags().has(FadtFlags::RESET_REG_SUP) {
            return None;
        }
        Some((Register::parse(self.bytes, 116)?, u8_at(self.bytes, 128)?))
    }

    /// The sleep control register of a machine without fixed hardware.
    pub fn sleep_control(&self) -> Option<Register> {
        Register::parse(self.bytes, 244)
    }

    /// Whether the machine has no fixed hardware.
    pub fn hardware_reduced(&self) -> bool {
        self.flags().has(FadtFlags::HW_REDUCED_ACPI)
    }

    /// Whether the firmware says there is an 8042 keyboard controller (ACPI 6.5, table 5.11). Tables of
    /// ACPI 1.0 have no such field; those machines have one.
    pub fn has_8042(&self) -> bool {
        let revision = u8_at(self.bytes, 8).unwrap_or(1);
        revision < 2 || u16_at(self.bytes, 109).is_some_and(|f| f & 2 != 0)
    }

    /// The extended register at `wide`, or else the legacy port at `port` of as many bytes as the field
    /// at `length` says.
    fn block(&self, wide: usize, port: usize, length: usize) -> Option<Register> {
        Register::parse(self.bytes, wide)
            .or_else(|| Register::port(u32_at(self.bytes, port)?, u8_at(self.bytes, length)?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{noise, table, view};
    use super::*;
    use std::vec;

    /// The body of a FADT of `len` bytes in all, with `fields` written at their offsets.
    fn fadt(len: usize, fields: &[(usize, &[u8])]) -> std::vec::Vec<u8> {
        let mut body = vec![0u8; len - 36];
        for (at, bytes) in fields {
            body[at - 36..at - 36 + bytes.len()].copy_from_slice(bytes);
        }
        table(b"FACP", &body)
    }

    #[test]
    fn legacy_ports_are_used_where_there_are_no_extended_registers() {
        let t = fadt(116, &[(64, &[4, 6, 0, 0]), (76, &[8, 6, 0, 0]), (89, &[2, 0, 4]), (40, &[0, 0, 0, 9])]);
        let f = Fadt::new(view(&t)).unwrap();
        assert_eq!(f.pm1a_control().unwrap().as_port(), Some(0x604));
        assert_eq!(f.pm1b_control(), None);
        let timer = f.pm_timer().unwrap();
        assert_eq!((timer.as_port(), timer.bits), (Some(0x608), 32));
        assert_eq!(f.pm_timer_bits(), 24);
        assert_eq!(f.dsdt(), Some(0x0900_0000));
        assert_eq!(f.reset(), None);
        assert!(f.has_8042());
    }

    #[test]
    fn extended_registers_win_over_ports() {
        let gas = [1, 16, 0, 2, 4, 0xb0, 0, 0, 0, 0, 0, 0];
        let t = fadt(268, &[(64, &[4, 6, 0, 0]), (172, &gas), (140, &[0, 0, 0, 0, 2, 0, 0, 0])]);
        let f = Fadt::new(view(&t)).unwrap();
        assert_eq!(f.pm1a_control().unwrap().as_port(), Some(0xb004));
        assert_eq!(f.dsdt(), Some(2 << 32));
    }

    #[test]
    fn the_reset_register_counts_only_with_its_flag() {
        let gas = [1, 8, 0, 1, 0xf9, 0x0c, 0, 0, 0, 0, 0, 0];
        let t = fadt(244, &[(116, &gas), (128, &[0x0f])]);
        assert_eq!(Fadt::new(view(&t)).unwrap().reset(), None);
        let t = fadt(244, &[(116, &gas), (128, &[0x0f]), (113, &[4])]);
        let (register, value) = Fadt::new(view(&t)).unwrap().reset().unwrap();
        assert_eq!((register.as_port(), value), (Some(0xcf9), 0x0f));
    }

    #[test]
    fn hardware_reduced_machines_have_sleep_registers_and_no_timer() {
        let gas = [0, 8, 0, 1, 0, 0, 0, 0xfe, 0, 0, 0, 0];
        let t = fadt(276, &[(244, &gas), (114, &[0x10]), (76, &[8, 6, 0, 0])]);
        let f = Fadt::new(view(&t)).unwrap();
        assert!(f.hardware_reduced());
        assert_eq!(f.pm_timer(), None);
        assert_eq!(
            f.sleep_control(),
            Some(Register { space: AddressSpace::MEMORY, bits: 8, address: 0xfe00_0000 })
        );
    }

    #[test]
    fn short_and_random_tables_answer_without_panic() {
        for len in 36..280 {
            let t = table(b"FACP", &noise(len as u64, len - 36));
            let f = Fadt::new(view(&t)).unwrap();
            let _ = (f.flags(), f.dsdt(), f.pm_timer(), f.pm1a_control(), f.pm1b_control());
            let _ = (f.reset(), f.sleep_control(), f.acpi_enable(), f.has_8042());
        }
    }
}
