//! What a guest writes to control registers (APM vol. 2, 3.1; 11.5.2 for XCR0).
use super::{Leave, Vcpu};
use crate::backend::Backend;
use crate::cpu::{Cr0, Cr4, Efer, Exception, Gpr, SegmentAttributes, SegmentRegister};
use crate::emulate::length::{ControlAccess, Named, control_access};
use crate::policy::cpuid::{CpuidTable, LiveState};

/// Bits of CR4 that exist because of a feature: leaf, register (EAX to EDX), bit.
const CR4_BY_FEATURE: &[(Cr4, u32, usize, u32)] = &[
    (Cr4::VME, 1, 3, 1),
    (Cr4::PVI, 1, 3, 1),
    (Cr4::TSD, 1, 3, 4),
    (Cr4::DE, 1, 3, 2),
    (Cr4::PSE, 1, 3, 3),
    (Cr4::PAE, 1, 3, 6),
    (Cr4::MCE, 1, 3, 7),
    (Cr4::PGE, 1, 3, 13),
    (Cr4::OSFXSR, 1, 3, 24),
    (Cr4::OSXMMEXCPT, 1, 3, 25),
    (Cr4::PCIDE, 1, 2, 17),
    (Cr4::OSXSAVE, 1, 2, 26),
    (Cr4::FSGSBASE, 7, 1, 0),
    (Cr4::SMEP, 7, 1, 7),
    (Cr4::SMAP, 7, 1, 20),
    (Cr4::UMIP, 7, 2, 2),
    (Cr4::PKE, 7, 2, 3),
];

/// Bits of EFER that exist because of a feature in leaf 0x8000_0001, EDX.
const EFER_BY_FEATURE: &[(Efer, u32)] =
    &[(Efer::SCE, 11), (Efer::NXE, 20), (Efer::FFXSR, 25), (Efer::LME, 29)];

/// Bits that a guest may set, since its CPUID shows what they are for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowed {
    cr4: Cr4,
    efer: Efer,
}

/// The features that a vCPU is shown, whatever it is doing.
fn features(cpuid: &CpuidTable, leaf: u32) -> [u32; 4] {
    cpuid.get(leaf, 0, || LiveState { cr4: Cr4::empty(), xcr0: 1, apic_enabled: true })
}

/// Width of guest-physical addresses.
pub(super) fn physical_bits(cpuid: &CpuidTable) -> u8 {
    features(cpuid, 0x8000_0008)[0] as u8
}

/// Whether the guest is shown IBPB.
pub(super) fn prediction_barrier(cpuid: &CpuidTable) -> bool {
    features(cpuid, 0x8000_0008)[1] & 1 << 12 != 0
}

impl Allowed {
    /// For a guest with this CPUID. CR4.PCE and EFER.LMA come with every CPU.
    pub fn new(cpuid: &CpuidTable) -> Self {
        let mut cr4 = Cr4::PCE;
        for &(bit, leaf, register, position) in CR4_BY_FEATURE {
            cr4.set(bit, cr4.contains(bit) || features(cpuid, leaf)[register] & 1 << position != 0);
        }
        let mut efer = Efer::LMA;
        let shown = features(cpuid, 0x8000_0001)[3];
        for &(bit, position) in EFER_BY_FEATURE {
            efer.set(bit, shown & 1 << position != 0);
        }
        Self { cr4, efer }
    }

    /// Bits of CR4.
    pub fn cr4(&self) -> Cr4 {
        self.cr4
    }
}

impl<B: Backend> Vcpu<B> {
    /// MOV to CR0, CR4 or CR8.
    #[cold]
    pub(super) fn write_cr(&mut self, cr: u8, source: Option<Gpr>) -> Option<Leave> {
        let (source, next) = match (source, self.backend.next_rip()) {
            (Some(source), Some(next)) => (source, next),
            _ => match control_access(&self.backend, &self.shared.memory) {
                Ok((ControlAccess::Write { cr: found, source }, length)) if found == cr => {
                    (source, self.rip_after(length))
                }
                // Something else is there now.
                Ok(_) => return None,
                Err(miss) => return self.missed(miss),
            },
        };
        let mut value = self.backend.gpr(source);
        if !self.backend.in_64_bit_code() {
            value &= 0xffff_ffff;
        }
        let checked = match cr {
            0 => self.check_cr0(value),
            4 => self.check_cr4(value),
            8 => self.write_cr8(value),
            _ => return self.unsupported(alloc::format!("an intercepted write to CR{cr}")),
        };
        if let Err(exception) = checked {
            return self.raise(exception);
        }
        if cr != 8 && self.backend.left_to_hardware(cr, value) {
            return None;
        }
        match cr {
            0 => self.backend.set_cr0(Cr0::from_bits_truncate(value) | Cr0::ET),
            4 => self.backend.set_cr4(Cr4::from_bits_truncate(value)),
            _ => {}
        }
        self.advance(next);
        None
    }

