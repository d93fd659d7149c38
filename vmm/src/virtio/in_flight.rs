//! Requests that a driver below us has: what is needed to give each back to the guest when it is done.
//!
//! A request gets a slot, whose number is its tag. Slots are taken by whoever serves the queue, one at a time, and given
//! back by any CPU. Without a lock.
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use spin::Once;

/// With so many requests that move data under way, the guest need not notify of further ones: there is a completion
/// soon, and it looks for them. Fewer might be slow ones.
pub const BUSY: u32 = 4;

/// In `counts`: requests that move data. The lower half counts all.
const MOVING: u32 = 1 << 16;

#[derive(Default)]
struct Slot<S> {
    /// Counts the requests that had it.
    serial: AtomicU32,
    /// The one that was marked.
    marked: AtomicU32,
    /// It moves data, so that it won't take long.
    moves: AtomicBool,
    /// What the type of device keeps of it.
    kept: S,
}

/// The requests of one queue, of each of which an `S` is kept.
pub struct InFlight<S> {
    slots: Box<[Slot<S>]>,
    /// A bit for each slot that is free.
    free: Box<[AtomicU64]>,
    counts: AtomicU32,
    /// Called when there is none any more.
    drained: Once<Arc<dyn Fn() + Send + Sync>>,
}

impl<S: Default> InFlight<S> {
    /// For as many at once as a queue has entries.
    pub fn new(size: u16) -> Self {
        let size = usize::from(size);
        let full = |word: usize| match size - word * 64 {
            left @ 0..64 => (1 << left) - 1,
            _ => u64::MAX,
        };
        Self {
            slots: (0..size).map(|_| Slot::default()).collect(),
            free: (0..size.div_ceil(64)).map(|word| AtomicU64::new(full(word))).collect(),
            counts: AtomicU32::new(0),
            drained: Once::new(),
        }
    }

    /// Takes a slot for a request, of which `keep` notes there what is needed later; its tag. `None` where there are as
    /// many as there can be. One caller at a time.
    #[inline]
    pub fn add(&self, moves: bool, keep: impl FnOnce(&S)) -> Option<u64> {
        let (word, bits) = self.free.iter().enumerate().find_map(|(i, word)| {
            let bits = word.load(Ordering::Acquire);
            (bits != 0).then_some((i, bits))
        })?;
        let bit = bits.trailing_zeros();
        let tag = word * 64 + bit as usize;
        let slot = self.slots.get(tag)?;
        // One caller at a time: no other adds.
        slot.serial.store(slot.serial.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        slot.moves.store(moves, Ordering::Relaxed);
        keep(&slot.kept);
        // After the slot's content, so that whoever finds it taken finds that.
        self.free[word].fetch_and(!(1 << bit), Ordering::AcqRel);
        self.counts.fetch_add(1 + if moves { MOVING } else { 0 }, Ordering::SeqCst);
        Some(tag as u64)
    }

    fn free_bit(&self, tag: u64) -> Option<(&AtomicU64, u64)> {
        let word = self.free.get(usize::try_from(tag / 64).ok()?)?;
        Some((word, 1 << (tag % 64)))
    }

    /// What was kept under `tag`; `None` where that is no request under way.
    #[inline]
    pub fn get(&self, tag: u64) -> Option<&S> {
        let (word, bit) = self.free_bit(tag)?;
        let slot = self.slots.get(tag as usize)?;
        (word.load(Ordering::Acquire) & bit == 0).then_some(&slot.kept)
    }

    /// The request is given back to the guest; no guest memory is used for it any more.
    #[inline]
    pub fn remove(&self, tag: u64) {
        let Some((word, bit)) = self.free_bit(tag) else { return };
        let Some(slot) = self.slots.get(tag as usize) else { return };
        let moves = slot.moves.load(Ordering::Relaxed);
        if word.fetch_or(bit, Ordering::AcqRel) & bit != 0 {
            return;
        }
        let one = 1 + if moves { MOVING } else { 0 };
        let left = self.counts.fetch_sub(one, Ordering::SeqCst) - one;
        if left == 0
            && let Some(drained) = self.drained.get()
        {
            drained();
        }
    }

    /// All that are under way now, with their tags. Some may be done by the time they are looked at.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &S)> {
        (0..self.slots.len() as u64).filter_map(|tag| Some((tag, self.get(tag)?)))
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.counts.load(Ordering::SeqCst) & (MOVING - 1)
    }

    /// Whether there are [`BUSY`] that move data.
    #[inline]
    pub fn busy(&self) -> bool {
        self.counts.load(Ordering::SeqCst) / MOVING >= BUSY
    }

    /// Marks all that are there now. One caller at a time.
    pub fn mark(&self) {
        for slot in &self.slots {
            slot.marked.store(slot.serial.load(Ordering::Acquire), Ordering::Relaxed);
        }
    }

