//! The kernel's memory: the heap over all free RAM, and its own address space.
//!
//! The loader's page tables are adopted, and brought into the state that the kernel promises: nothing in
//! the lower half, nothing both writable and executable, the kernel's text not writable through the direct
//! map either. From then on mappings are only added (stacks with guards, device windows), so no CPU ever
//! holds a stale translation, and there is no TLB shoot-down.
#![allow(unsafe_code)] // gives RAM to the heap, adopts page tables

use crate::boot_info;
use crate::cpu::percpu;
use crate::cpu::registers::{self, disable_interrupts, enable_interrupts, interrupts_enabled};
use crate::sync::IrqLock;
use core::fmt;
use handover::{Extent, MemoryKind};
use mm::addr::{Hpa, Hva, PAGE};
use mm::heap::{Heap, Platform};
use mm::layout::{self, DIRECT_MAP, MMIO, Stack};
use mm::{Caching, DirectMap, PageSize, PageTable, PagingError, PhysicalRange, Rights, X86_64};
use platform::memory_map::{BadMap, MemoryMap};

/// Where physical memory is.
pub const DIRECT: DirectMap = DirectMap::new(DIRECT_MAP.base());

/// The heap's view of the CPU that it runs on.
pub struct ThisCpu;

/// Keeps interrupts out while the heap works on this CPU's caches.
pub struct InterruptsOff {
    enable: bool,
}

impl Drop for InterruptsOff {
    #[inline]
    fn drop(&mut self) {
        if self.enable {
            enable_interrupts();
        }
    }
}

// SAFETY: with interrupts off nothing else runs on this CPU (NMI and machine-check handlers do not
// allocate), and indices are unique per CPU.
unsafe impl Platform for ThisCpu {
    type Guard = InterruptsOff;

    #[inline]
    fn enter() -> InterruptsOff {
        let enable = interrupts_enabled();
        disable_interrupts();
        InterruptsOff { enable }
    }

    #[inline]
    fn cpu() -> usize {
        percpu::current().index
    }
}

/// All free memory of the machine, as frames and as the global allocator.
#[global_allocator]
pub static HEAP: Heap<ThisCpu> = Heap::new(DIRECT);

/// The kernel's page tables.
static TABLES: IrqLock<Option<PageTable<X86_64, &'static Heap<ThisCpu>>>> = IrqLock::new(None);

/// Next free address for a window in the MMIO region.
static NEXT_WINDOW: IrqLock<Hva> = IrqLock::new(MMIO.base());

/// Physical address of an object in the kernel image.
pub fn kernel_physical(object: *const u8) -> Hpa {
    let (base, virtual_base) = boot_info::get().map_or((0, 0), |i| (i.kernel.base, i.kernel_virtual));
    Hpa::new_truncate(Hva::from_ptr(object).get().wrapping_sub(virtual_base).wrapping_add(base))
}

/// There is no memory left for what the kernel itself needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory(pub &'static str);

impl fmt::Display for NoMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "too little memory: none left for {}", self.0)
    }
}

/// Why memory cannot be set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryError {
    /// The loader's map cannot be trusted.
    Map(BadMap),
    /// The loader's page tables could not be brought into order.
    Tables(PagingError),
    /// Physical memory reaches beyond the direct map.
    DirectMap(u64),
}

impl fmt::Display for MemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Map(e) => e.fmt(f),
            Self::Tables(e) => write!(f, "the loader's page tables: {e}"),
            Self::DirectMap(end) => {
                write!(f, "the loader mapped physical memory up to {end:#x} only: it is damaged")
            }
        }
    }
}

/// What the machine has.
pub struct Found {
    /// Working RAM, in bytes.
    pub ram: u64,
    /// What the heap got of it.
    pub usable: u64,
    /// What the heap refused.
    pub refused: u64,
}

/// Takes over memory and address space. Once, on the booting CPU, before any allocation.
pub fn start() -> Result<Found, MemoryError> {
    let map = MemoryMap::new(boot_info::memory()).map_err(MemoryError::Map)?;
    let info = boot_info::get().ok_or(MemoryError::Map(BadMap::Empty))?;
    if map.ram_end() > info.direct_map_bytes {
        return Err(MemoryError::DirectMap(info.direct_map_bytes));
    }
    // Page 0 stays out: firmware keeps writing to its data area there on some machines.
    let free = map.runs(|k| k == MemoryKind::USABLE).filter_map(|run| {
        let start = run.base.max(PAGE);
        let bytes = (run.base + run.len).checked_sub(start).filter(|b| *b > 0)?;
        Some(PhysicalRange { start: Hpa::new(start), bytes })
    });
    // SAFETY: the map was checked, the loader maps all of RAM at the direct map, and usable memory is
    // nobody's.
    let added = unsafe { HEAP.add_regions(free) };
    own_tables(info.page_table, info.kernel, info.trampoline).map_err(MemoryError::Tables)?;
    Ok(Found { ram: map.ram_bytes(), usable: added.usable, refused: added.refused })
}

fn own_tables(root: u64, kernel: Extent, trampoline: Extent) -> Result<(), PagingError> {
    // SAFETY: the loader built these tables in our format, in memory that it keeps for them; the direct map
    // reaches them, and nobody else changes them.
    let mut tables = unsafe { PageTable::<X86_64, _>::adopt(Hpa::new_truncate(root), &HEAP) };
    if trampoline.len > 0 {
        tables.unmap(Hva::new(trampoline.base), trampoline.len, || flush(trampoline.base, trampoline.len))?;
    }
    // Text and constants are read-only under their own addresses; the same bytes in the direct map should
    // be as well. Data follows them in the image.
    let constant = constant_bytes();
    let alias = DIRECT.address(Hpa::new_truncate(kernel.base));
    tables.protect(alias, constant, Rights::R)?;
    flush(alias.get(), constant);
    *TABLES.lock() = Some(tables);
    Ok(())
}

