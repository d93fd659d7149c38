use std::boxed::Box;
use std::collections::{BTreeMap, HashMap};
use std::vec::Vec;

use super::*;
use crate::addr::{Gpa, HUGE_PAGE, Hva, LARGE_PAGE};
use crate::random::Random;

/// Tables in the test's own memory, at most `limit` of them.
struct Tables {
    frames: HashMap<u64, Box<Frame>>,
    limit: usize,
}

#[repr(C, align(4096))]
struct Frame([u64; 512]);

impl Tables {
    fn new() -> Self {
        Self { frames: HashMap::new(), limit: usize::MAX }
    }
}

// SAFETY: a frame is its own box as long as it is in the map; its physical address is its virtual one.
unsafe impl TableMemory for Tables {
    fn allocate(&mut self) -> Option<Hpa> {
        if self.frames.len() >= self.limit {
            return None;
        }
        // Not empty, so that a table that is not cleared shows.
        let mut frame = Box::new(Frame([!0; 512]));
        let address = (&raw mut *frame).expose_provenance() as u64;
        self.frames.insert(address, frame);
        Some(Hpa::new(address))
    }

    unsafe fn free(&mut self, table: Hpa) {
        assert!(self.frames.remove(&table.get()).is_some(), "{table} is no table");
    }

    fn pointer(&self, table: Hpa) -> *mut [u64; 512] {
        assert!(self.frames.contains_key(&table.get()), "{table} is used after it was freed");
        core::ptr::with_exposed_provenance_mut(table.get() as usize)
    }
}

fn host(tables: &mut Tables) -> PageTable<X86_64, &mut Tables> {
    PageTable::new(tables).unwrap()
}

fn map_rw(
    table: &mut PageTable<X86_64, &mut Tables>,
    input: u64,
    output: u64,
    bytes: u64,
) -> Result<(), PagingError> {
    table.map(Hva::new(input), Hpa::new(output), bytes, Rights::RW, Caching::WriteBack, PageSize::Huge)
}

fn pages<F: Format, M: TableMemory>(table: &PageTable<F, M>) -> Vec<Mapping<F>> {
    let mut pages = Vec::new();
    table.for_each(|page| pages.push(page));
    pages
}

const HIGH: u64 = 0xffff_8000_0000_0000;

#[test]
fn the_largest_pages_that_alignment_permits_are_chosen() {
    let mut tables = Tables::new();
    let mut table = host(&mut tables);
    let start = HIGH + HUGE_PAGE - LARGE_PAGE - PAGE;
    let bytes = PAGE + LARGE_PAGE + HUGE_PAGE + LARGE_PAGE + PAGE;
    map_rw(&mut table, start, HUGE_PAGE - LARGE_PAGE - PAGE, bytes).unwrap();
    let sizes: Vec<PageSize> = pages(&table).iter().map(|p| p.size).collect();
    use PageSize::{Huge, Large, Small};
    assert_eq!(sizes, [Small, Large, Huge, Large, Small]);
    let last = table.translate(Hva::new(start + bytes - 1)).unwrap();
    assert_eq!(last.output, Hpa::new(2 * HUGE_PAGE + LARGE_PAGE + PAGE - 1));
    assert!(table.translate(Hva::new(start + bytes)).is_none());
    assert!(table.translate(Hva::new(start - 1)).is_none());
}

#[test]
fn the_cap_on_page_sizes_is_kept() {
    for (largest, count) in [(PageSize::Huge, 1), (PageSize::Large, 512), (PageSize::Small, 512 * 512)] {
        let mut tables = Tables::new();
        let mut table = host(&mut tables);
        table.map(Hva::new(HIGH), Hpa::new(0), HUGE_PAGE, Rights::RW, Caching::WriteBack, largest).unwrap();
        let all = pages(&table);
        assert_eq!(all.len(), count);
        assert!(all.iter().all(|p| p.size == largest));
    }
}

