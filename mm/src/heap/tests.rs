use core::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::sync::mpsc;
use std::vec::Vec;
use std::{thread, thread_local};

use super::*;
use crate::arena::Arena;
use crate::random::Random;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

thread_local! {
    static CPU: Cell<usize> = const { Cell::new(0) };
    static ENTERED: Cell<u32> = const { Cell::new(0) };
}

/// Threads play CPUs.
struct Threads;

/// Counts operations that are under way on this CPU.
struct Entered;

impl Drop for Entered {
    fn drop(&mut self) {
        ENTERED.set(ENTERED.get() - 1);
    }
}

// SAFETY: tests give each thread a number of its own, and nothing interrupts a thread.
unsafe impl Platform for Threads {
    type Guard = Entered;

    fn enter() -> Entered {
        ENTERED.set(ENTERED.get() + 1);
        Entered
    }

    fn cpu() -> usize {
        assert!(ENTERED.get() > 0, "the CPU's caches are used without a guard");
        CPU.get()
    }
}

fn heap(arena: &Arena) -> Heap<Threads> {
    let heap = Heap::new(arena.map);
    // SAFETY: the arena is memory that only the heap uses.
    unsafe { heap.add_region(arena.range) }.unwrap();
    heap
}

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

/// Memory from the heap, filled with a pattern of its own.
struct Held {
    object: *mut u8,
    layout: Layout,
    pattern: u8,
}

// SAFETY: an object belongs to whoever holds it.
unsafe impl Send for Held {}

impl Held {
    fn new(heap: &Heap<Threads>, layout: Layout, pattern: u8) -> Option<Self> {
        // SAFETY: the layout is not empty; the object is ours.
        unsafe {
            let object = heap.alloc(layout);
            if object.is_null() {
                return None;
            }
            assert!(object.addr().is_multiple_of(layout.align()), "{object:p} {layout:?}");
            object.write_bytes(pattern, layout.size());
            Some(Self { object, layout, pattern })
        }
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: the object has been written to throughout.
        unsafe { core::slice::from_raw_parts(self.object, self.layout.size()) }
    }

    fn overwrite(self) -> Self {
        // SAFETY: the object is ours.
        unsafe { self.object.write_bytes(self.pattern, self.layout.size()) };
        self
    }

    fn free(self, heap: &Heap<Threads>) {
        assert!(self.bytes().iter().all(|&b| b == self.pattern), "somebody else wrote to {:p}", self.object);
        // SAFETY: allocated with this layout.
        unsafe { heap.dealloc(self.object, self.layout) }
    }
}

fn random_layout(random: &mut Random) -> Layout {
    let size = match random.below(100) {
        0..70 => 1 + random.below(256),
        70..95 => 1 + random.below(2048),
        95..99 => 1 + random.below(40_000),
        _ => 1 + random.below(300_000),
    };
    let alignments = if random.below(10) == 0 { 14 } else { 5 };
    layout(size as usize, 1 << random.below(alignments))
}

#[test]
fn objects_keep_their_content_and_everything_comes_back() {
    let arena = Arena::new(GIB, 64 * MIB);
    let heap = heap(&arena);
    let mut random = Random::new(3);
    let mut held = Vec::new();
    for step in 0..300_000u32 {
        let grow = if step / 30_000 % 2 == 0 { 55 } else { 45 };
        if random.below(100) < grow {
            held.extend(Held::new(&heap, random_layout(&mut random), step as u8));
        } else if !held.is_empty() {
            held.swap_remove(random.below(held.len() as u64) as usize).free(&heap);
        }
    }
    for object in held {
        object.free(&heap);
    }
    heap.trim();
    let usage = heap.usage();
    assert_eq!((usage.slabs, usage.large), (0, 0));
    // One frame is this CPU's cache.
    assert_eq!((usage.frames, usage.free), (PAGE, usage.total - PAGE));
}

