//! A guest that gives memory back, and one that lies about it.
use super::rig::{DISK, Keep, RAM, Rig};
use super::ring::DriverRing;
use crate::memory::on_heap::{HeapMemory, Lender};
use crate::virtio::{Balloon, BalloonDevice, Blk, BlkConfig, Feature, Status};
use mm::addr::{Gpa, Hpa, LARGE_PAGE};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::vec::Vec;

const MUST_TELL_HOST: u64 = 1;
const STATS: u64 = 1 << 1;
const DEFLATE_ON_OOM: u64 = 1 << 2;
const POISON: u64 = 1 << 4;
const REPORTING: u64 = 1 << 5;

/// Pages of a chunk.
const PAGES: u32 = 512;

/// A machine with a balloon, and what a kernel has to do with it.
struct Machine {
    rig: Rig,
    balloon: Arc<Balloon>,
    host: Arc<Lender>,
    /// How often there was something to begin.
    work: Arc<AtomicUsize>,
    frames: Vec<Hpa>,
    features: u64,
}

impl Machine {
    /// A guest of 4 chunks, and a host with one more, after the driver has agreed to `features`. `queues` it opens with
    /// their interrupts.
    fn new(features: u64, queues: &[u16]) -> (Self, Vec<DriverRing>) {
        let (memory, host) = HeapMemory::lent(RAM, 1, DISK as usize);
        let work = Arc::new(AtomicUsize::new(0));
        let count = work.clone();
        let told = Box::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
        });
        let balloon = Balloon::new(memory.share(), 0, features & REPORTING != 0, told).unwrap();
        let rig = Rig::on(memory, Box::new(BalloonDevice::new(balloon.clone())));
        let mut machine = Self { rig, balloon, host, work, frames: Vec::with_capacity(4), features };
        let rings = machine.start(queues);
        (machine, rings)
    }

    fn start(&mut self, queues: &[u16]) -> Vec<DriverRing> {
        let Self { rig, features, .. } = self;
        assert!(rig.negotiate(Feature::VERSION_1 | *features));
        rig.enable_msix();
        rig.route(0, 0, 0x50);
        rig.write(rig.common, 0x10, 2, 0);
        let rings = queues.iter().map(|&queue| rig.open(queue, 32, *features, 0xffff)).collect();
        rig.set_status(0xf);
        rings
    }

    /// Tells of pages, by a buffer.
    fn tell(&mut self, ring: &mut DriverRing, queue: u16, pages: impl IntoIterator<Item = u32>) -> u16 {
        let bytes: Vec<u8> = pages.into_iter().flat_map(u32::to_le_bytes).collect();
        let at = self.rig.allocate(bytes.len() as u64);
        ring.put(at, &bytes);
        let (id, _) = ring.add(&[(at, bytes.len() as u32, false)]);
        self.rig.kick(queue);
        id
    }

    /// What the kernel does, but for the waiting. How many chunks the host got.
    fn reclaim(&mut self) -> usize {
        if self.balloon.begin(&mut self.frames) {
            self.balloon.end();
        }
        let got = self.frames.len();
        self.host.free.lock().extend(self.frames.drain(..));
        got
    }

    fn present(&self) -> u64 {
        self.rig.memory.present() / LARGE_PAGE
    }
}

/// All pages of a chunk.
fn all(chunk: u32) -> core::ops::Range<u32> {
    chunk * PAGES..(chunk + 1) * PAGES
}