/// Bytes of the image, from its start, that are never written: text and constants (link.ld).
fn constant_bytes() -> u64 {
    unsafe extern "C" {
        static __text_start: u8;
        static __rodata_end: u8;
    }
    (&raw const __rodata_end) as u64 - (&raw const __text_start) as u64
}

fn flush(start: u64, bytes: u64) {
    for page in (start..start + bytes).step_by(PAGE as usize) {
        registers::invlpg(page);
    }
}

/// Maps `bytes` of device registers at `physical`, uncached. The window stays for good.
pub fn map_device(physical: Hpa, bytes: u64) -> Result<Hva, NoMemory> {
    map_window(physical, bytes, Caching::Uncached)
}

/// Maps `bytes` at `physical`, whose pages need not be aligned, as a window of its own with an unmapped page
/// behind it.
pub fn map_window(physical: Hpa, bytes: u64, caching: Caching) -> Result<Hva, NoMemory> {
    let failed = NoMemory("a device's registers");
    let first = physical.align_down(PAGE);
    let length = (physical - first).checked_add(bytes).ok_or(failed)?.next_multiple_of(PAGE);
    let mut next = NEXT_WINDOW.lock();
    // Alike modulo 2 MiB, so that a framebuffer can have large pages.
    let offset = first.offset_in(mm::LARGE_PAGE);
    let mut at = next.align_down(mm::LARGE_PAGE) + offset;
    if at < *next {
        at = at + mm::LARGE_PAGE;
    }
    let mut tables = TABLES.lock();
    let tables = tables.as_mut().ok_or(failed)?;
    tables.map(at, first, length, Rights::RW, caching, PageSize::Large).map_err(|_| failed)?;
    *next = at + length + PAGE;
    Ok(at + (physical - first))
}

/// Bytes of a CPU's main stack.
const MAIN_STACK: u64 = 64 * 1024;
/// Bytes of the stacks for NMI, double fault and machine check: enough for a panic's report.
const INTERRUPT_STACK: u64 = 16 * 1024;

/// Maps a stack for CPU `cpu`, everything around it unmapped. Returns its top.
pub fn map_stack(cpu: usize, which: Stack) -> Result<Hva, NoMemory> {
    let failed = NoMemory("a CPU's stacks");
    let bytes = if which == Stack::Main { MAIN_STACK } else { INTERRUPT_STACK };
    let frames = HEAP.allocate_run(bytes / PAGE).ok_or(failed)?;
    let place = layout::stack(cpu, which, bytes);
    let mut tables = TABLES.lock();
    let tables = tables.as_mut().ok_or(failed)?;
    tables
        .map(place.start, frames, bytes, Rights::RW, Caching::WriteBack, PageSize::Small)
        .map_err(|_| failed)?;
    Ok(place.end)
}

/// Working RAM of the machine, in bytes.
pub fn ram_bytes() -> u64 {
    MemoryMap::new(boot_info::memory()).map_or(0, |map| map.ram_bytes())
}

/// Whether any of these bytes is RAM, working or not: what a device's registers can't be.
pub fn is_ram(first: Hpa, bytes: u64) -> bool {
    let Ok(map) = MemoryMap::new(boot_info::memory()) else { return true };
    let end = first.get().saturating_add(bytes);
    map.runs(MemoryKind::is_ram).any(|run| run.base < end && first.get() < run.base.saturating_add(run.len))
}

/// Physical address of the top-level page table.
pub fn root() -> Option<Hpa> {
    TABLES.lock().as_ref().map(|t| t.root())
}

/// What an audit of the live page tables found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Pages of any size.
    pub mappings: u64,
    /// The first that is writable and executable.
    pub writable_and_executable: Option<Hva>,
    /// The first in the lower half.
    pub in_lower_half: Option<Hva>,
}

/// Walks the page tables that this CPU uses.
pub fn audit() -> Audit {
    let mut audit = Audit::default();
    let mut tables = TABLES.lock();
    if let Some(tables) = tables.as_mut() {
        debug_assert_eq!(tables.root().get(), registers::cr3() & !0xfff);
        tables.for_each(|m| {
            audit.mappings += 1;
            if m.rights.is_writable_and_executable() {
                audit.writable_and_executable.get_or_insert(m.input);
            }
            if m.input.get() >> 63 == 0 {
                audit.in_lower_half.get_or_insert(m.input);
            }
        });
    }
    audit
}

/// Gives memory that the loader kept for ACPI tables to the heap.
///
/// # Safety
/// Nothing refers to the tables any more.
pub unsafe fn reclaim_acpi() -> u64 {
    let Ok(map) = MemoryMap::new(boot_info::memory()) else { return 0 };
    let mut bytes = 0;
    for run in map.runs(|k| k == MemoryKind::ACPI_RECLAIMABLE) {
        let range = PhysicalRange { start: Hpa::new_truncate(run.base), bytes: run.len };
        // SAFETY: RAM that nobody uses any more, as the caller says. What is too small stays unused.
        bytes += unsafe { HEAP.add_region(range) }.unwrap_or(0);
    }
    bytes
}
