//! A card, to those above.
use super::hardware;
use super::shared::{Shared, wish};
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use net::nic::{Abilities, Counters, Done, Filter, Frame, Identity, Link, Nic, Receiver, Refused};

/// See the module.
pub(super) struct Card {
    pub identity: Identity,
    pub abilities: Abilities,
    pub shared: Arc<Shared>,
}

impl Nic for Card {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn abilities(&self) -> &Abilities {
        &self.abilities
    }

    fn link(&self) -> Link {
        hardware::link(self.shared.state.load(Ordering::Acquire))
    }

    fn set_receiver(&self, receiver: Option<Arc<dyn Receiver>>) {
        // The old one goes when the lock is free again.
        let _old = core::mem::replace(&mut *self.shared.receiver.lock(), receiver);
    }

    fn set_filter(&self, filter: Filter) {
        let _old = core::mem::replace(&mut *self.shared.filter.lock(), filter);
        self.shared.wish(wish::FILTER);
    }

    fn transmit(&self, frame: &Frame<'_>, done: Option<Done>) -> Result<(), Refused> {
        if frame.check().is_err() || !self.abilities.suffice(frame) {
            return Err(Refused::Unable);
        }
        if !self.link().up {
            return Err(Refused::Down);
        }
        let mut transmit = self.shared.transmit.lock();
        if transmit.is_scarce() {
            // What was sent since the task's last look.
            drop(transmit);
            self.shared.reap_some();
            transmit = self.shared.transmit.lock();
        }
        let result = transmit.put(frame, done);
        if result == Err(Refused::Full) {
            // There will be room only when these are sent.
            self.shared.publish(&mut transmit);
            drop(transmit);
            self.shared.hurry();
        }
        result
    }

    fn start(&self) {
        self.shared.publish(&mut self.shared.transmit.lock());
        self.shared.hurry();
    }

    fn counters(&self) -> Counters {
        self.shared.tallies.counters()
    }

    fn is_present(&self) -> bool {
        !self.shared.over.load(Ordering::Relaxed)
    }
}