#[test]
fn cpus_share_the_heap_and_free_what_others_allocated() {
    let arena = Arena::new(GIB, 64 * MIB);
    let heap = heap(&arena);
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..4).map(|_| mpsc::sync_channel::<Held>(1000)).unzip();
    let receivers: Vec<_> = thread::scope(|scope| {
        let cpu = |(number, receiver): (usize, mpsc::Receiver<Held>)| {
            let (senders, heap) = (senders.clone(), &heap);
            scope.spawn(move || {
                CPU.set(number);
                let mut random = Random::new(number as u64 + 10);
                let mut held: Vec<Held> = Vec::new();
                for step in 0..50_000u32 {
                    match random.below(5) {
                        0 | 1 => held.extend(Held::new(heap, random_layout(&mut random), step as u8)),
                        2 | 3 if !held.is_empty() => {
                            let object = held.swap_remove(random.below(held.len() as u64) as usize);
                            let to = &senders[random.below(4) as usize];
                            match to.try_send(object) {
                                Ok(()) => {}
                                Err(mpsc::TrySendError::Full(object)) => object.free(heap),
                                Err(mpsc::TrySendError::Disconnected(_)) => panic!("a CPU has stopped"),
                            }
                        }
                        _ => receiver.try_iter().for_each(|object| object.free(heap)),
                    }
                }
                held.into_iter().for_each(|object| object.free(heap));
                receiver
            })
        };
        let cpus: Vec<_> = receivers.into_iter().enumerate().map(cpu).collect();
        cpus.into_iter().map(|cpu| cpu.join().unwrap()).collect()
    });
    // What was under way when its receiver had finished.
    receivers.iter().flat_map(|r| r.try_iter()).for_each(|object| object.free(&heap));
    for number in 0..4 {
        CPU.set(number);
        heap.trim();
    }
    let usage = heap.usage();
    assert_eq!((usage.slabs, usage.large), (0, 0));
    // Each CPU's cache takes a frame.
    assert_eq!((usage.frames, usage.free), (4 * PAGE, usage.total - 4 * PAGE));
}

#[test]
fn small_objects_take_no_lock_once_a_cpu_is_warm() {
    let arena = Arena::new(GIB, 8 * MIB);
    let heap = heap(&arena);
    let layout = layout(64, 8);
    Held::new(&heap, layout, 0).unwrap().free(&heap);
    let _frames = heap.frames.lock();
    let _slabs: Vec<_> = heap.slabs.iter().map(Mutex::lock).collect();
    // With every lock held by somebody else, this would never end if it took one.
    let objects: Vec<Held> = (0..20).map(|i| Held::new(&heap, layout, i).unwrap()).collect();
    objects.into_iter().for_each(|object| object.free(&heap));
}

#[test]
fn objects_that_an_interrupt_freed_before_a_refill_are_not_lost() {
    let arena = Arena::new(GIB, 8 * MIB);
    let heap = heap(&arena);
    let layout = layout(64, 8);
    let class = class::class_of(layout).unwrap();
    Held::new(&heap, layout, 1).unwrap().free(&heap);
    // The magazine is not empty, as if an interrupt had filled it after the CPU had looked.
    let object = heap.refill(class);
    assert!(!object.is_null());
    Held { object, layout, pattern: 0 }.overwrite().free(&heap);
    heap.trim();
    assert_eq!(heap.usage().slabs, 0, "every object came back to its slab");
}

#[test]
fn an_empty_heap_refuses_everything_and_works_once_it_has_memory() {
    let arena = Arena::new(GIB, 4 * MIB);
    let heap = Heap::<Threads>::new(arena.map);
    for size in [1, 2048, 4096, 100_000] {
        assert!(Held::new(&heap, layout(size, 8), 0).is_none());
    }
    assert_eq!(heap.allocate_frames(0), None);
    assert_eq!(heap.allocate_frames(9), None);
    assert_eq!(heap.usage(), Usage::default());
    // SAFETY: the arena is the heap's alone.
    let added = unsafe { heap.add_regions([arena.range]) };
    assert_eq!(added.usable, 4 * MIB - PAGE);
    Held::new(&heap, layout(100, 8), 1).unwrap().free(&heap);
}

#[test]
fn absent_cpus_cost_nothing_and_the_last_one_works() {
    let arena = Arena::new(GIB, 4 * MIB);
    let heap = heap(&arena);
    assert_eq!(heap.usage().frames, 0);
    CPU.set(MAX_CPUS - 1);
    let object = Held::new(&heap, layout(32, 8), 9).unwrap();
    assert_eq!(heap.usage().frames, PAGE);
    CPU.set(0);
    object.free(&heap);
    assert_eq!(heap.usage().frames, 2 * PAGE);
}

