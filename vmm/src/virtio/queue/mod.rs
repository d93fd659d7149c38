//! A virtqueue: what is taken from the guest, and what is given back to it (virtio 1.2, 2.6 to 2.8).
//!
//! The two sides have a lock each: a request may be completed, on this CPU or another, while the next ones are being
//! taken. Only one CPU serves a queue at a time; another that was told to leaves a note ([`Virtqueue::serve`]), and
//! never waits. `watch` is about vCPUs that look instead of being notified.
//!
//! # Why no request is forgotten
//!
//! A server that has found nothing more either asks the guest to notify, and looks once more; or leaves the guest
//! quiet because the device is busy or a vCPU has promised to look: then it first publishes that it does
//! ([`Virtqueue::is_quiet`]) and asks anew whether that is so. Whoever makes a device less busy counts first, then looks
//! whether the queue is quiet, and serves it if so; and so does a vCPU that takes its promise back. Of two that do this at once at least one sees the other.

/// Calls a method of whichever format it is.
macro_rules! either {
    ($side:ident, $ring:expr, $name:ident => $call:expr) => {
        match $ring {
            $side::Split($name) => $call,
            $side::Packed($name) => $call,
        }
    };
}

mod chain;
mod fill;
mod packed;
mod split;
#[cfg(test)]
mod tests;
mod watch;

pub use chain::{Broken, Chain, MAX_CHAIN, Token};
pub use fill::{Filled, Filling, MOST_FILLED};

use super::control::{Control, NO_VECTOR};
use super::device::Feature;
use crate::memory::{GuestMemory, Window};
use crate::time::Nanos;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU16, Ordering, fence};
use mm::addr::Gpa;
use spin::Mutex;
use watch::Watch;

/// Most entries of a queue. The standard allows 32768; no driver has use for them.
pub const MAX_SIZE: u16 = 1024;

/// What one call serves before it lets others run: descriptors looked at, and pages moved before a request's
/// submission had returned.
pub const BUDGET: u32 = 4096;

/// What a driver and the device have agreed upon, as far as rings go.
#[derive(Clone, Copy)]
struct RingFeatures {
    indirect: bool,
    event_idx: bool,
}

/// Where a driver put a queue.
#[derive(Clone, Copy)]
pub struct Addresses {
    /// Entries.
    pub size: u16,
    /// Descriptor area.
    pub descriptors: u64,
    /// Driver area: available ring, or the driver's event suppression.
    pub driver: u64,
    /// Device area: used ring, or the device's event suppression.
    pub device: u64,
}

struct Place<'a> {
    memory: &'a Arc<GuestMemory>,
    size: u16,
    descriptors: u64,
    driver: u64,
    device: u64,
}

impl Place<'_> {
    fn window(&self, at: u64, bytes: u32, align: u32) -> Result<Window, Broken> {
        let gpa = Gpa::try_new(at).ok_or(Broken::Place)?;
        Window::new(self.memory, gpa, bytes, align).map_err(|_| Broken::Place)
    }
}

enum Available {
    Split(split::Available),
    Packed(packed::Available),
}

enum Used {
    Split(split::Used),
    Packed(packed::Used),
}

/// The available side of a queue: its ring while it is enabled, and room for a chain, which is never allocated anew.
struct Source {
    ring: Option<Available>,
    chain: Chain,
}

/// What serves a queue's chains.
pub trait Service {
    /// Takes a chain. Its memory lists are overwritten by the next one. What it cost, as [`BUDGET`] counts, beside
    /// its descriptors.
    ///
    /// # Errors
    /// The chain breaks the rules of the device.
    fn take(&self, chain: &mut Chain) -> Result<u32, Broken>;

    /// Whether it can take a chain. While it can't, it is [`Self::busy`].
    #[inline]
    fn ready(&self) -> bool {
        true
    }

    /// All that there is was taken, or as much as may be; it was something.
    fn taken(&self) {}

    /// Whether so much is under way that the guest need not notify: the service promises to call
    /// [`Virtqueue::serve`] when that ends, if [`Virtqueue::is_quiet`] then.
    fn busy(&self) -> bool {
        false
    }
}

/// One queue of a device.
pub struct Virtqueue {
    memory: Arc<GuestMemory>,
    control: Arc<Control>,
    max_size: u16,
    vector: AtomicU16,
    /// Somebody wants the queue to be served.
    again: AtomicBool,
    /// The guest was asked not to notify.
    quiet: AtomicBool,
    watch: Watch,
    source: Mutex<Source>,
    used: Mutex<Option<Used>>,
    /// Entries of the used side of which the guest may want to be told. Changed under that lock.
    owed: AtomicU16,
}

