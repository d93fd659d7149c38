//! Events on their way to the guest: what an exit interrupted, what an entry is to deliver, and the windows and
//! blockings between.
use super::super::controls::NMI_WINDOW;
use super::super::decode::Reason;
use super::super::event;
use super::super::field::{Field, Kept};
use super::super::interruptibility as blocking;
use super::VmxVcpu;
use crate::backend::Backend;
use crate::cpu::{Cr0, Registers, Vector};
use crate::exit::{Event, Exit};

impl VmxVcpu {
    /// What else there is to an exit that is not by an instruction.
    pub(super) fn look_behind(&mut self, exit: &Exit, reason: Reason) {
        match *exit {
            Exit::HostInterrupt => return,
            Exit::InterruptWindow => return self.want_interrupt_window(false),
            Exit::NmiWindow => return self.set_primary(NMI_WINDOW, false),
            Exit::Int1 => self.by_instruction = true,
            Exit::Exception(exception) if exception.vector == Vector::DB => self.take_debug_exception(),
            Exit::EntryFailed => return,
            _ => {}
        }
        let vectoring = self.vmcs.read(Field::VECTORING) as u32;
        if vectoring & event::VALID != 0 {
            let code = self.vmcs.read(Field::VECTORING_ERROR_CODE) as u32;
            self.interrupted = event::interrupted(vectoring, || code);
            if self.interrupted == Some(Event::Nmi) {
                // Its handler has not begun: it is to be delivered again.
                self.set_blocking(blocking::BY_NMI, false);
            }
            return;
        }
        // An IRET that faults has ended the blocking of NMIs: it is to be executed again (SDM vol. 3C, 31.7.1.2).
        let information = match reason {
            Reason::EPT_VIOLATION => self.vmcs.read(Field::EXIT_QUALIFICATION) as u32,
            Reason::EXCEPTION_OR_NMI => self.vmcs.read(Field::EXIT_INTERRUPTION) as u32,
            _ => 0,
        };
        if information & event::NMI_UNBLOCKED != 0 {
            self.set_blocking(blocking::BY_NMI, true);
        }
    }

    pub(super) fn set_blocking(&mut self, which: u64, on: bool) {
        let state = self.vmcs.get(Kept::INTERRUPTIBILITY);
        self.vmcs.set(Kept::INTERRUPTIBILITY, if on { state | which } else { state & !which });
    }

    #[inline]
    pub(super) fn set_primary(&mut self, control: u32, on: bool) {
        let (old, control) = (self.vmcs.get(Kept::PRIMARY_CONTROLS), u64::from(control));
        if (old & control != 0) != on {
            self.vmcs.set(Kept::PRIMARY_CONTROLS, old ^ control);
        }
    }

    /// Has the next entry deliver `event`.
    pub(super) fn deliver(&mut self, event: Event) {
        let protected_mode = match event {
            Event::Interrupt(_) => true,
            Event::Nmi => {
                // An NMI is taken behind STI; the shadow ends with that.
                self.set_blocking(blocking::BY_STI, false);
                true
            }
            Event::Exception(exception) => {
                if let Some(address) = exception.fault_address {
                    self.set_cr2(address);
                }
                if exception.vector == Vector::DB {
                    self.enter_debug_handler();
                }
                self.tell_single_step();
                self.cr0().contains(Cr0::PE)
            }
        };
        let (information, error_code) = event::injected(event, protected_mode);
        self.vmcs.set(Kept::ENTRY_EVENT, information.into());
        if error_code != self.vmcs.get(Kept::ENTRY_ERROR_CODE) as u32 {
            self.vmcs.set(Kept::ENTRY_ERROR_CODE, error_code.into());
        }
    }
}