#[test]
fn outputs_that_are_less_aligned_than_inputs_get_smaller_pages() {
    let mut tables = Tables::new();
    let mut table = host(&mut tables);
    map_rw(&mut table, HIGH, LARGE_PAGE, HUGE_PAGE).unwrap();
    assert!(pages(&table).iter().all(|p| p.size == PageSize::Large));
    map_rw(&mut table, HIGH + HUGE_PAGE, PAGE, LARGE_PAGE).unwrap();
    assert_eq!(table.translate(Hva::new(HIGH + HUGE_PAGE)).unwrap().size, PageSize::Small);
}

#[test]
fn what_is_mapped_is_not_mapped_again_and_nothing_changes() {
    let mut tables = Tables::new();
    let mut table = host(&mut tables);
    map_rw(&mut table, HIGH + 5 * PAGE, 0, PAGE).unwrap();
    map_rw(&mut table, HIGH + HUGE_PAGE, 0, HUGE_PAGE).unwrap();
    let before = pages(&table).len();
    let low = |address| address & 0xffff_ffff_ffff;
    for (start, bytes, clash) in [
        (HIGH, LARGE_PAGE, HIGH + 5 * PAGE),
        (HIGH + 5 * PAGE, PAGE, HIGH + 5 * PAGE),
        (HIGH + LARGE_PAGE, HUGE_PAGE, HIGH + HUGE_PAGE),
        (HIGH + HUGE_PAGE + 7 * PAGE, PAGE, HIGH + HUGE_PAGE + 7 * PAGE),
    ] {
        let result = map_rw(&mut table, start, 0, bytes);
        assert_eq!(result, Err(PagingError::AlreadyMapped { input: low(clash) }));
        assert_eq!(pages(&table).len(), before);
    }
}

#[test]
fn ranges_that_cannot_be_translated_are_refused() {
    let mut tables = Tables::new();
    let mut table = host(&mut tables);
    for (input, output, bytes) in
        [(HIGH + 1, 0, PAGE), (HIGH, 1, PAGE), (HIGH, 0, PAGE - 1), (HIGH, 0, 0), (HIGH, 0, PAGE + 8)]
    {
        assert_eq!(map_rw(&mut table, input, output, bytes), Err(PagingError::Misaligned));
    }
    for (input, output, bytes) in [
        // Across the canonical hole, around the end, beyond 52 bits, and lengths that overflow.
        (0x7fff_ffff_f000, 0, 2 * PAGE),
        (0xffff_ffff_ffff_f000, 0, 2 * PAGE),
        (HIGH, 0xf_ffff_ffff_f000, 2 * PAGE),
        (HIGH, 0, !0xfff),
        (0, 0, 1 << 48),
    ] {
        assert_eq!(map_rw(&mut table, input, output, bytes), Err(PagingError::OutOfRange), "{input:#x}");
    }
    // The last pages of both halves and of physical memory are fine.
    map_rw(&mut table, 0x7fff_ffff_f000, 0, PAGE).unwrap();
    map_rw(&mut table, 0xffff_ffff_ffff_f000, 0xf_ffff_ffff_f000, PAGE).unwrap();
    let write_only = Rights { read: false, ..Rights::RW };
    let result = table.map(Hva::new(HIGH), Hpa::new(0), PAGE, write_only, Caching::WriteBack, PageSize::Huge);
    assert_eq!(result, Err(PagingError::Rights(write_only)));
    assert_eq!(
        table.protect(Hva::new(0x7fff_ffff_f000), PAGE, write_only),
        Err(PagingError::Rights(write_only))
    );
}

