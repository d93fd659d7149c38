//! What an interface knows of a socket.
use super::counters::{Count, Counters, DropReason, SocketInfo, TrafficCount};
use super::outgoing::Sends;
use super::{Handler, Priority, Received, SocketConfig};
use crate::frame::{EtherType, Ethernet, Mac, VlanId};
use crate::nic::Frame;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::array;
use core::sync::atomic::{AtomicBool, Ordering};
use spin::Mutex;

/// A socket, while it is open, and for frames of it that are still under way.
pub(super) struct Shared {
    name: String,
    pub ether_type: EtherType,
    pub vlan: Option<VlanId>,
    /// Those joined.
    pub groups: Mutex<Vec<Mac>>,
    handler: Mutex<Option<Weak<dyn Handler>>>,
    /// Frames were handed over since the handler was last told that it were all.
    fresh: AtomicBool,
    pub closed: AtomicBool,
    sends: [Sends; Priority::COUNT],
    received: TrafficCount,
    drops: [Count; DropReason::COUNT],
}

impl Shared {
    pub fn new(config: SocketConfig) -> Self {
        Self {
            name: config.name,
            ether_type: config.ether_type,
            vlan: config.vlan,
            groups: Mutex::default(),
            handler: Mutex::default(),
            fresh: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            sends: config.limits.map(Sends::new),
            received: TrafficCount::default(),
            drops: array::from_fn(|_| Count::default()),
        }
    }

    pub fn sends(&self, priority: Priority) -> &Sends {
        &self.sends[priority as usize]
    }

    pub fn set_handler(&self, handler: Option<Weak<dyn Handler>>) {
        let before = core::mem::replace(&mut *self.handler.lock(), handler);
        drop(before);
    }

    pub fn handler(&self) -> Option<Arc<dyn Handler>> {
        self.handler.lock().as_ref()?.upgrade()
    }

    /// Hands over a frame of its EtherType that came to the card with the address `own`. Whether somebody got it.
    pub fn receive(&self, frame: &Frame<'_>, own: Mac) -> bool {
        match self.hand_over(frame, own) {
            Ok(()) => {
                self.received.add(frame.bytes());
                // After it was handed over: who takes this back then tells of it.
                self.fresh.store(true, Ordering::Release);
                true
            }
            Err(reason) => {
                self.drops[reason as usize].add(1);
                false
            }
        }
    }

    fn hand_over(&self, frame: &Frame<'_>, own: Mac) -> Result<(), DropReason> {
        // Its EtherType was read, so that it is as long as its header.
        let ethernet = Ethernet::parse(frame.beginning).map_err(|_| DropReason::Source)?;
        let Ethernet { destination, source, tag, .. } = ethernet;
        if source == own {
            return Err(DropReason::Echo);
        }
        let wanted = destination == own
            || destination == Mac::BROADCAST
            || (destination.is_group() && self.groups.lock().contains(&destination));
        if !wanted {
            return Err(DropReason::Elsewhere);
        }
        let handler = self.handler().ok_or(DropReason::Unhandled)?;
        let beginning = frame.beginning.get(ethernet.size()..).unwrap_or_default();
        handler.receive(&Received { source, destination, tag, beginning, rest: frame.rest });
        Ok(())
    }

    /// Whether its handler is to be told that all was handed over.
    pub fn take_fresh(&self) -> bool {
        self.fresh.load(Ordering::Relaxed) && self.fresh.swap(false, Ordering::Acquire)
    }

    pub fn counters(&self) -> Counters {
        Counters {
            received: self.received.get(),
            drops: array::from_fn(|reason| self.drops[reason].get()),
            outgoing: array::from_fn(|priority| self.sends[priority].counters()),
        }
    }

    pub fn info(&self) -> SocketInfo {
        SocketInfo {
            name: self.name.clone(),
            ether_type: self.ether_type,
            vlan: self.vlan,
            groups: self.groups.lock().clone(),
            counters: self.counters(),
        }
    }
}
