//! A bounded queue of what comes, for those who would rather have copies at their own time.
use super::{Handler, Received};
use crate::frame::{Mac, Tag};
use crate::offload::Memory;
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use executor::Signal;
use spin::Mutex;

/// A frame, copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    pub source: Mac,
    pub destination: Mac,
    pub tag: Option<Tag>,
    /// What is behind Ethernet's header.
    pub bytes: Vec<u8>,
}

/// A queue of copies. What comes while it is full is dropped, and counted.
pub struct Inbox<M> {
    memory: M,
    /// Most that it holds.
    frames: usize,
    bytes: usize,
    held: Mutex<Held>,
    dropped: AtomicU64,
    arrived: Signal,
}

#[derive(Default)]
struct Held {
    parcels: VecDeque<Parcel>,
    bytes: usize,
}

impl<M: Memory + Send + Sync> Inbox<M> {
    /// An empty one for so many frames, and so many bytes of what is in them, that copies from `memory`.
    pub fn new(memory: M, frames: usize, bytes: usize) -> Self {
        Self {
            memory,
            frames,
            bytes,
            held: Mutex::default(),
            dropped: AtomicU64::new(0),
            arrived: Signal::new(),
        }
    }

    /// Takes the oldest, if there is one.
    pub fn try_take(&self) -> Option<Parcel> {
        let mut held = self.held.lock();
        let parcel = held.parcels.pop_front()?;
        held.bytes -= parcel.bytes.len();
        Some(parcel)
    }

    /// Takes the oldest, as soon as there is one. For one task.
    pub async fn take(&self) -> Parcel {
        loop {
            if let Some(parcel) = self.try_take() {
                return parcel;
            }
            self.arrived.wait().await;
        }
    }

    /// Frames for which there was no room.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn has_room(&self, held: &Held, bytes: usize) -> bool {
        held.parcels.len() < self.frames && bytes <= self.bytes.saturating_sub(held.bytes)
    }
}

impl<M: Memory + Send + Sync> Handler for Inbox<M> {
    fn receive(&self, received: &Received<'_>) {
        let bytes = received.bytes();
        // Not even copied, where there is no room.
        if !self.has_room(&self.held.lock(), bytes) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut copy = vec![0; bytes];
        let (beginning, mut rest) = copy.split_at_mut(received.beginning.len());
        beginning.copy_from_slice(received.beginning);
        for segment in received.rest {
            let (into, left) = rest.split_at_mut(segment.bytes as usize);
            self.memory.read(*segment, into);
            rest = left;
        }
        let Received { source, destination, tag, .. } = *received;
        let mut held = self.held.lock();
        // Another queue of the card may have filled it meanwhile.
        if self.has_room(&held, bytes) {
            held.bytes += bytes;
            held.parcels.push_back(Parcel { source, destination, tag, bytes: copy });
        } else {
            drop(held);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn received(&self) {
        self.arrived.raise();
    }
}
