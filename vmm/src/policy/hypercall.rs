//! Hypercalls: what VMMCALL and VMCALL ask for (Linux, Documentation/virt/kvm/x86/hypercalls.rst).

/// No such hypercall: `-KVM_ENOSYS`.
pub const NO_SUCH_CALL: u64 = -1000i64 as u64;
/// Not from user mode: `-KVM_EPERM`.
pub const NOT_PERMITTED: u64 = -1i64 as u64;

/// An argument makes no sense: `-KVM_EINVAL`.
pub const INVALID_ARGUMENT: u64 = -22i64 as u64;

const KICK_CPU: u64 = 5;
const SEND_IPI: u64 = 10;
const SCHED_YIELD: u64 = 11;

/// A hypercall, decoded. Its arguments are the guest's allegations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hypercall {
    /// Wake the vCPU with this APIC ID from HLT. Returns 0. Shown by
    /// [`PV_UNHALT`](super::paravirtual::Features::PV_UNHALT).
    KickCpu {
        /// APIC ID; there may be no such vCPU.
        apic_id: u32,
    },
    /// Send an interrupt to the vCPUs whose bits are set. Returns how many got it. Shown by
    /// [`PV_SEND_IPI`](super::paravirtual::Features::PV_SEND_IPI).
    SendIpi {
        /// Bit n is the APIC ID `lowest + n`.
        targets: u128,
        /// APIC ID of bit 0.
        lowest: u32,
        /// As the low half of the interrupt command register.
        icr: u32,
    },
    /// Run that vCPU rather than this one. Returns 0. Shown by
    /// [`PV_SCHED_YIELD`](super::paravirtual::Features::PV_SCHED_YIELD).
    Yield {
        /// APIC ID; there may be no such vCPU.
        apic_id: u32,
    },
    /// Nothing to do but to return this in RAX.
    Refused(u64),
}

/// Decodes the registers of a hypercall of a guest at privilege level `cpl`.
///
/// Outside of 64-bit mode the arguments are the low halves of the registers: the caller truncates them.
#[inline]
pub const fn decode(cpl: u8, rax: u64, rbx: u64, rcx: u64, rdx: u64, rsi: u64) -> Hypercall {
    if cpl != 0 {
        return Hypercall::Refused(NOT_PERMITTED);
    }
    match rax {
        KICK_CPU => Hypercall::KickCpu { apic_id: rcx as u32 },
        SEND_IPI => Hypercall::SendIpi {
            targets: (rcx as u128) << 64 | rbx as u128,
            lowest: rdx as u32,
            icr: rsi as u32,
        },
        SCHED_YIELD => Hypercall::Yield { apic_id: rbx as u32 },
        _ => Hypercall::Refused(NO_SUCH_CALL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupt_to_many_names_up_to_128_vcpus() {
        assert_eq!(
            decode(0, 10, 0b1011, 1 << 63, 4, 0xfb),
            Hypercall::SendIpi { targets: 0b1011 | 1 << 127, lowest: 4, icr: 0xfb }
        );
        assert_eq!(decode(0, 5, 0, 3, 0, 0), Hypercall::KickCpu { apic_id: 3 });
        assert_eq!(decode(0, 11, 2, 9, 0, 0), Hypercall::Yield { apic_id: 2 });
    }

    #[test]
    fn user_mode_and_unknown_numbers_get_their_error() {
        assert_eq!(decode(3, 10, 1, 0, 0, 0), Hypercall::Refused(u64::MAX));
        for number in [0, 1, 4, 6, 9, 12, 1 << 32 | 5, u64::MAX] {
            assert_eq!(decode(0, number, 0, 0, 0, 0), Hypercall::Refused(0xffff_ffff_ffff_fc18));
        }
    }
}
