//! Why an entry failed, or what an unknown exit was, for the operator.
use super::super::decode::Reason;
use super::super::field::{Field, Kept};
use super::VmxVcpu;
use core::fmt;

impl VmxVcpu {
    /// As [`crate::backend::Backend::diagnose`].
    pub(super) fn write_diagnosis(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.refused {
            let error = self.vmcs.read(Field::INSTRUCTION_ERROR) as u32;
            write!(f, "VM entry: {}; ", instruction_error(error))?;
        } else {
            let reason = Reason(self.reason as u16);
            let qualification = self.vmcs.read(Field::EXIT_QUALIFICATION);
            write!(f, "VMX exit reason {:#x} ({}), ", self.reason, reason.name())?;
            write!(f, "qualification {qualification:#x}; ")?;
        }
        if let Some(broken) = self.first_broken() {
            write!(f, "{broken}; ")?;
        }
        write!(
            f,
            "CR0 {:#x} CR3 {:#x} CR4 {:#x} EFER {:#x} RFLAGS {:#x} CS {:04x}:{:#x} access rights {:#x}",
            self.vmcs.get(Kept::CR0),
            self.vmcs.get(Kept::CR3),
            self.vmcs.get(Kept::CR4),
            self.vmcs.get(Kept::EFER),
            self.vmcs.get(Kept::RFLAGS),
            self.vmcs.get(Kept::selector(1)),
            self.vmcs.get(Kept::RIP),
            self.vmcs.get(Kept::rights(1)),
        )
    }
}

/// VM-instruction error numbers (SDM vol. 3C, 30.4) that VMLAUNCH and VMRESUME can come back with.
fn instruction_error(number: u32) -> &'static str {
    match number {
        4 => "VMLAUNCH with a VMCS that is not clear (error 4)",
        5 => "VMRESUME with a VMCS that is not launched (error 5)",
        6 => "VMRESUME after VMXOFF (error 6)",
        7 => "a control field is invalid (error 7)",
        8 => "a host-state field is invalid (error 8)",
        12 => "a field that the CPU does not have was accessed (error 12)",
        25 => "VMCS link pointer is invalid (error 25)",
        26 => "events are blocked by MOV SS (error 26)",
        _ => "refused, see SDM vol. 3C, 30.4",
    }
}
