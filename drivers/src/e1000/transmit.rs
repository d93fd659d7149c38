//! The transmit ring (SDM 3.4; 82574 datasheet 7.2): frames in, and out again when the device has sent them.
use super::chip::Chip;
use super::copies::Copies;
use super::descriptor::{Context, SIZE, command, data};
use super::offload::Plan;
use crate::{DmaMemory, Kernel};
use alloc::collections::VecDeque;
use mm::Hpa;
use net::frame::{Ethernet, Tag};
use net::nic::{Done, Frame, Refused};

/// Descriptors.
pub(super) const ENTRIES: u16 = 1024;
/// Bytes of them all.
pub(super) const BYTES: usize = ENTRIES as usize * SIZE;
/// One stays free: a tail at the head says that there is nothing.
const MOST: u16 = ENTRIES - 1;
/// So many free ones are room, for those who were refused.
const ROOM: u16 = ENTRIES / 2;
/// With fewer left, sent frames are looked for before the next is taken on.
const SCARCE: u16 = ENTRIES / 4;

/// Most bytes of a packet.
pub(super) const MTU: u16 = 9000;
/// Most bytes of a frame on the wire, without its check sequence.
pub(super) const LONGEST_FRAME: usize = MTU as usize + Ethernet::SIZE + Tag::SIZE;

/// Most frames that are let go of in one go, so that the ring is not locked for long.
pub(super) const BATCH: usize = 32;

/// Whom to tell of frames, and what became of these.
pub(super) struct Finished {
    pub dones: [Option<Done>; BATCH],
    /// Frames that were taken from the ring.
    pub frames: usize,
    /// Frames and bytes on the wire.
    pub pieces: u64,
    pub bytes: u64,
}

impl Finished {
    pub fn new() -> Self {
        Self { dones: [const { None }; BATCH], frames: 0, pieces: 0, bytes: 0 }
    }

    /// Tells them.
    pub fn tell(&mut self) {
        self.dones.iter_mut().take(self.frames).filter_map(Option::take).for_each(Done::sent);
    }
}

/// What the ring does with new frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Open,
    /// The device is being set up: there is no room.
    Held,
    Closed,
}

struct UnderWay {
    /// Its last descriptor, which the device reports.
    last: u16,
    descriptors: u16,
    /// Bytes of copies.
    held: usize,
    pieces: u32,
    bytes: u32,
    done: Option<Done>,
}

/// See the module.
pub(super) struct Transmit {
    chip: Chip,
    memory: DmaMemory,
    copies: Copies,
    mode: Mode,
    /// The next descriptor, and up to which the device was told.
    next: u16,
    told: u16,
    free: u16,
    frames: VecDeque<UnderWay>,
    /// How many of them, the oldest, the device knows.
    published: usize,
    /// The context that the device has last got.
    context: Option<Context>,
    /// Somebody was refused, and waits for room.
    starved: bool,
    /// When the device has last done something, or got something to do after it had nothing.
    since: u64,
}

impl Transmit {
    /// `None` where there is no memory.
    pub fn new(kernel: &dyn Kernel, chip: Chip) -> Option<Self> {
        Some(Self {
            chip,
            memory: kernel.allocate_dma(BYTES, false)?,
            copies: Copies::new(kernel)?,
            mode: Mode::Held,
            next: 0,
            told: 0,
            free: MOST,
            frames: VecDeque::with_capacity(MOST.into()),
            published: 0,
            context: None,
            starved: false,
            since: 0,
        })
    }

    pub fn address(&self) -> Hpa {
        self.memory.address()
    }

