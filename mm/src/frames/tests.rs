use std::vec;
use std::vec::Vec;

use super::*;
use crate::arena::Arena;
use crate::random::Random;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn allocator(arena: &Arena) -> FrameAllocator {
    let mut frames = FrameAllocator::new(arena.map);
    // SAFETY: the arena is memory that only the allocator uses.
    unsafe { frames.add_region(arena.range) }.unwrap();
    frames
}

fn free(frames: &mut FrameAllocator, block: Hpa, order: Order) -> Result<(), FreeError> {
    // SAFETY: tests free blocks that they do not use.
    unsafe { frames.free(block, order) }
}

fn add(frames: &mut FrameAllocator, start: u64, bytes: u64) -> Result<u64, RegionError> {
    // SAFETY: tests pass parts of arenas, or ranges that are refused.
    unsafe { frames.add_region(PhysicalRange { start: Hpa::new(start), bytes }) }
}

/// Which frames of an arena are taken.
struct Model {
    first: u64,
    taken: Vec<bool>,
}

impl Model {
    fn new(arena: &Arena) -> Self {
        Self {
            first: arena.range.start.get() >> FRAME_SHIFT,
            taken: vec![false; (arena.range.bytes / PAGE) as usize],
        }
    }

    fn mark(&mut self, start: Hpa, count: u64, taken: bool) {
        let at = ((start.get() >> FRAME_SHIFT) - self.first) as usize;
        for frame in &mut self.taken[at..at + count as usize] {
            assert_ne!(*frame, taken, "{start} is handed out twice");
            *frame = taken;
        }
    }

    fn free_bytes(&self, frames: &FrameAllocator) -> u64 {
        frames.total_bytes() - self.taken.iter().filter(|&&t| t).count() as u64 * PAGE
    }
}

#[test]
fn blocks_never_overlap_and_join_again_when_all_are_free() {
    let arena = Arena::new(GIB, 64 * MIB);
    let mut frames = allocator(&arena);
    let whole = (frames.free_bytes(), frames.largest_free());
    let mut model = Model::new(&arena);
    let mut random = Random::new(1);
    let mut held: Vec<(Hpa, Order)> = Vec::new();
    for step in 0..1_000_000u32 {
        // Phases of growth and of shrinking, so that memory runs full and empty in between.
        let grow = if step / 50_000 % 2 == 0 { 60 } else { 40 };
        if random.below(100) < grow {
            let order = (random.next().trailing_zeros() as Order).min(10);
            let Some(block) = frames.allocate(order) else { continue };
            assert!(block.is_aligned(block_bytes(order)));
            model.mark(block, 1 << order, true);
            held.push((block, order));
        } else if !held.is_empty() {
            let (block, order) = held.swap_remove(random.below(held.len() as u64) as usize);
            model.mark(block, 1 << order, false);
            free(&mut frames, block, order).unwrap();
        }
        if step % 10_000 == 0 {
            assert_eq!(frames.free_bytes(), model.free_bytes(&frames));
        }
    }
    for (block, order) in held {
        free(&mut frames, block, order).unwrap();
    }
    assert_eq!((frames.free_bytes(), frames.largest_free()), whole);
    assert_eq!(frames.free_bytes(), frames.total_bytes());
}

#[test]
fn arbitrary_frees_succeed_exactly_for_what_is_held() {
    let arena = Arena::new(GIB, 4 * MIB);
    let mut frames = allocator(&arena);
    let mut random = Random::new(2);
    let mut held = std::collections::BTreeMap::new();
    let mut freed = 0;
    for _ in 0..500_000 {
        if random.below(8) == 0 {
            let order = random.below(6) as Order;
            held.extend(frames.allocate(order).map(|block| (block, order)));
        } else {
            // Somewhere in the arena or near it, sometimes not on a frame.
            let skew = if random.below(50) == 0 { random.below(PAGE) } else { 0 };
            let block = Hpa::new(GIB - 16 * PAGE + random.below(1056) * PAGE + skew);
            let order = random.below(8) as Order;
            let mine = held.get(&block) == Some(&order);
            assert_eq!(free(&mut frames, block, order).is_ok(), mine, "{block} {order}");
            if mine {
                held.remove(&block);
                freed += 1;
            }
        }
    }
    assert!(freed > 10_000);
    for (block, order) in held {
        free(&mut frames, block, order).unwrap();
    }
    assert_eq!(frames.free_bytes(), frames.total_bytes());
}

