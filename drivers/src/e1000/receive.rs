//! The receive ring (SDM 3.2.3; 82574 datasheet 7.1): buffers out, frames in.
//!
//! Each buffer is a page; a frame longer than that takes several, of which only the last may be filled in part. What the
//! device says of a buffer is read once and checked, and where a buffer is, is never read from the ring.
use super::descriptor::{Received, SIZE};
use super::transmit::LONGEST_FRAME;
use crate::{DmaMemory, Kernel};
use alloc::vec::Vec;
use mm::{Hpa, Segment};
use net::frame::{Ethernet, LONGEST};
use net::nic::{Frame, Offload};

/// Descriptors.
pub(super) const ENTRIES: u16 = 512;
/// Bytes of them all.
pub(super) const BYTES: usize = ENTRIES as usize * SIZE;
/// Bytes of a buffer, as `RCTL` says.
pub(super) const BUFFER: usize = 4096;
/// Most buffers of a frame.
const CHAIN: usize = LONGEST_FRAME.div_ceil(BUFFER);

/// See the module.
pub(super) struct Receive {
    memory: DmaMemory,
    buffers: Vec<DmaMemory>,
    /// The next descriptor to look at.
    next: u16,
    /// The tail that the device was told.
    told: u16,
    /// Buffers of the frame that is coming, before `next`, and its bytes so far.
    chain: usize,
    bytes: usize,
    /// What is coming is no frame; it is thrown away up to its end.
    spoilt: bool,
    /// Where a later descriptor than the next was done already at the last look.
    disorder: Option<u16>,
}

/// A frame that has come. Its buffers are the driver's until it is let go of by the next call of [`Receive::take`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrived {
    first: u16,
    /// Bytes of all of it.
    pub bytes: usize,
    verified: bool,
}

impl Receive {
    /// `None` where there is no memory.
    pub fn new(kernel: &dyn Kernel) -> Option<Self> {
        let buffers = (0..ENTRIES).map(|_| kernel.allocate_dma(BUFFER, false)).collect::<Option<_>>()?;
        let mut receive = Self {
            memory: kernel.allocate_dma(BYTES, false)?,
            buffers,
            next: 0,
            told: 0,
            chain: 0,
            bytes: 0,
            spoilt: false,
            disorder: None,
        };
        receive.restart();
        Some(receive)
    }

    pub fn address(&self) -> Hpa {
        self.memory.address()
    }

    /// Begins anew, with a device that was reset. The tail that it is to be told.
    pub fn restart(&mut self) -> u16 {
        (0..ENTRIES).for_each(|index| self.hand_over(index));
        (self.next, self.chain, self.bytes, self.spoilt, self.disorder) = (0, 0, 0, false, None);
        self.told = ENTRIES - 1;
        self.told
    }

    /// Makes a descriptor ready for the device: its buffer's address, and no status.
    fn hand_over(&mut self, index: u16) {
        let address = self.buffers[usize::from(index)].address().get();
        self.memory.write_all(usize::from(index) * SIZE, &[address, 0]);
    }

    fn at(&self, index: u16) -> Received {
        Received(self.memory.read(usize::from(index) * SIZE + 8))
    }

    /// The next frame, or that there was something that is none.
    pub fn take(&mut self) -> Option<Result<Arrived, ()>> {
        loop {
            let received = self.at(self.next);
            if !received.is_done() {
                return None;
            }
            self.hand_over(self.next);
            self.next = (self.next + 1) % ENTRIES;
            let (bytes, last) = (received.bytes(), received.is_last());
            let fits = if last { (1..=BUFFER).contains(&bytes) } else { bytes == BUFFER };
            self.chain = (self.chain + 1).min(CHAIN + 1);
            self.bytes += bytes;
            self.spoilt |= !fits || self.chain > CHAIN || (last && received.is_damaged());
            if self.spoilt {
                // Counted neither in length nor in buffers any more, so that these go back.
                (self.chain, self.bytes) = (0, 0);
            }
            if last {
                let (chain, bytes) = (core::mem::take(&mut self.chain), core::mem::take(&mut self.bytes));
                let spoilt = core::mem::take(&mut self.spoilt);
                if spoilt || !(Ethernet::SIZE..=LONGEST_FRAME).contains(&bytes) {
                    return Some(Err(()));
                }
                // At most a few.
                let first = (self.next + ENTRIES - chain as u16) % ENTRIES;
                return Some(Ok(Arrived { first, bytes, verified: received.is_verified() }));
            }
        }
    }

    /// Shows a frame as others know it.
    pub fn show(&self, arrived: Arrived, show: impl FnOnce(&Frame<'_>)) {
        let mut beginning = [0; LONGEST];
        let copied = arrived.bytes.min(LONGEST);
        let first = &self.buffers[usize::from(arrived.first)];
        // Whole words; those beyond what came hold what came before.
        let (words, rest) = beginning.as_chunks_mut::<8>();
        for (i, word) in words.iter_mut().enumerate() {
            *word = first.read::<u64>(i * 8).to_le_bytes();
        }
        first.copy_out(words.len() * 8, rest);
        let mut segments = [Segment { address: Hpa::new(0), bytes: 0 }; CHAIN];
        let (mut count, mut from) = (0, copied);
        while from < arrived.bytes {
            // Each is full but the last.
            let buffer = (usize::from(arrived.first) + from / BUFFER) % usize::from(ENTRIES);
            let offset = from % BUFFER;
            let bytes = (BUFFER - offset).min(arrived.bytes - from);
            let address = self.buffers[buffer].address() + offset as u64;
            segments[count] = Segment { address, bytes: bytes as u32 };
            count += 1;
            from += bytes;
        }
        let offload = Offload { verified: arrived.verified, ..Offload::default() };
        show(&Frame { beginning: &beginning[..copied], rest: &segments[..count], offload });
    }

    /// The tail that the device is to be told, if buffers go back: all that were looked at, but those of a frame that is
    /// still coming.
    pub fn give_back(&mut self) -> Option<u16> {
        // The descriptor before them is the last that the device may fill.
        let tail = (self.next + ENTRIES - 1 - self.chain as u16) % ENTRIES;
        (core::mem::replace(&mut self.told, tail) != tail).then_some(tail)
    }

    /// Whether the device fills buffers out of order: one is done, at two looks, while an earlier one is not.
    pub fn is_disordered(&mut self) -> bool {
        let later = (1..=CHAIN as u16).any(|ahead| self.at((self.next + ahead) % ENTRIES).is_done());
        let here = (later && !self.at(self.next).is_done()).then_some(self.next);
        let before = core::mem::replace(&mut self.disorder, here);
        here.is_some() && here == before
    }
}
