//! Random numbers.
use super::rig::Rig;
use crate::virtio::{Entropy, Feature, Rng, Status};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Predictable, for once: 1, 2, 3, with no zero.
struct Counting(AtomicU8);
impl Entropy for Counting {
    fn fill(&self, out: &mut [u8]) -> bool {
        out.fill_with(|| self.0.fetch_add(1, Ordering::Relaxed) | 1);
        true
    }
}

/// Has 64 bytes, then no more.
struct Exhausted(AtomicU8);
impl Entropy for Exhausted {
    fn fill(&self, out: &mut [u8]) -> bool {
        out.fill(7);
        self.0.swap(0, Ordering::Relaxed) != 0
    }
}

#[test]
fn a_source_that_runs_dry_shortens_the_answer_and_nothing_else_is_passed_off_as_random() {
    let mut rig = Rig::of(Box::new(Rng::new(Arc::new(Exhausted(AtomicU8::new(1))))));
    let mut ring = rig.start(0);
    let at = rig.allocate(4096);
    for bytes in [64, 0] {
        let (id, _) = ring.add(&[(at, 100, true)]);
        rig.kick(0);
        assert_eq!(ring.used(), Some((id, bytes)));
    }
    assert_eq!((rig.bytes(at, 64), rig.bytes(at + 64, 36)), (std::vec![7; 64], std::vec![0; 36]));
}

fn rig() -> Rig {
    Rig::of(Box::new(Rng::new(Arc::new(Counting(AtomicU8::new(1))))))
}

#[test]
fn buffers_come_back_filled() {
    for features in [0, Feature::RING_PACKED | Feature::EVENT_IDX, Feature::INDIRECT_DESC] {
        let mut rig = rig();
        let mut ring = rig.start(features);
        ring.enable_interrupts();
        let at = rig.allocate(4096);
        let (id, _) = ring.add(&[(at, 10, true), (at + 100, 90, true)]);
        rig.kick(0);
        assert_eq!((ring.used(), rig.interrupt(1)), (Some((id, 100)), Some(0x61)));
        assert!(rig.bytes(at, 10).iter().chain(&rig.bytes(at + 100, 90)).all(|&b| b != 0));
        assert_eq!((rig.bytes(at + 10, 90), rig.bytes(at + 190, 8)), (std::vec![0; 90], std::vec![0; 8]));
    }
}

#[test]
fn a_large_buffer_gets_some_and_one_without_room_none() {
    let mut rig = rig();
    let mut ring = rig.start(0);
    let at = rig.allocate(64 << 10);
    for (piece, bytes) in [((at, 64 << 10, true), 4096), ((at, 100, false), 0)] {
        let (id, _) = ring.add(&[piece]);
        rig.kick(0);
        assert_eq!(ring.used(), Some((id, bytes)));
    }
    assert_eq!(rig.bytes(at + 4096, 16), [0; 16]);
    assert_eq!(rig.status() & Status::NEEDS_RESET, 0);
    rig.kick(1);
    assert_eq!(rig.board.in_flight(), 0);
}
