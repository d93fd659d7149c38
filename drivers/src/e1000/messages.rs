//! How the card tells that there is something to do.
//!
//! With three messages (MSI-X, 82574 datasheet 7.4): what was received, what was sent, and the link each have one, so that
//! what was sent, which nobody is in a hurry for, is held back while what was received is not. The device masks a cause
//! when it sends its message; the task unmasks it when there is nothing left, so that under load there are few.
//!
//! With one (MSI): reading `ICR` says what it was, and masks.
//!
//! With none, the card is polled. The 8254x always is: QEMU's has no messages, and those of the chip are not used.
use super::chip::Chip;
use super::registers::{CTRL_EXT, EIAC, EITR, IAM, ICR, IMC, IMS, ITR, IVAR, Window, cause, ctrl_ext};
use crate::pci::MessageInterrupts;
use crate::{Interrupt, Kernel};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use executor::Signal;

/// Messages of received, sent, and the link.
const SEVERAL: usize = 3;
const RECEIVED: u64 = 0;
const SENT: u64 = 1;

/// IVAR: which message each cause has, each with its valid bit (datasheet 10.2.4.9).
const SEVERAL_ROUTES: u32 = 8 | (8 | 1) << 8 | (8 | 2) << 16;
const ONE_ROUTE: u32 = 8 | 8 << 8 | 8 << 16;

/// Least time between two messages, in 256 ns: of what was sent, 100 us; of what was received under load, 25 us.
const SENT_INTERVAL: u32 = 390;
const LOADED_INTERVAL: u32 = 98;

const QUEUES: u32 = cause::RXQ0 | cause::TXQ0;
const LINK: u32 = cause::OTHER | cause::LSC;
const ONE: u32 = QUEUES | LINK | cause::RXT0 | cause::RXDMT0 | cause::RXO | cause::TXDW;

/// A card's messages.
pub(super) struct Messages {
    source: Option<Box<dyn MessageInterrupts>>,
    /// None where it is polled.
    vectors: Vec<Box<dyn Interrupt>>,
}

impl Messages {
    /// Takes vectors on the calling CPU: `work` is raised by what was received or sent, `link` by the link.
    pub fn new(
        kernel: &dyn Kernel,
        chip: Chip,
        source: Option<Box<dyn MessageInterrupts>>,
        [work, link]: [&Arc<Signal>; 2],
    ) -> Self {
        let source = source.filter(|_| chip == Chip::I82574);
        let signals: &[_] = match source.as_ref().map_or(0, |source| source.vectors()) {
            0 => &[],
            1..SEVERAL => &[work],
            _ => &[work, work, link],
        };
        let cpu = kernel.this_cpu();
        let vectors = signals.iter().map(|signal| kernel.interrupt(cpu, Arc::clone(signal)));
        Self { vectors: vectors.collect::<Option<_>>().unwrap_or_default(), source }
    }

    /// Whether the card has to be looked at from time to time.
    pub fn are_none(&self) -> bool {
        self.vectors.is_empty()
    }

    fn are_several(&self) -> bool {
        self.vectors.len() == SEVERAL
    }

    /// Lets the card send them, after its reset.
    pub fn enable(&self, window: &Window) {
        if self.are_none() {
            return;
        }
        for (i, vector) in self.vectors.iter().enumerate() {
            if let Some(source) = &self.source {
                source.connect(i, Some(vector.message()));
            }
        }
        if self.are_several() {
            window.write(CTRL_EXT, ctrl_ext::DRV_LOAD | ctrl_ext::PBA_CLR);
            window.write(IVAR, SEVERAL_ROUTES);
            window.write(EIAC, QUEUES);
            window.write(EITR + SENT * 4, SENT_INTERVAL);
        } else {
            window.write(CTRL_EXT, ctrl_ext::DRV_LOAD | ctrl_ext::IAME);
            window.write(IVAR, ONE_ROUTE);
            window.write(EIAC, 0);
            window.write(IAM, ONE);
        }
        self.moderate(window, false);
        window.write(IMS, if self.are_several() { QUEUES | LINK } else { ONE });
    }

    /// Takes note of a message. Whether the link is to be looked at.
    pub fn acknowledge(&self, window: &Window) -> bool {
        self.vectors.len() == 1 && window.read(ICR) & cause::LSC != 0
    }

    /// Asks for the next message; one comes at once if something has happened since the last.
    pub fn listen(&self, window: &Window) {
        if !self.are_none() {
            window.write(IMS, if self.are_several() { QUEUES } else { ONE });
        }
    }

    /// Takes note of the link's own message, and asks for the next: before the link is looked at.
    pub fn listen_to_link(&self, window: &Window) {
        if self.are_several() {
            window.write(ICR, LINK);
            window.write(IMS, LINK);
        }
    }

    /// Holds messages of what was received back a little, or not.
    pub fn moderate(&self, window: &Window, loaded: bool) {
        let register = if self.are_several() { EITR + RECEIVED * 4 } else { ITR };
        if !self.are_none() {
            window.write(register, if loaded { LOADED_INTERVAL } else { 0 });
        }
    }

    /// Lets the card send none any more.
    pub fn disconnect(&self, window: &Window) {
        window.write(IMC, cause::ALL);
        if let Some(source) = &self.source {
            (0..self.vectors.len()).for_each(|vector| source.connect(vector, None));
        }
    }
}
