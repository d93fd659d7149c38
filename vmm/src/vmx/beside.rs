//! Registers of a guest that neither the VMCS nor the extended state holds: CR2, DR6, and the MSRs of SYSCALL
//! and SWAPGS.
//!
//! The hypervisor uses none of them, so they stay in the CPU across exits and move only with the vCPU's turn.
//! (CR2 changes under the hypervisor only by a page fault of its own, which is its end.)
#![cfg_attr(target_os = "none", allow(unsafe_code))] // MSRs and control registers.

/// The MSRs, in the order of [`Beside::msrs`].
#[cfg_attr(not(target_os = "none"), allow(dead_code))]
const MSRS: [u32; 5] = [0xc000_0081, 0xc000_0082, 0xc000_0083, 0xc000_0084, 0xc000_0102];

/// One of [`MSRS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Msr {
    /// IA32_STAR.
    Star,
    /// IA32_LSTAR.
    Lstar,
    /// IA32_CSTAR.
    Cstar,
    /// IA32_FMASK.
    Fmask,
    /// IA32_KERNEL_GS_BASE.
    KernelGsBase,
}

/// DR6 after a reset.
const DR6_AT_RESET: u64 = 0xffff_0ff0;

/// The registers: their values while the vCPU has no CPU, and access to them while it has one.
#[derive(Debug)]
pub struct Beside {
    cr2: u64,
    dr6: u64,
    msrs: [u64; MSRS.len()],
    /// They are in the CPU.
    live: bool,
}

impl Beside {
    /// As at power-on.
    pub fn new() -> Self {
        Self { cr2: 0, dr6: DR6_AT_RESET, msrs: [0; MSRS.len()], live: false }
    }

    /// They are in this CPU, still or as soon as [`Self::load`] puts them there.
    pub fn begin_turn(&mut self) {
        self.live = true;
    }

    /// Puts them into this CPU.
    pub fn load(&mut self) {
        #[cfg(target_os = "none")]
        {
            instructions::write_cr2(self.cr2);
            instructions::write_dr6(self.dr6);
            for (msr, value) in MSRS.into_iter().zip(self.msrs) {
                instructions::write_msr(msr, value);
            }
        }
    }

    /// Copies them out of this CPU.
    pub fn end_turn(&mut self) {
        self.live = false;
        #[cfg(target_os = "none")]
        {
            self.cr2 = instructions::cr2();
            self.dr6 = instructions::dr6();
            self.msrs = MSRS.map(instructions::msr);
        }
    }

    /// Sets CR2.
    pub fn set_cr2(&mut self, value: u64) {
        self.cr2 = value;
        #[cfg(target_os = "none")]
        if self.live {
            instructions::write_cr2(value);
        }
    }

    /// DR6.
    pub fn dr6(&self) -> u64 {
        #[cfg(target_os = "none")]
        if self.live {
            return instructions::dr6();
        }
        self.dr6
    }

    /// Sets DR6.
    pub fn set_dr6(&mut self, value: u64) {
        self.dr6 = value;
        #[cfg(target_os = "none")]
        if self.live {
            instructions::write_dr6(value);
        }
    }

    /// CR2 and DR6 as INIT leaves them.
    pub fn init(&mut self) {
        self.set_cr2(0);
        self.set_dr6(DR6_AT_RESET);
    }

    /// An MSR.
    pub fn msr(&self, msr: Msr) -> u64 {
        #[cfg(target_os = "none")]
        if self.live {
            return instructions::msr(MSRS[msr as usize]);
        }
        self.msrs[msr as usize]
    }

    /// Sets an MSR; the value was checked.
    pub fn set_msr(&mut self, msr: Msr, value: u64) {
        self.msrs[msr as usize] = value;
        #[cfg(target_os = "none")]
        if self.live {
            instructions::write_msr(MSRS[msr as usize], value);
        }
    }
}

#[cfg(target_os = "none")]
mod instructions {
    use core::arch::asm;

    pub fn cr2() -> u64 {
        let value;
        // SAFETY: reading has no effect.
        unsafe { asm!("mov {}, cr2", out(reg) value, options(nomem, nostack, preserves_flags)) };
        value
    }

    pub fn write_cr2(value: u64) {
        // SAFETY: the hypervisor looks at CR2 only behind a page fault, which writes it.
        unsafe { asm!("mov cr2, {}", in(reg) value, options(nomem, nostack, preserves_flags)) };
    }

    pub fn dr6() -> u64 {
        let value;
        // SAFETY: reading has no effect.
        unsafe { asm!("mov {}, dr6", out(reg) value, options(nomem, nostack, preserves_flags)) };
        value
    }

    /// Bits 63:32 are not written: they must be 0.
    pub fn write_dr6(value: u64) {
        // SAFETY: a status register; the hypervisor arms no breakpoint.
        unsafe { asm!("mov dr6, {}", in(reg) value & 0xffff_ffff, options(nomem, nostack, preserves_flags)) };
    }

    pub fn msr(msr: u32) -> u64 {
        let (low, high): (u32, u32);
        // SAFETY: every 64-bit CPU has these registers.
        unsafe {
            asm!("rdmsr", in("ecx") msr, out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags));
        }
        u64::from(high) << 32 | u64::from(low)
    }

    /// The value is one that the register takes: it was read from it, or checked.
    pub fn write_msr(msr: u32, value: u64) {
        // SAFETY: the hypervisor executes no SYSCALL and no SWAPGS, so the registers mean nothing to it.
        unsafe {
            asm!("wrmsr", in("ecx") msr, in("eax") value as u32, in("edx") (value >> 32) as u32,
                 options(nomem, nostack, preserves_flags));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_of_a_vcpu_without_a_cpu_are_kept() {
        let mut beside = Beside::new();
        assert_eq!(beside.dr6(), DR6_AT_RESET);
        beside.set_msr(Msr::Lstar, 5);
        beside.set_msr(Msr::KernelGsBase, 6);
        beside.set_dr6(1);
        beside.begin_turn();
        beside.load();
        beside.end_turn();
        assert_eq!((beside.msr(Msr::Star), beside.msr(Msr::Lstar), beside.msr(Msr::KernelGsBase)), (0, 5, 6));
        beside.init();
        assert_eq!((beside.dr6(), beside.msr(Msr::Lstar)), (DR6_AT_RESET, 5));
    }
}
