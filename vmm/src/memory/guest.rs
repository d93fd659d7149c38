//! Guest-physical memory.
#![allow(unsafe_code)] // Guest memory is reached by volatile copies through raw pointers, here only.

use super::chunks::{Backing, Chunks, Slot};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::arch::asm;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use mm::addr::{Gpa, Hpa, Hva, LARGE_PAGE};

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

/// Where a guest's RAM lies in its physical address space: from 0 up to the 32-bit hole, and the rest
/// from 4 GiB on. The legacy video window is not RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// RAM from 0 to here.
    pub low_end: u64,
    /// RAM from 4 GiB to here; 4 GiB if there is none.
    pub high_end: u64,
}

impl Layout {
    /// Start of the hole for devices below 4 GiB.
    pub const HOLE: u64 = 0xc000_0000;
    /// End of the hole.
    pub const HIGH: u64 = 1 << 32;
    /// The legacy video window: 0xA0000 to 0xC0000.
    pub const VIDEO: core::ops::Range<u64> = 0xa_0000..0xc_0000;

    /// Whether `gpa` is in the hole, where no layout has RAM.
    #[inline(always)]
    pub const fn is_hole(gpa: Gpa) -> bool {
        gpa.get().wrapping_sub(Self::HOLE) < Self::HIGH - Self::HOLE
    }

    /// For `bytes` of RAM, a multiple of 2 MiB.
    pub const fn new(bytes: u64) -> Self {
        if bytes <= Self::HOLE {
            Self { low_end: bytes, high_end: Self::HIGH }
        } else {
            Self { low_end: Self::HOLE, high_end: Self::HIGH + (bytes - Self::HOLE) }
        }
    }
}

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

/// One eight-byte load from any address.
///
/// # Safety
/// `from` is eight readable bytes.
#[inline(always)]
unsafe fn read_unaligned(from: *const u64) -> u64 {
    let value;
    // SAFETY: the caller's; assembly, because `read_volatile` demands alignment that x86 does not.
    unsafe {
        asm!("mov {}, [{}]", out(reg) value, in(reg) from, options(nostack, preserves_flags, readonly))
    };
    value
}

/// Copies between guest and host memory. Assembly, because one side changes under our hands, which a
/// Rust copy must not meet.
///
/// # Safety
/// `from` and `to` are `len` bytes that do not overlap.
#[inline]
pub(super) unsafe fn copy(mut from: *const u8, mut to: *mut u8, len: usize) {
    let mut tail = len;
    // A string instruction takes longer to begin than these to end.
    while tail >= 8 && len < 64 {
        // SAFETY: the caller's.
        unsafe {
            asm!("mov {t}, [{f}]", "mov [{o}], {t}", t = out(reg) _, f = in(reg) from, o = in(reg) to,
                 options(nostack, preserves_flags));
            (from, to) = (from.add(8), to.add(8));
        }
        tail -= 8;
    }
    if len >= 64 {
        // SAFETY: the caller's. The direction flag is clear, by the ABI.
        unsafe {
            asm!("rep movsq", inout("rcx") len / 8 => _, inout("rsi") from, inout("rdi") to,
                 options(nostack, preserves_flags));
        }
        tail = len % 8;
    }
    if tail == 0 {
        return;
    }
    // SAFETY: the caller's, for what is left.
    unsafe {
        asm!("rep movsb", inout("rcx") tail => _, inout("rsi") from => _, inout("rdi") to => _,
             options(nostack, preserves_flags));
    }
}

/// Zeroes guest memory.
///
/// # Safety
/// `to` is `len` writable bytes.
unsafe fn fill_zero(to: *mut u8, len: usize) {
    // SAFETY: the caller's. The direction flag is clear, by the ABI.
    unsafe {
        asm!("rep stosq", inout("rcx") len / 8 => _, inout("rdi") to => _, in("rax") 0u64,
             options(nostack, preserves_flags));
        let tail = to.add(len & !7);
        asm!("rep stosb", inout("rcx") len % 8 => _, inout("rdi") tail => _, in("al") 0u8,
             options(nostack, preserves_flags));
    }
}

/// Guest memory on the host's heap, for tests of everything that works on a guest.
#[cfg(any(test, feature = "host-tests"))]
pub mod on_heap {
    use super::*;
    use alloc::alloc::{Layout as HeapLayout, alloc_zeroed, dealloc};
    use alloc::collections::BTreeMap;
    use core::sync::atomic::AtomicUsize;
    use spin::Mutex;

