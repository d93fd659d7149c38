//! Physical memory below 4 GiB, which the entry maps one to one, as slices and as frames for page tables.
#![allow(unsafe_code)] // Makes slices of physical addresses.
use core::ops::Range;
use core::slice;
use handover::{Extent, MemoryKind};
use loader::obstacle::Obstacle;
use mm::addr::{Hpa, PAGE};
use mm::{DirectMap, Hva, TableMemory};
use multiboot2::placement::Placement;

/// The entry maps memory one to one.
const IDENTITY: DirectMap = DirectMap::new(Hva::new(0));

/// The bytes at these physical addresses.
///
/// # Safety
/// They lie below 4 GiB, in memory that stays as it is for as long as the entry runs.
pub unsafe fn bytes(range: Range<u64>) -> &'static [u8] {
    if range.is_empty() {
        return &[];
    }
    // SAFETY: mapped one to one, and constant, as the caller says.
    unsafe { slice::from_raw_parts(range.start as *const u8, (range.end - range.start) as usize) }
}

/// A run of zeroed pages for the kernel to find.
pub struct Pages(Extent);

impl Pages {
    /// Room for `bytes` of `what`.
    pub fn new(
        placement: &mut Placement,
        bytes: u64,
        kind: MemoryKind,
        what: &'static str,
    ) -> Result<Self, Obstacle> {
        let extent = placement.allocate(bytes, kind).ok_or(Obstacle::NoMemory { what, bytes })?;
        let mut pages = Self(extent);
        pages.items_mut::<u8>().fill(0);
        Ok(pages)
    }

    /// A copy of `content`, as a part of the hand-over.
    pub fn copy_of(placement: &mut Placement, content: &[u8], what: &'static str) -> Result<Self, Obstacle> {
        let mut pages = Self::new(placement, content.len() as u64, MemoryKind::HANDOVER, what)?;
        pages.items_mut().copy_from_slice(content);
        Ok(pages)
    }

    /// Where they are.
    pub fn extent(&self) -> Extent {
        self.0
    }

    /// The memory as elements.
    pub fn items_mut<T: Item>(&mut self) -> &mut [T] {
        let Extent { base, len } = self.0;
        if len == 0 {
            return &mut [];
        }
        // SAFETY: `Placement` gives each page to one caller only, below 4 GiB, where memory is mapped one to
        // one; pages are aligned for any `Item`, every bit pattern is one, and the borrow is exclusive.
        unsafe { slice::from_raw_parts_mut(base as *mut T, len as usize / size_of::<T>()) }
    }
}

/// A type of the hand-over that is valid whatever its bytes are, and needs at most page alignment.
///
/// # Safety
/// Every bit pattern must be a valid value.
pub unsafe trait Item {}
// SAFETY: integers, and structures of integers, all the way down.
unsafe impl Item for handover::BootInfo {}
// SAFETY: as above.
unsafe impl Item for handover::MemoryRegion {}
// SAFETY: as above.
unsafe impl Item for handover::File {}
// SAFETY: an integer.
unsafe impl Item for u8 {}

/// Frames for page tables. None comes back: the entry only adds mappings.
pub struct Frames<'a>(pub &'a mut Placement);

// SAFETY: `Placement` gives each page to one caller only, below 4 GiB, where memory is mapped one to one and
// writable.
unsafe impl TableMemory for Frames<'_> {
    fn allocate(&mut self) -> Option<Hpa> {
        Hpa::try_new(self.0.allocate(PAGE, MemoryKind::HANDOVER)?.base)
    }

    unsafe fn free(&mut self, _table: Hpa) {}

    fn pointer(&self, table: Hpa) -> *mut [u64; 512] {
        IDENTITY.pointer(table)
    }
}
