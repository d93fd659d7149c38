//! Memory for the beginnings of frames under way: a ring of bytes, since they are let go in the order in which they came.
use crate::{DmaMemory, Kernel};
use mm::Hpa;

/// Of a full transmit ring of frames of which only the headers are copied, or of 170 of 1.5 KB, copied whole.
const BYTES: usize = 256 << 10;
/// Each begins at a multiple of these.
const ALIGNMENT: usize = 16;

const _: () = assert!(BYTES.is_multiple_of(ALIGNMENT));

/// See the module.
pub(super) struct Copies {
    memory: DmaMemory,
    /// Where the next begins.
    next: usize,
    used: usize,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Copy {
    at: usize,
    /// Bytes that it takes of the ring: its own, and those at the end that it did not fit into.
    pub held: usize,
}

impl Copies {
    /// `None` where there is no memory.
    pub fn new(kernel: &dyn Kernel) -> Option<Self> {
        Some(Self { memory: kernel.allocate_dma(BYTES, false)?, next: 0, used: 0 })
    }

    /// Lets all go.
    pub fn clear(&mut self) {
        (self.next, self.used) = (0, 0);
    }

    /// Whether there is room for many more.
    pub fn has_room(&self) -> bool {
        self.used <= BYTES / 2
    }

    /// Copies bytes. `None` if there is no room.
    pub fn add(&mut self, bytes: &[u8]) -> Option<Copy> {
        let wanted = bytes.len().next_multiple_of(ALIGNMENT);
        let skipped = if BYTES - self.next < wanted { BYTES - self.next } else { 0 };
        let held = wanted + skipped;
        if held > BYTES - self.used {
            return None;
        }
        let at = if skipped == 0 { self.next } else { 0 };
        self.next = (at + wanted) % BYTES;
        self.used += held;
        // Whole words: a byte at a time would be what a frame costs most.
        let (words, rest) = bytes.as_chunks::<8>();
        for (i, word) in words.iter().enumerate() {
            self.memory.write(at + i * 8, u64::from_le_bytes(*word));
        }
        self.memory.copy_in(at + words.len() * 8, rest);
        Some(Copy { at, held })
    }

    /// Changes a number of a copy, in network byte order.
    pub fn change(&self, copy: Copy, offset: usize, value: u16) {
        self.memory.copy_in(copy.at + offset, &value.to_be_bytes());
    }

    /// Where a copy is.
    pub fn address(&self, copy: Copy) -> Hpa {
        self.memory.address() + copy.at as u64
    }

    /// Lets the oldest go.
    pub fn release(&mut self, held: usize) {
        self.used -= held;
        if self.used == 0 {
            self.next = 0;
        }
    }
}
