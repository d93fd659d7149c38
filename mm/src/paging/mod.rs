//! Page tables: one mapper for every format.
//!
//! [`PageTable`] walks and changes tables; a [`Format`] says what entries look like ([`X86_64`] for the
//! hypervisor's own, [`Npt`] for guests on AMD, [`Ept`] for guests on Intel).
//! Frames for tables come through [`TableMemory`], so that the kernel, the UEFI loader and tests share it.
//!
//! **Whole or not at all.** Each change looks at its range first, then takes all frames that it will need,
//! then writes. A refused change has changed nothing.
//!
//! **TLBs.** The tables do not know who uses them. New mappings need no invalidation. After
//! [`PageTable::protect`] the caller invalidates the range. [`PageTable::unmap`] asks for it in the middle:
//! tables that became empty are only freed once no CPU can walk them any more.
//!
//! **Safety.** Changing tables is safe: a mapping in use can vanish or lose rights, which faults, but none
//! is ever replaced by another. What lies behind a new mapping is the business of whoever makes a pointer.
#![allow(unsafe_code)] // adopting and ending tables is the caller's responsibility

pub mod ept;
mod error;
mod format;
mod input;
mod memory;
pub mod npt;
mod span;
#[cfg(test)]
mod tests;
mod visit;
pub mod x86_64;

use core::marker::PhantomData;

pub use ept::Ept;
pub use error::PagingError;
pub use format::{Caching, Entry, Format, PageSize, Rights};
pub use input::InputAddress;
pub use memory::TableMemory;
pub use npt::Npt;
pub use visit::Mapping;
pub use x86_64::X86_64;

use crate::addr::{Hpa, PAGE, PHYSICAL_MASK};
use memory::{Chain, read, write};
use span::{Span, entry_bytes, index};

/// Levels of tables.
const LEVELS: u8 = 4;

/// A tree of tables. See the module's documentation.
pub struct PageTable<F: Format, M: TableMemory> {
    root: Hpa,
    memory: M,
    format: PhantomData<F>,
}

/// What pages of a range become.
#[derive(Clone, Copy)]
struct Target {
    /// Physical address that the number 0 would map to, wrapping.
    offset: u64,
    rights: Rights,
    caching: Caching,
    largest: PageSize,
}

impl Target {
    fn output(&self, number: u64) -> Hpa {
        Hpa::new_truncate(number.wrapping_add(self.offset))
    }

    /// The page that maps all of `part` by one entry at `level`, if it can.
    #[inline]
    fn page(&self, part: Span, level: u8) -> Option<PageSize> {
        let size = PageSize::at_level(level)?;
        let fits =
            size <= self.largest && part.is_whole(level) && self.output(part.start).is_aligned(size.bytes());
        if fits { Some(size) } else { None }
    }
}

impl<F: Format, M: TableMemory> PageTable<F, M> {
    /// Tables that map nothing.
    pub fn new(mut memory: M) -> Result<Self, PagingError> {
        let mut chain = Chain::reserve(&mut memory, 1)?;
        let root = chain.pop_empty(&memory).ok_or(PagingError::OutOfMemory)?;
        Ok(Self { root, memory, format: PhantomData })
    }

    /// Adopts tables: those that `CR3` points at, which the loader made.
    ///
    /// # Safety
    /// `root` is a top-level table of this format, of which nobody else changes anything, and
    /// `memory.pointer` works for all of its tables. `memory.free` will be given those of them that become
    /// empty.
    pub unsafe fn adopt(root: Hpa, memory: M) -> Self {
        Self { root, memory, format: PhantomData }
    }

    /// Physical address of the top-level table: what goes into `CR3` or the VMCB's `N_CR3`.
    #[inline]
    pub const fn root(&self) -> Hpa {
        self.root
    }

