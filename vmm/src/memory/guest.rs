//! Guest-physical memory.
#![allow(unsafe_code)] // Guest memory is reached by volatile copies through raw pointers, here only.

use super::chunks::{Backing, Chunks, Slot};
use super::layout::Layout;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use mm::addr::{Gpa, Hpa, Hva, LARGE_PAGE};
use mm::shared::{copy, fill_zero, read_unaligned};

/// An address range that is not, or not wholly, RAM of this guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotRam(pub Gpa);

impl fmt::Display for NotRam {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "guest-physical address {} is not RAM", self.0)
    }
}

/// A place of eight aligned bytes in a guest's RAM, counted from the start of its first chunk to the end
/// of its last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Word(u64);

/// The RAM of one guest, in 2 MiB chunks of host memory.
///
/// Shared by all vCPUs and devices of the VM; all accesses are volatile or atomic, so that the guest
/// may race with any of them and gets what it would get from another CPU.
pub struct GuestMemory {
    /// Where host-physical memory is mapped.
    direct_map: Hva,
    /// Host memory of each 2 MiB of RAM, the high part right after the low part.
    pub(super) table: Arc<[Slot]>,
    layout: Layout,
    /// The same chunks, for making them go and come.
    pub(super) chunks: Arc<Chunks>,
    /// Where chunks come from that are not there; without it all are there for good.
    pub(super) backing: Option<Arc<dyn Backing>>,
}

// SAFETY: the chunks are owned for as long as the value lives (contract of `new`), and all accesses
// through it are volatile or atomic ones that tolerate concurrent change.
unsafe impl Send for GuestMemory {}
// SAFETY: as above.
unsafe impl Sync for GuestMemory {}

impl GuestMemory {
    /// Makes a guest's RAM of `chunks`, 2 MiB each.
    ///
    /// # Safety
    /// Each chunk is 2 MiB of memory, aligned to 2 MiB, mapped writable at `direct_map` plus its
    /// address, that nothing but this guest uses while the value lives.
    pub unsafe fn new(direct_map: Hva, chunks: Vec<Hpa>) -> Self {
        // SAFETY: the caller's.
        unsafe { Self::with_backing(direct_map, Arc::new(Chunks::new(chunks)), None) }
    }

    /// A guest's RAM whose chunks can go and come.
    ///
    /// # Safety
    /// As for [`Self::new`], of the chunks that are there and of those that `backing` gives. What [`Self::release`]
    /// returned is not used for anything else before nobody can reach it any more ([`super::chunks`]).
    pub unsafe fn with_backing(
        direct_map: Hva,
        chunks: Arc<Chunks>,
        backing: Option<Arc<dyn Backing>>,
    ) -> Self {
        let table = chunks.table().clone();
        Self { direct_map, layout: Layout::new(table.len() as u64 * LARGE_PAGE), table, chunks, backing }
    }

    /// Bytes of RAM.
    pub fn bytes(&self) -> u64 {
        self.table.len() as u64 * LARGE_PAGE
    }

