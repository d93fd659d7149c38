//! Long-mode page tables, four levels (APM vol. 2, 5.3 and 5.4; SDM vol. 3A, 4.5).
//!
//! Memory types come by way of the PAT. The hypervisor programs [`PAT`] on every CPU. It keeps the power-on
//! meaning of the entries for write-back and uncached, so that tables which the loader made mean the same
//! before and after; until then, write-combining pages are write-through.
use bitflags::bitflags;

use super::format::{Caching, Entry, Format, PageSize, Rights};
use crate::addr::{Hpa, Hva};

bitflags! {
    /// Flags of an entry, at every level (APM vol. 2, 5.4.1).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct EntryFlags: u64 {
        /// P: the entry counts.
        const PRESENT = 1 << 0;
        /// R/W: writes are permitted.
        const WRITABLE = 1 << 1;
        /// U/S: accesses at CPL 3 are permitted.
        const USER = 1 << 2;
        /// PWT: bit 0 of the PAT index.
        const WRITE_THROUGH = 1 << 3;
        /// PCD: bit 1 of the PAT index.
        const CACHE_DISABLE = 1 << 4;
        /// A: set by the CPU when it uses the entry.
        const ACCESSED = 1 << 5;
        /// D: set by the CPU when it writes to the page.
        const DIRTY = 1 << 6;
        /// PS: the entry maps a page, at levels 2 and 3. At level 1 this bit is bit 2 of the PAT index.
        const PAGE_SIZE = 1 << 7;
        /// NX: no instruction fetches. Reserved unless EFER.NXE is set.
        const NO_EXECUTE = 1 << 63;
    }
}

/// Value of the PAT MSR (277h): write-back, write-combining, uncached minus, uncached, and the same again,
/// so that bit 2 of the index makes no difference (APM vol. 2, 7.8.1).
pub const PAT: u64 = 0x0007_0106_0007_0106;

/// Bits 51:12: the physical address.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// The hypervisor's own tables.
#[derive(Clone, Copy, Debug)]
pub struct X86_64;

/// The entry for a page; shared with nested paging, which only adds the user bit.
#[inline]
pub(super) fn page_entry(
    page: Hpa,
    size: PageSize,
    rights: Rights,
    caching: Caching,
    user: bool,
) -> Option<u64> {
    if !rights.read {
        return None;
    }
    // Accessed and dirty are set from the start: nobody reads them, and the CPU need not write them.
    let mut flags = EntryFlags::PRESENT | EntryFlags::ACCESSED;
    flags.set(EntryFlags::WRITABLE | EntryFlags::DIRTY, rights.write);
    flags.set(EntryFlags::USER, user);
    flags.set(EntryFlags::NO_EXECUTE, !rights.execute);
    flags.set(EntryFlags::PAGE_SIZE, size != PageSize::Small);
    flags |= match caching {
        Caching::WriteBack => EntryFlags::empty(),
        Caching::WriteCombining => EntryFlags::WRITE_THROUGH,
        Caching::Uncached => EntryFlags::WRITE_THROUGH.union(EntryFlags::CACHE_DISABLE),
    };
    Some(page.get() & ADDRESS & !(size.bytes() - 1) | flags.bits())
}

/// The entry for a table.
#[inline]
pub(super) fn table_entry(table: Hpa) -> u64 {
    let flags = EntryFlags::PRESENT | EntryFlags::WRITABLE | EntryFlags::USER | EntryFlags::ACCESSED;
    table.get() & ADDRESS | flags.bits()
}

/// What an entry means.
#[inline]
pub(super) fn decode_entry(entry: u64, level: u8) -> Entry {
    let flags = EntryFlags::from_bits_truncate(entry);
    if !flags.contains(EntryFlags::PRESENT) {
        return Entry::Absent;
    }
    let rights = Rights {
        read: true,
        write: flags.contains(EntryFlags::WRITABLE),
        execute: !flags.contains(EntryFlags::NO_EXECUTE),
        user: flags.contains(EntryFlags::USER),
    };
    match PageSize::at_level(level) {
        Some(size) if size == PageSize::Small || flags.contains(EntryFlags::PAGE_SIZE) => {
            // PWT, PCD: the PAT index. Uncached minus only differs where an MTRR says write-combining.
            let caching = match (entry >> 3) & 3 {
                0 => Caching::WriteBack,
                1 => Caching::WriteCombining,
                _ => Caching::Uncached,
            };
            let page = Hpa::new_truncate(entry & ADDRESS & !(size.bytes() - 1));
            Entry::Page(page, rights, caching)
        }
        _ => Entry::Table(Hpa::new_truncate(entry & ADDRESS), rights),
    }
}

