//! Ends of interrupts without an exit (Linux, Documentation/virt/kvm/x86/msr.rst: MSR_KVM_EOI_EN).
//!
//! A guest that wants it names a word of its memory, of which the first byte counts. Its bit 0 is set at an entry while the guest handles an interrupt, or
//! is about to, whose end changes nothing that anybody is waiting for: it is edge-triggered, and no other is requested.
//! The handler clears the bit instead of writing to the EOI register, if it finds it set. At the next exit the bit is
//! taken back, and where it is clear the interrupt has ended.
use super::Vcpu;
use crate::backend::Backend;
use mm::addr::Gpa;

/// Bit 0 of the word: the next end of interrupt need not be told.
const NO_EOI_REQUIRED: u8 = 1;

impl<B: Backend> Vcpu<B> {
    /// The guest writes MSR_KVM_EOI_EN: where the word is, or that it wants none. Where no RAM is, there is none.
    pub(super) fn set_eoi_flag(&mut self, value: u64) {
        let at = Gpa::try_new(value & !3).filter(|at| self.shared.memory.load_u32(*at).is_ok());
        self.eoi_flag = at.filter(|_| value & 1 != 0);
        self.lends = true;
    }

    /// Sets the bit, if this entry's interrupt can be ended so.
    #[inline(never)]
    pub(super) fn lend_end_of_interrupt(&mut self) {
        let Some(at) = self.eoi_flag.filter(|_| self.awaited.is_some() || self.apic.handles()) else {
            // Until the next interrupt.
            self.lends = false;
            return;
        };
        let unseen = match self.awaited {
            // If the guest had one in service, the next end of interrupt could be that one's.
            Some(vector) => self.apic.would_end_unseen(vector),
            None => self.apic.ends_unseen(),
        };
        if unseen && self.pending.is_none() && !self.nmi_pending && !self.apic.ext_int() {
            self.eoi_lent = self.flag(at, |word| word | NO_EOI_REQUIRED).is_some();
            self.unsettled |= self.eoi_lent;
        }
    }

    /// Behind an exit: what the guest has taken and ended by itself since the entry.
    #[cold]
    pub(super) fn settle(&mut self) {
        self.unsettled = false;
        if let Some(vector) = self.awaited.take()
            && self.backend.took_interrupt()
        {
            self.halted = false;
            self.apic.acknowledge(vector);
        }
        if core::mem::take(&mut self.eoi_lent)
            && let Some(at) = self.eoi_flag
            && let Some(word) = self.flag(at, |word| word & !NO_EOI_REQUIRED)
            && word & NO_EOI_REQUIRED == 0
        {
            self.apic.end_unseen();
        }
    }

    /// Changes the word; what it was. Only this vCPU's guest uses it, which does not run.
    fn flag(&mut self, at: Gpa, change: impl FnOnce(u8) -> u8) -> Option<u8> {
        let memory = &self.shared.memory;
        let word = memory.load_u32(at).ok()? as u8;
        memory.store_u8(at, change(word)).ok()?;
        Some(word)
    }
}
