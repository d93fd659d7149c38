//! A system description table: header, length, checksum (ACPI 6.5, 5.2.6).
use super::PhysicalMemory;
use super::field::u32_at;
use alloc::format;
use alloc::string::String;
use core::fmt;
use core::ops::Range;
use mm::addr::Hpa;

/// Bytes in the header that all tables share.
pub(super) const HEADER: usize = 36;

/// Longest table that is believed. Real DSDTs stay below 1 MiB.
const LONGEST: usize = 16 << 20;

/// The four characters that name a table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 4]);

impl Signature {
    /// Multiple APIC Description Table.
    pub const MADT: Self = Self(*b"APIC");
    /// Fixed ACPI Description Table.
    pub const FADT: Self = Self(*b"FACP");
    /// Differentiated System Description Table.
    pub const DSDT: Self = Self(*b"DSDT");
    /// Secondary System Description Table.
    pub const SSDT: Self = Self(*b"SSDT");
    /// High-precision event timer.
    pub const HPET: Self = Self(*b"HPET");
    /// PCI Express memory-mapped configuration space.
    pub const MCFG: Self = Self(*b"MCFG");
    /// Extended System Description Table.
    pub const XSDT: Self = Self(*b"XSDT");
    /// Root System Description Table.
    pub const RSDT: Self = Self(*b"RSDT");
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for b in self.0 {
            let c = if b.is_ascii_graphic() { b as char } else { '?' };
            write!(f, "{c}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a table was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableError {
    /// The table's address is not in readable memory, or it runs out of it.
    Unreadable(u64),
    /// The length field is shorter than a header or absurdly long.
    Length(Signature, u32),
    /// The bytes do not sum to zero.
    Checksum(Signature),
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(a) => write!(f, "ACPI table at {a:#x} is not in memory; ignored"),
            Self::Length(s, n) => write!(f, "ACPI table {s} claims {n} bytes; ignored"),
            Self::Checksum(s) => write!(f, "ACPI table {s} has a bad checksum; ignored"),
        }
    }
}

/// A table with a believable length and a good checksum.
#[derive(Clone, Copy)]
pub struct Table<'a> {
    bytes: &'a [u8],
}

impl<'a> Table<'a> {
    /// The table at physical address `at`.
    pub fn read(memory: &'a impl PhysicalMemory, at: u64) -> Result<Self, TableError> {
        let unreadable = TableError::Unreadable(at);
        let base = Hpa::try_new(at).ok_or(unreadable)?;
        let header = memory.bytes(base, HEADER).ok_or(unreadable)?;
        let (signature, len) = Self::claimed(header).ok_or(unreadable)?;
        if (len as usize) < HEADER || len as usize > LONGEST {
            return Err(TableError::Length(signature, len));
        }
        Self::from_bytes(memory.bytes(base, len as usize).ok_or(unreadable)?)
    }

    /// The table at the start of `bytes`.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, TableError> {
        let (signature, len) = Self::claimed(bytes).ok_or(TableError::Unreadable(0))?;
        let bytes = match bytes.get(..len as usize) {
            Some(b) if b.len() >= HEADER => b,
            _ => return Err(TableError::Length(signature, len)),
        };
        if sum(bytes) != 0 {
            return Err(TableError::Checksum(signature));
        }
        Ok(Self { bytes })
    }

    fn claimed(bytes: &[u8]) -> Option<(Signature, u32)> {
        let signature = bytes.get(..4)?.try_into().ok()?;
        Some((Signature(signature), u32_at(bytes, 4)?))
    }

    /// The table's name.
    pub fn signature(&self) -> Signature {
        Signature([self.bytes[0], self.bytes[1], self.bytes[2], self.bytes[3]])
    }

    /// Maker and model, as the header has them: OEM ID and OEM table ID. Not printable bytes are `?`.
    pub fn oem(&self) -> String {
        let text = |range: Range<usize>| {
            let field = self.bytes[range].iter().take_while(|b| **b != 0);
            field.map(|b| if (b' '..=b'~').contains(b) { *b as char } else { '?' }).collect::<String>()
        };
        format!("{} {}", text(10..16).trim(), text(16..24).trim()).trim().into()
    }

    /// The whole table, header included.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What follows the header.
    pub fn body(&self) -> &'a [u8] {
        &self.bytes[HEADER..]
    }

    /// This table if it is named `signature`.
    pub fn expect(self, signature: Signature) -> Option<Self> {
        (self.signature() == signature).then_some(self)
    }
}

/// The sum of all bytes, which is zero for a sound structure.
pub(super) fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |s, b| s.wrapping_add(*b))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Ram, noise, table};
    use super::*;

    #[test]
    fn a_good_table_is_accepted_and_knows_its_body() {
        let t = table(b"TEST", &[1, 2, 3]);
        let t = Table::from_bytes(&t).unwrap();
        assert_eq!(t.signature(), Signature(*b"TEST"));
        assert_eq!(t.body(), &[1, 2, 3]);
        assert_eq!(t.oem(), "OEMID OEMTABLE");
    }

    #[test]
    fn one_flipped_bit_is_noticed() {
        let mut t = table(b"TEST", &[1, 2, 3]);
        t[37] ^= 0x10;
        assert_eq!(Table::from_bytes(&t).err(), Some(TableError::Checksum(Signature(*b"TEST"))));
    }

    #[test]
    fn a_length_beyond_memory_or_below_a_header_is_refused() {
        let mut t = table(b"TEST", &[0; 8]);
        t[4] = 200;
        let ram = Ram { base: 0x1000, bytes: t.clone() };
        assert_eq!(Table::read(&ram, 0x1000).err(), Some(TableError::Unreadable(0x1000)));
        t[4] = 20;
        let ram = Ram { base: 0x1000, bytes: t.clone() };
        assert!(matches!(Table::read(&ram, 0x1000), Err(TableError::Length(_, 20))));
        assert!(matches!(Table::from_bytes(&t), Err(TableError::Length(_, 20))));
        t[7] = 0xff;
        let ram = Ram { base: 0x1000, bytes: t };
        assert!(matches!(Table::read(&ram, 0x1000), Err(TableError::Length(..))));
        assert!(Table::read(&ram, u64::MAX).is_err());
    }

    #[test]
    fn noise_is_never_a_table_and_never_a_panic() {
        for seed in 0..2000 {
            let bytes = noise(seed, (seed % 80) as usize);
            let _ = Table::from_bytes(&bytes);
        }
    }
}
