//! Names for addresses, from the kernel's ELF symbol table (System V ABI, chapter 4, "Symbol Table").
//!
//! A panic asks it for a name per frame, so it works on the bytes as they are, allocates nothing, and
//! tolerates a damaged table.

/// Bytes in an `Elf64_Sym`.
const ENTRY: usize = 24;
/// `STT_NOTYPE`: what assembly labels are.
const NOTYPE: u8 = 0;
/// `STT_FUNC`.
const FUNC: u8 = 2;

/// `SHN_UNDEF`: the symbol is elsewhere.
const UNDEFINED: u16 = 0;
/// `SHN_LORESERVE`: from here on a section's index means something else, such as "not an address".
const RESERVED: u16 = 0xff00;

/// The bytes of `.symtab` and `.strtab`.
#[derive(Clone, Copy, Default)]
pub struct Symbols<'a> {
    table: &'a [u8],
    names: &'a [u8],
}

impl<'a> Symbols<'a> {
    /// Over the sections' contents; both may be empty.
    pub const fn new(table: &'a [u8], names: &'a [u8]) -> Self {
        Self { table, names }
    }

    /// The function that `address` lies in, and how far in. A symbol that says its size must contain the
    /// address; among those without a size, the nearest one below it counts.
    pub fn lookup(&self, address: u64) -> Option<(&'a str, u64)> {
        let mut best: Option<(u64, &'a str)> = None;
        for entry in self.table.chunks_exact(ENTRY) {
            let value = u64_field(entry, 8);
            let size = u64_field(entry, 16);
            let kind = entry[4] & 0xf;
            let section = u16::from_le_bytes([entry[6], entry[7]]);
            let defined = section != UNDEFINED && section < RESERVED;
            let Some(offset) = address.checked_sub(value) else { continue };
            if !defined || (kind != FUNC && kind != NOTYPE) || (size > 0 && offset >= size) {
                continue;
            }
            if best.is_none_or(|(b, _)| value > b)
                && let Some(name) = self.name(entry)
            {
                best = Some((value, name));
            }
        }
        best.map(|(value, name)| (name, address - value))
    }

    fn name(&self, entry: &[u8]) -> Option<&'a str> {
        let at = u32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]) as usize;
        let tail = self.names.get(at..)?;
        let end = tail.iter().position(|b| *b == 0)?;
        core::str::from_utf8(&tail[..end]).ok().filter(|n| !n.is_empty())
    }
}

fn u64_field(entry: &[u8], at: usize) -> u64 {
    entry[at..at + 8].iter().rev().fold(0, |v, b| v << 8 | u64::from(*b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acpi::testing::noise;
    use std::vec::Vec;

    fn symbol(name: u32, kind: u8, section: u16, value: u64, size: u64) -> Vec<u8> {
        let mut e = Vec::from(name.to_le_bytes());
        e.extend([kind, 0]);
        e.extend(section.to_le_bytes());
        e.extend(value.to_le_bytes());
        e.extend(size.to_le_bytes());
        e
    }

    const NAMES: &[u8] = b"\0alpha\0beta\0entry\0unterminated";

    fn table() -> Vec<u8> {
        [
            symbol(0, 0, 0, 0, 0),
            symbol(7, 0x12, 1, 0x2000, 0x100),
            symbol(1, 0x12, 1, 0x1000, 0x80),
            symbol(12, 0x10, 1, 0x3000, 0),
            symbol(1, 0x11, 1, 0x2010, 8),
            symbol(18, 0x12, 1, 0x5000, 8),
            symbol(1, 0x10, 0xfff1, 0x3100, 0),
        ]
        .concat()
    }

    #[test]
    fn the_function_around_an_address_is_named() {
        let t = table();
        let s = Symbols::new(&t, NAMES);
        assert_eq!(s.lookup(0x1000), Some(("alpha", 0)));
        assert_eq!(s.lookup(0x2014), Some(("beta", 0x14)));
        assert_eq!(s.lookup(0x3456), Some(("entry", 0x456)));
    }

    #[test]
    fn an_address_outside_every_function_has_no_name() {
        let t = table();
        let s = Symbols::new(&t, NAMES);
        assert_eq!(s.lookup(0xfff), None);
        assert_eq!(s.lookup(0x1080), None);
        assert_eq!(Symbols::default().lookup(0x1000), None);
    }

    #[test]
    fn damaged_names_and_random_tables_are_survived() {
        let t = table();
        assert_eq!(Symbols::new(&t, NAMES).lookup(0x5001), Some(("entry", 0x2001)));
        for seed in 0..500 {
            let t = noise(seed, 24 * 7 + 5);
            let n = noise(seed + 1, 40);
            let _ = Symbols::new(&t, &n).lookup(u64::MAX >> (seed % 8));
        }
    }
}
