//! virtio-balloon: memory that a guest gives back to the host (virtio 1.2, 5.5).
//!
//! | queue | the guest tells | what becomes of it |
//! |---|---|---|
//! | 0, inflate | pages that it has put into the balloon, as the operator asked | noted; a chunk of 2 MiB all of whose pages are in the balloon goes back to the host |
//! | 1, deflate | pages that it takes out again | noted; their chunk comes back when it is touched |
//! | 2, statistics | how much memory it has free | kept for the operator |
//! | 3 or 4, reporting | runs of pages that it does not use now, if the operator wants to know | whole chunks go back to the host |
//!
//! Reporting is queue 4 by the standard. Linux, until version 6.11, leaves out queue 3, for hints that are not offered
//! here, and calls the next one 3; so both are the reporting queue.
//!
//! # How a chunk goes
//!
//! The device only notes which chunks the guest has given up, keeps the guest's buffers, and asks for [`Balloon::begin`].
//! That is the kernel's turn: it takes the chunks out, waits until no CPU can reach them any more, calls
//! [`Balloon::end`], which gives the buffers back, and frees the memory when the last request to a disk that may still
//! name it is done ([`crate::memory::chunks`]). Between `begin` and `end` no buffer goes back, those of the deflate queue
//! neither: a guest that waits for its buffers, as it must, never writes to a chunk that is about to go.
//!
//! # What it promises
//!
//! What the guest says is good for the guest alone. Numbers that are no RAM, or are told twice, change nothing; a guest
//! that goes on using what it has given up finds zeroes there. A guest that sets a poison value, by which it recognizes
//! its free pages, is told that all is well and keeps them. A reset empties the balloon: what was given back comes
//! back when it is touched.
mod pages;
mod statistics;

pub use statistics::Statistics;

use super::control::Control;
use super::device::{Device, DeviceType, Feature, Status};
use super::queue::{Broken, Chain, Service, Token, Virtqueue};
use crate::memory::GuestMemory;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use mm::addr::{Gpa, Hpa, LARGE_PAGE, PAGE};
use pages::Pages;
use spin::{Mutex, Once};
use statistics::Statisticians;

/// Features of the type (5.5.3).
mod feature {
    pub const MUST_TELL_HOST: u64 = 1 << 0;
    pub const STATS_VQ: u64 = 1 << 1;
    pub const DEFLATE_ON_OOM: u64 = 1 << 2;
    pub const PAGE_POISON: u64 = 1 << 4;
    pub const REPORTING: u64 = 1 << 5;
}

/// Offsets in the configuration (5.5.4), 32 bits each.
mod config {
    pub const NUM_PAGES: u32 = 0;
    pub const ACTUAL: u32 = 4;
    pub const POISON: u32 = 12;
}

/// Queues.
const INFLATE: u16 = 0;
const DEFLATE: u16 = 1;
const STATISTICS: u16 = 2;
const FIRST_REPORTING: u16 = 3;

/// Entries of each queue. Linux wants 32 of the reporting queue.
const QUEUE_SIZE: u16 = 64;
/// Most segments of a chain.
const SEGMENTS: usize = 64;
/// Most pages that one buffer may name; the others are not looked at. Linux names 256.
const MOST_PAGES: usize = 4096;
/// Bytes of a page's number.
const NUMBER: usize = 4;
/// Most buffers that wait for the chunks that they name to go.
const HELD: usize = 5 * QUEUE_SIZE as usize;

/// A buffer that is given back when what it tells has been done.
#[derive(Clone, Copy)]
struct Held {
    queue: u16,
    token: Token,
}

/// What the guest has told.
struct State {
    pages: Pages,
    /// Chunks that are to go, by number. Room for all.
    leaving: Vec<u32>,
    /// Buffers that wait for the next batch, and those of the batch that is under way. Room for [`HELD`].
    held: Vec<Held>,
    batch: Vec<Held>,
    under_way: bool,
}

