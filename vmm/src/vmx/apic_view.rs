//! A second root of a VM's nested tables, for vCPUs whose local APIC the CPU answers for in memory.
//!
//! ```text
//!   ram ────► all of the RAM, and nothing else
//!                 ▲ ▲ shared
//!   with_apic ──► copy of the top table ──► copy of the table of the first 512 GiB ──► 3 to 4 GiB ──► 0xFEE00000
//! ```
//!
//! An access by a guest is virtualized if it is to the page whose address the VMCS has as "APIC-access
//! address" (SDM vol. 3C, 29.4), so that the nested tables must map that page. A vCPU that has no local APIC
//! there, because it moved it or is in x2APIC mode, must not find the page's memory in its place: it is entered
//! with the first root. All tables are there before the guest starts, and those above the lowest level but one never
//! change, so that the copies stay true: where chunks of RAM go and come ([`crate::memory::nested`]), it is in tables
//! that both roots share.
//!
//! Nothing is ever in the page. It is each VM's own all the same, for the corners in which a CPU may use
//! its memory (29.4.6).
#![allow(unsafe_code)] // tables are written by physical address

use crate::platform::map::LOCAL_APIC_BASE;
use mm::addr::Hpa;
use mm::paging::{Caching, Entry, Ept, Format, PageSize, Rights, TableMemory};

/// Where a VM's nested tables are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roots {
    /// Those that map RAM alone.
    pub ram: Hpa,
    /// Those that also map the page of the local APIC, and the page that they map.
    pub with_apic: Option<(Hpa, Hpa)>,
}

/// The tables that are not shared: of each level one, from the top; and the page.
pub struct ApicView<M: TableMemory> {
    frames: [Hpa; 5],
    memory: M,
}

/// Levels of tables.
const LEVELS: usize = 4;

/// Which entry maps the page, of the table of each level from the top.
const fn place(depth: usize) -> usize {
    (LOCAL_APIC_BASE >> (39 - 9 * depth)) as usize & 511
}

impl<M: TableMemory> ApicView<M> {
    /// A view of the tables at `ram`, which map nothing from 3 to 4 GiB and do not change any more, with
    /// a page in the place of the local APIC. `None` without memory.
    ///
    /// # Safety
    /// `ram` is the root of tables of this format that live longer, and `memory.pointer` works for them.
    pub unsafe fn new(ram: Hpa, mut memory: M) -> Option<Self> {
        let mut frames = [Hpa::new(0); 5];
        for made in 0..frames.len() {
            let Some(frame) = memory.allocate() else {
                for &frame in &frames[..made] {
                    // SAFETY: allocated above, and nobody else knows of it.
                    unsafe { memory.free(frame) };
                }
                return None;
            };
            frames[made] = frame;
        }
        let view = Self { frames, memory };
        // SAFETY: the page is ours.
        unsafe { view.memory.pointer(view.page()).write_bytes(0, 1) };
        let page = Ept::page(view.page(), PageSize::Small, Rights::RW, Caching::WriteBack)?;
        let mut shared = Some(ram);
        for depth in 0..LEVELS {
            let next = if depth + 1 < LEVELS { Ept::table(frames[depth + 1]) } else { page };
            // SAFETY: `shared` is a table of the caller's tree, reached from its root.
            shared = unsafe { view.fill(depth, shared, next) };
        }
        Some(view)
    }

    /// Fills the table at `depth` with the entries of `shared`, and puts `entry` in the place that leads to the page.
    /// The table that `shared` has there.
    ///
    /// # Safety
    /// `shared` is a table of this format and of that depth, and nobody changes it.
    unsafe fn fill(&self, depth: usize, shared: Option<Hpa>, entry: u64) -> Option<Hpa> {
        let table = self.memory.pointer(self.frames[depth]).cast::<u64>();
        let place = place(depth);
        let mut next = None;
        match shared.map(|shared| self.memory.pointer(shared).cast::<u64>()) {
            // SAFETY: both are tables of 512 entries, and ours is none of the caller's.
            Some(shared) => unsafe {
                table.copy_from_nonoverlapping(shared, 512);
                if let Entry::Table(below, _) = Ept::decode(shared.add(place).read(), 4 - depth as u8) {
                    next = Some(below);
                }
            },
            // SAFETY: the table is ours.
            None => unsafe { table.write_bytes(0, 512) },
        }
        // SAFETY: likewise; a place is below 512.
        unsafe { table.add(place).write(entry) };
        next
    }