impl Virtqueue {
    /// A queue of at most `max_size` entries (a power of two up to [`MAX_SIZE`]) whose chains have at most `segments`
    /// in one direction.
    pub fn new(memory: &Arc<GuestMemory>, control: &Arc<Control>, max_size: u16, segments: usize) -> Self {
        Self {
            memory: memory.clone(),
            control: control.clone(),
            max_size: max_size.clamp(1, MAX_SIZE),
            vector: AtomicU16::new(NO_VECTOR),
            again: AtomicBool::new(false),
            quiet: AtomicBool::new(false),
            watch: Watch::new(),
            source: Mutex::new(Source { ring: None, chain: Chain::new(memory, segments) }),
            used: Mutex::new(None),
            owed: AtomicU16::new(0),
        }
    }

    /// Likewise, one whose chains name memory that is not to be written but spoken of ([`Chain::of_places`]).
    pub fn of_places(
        memory: &Arc<GuestMemory>,
        control: &Arc<Control>,
        max_size: u16,
        places: usize,
    ) -> Self {
        let source = Mutex::new(Source { ring: None, chain: Chain::of_places(memory, places) });
        Self { source, ..Self::new(memory, control, max_size, 0) }
    }

    /// Most entries.
    pub fn max_size(&self) -> u16 {
        self.max_size
    }

    /// The memory that it works on.
    pub fn memory(&self) -> &Arc<GuestMemory> {
        &self.memory
    }

    /// Its interrupt vector.
    pub fn vector(&self) -> u16 {
        self.vector.load(Ordering::Relaxed)
    }

    /// Sets it. One that the device does not have becomes [`NO_VECTOR`].
    pub fn set_vector(&self, vector: u16) {
        self.vector.store(self.control.valid_vector(vector), Ordering::Relaxed);
    }

    /// Opens the rings, as agreed by `features`.
    ///
    /// # Errors
    /// They are not where rings can be.
    pub fn enable(&self, addresses: Addresses, features: u64) -> Result<(), Broken> {
        let Addresses { size, descriptors, driver, device } = addresses;
        if size == 0 || size > self.max_size {
            return Err(Broken::Place);
        }
        let place = Place { memory: &self.memory, size, descriptors, driver, device };
        let agreed = RingFeatures {
            indirect: features & Feature::INDIRECT_DESC != 0,
            event_idx: features & Feature::EVENT_IDX != 0,
        };
        let (available, used) = if features & Feature::RING_PACKED != 0 {
            let (available, used) = packed::open(&place, agreed)?;
            (Available::Packed(available), Used::Packed(used))
        } else {
            let (available, used) = split::open(&place, agreed)?;
            (Available::Split(available), Used::Split(used))
        };
        self.quiet.store(false, Ordering::SeqCst);
        *self.used.lock() = Some(used);
        self.source.lock().ring = Some(available);
        Ok(())
    }

    /// Lets go of the rings: nothing of the queue touches guest memory afterwards.
    pub fn disable(&self) {
        self.source.lock().ring = None;
        let mut used = self.used.lock();
        *used = None;
        self.take_owed();
        drop(used);
        self.set_vector(NO_VECTOR);
    }

    /// Waits for a CPU that is just serving the queue: what it saw of the device before has had its effect then.
    pub fn wait_for_server(&self) {
        drop(self.source.lock());
    }

    /// Whether the guest was asked not to notify.
    #[inline]
    pub fn is_quiet(&self) -> bool {
        self.quiet.load(Ordering::SeqCst)
    }

    /// A vCPU in its turn offers to look each `pace` until [`Self::rest`]. Whether it is to. In either case the queue is
    /// to be served now if it [`is_quiet`](Self::is_quiet).
    #[inline]
    pub fn look(&self, now: Nanos, pace: Nanos) -> bool {
        let before = self.watch.promised();
        let wanted = self.watch.offer(now, pace);
        if wanted && !before {
            // The server tells the guest.
            self.quiet.store(true, Ordering::SeqCst);
        } else if before && !wanted {
            self.watch.withdraw();
        }
        wanted
    }

    /// The vCPU won't look any more. Whether the queue is to be served now.
    #[inline]
    pub fn rest(&self) -> bool {
        self.watch.withdraw()
    }

    /// Hands what the guest has made available to `service`. If another CPU, or this one further up its stack, is
    /// just serving the queue, that one goes on to serve what came meanwhile.
    #[inline]
    pub fn serve(&self, service: &impl Service) {
        let mut budget = BUDGET;
        loop {
            self.again.store(true, Ordering::SeqCst);
            let Some(mut source) = self.source.try_lock() else { return };
            while self.again.swap(false, Ordering::SeqCst) {
                if budget == 0 {
                    return self.control.postpone();
                }
                if let Err(broken) = self.drain(&mut source, service, &mut budget) {
                    self.control.needs_reset(broken);
                }
                // Counts also where there was nothing: somebody else may go on notifying.
                budget = budget.saturating_sub(1);
            }
            drop(source);
            // Who came between the look and the unlocking was not served. Unlocking is a store that the load behind it
            // would overtake: he would find the queue locked, and we nothing of him.
            fence(Ordering::SeqCst);
            if !self.again.load(Ordering::SeqCst) {
                return;
            }
        }
    }