#[test]
fn a_request_fails_only_when_no_block_of_its_size_is_free() {
    let arena = Arena::new(GIB, 4 * MIB);
    let mut frames = allocator(&arena);
    let all: Vec<Hpa> = core::iter::from_fn(|| frames.allocate(0)).collect();
    assert_eq!(all.len() as u64 * PAGE, frames.total_bytes());
    assert_eq!((frames.free_bytes(), frames.largest_free()), (0, None));
    free(&mut frames, all[0], 0).unwrap();
    assert_eq!(frames.allocate(1), None);
    assert_eq!(frames.allocate(0), Some(all[0]));
    assert_eq!(frames.allocate(MAX_ORDER + 1), None);
}

#[test]
fn two_gib_cost_512_kib_and_hold_a_block_of_one_gib() {
    let arena = Arena::new(4 * GIB, 2 * GIB);
    let mut frames = allocator(&arena);
    assert_eq!(frames.table_bytes(), 512 * 1024);
    assert_eq!(frames.total_bytes(), 2 * GIB - 512 * 1024);
    let block = frames.allocate(MAX_ORDER).unwrap();
    assert_eq!(block, Hpa::new(4 * GIB));
    assert_eq!(frames.allocate(MAX_ORDER), None);
    free(&mut frames, block, MAX_ORDER).unwrap();
    assert_eq!(frames.largest_free(), Some(MAX_ORDER));
}

#[test]
fn a_second_free_is_refused_and_changes_nothing() {
    let arena = Arena::new(GIB, 4 * MIB);
    let mut frames = allocator(&arena);
    let (a, b) = (frames.allocate(0).unwrap(), frames.allocate(0).unwrap());
    free(&mut frames, a, 0).unwrap();
    let before = frames.free_bytes();
    assert_eq!(free(&mut frames, a, 0), Err(FreeError::AlreadyFree { block: a, order: 0 }));
    assert_eq!(frames.free_bytes(), before);
    free(&mut frames, b, 0).unwrap();
    // Both have become part of a larger block by now.
    for block in [a, b] {
        assert_eq!(free(&mut frames, block, 0), Err(FreeError::AlreadyFree { block, order: 0 }));
    }
    assert_eq!(frames.free_bytes(), frames.total_bytes());
}

#[test]
fn what_was_not_handed_out_like_that_is_refused() {
    let arena = Arena::new(GIB, 4 * MIB);
    let mut frames = allocator(&arena);
    let block = frames.allocate(3).unwrap();
    assert_eq!(free(&mut frames, block, 2), Err(FreeError::WrongOrder { block, order: 2, taken: 3 }));
    let inside = block + PAGE;
    assert_eq!(free(&mut frames, inside, 0), Err(FreeError::AlreadyFree { block: inside, order: 0 }));
    assert_eq!(free(&mut frames, inside, 1), Err(FreeError::Misaligned { block: inside, order: 1 }));
    assert_eq!(free(&mut frames, block + 1, 0), Err(FreeError::Misaligned { block: block + 1, order: 0 }));
    assert!(matches!(free(&mut frames, block, MAX_ORDER + 1), Err(FreeError::Misaligned { .. })));
    for foreign in [Hpa::new(0), Hpa::new(GIB - PAGE), Hpa::new(GIB + 4 * MIB), Hpa::new_truncate(!0xfff)] {
        assert_eq!(free(&mut frames, foreign, 0), Err(FreeError::Foreign { block: foreign, order: 0 }));
    }
    // The side table itself is nobody's.
    let table = Hpa::new(GIB + 4 * MIB - PAGE);
    assert_eq!(free(&mut frames, table, 0), Err(FreeError::Foreign { block: table, order: 0 }));
    // A block that begins in the region and ends behind it.
    let last = Hpa::new(GIB + 2 * MIB);
    assert_eq!(free(&mut frames, last, 9), Err(FreeError::Foreign { block: last, order: 9 }));
    free(&mut frames, block, 3).unwrap();
    assert_eq!(frames.free_bytes(), frames.total_bytes());
}

