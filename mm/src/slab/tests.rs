use std::alloc::{Layout, alloc, dealloc};
use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

use super::*;
use crate::random::Random;

/// In all bytes of memory whose owner before was somebody else.
const LEFT_BEHIND: u8 = 0xa5;

/// Slabs in the test's own memory, at most `limit` of them.
struct Blocks {
    held: BTreeMap<usize, Order>,
    limit: usize,
}

fn layout(order: Order) -> Layout {
    let bytes = block_bytes(order) as usize;
    Layout::from_size_align(bytes, bytes).unwrap()
}

// SAFETY: blocks are allocations of the test's own, aligned to their size.
unsafe impl SlabMemory for Blocks {
    fn allocate(&mut self, order: Order) -> Option<NonNull<u8>> {
        if self.held.len() >= self.limit {
            return None;
        }
        // SAFETY: the layout is not empty.
        let block = NonNull::new(unsafe { alloc(layout(order)) })?;
        // SAFETY: the block just allocated.
        unsafe { block.write_bytes(LEFT_BEHIND, layout(order).size()) };
        self.held.insert(block.addr().get(), order);
        Some(block)
    }

    unsafe fn free(&mut self, block: NonNull<u8>, order: Order) {
        assert_eq!(self.held.remove(&block.addr().get()), Some(order));
        // SAFETY: allocated above with this layout.
        unsafe { dealloc(block.as_ptr(), layout(order)) }
    }
}

fn give(slabs: &mut SharedSlabs, objects: impl IntoIterator<Item = NonNull<u8>>, blocks: &mut Blocks) {
    let mut list = ObjectList::EMPTY;
    // SAFETY: tests give back what they took.
    unsafe {
        objects.into_iter().for_each(|object| list.push(object));
        slabs.give(list, blocks);
    }
}

#[test]
fn objects_of_every_class_are_apart_and_aligned_and_slabs_return() {
    for (number, class) in CLASSES.iter().enumerate() {
        let mut blocks = Blocks { held: BTreeMap::new(), limit: usize::MAX };
        let mut slabs = SharedSlabs::new(number);
        let mut random = Random::new(number as u64);
        let mut held: BTreeSet<NonNull<u8>> = BTreeSet::new();
        let size = usize::from(class.size);
        for _ in 0..500 {
            if random.below(100) < 60 {
                let mut batch = slabs.take(&mut blocks);
                assert!(!batch.is_empty() && batch.len() <= usize::from(class.batch));
                while let Some(object) = batch.pop() {
                    let start = object.addr().get();
                    let block = start & !(block_bytes(class.order) as usize - 1);
                    assert!(blocks.held.contains_key(&block));
                    assert!(start + size <= block + block_bytes(class.order) as usize);
                    assert!(start.is_multiple_of(1 << size.trailing_zeros()));
                    assert!(held.range(..=object).next_back().is_none_or(|p| p.addr().get() + size <= start));
                    assert!(held.range(object..).next().is_none_or(|n| start + size <= n.addr().get()));
                    held.insert(object);
                }
            } else {
                let some: Vec<_> = held.iter().copied().filter(|_| random.below(20) == 0).collect();
                some.iter().for_each(|object| {
                    held.remove(object);
                });
                give(&mut slabs, some, &mut blocks);
            }
            assert_eq!(slabs.bytes(), blocks.held.len() as u64 * block_bytes(class.order));
        }
        give(&mut slabs, held, &mut blocks);
        assert!(blocks.held.len() <= 1, "one slab is kept, the others are returned");
        slabs.trim(&mut blocks);
        assert!(blocks.held.is_empty());
        assert_eq!(slabs.bytes(), 0);
    }
}

#[test]
fn of_what_was_in_a_slabs_memory_before_nothing_stays() {
    for number in 0..CLASSES.len() {
        let mut blocks = Blocks { held: BTreeMap::new(), limit: 1 };
        let mut slabs = SharedSlabs::new(number);
        let mut batch = slabs.take(&mut blocks);
        let (&block, &order) = blocks.held.first_key_value().unwrap();
        let words = layout(order).size() / size_of::<u64>();
        // SAFETY: the block is there until the slab's objects are given back, and nobody writes to it meanwhile.
        let words = unsafe { std::slice::from_raw_parts(block as *const u64, words) };
        assert!(!words.contains(&u64::from_ne_bytes([LEFT_BEHIND; 8])), "class {number}");
        give(&mut slabs, std::iter::from_fn(|| batch.pop()), &mut blocks);
        slabs.trim(&mut blocks);
    }
}

#[test]
fn without_memory_there_are_no_objects_until_one_comes_back() {
    let mut blocks = Blocks { held: BTreeMap::new(), limit: 1 };
    let mut slabs = SharedSlabs::new(0);
    let mut held = Vec::new();
    loop {
        let mut batch = slabs.take(&mut blocks);
        if batch.is_empty() {
            break;
        }
        held.extend(core::iter::from_fn(|| batch.pop()));
    }
    assert_eq!(held.len(), (4096 - 48) / 16);
    let one = held.pop().unwrap();
    give(&mut slabs, [one], &mut blocks);
    let mut batch = slabs.take(&mut blocks);
    assert_eq!((batch.pop(), batch.pop()), (Some(one), None));
    held.push(one);
    give(&mut slabs, held, &mut blocks);
    slabs.trim(&mut blocks);
    assert!(blocks.held.is_empty());
}

#[test]
fn a_magazine_absorbs_the_swing_around_a_batch() {
    let mut memory = [[0u64; 2]; 64];
    let mut magazine = Magazine::EMPTY;
    let mut spilled = 0;
    for object in &mut memory {
        // SAFETY: the object is the test's.
        let surplus = unsafe { magazine.put(NonNull::from(object).cast(), 4) };
        assert!(surplus.is_empty() || surplus.len() == 4);
        spilled += surplus.len();
    }
    assert_eq!(spilled, 64 - 8);
    // At the edge: taking and putting five at a time never reaches the shared slabs.
    for _ in 0..10 {
        let taken: Vec<_> = (0..5).map(|_| magazine.take().unwrap()).collect();
        for object in taken {
            // SAFETY: as above.
            assert!(unsafe { magazine.put(object, 4) }.is_empty());
        }
    }
    let [a, b] = magazine.empty();
    assert_eq!(a.len() + b.len(), 8);
    assert_eq!(magazine.take(), None);
}
