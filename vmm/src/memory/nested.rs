//! The second-level page tables of a VM: its RAM, and nothing else.
//!
//! What is not RAM stays unmapped, so that every access to it exits. RAM is mapped in the largest pages
//! that its host memory permits; the first 2 MiB need small ones because of the video window.
//!
//! Of a VM whose memory can go and come ([`super::chunks`]) each chunk is one page of 2 MiB. All tables are there from
//! the start, also above chunks that are not, and stay: [`map_chunk`] and [`unmap_chunk`] change one entry in a
//! table of the lowest level but one, and need no memory.
use super::{GuestMemory, Layout};
use mm::addr::{Gpa, Hpa, LARGE_PAGE};
use mm::paging::{Caching, Format, PageSize, PageTable, PagingError, Rights, TableMemory};

/// Maps all of a guest's RAM with pages of at most `largest`.
///
/// # Errors
/// No memory for the tables, or more RAM than the format's address space holds. Tables that were made by
/// then are freed.
pub fn map<F: Format<Input = Gpa>, M: TableMemory>(
    memory: &GuestMemory,
    tables: M,
    largest: PageSize,
) -> Result<PageTable<F, M>, PagingError> {
    let mut table = PageTable::<F, M>::new(tables)?;
    match map_runs(memory, &mut table, largest) {
        Ok(()) => Ok(table),
        Err(error) => {
            free(table);
            Err(error)
        }
    }
}

/// Maps the chunk at `gpa`, if it is not mapped. The tables were made for pages of at most 2 MiB.
pub fn map_chunk<F: Format<Input = Gpa>, M: TableMemory>(table: &mut PageTable<F, M>, gpa: Gpa, chunk: Hpa) {
    match map_run(table, (gpa, chunk, LARGE_PAGE), PageSize::Large) {
        // Who asks again has lost a race.
        Ok(()) | Err(PagingError::AlreadyMapped { .. }) => {}
        // Its tables are there: no other error is possible. The guest would fault again and again.
        Err(error) => log::error!("a guest's memory at {gpa} cannot be mapped: {error}"),
    }
}

/// Unmaps the chunk at `gpa`. CPUs may still have it in their TLBs.
pub fn unmap_chunk<F: Format<Input = Gpa>, M: TableMemory>(table: &mut PageTable<F, M>, gpa: Gpa) {
    table.unmap_page(gpa, PageSize::Large);
}

/// Frees tables that no vCPU uses any more.
#[allow(unsafe_code)] // Whoever holds the last vCPU's table by value has no vCPU left that runs on it.
pub fn free<F: Format<Input = Gpa>, M: TableMemory>(table: PageTable<F, M>) {
    // SAFETY: the table is given by value: its VM's vCPUs, which alone load its root, are gone. What CPUs have
    // cached of it is of no use to others: on AMD-V it goes with the identifiers that the vCPUs had, on VT-x
    // each CPU drops it before it runs another VM (`vmx::translations`).
    unsafe { table.free() }
}

fn map_runs<F: Format<Input = Gpa>, M: TableMemory>(
    memory: &GuestMemory,
    table: &mut PageTable<F, M>,
    largest: PageSize,
) -> Result<(), PagingError> {
    let mut run: Option<(Gpa, Hpa, u64)> = None;
    for (gpa, place) in memory.chunks() {
        let Some(hpa) = place else {
            // For its tables; no vCPU runs on them yet.
            map_run(table, (gpa, Hpa::new(0), LARGE_PAGE), PageSize::Large)?;
            table.unmap_page(gpa, PageSize::Large);
            continue;
        };
        if gpa.get() < Layout::VIDEO.end {
            map_around_video(table, gpa, hpa)?;
            continue;
        }
        run = match run {
            Some((g, h, bytes)) if g + bytes == gpa && h + bytes == hpa => Some((g, h, bytes + LARGE_PAGE)),
            Some(done) => {
                map_run(table, done, largest)?;
                Some((gpa, hpa, LARGE_PAGE))
            }
            None => Some((gpa, hpa, LARGE_PAGE)),
        };
    }
    run.map_or(Ok(()), |last| map_run(table, last, largest))
}

fn map_run<F: Format<Input = Gpa>, M: TableMemory>(
    table: &mut PageTable<F, M>,
    (gpa, hpa, bytes): (Gpa, Hpa, u64),
    largest: PageSize,
) -> Result<(), PagingError> {
    table.map(gpa, hpa, bytes, Rights::RWX, Caching::WriteBack, largest)
}

/// The chunk that holds the video window, without it.
fn map_around_video<F: Format<Input = Gpa>, M: TableMemory>(
    table: &mut PageTable<F, M>,
    gpa: Gpa,
    hpa: Hpa,
) -> Result<(), PagingError> {
    let video = Layout::VIDEO;
    map_run(table, (gpa, hpa, video.start), PageSize::Small)?;
    map_run(table, (gpa + video.end, hpa + video.end, LARGE_PAGE - video.end), PageSize::Small)
}