#[test]
fn a_chunk_that_is_wholly_in_the_balloon_goes_back_and_comes_again_when_it_is_touched() {
    for features in [MUST_TELL_HOST, Feature::RING_PACKED | Feature::EVENT_IDX, Feature::INDIRECT_DESC] {
        let (mut m, mut rings) = Machine::new(features, &[0, 1]);
        let (mut inflate, mut deflate) = (rings.remove(0), rings.remove(0));
        m.rig.memory.write(Gpa::new(2 * LARGE_PAGE), b"old").unwrap();
        let id = m.tell(&mut inflate, 0, all(2).take(256));
        assert_eq!((inflate.used(), m.present()), (Some((id, 0)), 4), "half of it is not enough");
        let id = m.tell(&mut inflate, 0, all(2).skip(256));
        assert_eq!((inflate.used(), m.balloon.inflated()), (None, LARGE_PAGE), "not before it is gone");
        assert_eq!((m.work.load(Ordering::SeqCst), m.present()), (1, 4));
        assert_eq!((m.reclaim(), inflate.used(), m.present()), (1, Some((id, 0)), 3));
        // Out again.
        let id = m.tell(&mut deflate, 1, all(2));
        assert_eq!((deflate.used(), m.balloon.inflated(), m.present()), (Some((id, 0)), 0, 3));
        assert_eq!((m.rig.bytes(2 * LARGE_PAGE, 3), m.present()), ([0; 3].to_vec(), 4));
        assert_eq!(m.reclaim(), 0);
    }
}

#[test]
fn while_a_chunk_is_on_its_way_out_no_buffer_comes_back() {
    let (mut m, mut rings) = Machine::new(0, &[0, 1]);
    let (mut inflate, mut deflate) = (rings.remove(0), rings.remove(0));
    let first = m.tell(&mut inflate, 0, all(1));
    assert!(m.balloon.begin(&mut m.frames));
    assert_eq!((m.frames.len(), m.rig.board.in_flight()), (1, 1));
    // A CPU may still write to the old place: whoever takes the page out must wait.
    let second = m.tell(&mut deflate, 1, all(1));
    assert_eq!((inflate.used(), deflate.used()), (None, None));
    let before = m.work.load(Ordering::SeqCst);
    m.balloon.end();
    assert_eq!((inflate.used(), deflate.used()), (Some((first, 0)), None));
    assert_eq!(m.work.load(Ordering::SeqCst), before + 1, "there is more");
    m.frames.clear();
    assert_eq!((m.reclaim(), deflate.used()), (0, Some((second, 0))));
    assert_eq!(m.rig.board.in_flight(), 0);
}

#[test]
fn a_page_that_is_taken_out_before_its_chunk_goes_keeps_it() {
    let (mut m, mut rings) = Machine::new(0, &[0, 1]);
    let (mut inflate, mut deflate) = (rings.remove(0), rings.remove(0));
    m.tell(&mut inflate, 0, all(1));
    m.tell(&mut deflate, 1, [PAGES + 7]);
    assert_eq!((m.reclaim(), m.present(), m.balloon.inflated()), (0, 4, 511 << 12));
    assert!(inflate.used().is_some() && deflate.used().is_some());
}

#[test]
fn pages_that_are_no_ram_or_told_twice_change_nothing() {
    let (mut m, mut rings) = Machine::new(0, &[0, 1]);
    let (mut inflate, mut deflate) = (rings.remove(0), rings.remove(0));
    let beyond = 4 * PAGES;
    // The end of RAM, the video window, the hole for devices, the IOAPIC, beyond 4 GiB, the last there is.
    let nobody = [beyond, 0xa0, 0xbf, 0xc_0000, 0xf_ec00, 1 << 20, u32::MAX];
    m.tell(&mut inflate, 0, nobody);
    assert!(inflate.used().is_some());
    m.tell(&mut deflate, 1, nobody);
    assert!(deflate.used().is_some());
    assert_eq!(m.balloon.inflated(), 0);
    m.tell(&mut inflate, 0, all(3).take(511).chain([3 * PAGES; 5]));
    assert_eq!((m.balloon.inflated(), m.reclaim(), m.present()), (511 << 12, 0, 4));
    // A piece of a number, nothing at all, and memory of the wrong direction.
    let at = m.rig.allocate(16);
    for piece in [(at, 3, false), (at, 6, true)] {
        inflate.add(&[piece]);
        m.rig.kick(0);
    }
    assert_eq!((m.balloon.inflated(), m.rig.status() & Status::NEEDS_RESET), (511 << 12, 0));
}