    /// Owns the memory behind a [`GuestMemory`].
    pub struct HeapMemory {
        memory: Arc<GuestMemory>,
        block: *mut u8,
        layout: HeapLayout,
        /// Where the spare part begins.
        spare: Hpa,
    }

    /// A host whose guest's memory can go and come: what it has free, and what it has mapped.
    pub struct Lender {
        block: Hva,
        /// Chunks that are nobody's.
        pub free: Mutex<Vec<Hpa>>,
        /// The second-level tables.
        pub mapped: Mutex<BTreeMap<Gpa, Hpa>>,
        /// How often there was no chunk left.
        pub exhausted: AtomicUsize,
    }

    impl Backing for Lender {
        fn take(&self) -> Option<Hpa> {
            let chunk = self.free.lock().pop()?;
            let pointer = (self.block + chunk.get()).as_mut_ptr();
            // SAFETY: a chunk of the block, which is nobody's.
            unsafe { fill_zero(pointer, LARGE_PAGE as usize) };
            Some(chunk)
        }

        fn give_back(&self, chunk: Hpa) {
            self.free.lock().push(chunk);
        }

        fn map(&self, gpa: Gpa, chunk: Hpa) {
            let before = self.mapped.lock().insert(gpa, chunk);
            assert!(before.is_none_or(|before| before == chunk), "{gpa} was mapped elsewhere");
        }

        fn unmap(&self, gpa: Gpa) -> bool {
            assert!(self.mapped.lock().remove(&gpa).is_some(), "{gpa} was not mapped");
            true
        }

