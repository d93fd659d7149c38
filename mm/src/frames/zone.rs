//! Free lists of one zone: a doubly linked list per order, whose links lie in the free frames.
#![allow(unsafe_code)] // links are written into free physical memory

use super::{FRAME_SHIFT, MAX_ORDER, Order};
use crate::addr::Hpa;
use crate::direct_map::DirectMap;

/// Parts of physical memory by who can reach them. No block lies across a limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reach {
    /// Below 1 MiB: real-mode code.
    RealMode = 0,
    /// Below 4 GiB: devices with 32-bit addresses.
    Bits32 = 1,
    /// The rest.
    All = 2,
}

impl Reach {
    /// In the order in which ordinary requests use them: what fewest can do without comes last.
    pub const PLENTIFUL_FIRST: [Self; 3] = [Self::All, Self::Bits32, Self::RealMode];

    const MIB: u64 = 1 << (20 - FRAME_SHIFT);
    const FOUR_GIB: u64 = 1 << (32 - FRAME_SHIFT);

    #[inline]
    pub const fn of(frame: u64) -> Self {
        if frame >= Self::FOUR_GIB {
            Self::All
        } else if frame >= Self::MIB {
            Self::Bits32
        } else {
            Self::RealMode
        }
    }

    /// First frame, and the frame behind the last.
    pub const fn frames(self) -> (u64, u64) {
        match self {
            Self::RealMode => (0, Self::MIB),
            Self::Bits32 => (Self::MIB, Self::FOUR_GIB),
            Self::All => (Self::FOUR_GIB, u64::MAX),
        }
    }
}

/// No frame.
const NONE: u64 = u64::MAX;

/// In the first bytes of a free block: frame numbers of its neighbours in the list.
#[repr(C)]
struct Links {
    next: u64,
    previous: u64,
}

/// Free blocks of a zone.
pub(super) struct Zone {
    heads: [u64; MAX_ORDER as usize + 1],
    /// Bit `n` is set where list `n` has an element.
    filled: u32,
}

fn links(map: DirectMap, frame: u64) -> *mut Links {
    map.pointer(Hpa::new_truncate(frame << FRAME_SHIFT))
}

impl Zone {
    pub const EMPTY: Self = Self { heads: [NONE; MAX_ORDER as usize + 1], filled: 0 };

    /// The smallest order, from `order` up, of which there is a free block.
    #[inline]
    pub fn smallest_from(&self, order: Order) -> Option<Order> {
        let candidates = self.filled >> order << order;
        if candidates == 0 { None } else { Some(candidates.trailing_zeros() as Order) }
    }

    /// The largest order of which there is a free block.
    pub fn largest(&self) -> Option<Order> {
        self.filled.checked_ilog2().map(|o| o as Order)
    }

    /// First block in the list of `order`.
    #[inline]
    pub fn first(&self, order: Order) -> Option<u64> {
        let frame = self.heads[order as usize];
        if frame == NONE { None } else { Some(frame) }
    }

    /// First block in the list of `order` that `wanted` accepts.
    pub fn find(&self, map: DirectMap, order: Order, wanted: impl Fn(u64) -> bool) -> Option<u64> {
        let mut frame = self.heads[order as usize];
        while frame != NONE {
            if wanted(frame) {
                return Some(frame);
            }
            // SAFETY: `frame` is in the list, so it is free and its links are valid.
            frame = unsafe { (*links(map, frame)).next };
        }
        None
    }

    /// # Safety
    /// `frame` starts a block of that order that nobody has and that is in no list; `map` maps it.
    #[inline]
    pub unsafe fn push(&mut self, map: DirectMap, frame: u64, order: Order) {
        let head = core::mem::replace(&mut self.heads[order as usize], frame);
        // SAFETY: the caller's block is free memory; `head` is in the list.
        unsafe {
            links(map, frame).write(Links { next: head, previous: NONE });
            if head != NONE {
                (*links(map, head)).previous = frame;
            }
        }
        self.filled |= 1 << order;
    }

    /// # Safety
    /// `frame` is in this zone's list of `order`.
    #[inline]
    pub unsafe fn unlink(&mut self, map: DirectMap, frame: u64, order: Order) {
        // SAFETY: elements of a list, and their neighbours, are free memory with valid links.
        unsafe {
            let Links { next, previous } = links(map, frame).read();
            if next != NONE {
                (*links(map, next)).previous = previous;
            }
            if previous != NONE {
                (*links(map, previous)).next = next;
            } else {
                self.heads[order as usize] = next;
                if next == NONE {
                    self.filled &= !(1 << order);
                }
            }
        }
    }
}
