//! Registers of the guest that are in its VMCS, and how they are written there.
use super::super::controls::{Group, IA32E_MODE_GUEST};
use super::super::field::Kept;
use super::super::segment;
use super::VmxVcpu;
use crate::cpu::{Cr0, Cr4, Efer, Gpr, Registers, Rflags, Segment, SegmentRegister};
use crate::extended;
use crate::memory::CodeWalk;

/// Bits of CR0 that the guest sees as it wrote them, and that are the hypervisor's in truth: NE must be 1 in VMX
/// operation, and what CD and NW do to the caches would last beyond the exit (SDM vol. 3C, 27.5.1).
pub(super) const CR0_MASK: Cr0 = Cr0::NE.union(Cr0::CD).union(Cr0::NW);

/// Bits of CR4 that are never the guest's alone: VMXE must be 1 in VMX operation, and a machine check without MCE
/// would shut the machine down.
pub(super) const CR4_KEPT: Cr4 = Cr4::VMXE.union(Cr4::MCE);

impl VmxVcpu {
    /// Sets EFER and the control that must agree with its LMA.
    pub(super) fn write_efer(&mut self, efer: Efer) {
        let long = if efer.contains(Efer::LMA) { IA32E_MODE_GUEST } else { 0 };
        let controls = self.capabilities.controls.get(Group::Entry) | long;
        self.vmcs.set(Kept::ENTRY_CONTROLS, controls.into());
        self.vmcs.set(Kept::EFER, efer.bits());
    }

    pub(super) fn write_cr0(&mut self, value: Cr0) {
        self.vmcs.set(Kept::CR0_SHADOW, value.bits());
        self.vmcs.set(Kept::CR0, (value.difference(CR0_MASK) | Cr0::NE | Cr0::ET).bits());
    }

    pub(super) fn write_cr4(&mut self, value: Cr4) {
        self.vmcs.set(Kept::CR4_SHADOW, value.bits());
        self.vmcs.set(Kept::CR4, (value | CR4_KEPT).bits());
    }

    pub(super) fn write_segment(&mut self, number: u8, value: Segment) {
        self.vmcs.set(Kept::selector(number), value.selector.into());
        self.vmcs.set(Kept::rights(number), segment::rights(value.attributes).into());
        self.vmcs.set(Kept::limit(number), value.limit.into());
        self.vmcs.set(Kept::base(number), value.base);
    }
}

impl Registers for VmxVcpu {
    #[inline(always)]
    fn gpr(&self, register: Gpr) -> u64 {
        if register == Gpr::Rsp { self.vmcs.get(Kept::RSP) } else { self.gprs[register as usize] }
    }

    #[inline(always)]
    fn set_gpr(&mut self, register: Gpr, value: u64) {
        if register == Gpr::Rsp {
            self.vmcs.set(Kept::RSP, value);
        } else {
            self.gprs[register as usize] = value;
        }
    }

    #[inline(always)]
    fn rip(&self) -> u64 {
        self.vmcs.get(Kept::RIP)
    }

    #[inline(always)]
    fn set_rip(&mut self, rip: u64) {
        self.vmcs.set(Kept::RIP, rip);
    }

    #[inline(always)]
    fn rflags(&self) -> Rflags {
        Rflags::from_bits_retain(self.vmcs.get(Kept::RFLAGS))
    }

    #[inline(always)]
    fn set_rflags(&mut self, flags: Rflags) {
        self.vmcs.set(Kept::RFLAGS, flags.bits());
    }

    #[inline]
    fn segment(&self, register: SegmentRegister) -> Segment {
        let number = register as u8;
        Segment {
            selector: self.vmcs.get(Kept::selector(number)) as u16,
            attributes: segment::attributes(self.vmcs.get(Kept::rights(number)) as u32),
            limit: self.vmcs.get(Kept::limit(number)) as u32,
            base: self.vmcs.get(Kept::base(number)),
        }
    }

    #[inline(always)]
    fn cr0(&self) -> Cr0 {
        let (own, shadow) = (self.vmcs.get(Kept::CR0), self.vmcs.get(Kept::CR0_SHADOW));
        Cr0::from_bits_retain(own & !CR0_MASK.bits() | shadow & CR0_MASK.bits())
    }

    #[inline(always)]
    fn cr3(&self) -> u64 {
        self.vmcs.get(Kept::CR3)
    }

    #[inline(always)]
    fn cr4(&self) -> Cr4 {
        let mask = self.vmcs.get(Kept::CR4_MASK);
        let (own, shadow) = (self.vmcs.get(Kept::CR4), self.vmcs.get(Kept::CR4_SHADOW));
        Cr4::from_bits_retain(own & !mask | shadow & mask)
    }

    #[inline(always)]
    fn efer(&self) -> Efer {
        Efer::from_bits_retain(self.vmcs.get(Kept::EFER))
    }

    /// The privilege level of SS, whether or not it can be used (SDM vol. 3C, 24.4.1).
    #[inline(always)]
    fn cpl(&self) -> u8 {
        (self.vmcs.get(Kept::rights(SegmentRegister::Ss as u8)) >> 5 & 3) as u8
    }

    #[inline(always)]
    fn code_walk(&self) -> Option<&CodeWalk> {
        Some(&self.code_walk)
    }

    #[inline]
    fn in_64_bit_code(&self) -> bool {
        const LONG: u64 = 1 << 13;
        self.efer().contains(Efer::LMA) && self.vmcs.get(Kept::rights(SegmentRegister::Cs as u8)) & LONG != 0
    }

    fn xmm(&self, register: u8) -> u128 {
        extended::read_xmm(register)
    }

    fn set_xmm(&mut self, register: u8, value: u128) {
        extended::write_xmm(register, value);
    }

    fn clear_above_xmm(&mut self, register: u8) -> bool {
        extended::clear_above_xmm(register);
        true
    }
}