#[test]
fn low_memory_is_used_last_and_found_when_asked_for() {
    // 8 MiB on each side of 4 GiB.
    let arena = Arena::new(4 * GIB - 8 * MIB, 16 * MIB);
    let mut frames = allocator(&arena);
    let limit = Hpa::new(4 * GIB);
    for _ in 0..16 {
        assert!(frames.allocate(0).unwrap() >= limit);
    }
    let low = frames.allocate_below(2, limit).unwrap();
    assert!(low + block_bytes(2) <= limit);
    while let Some(block) = frames.allocate_below(0, limit) {
        assert!(block < limit);
    }
    // None left below, but above.
    assert!(frames.allocate(0).unwrap() >= limit);
}

#[test]
fn any_limit_is_kept() {
    let arena = Arena::new(GIB, 8 * MIB);
    let mut frames = allocator(&arena);
    let limit = Hpa::new(GIB + 3 * PAGE + 1);
    assert_eq!(frames.allocate_below(1, limit), Some(Hpa::new(GIB)));
    assert_eq!(frames.allocate_below(1, limit), None);
    assert_eq!(frames.allocate_below(0, limit), Some(Hpa::new(GIB + 2 * PAGE)));
    assert_eq!(frames.allocate_below(0, limit), None);
    assert_eq!(frames.allocate_below(0, Hpa::new(0)), None);
    assert_eq!(frames.allocate_below(MAX_ORDER + 1, Hpa::new(PHYSICAL)), None);
}

const PHYSICAL: u64 = crate::addr::PHYSICAL_MASK;

#[test]
fn memory_below_one_mib_serves_start_up_code() {
    let arena = Arena::new(0, 4 * MIB);
    let mut frames = FrameAllocator::new(arena.map);
    add(&mut frames, 0x1000, 0x9f000 - 0x1000).unwrap();
    add(&mut frames, MIB, 3 * MIB).unwrap();
    assert!(frames.allocate(0).unwrap().get() >= MIB);
    let trampoline = frames.allocate_below(0, Hpa::new(MIB)).unwrap();
    assert!(trampoline.get() < MIB);
    free(&mut frames, trampoline, 0).unwrap();
}

#[test]
fn blocks_do_not_join_across_one_mib() {
    let arena = Arena::new(0, 4 * MIB);
    let mut frames = allocator(&arena);
    let all: Vec<Hpa> = core::iter::from_fn(|| frames.allocate(0)).collect();
    for frame in all {
        free(&mut frames, frame, 0).unwrap();
    }
    // Frame 0 is left out, so the largest block below 1 MiB is its upper half.
    assert_eq!(frames.allocate_below(8, Hpa::new(MIB)), None);
    assert_eq!(frames.allocate_below(7, Hpa::new(MIB)), Some(Hpa::new(MIB / 2)));
    let rest = core::iter::from_fn(|| frames.allocate_below(0, Hpa::new(MIB))).count();
    assert_eq!(rest, 127);
}

#[test]
fn a_run_takes_only_the_frames_it_needs() {
    let arena = Arena::new(GIB, 64 * MIB);
    let mut frames = allocator(&arena);
    let mut model = Model::new(&arena);
    let mut random = Random::new(7);
    let mut held = Vec::new();
    for _ in 0..200_000 {
        if random.below(2) == 0 {
            let count = 1 + random.below(100);
            let Some(start) = frames.allocate_run(count) else { continue };
            assert!(start.is_aligned(PAGE * count.next_power_of_two()));
            model.mark(start, count, true);
            held.push((start, count));
        } else if !held.is_empty() {
            let (start, count) = held.swap_remove(random.below(held.len() as u64) as usize);
            model.mark(start, count, false);
            // SAFETY: nobody uses the run.
            unsafe { frames.free_run(start, count) }.unwrap();
        }
    }
    assert_eq!(frames.free_bytes(), model.free_bytes(&frames));
    for (start, count) in held {
        // SAFETY: nobody uses the run.
        unsafe { frames.free_run(start, count) }.unwrap();
    }
    assert_eq!(frames.free_bytes(), frames.total_bytes());
}

#[test]
fn a_run_freed_with_another_count_is_refused_as_a_whole() {
    let arena = Arena::new(GIB, 4 * MIB);
    let mut frames = allocator(&arena);
    let run = frames.allocate_run(7).unwrap();
    let before = frames.free_bytes();
    for count in [1, 2, 3, 5, 8, u64::MAX] {
        // SAFETY: nobody uses the run.
        assert!(unsafe { frames.free_run(run, count) }.is_err(), "{count}");
    }
    assert_eq!(frames.free_bytes(), before);
    // SAFETY: nobody uses the run.
    unsafe { frames.free_run(run, 7) }.unwrap();
    assert_eq!(frames.allocate_run(u64::MAX), None);
    assert_eq!(frames.allocate_run((1 << MAX_ORDER) + 1), None);
}

