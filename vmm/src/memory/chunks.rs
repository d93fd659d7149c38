//! The 2 MiB chunks of a guest's RAM: which of them are there, how one goes, and how it comes back.
//!
//! A chunk whose pages the guest does not use can be given back to the host ([`GuestMemory::release`]). It stays RAM
//! of the guest's: at the next touch, by the guest or by a device's or the hypervisor's access, it is there again, in
//! another place and zeroed.
//!
//! ```text
//!             release: not pinned             every CPU passed by,       requests of before
//!   there ─────────────────────────► leaving ─ no translation is left ─► are done ─────────► the host's again
//!     ▲        out of the table and the second-level tables
//!     └── a touch: new memory, zeroed, into both ── absent
//! ```
//!
//! What may hold a host address of a chunk, and until when it may:
//!
//! | who | how long | what keeps the memory there |
//! |---|---|---|
//! | [`GuestMemory::host`] and all that copies | until the exit or the poll of a task is over | whoever freed it first waits until every CPU has been outside of both |
//! | the guest, through a TLB | until its CPU drops it | the same wait: a CPU drops its translations when it passes by |
//! | a request to a disk | until it is done | `Board::mark_requests`, after that wait; then all that were under way must be done |
//! | where the answer to such a request goes ([`super::Room`]), or to one that waits for it | until it is done | the same: it is written before the request is counted as done |
//! | a [`super::Window`] onto a ring | as long as the ring is enabled | a pin: such a chunk is not released |
//! | the second-level tables' small pages below 2 MiB | for good | the first chunk is pinned |
//!
//! Nothing else may keep one: whatever waits keeps the guest-physical address and looks it up again.
//!
//! Lock: `pins` of a guest's chunks, held for a change of one of them; below a device's locks, above the heap's.

use super::guest::GuestMemory;
use super::layout::Layout;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use mm::addr::{Gpa, Hpa, LARGE_PAGE};
use spin::Mutex;

/// Where the memory of a guest comes from, and where it is mapped.
pub trait Backing: Send + Sync {
    /// 2 MiB of zeroed memory for the guest, aligned; `None` where there is none.
    fn take(&self) -> Option<Hpa>;

    /// Takes back what [`Self::take`] gave and nobody has used.
    fn give_back(&self, chunk: Hpa);

    /// Maps the chunk at `gpa` in the guest's second-level tables, if it is not.
    fn map(&self, gpa: Gpa, chunk: Hpa);

    /// Unmaps it; CPUs may still have it in their TLBs. `false` where the guest has come to its end and another run of
    /// it may have the chunk by now.
    fn unmap(&self, gpa: Gpa) -> bool;

    /// A chunk was needed and [`Self::take`] gave none: the guest can't go on.
    fn exhausted(&self);
}

/// A chunk's place in the table; [`ABSENT`] is none.
#[derive(Debug)]
pub struct Slot(AtomicU64);

/// Larger than any physical address.
const ABSENT: u64 = u64::MAX;

impl Slot {
    /// Where the chunk is, if it is there.
    #[inline(always)]
    pub fn get(&self) -> Option<Hpa> {
        let place = self.0.load(Ordering::Acquire);
        // Added to 0, since all but `ABSENT` that is ever stored was an address: no bits to be checked or cleared.
        (place != ABSENT).then(|| Hpa::new(0) + place)
    }
}

/// The chunks of a guest, over all its runs.
#[derive(Debug)]
pub struct Chunks {
    table: Arc<[Slot]>,
    /// How many windows need each chunk to stay where it is.
    pins: Mutex<Box<[u32]>>,
    present: AtomicUsize,
}

