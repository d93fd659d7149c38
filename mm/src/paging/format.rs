//! What a page-table format has to say about itself.
use core::fmt;

use super::input::InputAddress;
use crate::addr::{HUGE_PAGE, Hpa, LARGE_PAGE, PAGE};

/// What a mapping permits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Rights {
    /// Data reads.
    pub read: bool,
    /// Data writes.
    pub write: bool,
    /// Instruction fetches.
    pub execute: bool,
    /// All of it at CPL 3 as well. Formats without that notion (second-level tables) ignore it.
    pub user: bool,
}

impl Rights {
    /// Read.
    pub const R: Self = Self { read: true, write: false, execute: false, user: false };
    /// Read and write.
    pub const RW: Self = Self { write: true, ..Self::R };
    /// Read and execute.
    pub const RX: Self = Self { execute: true, ..Self::R };
    /// Everything: guest RAM. The hypervisor's own tables never have it.
    pub const RWX: Self = Self { write: true, ..Self::RX };

    /// What both permit: a walk grants what every level grants.
    #[inline]
    pub const fn and(self, other: Self) -> Self {
        Self {
            read: self.read && other.read,
            write: self.write && other.write,
            execute: self.execute && other.execute,
            user: self.user && other.user,
        }
    }

    /// Whether this could run what it could write: what an audit looks for.
    pub const fn is_writable_and_executable(self) -> bool {
        self.write && self.execute
    }
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = |set, c| if set { c } else { '-' };
        write!(
            f,
            "{}{}{}{}",
            letter(self.read, 'r'),
            letter(self.write, 'w'),
            letter(self.execute, 'x'),
            letter(self.user, 'u')
        )
    }
}

/// Memory type of a mapping, as far as page tables select it. MTRRs still restrict it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Caching {
    /// RAM.
    #[default]
    WriteBack,
    /// Device registers: strong uncacheable.
    Uncached,
    /// Framebuffers. Needs the PAT of [`super::x86_64::PAT`].
    WriteCombining,
}

/// Sizes of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum PageSize {
    /// 4 KiB.
    Small = 1,
    /// 2 MiB.
    Large = 2,
    /// 1 GiB. Not on every CPU: CPUID 8000_0001h EDX bit 26.
    Huge = 3,
}

impl PageSize {
    /// Bytes in a page.
    #[inline(always)]
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Small => PAGE,
            Self::Large => LARGE_PAGE,
            Self::Huge => HUGE_PAGE,
        }
    }

    /// What an entry of a table at `level` maps (1: page table, 2: page directory, 3: page-directory-pointer
    /// table), or `None` where entries only refer to tables.
    #[inline(always)]
    pub const fn at_level(level: u8) -> Option<Self> {
        match level {
            1 => Some(Self::Small),
            2 => Some(Self::Large),
            3 => Some(Self::Huge),
            _ => None,
        }
    }
}

/// What an entry of a table means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Nothing is mapped.
    Absent,
    /// Refers to a table of the next level, and restricts what that one grants.
    Table(Hpa, Rights),
    /// Maps a page.
    Page(Hpa, Rights, Caching),
}

/// A page-table format: four levels of 512 entries of 64 bits, in which an entry of zero maps nothing and an
/// entry whose bits 11:0 are zero is not present either.
///
/// (Long mode and nested paging of both vendors are like that: APM vol. 2, 5.3; SDM vol. 3A, 4.5; SDM vol.
/// 3C, 28.3.) The formats differ in how they encode rights and memory types, and in their input addresses.
pub trait Format {
    /// What is translated.
    type Input: InputAddress;

    /// Entry that refers to a table and leaves all restrictions to the pages.
    fn table(table: Hpa) -> u64;

    /// Entry that maps a page, or `None` where the format has no such rights.
    fn page(page: Hpa, size: PageSize, rights: Rights, caching: Caching) -> Option<u64>;

    /// What an entry in a table at `level` (1 to 4) means.
    fn decode(entry: u64, level: u8) -> Entry;
}