#[test]
fn without_memory_nothing_is_changed_and_no_table_is_lost() {
    let mut tables = Tables::new();
    tables.limit = 4;
    let mut table = host(&mut tables);
    // Needs 3 tables below the root, and then two more.
    map_rw(&mut table, HIGH, 0, PAGE).unwrap();
    let result = map_rw(&mut table, HIGH + LARGE_PAGE, 0, PAGE);
    assert_eq!(result, Err(PagingError::OutOfMemory));
    assert_eq!(pages(&table).len(), 1);
    map_rw(&mut table, HIGH + LARGE_PAGE, 0, LARGE_PAGE).unwrap();
    // Splitting needs a table as well.
    let middle = Hva::new(HIGH + LARGE_PAGE + PAGE);
    assert_eq!(table.protect(middle, PAGE, Rights::R), Err(PagingError::OutOfMemory));
    assert_eq!(table.unmap(middle, PAGE, || panic!("nothing changed")), Err(PagingError::OutOfMemory));
    assert_eq!(table.translate(middle).unwrap().size, PageSize::Large);
    // A whole page goes without.
    assert_eq!(table.unmap(Hva::new(HIGH + LARGE_PAGE), LARGE_PAGE, || ()), Ok(LARGE_PAGE));
    // SAFETY: no CPU uses the tables.
    unsafe { table.free() };
    assert!(tables.frames.is_empty());
    tables.limit = 0;
    assert_eq!(PageTable::<X86_64, _>::new(&mut tables).err(), Some(PagingError::OutOfMemory));
}

#[test]
fn protecting_a_part_splits_the_page_and_keeps_the_rest() {
    let mut tables = Tables::new();
    let mut table = host(&mut tables);
    map_rw(&mut table, HIGH, 0, HUGE_PAGE).unwrap();
    let part = HIGH + 3 * LARGE_PAGE + 2 * PAGE;
    table.protect(Hva::new(part), 2 * PAGE, Rights::RX).unwrap();
    let all = pages(&table);
    assert_eq!(all.len(), 511 + 512);
    for page in all {
        let inside = (part..part + 2 * PAGE).contains(&page.input.get());
        assert_eq!(page.rights, if inside { Rights::RX } else { Rights::RW });
        assert_eq!(page.output.get(), page.input.get() - HIGH);
    }
}

#[test]
fn protecting_what_is_not_mapped_throughout_is_refused_and_changes_nothing() {
    let mut tables = Tables::new();
    let mut table = host(&mut tables);
    map_rw(&mut table, HIGH, 0, 2 * PAGE).unwrap();
    map_rw(&mut table, HIGH + 3 * PAGE, 0, PAGE).unwrap();
    let result = table.protect(Hva::new(HIGH), 4 * PAGE, Rights::R);
    assert_eq!(result, Err(PagingError::NotMapped { input: (HIGH + 2 * PAGE) & 0xffff_ffff_ffff }));
    assert!(pages(&table).iter().all(|p| p.rights == Rights::RW));
}

#[test]
fn protecting_keeps_the_memory_type() {
    let mut tables = Tables::new();
    let mut table = host(&mut tables);
    table
        .map(Hva::new(HIGH), Hpa::new(0), LARGE_PAGE, Rights::RW, Caching::Uncached, PageSize::Huge)
        .unwrap();
    table.protect(Hva::new(HIGH), PAGE, Rights::R).unwrap();
    assert!(pages(&table).iter().all(|p| p.caching == Caching::Uncached));
}

#[test]
fn tables_are_freed_only_after_cpus_have_forgotten_them() {
    let tables = core::cell::RefCell::new(Tables::new());
    struct Shared<'a>(&'a core::cell::RefCell<Tables>);
    // SAFETY: forwards to `Tables`.
    unsafe impl TableMemory for Shared<'_> {
        fn allocate(&mut self) -> Option<Hpa> {
            self.0.borrow_mut().allocate()
        }
        unsafe fn free(&mut self, table: Hpa) {
            // SAFETY: the caller's promise.
            unsafe { self.0.borrow_mut().free(table) }
        }
        fn pointer(&self, table: Hpa) -> *mut [u64; 512] {
            self.0.borrow().pointer(table)
        }
    }
    let count = || tables.borrow().frames.len();
    let mut table = PageTable::<X86_64, _>::new(Shared(&tables)).unwrap();
    table.map(Hva::new(HIGH), Hpa::new(0), 3 * PAGE, Rights::RW, Caching::WriteBack, PageSize::Huge).unwrap();
    assert_eq!(count(), 4);
    let mut called = 0;
    let cleared = table.unmap(Hva::new(HIGH), LARGE_PAGE, || {
        called += 1;
        assert_eq!(count(), 4, "a CPU could still walk a table that is freed here");
        // What a CPU finds that still has the tables in its paging-structure cache: nothing.
        for frame in tables.borrow().frames.values() {
            assert!(frame.0.iter().all(|entry| entry & 0xfff == 0));
        }
    });
    assert_eq!((cleared, called), (Ok(3 * PAGE), 1));
    assert_eq!(count(), 1);
    // Nothing there: nobody needs to forget anything.
    assert_eq!(table.unmap(Hva::new(HIGH), LARGE_PAGE, || panic!("nothing changed")), Ok(0));
}

