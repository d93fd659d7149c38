//! What a local APIC sends, and how it notes errors.
use super::super::message::{DeliveryMode, InterruptMessage};
use super::super::registers::{esr, icr, lvt, svr};
use super::LocalApic;

impl LocalApic {
    /// An IPI to this vCPU, by shorthand or by its own ID. No mailbox, no wake-up.
    #[inline]
    pub(super) fn self_ipi(&mut self, vector: u8) {
        if vector < 16 {
            self.raise_error(esr::SEND_ILLEGAL_VECTOR);
        } else if self.svr() & svr::ENABLED != 0 {
            self.accept(vector, false);
        }
    }

    /// The ICR was written: sends what it says.
    #[inline(never)]
    pub(super) fn send(&mut self, low: u32, destination: u32) {
        let mode = DeliveryMode::from_bits(low >> 8);
        let vector = low as u8;
        let fixed = matches!(mode, DeliveryMode::Fixed | DeliveryMode::LowestPriority);
        let logical = low & icr::LOGICAL != 0;
        let shorthand = low >> 18 & 3;
        let to_self = match shorthand {
            0 => mode == DeliveryMode::Fixed && !logical && destination == self.id,
            shorthand => shorthand == 1,
        };
        if to_self {
            // The shorthand "self" exists for fixed interrupts only (SDM vol. 3A, table 11-4).
            if fixed {
                self.self_ipi(vector);
            }
            return;
        }
        if fixed && vector < 16 {
            self.raise_error(esr::SEND_ILLEGAL_VECTOR);
            return;
        }
        if mode == DeliveryMode::ExtInt {
            return;
        }
        let message = InterruptMessage {
            destination,
            logical,
            mode,
            vector,
            level_triggered: false,
            assert: low & icr::LEVEL_TRIGGERED == 0 || low & icr::ASSERT != 0,
        };
        match shorthand {
            0 => {
                self.fabric.deliver(message);
            }
            2 => {
                self.fabric.deliver(InterruptMessage { destination: InterruptMessage::BROADCAST, ..message });
            }
            _ => self.fabric.deliver_to_others(self.vcpu, message),
        }
    }

    /// Notes an error and raises the error interrupt, once until ESR is written.
    #[cold]
    #[inline(never)]
    pub(super) fn raise_error(&mut self, error: u32) {
        if self.errors & error != 0 {
            return;
        }
        self.errors |= error;
        let entry = self.lvt(lvt::ERROR);
        // An error interrupt with an illegal vector is noted, but must not raise itself again.
        if entry & lvt::MASKED != 0 {
            return;
        }
        if entry as u8 >= 16 {
            self.accept(entry as u8, false);
        } else {
            self.errors |= esr::RECEIVE_ILLEGAL_VECTOR;
        }
    }
}