    /// Whether all that were there at the last [`Self::mark`] have been removed.
    pub fn marked_are_done(&self) -> bool {
        self.slots.iter().enumerate().all(|(tag, slot)| {
            // Free, or another's by now.
            let free =
                self.free_bit(tag as u64).is_none_or(|(word, bit)| word.load(Ordering::Acquire) & bit != 0);
            free || slot.serial.load(Ordering::Acquire) != slot.marked.load(Ordering::Relaxed)
        })
    }

    /// `drained` is to be called whenever there is none any more. The first who asks for it counts.
    pub fn when_drained(&self, drained: &Arc<dyn Fn() + Send + Sync>) {
        self.drained.call_once(|| drained.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicU16, AtomicUsize};
    use std::vec::Vec;

    type Requests = InFlight<AtomicU16>;

    fn add(requests: &Requests, id: u16, moves: bool) -> Option<u64> {
        requests.add(moves, |kept| kept.store(id, Ordering::Relaxed))
    }

    fn get(requests: &Requests, tag: u64) -> Option<u16> {
        requests.get(tag).map(|kept| kept.load(Ordering::Relaxed))
    }

    #[test]
    fn each_request_has_a_tag_of_its_own_until_it_is_removed() {
        for size in [1u16, 2, 63, 64, 65, 128, 1024] {
            let requests = Requests::new(size);
            let mut tags = BTreeMap::new();
            for id in 0..size {
                assert!(tags.insert(add(&requests, id, id % 2 == 0).unwrap(), id).is_none());
            }
            assert_eq!((add(&requests, 0, false), requests.count()), (None, size.into()));
            for (tag, id) in tags {
                assert_eq!(get(&requests, tag), Some(id));
                requests.remove(tag);
                assert_eq!(get(&requests, tag), None);
            }
            assert_eq!((requests.count(), requests.busy()), (0, false));
        }
    }

    #[test]
    fn those_under_way_can_be_gone_through() {
        let requests = Requests::new(100);
        let tags: Vec<_> = (0..100).map(|id| add(&requests, id, false).unwrap()).collect();
        tags.iter()
            .filter(|&tag| get(&requests, *tag).unwrap() % 10 != 3)
            .for_each(|&tag| requests.remove(tag));
        let left: Vec<_> = requests.iter().map(|(tag, id)| (tag, id.load(Ordering::Relaxed))).collect();
        assert_eq!(left, (0..10).map(|i| (tags[i * 10 + 3], i as u16 * 10 + 3)).collect::<Vec<_>>());
    }

    #[test]
    fn a_tag_that_is_nobodys_is_ignored() {
        let requests = Requests::new(4);
        let tag = add(&requests, 1, true).unwrap();
        for wrong in [tag + 1, 4, 63, 64, u64::MAX] {
            assert_eq!(get(&requests, wrong), None);
            requests.remove(wrong);
        }
        assert_eq!(requests.count(), 1);
        requests.remove(tag);
        requests.remove(tag);
        assert_eq!(requests.count(), 0);
    }

    #[test]
    fn only_what_moves_data_makes_busy() {
        let requests = Requests::new(16);
        for id in 0..8 {
            add(&requests, id, false).unwrap();
        }
        assert!(!requests.busy());
        let tags: Vec<_> = (0..4).map(|id| add(&requests, id, true).unwrap()).collect();
        assert!(requests.busy());
        requests.remove(tags[2]);
        assert!(!requests.busy());
    }

    #[test]
    fn the_marked_are_done_when_they_are_whatever_came_after() {
        let requests = Requests::new(70);
        requests.mark();
        assert!(requests.marked_are_done());
        let old = [(); 70].map(|()| add(&requests, 1, true).unwrap());
        assert!(requests.marked_are_done(), "none of them was marked");
        requests.remove(old[3]);
        requests.mark();
        let mut new = std::vec![add(&requests, 2, true).unwrap()];
        let reused = new[0];
        for tag in old.into_iter().filter(|&tag| tag != reused) {
            assert!(!requests.marked_are_done());
            requests.remove(tag);
            // Its slot is never free again.
            new.push(add(&requests, 3, false).unwrap());
        }
        assert!(requests.marked_are_done());
        requests.mark();
        new.drain(1..).for_each(|tag| requests.remove(tag));
        assert!(!requests.marked_are_done());
        requests.remove(new[0]);
        assert!(requests.marked_are_done());
    }

    #[test]
    fn the_last_one_done_tells() {
        let (requests, told) = (Requests::new(4), Arc::new(AtomicUsize::new(0)));
        let count = told.clone();
        let hook: Arc<dyn Fn() + Send + Sync> = Arc::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
        });
        requests.when_drained(&hook);
        let tags = [(); 3].map(|()| add(&requests, 1, true).unwrap());
        for (i, tag) in tags.into_iter().enumerate() {
            requests.remove(tag);
            assert_eq!(told.load(Ordering::SeqCst), usize::from(i == 2));
        }
    }
}
