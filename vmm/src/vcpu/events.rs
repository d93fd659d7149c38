//! What is delivered to the guest before an entry (APM vol. 2, 8.5: priorities; 15.20: injection).
use super::{Host, Leave, Vcpu};
use crate::backend::{Backend, InitialState};
use crate::cpu::{Cr0, Vector};
use crate::exit::Event;
use crate::platform::ResetCause;
use crate::platform::apic::Signals;
use crate::vm::End;

impl<B: Backend> Vcpu<B> {
    /// Takes what others sent, and injects at most one event. `Some` where the vCPU is not to run.
    ///
    /// Host interrupts are closed: what is sent from now on interrupts the guest as soon as it runs.
    #[inline]
    pub(super) fn prepare_events(&mut self, host: &impl Host) -> Option<Leave> {
        let signals = self.apic.pull();
        if (signals.init || signals.nmi || signals.start_up.is_some())
            && let Some(leave) = self.take_signals(signals)
        {
            return Some(leave);
        }
        // After the mailbox was emptied: who changes a timer of the board from now on sends again.
        self.tell_timer(host);
        let waiting = self.pending.is_some() || self.nmi_pending || self.interrupt_waits();
        if waiting {
            self.deliver();
        } else {
            self.backend.want_interrupt_window(false);
        }
        if (self.halted || self.apic.waiting_for_sipi()) && !self.hardware_wakes() {
            return Some(Leave::Blocked { until: self.deadline() });
        }
        if let Some(requests) = self.apic.hand_over() {
            self.backend.set_requests(&requests);
        }
        self.backend.want_priority_below(self.apic.held_back());
        if self.lends {
            self.lend_end_of_interrupt();
        }
        None
    }

    /// Ends the halt of a vCPU that the hardware will deliver an interrupt to. Whether there is one.
    #[cold]
    fn hardware_wakes(&mut self) -> bool {
        let wakes = self.apic.hardware_delivers()
            && !self.apic.waiting_for_sipi()
            && self.backend.interrupts_open()
            && self.apic.due().is_some();
        if wakes {
            self.halted = false;
        }
        wakes
    }

    /// Whether the local APIC or the 8259 has an interrupt to be injected into this vCPU.
    #[inline]
    fn interrupt_waits(&self) -> bool {
        self.apic.deliverable().is_some() || self.apic.ext_int()
    }

    #[cold]
    fn take_signals(&mut self, signals: Signals) -> Option<Leave> {
        if signals.init {
            if !self.apic.waiting_for_sipi() && signals.start_up.is_none() {
                // The first processor would start at the reset vector, in the firmware that is not there,
                // which would then reset the machine.
                return self.end(End::Reset(ResetCause::Init));
            }
            self.init(crate::load::reset_vector());
        }
        if let Some(page) = signals.start_up {
            self.init(crate::load::sipi(page));
        }
        self.nmi_pending |= signals.nmi;
        None
    }

    /// What INIT does to the registers. It leaves alone the model-specific ones but EFER, the counter, the
    /// extended state with XCR0, and how CR0 sets the caches (SDM vol. 3A, table 9-1; APM vol. 2, 14.1.3).
    fn init(&mut self, mut state: InitialState) {
        let caches = Cr0::CD | Cr0::NW;
        state.cr0 = state.cr0.difference(caches) | self.backend.cr0() & caches;
        self.extended.clear_debug_addresses();
        self.start_at(&state);
    }

    /// Injects the first of: an event to be delivered again, an NMI, an interrupt. For what must wait
    /// behind it, or for the guest to open, a window is asked for.
    fn deliver(&mut self) {
        if let Some(event) = self.pending.take() {
            self.halted = false;
            self.backend.inject(event);
            self.backend.want_interrupt_window(self.interrupt_waits());
            return;
        }
        if self.nmi_pending {
            if self.backend.nmi_open() {
                self.nmi_pending = false;
                self.halted = false;
                self.backend.inject(Event::Nmi);
                self.backend.want_interrupt_window(self.interrupt_waits());
                return;
            }
            self.backend.want_nmi_window();
        }
        if !self.interrupt_waits() {
            self.backend.want_interrupt_window(false);
            return;
        }
        if !self.backend.interrupts_open() {
            if !self.deliver_when_open() {
                self.backend.want_interrupt_window(true);
            }
            return;
        }
        if let Some(vector) = self.take_interrupt() {
            self.halted = false;
            self.backend.inject(Event::Interrupt(Vector(vector)));
        }
        self.backend.want_interrupt_window(self.interrupt_waits());
    }

    /// Leaves an interrupt to the hardware until the guest opens. Not the 8259's, which tells its vector only to a CPU
    /// that takes it; nor where the guest will not run.
    fn deliver_when_open(&mut self) -> bool {
        if self.halted || self.apic.ext_int() {
            return false;
        }
        let Some(vector) = self.apic.deliverable() else { return false };
        let can = self.backend.deliver_when_open(Vector(vector));
        if can {
            self.awaited = Some(vector);
            self.unsettled = true;
            self.lends = true;
        }
        can
    }

    /// The interrupt to deliver: the 8259's comes first, as on its wire.
    fn take_interrupt(&mut self) -> Option<u8> {
        if self.apic.ext_int() {
            self.apic.acknowledge_ext_int();
            return Some(self.shared.board.acknowledge_ext_int());
        }
        let vector = self.apic.deliverable()?;
        self.apic.acknowledge(vector);
        self.lends = true;
        Some(vector)
    }
}