#[test]
fn of_more_pages_than_a_buffer_may_name_the_first_ones_count() {
    let (mut m, mut rings) = Machine::new(0, &[0]);
    m.tell(&mut rings[0], 0, core::iter::repeat_n(u32::MAX, 4096).chain([PAGES]));
    assert!(rings[0].used().is_some());
    assert_eq!(m.balloon.inflated(), 0);
    m.tell(&mut rings[0], 0, core::iter::repeat_n(u32::MAX, 4095).chain([PAGES]));
    assert_eq!(m.balloon.inflated(), 4096);
}

#[test]
fn the_first_chunk_and_one_with_a_ring_stay_whatever_the_guest_says() {
    let (mut m, mut rings) = Machine::new(REPORTING, &[0, 4]);
    let mut report = rings.remove(1);
    let mut inflate = rings.remove(0);
    // All of RAM, in which the rings are.
    let id = report.add(&[(0, (RAM as u32) << 20, true)]).0;
    m.rig.kick(4);
    m.tell(&mut inflate, 0, all(0));
    assert_eq!((m.reclaim(), m.present()), (3, 1));
    assert_eq!(report.used(), Some((id, 0)));
    assert!(inflate.used().is_some());
}

#[test]
fn reported_chunks_go_by_either_number_of_the_queue_and_parts_stay() {
    for queue in [3, 4] {
        let (mut m, mut rings) = Machine::new(REPORTING | Feature::EVENT_IDX, &[queue]);
        let ring = &mut rings[0];
        let half = LARGE_PAGE as u32 / 2;
        // Half of chunk 1, chunks 2 and 3 together, once more, beyond the end, nothing, and around the end of addresses.
        let pieces = [
            (LARGE_PAGE, half, true),
            (2 * LARGE_PAGE - 4096, 2 * half + 8192, true),
            (2 * LARGE_PAGE, 4 * half, true),
            (4 * LARGE_PAGE, 8 * half, true),
            (3 << 30, 4 * half, true),
            ((1 << 52) - LARGE_PAGE, half, true),
        ];
        let (id, _) = ring.add(&pieces);
        m.rig.kick(queue);
        assert_eq!(ring.used(), None);
        assert_eq!((m.reclaim(), m.present(), ring.used()), (2, 2, Some((id, 0))));
        assert!(!m.rig.memory.is_present(2) && !m.rig.memory.is_present(3));
        // What is not there is not to go, and does not come for being named.
        let (id, _) = ring.add(&[(2 * LARGE_PAGE, 4 * half, true)]);
        m.rig.kick(queue);
        assert_eq!((ring.used(), m.reclaim(), m.present()), (Some((id, 0)), 0, 2));
        assert_eq!(m.rig.status() & Status::NEEDS_RESET, 0);
    }
}

#[test]
fn a_guest_that_poisons_its_free_pages_keeps_them_unless_the_poison_is_zero() {
    for (poison, goes) in [(0, 1), (0xaaaa_aaaa, 0)] {
        let (mut m, mut rings) = Machine::new(REPORTING | POISON, &[4]);
        m.rig.write(m.rig.config, 12, 4, poison);
        assert_eq!(m.rig.read(m.rig.config, 12, 4), poison);
        m.rig.memory.write(Gpa::new(LARGE_PAGE), &[0xaa]).unwrap();
        rings[0].add(&[(LARGE_PAGE, LARGE_PAGE as u32, true)]);
        m.rig.kick(4);
        assert_eq!(m.reclaim(), goes);
        assert!(rings[0].used().is_some());
        assert_eq!(m.rig.bytes(LARGE_PAGE, 1), [if goes == 1 { 0 } else { 0xaa }]);
    }
}

#[test]
fn without_the_operators_wish_nothing_is_reported() {
    let (m, _) = Machine::new(0, &[0]);
    assert_eq!(m.rig.offered() & 0xff, MUST_TELL_HOST | STATS | DEFLATE_ON_OOM);
    m.rig.write(m.rig.common, 0x16, 2, 3);
    assert_eq!(m.rig.read(m.rig.common, 0x18, 2), 0, "no such queue");
    let (m, _) = Machine::new(REPORTING, &[0]);
    assert_ne!(m.rig.offered() & REPORTING, 0);
}