impl Format for X86_64 {
    type Input = Hva;

    #[inline]
    fn table(table: Hpa) -> u64 {
        table_entry(table)
    }

    #[inline]
    fn page(page: Hpa, size: PageSize, rights: Rights, caching: Caching) -> Option<u64> {
        page_entry(page, size, rights, caching, rights.user)
    }

    #[inline]
    fn decode(entry: u64, level: u8) -> Entry {
        decode_entry(entry, level)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NX: u64 = 1 << 63;

    #[test]
    fn entries_have_the_bits_that_the_manual_gives() {
        let page = |size, rights, caching| X86_64::page(Hpa::new(0x1_4000_0000), size, rights, caching);
        assert_eq!(page(PageSize::Small, Rights::RW, Caching::WriteBack), Some(NX | 0x1_4000_0063));
        assert_eq!(page(PageSize::Small, Rights::R, Caching::WriteBack), Some(NX | 0x1_4000_0021));
        assert_eq!(page(PageSize::Large, Rights::RX, Caching::WriteBack), Some(0x1_4000_00a1));
        assert_eq!(page(PageSize::Huge, Rights::RW, Caching::Uncached), Some(NX | 0x1_4000_00fb));
        assert_eq!(page(PageSize::Small, Rights::RW, Caching::WriteCombining), Some(NX | 0x1_4000_006b));
        let user = Rights { user: true, ..Rights::RX };
        assert_eq!(page(PageSize::Small, user, Caching::WriteBack), Some(0x1_4000_0025));
        assert_eq!(X86_64::table(Hpa::new(0x5000)), 0x5027);
    }

    #[test]
    fn a_page_that_cannot_be_read_is_refused() {
        let write_only = Rights { read: false, ..Rights::RW };
        assert_eq!(X86_64::page(Hpa::new(0), PageSize::Small, write_only, Caching::WriteBack), None);
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for size in [PageSize::Small, PageSize::Large, PageSize::Huge] {
            for bits in 0..8 {
                let rights =
                    Rights { read: true, write: bits & 1 != 0, execute: bits & 2 != 0, user: bits & 4 != 0 };
                for caching in [Caching::WriteBack, Caching::Uncached, Caching::WriteCombining] {
                    let hpa = Hpa::new(0x000f_ffff_c000_0000);
                    let entry = X86_64::page(hpa, size, rights, caching).unwrap();
                    assert_eq!(X86_64::decode(entry, size as u8), Entry::Page(hpa, rights, caching));
                }
            }
        }
        let Entry::Table(hpa, rights) = X86_64::decode(X86_64::table(Hpa::new(0x7000)), 4) else { panic!() };
        assert_eq!((hpa, rights), (Hpa::new(0x7000), Rights { user: true, ..Rights::RWX }));
    }

    #[test]
    fn an_entry_without_the_present_bit_maps_nothing_whatever_else_it_holds() {
        for level in 1..=4 {
            assert_eq!(X86_64::decode(!1, level), Entry::Absent);
        }
    }

    #[test]
    fn the_pat_gives_each_caching_its_type() {
        let kind = |entry: u64, index_bits: u64| PAT >> (((entry >> 3) & 3 | index_bits) * 8) & 7;
        for high in [0, 4] {
            let entry = |c| X86_64::page(Hpa::new(0), PageSize::Small, Rights::RW, c).unwrap();
            assert_eq!(kind(entry(Caching::WriteBack), high), 6);
            assert_eq!(kind(entry(Caching::WriteCombining), high), 1);
            assert_eq!(kind(entry(Caching::Uncached), high), 0);
        }
    }
}
