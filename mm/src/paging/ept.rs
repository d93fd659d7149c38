//! Intel's extended page tables, EPT (SDM vol. 3C, 28.3.2; tables 28-1 to 28-7).
//!
//! An entry grants reads, writes and fetches by a bit each, and is present if one of them is set. RAM is
//! write-back whatever the guest's PAT and CR0.CD say ("ignore PAT"): no device is given to a guest, so that
//! nothing is gained by memory that goes around the caches, and its neighbours would feel it. What is not RAM
//! leaves the last word to the guest (28.3.7.2).
use super::format::{Caching, Entry, Format, PageSize, Rights};
use crate::addr::{Gpa, Hpa};
use bitflags::bitflags;

bitflags! {
    /// Flags of an entry.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct EntryFlags: u64 {
        /// Data reads are permitted.
        const READ = 1 << 0;
        /// Data writes are permitted.
        const WRITE = 1 << 1;
        /// Instruction fetches are permitted.
        const EXECUTE = 1 << 2;
        /// The guest's PAT does not count; in entries that map a page.
        const IGNORE_PAT = 1 << 6;
        /// The entry maps a page, at levels 2 and 3. Ignored at level 1.
        const PAGE = 1 << 7;
    }
}

/// A guest's physical address space on Intel.
#[derive(Clone, Copy, Debug)]
pub struct Ept;

/// Bits 51:12: the physical address.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// Bits 5:3 of an entry that maps a page: the memory type.
const TYPE_SHIFT: u32 = 3;
const UNCACHEABLE: u64 = 0;
const WRITE_COMBINING: u64 = 1;
const WRITE_BACK: u64 = 6;

const ANY: EntryFlags = EntryFlags::READ.union(EntryFlags::WRITE).union(EntryFlags::EXECUTE);

/// The pointer to the tables as a VMCS holds it (SDM vol. 3C, 24.6.11): walked as write-back memory, four
/// levels, no accessed and dirty flags.
pub const fn pointer(root: Hpa) -> u64 {
    root.get() & ADDRESS | 3 << 3 | WRITE_BACK
}

impl Format for Ept {
    type Input = Gpa;

    #[inline]
    fn table(table: Hpa) -> u64 {
        table.get() & ADDRESS | ANY.bits()
    }

    /// A page that can be written but not read is a misconfiguration (28.3.3.1), and one that can only be
    /// executed is so on some CPUs: both are refused.
    #[inline]
    fn page(page: Hpa, size: PageSize, rights: Rights, caching: Caching) -> Option<u64> {
        if !rights.read {
            return None;
        }
        let mut flags = EntryFlags::READ;
        flags.set(EntryFlags::WRITE, rights.write);
        flags.set(EntryFlags::EXECUTE, rights.execute);
        flags.set(EntryFlags::PAGE, size != PageSize::Small);
        flags.set(EntryFlags::IGNORE_PAT, caching == Caching::WriteBack);
        let kind = match caching {
            Caching::WriteBack => WRITE_BACK,
            Caching::WriteCombining => WRITE_COMBINING,
            Caching::Uncached => UNCACHEABLE,
        };
        Some(page.get() & ADDRESS & !(size.bytes() - 1) | kind << TYPE_SHIFT | flags.bits())
    }

    #[inline]
    fn decode(entry: u64, level: u8) -> Entry {
        let flags = EntryFlags::from_bits_truncate(entry);
        if !flags.intersects(ANY) {
            return Entry::Absent;
        }
        let rights = Rights {
            read: flags.contains(EntryFlags::READ),
            write: flags.contains(EntryFlags::WRITE),
            execute: flags.contains(EntryFlags::EXECUTE),
            user: true,
        };
        match PageSize::at_level(level) {
            Some(size) if size == PageSize::Small || flags.contains(EntryFlags::PAGE) => {
                let caching = match entry >> TYPE_SHIFT & 7 {
                    WRITE_BACK => Caching::WriteBack,
                    WRITE_COMBINING => Caching::WriteCombining,
                    _ => Caching::Uncached,
                };
                let page = Hpa::new_truncate(entry & ADDRESS & !(size.bytes() - 1));
                Entry::Page(page, rights, caching)
            }
            _ => Entry::Table(Hpa::new_truncate(entry & ADDRESS), rights),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_have_the_bits_that_the_manual_gives() {
        let page = |size, rights, caching| Ept::page(Hpa::new(0x1_4000_0000), size, rights, caching);
        assert_eq!(page(PageSize::Small, Rights::RWX, Caching::WriteBack), Some(0x1_4000_0077));
        assert_eq!(page(PageSize::Large, Rights::RWX, Caching::WriteBack), Some(0x1_4000_00f7));
        assert_eq!(page(PageSize::Huge, Rights::RX, Caching::WriteBack), Some(0x1_4000_00f5));
        assert_eq!(page(PageSize::Small, Rights::RW, Caching::Uncached), Some(0x1_4000_0003));
        assert_eq!(page(PageSize::Small, Rights::R, Caching::WriteCombining), Some(0x1_4000_0009));
        assert_eq!(Ept::table(Hpa::new(0x9000)), 0x9007);
        assert_eq!(pointer(Hpa::new(0x1234_5000)), 0x1234_501e);
    }

    #[test]
    fn what_the_hardware_would_call_misconfigured_is_refused() {
        for rights in [Rights::default(), Rights { write: true, ..Rights::default() }] {
            assert_eq!(Ept::page(Hpa::new(0), PageSize::Small, rights, Caching::WriteBack), None);
        }
        let execute_only = Rights { execute: true, ..Rights::default() };
        assert_eq!(Ept::page(Hpa::new(0), PageSize::Small, execute_only, Caching::WriteBack), None);
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for size in [PageSize::Small, PageSize::Large, PageSize::Huge] {
            for bits in 0..4 {
                let rights = Rights { read: true, write: bits & 1 != 0, execute: bits & 2 != 0, user: true };
                for caching in [Caching::WriteBack, Caching::Uncached, Caching::WriteCombining] {
                    let hpa = Hpa::new(0x000f_ffff_c000_0000);
                    let entry = Ept::page(hpa, size, rights, caching).unwrap();
                    assert_eq!(Ept::decode(entry, size as u8), Entry::Page(hpa, rights, caching));
                }
            }
        }
        let Entry::Table(hpa, rights) = Ept::decode(Ept::table(Hpa::new(0x7000)), 4) else { panic!() };
        assert_eq!((hpa, rights), (Hpa::new(0x7000), Rights { user: true, ..Rights::RWX }));
    }

    #[test]
    fn an_entry_that_grants_nothing_maps_nothing_whatever_else_it_holds() {
        for level in 1..=4 {
            assert_eq!(Ept::decode(!7, level), Entry::Absent);
        }
    }
}
