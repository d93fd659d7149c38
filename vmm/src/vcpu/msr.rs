//! RDMSR and WRMSR: the policy's table says who owns a register, here the owner is asked.
use super::{Host, Leave, Vcpu};
use crate::backend::{Backend, HardwareMsr};
use crate::cpu::{Exception, Gpr};
use crate::emulate::length::Named;
use crate::platform::apic::X2APIC_MSR_FIRST;
use crate::policy::msr::{MsrRead, MsrWrite, Owner};
use crate::policy::pvclock;

/// The access raises #GP(0).
struct Refused;

impl From<crate::policy::msr::Gp> for Refused {
    fn from(_: crate::policy::msr::Gp) -> Self {
        Self
    }
}

impl From<crate::platform::apic::GeneralProtection> for Refused {
    fn from(_: crate::platform::apic::GeneralProtection) -> Self {
        Self
    }
}

impl<B: Backend> Vcpu<B> {
    #[inline]
    pub(super) fn read_msr(&mut self, host: &impl Host) -> Option<Leave> {
        let next = match self.next_rip(Named::Rdmsr) {
            Ok(next) => next,
            Err(leave) => return leave,
        };
        let msr = self.backend.gpr(Gpr::Rcx) as u32;
        let Ok(value) = self.msr_value(msr, host) else {
            self.refused_msr("read", msr);
            return self.raise(Exception::gp(0));
        };
        self.backend.set_gpr(Gpr::Rax, value & 0xffff_ffff);
        self.backend.set_gpr(Gpr::Rdx, value >> 32);
        self.advance(next);
        None
    }

    #[inline]
    pub(super) fn write_msr(&mut self, host: &impl Host) -> Option<Leave> {
        let next = match self.next_rip(Named::Wrmsr) {
            Ok(next) => next,
            Err(leave) => return leave,
        };
        let msr = self.backend.gpr(Gpr::Rcx) as u32;
        let value = self.backend.gpr(Gpr::Rdx) << 32 | self.backend.gpr(Gpr::Rax) & 0xffff_ffff;
        if self.set_msr_value(msr, value, host).is_err() {
            self.refused_msr("write", msr);
            return self.raise(Exception::gp(0));
        }
        self.advance(next);
        None
    }

    #[cold]
    fn refused_msr(&self, what: &str, msr: u32) {
        log::trace!("vCPU {}: {what} of MSR {msr:#x} refused at {:#x}", self.index, self.backend.rip());
    }

    fn msr_value(&mut self, msr: u32, host: &impl Host) -> Result<u64, Refused> {
        let owner = match self.msrs.read(msr)? {
            MsrRead::Value(value) => return Ok(value),
            MsrRead::Owner(owner) => owner,
        };
        Ok(match owner {
            Owner::TscDeadline => self.apic.read_tsc_deadline(),
            Owner::X2Apic(register) => {
                self.apic.read_msr(X2APIC_MSR_FIRST + u32::from(register), host.now())?
            }
            Owner::ApicBase => self.apic.read_base(),
            Owner::Tsc => self.guest_tsc(host),
            Owner::TscAdjust => self.tsc_adjust,
            Owner::Efer => self.backend.efer().bits(),
            Owner::Hardware(register) => self.backend.msr(register),
            // It can't be read; those of the paravirtual interface are kept by the store, which answers for them.
            Owner::PredictionBarrier
            | Owner::SystemTime
            | Owner::WallClock
            | Owner::StealTime
            | Owner::PvEoi => 0,
        })
    }

    fn set_msr_value(&mut self, msr: u32, value: u64, host: &impl Host) -> Result<(), Refused> {
        let (owner, value) = match self.msrs.write(msr, value)? {
            MsrWrite::Done => return Ok(()),
            MsrWrite::Owner(owner, value) => (owner, value),
        };
        match owner {
            Owner::TscDeadline => {
                let now = host.now();
                let tsc = self.anchored_tsc(host, now);
                self.apic.write_tsc_deadline(value, now, &tsc);
            }
            Owner::X2Apic(register) => {
                let msr = X2APIC_MSR_FIRST + u32::from(register);
                if let Some(vector) = self.apic.write_msr(msr, value, host.now())? {
                    self.shared.board.end_of_interrupt(vector);
                }
                self.backend.set_cr8(self.apic.cr8());
            }
            Owner::ApicBase => {
                self.apic.write_base(value)?;
                self.backend.set_apic_mode(self.apic.mode());
                // Switching it off resets the priority.
                self.backend.set_cr8(self.apic.cr8());
            }
            Owner::Tsc => self.adjust_tsc(value.wrapping_sub(self.guest_tsc(host)), host),
            Owner::TscAdjust => self.adjust_tsc(value.wrapping_sub(self.tsc_adjust), host),
            Owner::Efer => self.write_efer(value).map_err(|_| Refused)?,
            Owner::Hardware(register) => {
                self.backend.set_msr(register, value);
                if register == HardwareMsr::TscAux {
                    self.extended.set_tsc_aux(value);
                }
            }
            Owner::PredictionBarrier if value == 0 => {}
            Owner::PredictionBarrier => self.backend.forget_predictions(),
            Owner::SystemTime => {
                self.system_time = pvclock::system_time_address(&self.shared.memory, value);
                self.update_system_time();
            }
            Owner::WallClock => {
                if let Some(at) = pvclock::wall_clock_address(&self.shared.memory, value) {
                    // RAM, as the line above has made sure.
                    let start = self.shared.clock.wall_clock_at_power_on();
                    let _ = pvclock::write_wall_clock(&self.shared.memory, at, start);
                }
            }
            Owner::PvEoi => self.set_eoi_flag(value),
            // Not shown by this virtual machine, so the store refuses it before.
            Owner::StealTime => return Err(Refused),
        }
        Ok(())
    }

    fn guest_tsc(&self, host: &impl Host) -> u64 {
        self.shared.clock.guest(host.tsc()).wrapping_add(self.tsc_adjust)
    }

    fn anchored_tsc(&self, host: &impl Host, now: u64) -> crate::platform::apic::GuestTsc {
        let mut tsc = self.shared.clock.anchored(host.tsc(), now);
        tsc.at_zero = tsc.at_zero.wrapping_add(self.tsc_adjust);
        tsc
    }

    /// Moves this vCPU's counter by `ticks`, and what was derived from it.
    #[cold]
    fn adjust_tsc(&mut self, ticks: u64, host: &impl Host) {
        self.tsc_adjust = self.tsc_adjust.wrapping_add(ticks);
        self.backend.set_tsc_offset(self.shared.clock.offset().wrapping_add(self.tsc_adjust));
        let now = host.now();
        let tsc = self.anchored_tsc(host, now);
        self.apic.tsc_changed(now, &tsc);
        self.update_system_time();
    }

    /// The paravirtual clock counts from power-on, when the counter was at what the guest has added since.
    fn update_system_time(&mut self) {
        let Some(at) = self.system_time else { return };
        let scale = self.shared.clock.scale();
        let written =
            pvclock::update(&self.shared.memory, at, self.tsc_adjust, 0, scale, pvclock::TSC_STABLE);
        if written.is_err() {
            self.system_time = None;
        }
    }
}
