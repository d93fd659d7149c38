//! Memory: address types, physical frames, objects, page tables, and the map of the address space.
//!
//! | module | what |
//! |---|---|
//! | [`addr`] | the four kinds of addresses: [`Hpa`], [`Hva`], [`Gpa`], [`Gva`] |
//! | [`layout`] | what lies where in the hypervisor's address space |
//! | [`frames`] | physical frames: buddy allocator and per-CPU caches |
//! | [`slab`] | small objects cut from frames |
//! | [`heap`] | the two put together: the kernel's `#[global_allocator]` and its source of frames |
//! | [`paging`] | page tables, one mapper for all formats |
//! | [`shared`] | copies of memory that others change meanwhile |
//!
//! The kernel declares one [`Heap`], gives it the memory map's usable regions once, and from then on `Box`
//! and `Vec` work, on every CPU. Requests of up to 2 KiB are served by the CPU's own magazines without a
//! lock, larger ones by whole frames. The UEFI loader uses [`paging`] alone, over the firmware's memory:
//! nothing in this crate needs the `alloc` crate.
//!
//! Memory is never mapped or unmapped by an allocation: all of it is in the direct map ([`DirectMap`]), and
//! the heap lives there.
//!
//! Promises: a frame or object has one owner at a time; blocks are aligned to their size; a double free or
//! a foreign address is an error, or in the fast paths a panic at the latest when caches are drained, and
//! never silent reuse by the buddy allocator. Not here: swapping, moving, or accounting per VM.
#![no_std]

#[cfg(test)]
extern crate std;

pub mod addr;
#[cfg(test)]
mod arena;
mod direct_map;
pub mod frames;
pub mod heap;
pub mod layout;
pub mod paging;
#[cfg(test)]
mod random;
mod segment;
pub mod shared;
pub mod slab;

pub use addr::{Gpa, Gva, HUGE_PAGE, Hpa, Hva, LARGE_PAGE, PAGE};
pub use direct_map::DirectMap;
pub use frames::{FrameAllocator, FrameCache, FreeError, Order, PhysicalRange, RegionError};
pub use heap::{Heap, Platform, Usage};
pub use paging::{Caching, Mapping, Npt, PageSize, PageTable, PagingError, Rights, TableMemory, X86_64};
pub use segment::Segment;