#[test]
fn a_freed_range_can_be_mapped_with_large_pages_again() {
    let mut tables = Tables::new();
    let mut table = host(&mut tables);
    map_rw(&mut table, HIGH + PAGE, 0, LARGE_PAGE - PAGE).unwrap();
    map_rw(&mut table, HIGH, LARGE_PAGE, PAGE).unwrap();
    table.unmap(Hva::new(HIGH), PAGE, || ()).unwrap();
    table.unmap(Hva::new(HIGH + PAGE), LARGE_PAGE - PAGE, || ()).unwrap();
    map_rw(&mut table, HIGH, 0, HUGE_PAGE).unwrap();
    assert_eq!(pages(&table).len(), 1);
}

#[test]
fn one_page_is_unmapped_and_its_tables_stay() {
    let mut tables = Tables::new();
    let mut table = host(&mut tables);
    map_rw(&mut table, HIGH, 0, HUGE_PAGE).unwrap();
    map_rw(&mut table, HIGH + HUGE_PAGE, HUGE_PAGE, LARGE_PAGE).unwrap();
    let large = Hva::new(HIGH + HUGE_PAGE + 5 * PAGE);
    assert!(!table.unmap_page(large, PageSize::Small) && !table.unmap_page(large, PageSize::Huge));
    assert!(!table.unmap_page(Hva::new(HIGH), PageSize::Large), "a part of a larger page");
    assert!(!table.unmap_page(Hva::new(HIGH + 2 * HUGE_PAGE), PageSize::Large), "nothing is there");
    assert_eq!(pages(&table).len(), 2);
    assert!(table.unmap_page(large, PageSize::Large) && !table.unmap_page(large, PageSize::Large));
    assert_eq!(pages(&table).len(), 1);
    // Its table is there still: no frame is needed.
    table.memory.limit = table.memory.frames.len();
    map_rw(&mut table, HIGH + HUGE_PAGE, 7 * LARGE_PAGE, LARGE_PAGE).unwrap();
    assert_eq!(table.translate(large).unwrap().output, Hpa::new(7 * LARGE_PAGE + 5 * PAGE));
}

#[test]
fn rights_are_what_every_level_grants() {
    let mut tables = Tables::new();
    let mut table = host(&mut tables);
    table.map(Hva::new(HIGH), Hpa::new(0), PAGE, Rights::RWX, Caching::WriteBack, PageSize::Huge).unwrap();
    let mut rwx = 0;
    table.for_each(|page| rwx += u32::from(page.rights.is_writable_and_executable()));
    assert_eq!(rwx, 1);
    // No write by the top level's entry: R/W of PML4E 256 cleared.
    let root = table.root();
    let entry = read(&table.memory, root, 256);
    write(&table.memory, root, 256, entry & !2);
    table.for_each(|page| assert_eq!(page.rights, Rights::RX));
    assert_eq!(table.translate(Hva::new(HIGH)).unwrap().rights, Rights::RX);
}

#[test]
fn the_user_bit_of_the_host_format_is_the_pages_own() {
    let mut tables = Tables::new();
    let mut table = host(&mut tables);
    map_rw(&mut table, HIGH, 0, PAGE).unwrap();
    assert!(!table.translate(Hva::new(HIGH)).unwrap().rights.user);
}

