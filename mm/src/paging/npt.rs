//! AMD nested paging (APM vol. 2, 15.25).
//!
//! The tables have the format of the host's own paging mode. The hardware treats every access by a guest,
//! its page-table walks included, as a user access (15.25.5), so all entries have the user bit. Memory types
//! are combined from the guest's and these (15.25.8), read by way of the host's PAT.
use super::format::{Caching, Entry, Format, PageSize, Rights};
use super::x86_64;
use crate::addr::{Gpa, Hpa};

/// A guest's physical address space on AMD.
#[derive(Clone, Copy, Debug)]
pub struct Npt;

impl Format for Npt {
    type Input = Gpa;

    #[inline]
    fn table(table: Hpa) -> u64 {
        x86_64::table_entry(table)
    }

    #[inline]
    fn page(page: Hpa, size: PageSize, rights: Rights, caching: Caching) -> Option<u64> {
        x86_64::page_entry(page, size, rights, caching, true)
    }

    #[inline]
    fn decode(entry: u64, level: u8) -> Entry {
        x86_64::decode_entry(entry, level)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_has_the_user_bit() {
        let page = |size, rights| Npt::page(Hpa::new(0x8000_0000), size, rights, Caching::WriteBack);
        assert_eq!(page(PageSize::Small, Rights::RWX), Some(0x8000_0067));
        assert_eq!(page(PageSize::Large, Rights::RWX), Some(0x8000_00e7));
        assert_eq!(page(PageSize::Large, Rights::R), Some(1 << 63 | 0x8000_00a5));
        assert_eq!(Npt::table(Hpa::new(0x9000)), 0x9027);
    }
}
