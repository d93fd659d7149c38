//! A queue of frames that come.
//!
//! Each descriptor has a buffer of its own. What came is taken under the ring's lock, handed over without it, and given
//! to the device again: a batch at a time, during which [`Receiving::rests`] is false.
use super::header::Header;
use super::send::enable;
use crate::DmaMemory;
use crate::virtio::VirtioError;
use crate::virtio::ring::{Piece, Ring};
use crate::virtio::transport::Transport;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use mm::Segment;
use net::frame::LONGEST;
use net::nic::{Frame, Receiver};
use spin::Mutex;

/// Most frames that are handed over in one batch, and in one go.
const BATCH: usize = 32;
const GO: usize = 256;

/// A queue.
pub(super) struct Receiving {
    number: u16,
    transport: Arc<Transport>,
    /// By descriptor. All of the same size, and not more than the ring has entries.
    buffers: Vec<DmaMemory>,
    limits: Limits,
    /// Most buffers of a frame.
    most: usize,
    state: Mutex<State>,
    batch: Mutex<Batch>,
    /// The device does not behave.
    pub troubled: AtomicBool,
    /// Something was received since the last reset.
    pub progress: AtomicBool,
}

/// What may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// A frame may be in several buffers.
    pub merged: bool,
    /// Most bytes of a frame that was not put together of several.
    pub longest: usize,
    /// Checksums may be left to be computed, or have been verified.
    pub checksum: bool,
    /// Frames may be put together of several.
    pub put_together: bool,
}

struct State {
    open: bool,
    ring: Ring,
    notify: u64,
    counters: Received,
}

/// What came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Received {
    pub frames: u64,
    pub bytes: u64,
    pub errors: u64,
}

/// What is being handed over.
struct Batch {
    /// The buffers, and how many bytes are in each.
    parts: Vec<(u16, u32)>,
    /// How many of those each frame has, and its header.
    frames: Vec<(usize, Header)>,
    segments: Vec<Segment>,
}

impl Limits {
    /// Most bytes of any frame.
    fn most(&self) -> usize {
        if self.put_together { Frame::MOST } else { self.longest }
    }

    /// Bytes that the buffers of a frame have to hold.
    pub fn needed(&self) -> usize {
        Header::BYTES + self.most()
    }
}

impl Receiving {
    /// With `buffers`, all of the same size.
    pub fn new(
        number: u16,
        transport: &Arc<Transport>,
        ring: Ring,
        buffers: Vec<DmaMemory>,
        limits: Limits,
    ) -> Self {
        let state = State { open: false, ring, notify: 0, counters: Received::default() };
        let most = buffers.first().map_or(0, |buffer| limits.needed().div_ceil(buffer.bytes()));
        let batch = Batch {
            // No more than there are: a frame that is too long may have more of them than any good one.
            parts: Vec::with_capacity(buffers.len()),
            frames: Vec::with_capacity(BATCH),
            segments: Vec::with_capacity(most),
        };
        Self {
            number,
            transport: transport.clone(),
            buffers,
            limits,
            state: Mutex::new(state),
            most,
            batch: Mutex::new(batch),
            troubled: AtomicBool::new(false),
            progress: AtomicBool::new(false),
        }
    }

    /// Names the queue to the device, with message `vector`.
    pub fn enable(&self, vector: u16) -> Result<(), VirtioError> {
        let mut state = self.state.lock();
        state.notify = enable(&self.transport, self.number, &state.ring, vector)?;
        Ok(())
    }

    /// Gives all buffers to a device that knows the ring, which is empty.
    pub fn open(&self) {
        let mut state = self.state.lock();
        while let Some(head) = state.ring.head()
            && let Some(buffer) = self.buffers.get(usize::from(head))
        {
            state.push(buffer);
        }
        self.publish(&mut state);
        state.ring.listen(1);
        state.open = true;
    }

    /// Hands nothing over from now on. A batch may still be under way: [`Self::rests`].
    pub fn hold(&self) {
        self.state.lock().open = false;
    }

    /// Whether nobody looks at a frame of it.
    pub fn rests(&self) -> bool {
        self.batch.try_lock().is_some()
    }

    /// Takes all buffers back, from a device that was reset.
    pub fn empty(&self) {
        self.state.lock().ring.restart();
        self.troubled.store(false, Ordering::Relaxed);
    }

    /// Hands over what has come. Whether there may be more.
    pub fn poll(&self, receiver: Option<&dyn Receiver>) -> bool {
        let Some(mut batch) = self.batch.try_lock() else { return true };
        let mut taken = 0;
        loop {
            batch.clear();
            let mut state = self.state.lock();
            if state.open && self.take(&mut state, &mut batch).is_err() {
                state.open = false;
                self.troubled.store(true, Ordering::Relaxed);
            }
            drop(state);
            taken += batch.frames.len();
            let received = self.hand_over(&mut batch, receiver);

            let mut state = self.state.lock();
            state.counters.frames += received.frames;
            state.counters.bytes += received.bytes;
            state.counters.errors += received.errors;
            if !state.open {
                return false;
            }
            for (descriptor, _) in batch.parts.drain(..).rev() {
                // The ring gives them out again in this order: each its own buffer.
                debug_assert_eq!(state.ring.head(), Some(descriptor));
                state.push(&self.buffers[usize::from(descriptor)]);
            }
            self.publish(&mut state);
            let more = batch.frames.len() == BATCH || state.ring.listen(1);
            if !more || taken >= GO {
                return more;
            }
        }
    }

    fn publish(&self, state: &mut State) {
        if state.ring.has_new() && state.ring.publish() {
            self.transport.notify(state.notify, self.number);
        }
    }