#[test]
fn a_guests_memory_is_mapped_by_nested_tables() {
    map_a_guest::<Npt>();
    map_a_guest::<Ept>();
}

fn map_a_guest<F: Format<Input = Gpa>>() {
    let mut tables = Tables::new();
    let mut table = PageTable::<F, _>::new(&mut tables).unwrap();
    let ram = Hpa::new(0x1_4000_0000);
    table.map(Gpa::new(0), ram, 512 << 20, Rights::RWX, Caching::WriteBack, PageSize::Large).unwrap();
    let at = table.translate(Gpa::new(0x12_3456)).unwrap();
    assert_eq!((at.output, at.size), (ram + 0x12_3456, PageSize::Large));
    let root = table.root();
    assert_eq!(read(&table.memory, root, 0) & 7, 7);
    assert!(table.translate(Gpa::new(1 << 48)).is_none());
    let beyond = table.map(Gpa::new(1 << 48), ram, PAGE, Rights::RWX, Caching::WriteBack, PageSize::Large);
    assert_eq!(beyond, Err(PagingError::OutOfRange));
    // The whole space is one range, other than the host's.
    table
        .map(Gpa::new((1 << 47) - PAGE), ram, 2 * PAGE, Rights::R, Caching::WriteBack, PageSize::Large)
        .unwrap();
}

#[test]
fn every_present_entry_of_nested_tables_has_the_user_bit_after_splits_too() {
    let mut tables = Tables::new();
    let mut table = PageTable::<Npt, _>::new(&mut tables).unwrap();
    table.map(Gpa::new(0), Hpa::new(0), HUGE_PAGE, Rights::RWX, Caching::WriteBack, PageSize::Huge).unwrap();
    table.protect(Gpa::new(5 * PAGE), PAGE, Rights::R).unwrap();
    table.unmap(Gpa::new(3 * LARGE_PAGE + PAGE), PAGE, || ()).unwrap();
    let mut present = 0;
    for frame in tables.frames.values() {
        for entry in frame.0.iter().filter(|&entry| entry & 1 != 0) {
            present += 1;
            assert_eq!(entry & 4, 4, "{entry:#x}");
        }
    }
    assert_eq!(present, 1 + 1 + 512 + 512 + 511);
}

#[test]
fn device_registers_and_framebuffers_keep_their_memory_type_in_every_page_size() {
    let mut tables = Tables::new();
    let mut table = host(&mut tables);
    let mut input = HIGH;
    for caching in [Caching::Uncached, Caching::WriteCombining] {
        for bytes in [HUGE_PAGE, LARGE_PAGE, PAGE] {
            let output = Hpa::new(bytes);
            table.map(Hva::new(input), output, bytes, Rights::RW, caching, PageSize::Huge).unwrap();
            let found = table.translate(Hva::new(input)).unwrap();
            assert_eq!((found.caching, found.size.bytes(), found.output), (caching, bytes, output));
            input += HUGE_PAGE;
        }
    }
}

#[test]
fn random_changes_agree_with_a_model_page_by_page() {
    for seed in 0..4 {
        agree_with_model(seed);
    }
}