#[test]
fn a_split_block_is_freed_in_parts() {
    let arena = Arena::new(GIB, 8 * MIB);
    let mut frames = allocator(&arena);
    let block = frames.allocate(9).unwrap();
    assert!(matches!(frames.split(block, 8, 0), Err(FreeError::WrongOrder { taken: 9, .. })));
    assert!(matches!(frames.split(block, 9, 10), Err(FreeError::WrongOrder { .. })));
    frames.split(block, 9, 4).unwrap();
    assert!(free(&mut frames, block, 9).is_err());
    for i in 0..32 {
        free(&mut frames, block + i * block_bytes(4), 4).unwrap();
    }
    assert_eq!(frames.free_bytes(), frames.total_bytes());
}

#[test]
fn ends_that_are_no_whole_frames_are_trimmed() {
    let arena = Arena::new(GIB, 2 * MIB);
    let mut frames = FrameAllocator::new(arena.map);
    // 1 + 4094 bytes too many, and two neighbours that share a frame which neither gets.
    assert_eq!(add(&mut frames, GIB + 1, MIB - 2), Ok(MIB - 3 * PAGE));
    assert_eq!(add(&mut frames, GIB + MIB - 1, MIB + 1), Ok(MIB - PAGE));
    let all: Vec<Hpa> = core::iter::from_fn(|| frames.allocate(0)).collect();
    assert!(all.iter().all(|&f| f.get() > GIB && f.get() + PAGE <= GIB + 2 * MIB));
}

#[test]
fn memory_that_cannot_be_managed_is_refused() {
    let arena = Arena::new(GIB, 4 * MIB);
    let mut frames = FrameAllocator::new(arena.map);
    let too_small = |r| matches!(r, Err(RegionError::TooSmall { .. }));
    assert!(too_small(add(&mut frames, GIB, 0)));
    assert!(too_small(add(&mut frames, GIB, PAGE)));
    assert!(too_small(add(&mut frames, GIB + 1, 2 * PAGE)));
    let beyond = |r| matches!(r, Err(RegionError::BeyondPhysical { .. }));
    assert!(beyond(add(&mut frames, PHYSICAL - PAGE + 1, 2 * PAGE)));
    assert!(beyond(add(&mut frames, GIB, u64::MAX)));
    assert_eq!(add(&mut frames, GIB + MIB, MIB), Ok(MIB - PAGE));
    for (start, bytes) in [(MIB, MIB), (0, 4 * MIB), (MIB + 8 * PAGE, PAGE * 4), (2 * MIB - PAGE, MIB)] {
        let result = add(&mut frames, GIB + start, bytes);
        assert!(matches!(result, Err(RegionError::Overlaps { .. })), "{start:#x}");
    }
    assert_eq!(frames.total_bytes(), MIB - PAGE);
}

#[test]
fn more_stretches_than_fit_are_refused_and_the_rest_works() {
    let arena = Arena::new(GIB, 8 * MIB);
    let mut frames = FrameAllocator::new(arena.map);
    let ranges = (0..200).map(|i| PhysicalRange { start: Hpa::new(GIB + i * 8 * PAGE), bytes: 4 * PAGE });
    // SAFETY: parts of the arena.
    let added = unsafe { frames.add_regions(ranges) };
    assert_eq!(added.usable, MAX_REGIONS as u64 * 3 * PAGE);
    assert_eq!(added.refused, (200 - MAX_REGIONS as u64) * 4 * PAGE);
    assert_eq!(added.reason, Some(RegionError::TooMany));
    assert_eq!(core::iter::from_fn(|| frames.allocate(0)).count(), 3 * MAX_REGIONS);
}

