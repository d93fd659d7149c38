//! What a card's user and its task share.
use super::chip::Chip;
use super::counters::{Tallies, add};
use super::error::E1000Error;
use super::hardware;
use super::messages::Messages;
use super::receive::Receive;
use super::registers::{RDT, TDT, Window};
use super::transmit::{self, Finished, Mode, Transmit};
use crate::Kernel;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use executor::Signal;
use net::frame::Mac;
use net::nic::{Filter, Receiver};
use spin::Mutex;

/// What is wished of the task.
pub(super) mod wish {
    pub const REMOVED: u32 = 1 << 0;
    pub const SHUT_DOWN: u32 = 1 << 1;
    pub const FILTER: u32 = 1 << 2;
}

/// Received frames after which their buffers go back to the device, so that it does not run out of them in a long go.
const RETURN: usize = 32;
/// Batches of sent frames in one go.
const REAPS: usize = transmit::ENTRIES as usize / transmit::BATCH;

/// See the module.
pub(super) struct Shared {
    pub name: String,
    pub kernel: Arc<dyn Kernel>,
    pub chip: Chip,
    pub window: Window,
    pub mac: Mac,
    pub messages: Messages,
    pub transmit: Mutex<Transmit>,
    pub receiver: Mutex<Option<Arc<dyn Receiver>>>,
    pub filter: Mutex<Filter>,
    pub tallies: Tallies,
    /// STATUS as last seen.
    pub state: AtomicU32,
    pub wishes: AtomicU32,
    /// There is something to do.
    pub work: Arc<Signal>,
    /// The link is to be looked at.
    pub link: Arc<Signal>,
    /// The task waits for longer than it would if there were traffic.
    pub rests: AtomicBool,
    pub over: AtomicBool,
    pub ended: executor::Event,
    pub stop_dma: Box<dyn Fn() + Send + Sync>,
}

impl Shared {
    pub fn receiver(&self) -> Option<Arc<dyn Receiver>> {
        self.receiver.lock().clone()
    }

    pub fn wish(&self, wish: u32) {
        self.wishes.fetch_or(wish, Ordering::AcqRel);
        self.work.raise();
    }

    /// Tells the device of frames that were taken on. The lock is held meanwhile, so that tails come in their order.
    #[inline]
    pub fn publish(&self, transmit: &mut Transmit) {
        if let Some(tail) = transmit.publish(self.kernel.now()) {
            self.window.write(TDT, tail.into());
        }
    }

    /// Wakes the task of a card without messages if it rests: an answer may follow what is sent.
    #[inline]
    pub fn hurry(&self) {
        if self.rests.load(Ordering::Relaxed) && self.rests.swap(false, Ordering::AcqRel) {
            self.work.raise();
        }
    }

    /// Whether frames are under way, or somebody waits for room.
    pub fn is_waited_for(&self) -> bool {
        let transmit = self.transmit.lock();
        transmit.under_way() != 0 || transmit.is_starved()
    }

    /// Takes one batch of sent frames and tells whoever waits for them. How many; and whether there may be more.
    pub fn reap_some(&self) -> (usize, bool) {
        let mut finished = Finished::new();
        let more = self.transmit.lock().reap(self.kernel.now(), &mut finished);
        add(&self.tallies.sent, finished.pieces);
        add(&self.tallies.sent_bytes, finished.bytes);
        finished.tell();
        (finished.frames, more)
    }

    /// Takes sent frames, a full ring's at most, and tells of room that there is again. How many.
    pub fn reap(&self) -> usize {
        let mut all = 0;
        // Who is told may send more, which is sent at once: that is for the next time.
        for _ in 0..REAPS {
            let (frames, more) = self.reap_some();
            all += frames;
            if !more {
                break;
            }
        }
        self.tell_of_room();
        all
    }

    pub fn tell_of_room(&self) {
        let tell = self.transmit.lock().has_room_again();
        if let Some(receiver) = self.receiver().filter(|_| tell) {
            receiver.room();
        }
    }

    /// Hands over what has come, up to `most` frames. How many there were, those that were none included.
    pub fn deliver(&self, receive: &mut Receive, most: usize) -> usize {
        let mut count = 0;
        let mut receiver = None;
        while count < most {
            let Some(next) = receive.take() else { break };
            if count == 0 {
                receiver = self.receiver();
            }
            count += 1;
            match next {
                Ok(arrived) => {
                    add(&self.tallies.received, 1);
                    add(&self.tallies.received_bytes, arrived.bytes as u64);
                    if let Some(receiver) = &receiver {
                        receive.show(arrived, |frame| receiver.receive(frame));
                    }
                }
                Err(()) => add(&self.tallies.receive_errors, 1),
            }
            if count.is_multiple_of(RETURN) {
                self.give_back(receive);
            }
        }
        self.give_back(receive);
        if let Some(receiver) = receiver {
            receiver.received();
        }
        count
    }

    fn give_back(&self, receive: &mut Receive) {
        if let Some(tail) = receive.give_back() {
            self.window.write(RDT, tail.into());
        }
    }

    /// Keeps what the card's status says, and tells of a link that has changed.
    pub fn see(&self, state: u32) {
        let link = hardware::link(state);
        let before = hardware::link(self.state.swap(state, Ordering::AcqRel));
        if link == before {
            return;
        }
        if link.up != before.up {
            add(&self.tallies.link_changes, 1);
            if link.up {
                let duplex = if link.full_duplex { "full" } else { "half" };
                log::info!("{}: link up, {} Mbit/s, {duplex} duplex", self.name, link.megabits);
            } else {
                log::info!("{}: link down", self.name);
            }
        }
        if let Some(receiver) = self.receiver() {
            receiver.link_changed();
        }
    }

    /// Lets go of all frames, which the device does not reach any more.
    fn give_up_all(&self) {
        loop {
            let mut finished = Finished::new();
            let some = self.transmit.lock().give_up(&mut finished);
            if !some {
                return;
            }
            add(&self.tallies.send_errors, finished.frames as u64);
            finished.tell();
        }
    }

    /// Resets the device; what it had is let go of, unsent.
    pub async fn quiesce(&self) -> Result<(), E1000Error> {
        self.transmit.lock().set_mode(Mode::Held);
        hardware::reset(&*self.kernel, self.chip, &self.window).await?;
        self.give_up_all();
        Ok(())
    }

    /// Ends it: from now on it is not touched any more, and all is let go of.
    pub async fn end(&self) {
        if self.over.swap(true, Ordering::AcqRel) {
            return;
        }
        // Whether or not that works, its way to memory is taken.
        let _ = self.quiesce().await;
        (self.stop_dma)();
        self.messages.disconnect(&self.window);
        self.window.close();
        self.transmit.lock().set_mode(Mode::Closed);
        self.give_up_all();
        self.state.store(0, Ordering::Release);
        if let Some(receiver) = self.receiver() {
            receiver.link_changed();
        }
        self.ended.set();
    }
}
