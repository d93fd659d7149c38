//! A split virtqueue (virtio 1.2, 2.7): descriptors, entries that are available, entries that were used.
//!
//! Nothing of what the device can write is believed: which descriptors a request has is kept apart from the ring.
use crate::{DmaMemory, Kernel};
use alloc::vec::Vec;
use mm::Hpa;

/// Most entries.
pub(super) const MOST_ENTRIES: u16 = 256;

/// Descriptor flags (2.7.5).
const NEXT: u16 = 1;
const WRITE: u16 = 2;

/// Offsets in the one run of memory that a ring of the largest size needs: each part has its own page.
const AVAILABLE: usize = 0x1000;
const USED: usize = 0x2000;
const BYTES: usize = 0x3000;

const _: () = assert!(MOST_ENTRIES as usize * 16 <= AVAILABLE && MOST_ENTRIES as usize * 8 + 6 <= 0x1000);

/// A piece of memory for a request, and whether the device writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub address: Hpa,
    pub bytes: u32,
    pub written: bool,
}

/// A ring.
pub(super) struct Ring {
    memory: DmaMemory,
    size: u16,
    /// Descriptors that no request has.
    free: Vec<u16>,
    /// The descriptors of each request, by its first.
    chains: Vec<Vec<u16>>,
    /// Entries made available, and those of which the device was told.
    available: u16,
    told: u16,
    /// Used entries that were taken.
    taken: u16,
    event_index: bool,
}

/// What the device returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Used {
    /// The first descriptor of the request.
    pub head: u16,
    /// How many bytes it says it has written. Whether there is room for so many, nobody has checked.
    pub bytes: u32,
}

/// What the device returned that it was not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Nonsense(pub u32);

impl Ring {
    /// `None` where there is no memory. `size`: a power of two, at most [`MOST_ENTRIES`].
    pub fn new(kernel: &dyn Kernel, size: u16, event_index: bool) -> Option<Self> {
        let mut ring = Self {
            memory: kernel.allocate_dma(BYTES, false)?,
            size,
            free: Vec::with_capacity(size.into()),
            chains: (0..size).map(|_| Vec::with_capacity(3)).collect(),
            available: 0,
            told: 0,
            taken: 0,
            event_index,
        };
        ring.restart();
        Some(ring)
    }

    /// Empties it, for a device that was reset.
    pub fn restart(&mut self) {
        for at in (0..BYTES).step_by(8) {
            self.memory.write(at, 0u64);
        }
        self.free.clear();
        self.free.extend((0..self.size).rev());
        self.chains.iter_mut().for_each(Vec::clear);
        (self.available, self.told, self.taken) = (0, 0, 0);
    }

    /// Where descriptors, available and used entries are.
    pub fn addresses(&self) -> [u64; 3] {
        [0, AVAILABLE, USED].map(|offset| self.memory.address().get() + offset as u64)
    }

    pub fn size(&self) -> u16 {
        self.size
    }

    /// How many descriptors are free.
    pub fn room(&self) -> usize {
        self.free.len()
    }

    /// The descriptor that the next request begins with.
    pub fn head(&self) -> Option<u16> {
        self.upcoming(0)
    }

    /// The descriptor that the next request has for a piece of it.
    pub fn upcoming(&self, piece: usize) -> Option<u16> {
        self.free.len().checked_sub(piece + 1).map(|at| self.free[at])
    }