    /// Its root.
    pub fn root(&self) -> Hpa {
        self.frames[0]
    }

    /// The page.
    pub fn page(&self) -> Hpa {
        self.frames[LEVELS]
    }

    /// Frees what is not shared.
    ///
    /// # Safety
    /// No CPU uses it any more.
    pub unsafe fn free(mut self) {
        for frame in self.frames {
            // SAFETY: ours, by `new`; the caller's.
            unsafe { self.memory.free(frame) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mm::addr::Gpa;
    use mm::paging::PageTable;
    use std::boxed::Box;
    use std::cell::RefCell;
    use std::vec::Vec;

    /// Tables on the heap; the physical address is an index.
    #[derive(Default)]
    struct Frames {
        frames: RefCell<Vec<*mut [u64; 512]>>,
        left: RefCell<usize>,
    }

    struct Tables<'a>(&'a Frames);

    impl Drop for Frames {
        fn drop(&mut self) {
            for &frame in self.frames.borrow().iter() {
                // SAFETY: made by `Box::into_raw` in `allocate`.
                drop(unsafe { Box::from_raw(frame) });
            }
        }
    }

    // SAFETY: each frame is a box of its own that lives until the end of the test.
    unsafe impl TableMemory for Tables<'_> {
        fn allocate(&mut self) -> Option<Hpa> {
            let mut left = self.0.left.borrow_mut();
            *left = left.checked_sub(1)?;
            let mut frames = self.0.frames.borrow_mut();
            frames.push(Box::into_raw(Box::new([0xdead; 512])));
            Some(Hpa::new(frames.len() as u64 * 4096))
        }
        unsafe fn free(&mut self, _: Hpa) {
            *self.0.left.borrow_mut() += 1;
        }
        fn pointer(&self, table: Hpa) -> *mut [u64; 512] {
            self.0.frames.borrow()[table.get() as usize / 4096 - 1]
        }
    }

    #[test]
    fn the_second_root_maps_all_that_the_first_one_does_and_the_page() {
        let frames = Frames::default();
        frames.left.replace(100);
        let mut ram = PageTable::<Ept, _>::new(Tables(&frames)).unwrap();
        let (rights, caching) = (Rights::RWX, Caching::WriteBack);
        for (gpa, bytes) in [(0, 64 << 20), (4 << 30, 16 << 20), (512 << 30, 2 << 20)] {
            ram.map(Gpa::new(gpa), Hpa::new(0x1_0000_0000 + gpa), bytes, rights, caching, PageSize::Large)
                .unwrap();
        }
        // SAFETY: the tables above.
        let view = unsafe { ApicView::new(ram.root(), Tables(&frames)) }.unwrap();
        // SAFETY: the view's, which nobody changes.
        let seen = unsafe { PageTable::<Ept, _>::adopt(view.root(), Tables(&frames)) };
        let apic = Gpa::new(LOCAL_APIC_BASE);
        assert!(ram.translate(apic).is_none());
        let mapped = seen.translate(apic).unwrap();
        assert_eq!(
            (mapped.output, mapped.size, mapped.rights.execute),
            (view.page(), PageSize::Small, false)
        );
        assert!(
            seen.translate(apic + 4096).is_none() && seen.translate(Gpa::new(LOCAL_APIC_BASE - 1)).is_none()
        );
        for gpa in [
            0,
            63 << 20,
            64 << 20,
            3 << 30,
            0xfec0_0000,
            4 << 30,
            (4 << 30) + (16 << 20),
            512 << 30,
            513 << 30,
        ] {
            let at = |tables: &PageTable<Ept, Tables<'_>>| {
                tables.translate(Gpa::new(gpa)).map(|m| (m.output, m.size))
            };
            assert_eq!(at(&seen), at(&ram), "{gpa:#x}");
        }
        let left = *frames.left.borrow();
        // SAFETY: nobody runs on it.
        unsafe { view.free() };
        assert_eq!(*frames.left.borrow(), left + 5);
    }

    #[test]
    fn without_memory_there_is_no_view_and_nothing_is_lost() {
        for left in 0..5 {
            let frames = Frames::default();
            frames.left.replace(left + 1);
            let ram = PageTable::<Ept, _>::new(Tables(&frames)).unwrap();
            // SAFETY: the tables above.
            assert!(unsafe { ApicView::new(ram.root(), Tables(&frames)) }.is_none());
            assert_eq!(*frames.left.borrow(), left);
        }
    }
}