    /// What MOV to CR0 refuses (SDM vol. 2B, MOV to control registers).
    fn check_cr0(&self, value: u64) -> Result<(), Exception> {
        let gp = Err(Exception::gp(0));
        if value >> 32 != 0 {
            return gp;
        }
        let (old, new) = (self.backend.cr0(), Cr0::from_bits_truncate(value));
        if new.contains(Cr0::PG) && !new.contains(Cr0::PE) || new.contains(Cr0::NW) && !new.contains(Cr0::CD)
        {
            return gp;
        }
        let cr4 = self.backend.cr4();
        let code = self.backend.segment(SegmentRegister::Cs).attributes;
        let begins_paging = new.contains(Cr0::PG) && !old.contains(Cr0::PG);
        let long = begins_paging && self.backend.efer().contains(Efer::LME);
        if long && (!cr4.contains(Cr4::PAE) || code.has(SegmentAttributes::LONG)) {
            return gp;
        }
        let ends_paging = old.contains(Cr0::PG) && !new.contains(Cr0::PG);
        if ends_paging && (cr4.contains(Cr4::PCIDE) || self.backend.in_64_bit_code()) {
            return gp;
        }
        Ok(())
    }

    fn check_cr4(&self, value: u64) -> Result<(), Exception> {
        let gp = Err(Exception::gp(0));
        let Some(new) = Cr4::from_bits(value) else { return gp };
        if !self.allowed.cr4.contains(new) {
            return gp;
        }
        let old = self.backend.cr4();
        let long = self.backend.efer().contains(Efer::LMA);
        if long && !new.contains(Cr4::PAE) {
            return gp;
        }
        let enables_pcid = new.contains(Cr4::PCIDE) && !old.contains(Cr4::PCIDE);
        if enables_pcid && (!long || self.backend.cr3() & 0xfff != 0) {
            return gp;
        }
        Ok(())
    }

    fn write_cr8(&mut self, value: u64) -> Result<(), Exception> {
        if value > 0xf {
            return Err(Exception::gp(0));
        }
        self.apic.set_cr8(value as u8);
        self.backend.set_cr8(value as u8);
        Ok(())
    }

    /// XSETBV. That CR4.OSXSAVE is set was checked by the hardware.
    #[cold]
    pub(super) fn xsetbv(&mut self) -> Option<Leave> {
        let next = match self.next_rip(Named::Xsetbv) {
            Ok(next) => next,
            Err(leave) => return leave,
        };
        let index = self.backend.gpr(Gpr::Rcx) as u32;
        let value = self.backend.gpr(Gpr::Rdx) << 32 | self.backend.gpr(Gpr::Rax) & 0xffff_ffff;
        if index != 0 || self.backend.cpl() != 0 || self.extended.set_xcr0(value).is_err() {
            return self.raise(Exception::gp(0));
        }
        self.advance(next);
        None
    }

    /// WRMSR to EFER.
    pub(super) fn write_efer(&mut self, value: u64) -> Result<(), Exception> {
        let gp = Err(Exception::gp(0));
        let Some(mut new) = Efer::from_bits(value) else { return gp };
        if !self.allowed.efer.contains(new) {
            return gp;
        }
        let old = self.backend.efer();
        let changes_lme = old.contains(Efer::LME) != new.contains(Efer::LME);
        if changes_lme && self.backend.cr0().contains(Cr0::PG) {
            return gp;
        }
        // LMA follows CR0.PG, whatever is written.
        new.set(Efer::LMA, old.contains(Efer::LMA));
        self.backend.set_efer(new);
        Ok(())
    }
}