/// A balloon, as the host has it; [`Device`] is its guest's side.
pub struct Balloon {
    memory: Arc<GuestMemory>,
    reporting: bool,
    work: Box<dyn Fn() + Send + Sync>,
    /// Pages that the operator wants to be in it.
    target: AtomicU32,
    /// Pages that the guest says are in it.
    actual: AtomicU32,
    poison: AtomicU32,
    agreed: AtomicU64,
    state: Mutex<State>,
    statistics: Mutex<Statisticians>,
    wiring: Once<(Vec<Arc<Virtqueue>>, Arc<Control>)>,
    drained: Once<Arc<dyn Fn() + Send + Sync>>,
}

impl Balloon {
    /// An empty balloon of a guest with this memory, into which it is to put `target` bytes. With `reporting` the guest
    /// tells of all memory that it does not use. `work` is called, on any CPU, when there is something to
    /// [`Self::begin`]; it must not do that itself.
    ///
    /// `None` without memory for its books: some 40 KiB for each GiB of the guest.
    pub fn new(
        memory: Arc<GuestMemory>,
        target: u64,
        reporting: bool,
        work: Box<dyn Fn() + Send + Sync>,
    ) -> Option<Arc<Self>> {
        let chunks = memory.chunk_count();
        let mut state = State {
            pages: Pages::new(chunks)?,
            leaving: Vec::new(),
            held: Vec::new(),
            batch: Vec::new(),
            under_way: false,
        };
        state.leaving.try_reserve_exact(chunks).ok()?;
        state.held.try_reserve_exact(HELD).ok()?;
        state.batch.try_reserve_exact(HELD).ok()?;
        Some(Arc::new(Self {
            memory,
            reporting,
            work,
            target: AtomicU32::new(pages(target)),
            actual: AtomicU32::new(0),
            poison: AtomicU32::new(0),
            agreed: AtomicU64::new(0),
            state: Mutex::new(state),
            statistics: Mutex::new(Statisticians::default()),
            wiring: Once::new(),
            drained: Once::new(),
        }))
    }

    /// Asks the guest to have `bytes` in the balloon.
    pub fn set_target(&self, bytes: u64) {
        self.target.store(pages(bytes), Ordering::SeqCst);
        if let Some((_, control)) = self.wiring.get() {
            control.config_changed();
        }
    }

    /// Bytes that the guest is to have in it.
    pub fn target(&self) -> u64 {
        u64::from(self.target.load(Ordering::SeqCst)) * PAGE
    }

    /// Bytes that are in it.
    pub fn inflated(&self) -> u64 {
        self.state.lock().pages.count() * PAGE
    }

    /// Whether the guest has a driver for it, which works.
    pub fn has_driver(&self) -> bool {
        self.wiring.get().is_some_and(|(_, control)| {
            control.status() & (Status::DRIVER_OK | Status::NEEDS_RESET | Status::FAILED) == Status::DRIVER_OK
        })
    }

    /// What the guest last said of its memory, if it has; and asks it to say it anew.
    pub fn statistics(&self) -> Option<Statistics> {
        let mut statistics = self.statistics.lock();
        let (known, buffer) = (statistics.known(), statistics.take_buffer());
        drop(statistics);
        if let Some(token) = buffer {
            self.give_back(Held { queue: STATISTICS, token });
        }
        known
    }

    /// Takes chunks out that the guest has given up, at most as many as `frames` has room for, and puts there where
    /// they were. Whether anything is to be ended with [`Self::end`], which is to be called before this is again.
    ///
    /// The memory is the caller's to free, as soon as nobody can reach it ([`GuestMemory::release`]).
    pub fn begin(&self, frames: &mut Vec<Hpa>) -> bool {
        let mut state = self.state.lock();
        let State { pages, leaving, held, batch, under_way } = &mut *state;
        let before = frames.len();
        while frames.len() < frames.capacity()
            && let Some(chunk) = leaving.pop()
        {
            // It may have been taken out of the balloon since.
            if pages.goes(chunk as usize)
                && let Some(frame) = self.memory.release(chunk as usize)
            {
                frames.push(frame);
            }
        }
        // Buffers may name chunks that are left for the next batch.
        if leaving.is_empty() {
            core::mem::swap(held, batch);
        }
        *under_way = frames.len() > before || !batch.is_empty();
        *under_way
    }