        fn exhausted(&self) {
            self.exhausted.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl HeapMemory {
        /// `mib` MiB of zeroed RAM, rounded up to 2 MiB.
        pub fn new(mib: usize) -> Self {
            Self::with_spare(mib, 0)
        }

        /// Likewise, with `spare` MiB of host memory behind it that are not the guest's: a disk in memory, say.
        pub fn with_spare(mib: usize, spare: usize) -> Self {
            let count = mib.div_ceil(2).max(1);
            let all = count * LARGE_PAGE as usize + (spare << 20);
            let layout = HeapLayout::from_size_align(all, LARGE_PAGE as usize).expect("a size");
            // SAFETY: the size is not 0.
            let block = unsafe { alloc_zeroed(layout) };
            assert!(!block.is_null(), "out of memory");
            // Backwards, so that what is contiguous for the guest is not so for the host beyond 2 MiB.
            let chunks = (0..count as u64).rev().map(|i| Hpa::new(i * LARGE_PAGE)).collect();
            // SAFETY: the block is that many chunks, aligned, and owned until `drop`.
            let memory = unsafe { GuestMemory::new(Hva::from_ptr(block), chunks) };
            let spare = Hpa::new(memory.bytes());
            Self { memory: Arc::new(memory), block, layout, spare }
        }

        /// Guest memory that can go and come, of a host that has so many chunks more, filled with ones; and `spare` MiB.
        pub fn lent(mib: usize, more: usize, spare: usize) -> (Self, Arc<Lender>) {
            let mut heap = Self::with_spare(mib, 2 * more + spare);
            let first = heap.memory.bytes();
            let block = Hva::from_ptr(heap.block);
            // SAFETY: the spare part of the block, which nobody has.
            unsafe { heap.block.add(first as usize).write_bytes(0xff, more * LARGE_PAGE as usize) };
            let lender = Arc::new(Lender {
                block,
                free: Mutex::new((0..more as u64).map(|i| Hpa::new(first + i * LARGE_PAGE)).collect()),
                mapped: Mutex::new(
                    heap.memory.chunks().filter_map(|(gpa, chunk)| Some((gpa, chunk?))).collect(),
                ),
                exhausted: AtomicUsize::new(0),
            });
            let chunks = heap.memory.chunks.clone();
            // SAFETY: as in `with_spare`, which made the chunks; those that the lender has are of the block too.
            let memory = unsafe { GuestMemory::with_backing(block, chunks, Some(lender.clone())) };
            heap.memory = Arc::new(memory);
            heap.spare = Hpa::new(first + more as u64 * LARGE_PAGE);
            (heap, lender)
        }

        /// Where host memory appears, and where the spare part of it is.
        pub fn spare(&self) -> (mm::DirectMap, Hpa) {
            (mm::DirectMap::new(Hva::from_ptr(self.block)), self.spare)
        }

        /// For devices, which must be gone before this is.
        pub fn share(&self) -> Arc<GuestMemory> {
            self.memory.clone()
        }
    }

    impl core::ops::Deref for HeapMemory {
        type Target = GuestMemory;
        fn deref(&self) -> &GuestMemory {
            &self.memory
        }
    }

    impl Drop for HeapMemory {
        fn drop(&mut self) {
            // SAFETY: allocated in `new` with this layout.
            unsafe { dealloc(self.block, self.layout) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::on_heap::HeapMemory;
    use super::*;

    #[test]
    fn what_was_written_is_read_back_across_pages_and_chunks() {
        let memory = HeapMemory::new(4);
        let data: Vec<u8> = (0..10_000u32).map(|i| i as u8).collect();
        let at = Gpa::new(LARGE_PAGE - 5_000);
        memory.write(at, &data).unwrap();
        let mut back = alloc::vec![0; data.len()];
        memory.read(at, &mut back).unwrap();
        assert_eq!(back, data);
    }

    #[test]
    fn the_video_window_and_what_lies_beyond_the_end_are_not_ram() {
        let memory = HeapMemory::new(2);
        assert!(memory.host(Gpa::new(0x9_ffff)).is_some());
        assert!(memory.host(Gpa::new(0xa_0000)).is_none());
        assert!(memory.host(Gpa::new(0xb_ffff)).is_none());
        assert!(memory.host(Gpa::new(0xc_0000)).is_some());
        assert!(memory.host(Gpa::new(2 << 20)).is_none());
        assert!(memory.host(Gpa::new_truncate(u64::MAX)).is_none());
        let mut across = [0; 16];
        assert!(memory.read(Gpa::new((2 << 20) - 8), &mut across).is_err());
        assert!(memory.write(Gpa::new_truncate(u64::MAX - 3), &across).is_err());
    }

    #[test]
    fn ram_beyond_the_hole_continues_at_4_gib() {
        let layout = Layout::new(5 << 30);
        assert_eq!(layout.low_end, 3 << 30);
        assert_eq!(layout.high_end, 6 << 30);
        assert_eq!(Layout::new(1 << 30).high_end, 4 << 30);
    }

    #[test]
    fn a_word_looked_up_once_reads_what_is_there_now() {
        let memory = HeapMemory::new(4);
        for at in [0, 0x9_fff8, 0xc_0000, LARGE_PAGE - 8, LARGE_PAGE, 2 * LARGE_PAGE - 8] {
            let word = memory.word(Gpa::new(at)).unwrap();
            assert_eq!(memory.load_word(word), Some(0));
            memory.write(Gpa::new(at), &(at + 1).to_le_bytes()).unwrap();
            assert_eq!(memory.load_word(word), Some(at + 1));
            assert_eq!(HeapMemory::new(2).load_word(word).is_some(), at < LARGE_PAGE);
        }
        for at in [4, 0xa_0000, 2 * LARGE_PAGE] {
            assert!(memory.word(Gpa::new(at)).is_err());
        }
    }

    #[test]
    fn a_misaligned_atomic_is_refused() {
        let memory = HeapMemory::new(2);
        assert!(memory.atomic_u64(Gpa::new(4)).is_err());
        assert!(memory.load_u32(Gpa::new(2)).is_err());
        assert!(memory.compare_exchange(Gpa::new(1), 2, 0, 1).is_err());
        assert_eq!(memory.compare_exchange(Gpa::new(8), 4, 0, 7), Ok(0));
        assert_eq!(memory.compare_exchange(Gpa::new(8), 4, 0, 9), Ok(7));
        assert_eq!(memory.read_uint(Gpa::new(8), 8), Ok(7));
    }

    #[test]
    fn code_at_the_end_of_a_page_is_fetched_up_to_it() {
        let memory = HeapMemory::new(2);
        memory.write(Gpa::new(0xff8), &[1, 2, 3, 4, 5, 6, 7, 8, 9]).unwrap();
        let (bytes, len) = memory.fetch(Gpa::new(0xff8)).unwrap();
        assert_eq!((len, bytes[7]), (8, 8));
        assert_eq!(memory.fetch(Gpa::new(0xff0)).unwrap().1, 16);
    }

    #[test]
    fn zeroing_ends_where_it_should() {
        let memory = HeapMemory::new(2);
        memory.write(Gpa::new(0x1000), &[0xff; 32]).unwrap();
        memory.zero(Gpa::new(0x1001), 21).unwrap();
        assert_eq!(memory.read_uint(Gpa::new(0x1000), 1), Ok(0xff));
        assert_eq!(memory.read_uint(Gpa::new(0x1015), 2), Ok(0xff00));
    }
}
