//! The address space that the kernel is entered in.
use super::machine;
use super::pages::Pages;
use super::refusal::Refusal;
use handover::{DIRECT_MAP, Extent};
use loader::cpu;
use loader::elf::Kernel;
use mm::addr::{HUGE_PAGE, Hpa, LARGE_PAGE, PAGE};

// Bits of page-table entries (APM vol. 2, 5.4.1; SDM vol. 3A, 4.5).
const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const LARGE: u64 = 1 << 7;
const NX: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// Finished page tables.
pub struct Tables {
    /// The PML4.
    pub root: Hpa,
    /// Bytes mapped at `DIRECT_MAP`.
    pub direct_map_bytes: u64,
}

/// Builds the tables that the hand-over promises: the direct map of `mapped` bytes, the kernel, whose
/// image stands at physical address `image`, and the trampoline.
pub fn build(mapped: u64, kernel: &Kernel, image: u64, trampoline: Extent) -> Result<Tables, Refusal> {
    let mut tables = Builder::new()?;
    let step = if cpu::has_1gib_pages(machine::cpuid) { HUGE_PAGE } else { LARGE_PAGE };
    let direct_map_bytes = mapped.next_multiple_of(step);
    for at in (0..direct_map_bytes).step_by(step as usize) {
        tables.map(DIRECT_MAP + at, at, step, WRITABLE | NX)?;
    }
    let first = kernel.pages().start;
    for segment in &kernel.segments {
        let rights = if segment.writable { WRITABLE } else { 0 } | if segment.executable { 0 } else { NX };
        for at in segment.pages().step_by(PAGE as usize) {
            tables.map(at, image + (at - first), PAGE, rights)?;
        }
    }
    for at in (trampoline.base..trampoline.base + trampoline.len).step_by(PAGE as usize) {
        tables.map(at, at, PAGE, 0)?;
    }
    Ok(Tables { root: Hpa::new_truncate(tables.root), direct_map_bytes })
}

/// Writes entries into tables that it allocates as it goes.
struct Builder {
    root: u64,
}

impl Builder {
    fn new() -> Result<Self, Refusal> {
        Ok(Self { root: Self::table()? })
    }

    fn table() -> Result<u64, Refusal> {
        Ok(Pages::new(PAGE, "page tables")?.extent().base)
    }

    /// Maps the page of `size` at the virtual address `at`.
    fn map(&mut self, at: u64, physical: u64, size: u64, rights: u64) -> Result<(), Refusal> {
        let mut table = self.root;
        let mut span = HUGE_PAGE << 9;
        while span > size {
            let entry = entry(table, at / span);
            if *entry & PRESENT == 0 {
                *entry = Self::table()? | PRESENT | WRITABLE;
            }
            table = *entry & ADDRESS;
            span >>= 9;
        }
        *entry(table, at / span) = physical | rights | PRESENT | if size > PAGE { LARGE } else { 0 };
        Ok(())
    }
}

/// The entry of `table` that the low nine bits of `index` select.
#[allow(unsafe_code)] // The firmware maps the tables one to one.
fn entry<'a>(table: u64, index: u64) -> &'a mut u64 {
    // SAFETY: `table` is a page from `Builder::table`, which only the builder's caller, one at a time,
    // reads or writes.
    unsafe { &mut *(table as *mut u64).add((index % 512) as usize) }
}