    /// Maps `bytes` from `input` to `output`, with the largest pages up to `largest` that alignment permits.
    /// Nothing of the range may be mapped.
    pub fn map(
        &mut self,
        input: F::Input,
        output: Hpa,
        bytes: u64,
        rights: Rights,
        caching: Caching,
        largest: PageSize,
    ) -> Result<(), PagingError> {
        let span = Self::range(input, bytes)?;
        if !output.is_aligned(PAGE) {
            return Err(PagingError::Misaligned);
        }
        if output.checked_add(bytes).is_none_or(|end| end.get() > PHYSICAL_MASK + 1) {
            return Err(PagingError::OutOfRange);
        }
        F::page(output, PageSize::Small, rights, caching).ok_or(PagingError::Rights(rights))?;
        let target = Target { offset: output.get().wrapping_sub(span.start), rights, caching, largest };
        let tables = self.tables_to_map(Some(self.root), LEVELS, span, &target)?;
        let mut reserve = Chain::reserve(&mut self.memory, tables)?;
        self.fill(self.root, LEVELS, span, &target, &mut reserve);
        debug_assert!(reserve.is_empty(), "tables were counted that were not needed");
        Ok(())
    }

    /// Unmaps whatever is mapped in the range, splitting pages that reach beyond it. Returns how many bytes
    /// were mapped.
    ///
    /// `invalidate` is called once, if anything changed, when the entries are gone: it must make every CPU
    /// that may use these tables forget the range, paging-structure caches included (INVLPG does; APM vol. 2,
    /// 5.5.2; SDM vol. 3A, 4.10.4).
    pub fn unmap(
        &mut self,
        input: F::Input,
        bytes: u64,
        invalidate: impl FnOnce(),
    ) -> Result<u64, PagingError> {
        let span = Self::range(input, bytes)?;
        let tables = self.tables_to_split(self.root, LEVELS, span, &mut |_| Ok(()))?;
        let mut reserve = Chain::reserve(&mut self.memory, tables)?;
        let mut empty = Chain::EMPTY;
        let cleared = self.clear(self.root, LEVELS, span, &mut reserve, &mut empty);
        debug_assert!(reserve.is_empty(), "tables were counted that were not needed");
        if cleared > 0 || !empty.is_empty() {
            invalidate();
        }
        empty.free(&mut self.memory);
        Ok(cleared)
    }

    /// Unmaps the one page of this size that `input` is mapped by, and leaves all tables where they are, so that mapping
    /// it again takes no frame and cannot fail, and copies of tables above stay true. Whether it was mapped so.
    ///
    /// The caller makes every CPU that may use these tables forget the page before what it maps is used for something
    /// else.
    pub fn unmap_page(&mut self, input: F::Input, size: PageSize) -> bool {
        let Some(number) = input.number() else { return false };
        let mut table = self.root;
        for level in (1..=LEVELS).rev() {
            match self.decode(table, level, number) {
                Entry::Absent => return false,
                Entry::Table(next, _) => table = next,
                Entry::Page(..) => {
                    let found = PageSize::at_level(level) == Some(size);
                    if found {
                        write(&self.memory, table, index(number, level), 0);
                    }
                    return found;
                }
            }
        }
        false
    }

    /// Changes the rights of a range, all of which is mapped, splitting pages that reach beyond it. Memory
    /// types stay. The caller invalidates the range in every TLB afterwards.
    pub fn protect(&mut self, input: F::Input, bytes: u64, rights: Rights) -> Result<(), PagingError> {
        let span = Self::range(input, bytes)?;
        F::page(Hpa::new(0), PageSize::Small, rights, Caching::WriteBack)
            .ok_or(PagingError::Rights(rights))?;
        let tables = self.tables_to_split(self.root, LEVELS, span, &mut |hole| {
            Err(PagingError::NotMapped { input: hole.start })
        })?;
        let mut reserve = Chain::reserve(&mut self.memory, tables)?;
        self.change(self.root, LEVELS, span, rights, &mut reserve);
        debug_assert!(reserve.is_empty(), "tables were counted that were not needed");
        Ok(())
    }

