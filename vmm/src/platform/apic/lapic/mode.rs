//! The modes of a local APIC, and the MSRs outside of the x2APIC's range.
use super::super::registers::{Register, base};
use super::super::timer::GuestTsc;
use super::{ApicMode, GeneralProtection, LocalApic, Mode};
use crate::time::Nanos;
use mm::addr::{Gpa, PAGE};

impl LocalApic {
    /// IA32_APIC_BASE.
    pub fn read_base(&self) -> u64 {
        self.base
    }

    /// Whether IA32_APIC_BASE enables the APIC, which CPUID leaf 1 EDX bit 9 mirrors.
    pub fn enabled(&self) -> bool {
        self.mode != Mode::Disabled
    }

    /// How the guest reaches it.
    pub fn mode(&self) -> ApicMode {
        match self.mode {
            Mode::Disabled => ApicMode::Disabled,
            Mode::XApic => {
                ApicMode::XApic { page: Gpa::new_truncate(self.base & !(PAGE - 1) & self.base_mask) }
            }
            Mode::X2Apic => ApicMode::X2Apic,
        }
    }

    /// WRMSR to IA32_APIC_BASE; the transitions of SDM vol. 3A, 11.12.5.
    pub fn write_base(&mut self, value: u64) -> Result<(), GeneralProtection> {
        if value & !self.base_mask != 0 {
            return Err(GeneralProtection);
        }
        let mode = match (value & base::ENABLED != 0, value & base::X2APIC != 0) {
            (false, false) => Mode::Disabled,
            (true, false) => Mode::XApic,
            (true, true) => Mode::X2Apic,
            (false, true) => return Err(GeneralProtection),
        };
        match (self.mode, mode) {
            (Mode::Disabled, Mode::X2Apic) | (Mode::X2Apic, Mode::XApic) => return Err(GeneralProtection),
            _ => {}
        }
        let was = self.mode;
        // Which processor is the bootstrap one does not change by writing.
        self.base = value & !base::BSP | self.base & base::BSP;
        self.mode = mode;
        if mode == Mode::Disabled && was != Mode::Disabled {
            self.reset_registers();
        } else {
            if mode == Mode::X2Apic && was != mode {
                self.page().set(Register::ICR, 0);
                self.page().set(Register::ICR_HIGH, 0);
            }
            self.update_mode();
        }
        Ok(())
    }

    /// IA32_TSC_DEADLINE.
    pub fn read_tsc_deadline(&self) -> u64 {
        self.timer.tsc_deadline()
    }

    /// WRMSR to IA32_TSC_DEADLINE. Without effect unless the timer is in TSC-deadline mode.
    #[inline]
    pub fn write_tsc_deadline(&mut self, value: u64, now: Nanos, tsc: &GuestTsc) {
        self.timer.set_tsc_deadline(value, now, tsc);
    }

    /// The vCPU's time-stamp counter was written: an armed deadline is computed anew.
    pub fn tsc_changed(&mut self, now: Nanos, tsc: &GuestTsc) {
        self.timer.tsc_changed(now, tsc);
    }
}
