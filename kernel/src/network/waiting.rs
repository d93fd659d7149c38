//! Frames that wait for room at where they are to go.
//!
//! A frame whose memory its sender keeps until he is told stays there: so his ring fills, and he sends no more than the other
//! side takes. Any other, as one that a card has received, is copied, as long as there are not too many.
//!
//! Whoever finds that frames wait puts his behind them. Whoever learns that there is room hands them on ([`Waiting::drain`]),
//! one CPU at a time, without a lock while he does.
use super::memory::DirectMemory;
use super::network::Network;
use crate::time;
use alloc::sync::Weak;
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use executor::{Signal, Timers};
use mm::{Hva, Segment};
use net::backlog::Backlog;
use net::frame::{Headers, Tag};
use net::nic::{Done, Frame, Offload};
use net::offload;
use net::switch::{PortId, Reason};
use spin::Mutex;

/// Most bytes of frames that are copied to wait.
const COPIED: usize = 256 << 10;
/// How long a guest may make no room before frames for it are dropped: then others' rings are not to be full of them.
const PATIENCE: u64 = 1_000_000_000;
/// How often that is looked at while frames wait.
const LOOK: u64 = 500_000_000;

/// Frames have begun to wait.
static BEGUN: Signal = Signal::new();

/// By whom a frame was sent: its network and its port there.
pub(super) type Source = (usize, PortId);

/// The way of a frame through a network.
pub(super) struct Passage<'a> {
    pub network: &'a Network,
    pub from: PortId,
    pub to: PortId,
    pub frame: &'a Frame<'a>,
    pub headers: &'a Headers,
    /// With which it leaves.
    pub tag: Option<Tag>,
}

/// A frame that waits.
pub(super) struct Held {
    network: Weak<Network>,
    to: PortId,
    beginning: Vec<u8>,
    rest: Vec<Segment>,
    offload: Offload,
    pub headers: Headers,
    pub tag: Option<Tag>,
    /// Its sender keeps the memory of its rest until he is told.
    pub done: Option<Done>,
    /// Or that is here.
    copy: Vec<u8>,
}

/// Frames that wait.
#[derive(Default)]
pub(super) struct Waiting {
    /// There are some, or one is just handed on.
    some: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    frames: Backlog<Source, Held>,
    copied: usize,
    /// Somebody hands a frame on.
    busy: bool,
    /// There was room while he did.
    again: bool,
    /// Since when there is no room.
    since: u64,
    /// For so long that none is waited for.
    stalled: bool,
}

impl Inner {
    /// All that wait, but for one that is just handed on.
    fn take(&mut self) -> Vec<Held> {
        let all: Vec<Held> = self.frames.take().collect();
        self.copied -= all.iter().map(|held| held.copy.len()).sum::<usize>();
        all
    }
}

impl Held {
    pub fn frame(&self) -> Frame<'_> {
        Frame { beginning: &self.beginning, rest: &self.rest, offload: self.offload }
    }

    /// It is where it was to go, or never will be.
    fn end(self, result: Result<(), Reason>) {
        if let Some(network) = self.network.upgrade() {
            network.account(self.to, self.frame().bytes(), result);
        }
        if let Some(done) = self.done {
            done.sent();
        }
    }
}

impl Waiting {
    /// Whether frames wait, so that no other may overtake them.
    #[inline]
    pub fn is_some(&self) -> bool {
        self.some.load(Ordering::Acquire)
    }