#[test]
fn a_new_target_is_told_by_an_interrupt_and_read_from_the_configuration() {
    let (mut m, _) = Machine::new(0, &[0]);
    assert!(m.balloon.has_driver());
    let generation = m.rig.read(m.rig.common, 0x15, 1);
    m.balloon.set_target(3 << 20);
    assert_eq!((m.balloon.target(), m.rig.interrupt(0)), (3 << 20, Some(0x50)));
    assert_ne!(m.rig.read(m.rig.common, 0x15, 1), generation);
    assert_eq!(m.rig.read(m.rig.config, 0, 4), 768);
    m.rig.write(m.rig.config, 4, 4, 700);
    m.rig.write(m.rig.config, 0, 4, 1);
    m.rig.write(m.rig.config, 4, 2, 1);
    assert_eq!(m.rig.read(m.rig.config, 0, 8), 700 << 32 | 768);
    m.balloon.set_target(u64::MAX);
    assert_eq!(m.rig.read(m.rig.config, 0, 4), u64::from(u32::MAX));
    m.rig.set_status(0);
    assert!(!m.balloon.has_driver());
    assert_eq!(m.rig.read(m.rig.config, 0, 8), u32::MAX.into(), "the wish outlives a reset");
}

#[test]
fn statistics_are_those_of_the_last_buffer_and_asked_for_anew() {
    let (mut m, mut rings) = Machine::new(STATS, &[2]);
    let ring = &mut rings[0];
    assert_eq!(m.balloon.statistics(), None);
    let mut say = |m: &mut Machine, entries: &[(u16, u64)], more: &[u8]| {
        let mut bytes: Vec<u8> = Vec::new();
        for (tag, value) in entries {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(value.to_le_bytes());
        }
        bytes.extend(more);
        let at = m.rig.allocate(4096);
        ring.put(at, &bytes);
        let before = ring.used();
        ring.add(&[(at, bytes.len() as u32, false)]);
        m.rig.kick(2);
        before.is_some()
    };
    assert!(!say(&mut m, &[(4, 10), (5, 20), (6, 15), (77, 1)], &[1, 2, 3]));
    let known = m.balloon.statistics().unwrap();
    assert_eq!((known.free, known.total, known.available), (Some(10), Some(20), Some(15)));
    // It was asked for the next.
    assert!(say(&mut m, &[(4, 11)], &[]));
    // One that says more than it is asked for gets the older buffer back.
    assert!(!say(&mut m, &[(4, 12)], &[]));
    assert!(say(&mut m, &[], &[9; 9]));
    assert_eq!(m.balloon.statistics(), Some(Default::default()));
}

#[test]
fn a_reset_empties_the_balloon_and_waits_for_what_is_on_its_way() {
    let (mut m, mut rings) = Machine::new(0, &[0]);
    m.tell(&mut rings[0], 0, all(1).chain(all(2).take(100)));
    assert!(m.balloon.begin(&mut m.frames));
    m.tell(&mut rings[0], 0, all(3));
    m.rig.set_status(0);
    assert_ne!(m.rig.status(), 0, "the guest must not use its memory for something else yet");
    m.balloon.end();
    assert_eq!((m.rig.status(), m.balloon.inflated()), (0, 0));
    m.host.free.lock().append(&mut m.frames);
    // Chunk 3 was only spoken of.
    assert_eq!((m.reclaim(), m.present()), (0, 3));
    let mut rings = m.start(&[0]);
    m.tell(&mut rings[0], 0, all(3));
    assert_eq!((m.reclaim(), m.present()), (1, 2));
    assert_eq!(rings[0].used().map(|used| used.1), Some(0));
    assert_eq!(rings[0].used(), None, "none of those before the reset");
}