    /// What `input` is mapped to, and the page it is in; `None` where it is not.
    pub fn translate(&self, input: F::Input) -> Option<Mapping<F>> {
        let number = input.number()?;
        let mut table = self.root;
        let mut granted = Rights { user: true, ..Rights::RWX };
        for level in (1..=LEVELS).rev() {
            match F::decode(read(&self.memory, table, index(number, level)), level) {
                Entry::Absent => return None,
                Entry::Table(next, rights) => {
                    table = next;
                    granted = granted.and(rights);
                }
                Entry::Page(page, rights, caching) => {
                    let size = PageSize::at_level(level)?;
                    let output = page + (number & (size.bytes() - 1));
                    return Some(Mapping { input, output, size, rights: granted.and(rights), caching });
                }
            }
        }
        None
    }

    /// Ends the tables: gives back every frame of them. What they mapped is not touched.
    ///
    /// # Safety
    /// No CPU uses the tables, or has cached anything of them.
    pub unsafe fn free(mut self) {
        self.free_below(self.root, LEVELS);
        // SAFETY: the caller's promise.
        unsafe { self.memory.free(self.root) };
    }

    fn range(input: F::Input, bytes: u64) -> Result<Span, PagingError> {
        let span = Span::new::<F>(input, bytes).ok_or(PagingError::OutOfRange)?;
        if bytes == 0 || !(span.start | span.end).is_multiple_of(PAGE) {
            return Err(PagingError::Misaligned);
        }
        Ok(span)
    }

    #[inline]
    fn decode(&self, table: Hpa, level: u8, number: u64) -> Entry {
        F::decode(read(&self.memory, table, index(number, level)), level)
    }

    /// How many tables a mapping needs that are not there (`table` itself is, or will be).
    fn tables_to_map(
        &self,
        table: Option<Hpa>,
        level: u8,
        span: Span,
        target: &Target,
    ) -> Result<usize, PagingError> {
        let mut needed = 0;
        // A table that is to be made has room for everything: only its own entries' tables count.
        if table.is_none() && level == 1 {
            return Ok(0);
        }
        for part in span.parts(level) {
            let entry = table.map_or(Entry::Absent, |table| self.decode(table, level, part.start));
            needed += match entry {
                Entry::Page(..) => return Err(PagingError::AlreadyMapped { input: part.start }),
                Entry::Table(next, _) => self.tables_to_map(Some(next), level - 1, part, target)?,
                Entry::Absent if level == 1 || target.page(part, level).is_some() => 0,
                Entry::Absent => 1 + self.tables_to_map(None, level - 1, part, target)?,
            };
        }
        Ok(needed)
    }

    /// Writes a mapping that `tables_to_map` has accepted.
    fn fill(&self, table: Hpa, level: u8, span: Span, target: &Target, reserve: &mut Chain) {
        for part in span.parts(level) {
            let at = index(part.start, level);
            let next = match self.decode(table, level, part.start) {
                Entry::Table(next, _) => next,
                Entry::Page(..) => unreachable!("looked at before: nothing is mapped here"),
                Entry::Absent => {
                    if let Some(size) = target.page(part, level) {
                        let output = target.output(part.start);
                        write(
                            &self.memory,
                            table,
                            at,
                            Self::page(output, size, target.rights, target.caching),
                        );
                        continue;
                    }
                    let next = self.reserved_table(reserve);
                    write(&self.memory, table, at, F::table(next));
                    next
                }
            };
            self.fill(next, level - 1, part, target, reserve);
        }
    }

    /// How many tables it takes to split the pages that reach beyond the range. `on_hole` judges what is not
    /// mapped.
    fn tables_to_split(
        &self,
        table: Hpa,
        level: u8,
        span: Span,
        on_hole: &mut impl FnMut(Span) -> Result<(), PagingError>,
    ) -> Result<usize, PagingError> {
        let mut needed = 0;
        for part in span.parts(level) {
            needed += match self.decode(table, level, part.start) {
                Entry::Absent => {
                    on_hole(part)?;
                    0
                }
                Entry::Table(next, _) => self.tables_to_split(next, level - 1, part, on_hole)?,
                Entry::Page(..) => Self::splits(level, part),
            };
        }
        Ok(needed)
    }