impl Chunks {
    /// Of a guest that has these, all of which are there.
    pub fn new(places: Vec<Hpa>) -> Self {
        let mut pins = alloc::vec![0; places.len()].into_boxed_slice();
        // Its second-level entries are small pages, and a guest has no use for it but at once.
        if let Some(first) = pins.first_mut() {
            *first = 1;
        }
        Self {
            present: AtomicUsize::new(places.len()),
            table: places.into_iter().map(|place| Slot(AtomicU64::new(place.get()))).collect(),
            pins: Mutex::new(pins),
        }
    }

    /// The table, for looking chunks up.
    pub(super) fn table(&self) -> &Arc<[Slot]> {
        &self.table
    }

    /// Where each is, if it is there.
    pub fn places(&self) -> impl Iterator<Item = Option<Hpa>> + '_ {
        self.table.iter().map(Slot::get)
    }

    /// Bytes that are there.
    pub fn present(&self) -> u64 {
        self.present.load(Ordering::Relaxed) as u64 * LARGE_PAGE
    }
}

/// Keeps chunks where they are.
pub(super) struct Pin {
    memory: Arc<GuestMemory>,
    chunks: [usize; 2],
}

impl Pin {
    /// Pins the chunks of the first and the last byte of a range of at most 2 MiB; `None` where they are no RAM.
    pub fn new(memory: &Arc<GuestMemory>, first: Gpa, last: Gpa) -> Option<Self> {
        let chunks = [memory.chunk_of(first)?, memory.chunk_of(last)?];
        let mut pins = memory.chunks.pins.lock();
        for chunk in chunks {
            let pin = pins.get_mut(chunk)?;
            *pin = pin.saturating_add(1);
        }
        drop(pins);
        Some(Self { memory: memory.clone(), chunks })
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = self.memory.chunks.pins.lock();
        for &chunk in &self.chunks {
            if let Some(pin) = pins.get_mut(chunk) {
                *pin = pin.saturating_sub(1);
            }
        }
    }
}

/// The node has no memory left for a chunk that is needed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;

impl GuestMemory {
    /// Number of the chunk that `gpa` is in; `None` where that is no RAM. The video window belongs to none.
    #[inline]
    pub fn chunk_of(&self, gpa: Gpa) -> Option<usize> {
        self.index(gpa).filter(|&index| index < self.table.len())
    }

    /// How many there are.
    pub fn chunk_count(&self) -> usize {
        self.table.len()
    }

    /// Where chunk `index` begins.
    pub fn chunk_start(&self, index: usize) -> Gpa {
        let at = index as u64 * LARGE_PAGE;
        let low = self.layout().low_end;
        Gpa::new_truncate(if at < low { at } else { Layout::HIGH + (at - low) })
    }

    /// Bytes of RAM that are there now.
    pub fn present(&self) -> u64 {
        self.chunks.present()
    }

    /// Whether chunk `index` is there.
    pub fn is_present(&self, index: usize) -> bool {
        self.table.get(index).is_some_and(|slot| slot.get().is_some())
    }

    /// Makes chunk `index` go. Where it was: memory that is the caller's to free, once nobody can reach it any more, as
    /// the module says. `None` where it was not there, or must stay.
    pub fn release(&self, index: usize) -> Option<Hpa> {
        let backing = self.backing.as_ref()?;
        let pins = self.chunks.pins.lock();
        if *pins.get(index)? != 0 {
            return None;
        }
        let slot = self.table.get(index)?;
        let place = slot.get()?;
        if !backing.unmap(self.chunk_start(index)) {
            return None;
        }
        slot.0.store(ABSENT, Ordering::SeqCst);
        self.chunks.present.fetch_sub(1, Ordering::Relaxed);
        Some(place)
    }

    /// The guest touched RAM that its second-level tables do not map: makes them map it.
    ///
    /// # Errors
    /// There is no memory for it. [`Backing::exhausted`] was called.
    #[cold]
    pub fn restore(&self, gpa: Gpa) -> Result<(), NoMemory> {
        let index = self.chunk_of(gpa).ok_or(NoMemory)?;
        self.bring(index).map(drop).ok_or(NoMemory)
    }