    /// Makes a request available, of pieces for which there must be room; it is known by [`Self::head`]'s answer.
    #[inline]
    pub fn push(&mut self, pieces: impl Iterator<Item = Piece>) {
        let Some(head) = self.head() else { return };
        let mut chain = core::mem::take(&mut self.chains[usize::from(head)]);
        chain.clear();
        let mut last: Option<(u16, u16)> = None;
        for piece in pieces {
            let Some(index) = self.free.pop() else { break };
            chain.push(index);
            if let Some((before, flags)) = last {
                let at = usize::from(before) * 16;
                self.memory.write(at + 12, u32::from(flags | NEXT) | u32::from(index) << 16);
            }
            let at = usize::from(index) * 16;
            self.memory.write(at, piece.address.get());
            self.memory.write(at + 8, piece.bytes);
            last = Some((index, if piece.written { WRITE } else { 0 }));
        }
        if let Some((index, flags)) = last {
            self.memory.write(usize::from(index) * 16 + 12, u32::from(flags));
        }
        self.chains[usize::from(head)] = chain;
        let place = AVAILABLE + 4 + usize::from(self.available % self.size) * 2;
        self.memory.write(place, head);
        self.available = self.available.wrapping_add(1);
    }

    /// Whether something was pushed that is not published.
    #[inline]
    pub fn has_new(&self) -> bool {
        self.unpublished() != 0
    }

    /// How many requests were pushed that are not published.
    #[inline]
    pub fn unpublished(&self) -> u16 {
        self.available.wrapping_sub(self.told)
    }

    /// Publishes what was pushed. Whether the device wants to be notified of it.
    #[inline]
    pub fn publish(&mut self) -> bool {
        // The entries before their number: x86 keeps stores in order, and these accesses are volatile.
        self.memory.write(AVAILABLE + 2, self.available);
        // And that before the look at what the device wants (2.7.13.4.1): a store and a later load may change places.
        core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
        let told = core::mem::replace(&mut self.told, self.available);
        if self.event_index {
            let event: u16 = self.memory.read(USED + 4 + usize::from(self.size) * 8);
            // 2.7.10.1, vring_need_event.
            self.available.wrapping_sub(event).wrapping_sub(1) < self.available.wrapping_sub(told)
        } else {
            self.memory.read::<u16>(USED) & 1 == 0
        }
    }

    /// The next request that the device returns, by its first descriptor; its descriptors are free again.
    #[inline]
    pub fn next(&mut self) -> Option<Result<Used, Nonsense>> {
        let used: u16 = self.memory.read(USED + 2);
        if used == self.taken {
            return None;
        }
        let at = USED + 4 + usize::from(self.taken % self.size) * 8;
        let (head, bytes): (u32, u32) = (self.memory.read(at), self.memory.read(at + 4));
        self.taken = self.taken.wrapping_add(1);
        let chain = usize::try_from(head).ok().and_then(|head| self.chains.get_mut(head));
        let Some(chain) = chain.filter(|chain| !chain.is_empty()) else { return Some(Err(Nonsense(head))) };
        self.free.extend(chain.drain(..).rev());
        // Less than the ring's size.
        Some(Ok(Used { head: head as u16, bytes }))
    }

    /// Asks for an interrupt when the device has returned `count` more, which is not 0: at each, without event index.
    /// Whether it has already.
    #[inline]
    pub fn listen(&mut self, count: u16) -> bool {
        if self.event_index {
            self.memory.write(self.event_at(), self.taken.wrapping_add(count - 1));
        } else {
            self.memory.write(AVAILABLE, 0u16);
        }
        // A store and a later load may change places.
        core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
        self.used() >= count
    }

    /// Asks for no interrupt. With event index one comes all the same when as many were returned as indices exist.
    #[inline]
    pub fn mute(&mut self) {
        if self.event_index {
            self.memory.write(self.event_at(), self.taken.wrapping_sub(1));
        } else {
            self.memory.write(AVAILABLE, 1u16);
        }
    }

    /// The place behind the available entries (2.7.6).
    fn event_at(&self) -> usize {
        AVAILABLE + 4 + usize::from(self.size) * 2
    }

    /// Whether the device has returned something.
    #[inline]
    pub fn has_used(&self) -> bool {
        self.used() != 0
    }

    /// How much it says that it has returned.
    #[inline]
    fn used(&self) -> u16 {
        self.memory.read::<u16>(USED + 2).wrapping_sub(self.taken)
    }
}
