//! Debug exceptions: what the hardware leaves undone around an exit for one, and around its injection.
use super::super::field::{Field, Kept};
use super::super::interruptibility as blocking;
use super::VmxVcpu;
use crate::cpu::{Registers, Rflags};

/// IA32_DEBUGCTL: single-stepping on branches. The only bit that the hardware gets: last-branch records can't be
/// read by a guest, and bits 5:2 are AMD's.
pub(super) const DEBUGCTL_BTF: u64 = 1 << 1;

/// Bits of DR6 that the exit for a #DB tells (SDM vol. 3C, table 27-1): B0 to B3, BD, BS.
const DR6_CAUSES: u64 = 0x600f;
/// A single step.
pub(super) const DR6_BS: u64 = 1 << 14;
/// General detect.
const DR7_GD: u64 = 1 << 13;

impl VmxVcpu {
    /// Does to DR6 what the #DB would have done that exited (SDM vol. 3C, 27.1).
    pub(super) fn take_debug_exception(&mut self) {
        let causes = self.vmcs.read(Field::EXIT_QUALIFICATION) & DR6_CAUSES;
        self.beside.set_dr6(self.beside.dr6() & !0xf | causes);
    }

    /// Does to DR7 and IA32_DEBUGCTL what delivery of any #DB does, but for injected ones (SDM vol. 3B, 17.2.4 and
    /// 17.4.1): its handler can write debug registers, and steps by instructions.
    pub(super) fn enter_debug_handler(&mut self) {
        for (kept, bit) in [(Kept::DR7, DR7_GD), (Kept::DEBUGCTL, DEBUGCTL_BTF)] {
            let value = self.vmcs.get(kept);
            if value & bit != 0 {
                self.vmcs.set(kept, value & !bit);
            }
        }
    }

    /// Behind STI and MOV SS the pending single step must be told (SDM vol. 3C, 26.3.1.5). An exit for an
    /// exception does not tell it.
    pub(super) fn tell_single_step(&mut self) {
        if self.vmcs.get(Kept::INTERRUPTIBILITY) & blocking::SHADOW == 0 {
            return;
        }
        let steps = self.rflags().contains(Rflags::TF) && self.vmcs.get(Kept::DEBUGCTL) & DEBUGCTL_BTF == 0;
        let others = self.vmcs.get(Kept::PENDING_DEBUG) & !DR6_BS;
        self.vmcs.set(Kept::PENDING_DEBUG, if steps { others | DR6_BS } else { others });
    }
}
