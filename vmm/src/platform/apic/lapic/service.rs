//! Interrupts on their way through a local APIC: requested, in service, ended; and the priorities that decide
//! (SDM vol. 3A, 11.8).
//!
//! Where the hardware delivers, it moves the vectors in the page while the guest runs; so what is highest is
//! looked up there each time, and what is changed here is told to it before the next entry. Where it does not,
//! the highest are kept at hand.
use super::super::fabric::Mail;
use super::super::registers::{Register, esr, svr};
use super::{LocalApic, Requests, Untold};

impl LocalApic {
    /// The interrupt that the vCPU is to deliver now, if its priority is above what the vCPU does. None where the
    /// hardware delivers: see [`Self::due`].
    #[inline]
    pub fn deliverable(&self) -> Option<u8> {
        // The priority is not kept: the hardware may have written the TPR.
        if self.requested == 0 { None } else { self.due() }
    }

    /// The interrupt whose turn it is, whoever delivers it.
    pub fn due(&self) -> Option<u8> {
        let requested = self.requested();
        (requested >> 4 > self.priority() >> 4).then_some(requested)
    }

    /// The class of the interrupt that is held back by the TPR alone, 0 for none or where the hardware delivers:
    /// once the TPR is below it, it is deliverable.
    #[inline]
    pub fn held_back(&self) -> u8 {
        if self.requested == 0 { 0 } else { self.held_back_class() }
    }

    #[cold]
    fn held_back_class(&self) -> u8 {
        let class = self.requested >> 4;
        let by_tpr = class <= self.page().task_priority() >> 4;
        if by_tpr && class > self.in_service >> 4 { class } else { 0 }
    }

    /// The vCPU takes `vector`, which `deliverable` named: from IRR to ISR.
    #[inline]
    pub fn acknowledge(&mut self, vector: u8) {
        let page = self.page();
        let (irr, isr) = (page.irr(), page.isr());
        irr.remove(vector);
        isr.insert(vector);
        // It was the highest.
        self.requested = irr.highest_up_to(vector);
        self.in_service = self.in_service.max(vector);
    }

    /// Whether the hardware delivers.
    #[inline]
    pub fn hardware_delivers(&self) -> bool {
        self.hardware
    }

    /// What the hardware must be told before the guest runs again, if there is anything.
    #[inline]
    pub fn hand_over(&mut self) -> Option<Requests> {
        if self.untold == Untold::Nothing { None } else { Some(self.requests()) }
    }

    #[inline(never)]
    fn requests(&mut self) -> Requests {
        let page = self.page();
        let level = (self.untold == Untold::Level).then(|| page.tmr().words());
        let requests = Requests { requested: page.irr().highest(), in_service: page.isr().highest(), level };
        self.untold = Untold::Nothing;
        requests
    }

    /// CR8: the upper half of the TPR.
    #[inline]
    pub fn cr8(&self) -> u8 {
        self.page().task_priority() >> 4
    }

    /// The vCPU wrote CR8; bits above 3 are the caller's to refuse.
    #[inline]
    pub fn set_cr8(&mut self, value: u8) {
        self.set_tpr(value << 4);
    }

    #[inline]
    pub(super) fn set_tpr(&mut self, value: u8) {
        self.page().set(Register::TPR, value.into());
    }

    /// Processor priority, from TPR and ISR (SDM vol. 3A, 11.8.3.1).
    pub fn priority(&self) -> u8 {
        let (tpr, in_service) = (self.page().task_priority(), self.in_service());
        if tpr >> 4 >= in_service >> 4 { tpr } else { in_service & 0xf0 }
    }

    fn requested(&self) -> u8 {
        if self.hardware { self.page().irr().highest() } else { self.requested }
    }

    fn in_service(&self) -> u8 {
        if self.hardware { self.page().isr().highest() } else { self.in_service }
    }

    /// After a change of the IRR.
    #[inline]
    fn requested_changed(&mut self) {
        if self.hardware {
            self.untold = self.untold.max(Untold::Service);
        } else {
            self.requested = self.page().irr().highest();
        }
    }

    /// Notes that vectors of the TMR were changed: the hardware goes by them.
    #[inline]
    fn level_changed(&mut self, changed: bool) {
        if changed && self.hardware {
            self.untold = Untold::Level;
        }
    }

    /// The guest writes the EOI register. The vector whose end the IOAPIC must see, if it is such a one.
    #[inline]
    pub(super) fn end_of_interrupt(&mut self) -> Option<u8> {
        let vector = self.in_service();
        if vector == 0 {
            return None;
        }
        let isr = self.page().isr();
        isr.remove(vector);
        if self.hardware {
            self.untold = self.untold.max(Untold::Service);
        } else {
            self.in_service = isr.highest_up_to(vector);
        }
        self.ended(vector)
    }

    /// Whether an interrupt is in service that it does not leave to the hardware.
    #[inline]
    pub fn handles(&self) -> bool {
        self.in_service != 0
    }

    /// Whether the interrupt in service can end without anybody seeing it: nothing waits for it, nor does the IOAPIC.
    #[inline]
    pub fn ends_unseen(&self) -> bool {
        self.in_service != 0 && self.requested == 0 && !self.page().tmr().contains(self.in_service)
    }

    /// Whether `vector`, which is the highest requested, could be taken and ended without anybody seeing it.
    #[inline]
    pub fn would_end_unseen(&self, vector: u8) -> bool {
        let page = self.page();
        self.in_service == 0 && page.irr().is_only(vector) && !page.tmr().contains(vector)
    }

    /// The guest has ended an interrupt by itself. Nothing, where it had none to end.
    pub fn end_unseen(&mut self) {
        let ended = self.end_of_interrupt();
        debug_assert_eq!(ended, None, "one that the IOAPIC must see is not lent");
    }

    /// The hardware has ended `vector`, which is one of those of [`Requests::level`]. The same vector, if the IOAPIC must see it.
    #[inline]
    pub fn ended(&self, vector: u8) -> Option<u8> {
        (self.page().tmr().contains(vector) && self.svr() & svr::SUPPRESS_EOI_BROADCAST == 0)
            .then_some(vector)
    }

    /// Takes vectors from the mailbox into the IRR.
    pub(super) fn take_vectors(&mut self, mail: &Mail) {
        let page = self.page();
        let mut changed = false;
        for word in 0..4 {
            let (edge, level) = (mail.vectors[word], mail.level[word]);
            if edge | level != 0 {
                page.irr().change(word, edge | level, 0);
                changed |= page.tmr().change(word, level, edge);
            }
        }
        self.level_changed(changed);
        self.requested_changed();
    }

    /// An interrupt of this local APIC itself.
    #[inline]
    pub(super) fn accept(&mut self, vector: u8, level: bool) {
        if vector < 16 {
            self.raise_error(esr::RECEIVE_ILLEGAL_VECTOR);
            return;
        }
        let page = self.page();
        page.irr().insert(vector);
        if page.tmr().contains(vector) != level {
            if level {
                page.tmr().insert(vector)
            } else {
                page.tmr().remove(vector)
            }
            self.level_changed(true);
        }
        if self.hardware {
            self.untold = self.untold.max(Untold::Service);
        } else {
            self.requested = self.requested.max(vector);
        }
    }
}