#[test]
fn the_end_of_a_vm_waits_for_chunks_on_their_way() {
    let (mut m, mut rings) = Machine::new(0, &[0]);
    m.tell(&mut rings[0], 0, all(1));
    assert!(m.balloon.begin(&mut m.frames));
    let told = Arc::new(AtomicUsize::new(0));
    let count = told.clone();
    m.rig.board.stop(Arc::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
    }));
    assert_eq!((m.rig.board.in_flight(), told.load(Ordering::SeqCst)), (1, 0));
    m.balloon.end();
    assert_eq!((m.rig.board.in_flight(), told.load(Ordering::SeqCst)), (0, 1));
    m.tell(&mut rings[0], 0, all(2));
    assert!(!m.balloon.begin(&mut m.frames), "it takes no further buffers");
}

#[test]
fn a_batch_is_as_large_as_there_is_room_and_buffers_wait_for_the_last() {
    let (mut m, mut rings) = Machine::new(REPORTING, &[4]);
    let (id, _) = rings[0].add(&[(LARGE_PAGE, 3 * LARGE_PAGE as u32, true)]);
    m.rig.kick(4);
    m.frames = Vec::with_capacity(2);
    let room = m.frames.capacity().min(3);
    assert_eq!((m.reclaim(), rings[0].used().is_some()), (room, room == 3));
    while rings[0].used().is_none_or(|used| used != (id, 0)) {
        assert!(m.reclaim() > 0);
    }
    assert_eq!(m.present(), 1);
}

#[test]
fn more_buffers_than_a_queue_has_at_once_stop_the_device() {
    let (mut m, mut rings) = Machine::new(0, &[0]);
    m.tell(&mut rings[0], 0, all(1));
    for _ in 0..400 {
        if m.rig.status() & Status::NEEDS_RESET != 0 {
            break;
        }
        // The same descriptor over and over again, never waiting for it.
        rings[0].repeat_last();
        m.rig.kick(0);
    }
    assert_ne!(m.rig.status() & Status::NEEDS_RESET, 0);
    assert_eq!(m.reclaim(), 1);
}

#[test]
fn memory_that_a_disk_request_uses_is_not_free_before_the_request_is_done() {
    let (memory, host) = HeapMemory::lent(RAM, 0, DISK as usize);
    let mut rig = Rig::with_disk_on(memory, |disk| {
        let keep = Arc::new(Keep(Arc::default()));
        Box::new(Blk::new(BlkConfig { disk, serial: "s".into(), queues: 1, queue_size: 64, keep }))
    });
    let mut ring = rig.start(0);
    rig.disk.holds.store(true, Ordering::SeqCst);
    let (at, mut pieces) = rig.request(0, 0, 512);
    // Into chunk 2, which the guest then says that it does not use.
    pieces[1].0 = 2 * LARGE_PAGE;
    rig.memory.write(Gpa::new(2 * LARGE_PAGE), &[0xee; 512]).unwrap();
    ring.add(&pieces);
    rig.kick(0);
    assert_eq!(rig.disk.held(), 1);
    let frame = rig.memory.release(2).unwrap();
    rig.board.mark_requests();
    assert!(!rig.board.marked_are_done());
    // A request that comes later is not waited for, and goes to the new place.
    host.free.lock().push(Hpa::new(frame.get()));
    let target = rig.disk.asked.lock().unwrap()[0].segments[0].address;
    assert_eq!(target, frame, "the disk writes to where it was");
    rig.disk.finish(0);
    assert!(rig.board.marked_are_done());
    assert_eq!((ring.used().map(|used| used.1), rig.result(at)), (Some(513), 0));
    rig.board.mark_requests();
    let (_, mut pieces) = rig.request(0, 0, 512);
    pieces[1].0 = 2 * LARGE_PAGE;
    ring.add(&pieces);
    rig.kick(0);
    assert_eq!(rig.disk.held(), 1);
    assert!(rig.board.marked_are_done(), "it came later");
    rig.disk.finish(0);
}