#[test]
fn regions_come_in_any_order_and_neighbours_become_one() {
    let arena = Arena::new(GIB, 16 * MIB);
    let mut frames = FrameAllocator::new(arena.map);
    let range =
        |start: u64, bytes: u64| PhysicalRange { start: Hpa::new(GIB + start * MIB), bytes: bytes * MIB };
    // SAFETY: parts of the arena.
    let added =
        unsafe { frames.add_regions([range(8, 2), range(10, 6), range(4, 1), range(0, 2), range(2, 1)]) };
    assert_eq!(added.refused, 0);
    assert_eq!(frames.table_bytes(), 3 * PAGE);
    assert_eq!(frames.total_bytes(), 12 * MIB - 3 * PAGE);
    // 8 to 12 MiB is one block only if the first two became one region.
    assert_eq!(frames.largest_free(), Some(10));
    let all: Vec<Hpa> = core::iter::from_fn(|| frames.allocate(0)).collect();
    for frame in all {
        free(&mut frames, frame, 0).unwrap();
    }
    assert_eq!(frames.free_bytes(), frames.total_bytes());
    assert_eq!(frames.largest_free(), Some(10));
}

#[test]
fn holes_of_any_size_cost_nothing() {
    // Two far ends of one address space.
    let arena = Arena::identity(4 * MIB);
    let other = Arena::identity(600 * MIB);
    let mut frames = FrameAllocator::new(arena.map);
    for a in [&arena, &other] {
        // SAFETY: arenas are the allocator's alone.
        unsafe { frames.add_region(a.range) }.unwrap();
    }
    assert_eq!(frames.table_bytes(), PAGE + 38 * PAGE);
    assert!(frames.owns(arena.range.start) && frames.owns(other.range.start));
    assert!(!frames.owns(Hpa::new(0)));
}

#[test]
fn a_cache_exchanges_frames_in_batches() {
    let arena = Arena::new(GIB, 4 * MIB);
    let mut frames = allocator(&arena);
    let mut cache = FrameCache::new();
    assert_eq!(cache.take(), None);
    assert_eq!(cache.refill(&mut frames), FrameCache::BATCH);
    let mut held: Vec<Hpa> = core::iter::from_fn(|| cache.take()).collect();
    assert_eq!(held.len(), FrameCache::BATCH);
    while cache.refill(&mut frames) > 0 {
        held.extend(core::iter::from_fn(|| cache.take()));
    }
    assert_eq!(held.len() as u64 * PAGE, frames.total_bytes());
    for frame in held {
        if cache.is_full() {
            cache.drain(&mut frames, FrameCache::BATCH).unwrap();
            assert_eq!(cache.len(), FrameCache::BATCH);
        }
        // SAFETY: the frame is not used.
        unsafe { cache.put(frame) }.unwrap();
    }
    cache.drain(&mut frames, 0).unwrap();
    assert!(cache.is_empty());
    assert_eq!(frames.free_bytes(), frames.total_bytes());
}

#[test]
fn a_full_cache_gives_the_frame_back() {
    let arena = Arena::new(GIB, 4 * MIB);
    let mut frames = allocator(&arena);
    let mut cache = FrameCache::new();
    cache.refill(&mut frames);
    cache.refill(&mut frames);
    assert!(cache.is_full());
    let frame = frames.allocate(0).unwrap();
    // SAFETY: the frame is not used.
    assert_eq!(unsafe { cache.put(frame) }, Err(frame));
}

#[test]
fn a_frame_that_went_past_the_cache_is_found_when_it_is_drained() {
    let arena = Arena::new(GIB, 4 * MIB);
    let mut frames = allocator(&arena);
    let mut cache = FrameCache::new();
    let (a, b) = (frames.allocate(0).unwrap(), frames.allocate(0).unwrap());
    // SAFETY: the frames are not used.
    unsafe {
        cache.put(a).unwrap();
        cache.put(b).unwrap();
    }
    free(&mut frames, a, 0).unwrap();
    assert_eq!(cache.drain(&mut frames, 0), Err(FreeError::AlreadyFree { block: a, order: 0 }));
    assert_eq!(cache.drain(&mut frames, 0), Ok(()));
    assert_eq!(frames.free_bytes(), frames.total_bytes());
}

#[test]
fn orders_hold_what_they_are_asked_for() {
    assert_eq!(order_for(0), Some(0));
    assert_eq!(order_for(PAGE), Some(0));
    assert_eq!(order_for(PAGE + 1), Some(1));
    assert_eq!(order_for(2 * MIB), Some(9));
    assert_eq!(order_for(GIB), Some(MAX_ORDER));
    assert_eq!(order_for(GIB + 1), None);
    assert_eq!(order_for(u64::MAX), None);
}
