//! Events as a VMCS has them: what an entry is to deliver (SDM vol. 3C, 24.8.3), what an exit interrupted
//! (24.9.3) or was caused by (24.9.2). All three have one format.
use crate::cpu::{Exception, Vector};
use crate::exit::Event;

/// The field says something.
pub const VALID: u32 = 1 << 31;
const ERROR_CODE_VALID: u32 = 1 << 11;
/// In what caused an exit: an IRET that this happened to had ended the blocking of NMIs.
pub const NMI_UNBLOCKED: u32 = 1 << 12;

/// Types of events.
mod kind {
    pub const MASK: u32 = 7 << 8;
    pub const INTERRUPT: u32 = 0;
    pub const NMI: u32 = 2 << 8;
    pub const EXCEPTION: u32 = 3 << 8;
    pub const PRIVILEGED_SOFTWARE: u32 = 5 << 8;
}

/// What caused an exit for an exception or NMI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// An NMI of the host's.
    Nmi,
    /// INT1.
    Int1,
    /// An exception.
    Exception(Exception),
}

/// Decodes the VM-exit interruption information; `error_code` reads the code that belongs to it.
pub fn cause(information: u32, error_code: impl FnOnce() -> u32) -> Cause {
    match information & kind::MASK {
        kind::NMI => Cause::Nmi,
        kind::PRIVILEGED_SOFTWARE => Cause::Int1,
        _ => Cause::Exception(exception(information, error_code)),
    }
}

fn exception(information: u32, error_code: impl FnOnce() -> u32) -> Exception {
    let error_code = (information & ERROR_CODE_VALID != 0).then(error_code);
    Exception { vector: Vector(information as u8), error_code, fault_address: None }
}

/// Decodes the IDT-vectoring information: the event whose delivery an exit interrupted. An event that its
/// instruction raises again by itself when restarted (INT n, INT3, INTO, INT1) is not given.
pub fn interrupted(information: u32, error_code: impl FnOnce() -> u32) -> Option<Event> {
    if information & VALID == 0 {
        return None;
    }
    match information & kind::MASK {
        kind::INTERRUPT => Some(Event::Interrupt(Vector(information as u8))),
        kind::NMI => Some(Event::Nmi),
        kind::EXCEPTION => Some(Event::Exception(exception(information, error_code))),
        _ => None,
    }
}

/// VM-entry interruption information and error code for an event. In real mode exceptions have no error code
/// and in protected mode those that have one must have one (SDM vol. 3C, 26.2.1.3).
pub fn injected(event: Event, protected_mode: bool) -> (u32, u32) {
    match event {
        Event::Interrupt(vector) => (VALID | kind::INTERRUPT | u32::from(vector.0), 0),
        Event::Nmi => (VALID | kind::NMI | u32::from(Vector::NMI.0), 0),
        Event::Exception(Exception { vector, error_code, .. }) => {
            let information = VALID | kind::EXCEPTION | u32::from(vector.0);
            if protected_mode && pushes_error_code(vector) {
                // Bits 31:16 must be 0 (26.2.1.3).
                (information | ERROR_CODE_VALID, error_code.unwrap_or(0) & 0x7fff)
            } else {
                (information, 0)
            }
        }
    }
}

/// Vectors that VM entry wants an error code for: those of AMD's own exceptions are not among them.
const fn pushes_error_code(vector: Vector) -> bool {
    matches!(vector.0, 8 | 10..=14 | 17)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::PageFaultCode;

    fn back(information: u32, code: u32) -> Option<Event> {
        interrupted(information, || code)
    }

    #[test]
    fn events_are_encoded_as_the_manual_has_them() {
        let fault = Event::Exception(Exception::page_fault(0x1234, PageFaultCode::WRITE));
        assert_eq!(injected(fault, true), (0x8000_0b0e, 2));
        assert_eq!(injected(Event::Exception(Exception::UD), true), (0x8000_0306, 0));
        assert_eq!(injected(Event::Nmi, true), (0x8000_0202, 0));
        assert_eq!(injected(Event::Interrupt(Vector(0xec)), true), (0x8000_00ec, 0));
    }

    #[test]
    fn in_real_mode_no_exception_has_an_error_code() {
        assert_eq!(injected(Event::Exception(Exception::gp(0)), false), (0x8000_030d, 0));
    }

    #[test]
    fn an_exception_that_must_have_an_error_code_has_one() {
        let without = Exception { vector: Vector::GP, error_code: None, fault_address: None };
        assert_eq!(injected(Event::Exception(without), true), (0x8000_0b0d, 0));
        let with = Exception { vector: Vector::UD, error_code: Some(7), fault_address: None };
        assert_eq!(injected(Event::Exception(with), true), (0x8000_0306, 0));
    }

    #[test]
    fn what_was_interrupted_comes_back_unless_its_instruction_raises_it_again() {
        assert_eq!(back(0x8000_0030, 0), Some(Event::Interrupt(Vector(0x30))));
        assert_eq!(back(0x8000_0202, 0), Some(Event::Nmi));
        assert_eq!(back(0x8000_0b0d, 0x10), Some(Event::Exception(Exception::gp(0x10))));
        for software in [0x8000_0480, 0x8000_0501, 0x8000_0603] {
            assert_eq!(back(software, 0), None, "{software:#x}");
        }
        assert_eq!(back(0x30, 0), None, "not valid");
    }

    #[test]
    fn an_nmi_int1_and_an_exception_are_told_apart() {
        assert_eq!(cause(0x8000_0202, || 0), Cause::Nmi);
        assert_eq!(cause(0x8000_0501, || 0), Cause::Int1);
        assert_eq!(cause(0x8000_0301, || unreachable!()), Cause::Exception(Exception::DB));
        assert_eq!(cause(0x8000_0b11, || 0), Cause::Exception(Exception::ac()));
    }
}
