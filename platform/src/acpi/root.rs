//! The root pointer and the tables that it leads to (ACPI 6.5, 5.2.5, 5.2.7, 5.2.8).
use super::field::{u32_at, u64_at};
use super::table::sum;
use super::{PhysicalMemory, Signature, Table, TableError};
use core::fmt;
use mm::addr::Hpa;

/// Why the firmware's tables cannot be used at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootError {
    /// The firmware gave no root pointer.
    Absent,
    /// What it points at is not a root pointer, or its checksum is bad.
    Pointer(u64),
    /// Neither an XSDT nor an RSDT could be read.
    Table(TableError),
}

impl fmt::Display for RootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => write!(f, "the firmware has no ACPI tables"),
            Self::Pointer(a) => write!(f, "the ACPI root pointer at {a:#x} is damaged"),
            Self::Table(e) => write!(f, "the ACPI root table cannot be used: {e}"),
        }
    }
}

/// The tables of this machine.
#[derive(Clone, Copy)]
pub struct Tables<'a, M: PhysicalMemory> {
    memory: &'a M,
    root: Table<'a>,
    /// Bytes in each of the root table's pointers: 8 in an XSDT, 4 in an RSDT.
    pointer: usize,
}

impl<'a, M: PhysicalMemory> Tables<'a, M> {
    /// Starts from the root pointer at physical address `rsdp`; 0 stands for "none".
    pub fn find(memory: &'a M, rsdp: u64) -> Result<Self, RootError> {
        if rsdp == 0 {
            return Err(RootError::Absent);
        }
        let damaged = RootError::Pointer(rsdp);
        let at = Hpa::try_new(rsdp).ok_or(damaged)?;
        let first = memory.bytes(at, 20).ok_or(damaged)?;
        if !first.starts_with(b"RSD PTR ") || sum(first) != 0 {
            return Err(damaged);
        }
        let rsdt = u64::from(u32_at(first, 16).ok_or(damaged)?);
        let xsdt = if first[15] >= 2 {
            // The longer structure has a checksum of its own; without it, the RSDT still stands.
            memory.bytes(at, 36).filter(|all| sum(all) == 0).and_then(|all| u64_at(all, 24)).unwrap_or(0)
        } else {
            0
        };
        let extended = Table::read(memory, xsdt);
        if let Ok(root) = extended
            && root.signature() == Signature::XSDT
        {
            return Ok(Self { memory, root, pointer: 8 });
        }
        let root = Table::read(memory, rsdt).map_err(RootError::Table)?;
        let root = root.expect(Signature::RSDT).ok_or(damaged)?;
        Ok(Self { memory, root, pointer: 4 })
    }

    /// Every table that the root names, in its order; a damaged one as the reason why.
    pub fn iter(&self) -> impl Iterator<Item = Result<Table<'a>, TableError>> + use<'a, M> {
        let memory = self.memory;
        self.root.body().chunks_exact(self.pointer).map(move |p| {
            let at = match u64_at(p, 0) {
                Some(wide) => wide,
                None => u64::from(u32_at(p, 0).unwrap_or(0)),
            };
            Table::read(memory, at)
        })
    }

    /// The first sound table named `signature`.
    pub fn first(&self, signature: Signature) -> Option<Table<'a>> {
        self.iter().flatten().find(|t| t.signature() == signature)
    }

    /// The table at `address`, as another table's field names it.
    pub fn at(&self, address: u64) -> Result<Table<'a>, TableError> {
        Table::read(self.memory, address)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Ram, noise, table};
    use super::*;
    use std::vec::Vec;

    const BASE: u64 = 0xe0000;

    /// Memory with a root pointer of `revision` at `BASE`, an RSDT at +0x100 and an XSDT at +0x200,
    /// each naming one table.
    fn machine(revision: u8) -> Ram {
        let mut bytes = std::vec![0u8; 0x800];
        let mut put = |at: usize, b: &[u8]| bytes[at..at + b.len()].copy_from_slice(b);
        put(0x300, &table(b"APIC", &[0; 8]));
        put(0x400, &table(b"MCFG", &[0; 8]));
        put(0x100, &table(b"RSDT", &(BASE as u32 + 0x300).to_le_bytes()));
        let pointers: Vec<u8> = [BASE + 0x400, 0x10].iter().flat_map(|p| p.to_le_bytes()).collect();
        put(0x200, &table(b"XSDT", &pointers));
        let mut rsdp = Vec::from(*b"RSD PTR \0OEMID ");
        rsdp.push(revision);
        rsdp.extend((BASE as u32 + 0x100).to_le_bytes());
        rsdp[8] = 0u8.wrapping_sub(sum(&rsdp));
        rsdp.extend(36u32.to_le_bytes());
        rsdp.extend((BASE + 0x200).to_le_bytes());
        rsdp.extend([0; 4]);
        rsdp[32] = 0u8.wrapping_sub(sum(&rsdp));
        put(0, &rsdp);
        Ram { base: BASE, bytes }
    }

    #[test]
    fn the_xsdt_is_preferred_from_revision_2() {
        let ram = machine(2);
        let tables = Tables::find(&ram, BASE).ok().unwrap();
        assert!(tables.first(Signature::MCFG).is_some());
        assert!(tables.first(Signature::MADT).is_none());
        let errors: Vec<_> = tables.iter().filter_map(Result::err).collect();
        assert_eq!(errors, [TableError::Unreadable(0x10)]);
    }

    #[test]
    fn revision_0_has_an_rsdt_only() {
        let ram = machine(0);
        assert!(Tables::find(&ram, BASE).ok().unwrap().first(Signature::MADT).is_some());
    }

    #[test]
    fn a_damaged_xsdt_falls_back_to_the_rsdt() {
        let mut ram = machine(2);
        ram.bytes[0x230] ^= 1;
        assert!(Tables::find(&ram, BASE).ok().unwrap().first(Signature::MADT).is_some());
    }

    #[test]
    fn a_damaged_or_absent_root_pointer_is_named() {
        let mut ram = machine(2);
        assert_eq!(Tables::find(&ram, 0).err(), Some(RootError::Absent));
        assert_eq!(Tables::find(&ram, BASE + 4).err(), Some(RootError::Pointer(BASE + 4)));
        assert_eq!(Tables::find(&ram, u64::MAX).err(), Some(RootError::Pointer(u64::MAX)));
        ram.bytes[10] ^= 1;
        assert_eq!(Tables::find(&ram, BASE).err(), Some(RootError::Pointer(BASE)));
    }

    #[test]
    fn random_damage_never_panics() {
        for seed in 1..3000u64 {
            let mut ram = machine((seed % 3) as u8);
            for c in noise(seed, 24).chunks_exact(3) {
                let at = usize::from(u16::from_le_bytes([c[0], c[1]])) % ram.bytes.len();
                ram.bytes[at] = c[2];
            }
            if let Ok(t) = Tables::find(&ram, BASE) {
                assert!(t.iter().count() <= ram.bytes.len());
            }
        }
    }
}