    /// Makes chunk `index` be there and mapped; where it is.
    #[cold]
    pub(super) fn bring(&self, index: usize) -> Option<Hpa> {
        let slot = self.table.get(index)?;
        let backing = self.backing.as_ref()?;
        loop {
            let mut new = None;
            if slot.get().is_none() {
                // Zeroing takes its time: not under the lock.
                new = backing.take();
                if new.is_none() {
                    backing.exhausted();
                    return None;
                }
            }
            let pins = self.chunks.pins.lock();
            let place = match (slot.get(), new.take()) {
                (Some(there), unused) => {
                    new = unused;
                    there
                }
                (None, Some(new)) => {
                    slot.0.store(new.get(), Ordering::Release);
                    self.chunks.present.fetch_add(1, Ordering::Relaxed);
                    new
                }
                // It went between the two looks.
                (None, None) => continue,
            };
            backing.map(self.chunk_start(index), place);
            drop(pins);
            // Somebody else was faster.
            if let Some(unused) = new {
                backing.give_back(unused);
            }
            return Some(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::on_heap::HeapMemory;
    use crate::memory::{NotRam, Window};
    use std::vec::Vec;

    const CHUNK: u64 = LARGE_PAGE;

    #[test]
    fn what_has_gone_comes_back_zeroed_at_a_touch_and_elsewhere() {
        let (memory, host) = HeapMemory::lent(8, 1, 0);
        let at = Gpa::new(CHUNK + 0x1230);
        memory.write(at, b"secret").unwrap();
        let word = memory.word(Gpa::new(CHUNK + 0x1230)).unwrap();
        let before = memory.host(at).unwrap();
        let place = memory.release(1).unwrap();
        assert_eq!(place, before.align_down(CHUNK));
        assert_eq!((memory.present(), memory.is_present(1)), (3 * CHUNK, false));
        assert!(!host.mapped.lock().contains_key(&Gpa::new(CHUNK)));
        assert_eq!(memory.load_word(word), None);
        assert_eq!((memory.release(1), memory.present()), (None, 3 * CHUNK), "gone is gone");
        assert!(memory.is_ram(at));
        let mut bytes = [1; 6];
        memory.read(at, &mut bytes).unwrap();
        assert_eq!((bytes, memory.present()), ([0; 6], 4 * CHUNK));
        let after = memory.host(at).unwrap();
        assert!(after != before && host.mapped.lock()[&Gpa::new(CHUNK)] == after.align_down(CHUNK));
        assert_eq!(memory.load_word(word), Some(0));
        let mut all = std::vec![1; CHUNK as usize];
        memory.read(Gpa::new(CHUNK), &mut all).unwrap();
        assert!(all.iter().all(|&byte| byte == 0));
    }

    #[test]
    fn a_guest_that_touches_it_gets_it_too_and_again_changes_nothing() {
        let (memory, host) = HeapMemory::lent(8, 1, 0);
        memory.release(3).unwrap();
        for _ in 0..2 {
            memory.restore(Gpa::new(4 * CHUNK - 1)).unwrap();
            assert_eq!(host.mapped.lock()[&Gpa::new(3 * CHUNK)], memory.host(Gpa::new(3 * CHUNK)).unwrap());
        }
        assert_eq!((host.free.lock().len(), memory.present()), (0, 4 * CHUNK));
        assert_eq!(memory.restore(Gpa::new(4 * CHUNK)), Err(NoMemory), "no RAM");
    }

    #[test]
    fn without_memory_for_it_every_access_fails_and_the_host_is_told() {
        let (memory, host) = HeapMemory::lent(8, 0, 0);
        let frame = memory.release(2).unwrap();
        let at = Gpa::new(2 * CHUNK);
        assert_eq!(memory.restore(at), Err(NoMemory));
        assert_eq!(memory.read_uint(at, 8), Err(NotRam(at)));
        assert_eq!(memory.write(Gpa::new(2 * CHUNK - 1), &[1, 2]), Err(NotRam(at)));
        assert_eq!(host.exhausted.load(Ordering::SeqCst), 3);
        host.free.lock().push(frame);
        assert_eq!((memory.restore(at), memory.read_uint(at, 8)), (Ok(()), Ok(0)));
    }

    #[test]
    fn a_pinned_chunk_and_the_first_stay() {
        let (memory, _) = HeapMemory::lent(8, 0, 0);
        assert_eq!(memory.release(0), None);
        let shared = memory.share();
        let one = Window::new(&shared, Gpa::new(CHUNK + 64), 64, 16).unwrap();
        let across = Window::new(&shared, Gpa::new(2 * CHUNK - 32), 64, 16).unwrap();
        let copy = across.clone();
        assert_eq!((memory.release(1), memory.release(2)), (None, None));
        drop(across);
        assert_eq!((memory.release(1), memory.release(2)), (None, None));
        drop(copy);
        assert!(memory.release(1).is_none() && memory.release(2).is_some());
        one.store_u64(0, 5);
        drop(one);
        assert!(memory.release(1).is_some());
        assert_eq!((memory.release(4), memory.release(usize::MAX)), (None, None));
    }

    #[test]
    fn a_window_onto_what_has_gone_makes_it_come_and_stay() {
        let (memory, host) = HeapMemory::lent(8, 1, 0);
        memory.release(1).unwrap();
        let window = Window::new(&memory.share(), Gpa::new(CHUNK + 64), 64, 16).unwrap();
        window.store_u32(4, 7);
        assert_eq!((memory.read_uint(Gpa::new(CHUNK + 68), 4), memory.release(1)), (Ok(7), None));
        assert_eq!(host.free.lock().len(), 0);
    }

    #[test]
    fn chunks_above_the_hole_have_their_places() {
        // Of a layout as large without the memory.
        let low = Layout::new(5 << 30).low_end / CHUNK;
        let (memory, _) = HeapMemory::lent(8, 0, 0);
        assert_eq!(memory.chunk_start(3), Gpa::new(3 * CHUNK));
        assert_eq!(
            memory.chunk_start(low as usize).get(),
            Layout::HIGH + low * CHUNK - memory.layout().low_end
        );
        assert_eq!(memory.chunk_of(Gpa::new(0xa_0000)), None, "the video window");
        assert_eq!(memory.chunk_of(Gpa::new(8 << 20)), None);
    }

    /// Two CPUs touch what a third takes away all the time: no chunk is lost or there twice, and all come zeroed.
    #[test]
    fn going_and_coming_at_once_loses_no_chunk() {
        let (memory, host) = HeapMemory::lent(8, 3, 0);
        let memory = memory.share();
        let rounds = 300;
        std::thread::scope(|scope| {
            for offset in [0, 8] {
                let memory = memory.clone();
                scope.spawn(move || {
                    for _ in 0..rounds {
                        for chunk in 1..4 {
                            let at = Gpa::new(chunk * CHUNK + offset);
                            memory.restore(at).unwrap();
                            assert_eq!(memory.read_uint(at, 8), Ok(0));
                        }
                    }
                });
            }
            for round in 0..rounds {
                let index = 1 + (round % 3) as usize;
                if let Some(frame) = memory.release(index) {
                    host.free.lock().push(frame);
                }
            }
        });
        let mut all: Vec<Hpa> = host.free.lock().clone();
        all.extend(memory.chunks().filter_map(|(_, place)| place));
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 7);
        assert_eq!(host.exhausted.load(Ordering::SeqCst), 0);
        let mapped: Vec<_> = host.mapped.lock().iter().map(|(gpa, place)| (*gpa, *place)).collect();
        let there: Vec<_> = memory.chunks().filter_map(|(gpa, place)| Some((gpa, place?))).collect();
        assert_eq!(mapped, there);
    }
}
