//! How a VM ends, and what follows from that.
use crate::platform::ResetCause;
use alloc::string::String;
use core::fmt;

/// Whether a VM that has ended is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RestartPolicy {
    /// It stays stopped.
    #[default]
    Never,
    /// It is started again when it crashed.
    OnCrash,
    /// It is started again whenever it ended by itself.
    Always,
}

/// Why a VM can't go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Crash {
    /// A fault while a double fault was being delivered.
    TripleFault {
        /// The vCPU.
        vcpu: usize,
        /// Where it was.
        rip: u64,
    },
    /// Something that the virtual machine can't do for its guest.
    Unsupported {
        /// The vCPU.
        vcpu: usize,
        /// Where it was.
        rip: u64,
        /// What it wanted.
        what: String,
    },
    /// The hardware refused the vCPU's state.
    EntryFailed {
        /// The vCPU.
        vcpu: usize,
        /// The back end's diagnosis.
        diagnosis: String,
    },
    /// RAM is needed that went back to the host, which has none left.
    OutOfMemory,
    /// The machine below reported a hardware error while the guest ran.
    MachineCheck {
        /// The vCPU.
        vcpu: usize,
    },
}

impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TripleFault { vcpu, rip } => write!(f, "triple fault on vCPU {vcpu} at RIP {rip:#x}"),
            Self::Unsupported { vcpu, rip, what } => {
                write!(f, "vCPU {vcpu} at RIP {rip:#x}: {what}")
            }
            Self::EntryFailed { vcpu, diagnosis } => {
                write!(f, "the CPU refused to run vCPU {vcpu}: {diagnosis}")
            }
            Self::OutOfMemory => f.write_str(
                "its guest needs memory again that it gave back, and the node has none left: stop another VM, or \
                 give VMs less",
            ),
            Self::MachineCheck { vcpu } => {
                write!(
                    f,
                    "the hardware reported an error (#MC) while vCPU {vcpu} ran: check the machine's memory"
                )
            }
        }
    }
}

/// How a run of a VM ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The guest powered itself off.
    PowerOff,
    /// The guest reset its machine.
    Reset(ResetCause),
    /// The operator pressed the reset button.
    ResetByOperator,
    /// It can't go on.
    Crash(Crash),
    /// The operator ended it.
    Killed,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PowerOff => f.write_str("guest powered off"),
            Self::Reset(cause) => write!(f, "guest reset it ({cause})"),
            Self::ResetByOperator => f.write_str("reset by the operator"),
            Self::Crash(crash) => crash.fmt(f),
            Self::Killed => f.write_str("killed by the operator"),
        }
    }
}

impl End {
    /// Whether the VM is to be started again. A reset always is: that is what it asks for; the policy is
    /// about a VM that has come to an end.
    pub const fn restarts(&self, policy: RestartPolicy) -> bool {
        match (self, policy) {
            (Self::Reset(_) | Self::ResetByOperator, _) => true,
            (Self::Killed, _) | (_, RestartPolicy::Never) => false,
            (Self::Crash(_), _) => true,
            (Self::PowerOff, RestartPolicy::OnCrash) => false,
            (Self::PowerOff, RestartPolicy::Always) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use RestartPolicy::{Always, Never, OnCrash};

    fn crash() -> End {
        End::Crash(Crash::TripleFault { vcpu: 0, rip: 0x1000 })
    }

    #[test]
    fn a_reset_starts_again_whatever_the_policy() {
        for policy in [Never, OnCrash, Always] {
            assert!(End::Reset(ResetCause::KeyboardController).restarts(policy));
        }
    }

    #[test]
    fn a_killed_vm_stays_down() {
        for policy in [Never, OnCrash, Always] {
            assert!(!End::Killed.restarts(policy));
        }
    }

    #[test]
    fn a_crash_and_a_power_off_follow_the_policy() {
        assert!(!crash().restarts(Never) && crash().restarts(OnCrash) && crash().restarts(Always));
        assert!(!End::PowerOff.restarts(Never));
        assert!(!End::PowerOff.restarts(OnCrash));
        assert!(End::PowerOff.restarts(Always));
    }

    #[test]
    fn the_end_says_what_happened_and_where() {
        use alloc::string::ToString;
        assert_eq!(crash().to_string(), "triple fault on vCPU 0 at RIP 0x1000");
        assert_eq!(End::PowerOff.to_string(), "guest powered off");
    }
}