    /// Where the RAM lies.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The chunks with the guest-physical address of each, for building the second-level page tables.
    pub fn chunks(&self) -> impl Iterator<Item = (Gpa, Option<Hpa>)> + '_ {
        self.chunks.places().enumerate().map(|(index, place)| (self.chunk_start(index), place))
    }

    /// Whether `gpa` is RAM.
    #[inline(always)]
    pub fn is_ram(&self, gpa: Gpa) -> bool {
        // What is asked for most often is a device.
        !Layout::is_hole(gpa) && self.index(gpa).is_some()
    }

    /// Which chunk `gpa` is in, if it is RAM.
    #[inline(always)]
    pub(super) fn index(&self, gpa: Gpa) -> Option<usize> {
        let a = gpa.get();
        Some(if a < self.layout.low_end {
            // One compare: the video window is the only range whose address divided by its size is 5.
            if a >> 17 == 5 {
                return None;
            }
            (a / LARGE_PAGE) as usize
        } else if a >= Layout::HIGH && a < self.layout.high_end {
            ((a - Layout::HIGH + self.layout.low_end) / LARGE_PAGE) as usize
        } else {
            return None;
        })
    }

    /// Host-physical address of a guest-physical one, if it is RAM. Contiguous up to the end of its
    /// 2 MiB chunk, or of the RAM below or above the video window. Good for as long as [`super::chunks`] says. A chunk
    /// that is not there comes back; `None` also where the host has no memory for it.
    #[inline]
    pub fn host(&self, gpa: Gpa) -> Option<Hpa> {
        self.place(gpa).or_else(|| self.host_of_absent(gpa))
    }

    /// As [`Self::host`], for ways that are short because they call nobody: `None` also where the chunk is not there.
    #[inline(always)]
    pub(super) fn place(&self, gpa: Gpa) -> Option<Hpa> {
        let chunk = self.table.get(self.index(gpa)?)?.get()?;
        Some(chunk + gpa.offset_in(LARGE_PAGE))
    }

    #[cold]
    #[inline(never)]
    fn host_of_absent(&self, gpa: Gpa) -> Option<Hpa> {
        let chunk = self.bring(self.index(gpa)?)?;
        Some(chunk + gpa.offset_in(LARGE_PAGE))
    }

    /// As [`Self::host`], with the number of bytes that lie one behind the other from there on.
    #[inline]
    pub fn run(&self, gpa: Gpa) -> Option<(Hpa, u64)> {
        let host = self.host(gpa)?;
        let mut room = LARGE_PAGE - gpa.offset_in(LARGE_PAGE);
        if gpa.get() < Layout::VIDEO.start {
            room = room.min(Layout::VIDEO.start - gpa.get());
        }
        Some((host, room))
    }

    /// Where host-physical memory appears.
    #[inline]
    pub(super) fn pointer(&self, host: Hpa) -> *mut u8 {
        (self.direct_map + host.get()).as_mut_ptr()
    }

    /// Pointer to `len` bytes of RAM that do not cross a 4 KiB page.
    #[inline]
    fn within_page(&self, gpa: Gpa, len: u64) -> Result<*mut u8, NotRam> {
        debug_assert!(gpa.offset_in(mm::addr::PAGE) + len <= mm::addr::PAGE);
        let host = self.host(gpa).ok_or(NotRam(gpa))?;
        Ok((self.direct_map + host.get()).as_mut_ptr())
    }

    /// Splits a range into runs that lie in one 4 KiB page each, and calls `each` with its pointer,
    /// offset in the range and length.
    fn each_run(
        &self,
        gpa: Gpa,
        len: usize,
        mut each: impl FnMut(*mut u8, usize, usize),
    ) -> Result<(), NotRam> {
        let mut done = 0;
        while done < len {
            let at = gpa.checked_add(done as u64).ok_or(NotRam(gpa))?;
            let room = (mm::addr::PAGE - at.offset_in(mm::addr::PAGE)) as usize;
            let run = room.min(len - done);
            each(self.within_page(at, run as u64)?, done, run);
            done += run;
        }
        Ok(())
    }

    /// Copies guest memory to `out`. On an error a part of `out` may have been written.
    pub fn read(&self, gpa: Gpa, out: &mut [u8]) -> Result<(), NotRam> {
        let target = out.as_mut_ptr();
        self.each_run(gpa, out.len(), |from, offset, len| {
            // SAFETY: `from` is `len` bytes of guest RAM (`within_page`), `target + offset` as many
            // bytes of `out`; they cannot overlap, since no Rust object lies in guest memory.
            unsafe { copy(from, target.add(offset), len) }
        })
    }

    /// Copies `data` to guest memory. On an error a part of it may have been written.
    pub fn write(&self, gpa: Gpa, data: &[u8]) -> Result<(), NotRam> {
        let source = data.as_ptr();
        self.each_run(gpa, data.len(), |to, offset, len| {
            // SAFETY: as in `read`, with the directions exchanged.
            unsafe { copy(source.add(offset), to, len) }
        })
    }

    /// Fills guest memory with zeroes.
    pub fn zero(&self, gpa: Gpa, len: u64) -> Result<(), NotRam> {
        let len = usize::try_from(len).map_err(|_| NotRam(gpa))?;
        self.each_run(gpa, len, |to, _, len| {
            // SAFETY: `to` is `len` bytes of guest RAM (`within_page`).
            unsafe { fill_zero(to, len) }
        })
    }

    /// Reads up to eight bytes, little-endian, which may cross a page.
    #[inline]
    pub fn read_uint(&self, gpa: Gpa, size: usize) -> Result<u64, NotRam> {
        let mut bytes = [0; 8];
        self.read(gpa, &mut bytes[..size.min(8)])?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Reads an aligned 64-bit value in one access, as a page walk does.
    ///
    /// # Errors
    /// Where `gpa` is not RAM or not a multiple of 8.
    #[inline]
    pub fn load_u64(&self, gpa: Gpa) -> Result<u64, NotRam> {
        Ok(self.atomic_u64(gpa)?.load(Ordering::Relaxed))
    }

    /// As [`Self::load_u64`], if it can be had at once: not where its chunk is not there.
    #[inline(always)]
    pub(super) fn load_present(&self, gpa: Gpa) -> Option<u64> {
        if !gpa.is_aligned(8) {
            return None;
        }
        let pointer: *const u64 = self.pointer(self.place(gpa)?).cast();
        // SAFETY: eight bytes of guest RAM, aligned; volatile, since the guest may change them.
        Some(unsafe { pointer.read_volatile() })
    }

    /// Where an aligned 64-bit value lies, for reading it often.
    ///
    /// # Errors
    /// Where `gpa` is not RAM or not a multiple of 8.
    pub fn word(&self, gpa: Gpa) -> Result<Word, NotRam> {
        self.load_u64(gpa)?;
        let a = gpa.get();
        Ok(Word(if a < self.layout.low_end { a } else { a - Layout::HIGH + self.layout.low_end }))
    }

    /// As [`Self::load_u64`], without the search; `None` where the word is another guest's, or not there.
    #[inline(always)]
    pub fn load_word(&self, word: Word) -> Option<u64> {
        let chunk = self.table.get((word.0 / LARGE_PAGE) as usize)?.get()?;
        let host = chunk + word.0 % LARGE_PAGE;
        let pointer: *const u64 = (self.direct_map + host.get()).as_mut_ptr::<u64>();
        // SAFETY: eight bytes within a chunk of guest RAM, which are aligned, since `word` made sure that
        // the offset is a multiple of 8; volatile, since the guest may change them.
        Some(unsafe { pointer.read_volatile() })
    }

    /// Reads an aligned 32-bit value in one access.
    ///
    /// # Errors
    /// Where `gpa` is not RAM or not a multiple of 4.
    #[inline]
    pub fn load_u32(&self, gpa: Gpa) -> Result<u32, NotRam> {
        if !gpa.is_aligned(4) {
            return Err(NotRam(gpa));
        }
        let pointer = self.within_page(gpa, 4)?;
        // SAFETY: four bytes of guest RAM, aligned; volatile, since the guest may change them.
        Ok(unsafe { pointer.cast::<u32>().read_volatile() })
    }

    /// Writes one byte.
    #[inline]
    pub fn store_u8(&self, gpa: Gpa, value: u8) -> Result<(), NotRam> {
        let pointer = self.within_page(gpa, 1)?;
        // SAFETY: a byte of guest RAM; volatile, since the guest may change it.
        unsafe { pointer.write_volatile(value) };
        Ok(())
    }

    /// An aligned 64-bit word of guest memory, for atomic read-modify-write.
    ///
    /// # Errors
    /// Where `gpa` is not RAM or not a multiple of 8.
    #[inline]
    pub fn atomic_u64(&self, gpa: Gpa) -> Result<&AtomicU64, NotRam> {
        if !gpa.is_aligned(8) {
            return Err(NotRam(gpa));
        }
        let pointer = self.within_page(gpa, 8)?;
        // SAFETY: eight bytes of guest RAM, aligned, valid as long as `self`. An atomic may be changed
        // by others at any time, which is all that a guest can do to it.
        Ok(unsafe { AtomicU64::from_ptr(pointer.cast()) })
    }

    /// Atomically replaces `size` (1, 2, 4 or 8) aligned bytes if they equal `current`; returns what
    /// was there.
    ///
    /// # Errors
    /// Where `gpa` is not RAM or not a multiple of `size`.
    pub fn compare_exchange(&self, gpa: Gpa, size: usize, current: u64, new: u64) -> Result<u64, NotRam> {
        use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32};
        if !matches!(size, 1 | 2 | 4 | 8) || !gpa.is_aligned(size as u64) {
            return Err(NotRam(gpa));
        }
        let pointer = self.within_page(gpa, size as u64)?;
        macro_rules! exchange {
            ($atomic:ty, $int:ty) => {{
                // SAFETY: aligned guest RAM of the type's size, valid as long as `self`; atomics may
                // be changed by others at any time.
                let cell = unsafe { <$atomic>::from_ptr(pointer.cast()) };
                match cell.compare_exchange(current as $int, new as $int, Ordering::SeqCst, Ordering::SeqCst)
                {
                    Ok(old) | Err(old) => old as u64,
                }
            }};
        }
        Ok(match size {
            1 => exchange!(AtomicU8, u8),
            2 => exchange!(AtomicU16, u16),
            4 => exchange!(AtomicU32, u32),
            _ => exchange!(AtomicU64, u64),
        })
    }

    /// Up to 16 bytes of code at `gpa` that lie in its page, and how many they are.
    #[inline]
    pub fn fetch(&self, gpa: Gpa) -> Result<([u8; 16], usize), NotRam> {
        match self.fetch_16(gpa) {
            Some(bytes) => Ok((bytes, 16)),
            None => self.fetch_fewer(gpa),
        }
    }

    /// 16 bytes of code that lie in one page, if they can be had at once.
    #[inline(always)]
    pub(crate) fn fetch_16(&self, gpa: Gpa) -> Option<[u8; 16]> {
        if mm::addr::PAGE - gpa.offset_in(mm::addr::PAGE) < 16 {
            return None;
        }
        let pointer = self.pointer(self.place(gpa)?).cast::<u64>();
        // SAFETY: sixteen bytes of guest RAM; volatile and unaligned-tolerant on x86.
        let (low, high) = unsafe { (read_unaligned(pointer), read_unaligned(pointer.add(1))) };
        let mut bytes = [0u8; 16];
        bytes[..8].copy_from_slice(&low.to_le_bytes());
        bytes[8..].copy_from_slice(&high.to_le_bytes());
        Some(bytes)
    }

    /// At the end of a page, or in a chunk that is not there.
    #[cold]
    #[inline(never)]
    fn fetch_fewer(&self, gpa: Gpa) -> Result<([u8; 16], usize), NotRam> {
        let room = ((mm::addr::PAGE - gpa.offset_in(mm::addr::PAGE)) as usize).min(16);
        let mut bytes = [0u8; 16];
        self.read(gpa, &mut bytes[..room])?;
        Ok((bytes, room))
    }
}

#[cfg(test)]
#[path = "guest_tests.rs"]
mod tests;