    /// No CPU can reach any more what the last [`Self::begin`] has taken out: the guest gets its buffers back.
    pub fn end(&self) {
        loop {
            let mut state = self.state.lock();
            let Some(held) = state.batch.pop() else {
                state.under_way = false;
                let more = !state.held.is_empty() || !state.leaving.is_empty();
                drop(state);
                if more {
                    (self.work)();
                }
                break;
            };
            drop(state);
            self.give_back(held);
        }
        if let Some(drained) = self.drained.get() {
            drained();
        }
    }

    fn give_back(&self, held: Held) {
        if let Some(queue) = self.queue(held.queue) {
            queue.give_back(held.token, 0, |_| ());
        }
    }

    fn queue(&self, number: u16) -> Option<&Arc<Virtqueue>> {
        self.wiring.get()?.0.get(usize::from(number))
    }

    /// Gives a buffer back now, or when the next batch is done.
    fn answer(&self, mut state: spin::MutexGuard<'_, State>, held: Held) -> Result<(), Broken> {
        if state.leaving.is_empty() && !state.under_way {
            drop(state);
            self.give_back(held);
            return Ok(());
        }
        if state.held.len() >= HELD {
            return Err(Broken::InFlight);
        }
        state.held.push(held);
        drop(state);
        (self.work)();
        Ok(())
    }

    /// Takes the pages that a chain names into the balloon, or out of it.
    fn pages(&self, queue: u16, chain: &mut Chain) -> Result<u32, Broken> {
        let mut looked_at = 0;
        let mut numbers = [0; 64 * NUMBER];
        let mut state = self.state.lock();
        while looked_at < MOST_PAGES && chain.readable.bytes() >= NUMBER as u64 {
            let bytes = chain.readable.bytes().min(numbers.len() as u64) as usize / NUMBER * NUMBER;
            if !chain.readable.take_front(&mut numbers[..bytes]) {
                break;
            }
            for number in numbers[..bytes].as_chunks::<NUMBER>().0 {
                let page = Gpa::new(u64::from(u32::from_le_bytes(*number)) * PAGE);
                let Some(chunk) = self.memory.chunk_of(page) else { continue };
                let index = (page.offset_in(LARGE_PAGE) / PAGE) as usize;
                let State { pages, leaving, .. } = &mut *state;
                if queue == DEFLATE {
                    pages.take_out(chunk, index);
                } else if pages.put_in(chunk, index) {
                    leaving.push(chunk as u32);
                }
            }
            looked_at += bytes / NUMBER;
        }
        self.answer(state, Held { queue, token: chain.token })?;
        Ok((looked_at / 16) as u32)
    }

    /// The guest does not use the memory that a chain names until it has the chain back.
    fn report(&self, queue: u16, chain: &Chain) -> Result<u32, Broken> {
        let mut state = self.state.lock();
        let mut looked_at = 0;
        if self.may_take_reported() {
            for &(start, bytes) in chain.writable.places() {
                let end = start.get().saturating_add(bytes.into());
                let mut at = start.get().next_multiple_of(LARGE_PAGE);
                while at < end && end - at >= LARGE_PAGE {
                    if let Some(chunk) = Gpa::try_new(at).and_then(|gpa| self.memory.chunk_of(gpa)) {
                        let State { pages, leaving, .. } = &mut *state;
                        if self.memory.is_present(chunk) && pages.report(chunk) {
                            leaving.push(chunk as u32);
                        }
                    }
                    at += LARGE_PAGE;
                    looked_at += 1;
                }
            }
        }
        self.answer(state, Held { queue, token: chain.token })?;
        Ok(looked_at)
    }

    /// Whether free pages may come back as zeroes (5.5.6.7.2).
    fn may_take_reported(&self) -> bool {
        let agreed = self.agreed.load(Ordering::Relaxed);
        let poisoned = agreed & feature::PAGE_POISON != 0 && self.poison.load(Ordering::Relaxed) != 0;
        self.reporting && agreed & feature::REPORTING != 0 && !poisoned
    }
}