    /// Hands out all that the guest has made available by now, after waiting for another CPU that is just serving the
    /// queue; not to be called by `service`. `false` where that is so much that some was put off.
    pub fn serve_all(&self, service: &impl Service) -> bool {
        let mut budget = BUDGET;
        if let Err(broken) = self.drain(&mut self.source.lock(), service, &mut budget) {
            self.control.needs_reset(broken);
        }
        // For those who found the queue locked.
        self.serve(service);
        budget > 0
    }

    fn drain(&self, source: &mut Source, service: &impl Service, budget: &mut u32) -> Result<(), Broken> {
        let Source { ring: Some(ring), chain } = source else { return Ok(()) };
        if !self.control.running() {
            return Ok(());
        }
        loop {
            if !self.take_all(ring, chain, service, budget)? {
                self.control.postpone();
                return Ok(());
            }
            let expects = || service.busy() || self.watch.promised();
            if expects() {
                self.quiet.store(true, Ordering::SeqCst);
                if expects() {
                    either!(Available, ring, r => r.quiet());
                    return Ok(());
                }
            }
            either!(Available, ring, r => r.listen());
            self.quiet.store(false, Ordering::Relaxed);
            if !either!(Available, ring, r => r.has_more()) {
                return Ok(());
            }
        }
    }

    /// Hands out what there is; `false` where the budget was used up before.
    #[inline]
    fn take_all(
        &self,
        ring: &mut Available,
        chain: &mut Chain,
        service: &impl Service,
        budget: &mut u32,
    ) -> Result<bool, Broken> {
        let mut taken = 0;
        let all = loop {
            if !service.ready() {
                break Ok(true);
            }
            match either!(Available, &mut *ring, r => r.pop(&self.memory, chain)) {
                Ok(true) => taken += 1,
                Ok(false) => break Ok(true),
                Err(broken) => break Err(broken),
            }
            match service.take(chain) {
                Ok(cost) => *budget = budget.saturating_sub(cost.saturating_add(chain.descriptors())),
                Err(broken) => break Err(broken),
            }
            if *budget == 0 {
                break Ok(false);
            }
        };
        if taken != 0 {
            self.watch.found(taken);
            service.taken();
        }
        all
    }

    /// Gives a chain back, of whose writable part the first `bytes` were written, and interrupts the guest if it wants
    /// to know. Before that `finish` writes what is left to write, under the used side's lock. Nothing of that where
    /// the queue was disabled meanwhile.
    #[inline]
    pub fn give_back(&self, token: Token, bytes: u32, finish: impl FnOnce(&GuestMemory)) {
        let mut used = self.used.lock();
        let Some(ring) = used.as_mut() else { return };
        finish(&self.memory);
        let entries = either!(Used, ring, r => r.push(&[(token, bytes)])) + self.take_owed();
        if either!(Used, ring, r => r.wants(entries)) {
            self.control.queue_interrupt(self.vector());
        }
    }

    /// As [`Self::give_back`], of a chain of which nothing was written. Where the guest is just being interrupted by
    /// another queue of the device, it is not interrupted for this one as well, but in its next exit ([`Self::pay`]): until
    /// then it may have looked by itself.
    #[inline]
    pub fn give_back_later(&self, token: Token) {
        if !self.control.interrupts().is_told() {
            return self.give_back(token, 0, |_| ());
        }
        let mut used = self.used.lock();
        let Some(ring) = used.as_mut() else { return };
        let entries = either!(Used, ring, r => r.push(&[(token, 0)])) + self.take_owed();
        if !either!(Used, ring, r => r.wants(entries)) {
            return;
        }
        self.owed.store(entries, Ordering::Relaxed);
        drop(used);
        if !self.control.interrupts().owe() {
            self.pay();
        }
    }

    /// Interrupts the guest for what it was not told of, if it still wants to know.
    #[cold]
    pub fn pay(&self) {
        let used = self.used.lock();
        let owed = self.take_owed();
        if owed != 0
            && let Some(ring) = used.as_ref()
            && either!(Used, ring, r => r.wants(owed))
        {
            self.control.queue_interrupt(self.vector());
        }
    }

    /// Under the lock of the used side.
    #[inline]
    fn take_owed(&self) -> u16 {
        let owed = self.owed.load(Ordering::Relaxed);
        if owed != 0 {
            self.owed.store(0, Ordering::Relaxed);
        }
        // As many as there are in a ring are all.
        owed.min(MAX_SIZE)
    }
}
