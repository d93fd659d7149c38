//! The card, to those above.
use super::config::Config;
use super::control::Control;
use super::pair::Pair;
use crate::pci::MessageInterrupts;
use crate::virtio::transport::Transport;
use crate::{Interrupt, Kernel};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use executor::{Event, Signal};
use net::nic::{Abilities, Counters, Done, Filter, Frame, Identity, Link, Nic, Receiver, Refused};
use spin::Mutex;

/// What is wished of the task that watches.
pub(super) mod wish {
    pub const REMOVED: u32 = 1;
    pub const SHUT_DOWN: u32 = 2;
    pub const FILTER: u32 = 4;
}

/// A card.
pub(super) struct Card {
    pub identity: Identity,
    pub abilities: Abilities,
    pub kernel: Arc<dyn Kernel>,
    pub transport: Arc<Transport>,
    pub interrupts: Option<Box<dyn MessageInterrupts>>,
    /// For changes of the configuration; without, it is looked at once a second.
    pub config_interrupt: Option<Box<dyn Interrupt>>,
    pub features: u64,
    pub config: Config,
    /// At least one.
    pub pairs: Vec<Pair>,
    pub control: Option<Control>,
    pub stop_dma: Box<dyn Fn() + Send + Sync>,
    /// For the task that watches.
    pub signal: Arc<Signal>,
    pub wishes: AtomicU32,
    pub filter: Mutex<Filter>,
    pub receiver: Mutex<Option<Arc<dyn Receiver>>>,
    pub link: AtomicBool,
    pub link_changes: AtomicU64,
    pub resets: AtomicU64,
    pub over: AtomicBool,
    pub ended: Event,
}

impl Card {
    /// The calling CPU's queues.
    fn pair(&self) -> &Pair {
        &self.pairs[self.queue()]
    }

    /// Who gets what comes.
    pub fn receiver(&self) -> Option<Arc<dyn Receiver>> {
        self.receiver.lock().clone()
    }

    /// Wishes something of the task that watches.
    pub fn wish(&self, wish: u32) {
        self.wishes.fetch_or(wish, Ordering::AcqRel);
        self.signal.raise();
    }

    /// Whether it sends frames of that length and with that left to be done.
    fn sends(&self, frame: &Frame<'_>) -> bool {
        let longest = match frame.offload.segmentation {
            Some(how) => usize::from(how.headers) + usize::from(how.payload),
            None => frame.bytes(),
        };
        longest <= self.config.longest() && self.abilities.suffice(frame)
    }
}

impl Nic for Card {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn abilities(&self) -> &Abilities {
        &self.abilities
    }

    fn link(&self) -> Link {
        // It has no speed but the machine's.
        let up = self.is_present() && self.link.load(Ordering::Relaxed);
        Link { up, megabits: 0, full_duplex: up }
    }

    fn set_receiver(&self, receiver: Option<Arc<dyn Receiver>>) {
        // What was there is dropped without the lock.
        let before = core::mem::replace(&mut *self.receiver.lock(), receiver);
        drop(before);
    }

    fn set_filter(&self, filter: Filter) {
        let before = core::mem::replace(&mut *self.filter.lock(), filter);
        drop(before);
        self.wish(wish::FILTER);
    }

    fn transmit(&self, frame: &Frame<'_>, done: Option<Done>) -> Result<(), Refused> {
        debug_assert_eq!(frame.check(), Ok(()));
        if !self.link().up {
            Err(Refused::Down)
        } else if !self.sends(frame) {
            Err(Refused::Unable)
        } else {
            self.pair().sending.transmit(frame, done)
        }
    }

    fn start(&self) {
        self.pair().sending.start();
    }

    /// Neighbours share one where there are fewer than CPUs.
    fn queue(&self) -> usize {
        let (cpu, cpus) = (self.kernel.this_cpu(), self.kernel.cpus().max(1));
        // Below the number of pairs, since the CPU is below that of CPUs.
        (cpu * self.pairs.len() / cpus).min(self.pairs.len() - 1)
    }

    fn counters(&self) -> Counters {
        let mut counters = Counters {
            link_changes: self.link_changes.load(Ordering::Relaxed),
            resets: self.resets.load(Ordering::Relaxed),
            ..Counters::default()
        };
        for pair in &self.pairs {
            let (received, sent) = (pair.receiving.counters(), pair.sending.counters());
            counters.received += received.frames;
            counters.received_bytes += received.bytes;
            counters.receive_errors += received.errors;
            counters.sent += sent.frames;
            counters.sent_bytes += sent.bytes;
            counters.send_errors += sent.errors;
        }
        counters
    }

    fn is_present(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }
}
