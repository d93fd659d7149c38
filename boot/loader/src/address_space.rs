//! The address space that the kernel is entered in, as the hand-over promises it.
use crate::elf::Kernel;
use handover::{DIRECT_MAP, Extent};
use mm::addr::{Hpa, Hva};
use mm::{Caching, PageSize, PageTable, PagingError, Rights, TableMemory, X86_64};

/// What is to be mapped.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// Bytes of physical memory that the direct map must cover.
    pub memory: u64,
    /// The largest page that the processor has.
    pub largest: PageSize,
    /// The kernel, whose segments get the rights that they ask for.
    pub kernel: &'a Kernel<'a>,
    /// Where the first page of its image stands.
    pub image: u64,
    /// Pages that stay where they are, to be executed across the change of address spaces.
    pub trampoline: Extent,
}

impl Plan<'_> {
    /// Bytes that the direct map will have: whole pages of the largest size.
    pub fn direct_map_bytes(&self) -> u64 {
        self.memory.next_multiple_of(self.largest.bytes())
    }

    /// Builds the tables.
    pub fn build<M: TableMemory>(&self, memory: M) -> Result<PageTable<X86_64, M>, PagingError> {
        let mut tables = PageTable::new(memory)?;
        let mut map = |at: u64, to: u64, bytes: u64, rights: Rights, largest: PageSize| {
            let at = Hva::try_new(at).ok_or(PagingError::OutOfRange)?;
            let to = Hpa::try_new(to).ok_or(PagingError::OutOfRange)?;
            tables.map(at, to, bytes, rights, Caching::WriteBack, largest)
        };
        map(DIRECT_MAP, 0, self.direct_map_bytes(), Rights::RW, self.largest)?;
        let first = self.kernel.pages().start;
        for segment in &self.kernel.segments {
            let pages = segment.pages();
            let to = self.image + (pages.start - first);
            let rights = Rights { write: segment.writable, execute: segment.executable, ..Rights::R };
            map(pages.start, to, pages.end - pages.start, rights, PageSize::Large)?;
        }
        map(self.trampoline.base, self.trampoline.base, self.trampoline.len, Rights::RX, PageSize::Small)?;
        Ok(tables)
    }
}

#[cfg(test)]
#[allow(unsafe_code)] // Tables in the test's own memory.
mod tests {
    use super::*;
    use crate::elf::{Segment, WINDOW};
    use alloc::boxed::Box;
    use alloc::vec;
    use alloc::vec::Vec;

    /// Tables at made-up physical addresses.
    #[derive(Default)]
    struct Frames {
        frames: Vec<Box<[u64; 512]>>,
        most: usize,
    }

    // SAFETY: each frame is a box of its own, kept until the end.
    unsafe impl TableMemory for Frames {
        fn allocate(&mut self) -> Option<Hpa> {
            if self.frames.len() == self.most {
                return None;
            }
            self.frames.push(Box::new([0; 512]));
            Some(Hpa::new(self.frames.len() as u64 * 0x1000))
        }

        unsafe fn free(&mut self, _table: Hpa) {}

        fn pointer(&self, table: Hpa) -> *mut [u64; 512] {
            (&raw const *self.frames[table.get() as usize / 0x1000 - 1]).cast_mut()
        }
    }

    fn kernel() -> Kernel<'static> {
        let segment = |page: u64, bytes, writable, executable| Segment {
            address: WINDOW.start + page * 0x1000,
            bytes,
            data: &[],
            writable,
            executable,
        };
        Kernel {
            entry: WINDOW.start,
            segments: vec![
                segment(0, 0x1800, false, true),
                segment(2, 0x1000, false, false),
                segment(5, 1, true, false),
            ],
            symbols: &[],
            symbol_names: &[],
        }
    }

    fn plan<'a>(kernel: &'a Kernel<'a>, largest: PageSize) -> Plan<'a> {
        Plan {
            memory: 5 << 30,
            largest,
            kernel,
            image: 0x3_0000,
            trampoline: Extent { base: 0x7000, len: 0x1000 },
        }
    }

    fn build(plan: &Plan, most: usize) -> Result<PageTable<X86_64, Frames>, PagingError> {
        plan.build(Frames { frames: Vec::new(), most })
    }

    #[test]
    fn each_part_has_its_rights_and_nothing_else_is_mapped() {
        let kernel = kernel();
        for largest in [PageSize::Large, PageSize::Huge] {
            let tables = build(&plan(&kernel, largest), 1000).unwrap();
            let look = |at| tables.translate(Hva::new(at)).map(|m| (m.output.get(), m.rights));
            assert_eq!(look(DIRECT_MAP), Some((0, Rights::RW)));
            assert_eq!(look(DIRECT_MAP + 0x1_2345_6789), Some((0x1_2345_6789, Rights::RW)));
            assert_eq!(look(DIRECT_MAP + (5 << 30)), None);
            assert_eq!(look(WINDOW.start + 0x1fff), Some((0x3_1fff, Rights::RX)));
            assert_eq!(look(WINDOW.start + 0x2000), Some((0x3_2000, Rights::R)));
            assert_eq!(look(WINDOW.start + 0x3000), None);
            assert_eq!(look(WINDOW.start + 0x5fff), Some((0x3_5fff, Rights::RW)));
            assert_eq!(look(WINDOW.start + 0x6000), None);
            assert_eq!(look(0x7abc), Some((0x7abc, Rights::RX)));
            assert_eq!((look(0), look(0x6fff), look(0x8000)), (None, None, None));
        }
    }

    #[test]
    fn the_direct_map_is_rounded_up_to_the_pages_that_the_processor_has() {
        let kernel = kernel();
        let odd = |largest| Plan { memory: (5 << 30) + 1, ..plan(&kernel, largest) }.direct_map_bytes();
        assert_eq!(odd(PageSize::Huge), 6 << 30);
        assert_eq!(odd(PageSize::Large), (5 << 30) + (2 << 20));
    }

    #[test]
    fn a_lack_of_memory_for_tables_is_an_error() {
        let kernel = kernel();
        for most in 0..8 {
            assert_eq!(build(&plan(&kernel, PageSize::Huge), most).err(), Some(PagingError::OutOfMemory));
        }
        assert!(build(&plan(&kernel, PageSize::Huge), 8).is_ok());
    }

    #[test]
    fn an_image_beyond_physical_memory_is_an_error() {
        let kernel = kernel();
        let far = Plan { image: !0xfff, ..plan(&kernel, PageSize::Huge) };
        assert_eq!(build(&far, 1000).err(), Some(PagingError::OutOfRange));
    }
}
