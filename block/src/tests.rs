//! A disk of 64 blocks in the test's own memory, with a page beside it that plays a guest's.
#![allow(unsafe_code)] // lends the test's memory to the disk
use super::*;
use alloc::alloc::{Layout, alloc_zeroed, dealloc};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use mm::DirectMap;
use mm::addr::{Hpa, Hva};
use spin::Mutex;
use std::format;
use std::string::ToString;
use std::vec;

const DISK: u64 = 64 * 512;
const LAYOUT: Layout = match Layout::from_size_align(2 << 20, 2 << 20) {
    Ok(layout) => layout,
    Err(_) => panic!(),
};

/// 2 MiB of memory at physical address 0: the disk, and the rest for data.
struct Memory(*mut u8);

// SAFETY: the memory is used by one test, whose accesses are in order.
unsafe impl Send for Memory {}
// SAFETY: likewise.
unsafe impl Sync for Memory {}

impl Memory {
    fn new() -> Arc<Self> {
        // SAFETY: the layout has a size.
        Arc::new(Self(unsafe { alloc_zeroed(LAYOUT) }))
    }

    fn disk(&self) -> MemoryDisk {
        let map = DirectMap::new(Hva::from_ptr(self.0));
        // SAFETY: the first bytes of this memory, which a test accesses by the disk only.
        unsafe { MemoryDisk::new("m".to_string(), map, Hpa::new(0), DISK + 100) }
    }