#[cfg(test)]
#[allow(unsafe_code)] // A table memory is an unsafe promise.
mod tests {
    use super::*;
    use crate::memory::on_heap::HeapMemory;
    use alloc::boxed::Box;
    use alloc::vec::Vec;
    use mm::paging::{Ept, Npt};

    /// Tables on the heap; the physical address is an index.
    struct Tables {
        frames: Vec<*mut [u64; 512]>,
        left: usize,
    }

    impl Tables {
        fn with(left: usize) -> Self {
            Self { frames: Vec::new(), left }
        }
    }

    impl Drop for Tables {
        fn drop(&mut self) {
            for &frame in &self.frames {
                // SAFETY: made by `Box::into_raw` in `allocate`.
                drop(unsafe { Box::from_raw(frame) });
            }
        }
    }

    // SAFETY: each frame is a box of its own that lives until the end of the test.
    unsafe impl mm::paging::TableMemory for Tables {
        fn allocate(&mut self) -> Option<Hpa> {
            self.left = self.left.checked_sub(1)?;
            self.frames.push(Box::into_raw(Box::new([0xdead; 512])));
            Some(Hpa::new(self.frames.len() as u64 * 4096))
        }
        unsafe fn free(&mut self, _: Hpa) {
            self.left += 1;
        }
        fn pointer(&self, table: Hpa) -> *mut [u64; 512] {
            self.frames[table.get() as usize / 4096 - 1]
        }
    }

    #[test]
    fn all_ram_is_mapped_and_the_video_window_is_not() {
        ram_alone_is_mapped::<Npt>();
        ram_alone_is_mapped::<Ept>();
    }

    fn ram_alone_is_mapped<F: Format<Input = Gpa>>() {
        let memory = HeapMemory::new(16);
        let table = map::<F, _>(&memory, Tables::with(100), PageSize::Large).unwrap();
        let at = |gpa| table.translate(Gpa::new(gpa));
        assert_eq!(at(0).unwrap().size, PageSize::Small);
        assert!(at(0x9_f000).is_some() && at(0xc_0000).is_some());
        assert!(at(0xa_0000).is_none() && at(0xb_f000).is_none());
        let large = at(5 << 20).unwrap();
        assert_eq!(large.size, PageSize::Large);
        for gpa in (0..16 << 20).step_by(4096).map(Gpa::new) {
            assert_eq!(table.translate(gpa).is_some(), memory.host(gpa).is_some(), "{gpa}");
        }
        assert!(at(16 << 20).is_none(), "beyond the RAM");
        assert!(at(0xfee0_0000).is_none(), "the local APIC");
    }

    #[test]
    fn a_chunk_is_unmapped_and_mapped_in_the_tables_that_there_are() {
        chunks_go_and_come::<Npt>();
        chunks_go_and_come::<Ept>();
    }

    fn chunks_go_and_come<F: Format<Input = Gpa>>() {
        let (memory, host) = HeapMemory::lent(16, 1, 0);
        memory.release(5).unwrap();
        // One that is not there at the start gets its tables all the same.
        let mut table = map::<F, _>(&memory, Tables::with(4 + 1), PageSize::Large).unwrap();
        let at = |table: &PageTable<F, _>, chunk: u64| {
            table.translate(Gpa::new(chunk * LARGE_PAGE)).map(|m| m.output)
        };
        assert_eq!(at(&table, 5), None);
        memory.restore(Gpa::new(5 * LARGE_PAGE)).unwrap();
        for (gpa, chunk) in host.mapped.lock().iter() {
            if gpa.get() != 0 {
                map_chunk(&mut table, *gpa, *chunk);
                map_chunk(&mut table, *gpa, *chunk);
            }
        }
        assert_eq!(at(&table, 5), memory.host(Gpa::new(5 * LARGE_PAGE)));
        for chunk in 1..8 {
            unmap_chunk(&mut table, Gpa::new(chunk * LARGE_PAGE));
            unmap_chunk(&mut table, Gpa::new(chunk * LARGE_PAGE));
            assert_eq!(at(&table, chunk), None);
        }
        // None of them was freed, none is needed.
        map_chunk(&mut table, Gpa::new(7 * LARGE_PAGE), Hpa::new(7 * LARGE_PAGE));
        assert_eq!(at(&table, 7), Some(Hpa::new(7 * LARGE_PAGE)));
        // The first chunk's small pages are none of these.
        unmap_chunk(&mut table, Gpa::new(0));
        assert!(at(&table, 0).is_some());
    }

    #[test]
    fn without_memory_for_tables_everything_is_given_back() {
        let memory = HeapMemory::new(4);
        for left in 0..4 {
            let mut tables = Tables::with(left);
            assert!(map::<Npt, _>(&memory, &mut tables, PageSize::Large).is_err());
            assert_eq!(tables.left, left);
        }
    }
}
