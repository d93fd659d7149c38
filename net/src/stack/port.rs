//! The frames that wait to be looked at, and those that wait to be sent: smoltcp's idea of a network card.
use super::Counters;
use crate::frame::Ethernet;
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

/// Most frames that wait in each direction.
pub const QUEUE: usize = 256;

/// Both queues.
pub(super) struct Port {
    mtu: usize,
    arrived: VecDeque<Vec<u8>>,
    /// The frame that smoltcp gets next.
    current: Option<Vec<u8>>,
    leaving: VecDeque<Vec<u8>>,
    pub counters: Counters,
}

impl Port {
    /// For packets of at most `mtu` bytes.
    pub fn new(mtu: u16) -> Self {
        let (arrived, leaving) = (VecDeque::new(), VecDeque::new());
        Self { mtu: mtu.into(), arrived, current: None, leaving, counters: Counters::default() }
    }

    /// A frame has come. False if there is no room.
    pub fn arrive(&mut self, frame: Vec<u8>) -> bool {
        let room = self.arrived.len() < QUEUE;
        if room {
            self.arrived.push_back(frame);
        }
        room
    }

    /// The next frame to be looked at, if there is room for an answer too.
    pub fn next(&mut self) -> Option<Vec<u8>> {
        if self.is_full() { None } else { self.arrived.pop_front() }
    }

    /// Lets smoltcp have a frame.
    pub fn offer(&mut self, frame: Vec<u8>) {
        self.current = Some(frame);
    }

    /// Queues a frame to be sent.
    pub fn leave(&mut self, frame: Vec<u8>) {
        if self.is_full() {
            self.counters.send_dropped += 1;
        } else {
            self.counters.sent += 1;
            self.counters.sent_bytes += frame.len() as u64;
            self.leaving.push_back(frame);
        }
    }

    /// Takes a frame that is to be sent.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        self.leaving.pop_front()
    }

    /// Whether frames wait to be looked at.
    pub fn has_arrived(&self) -> bool {
        !self.arrived.is_empty()
    }

    /// Whether no more can be sent before some are taken.
    pub fn is_full(&self) -> bool {
        self.leaving.len() >= QUEUE
    }

    /// Forgets all frames, of which nobody will hear any more.
    pub fn clear(&mut self) {
        self.counters.receive_dropped += self.arrived.len() as u64;
        self.counters.send_dropped += self.leaving.len() as u64;
        self.arrived.clear();
        self.leaving.clear();
    }
}

impl Device for Port {
    type RxToken<'a> = Arrived;
    type TxToken<'a> = Leaving<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Arrived, Leaving<'_>)> {
        let frame = self.current.take()?;
        Some((Arrived(frame), Leaving(self)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Leaving<'_>> {
        if self.is_full() { None } else { Some(Leaving(self)) }
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.mtu + Ethernet::SIZE;
        capabilities
    }
}

/// A frame that has come.
pub(super) struct Arrived(Vec<u8>);

impl RxToken for Arrived {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, look: F) -> R {
        look(&self.0)
    }
}

/// Room for a frame to be sent.
pub(super) struct Leaving<'a>(&'a mut Port);

impl TxToken for Leaving<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut frame = vec![0; length];
        let result = write(&mut frame);
        self.0.leave(frame);
        result
    }
}
