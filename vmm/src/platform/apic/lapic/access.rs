//! The registers of a local APIC: as a page of memory, and as MSRs.
use super::super::message::InterruptMessage;
use super::super::registers::{Register, X2APIC_MSR_FIRST, X2APIC_MSR_LAST, esr, icr, lvt, svr};
use super::{GeneralProtection, LocalApic, Mode};
use crate::time::Nanos;

impl LocalApic {
    /// A read of the register page. Registers are 32 bits wide at multiples of 16; what lies between
    /// reads as 0, narrower reads get the bytes that they name.
    #[inline]
    pub fn mmio_read(&mut self, offset: u64, size: u8, now: Nanos) -> u64 {
        let lane = offset & 0xf;
        if lane >= 4 {
            return 0;
        }
        let value = u64::from(self.read(Register((offset >> 4 & 0xff) as u16), now)) >> (lane * 8);
        match size {
            1 => value & 0xff,
            2 => value & 0xffff,
            _ => value,
        }
    }

    /// A write to the register page. Only aligned 32-bit writes have an effect, as on KVM.
    ///
    /// Returns the vector of a level-triggered interrupt whose EOI the IOAPIC must see.
    #[inline]
    pub fn mmio_write(&mut self, offset: u64, size: u8, value: u64, now: Nanos) -> Option<u8> {
        if size != 4 || offset & 0xf != 0 {
            return None;
        }
        let register = Register((offset >> 4 & 0xff) as u16);
        let value = value as u32;
        match register {
            Register::EOI => return self.end_of_interrupt(),
            Register::ICR => {
                self.page().set(Register::ICR, value & icr::WRITABLE);
                let destination = self.page().get(Register::ICR_HIGH) >> 24;
                self.send(value, InterruptMessage::destination8(destination as u8));
            }
            Register::ICR_HIGH => self.page().set(Register::ICR_HIGH, value & 0xff00_0000),
            Register::TPR => self.set_tpr(value as u8),
            Register::LDR => {
                self.page().set(Register::LDR, value & 0xff00_0000);
                self.update_mode();
            }
            Register::DFR => {
                self.page().set(Register::DFR, value | 0x0fff_ffff);
                self.update_mode();
            }
            // The hardware has let the guest write it.
            Register::ID => self.show_id(),
            Register::VERSION | Register::APR | Register::PPR | Register::RRD | Register::CURRENT_COUNT => {}
            _ => {
                if !self.write(register, value, now) && !(0x10..0x28).contains(&register.0) {
                    self.raise_error(esr::ILLEGAL_REGISTER);
                }
            }
        }
        None
    }

    /// The guest has written the register at `offset` of the page, and the hardware has left the rest undone: all but
    /// the value's being there.
    ///
    /// Returns as [`Self::mmio_write`].
    pub fn written(&mut self, offset: u16, now: Nanos) -> Option<u8> {
        let register = Register(offset >> 4 & 0xff);
        let value = self.page().get(register);
        match self.mode {
            Mode::XApic => return self.mmio_write(u64::from(register.0) << 4, 4, value.into(), now),
            // By the hardware's hand, only what it does not do itself: a vector that there is not.
            Mode::X2Apic if register == Register::SELF_IPI => self.self_ipi(value as u8),
            Mode::X2Apic | Mode::Disabled => {}
        }
        None
    }

    /// RDMSR of one of the x2APIC's registers, MSR 0x800 to 0x8FF.
    #[inline]
    pub fn read_msr(&mut self, msr: u32, now: Nanos) -> Result<u64, GeneralProtection> {
        if self.mode != Mode::X2Apic || !(X2APIC_MSR_FIRST..=X2APIC_MSR_LAST).contains(&msr) {
            return Err(GeneralProtection);
        }
        let register = Register((msr - X2APIC_MSR_FIRST) as u16);
        match register {
            Register::ICR => {
                let page = self.page();
                Ok(u64::from(page.wide_icr_high()) << 32 | u64::from(page.get(Register::ICR)))
            }
            Register::ID
            | Register::LDR
            | Register::VERSION
            | Register::TPR
            | Register::PPR
            | Register::SVR
            | Register::ESR
            | Register::INITIAL_COUNT
            | Register::CURRENT_COUNT
            | Register::DIVIDE
            | Register(0x10..=0x27)
            | Register(0x32..=0x37) => Ok(u64::from(self.read(register, now))),
            _ => Err(GeneralProtection),
        }
    }