#[test]
fn memory_can_run_out_and_comes_back() {
    let arena = Arena::new(GIB, 4 * MIB);
    let heap = heap(&arena);
    for size in [16, 100, 1024, 4096, 10_000] {
        let layout = layout(size, 8);
        let all: Vec<Held> = core::iter::from_fn(|| Held::new(&heap, layout, size as u8)).collect();
        let held: u64 = all.len() as u64 * size as u64;
        assert!(held > 2 * MIB, "{size}: {held}");
        all.into_iter().for_each(|object| object.free(&heap));
    }
    // What one size has left in caches does not keep another from its memory.
    heap.trim();
    let usage = heap.usage();
    assert_eq!((usage.slabs, usage.large, usage.frames), (0, 0, PAGE));
}

#[test]
fn zeroed_memory_is_zero_even_where_it_was_used() {
    let arena = Arena::new(GIB, 4 * MIB);
    let heap = heap(&arena);
    for size in [16, 48, 2000, 4096, 50_000] {
        for _ in 0..3 {
            let dirty = Held::new(&heap, layout(size, 8), 0xff).unwrap();
            dirty.free(&heap);
            // SAFETY: the object is ours.
            let object = unsafe { heap.alloc_zeroed(layout(size, 8)) };
            let clean = Held { object, layout: layout(size, 8), pattern: 0 };
            clean.free(&heap);
        }
    }
    let block = heap.allocate_zeroed_frames(3).unwrap();
    // SAFETY: the block is ours.
    let bytes = unsafe { core::slice::from_raw_parts(arena.map.pointer::<u8>(block), 8 * 4096) };
    assert!(bytes.iter().all(|&b| b == 0));
}

#[test]
fn an_object_that_grows_keeps_its_content() {
    let arena = Arena::new(GIB, 8 * MIB);
    let heap = heap(&arena);
    let mut object = Held::new(&heap, layout(10, 8), 0x5a).unwrap();
    for size in [16, 17, 100, 2048, 2049, 4096, 4097, 1_000_000, 5000, 70, 3] {
        // SAFETY: the object has this layout.
        unsafe {
            let moved = heap.realloc(object.object, object.layout, size);
            assert!(!moved.is_null());
            let kept = object.layout.size().min(size);
            object = Held { object: moved, layout: layout(size, 8), pattern: 0x5a };
            assert!(object.bytes()[..kept].iter().all(|&b| b == 0x5a));
            moved.write_bytes(0x5a, size);
        }
    }
    // SAFETY: the object has this layout.
    let same = unsafe { heap.realloc(object.object, object.layout, 16) };
    assert_eq!(same, object.object);
    // SAFETY: a size that does not fit leaves the object where it is.
    assert!(unsafe { heap.realloc(same, layout(16, 8), 1 << 40) }.is_null());
    object.free(&heap);
}

#[test]
fn large_memory_is_counted_in_the_frames_it_takes() {
    let arena = Arena::new(GIB, 8 * MIB);
    let heap = heap(&arena);
    let five = Held::new(&heap, layout(5 * 4096, 8), 1).unwrap();
    let one = Held::new(&heap, layout(3000, 8), 1).unwrap();
    assert_eq!(heap.usage().large, 6 * PAGE);
    CPU.set(1);
    five.free(&heap);
    assert_eq!(heap.usage().large, PAGE);
    one.free(&heap);
    assert_eq!(heap.usage().large, 0);
}

#[test]
fn what_a_cpu_takes_is_counted_apart_from_what_others_take() {
    let arena = Arena::new(GIB, 16 * MIB);
    let heap = heap(&arena);
    Held::new(&heap, layout(8, 8), 0).unwrap().free(&heap);
    let before = heap.taken_here();
    let frames = [heap.allocate_frames(0), heap.allocate_frames(3), heap.allocate_run(5)].map(Option::unwrap);
    let large = Held::new(&heap, layout(9000, 8), 7).unwrap();
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            CPU.set(1);
            heap.allocate_frames(0).unwrap();
            let before = heap.taken_here();
            heap.allocate_frames(9).unwrap();
            assert_eq!(heap.taken_here().since(before), Taken { frames: 2 << 20, large: 0 });
        });
        other.join().unwrap();
    });
    assert_eq!(heap.taken_here().since(before), Taken { frames: 14 * PAGE as i64, large: 3 * PAGE as i64 });
    large.free(&heap);
    // SAFETY: taken above, and used by nobody.
    unsafe {
        heap.free_frames(frames[0], 0).unwrap();
        heap.free_frames(frames[1], 3).unwrap();
        heap.free_run(frames[2], 5).unwrap();
    }
    assert_eq!(heap.taken_here().since(before), Taken::default());
}

