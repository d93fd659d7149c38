//! Looking at all mappings.
use core::fmt;

use super::format::{Caching, Entry, Format, PageSize, Rights};
use super::input::InputAddress;
use super::memory::read;
use super::span::entry_bytes;
use super::{LEVELS, PageTable, TableMemory};
use crate::addr::Hpa;

/// One address, or one page, and what it maps to.
pub struct Mapping<F: Format> {
    /// The input address.
    pub input: F::Input,
    /// The physical address.
    pub output: Hpa,
    /// Size of the page that maps it.
    pub size: PageSize,
    /// What every level of the walk grants.
    pub rights: Rights,
    /// Memory type.
    pub caching: Caching,
}

impl<F: Format> Clone for Mapping<F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: Format> Copy for Mapping<F> {}

impl<F: Format> fmt::Debug for Mapping<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { input, output, size, rights, caching } = self;
        write!(f, "{input:?} -> {output:?} {size:?} {rights:?} {caching:?}")
    }
}

impl<F: Format, M: TableMemory> PageTable<F, M> {
    /// Shows every page to `visit`, by ascending number of its address (for [`super::X86_64`]: the lower half
    /// first). An audit for W^X asks each for [`Rights::is_writable_and_executable`].
    pub fn for_each(&self, mut visit: impl FnMut(Mapping<F>)) {
        let all = Rights { user: true, ..Rights::RWX };
        self.visit_table(self.root, LEVELS, 0, all, &mut visit);
    }

    fn visit_table(
        &self,
        table: Hpa,
        level: u8,
        start: u64,
        granted: Rights,
        visit: &mut impl FnMut(Mapping<F>),
    ) {
        for i in 0..512 {
            let number = start + i as u64 * entry_bytes(level);
            match F::decode(read(&self.memory, table, i), level) {
                Entry::Absent => {}
                Entry::Table(next, rights) => {
                    self.visit_table(next, level - 1, number, granted.and(rights), visit);
                }
                Entry::Page(output, rights, caching) => {
                    let Some(size) = PageSize::at_level(level) else { continue };
                    let input = F::Input::from_number(number);
                    visit(Mapping { input, output, size, rights: granted.and(rights), caching });
                }
            }
        }
    }
}