    /// Tables that replace a page at `level` of which only `part` is to change.
    fn splits(level: u8, part: Span) -> usize {
        if part.is_whole(level) {
            return 0;
        }
        1 + part.parts(level - 1).map(|inner| Self::splits(level - 1, inner)).sum::<usize>()
    }

    /// Replaces a page by a table of 512 smaller ones that map the same.
    fn split(&self, table: Hpa, level: u8, at: usize, reserve: &mut Chain) -> Hpa {
        let Entry::Page(page, rights, caching) = F::decode(read(&self.memory, table, at), level) else {
            unreachable!("only pages are split")
        };
        let Some(size) = PageSize::at_level(level - 1) else {
            unreachable!("the smallest page is not split")
        };
        let next = self.reserved_table(reserve);
        for i in 0..512 {
            let output = page + i as u64 * entry_bytes(level - 1);
            write(&self.memory, next, i, Self::page(output, size, rights, caching));
        }
        write(&self.memory, table, at, F::table(next));
        next
    }

    /// Clears a range. Tables that become empty go to `empty`. Returns how many bytes were mapped.
    fn clear(&self, table: Hpa, level: u8, span: Span, reserve: &mut Chain, empty: &mut Chain) -> u64 {
        let mut cleared = 0;
        for part in span.parts(level) {
            let at = index(part.start, level);
            let next = match self.decode(table, level, part.start) {
                Entry::Absent => continue,
                Entry::Page(..) if part.is_whole(level) => {
                    write(&self.memory, table, at, 0);
                    cleared += part.bytes();
                    continue;
                }
                Entry::Page(..) => self.split(table, level, at, reserve),
                Entry::Table(next, _) => next,
            };
            cleared += self.clear(next, level - 1, part, reserve, empty);
            if part.is_whole(level) || self.is_empty(next) {
                write(&self.memory, table, at, 0);
                empty.push(&self.memory, next);
            }
        }
        cleared
    }

    fn is_empty(&self, table: Hpa) -> bool {
        (0..512).all(|i| read(&self.memory, table, i) == 0)
    }

    /// Changes rights in a range that is mapped throughout.
    fn change(&self, table: Hpa, level: u8, span: Span, rights: Rights, reserve: &mut Chain) {
        for part in span.parts(level) {
            let at = index(part.start, level);
            let next = match self.decode(table, level, part.start) {
                Entry::Absent => unreachable!("looked at before: all of it is mapped"),
                Entry::Page(page, _, caching) if part.is_whole(level) => {
                    let Some(size) = PageSize::at_level(level) else { unreachable!("a page has a size") };
                    write(&self.memory, table, at, Self::page(page, size, rights, caching));
                    continue;
                }
                Entry::Page(..) => self.split(table, level, at, reserve),
                Entry::Table(next, _) => next,
            };
            self.change(next, level - 1, part, rights, reserve);
        }
    }

    fn free_below(&mut self, table: Hpa, level: u8) {
        if level == 1 {
            return;
        }
        for i in 0..512 {
            if let Entry::Table(next, _) = F::decode(read(&self.memory, table, i), level) {
                self.free_below(next, level - 1);
                // SAFETY: the caller of `free` promised that no CPU uses the tables.
                unsafe { self.memory.free(next) };
            }
        }
    }

    /// A page's entry; that the format has such rights was checked before anything was written.
    fn page(page: Hpa, size: PageSize, rights: Rights, caching: Caching) -> u64 {
        let Some(entry) = F::page(page, size, rights, caching) else {
            unreachable!("rights were checked before")
        };
        entry
    }

    /// A table from the reserve, which was counted before anything was written.
    fn reserved_table(&self, reserve: &mut Chain) -> Hpa {
        let Some(table) = reserve.pop_empty(&self.memory) else { unreachable!("tables were counted before") };
        table
    }
}