/// Works in 3 GiB around the end of the first, in units that make all page sizes likely.
fn agree_with_model(seed: u64) {
    let mut tables = Tables::new();
    let mut table = host(&mut tables);
    let mut model: BTreeMap<u64, (u64, Rights)> = BTreeMap::new();
    let mut random = Random::new(seed + 1);
    let window = HUGE_PAGE - 8 * LARGE_PAGE..HUGE_PAGE + 8 * LARGE_PAGE;
    for step in 0..2000 {
        let unit = [PAGE, PAGE, LARGE_PAGE][random.below(3) as usize];
        let bytes = unit * (1 + random.below(if unit == PAGE { 700 } else { 3 }));
        let start = window.start + random.below((window.end - window.start - bytes) / unit + 1) * unit;
        let range = start..start + bytes;
        let input = Hva::new(HIGH + start);
        let rights = [Rights::R, Rights::RW, Rights::RX][random.below(3) as usize];
        match random.below(3) {
            0 => {
                let shift = [0, PAGE, LARGE_PAGE][random.below(3) as usize];
                let output = Hpa::new(start + shift);
                let result = table.map(input, output, bytes, rights, Caching::WriteBack, PageSize::Huge);
                match model.range(range.clone()).next() {
                    Some((&first, _)) => {
                        assert_eq!(result, Err(PagingError::AlreadyMapped { input: (1 << 47) + first }));
                    }
                    None => {
                        assert_eq!(result, Ok(()));
                        let pages = range.step_by(PAGE as usize);
                        model.extend(pages.map(|at| (at, (at + shift, rights))));
                    }
                }
            }
            1 => {
                let mapped: Vec<u64> = model.range(range).map(|(&at, _)| at).collect();
                let mut invalidated = false;
                let cleared = table.unmap(input, bytes, || invalidated = true);
                assert_eq!(cleared, Ok(mapped.len() as u64 * PAGE));
                assert_eq!(invalidated, !mapped.is_empty());
                mapped.iter().for_each(|at| {
                    model.remove(at);
                });
            }
            _ => {
                let hole = range.clone().step_by(PAGE as usize).find(|at| !model.contains_key(at));
                let result = table.protect(input, bytes, rights);
                match hole {
                    Some(_) => assert!(matches!(result, Err(PagingError::NotMapped { .. }))),
                    None => {
                        assert_eq!(result, Ok(()));
                        model.range_mut(range).for_each(|(_, page)| page.1 = rights);
                    }
                }
            }
        }
        if step % 50 == 0 {
            compare(&table, &model);
        }
    }
    compare(&table, &model);
    // No table is lost or kept without need: each one but the root has an entry.
    let used = table.memory.frames.values().filter(|f| f.0.iter().any(|&entry| entry != 0)).count();
    assert_eq!(used, table.memory.frames.len());
    table.unmap(Hva::new(HIGH), 1 << 47, || ()).unwrap();
    assert!(pages(&table).is_empty());
    let root = table.root();
    assert_eq!(tables.frames.keys().copied().collect::<Vec<_>>(), [root.get()], "only the root is left");
}

fn compare(table: &PageTable<X86_64, &mut Tables>, model: &BTreeMap<u64, (u64, Rights)>) {
    let mut mapped = 0;
    table.for_each(|page| {
        let base = page.input.get() - HIGH;
        for offset in (0..page.size.bytes()).step_by(PAGE as usize) {
            mapped += 1;
            let expected = (page.output.get() + offset, page.rights);
            assert_eq!(model.get(&(base + offset)), Some(&expected), "{page:?}");
        }
    });
    assert_eq!(mapped, model.len());
    for (&at, &(output, rights)) in model.iter().step_by(97) {
        let found = table.translate(Hva::new(HIGH + at + 5)).unwrap();
        assert_eq!((found.output.get(), found.rights), (output + 5, rights));
    }
}

#[test]
fn adopted_tables_are_changed_in_place() {
    let mut tables = Tables::new();
    let root = {
        let mut table = host(&mut tables);
        map_rw(&mut table, 0x20_0000, 0x20_0000, PAGE).unwrap();
        map_rw(&mut table, HIGH, 0, HUGE_PAGE).unwrap();
        table.root()
    };
    // SAFETY: the tables are of this format, in this memory, and nobody else's.
    let mut table = unsafe { PageTable::<X86_64, _>::adopt(root, &mut tables) };
    assert_eq!(table.unmap(Hva::new(0), 1 << 47, || ()), Ok(PAGE));
    assert!(table.translate(Hva::new(0x20_0000)).is_none());
    assert_eq!(table.translate(Hva::new(HIGH + 5)).unwrap().output, Hpa::new(5));
}
