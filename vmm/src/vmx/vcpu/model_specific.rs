//! Model-specific registers that the hardware switches: in the VMCS, or beside it.
use super::super::beside;
use super::super::field::Kept;
use super::VmxVcpu;
use super::debug::DEBUGCTL_BTF;
use crate::backend::HardwareMsr;
use crate::cpu::SegmentRegister;

impl VmxVcpu {
    /// Reads one.
    pub(super) fn read_msr(&self, msr: HardwareMsr) -> u64 {
        match msr {
            HardwareMsr::Star => self.beside.msr(beside::Msr::Star),
            HardwareMsr::Lstar => self.beside.msr(beside::Msr::Lstar),
            HardwareMsr::Cstar => self.beside.msr(beside::Msr::Cstar),
            HardwareMsr::Sfmask => self.beside.msr(beside::Msr::Fmask),
            HardwareMsr::KernelGsBase => self.beside.msr(beside::Msr::KernelGsBase),
            HardwareMsr::FsBase => self.vmcs.get(Kept::base(SegmentRegister::Fs as u8)),
            HardwareMsr::GsBase => self.vmcs.get(Kept::base(SegmentRegister::Gs as u8)),
            HardwareMsr::SysenterCs => self.vmcs.get(Kept::SYSENTER_CS),
            HardwareMsr::SysenterEsp => self.vmcs.get(Kept::SYSENTER_ESP),
            HardwareMsr::SysenterEip => self.vmcs.get(Kept::SYSENTER_EIP),
            HardwareMsr::Pat => self.vmcs.get(Kept::PAT),
            HardwareMsr::DebugCtl => {
                // Delivery of a #DB clears BTF.
                self.debugctl & !DEBUGCTL_BTF | self.vmcs.get(Kept::DEBUGCTL) & DEBUGCTL_BTF
            }
            HardwareMsr::TscAux => self.tsc_aux,
        }
    }

    /// Writes one; the value was checked.
    pub(super) fn write_msr(&mut self, msr: HardwareMsr, value: u64) {
        match msr {
            HardwareMsr::Star => self.beside.set_msr(beside::Msr::Star, value),
            HardwareMsr::Lstar => self.beside.set_msr(beside::Msr::Lstar, value),
            HardwareMsr::Cstar => self.beside.set_msr(beside::Msr::Cstar, value),
            HardwareMsr::Sfmask => self.beside.set_msr(beside::Msr::Fmask, value),
            HardwareMsr::KernelGsBase => self.beside.set_msr(beside::Msr::KernelGsBase, value),
            HardwareMsr::FsBase => self.vmcs.set(Kept::base(SegmentRegister::Fs as u8), value),
            HardwareMsr::GsBase => self.vmcs.set(Kept::base(SegmentRegister::Gs as u8), value),
            HardwareMsr::SysenterCs => self.vmcs.set(Kept::SYSENTER_CS, value & 0xffff_ffff),
            HardwareMsr::SysenterEsp => self.vmcs.set(Kept::SYSENTER_ESP, value),
            HardwareMsr::SysenterEip => self.vmcs.set(Kept::SYSENTER_EIP, value),
            HardwareMsr::Pat => self.vmcs.set(Kept::PAT, value),
            HardwareMsr::DebugCtl => {
                self.debugctl = value;
                self.vmcs.set(Kept::DEBUGCTL, value & DEBUGCTL_BTF);
            }
            HardwareMsr::TscAux => self.tsc_aux = value,
        }
    }
}