fn pages(bytes: u64) -> u32 {
    u32::try_from(bytes / PAGE).unwrap_or(u32::MAX)
}

/// Serves one queue.
struct Server<'a> {
    balloon: &'a Balloon,
    queue: u16,
}

impl Service for Server<'_> {
    fn take(&self, chain: &mut Chain) -> Result<u32, Broken> {
        let Self { balloon, queue } = *self;
        match queue {
            INFLATE | DEFLATE => balloon.pages(queue, chain),
            STATISTICS => {
                // The guest has one buffer there. Of more the older ones are of no use.
                let earlier = balloon.statistics.lock().fill(chain);
                if let Some(token) = earlier {
                    balloon.give_back(Held { queue, token });
                }
                Ok(0)
            }
            _ => balloon.report(queue, chain),
        }
    }
}

/// The device of a guest.
pub struct BalloonDevice(Arc<Balloon>);

impl BalloonDevice {
    /// The guest's side of a balloon, of which it is the only one.
    pub fn new(balloon: Arc<Balloon>) -> Self {
        Self(balloon)
    }
}

impl Device for BalloonDevice {
    fn device_type(&self) -> DeviceType {
        DeviceType::BALLOON
    }

    /// None of the classes that there are.
    fn class(&self) -> u32 {
        0xff_0000
    }

    fn features(&self) -> u64 {
        let always = feature::MUST_TELL_HOST | feature::STATS_VQ | feature::DEFLATE_ON_OOM;
        always | if self.0.reporting { feature::REPORTING | feature::PAGE_POISON } else { 0 }
    }

    fn queue_sizes(&self) -> Vec<u16> {
        alloc::vec![QUEUE_SIZE; if self.0.reporting { 5 } else { 3 }]
    }

    fn segments(&self) -> usize {
        SEGMENTS
    }

    fn names_places(&self, queue: u16) -> bool {
        queue >= FIRST_REPORTING
    }

    fn connect(&mut self, queues: Vec<Arc<Virtqueue>>, control: &Arc<Control>) {
        self.0.wiring.call_once(|| (queues, control.clone()));
    }

    fn config_byte(&self, offset: u32) -> u8 {
        let register = match offset & !3 {
            config::NUM_PAGES => &self.0.target,
            config::ACTUAL => &self.0.actual,
            config::POISON => &self.0.poison,
            _ => return 0,
        };
        register.load(Ordering::SeqCst).to_le_bytes()[(offset & 3) as usize]
    }

    fn config_write(&self, offset: u32, size: u8, value: u64) {
        let register = match offset {
            config::ACTUAL => &self.0.actual,
            config::POISON => &self.0.poison,
            _ => return,
        };
        if size == 4 {
            register.store(value as u32, Ordering::SeqCst);
        }
    }

    fn activate(&self, features: u64) {
        self.0.agreed.store(features & !Feature::OFFERED, Ordering::SeqCst);
    }

    fn notify(&self, number: u16) {
        if let Some(queue) = self.0.queue(number) {
            queue.serve(&Server { balloon: &self.0, queue: number });
        }
    }

    fn reset(&self) {
        let mut state = self.0.state.lock();
        state.pages.empty();
        state.leaving.clear();
        state.held.clear();
        state.batch.clear();
        drop(state);
        *self.0.statistics.lock() = Statisticians::default();
        self.0.agreed.store(0, Ordering::SeqCst);
        self.0.actual.store(0, Ordering::SeqCst);
        self.0.poison.store(0, Ordering::SeqCst);
    }

    /// While chunks are on their way out, the guest must not use them for something else, as it may after a reset.
    fn in_flight(&self) -> u32 {
        self.0.state.lock().under_way.into()
    }

    fn when_drained(&self, drained: &Arc<dyn Fn() + Send + Sync>) {
        self.0.drained.call_once(|| drained.clone());
    }

    fn mark_requests(&self) {}

    fn marked_are_done(&self) -> bool {
        true
    }
}