    fn write(&self, at: u64, bytes: &[u8]) {
        // SAFETY: tests stay within the 2 MiB.
        unsafe { self.0.add(at as usize).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }

    fn read(&self, at: u64, len: usize) -> Vec<u8> {
        // SAFETY: tests stay within the 2 MiB.
        unsafe { core::slice::from_raw_parts(self.0.add(at as usize), len) }.to_vec()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout.
        unsafe { dealloc(self.0, LAYOUT) };
    }
}

#[derive(Default)]
struct Told(Mutex<Vec<(u64, Result<(), BlockError>)>>);

impl Completion for Told {
    fn complete(&self, tag: u64, result: Result<(), BlockError>) {
        self.0.lock().push((tag, result));
    }
}

fn segment(address: u64, bytes: u32) -> Segment {
    Segment { address: Hpa::new(address), bytes }
}

/// The result of a request to a device that completes at once.
fn ask(
    device: &dyn BlockDevice,
    operation: Operation,
    block: u64,
    blocks: u64,
    segments: &[Segment],
) -> Result<(), BlockError> {
    let told = Arc::new(Told::default());
    let done = Done { to: told.clone(), tag: 7 };
    device.submit(Request { operation, block, blocks, segments, done });
    device.start();
    let answers = told.0.lock().clone();
    assert_eq!(answers.len(), 1, "completed exactly once");
    assert_eq!(answers[0].0, 7);
    answers[0].1
}

const WRITE: Operation = Operation::Write { durable: false };

#[test]
fn what_is_written_in_pieces_is_read_in_others() {
    let memory = Memory::new();
    let disk = memory.disk();
    assert_eq!(disk.geometry().blocks, 64, "whole blocks");
    let data: Vec<u8> = (0..1024u32).map(|i| (i * 7) as u8).collect();
    memory.write(0x10_0000, &data);
    assert_eq!(ask(&disk, WRITE, 3, 2, &[segment(0x10_0000, 100), segment(0x10_0064, 924)]), Ok(()));
    assert_eq!(ask(&disk, Operation::Read, 3, 2, &[segment(0x18_0001, 1023), segment(0x19_0000, 1)]), Ok(()));
    assert_eq!(memory.read(0x18_0001, 1023), data[..1023]);
    assert_eq!(memory.read(0x19_0000, 1), data[1023..]);
    assert_eq!(ask(&disk, Operation::WriteZeroes { deallocate: true }, 4, 1, &[]), Ok(()));
    assert_eq!(memory.read(4 * 512, 512), vec![0; 512]);
    assert_eq!(memory.read(3 * 512, 512), data[..512], "its neighbour stays");
}

#[test]
fn a_request_that_makes_no_sense_changes_nothing_and_says_why() {
    let memory = Memory::new();
    memory.write(0, &[0xaa; DISK as usize]);
    let disk = memory.disk();
    let page = [segment(0x10_0000, 512)];
    let cases: &[(Operation, u64, u64, &[Segment], BlockError)] = &[
        (WRITE, 64, 1, &page, BlockError::OutOfRange),
        (WRITE, u64::MAX, 1, &page, BlockError::OutOfRange),
        (WRITE, 1, u64::MAX, &page, BlockError::OutOfRange),
        (Operation::Discard, 63, 2, &[], BlockError::OutOfRange),
        (WRITE, 0, 2, &page, BlockError::Malformed),
        (WRITE, 0, 0, &[], BlockError::Malformed),
        (WRITE, 0, 1, &[], BlockError::Malformed),
        (WRITE, 0, 1, &[segment(0x10_0000, 512), segment(0x10_0000, 0)], BlockError::Malformed),
        (Operation::Discard, 0, 1, &page, BlockError::Malformed),
        (Operation::Flush, 0, 1, &[], BlockError::Malformed),
        (Operation::Flush, 0, 0, &page, BlockError::Malformed),
    ];
    for &(operation, block, blocks, segments, error) in cases {
        assert_eq!(
            ask(&disk, operation, block, blocks, segments),
            Err(error),
            "{operation:?} {block} {blocks}"
        );
    }
    assert_eq!(memory.read(0, DISK as usize), vec![0xaa; DISK as usize]);
    assert_eq!(ask(&disk, Operation::Flush, 0, 0, &[]), Ok(()));
}

#[test]
fn a_part_reaches_its_own_blocks_only() {
    let memory = Memory::new();
    let disk: Arc<dyn BlockDevice> = Arc::new(memory.disk());
    let part = Part::new(disk.clone(), 8 * 512, Some(4 * 512), false).ok().unwrap();
    assert_eq!(part.geometry().blocks, 4);
    memory.write(0x10_0000, &[0x55; 1024]);
    assert_eq!(ask(&part, WRITE, 3, 1, &[segment(0x10_0000, 512)]), Ok(()));
    assert_eq!(memory.read(11 * 512, 513), [&[0x55; 512][..], &[0]].concat());
    let two = [segment(0x10_0000, 1024)];
    assert_eq!(ask(&part, WRITE, 3, 2, &two), Err(BlockError::OutOfRange));
    assert_eq!(ask(&part, WRITE, u64::MAX, 2, &two), Err(BlockError::OutOfRange));
    let rest = Part::new(Arc::new(part), 512, None, true).ok().unwrap();
    assert_eq!(rest.geometry().blocks, 3);
    assert_eq!(ask(&rest, WRITE, 0, 1, &[segment(0x10_0000, 512)]), Err(BlockError::ReadOnly));
    assert_eq!(ask(&rest, Operation::Discard, 0, 1, &[]), Err(BlockError::ReadOnly));
    assert_eq!(ask(&rest, Operation::Read, 2, 1, &[segment(0x10_0000, 512)]), Ok(()));
    assert_eq!(ask(&rest, Operation::Flush, 0, 0, &[]), Ok(()));
    assert_eq!(memory.read(0x10_0000, 512), vec![0x55; 512]);
}

#[test]
fn a_part_that_does_not_fit_its_device_is_refused_with_what_would() {
    let memory = Memory::new();
    let disk: Arc<dyn BlockDevice> = Arc::new(memory.disk());
    let refused = |offset, size| Part::new(disk.clone(), offset, size, false).err().map(|e| e.to_string());
    assert_eq!(refused(1, None).unwrap(), "offset and size must be multiples of its 512-byte blocks");
    assert_eq!(refused(0, Some(513)).unwrap(), "offset and size must be multiples of its 512-byte blocks");
    assert_eq!(
        refused(0, Some(DISK + 512)).unwrap(),
        "offset and size reach beyond its end: it has 32768 bytes"
    );
    assert!(refused(512, Some(!511)).unwrap().contains("beyond its end"));
    assert!(refused(DISK, None).unwrap().starts_with("nothing of it is left"));
    assert_eq!(refused(DISK - 512, None), None);
}

#[test]
fn two_writers_never_have_the_same_bytes_and_readers_share() {
    let claims = Claims::new();
    let first = claims.claim("nvme0n1", 0..1024, Access::Write, "VM a").ok().unwrap();
    let refused = claims.claim("nvme0n1", 1023..2048, Access::Read, "VM b").err().unwrap();
    assert_eq!(
        refused.to_string(),
        "VM a writes bytes 0 to 1024 of nvme0n1: give each its own range, or make both readonly"
    );
    assert!(
        claims.claim("nvme0n1", 0..1, Access::Write, "VM a").is_err(),
        "not twice to the same owner either"
    );
    let beside = claims.claim("nvme0n1", 1024..2048, Access::Write, "VM b");
    let elsewhere = claims.claim("sata0", 0..1024, Access::Write, "VM b");
    assert!(beside.is_ok() && elsewhere.is_ok());
    assert_eq!(claims.of("nvme0n1").len(), 2);
    drop(first);
    let readers: Vec<_> =
        (0..3).map(|i| claims.claim("nvme0n1", 0..1024, Access::Read, &format!("{i}"))).collect();
    assert!(readers.iter().all(Result::is_ok));
    assert!(claims.claim("nvme0n1", 0..1, Access::Write, "VM c").is_err());
}

#[test]
fn a_task_waits_for_its_transfer_and_gets_its_result() {
    let memory = Memory::new();
    let disk = memory.disk();
    let mut context = Context::from_waker(Waker::noop());
    let read = |block| {
        transfer(&disk, Operation::Read, block, 1, &[segment(0x10_0000, 512)], Box::new(memory.clone()))
    };
    assert_eq!(pin!(read(1)).poll(&mut context), Poll::Ready(Ok(())));
    assert_eq!(pin!(read(64)).poll(&mut context), Poll::Ready(Err(BlockError::OutOfRange)));
}

/// Keeps what it is asked for.
struct Slow(Mutex<Vec<Done>>, Geometry);

impl BlockDevice for Slow {
    fn identity(&self) -> &Identity {
        unreachable!("nobody asks")
    }

    fn geometry(&self) -> &Geometry {
        &self.1
    }

    fn submit(&self, request: Request<'_>) {
        self.0.lock().push(request.done);
    }

    fn start(&self) {}
}

#[test]
fn a_transfer_that_nobody_waits_for_any_more_keeps_its_memory_until_it_is_done() {
    let memory = Memory::new();
    let slow = Slow(Mutex::default(), *memory.disk().geometry());
    let pending =
        transfer(&slow, Operation::Read, 0, 1, &[segment(0x10_0000, 512)], Box::new(memory.clone()));
    drop(pending);
    assert_eq!(Arc::strong_count(&memory), 2);
    for done in slow.0.lock().drain(..) {
        done.complete(Ok(()));
    }
    assert_eq!(Arc::strong_count(&memory), 1);
}
