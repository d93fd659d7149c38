//! A disk in memory that holds requests back, fails them, and remembers what it was asked.
#![allow(unsafe_code)] // the disk's memory is the rig's spare

use crate::memory::on_heap::HeapMemory;
use block::{BlockDevice, BlockError, Done, Geometry, Identity, MemoryDisk, Operation, Request, Segment};
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::vec::Vec;

/// What the disk was asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub operation: Operation,
    pub block: u64,
    pub blocks: u64,
    pub segments: Vec<Segment>,
}

/// The disk.
pub struct TestDisk {
    memory: MemoryDisk,
    geometry: Geometry,
    /// Requests wait for [`Self::finish`].
    pub holds: AtomicBool,
    held: Mutex<VecDeque<(Asked, Done)>>,
    pub asked: Mutex<Vec<Asked>>,
    pub starts: AtomicUsize,
    /// What the next requests fail with.
    pub errors: Mutex<VecDeque<BlockError>>,
    /// It was pulled out.
    pub gone: AtomicBool,
}

impl TestDisk {
    /// All of the rig's spare memory: `mib` MiB.
    pub fn new(memory: &HeapMemory, mib: u64, change: impl FnOnce(&mut Geometry)) -> Self {
        let (map, at) = memory.spare();
        // SAFETY: the spare memory is only this disk's, and the rig lives longer.
        let memory = unsafe { MemoryDisk::new("test0".into(), map, at, mib << 20) };
        let mut geometry = *memory.geometry();
        change(&mut geometry);
        Self {
            memory,
            geometry,
            holds: AtomicBool::new(false),
            held: Mutex::default(),
            asked: Mutex::default(),
            starts: AtomicUsize::new(0),
            errors: Mutex::default(),
            gone: AtomicBool::new(false),
        }
    }

    /// How many requests wait.
    pub fn held(&self) -> usize {
        self.held.lock().unwrap().len()
    }

    /// Carries out the `index`th of the requests that wait.
    pub fn finish(&self, index: usize) {
        let (asked, done) = self.held.lock().unwrap().remove(index).expect("a request that waits");
        self.perform(asked, done);
    }

    /// Carries out the first request that waits, if there is one.
    pub fn finish_any(&self) -> bool {
        let Some((asked, done)) = self.held.lock().unwrap().pop_front() else { return false };
        self.perform(asked, done);
        true
    }

    fn perform(&self, asked: Asked, done: Done) {
        if !self.is_present() {
            return done.complete(Err(BlockError::Removed));
        }
        if let Some(error) = self.errors.lock().unwrap().pop_front() {
            return done.complete(Err(error));
        }
        let request = |block, blocks| Request {
            operation: asked.operation,
            block,
            blocks,
            segments: &asked.segments,
            done: done.clone(),
        };
        if let Err(error) = self.geometry.check(&request(asked.block, asked.blocks)) {
            return done.complete(Err(error));
        }
        let sectors = u64::from(self.geometry.block_size) / 512;
        self.memory.submit(request(asked.block * sectors, asked.blocks * sectors));
    }
}

impl BlockDevice for TestDisk {
    fn identity(&self) -> &Identity {
        self.memory.identity()
    }

    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    fn submit(&self, request: Request<'_>) {
        let Request { operation, block, blocks, segments, done } = request;
        let asked = Asked { operation, block, blocks, segments: segments.to_vec() };
        self.asked.lock().unwrap().push(asked.clone());
        if self.holds.load(Ordering::SeqCst) {
            self.held.lock().unwrap().push_back((asked, done));
        } else {
            self.perform(asked, done);
        }
    }

    fn start(&self) {
        self.starts.fetch_add(1, Ordering::SeqCst);
    }

    fn is_present(&self) -> bool {
        !self.gone.load(Ordering::SeqCst)
    }
}
