//! Descriptor chains, as what they are made of is read: one check for both formats of rings.
use crate::memory::{GuestMemory, NotRam, Scatter, Window};
use alloc::sync::Arc;
use core::fmt;
use mm::addr::Gpa;

/// Most descriptors of a chain, those of an indirect table among them. Linux makes chains of up to two more than the
/// segments that a disk takes, whatever the size of its queue.
pub const MAX_CHAIN: u32 = 1024;

/// Flags of a descriptor, the same in both formats (virtio 1.2, 2.7.5 and 2.8.2).
pub(super) mod flag {
    pub const NEXT: u16 = 1;
    pub const WRITE: u16 = 2;
    pub const INDIRECT: u16 = 4;
}

/// By what a ring breaks the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Its place in memory: not RAM, misaligned, or of a size that no ring has.
    Place,
    /// More new entries than it has room for: the index jumped.
    Index,
    /// An entry names a descriptor that is not there.
    Head,
    /// A chain goes round in a circle, or is longer than [`MAX_CHAIN`].
    Length,
    /// A descriptor's memory is not RAM.
    Address(NotRam),
    /// An indirect table within another, in the midst of a chain, not of whole descriptors, or not agreed upon.
    Indirect,
    /// Memory to be read behind memory to be written.
    Order,
    /// More requests at once than the queue has entries.
    InFlight,
    /// A request without its header, or without room for its status.
    Request,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Place => f.write_str("a ring is not in its memory"),
            Self::Index => f.write_str("the index of a ring jumped"),
            Self::Head => f.write_str("a ring names a descriptor that is not there"),
            Self::Length => f.write_str("a descriptor chain does not end"),
            Self::Address(e) => write!(f, "in a descriptor {e}"),
            Self::Indirect => {
                f.write_str("a table of indirect descriptors where none may be, or of odd length")
            }
            Self::Order => f.write_str("a descriptor chain has memory to read behind memory to write"),
            Self::InFlight => f.write_str("more requests at once than its queue has entries"),
            Self::Request => f.write_str("a request without header or room for its status"),
        }
    }
}

/// By what a chain is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Token {
    /// Split: the head's number. Packed: the buffer ID.
    pub id: u16,
    /// Packed: entries of the ring that it takes.
    pub entries: u16,
}

impl Token {
    /// Both numbers in one.
    #[inline]
    pub const fn bits(self) -> u32 {
        self.id as u32 | (self.entries as u32) << 16
    }

    /// From what [`Self::bits`] gave.
    #[inline]
    pub const fn from_bits(bits: u32) -> Self {
        Self { id: bits as u16, entries: (bits >> 16) as u16 }
    }
}

/// A descriptor chain, checked and translated.
pub struct Chain {
    /// What the guest wants to be read, in order.
    pub readable: Scatter,
    /// What it wants to be written.
    pub writable: Scatter,
    /// By what it is given back.
    pub token: Token,
    /// Descriptors that may still follow.
    left: u32,
    writes: bool,
}

/// Address, length and flags of a descriptor, each read once.
#[derive(Clone, Copy)]
pub(super) struct Descriptor {
    pub address: u64,
    pub bytes: u32,
    pub flags: u16,
    /// Split: the next one's number. Packed: the buffer ID is here, and the flags in the place of it.
    pub next: u16,
}

impl Chain {
    /// Room for chains of `segments` in each direction.
    pub fn new(memory: &Arc<GuestMemory>, segments: usize) -> Self {
        Self {
            readable: Scatter::new(memory.clone(), segments),
            writable: Scatter::new(memory.clone(), segments),
            token: Token::default(),
            left: 0,
            writes: false,
        }
    }

    /// Room for chains of `places`, of which the device does not want the data that it is to write, but where it is.
    pub fn of_places(memory: &Arc<GuestMemory>, places: usize) -> Self {
        Self { writable: Scatter::of_places(memory.clone(), places), ..Self::new(memory, places) }
    }

    /// What it cost to collect it: its descriptors.
    #[inline]
    pub fn descriptors(&self) -> u32 {
        MAX_CHAIN - self.left
    }

    #[inline]
    pub(super) fn begin(&mut self) {
        self.readable.clear();
        self.writable.clear();
        self.left = MAX_CHAIN;
        self.writes = false;
    }

    /// Adds what a descriptor names.
    #[inline]
    pub(super) fn add(&mut self, descriptor: Descriptor) -> Result<(), Broken> {
        self.left = self.left.checked_sub(1).ok_or(Broken::Length)?;
        let gpa = address(descriptor.address)?;
        let list = if descriptor.flags & flag::WRITE != 0 {
            self.writes = true;
            &mut self.writable
        } else if self.writes {
            // 2.7.4.2: what the device writes comes after what it reads.
            return Err(Broken::Order);
        } else {
            &mut self.readable
        };
        list.push(gpa, descriptor.bytes).map_err(Broken::Address)
    }

    /// Bounds the work on a table of `descriptor.bytes`; how many descriptors it has.
    pub(super) fn table(&self, descriptor: Descriptor) -> Result<u32, Broken> {
        let bytes = descriptor.bytes;
        if bytes == 0 || !bytes.is_multiple_of(16) || descriptor.flags & flag::NEXT != 0 {
            return Err(Broken::Indirect);
        }
        if bytes / 16 > self.left {
            return Err(Broken::Length);
        }
        Ok(bytes / 16)
    }
}

fn address(address: u64) -> Result<Gpa, Broken> {
    Gpa::try_new(address).ok_or(Broken::Address(NotRam(Gpa::new_truncate(address))))
}

/// A table of descriptors that is used once.
pub(super) struct IndirectTable<'a> {
    memory: &'a GuestMemory,
    at: Gpa,
}

impl<'a> IndirectTable<'a> {
    /// The table at `at`, which the guest alleges.
    pub fn new(memory: &'a GuestMemory, at: u64) -> Result<Self, Broken> {
        Ok(Self { memory, at: address(at)? })
    }

    /// Both words of descriptor `index`. It may lie anywhere: tables need not be aligned.
    #[inline]
    pub fn words(&self, index: u32) -> Result<[u64; 2], Broken> {
        let at = self.at.checked_add(u64::from(index) * 16).ok_or(Broken::Address(NotRam(self.at)))?;
        let words = if at.is_aligned(8) {
            self.memory.load_u64(at).and_then(|first| Ok([first, self.memory.load_u64(at + 8)?]))
        } else {
            self.memory.read_uint(at, 8).and_then(|first| Ok([first, self.memory.read_uint(at + 8, 8)?]))
        };
        words.map_err(Broken::Address)
    }
}

/// Both words of descriptor `index` of a ring.
#[inline]
pub(super) fn ring_words(descriptors: &Window, index: u16) -> [u64; 2] {
    let at = u32::from(index) * 16;
    [descriptors.load_u64(at), descriptors.load_u64(at + 8)]
}

/// Whether an event at `event` lies among the entries from `old` up to, without it, `new` (2.7.7.2, 2.7.10.1).
#[inline]
pub(super) fn crosses(event: u16, new: u16, old: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}