#[test]
fn every_alignment_up_to_two_mib_is_kept_and_more_is_refused() {
    let arena = Arena::new(GIB, 16 * MIB);
    let heap = heap(&arena);
    for shift in 0..=21 {
        for size in [1, 100, 3000, 9000, 200_000] {
            Held::new(&heap, layout(size, 1 << shift), 7).unwrap().free(&heap);
        }
    }
    assert!(Held::new(&heap, layout(1, 4 << 20), 0).is_none());
    heap.trim();
    assert_eq!(heap.usage().frames, PAGE);
}

#[test]
fn frames_of_every_order_come_and_go() {
    let arena = Arena::new(GIB, 64 * MIB);
    let heap = heap(&arena);
    let mut random = Random::new(5);
    let mut held = Vec::new();
    for _ in 0..100_000 {
        if random.below(2) == 0 {
            let order = (random.next().trailing_zeros() as Order).min(9);
            held.extend(heap.allocate_frames(order).map(|block| (block, order)));
        } else if !held.is_empty() {
            let (block, order): (Hpa, Order) = held.swap_remove(random.below(held.len() as u64) as usize);
            // SAFETY: the block is not used.
            unsafe { heap.free_frames(block, order) }.unwrap();
        }
    }
    let usage = heap.usage();
    let blocks: u64 = held.iter().map(|&(_, order)| block_bytes(order)).sum();
    assert_eq!(usage.frames, blocks + PAGE);
    let (block, order) = *held.iter().find(|(_, order)| *order > 0).unwrap();
    // SAFETY: refused.
    assert!(unsafe { heap.free_frames(block, order + 1) }.is_err());
    // SAFETY: refused.
    assert!(unsafe { heap.free_frames(block + 1, 0) }.is_err());
    heap.split_frames(block, order, 0).unwrap();
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "freed a second time")]
fn a_second_free_of_an_object_is_noticed() {
    let arena = Arena::new(GIB, 4 * MIB);
    let heap = heap(&arena);
    let object = Held::new(&heap, layout(100, 8), 1).unwrap();
    let again = object.object;
    object.free(&heap);
    // SAFETY: it is not, and that is what the test is about.
    unsafe { heap.dealloc(again, layout(100, 8)) };
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "was written to after it had been freed")]
fn a_write_to_a_freed_object_is_noticed() {
    let arena = Arena::new(GIB, 4 * MIB);
    let heap = heap(&arena);
    let object = Held::new(&heap, layout(100, 8), 1).unwrap();
    let stale = object.object;
    object.free(&heap);
    // SAFETY: it is not, and that is what the test is about. The memory is the arena's.
    unsafe { stale.add(50).write(0) };
    Held::new(&heap, layout(100, 8), 1);
}

#[test]
#[should_panic(expected = "was never allocated so")]
fn an_object_freed_as_another_size_is_noticed_when_it_reaches_the_slabs() {
    let arena = Arena::new(GIB, 4 * MIB);
    let heap = heap(&arena);
    let object = Held::new(&heap, layout(100, 8), 1).unwrap();
    // SAFETY: it is not, and that is what the test is about.
    unsafe { heap.dealloc(object.object, layout(200, 8)) };
    heap.trim();
}

#[test]
fn tables_of_others_are_left_alone() {
    let arena = Arena::new(GIB, 4 * MIB);
    let heap = heap(&arena);
    let mut memory = &heap;
    let table = TableMemory::allocate(&mut memory).unwrap();
    assert_eq!(TableMemory::pointer(&memory, table), arena.map.pointer(table));
    let before = heap.usage().free;
    // SAFETY: nobody uses the tables; the second is the loader's.
    unsafe {
        TableMemory::free(&mut memory, table);
        TableMemory::free(&mut memory, Hpa::new(0x10_0000));
    }
    assert_eq!(heap.usage().free, before + PAGE);
}