    /// Lets a frame wait, with up to `most` of its source. It takes `done` with it, if there is one. `None` where it can't;
    /// else whether it is the first: then [`Self::drain`] is to look whether there is room by now.
    #[cold]
    pub fn hold(&self, passage: &Passage<'_>, done: &mut Option<Done>, most: usize) -> Option<bool> {
        let Passage { network, frame, .. } = passage;
        let source = network.source(passage.from);
        let mut inner = self.inner.lock();
        if inner.stalled || inner.frames.count(source) >= most {
            return None;
        }
        let (mut copy, mut rest) = (Vec::new(), frame.rest.to_vec());
        if done.is_none() && !rest.is_empty() {
            let begin = frame.beginning.len();
            copy = vec![0; frame.bytes() - begin];
            if inner.copied + copy.len() > COPIED {
                return None;
            }
            inner.copied += copy.len();
            offload::read(frame, &DirectMemory, begin, &mut copy);
            let address = crate::memory::DIRECT.physical(Hva::from_ptr(copy.as_ptr()));
            // A frame is shorter than 128 KiB.
            rest = vec![Segment { address, bytes: copy.len() as u32 }];
        }
        let first = inner.frames.is_empty() && !inner.busy;
        if first {
            inner.since = time::now().0;
        }
        let held = Held {
            network: network.weak(),
            to: passage.to,
            beginning: frame.beginning.to_vec(),
            rest,
            offload: frame.offload,
            headers: *passage.headers,
            tag: passage.tag,
            done: done.take(),
            copy,
        };
        inner.frames.push(source, held);
        self.some.store(true, Ordering::Release);
        drop(inner);
        BEGUN.raise();
        Some(first)
    }

    /// There may be room: hands on what waits, by `deliver`, until it says that there is none.
    pub fn drain(&self, deliver: impl Fn(&mut Held) -> Result<(), Reason>) {
        self.inner.lock().stalled = false;
        loop {
            let mut inner = self.inner.lock();
            if inner.busy {
                inner.again = true;
                return;
            }
            let Some((source, mut held)) = inner.frames.pop() else {
                self.some.store(false, Ordering::Release);
                return;
            };
            (inner.busy, inner.again) = (true, false);
            drop(inner);
            let result = deliver(&mut held);
            let mut inner = self.inner.lock();
            inner.busy = false;
            if result == Err(Reason::NoRoom) {
                inner.frames.put_back(source, held);
                if inner.again {
                    continue;
                }
                return;
            }
            inner.since = time::now().0;
            inner.copied -= held.copy.len();
            drop(inner);
            held.end(result);
        }
    }

    /// Drops what waits.
    pub fn flush(&self) {
        let mut inner = self.inner.lock();
        let all = inner.take();
        self.some.store(inner.busy, Ordering::Release);
        drop(inner);
        all.into_iter().for_each(|held| held.end(Err(Reason::Gone)));
    }

    /// Drops what waits from a source that is gone.
    pub fn forget(&self, source: Source) {
        if !self.is_some() {
            return;
        }
        let mut inner = self.inner.lock();
        let gone = inner.frames.remove(source);
        inner.copied -= gone.iter().map(|held| held.copy.len()).sum::<usize>();
        drop(inner);
        gone.into_iter().for_each(|held| held.end(Err(Reason::Gone)));
    }

    /// Drops what waits where there was no room for too long, and lets nothing wait before there is some. Whether frames
    /// wait.
    fn look(&self, now: u64) -> bool {
        if !self.is_some() {
            return false;
        }
        let mut inner = self.inner.lock();
        let late = now >= inner.since.saturating_add(PATIENCE) && !inner.busy && !inner.frames.is_empty();
        if !late {
            return true;
        }
        inner.stalled = true;
        let all = inner.take();
        self.some.store(false, Ordering::Release);
        drop(inner);
        all.into_iter().for_each(|held| held.end(Err(Reason::NoRoom)));
        false
    }
}

/// Looks after frames that wait for guests, for ever.
pub(super) async fn watch(timers: alloc::sync::Arc<Timers>) {
    loop {
        BEGUN.wait().await;
        let mut some = true;
        while some {
            let now = time::now().0;
            timers.sleep_until(now + LOOK).await;
            let now = time::now().0;
            some = false;
            for guest in super::all().iter().flat_map(|network| network.guests()) {
                some |= guest.waiting.look(now);
            }
        }
    }
}