    /// WRMSR to one of the x2APIC's registers. #GP for reserved bits, and for registers that don't exist
    /// or can't be written (SDM vol. 3A, 11.12.1.3).
    ///
    /// Returns the vector of a level-triggered interrupt whose EOI the IOAPIC must see.
    #[inline]
    pub fn write_msr(&mut self, msr: u32, value: u64, now: Nanos) -> Result<Option<u8>, GeneralProtection> {
        if self.mode != Mode::X2Apic || !(X2APIC_MSR_FIRST..=X2APIC_MSR_LAST).contains(&msr) {
            return Err(GeneralProtection);
        }
        let register = Register((msr - X2APIC_MSR_FIRST) as u16);
        if register == Register::ICR {
            // Delivery status can't be written, but software that read it may write it back.
            let low = value as u32 & !icr::DELIVERY_STATUS;
            if low & !icr::WRITABLE != 0 {
                return Err(GeneralProtection);
            }
            let page = self.page();
            page.set(Register::ICR, low);
            page.set_wide_icr_high((value >> 32) as u32);
            self.send(low, (value >> 32) as u32);
            return Ok(None);
        }
        let reserved = match register {
            Register::EOI | Register::ESR => u64::MAX,
            Register::TPR | Register::SELF_IPI => !0xff,
            Register::SVR => !u64::from(svr::WRITABLE),
            Register::INITIAL_COUNT => !0xffff_ffff,
            Register::DIVIDE => !0b1011,
            Register(n @ 0x32..=0x37) => {
                let entry = usize::from(n - 0x32);
                !u64::from(lvt::WRITABLE[entry] | lvt::READ_ONLY)
            }
            _ => return Err(GeneralProtection),
        };
        if value & reserved != 0 {
            return Err(GeneralProtection);
        }
        match register {
            Register::EOI => return Ok(self.end_of_interrupt()),
            Register::TPR => self.set_tpr(value as u8),
            Register::SELF_IPI => self.self_ipi(value as u8),
            _ => {
                self.write(register, value as u32, now);
            }
        }
        Ok(None)
    }

    /// A register that reads the same in both modes. Unknown ones are 0.
    #[inline(never)]
    fn read(&mut self, register: Register, now: Nanos) -> u32 {
        match register {
            Register::PPR => self.priority().into(),
            // What waits in the mailbox has been requested, too.
            Register(n @ 0x20..=0x27) => {
                self.page().get(register) | self.fabric.posted(self.vcpu, n - Register::IRR.0)
            }
            Register::CURRENT_COUNT => self.timer.current(now),
            Register::APR | Register::EOI | Register::RRD => 0,
            _ if register.is_there() => self.page().get(register),
            _ => {
                self.raise_error(esr::ILLEGAL_REGISTER);
                0
            }
        }
    }

    /// A register that is written the same in both modes. Whether there is one.
    #[inline(never)]
    fn write(&mut self, register: Register, value: u32, now: Nanos) -> bool {
        match register {
            Register::SVR => {
                let page = self.page();
                page.set(Register::SVR, value & svr::WRITABLE);
                if value & svr::ENABLED == 0 {
                    // SDM vol. 3A, 11.4.7.2: all entries are masked while the APIC is software-disabled.
                    for entry in (0..lvt::COUNT).map(Register::lvt) {
                        page.set(entry, page.get(entry) | lvt::MASKED);
                    }
                    self.set_timer_entry(now);
                }
                self.update_mode();
            }
            Register::ESR => {
                self.page().set(Register::ESR, self.errors);
                self.errors = 0;
            }
            Register(n @ 0x32..=0x37) => {
                let index = usize::from(n - Register::LVT.0);
                let mut entry = value & lvt::WRITABLE[index];
                if self.svr() & svr::ENABLED == 0 {
                    entry |= lvt::MASKED;
                }
                self.page().set(register, entry);
                match index {
                    lvt::TIMER => self.set_timer_entry(now),
                    lvt::LINT0 => self.update_mode(),
                    _ => {}
                }
            }
            Register::INITIAL_COUNT => {
                self.timer.set_initial(value, now);
                self.show_timer();
            }
            Register::DIVIDE => {
                self.timer.set_divide(value, now);
                self.show_timer();
            }
            _ => return false,
        }
        true
    }

    /// The timer's entry in the local vector table was written.
    fn set_timer_entry(&mut self, now: Nanos) {
        self.timer.set_lvt(self.lvt(lvt::TIMER), now);
        self.show_timer();
    }

    /// The timer decides what becomes of what is written to its registers.
    fn show_timer(&self) {
        let page = self.page();
        page.set(Register::INITIAL_COUNT, self.timer.initial());
        page.set(Register::DIVIDE, self.timer.divide());
    }
}