    pub fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
    }

    /// Frames that were taken on.
    pub fn under_way(&self) -> usize {
        self.frames.len()
    }

    /// Whether somebody waits for room.
    pub fn is_starved(&self) -> bool {
        self.starved
    }

    /// Whether few descriptors are left.
    pub fn is_scarce(&self) -> bool {
        self.free < SCARCE
    }

    /// Takes on a frame that is as it says.
    pub fn put(&mut self, frame: &Frame<'_>, done: Option<Done>) -> Result<(), Refused> {
        match self.mode {
            Mode::Open => {}
            Mode::Held => {
                self.starved = true;
                return Err(Refused::Full);
            }
            Mode::Closed => return Err(Refused::Down),
        }
        let (pieces, wire) = on_wire(frame).ok_or(Refused::Unable)?;
        let plan = Plan::of(frame).ok_or(Refused::Unable)?;
        let most = self.chip.most_piece(frame.offload.segmentation);
        let rest = frame.rest.iter().map(|segment| (segment.bytes as usize).div_ceil(most));
        let count = frame.beginning.len().div_ceil(most) + rest.sum::<usize>();
        if count > self.chip.most_pieces() {
            return Err(Refused::Unable);
        }
        let context = plan.context.filter(|context| self.context != Some(*context));
        // Few hundreds.
        let descriptors = (count + usize::from(context.is_some())) as u16;
        let copy = if descriptors <= self.free { self.copies.add(frame.beginning) } else { None };
        let Some(copy) = copy else {
            self.starved = true;
            return Err(Refused::Full);
        };
        for (place, value) in plan.changes.into_iter().flatten() {
            self.copies.change(copy, place, value);
        }
        if let Some(context) = context {
            self.push(context.words);
            self.context = Some(context);
        }
        let beginning = (self.copies.address(copy), frame.beginning.len());
        let rest = frame.rest.iter().map(|segment| (segment.address, segment.bytes as usize));
        let mut left = count;
        for (address, bytes) in core::iter::once(beginning).chain(rest) {
            for offset in (0..bytes).step_by(most) {
                left -= 1;
                let last = if left == 0 { command::EOP | command::RS } else { 0 };
                let second = data((bytes - offset).min(most), plan.commands | last);
                self.push([address.get() + offset as u64, second]);
            }
        }
        let last = (self.next + ENTRIES - 1) % ENTRIES;
        let under_way = UnderWay { last, descriptors, held: copy.held, pieces, bytes: wire, done };
        self.frames.push_back(under_way);
        Ok(())
    }

    fn push(&mut self, words: [u64; 2]) {
        self.memory.write_all(usize::from(self.next) * SIZE, &words);
        self.next = (self.next + 1) % ENTRIES;
        self.free -= 1;
    }

    /// The tail that the device is to be told of, if there is something new.
    pub fn publish(&mut self, now: u64) -> Option<u16> {
        if self.told == self.next || self.mode != Mode::Open {
            return None;
        }
        if self.published == 0 {
            self.since = now;
        }
        self.published = self.frames.len();
        self.told = self.next;
        Some(self.told)
    }

    /// Takes out what the device has sent, up to a batch. Whether there may be more.
    pub fn reap(&mut self, now: u64, finished: &mut Finished) -> bool {
        while finished.frames < BATCH {
            let Some(oldest) = self.frames.front().filter(|_| self.published > 0) else { return false };
            let second: u64 = self.memory.read(usize::from(oldest.last) * SIZE + 8);
            if second & command::DD == 0 {
                return false;
            }
            self.since = now;
            self.published -= 1;
            self.take_oldest(finished);
        }
        true
    }

    fn take_oldest(&mut self, finished: &mut Finished) {
        let Some(frame) = self.frames.pop_front() else { return };
        self.free += frame.descriptors;
        self.copies.release(frame.held);
        finished.dones[finished.frames] = frame.done;
        finished.frames += 1;
        finished.pieces += u64::from(frame.pieces);
        finished.bytes += u64::from(frame.bytes);
    }

    /// Whether those who were refused are to be told that there is room. They are told once.
    pub fn has_room_again(&mut self) -> bool {
        let room = self.frames.is_empty() || (self.free >= ROOM && self.copies.has_room());
        let tell = self.starved && room && self.mode == Mode::Open;
        self.starved &= !tell;
        tell
    }

    /// Whether the device has had something to do for all of `nanos` and has done nothing.
    pub fn hangs(&self, now: u64, nanos: u64) -> bool {
        self.published > 0 && now.saturating_sub(self.since) >= nanos
    }

    /// Takes out what the device will not send any more, up to a batch. Whether there was something.
    pub fn give_up(&mut self, finished: &mut Finished) -> bool {
        self.published = 0;
        while finished.frames < BATCH && !self.frames.is_empty() {
            self.take_oldest(finished);
        }
        finished.frames != 0
    }

    /// Begins anew, with a device that was reset and a ring that was given up.
    pub fn restart(&mut self) {
        (self.next, self.told, self.published, self.context) = (0, 0, 0, None);
        self.free = MOST;
        self.copies.clear();
        for at in (0..BYTES).step_by(8) {
            self.memory.write(at, 0u64);
        }
    }
}

/// How many frames it becomes, and their bytes. `None` if one of them is longer than the device sends.
fn on_wire(frame: &Frame<'_>) -> Option<(u32, u32)> {
    let bytes = frame.bytes();
    let Some(how) = frame.offload.segmentation else {
        return (bytes <= LONGEST_FRAME).then_some((1, bytes as u32));
    };
    let (headers, segment) = (usize::from(how.headers), usize::from(how.payload));
    if headers + segment > LONGEST_FRAME {
        return None;
    }
    let pieces = bytes.checked_sub(headers)?.div_ceil(segment);
    // At most 64 KiB of segments of a byte.
    Some((pieces as u32, (bytes + pieces.saturating_sub(1) * headers) as u32))
}
