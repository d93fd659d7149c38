//! Page tables live in pages of the firmware's.
#![allow(unsafe_code)] // The promise that page tables make to the mapper.
use super::pages::Pages;
use mm::addr::{Hpa, PAGE};
use mm::{DirectMap, Hva, TableMemory};

/// Frames for tables. None comes back: the loader only adds mappings.
pub struct FirmwareFrames;

/// The firmware maps memory one to one.
const IDENTITY: DirectMap = DirectMap::new(Hva::new(0));

// SAFETY: the firmware gives each page to one caller only, and maps it writable where its physical address
// says.
unsafe impl TableMemory for FirmwareFrames {
    fn allocate(&mut self) -> Option<Hpa> {
        Hpa::try_new(Pages::try_new(PAGE)?.extent().base)
    }

    unsafe fn free(&mut self, _table: Hpa) {}

    fn pointer(&self, table: Hpa) -> *mut [u64; 512] {
        IDENTITY.pointer(table)
    }
}