    /// Takes whole frames out of the ring, up to a batch.
    ///
    /// # Errors
    /// The device does not behave. What was taken before is good.
    fn take(&self, state: &mut State, batch: &mut Batch) -> Result<(), ()> {
        while batch.frames.len() < BATCH {
            let before = batch.parts.len();
            let result = self.take_one(state, batch);
            if let Ok(None) = result {
                break;
            }
            if let Err(why) = result {
                batch.parts.truncate(before);
                log::warn!("virtio-net: queue {}: {why}", self.number);
                return Err(());
            }
        }
        Ok(())
    }

    /// Takes one frame, if there is one. All of its buffers are returned at once (5.1.6.4.1).
    fn take_one(&self, state: &mut State, batch: &mut Batch) -> Result<Option<()>, &'static str> {
        let Some(bytes) = self.take_buffer(state, batch)? else { return Ok(None) };
        if bytes < Header::BYTES {
            return Err("it returns a buffer that ends within the header");
        }
        let (descriptor, _) = batch.parts[batch.parts.len() - 1];
        let mut header = [0; Header::BYTES];
        self.buffers[usize::from(descriptor)].copy_out(0, &mut header);
        let header = Header::parse(header);
        // More than a frame should have are no lie yet: somebody has sent one that is too long, and the device has not said what
        // it lets pass (5.1.6.3.1 binds one with an MTU).
        let buffers = if self.limits.merged { usize::from(header.buffers) } else { 1 };
        if !(1..=self.buffers.len()).contains(&buffers) {
            return Err("it returns a frame in more buffers than there are, or in none");
        }
        for _ in 1..buffers {
            if self.take_buffer(state, batch)?.is_none() {
                return Err("it returns a part of a frame");
            }
        }
        batch.frames.push((buffers, header));
        Ok(Some(()))
    }

    /// Takes one buffer, if there is one; the bytes in it.
    fn take_buffer(&self, state: &mut State, batch: &mut Batch) -> Result<Option<usize>, &'static str> {
        let Some(next) = state.ring.next() else { return Ok(None) };
        let Ok(used) = next else { return Err("it returns a buffer that it was not given") };
        let buffer = self.buffers.get(usize::from(used.head));
        if buffer.is_none_or(|buffer| used.bytes as usize > buffer.bytes()) {
            return Err("it returns a buffer with more than there is room for");
        }
        batch.parts.push((used.head, used.bytes));
        Ok(Some(used.bytes as usize))
    }

    /// Hands the frames of a batch over.
    fn hand_over(&self, batch: &mut Batch, receiver: Option<&dyn Receiver>) -> Received {
        let Batch { parts, frames, segments } = batch;
        let (mut left, mut received) = (&parts[..], Received::default());
        for (buffers, header) in &*frames {
            let (parts, rest) = left.split_at(*buffers);
            left = rest;
            if *buffers > self.most {
                received.errors += 1;
                continue;
            }
            let mut beginning = [0; LONGEST];
            let copied = self.gather(parts, &mut beginning, segments);
            let beginning = &beginning[..copied];
            let length = copied + segments.iter().map(|segment| segment.bytes as usize).sum::<usize>();
            let Some(frame) = self.frame(header, beginning, segments, length) else {
                received.errors += 1;
                continue;
            };
            received.frames += 1;
            received.bytes += length as u64;
            if let Some(receiver) = receiver {
                receiver.receive(&frame);
            }
        }
        if received.frames != 0 {
            self.progress.store(true, Ordering::Relaxed);
            if let Some(receiver) = receiver {
                receiver.received();
            }
        }
        received
    }

    /// Copies a frame's beginning, and says where the rest of it is. How many bytes were copied.
    fn gather(&self, parts: &[(u16, u32)], beginning: &mut [u8; LONGEST], rest: &mut Vec<Segment>) -> usize {
        let (mut copied, mut skip) = (0, Header::BYTES);
        rest.clear();
        for (descriptor, bytes) in parts {
            let (buffer, bytes) = (&self.buffers[usize::from(*descriptor)], *bytes as usize);
            let copy = (bytes - skip).min(LONGEST - copied);
            buffer.copy_out(skip, &mut beginning[copied..copied + copy]);
            copied += copy;
            let at = skip + copy;
            if bytes > at {
                // At most a buffer.
                let address = buffer.address() + at as u64;
                rest.push(Segment { address, bytes: (bytes - at) as u32 });
            }
            skip = 0;
        }
        copied
    }

    /// The frame, if it is one that may come and is as its header says.
    fn frame<'a>(
        &self,
        header: &Header,
        beginning: &'a [u8],
        rest: &'a [Segment],
        length: usize,
    ) -> Option<Frame<'a>> {
        // Without that feature the header says nothing (5.1.6.4).
        let header = if self.limits.checksum { *header } else { Header::default() };
        let offload = header.offload(beginning, length)?;
        let most = match offload.segmentation {
            Some(_) if self.limits.put_together => Frame::MOST,
            Some(_) => return None,
            None => self.limits.longest,
        };
        let frame = Frame { beginning, rest, offload };
        (length <= most && frame.check().is_ok()).then_some(frame)
    }

    /// What came.
    pub fn counters(&self) -> Received {
        self.state.lock().counters
    }
}

impl State {
    /// Makes the buffer of the next descriptor available.
    fn push(&mut self, buffer: &DmaMemory) {
        // A few pages.
        let bytes = buffer.bytes() as u32;
        self.ring.push([Piece { address: buffer.address(), bytes, written: true }].into_iter());
    }
}

impl Batch {
    fn clear(&mut self) {
        self.parts.clear();
        self.frames.clear();
    }
}
