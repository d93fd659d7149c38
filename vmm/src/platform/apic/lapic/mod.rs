//! The local APIC of one vCPU (SDM vol. 3A, chapter 11; APM vol. 2, chapter 16).
//!
//! Its vCPU owns it: no lock, no atomic. What others send arrives in the vCPU's mailbox of the
//! [`ApicFabric`] and comes over in [`LocalApic::pull`].
//!
//! Before each entry the vCPU calls `pull`, `expire` with the time, and looks at `deliverable`, each
//! of which is a compare when there is nothing to do.
//!
//! - this file: the state, what the vCPU's loop asks, priorities;
//! - `access`: the registers, as memory and as MSRs;
//! - `mode`: IA32_APIC_BASE and the other MSRs of its own;
//! - `send`: the interrupt command register, and errors.
mod access;
mod mode;
mod send;

use super::fabric::{ApicFabric, Facts, event};
use super::message::DeliveryMode;
use super::registers::{base, esr, lvt, svr};
use super::timer::{NEVER, Timer};
use super::vectors::VectorSet;
use crate::platform::map::LOCAL_APIC_BASE;
use crate::time::Nanos;
use alloc::sync::Arc;
use core::fmt;
use mm::addr::{Gpa, PAGE};

/// The access raises #GP with error code 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeneralProtection;

impl fmt::Display for GeneralProtection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the MSR access is not allowed in this state and raises #GP in the guest")
    }
}

/// What `pull` found besides interrupt vectors; the vCPU acts on it in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    /// Reset the vCPU's registers as INIT does. The local APIC has been reset already. The bootstrap
    /// processor then starts at the reset vector, any other waits for a start-up.
    pub init: bool,
    /// Start at `page * 0x1000` in real mode. Only told when the vCPU waited for it.
    pub start_up: Option<u8>,
    /// Deliver a non-maskable interrupt.
    pub nmi: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Disabled,
    XApic,
    X2Apic,
}

/// No page: the registers are not in memory.
const NO_PAGE: u64 = u64::MAX;

/// A local APIC.
pub struct LocalApic {
    fabric: Arc<ApicFabric>,
    vcpu: usize,
    id: u32,
    mode: Mode,
    /// Address of the register page in xAPIC mode, else [`NO_PAGE`].
    page: u64,
    /// IA32_APIC_BASE.
    base: u64,
    /// Bits of IA32_APIC_BASE that the guest may set.
    base_mask: u64,
    tpr: u8,
    ppr: u8,
    /// Highest of `irr`, 0 for none.
    requested: u8,
    /// Highest of `isr`, 0 for none.
    in_service: u8,
    irr: VectorSet,
    isr: VectorSet,
    tmr: VectorSet,
    ldr: u32,
    dfr: u32,
    svr: u32,
    esr: u32,
    /// Errors since ESR was last written.
    errors: u32,
    icr: u64,
    lvt: [u32; 6],
    timer: Timer,
    /// An ExtINT message arrived.
    ext_int_message: bool,
    /// The 8259's output was seen high while LINT0 listened.
    ext_int: bool,
    waiting_for_sipi: bool,
}

impl LocalApic {
    /// The local APIC of vCPU `vcpu`, in its power-on state. vCPU 0 is the bootstrap processor.
    /// `physical_bits` is the width of guest-physical addresses that CPUID tells.
    pub fn new(fabric: Arc<ApicFabric>, vcpu: usize, physical_bits: u8) -> Self {
        let address_mask = ((1u64 << physical_bits.clamp(32, 52)) - 1) & !(PAGE - 1);
        let mut apic = Self {
            fabric,
            vcpu,
            id: vcpu as u32,
            mode: Mode::XApic,
            page: NO_PAGE,
            base: 0,
            base_mask: address_mask | base::ENABLED | base::X2APIC | base::BSP,
            tpr: 0,
            ppr: 0,
            requested: 0,
            in_service: 0,
            irr: VectorSet::default(),
            isr: VectorSet::default(),
            tmr: VectorSet::default(),
            ldr: 0,
            dfr: u32::MAX,
            svr: svr::RESET,
            esr: 0,
            errors: 0,
            icr: 0,
            lvt: [lvt::MASKED; 6],
            timer: Timer::new(),
            ext_int_message: false,
            ext_int: false,
            waiting_for_sipi: false,
        };
        apic.power_on();
        apic
    }

    /// Back to the power-on state, for a reset of the whole machine.
    pub fn power_on(&mut self) {
        self.base = LOCAL_APIC_BASE | base::ENABLED | if self.vcpu == 0 { base::BSP } else { 0 };
        self.mode = Mode::XApic;
        self.waiting_for_sipi = self.vcpu != 0;
        self.fabric.take(self.vcpu);
        self.reset_registers();
    }

    /// What INIT and a disabled APIC do to the registers (SDM vol. 3A, 11.4.7.1).
    fn reset_registers(&mut self) {
        self.tpr = 0;
        self.requested = 0;
        self.in_service = 0;
        self.irr = VectorSet::default();
        self.isr = VectorSet::default();
        self.tmr = VectorSet::default();
        self.ldr = 0;
        self.dfr = u32::MAX;
        self.svr = svr::RESET;
        self.esr = 0;
        self.errors = 0;
        self.icr = 0;
        self.lvt = [lvt::MASKED; 6];
        if self.vcpu == 0 {
            // Firmware leaves virtual wire mode behind: the 8259 interrupts the bootstrap processor.
            // There is none here that would set it up, so it is the reset state, as in KVM.
            self.lvt[lvt::LINT0] = lvt::EXT_INT;
        }
        self.timer = Timer::new();
        self.ext_int_message = false;
        self.update_priority();
        self.update_mode();
    }

    /// Publishes mode and logical destination, after any change of them.
    #[cold]
    fn update_mode(&mut self) {
        self.page = if self.mode == Mode::XApic { self.base & !(PAGE - 1) & self.base_mask } else { NO_PAGE };
        let mut facts = 0;
        if self.mode != Mode::Disabled {
            facts |= Facts::HARDWARE_ENABLED;
        }
        let ldr = if self.mode == Mode::X2Apic {
            facts |= Facts::X2APIC;
            self.x2apic_ldr()
        } else {
            self.ldr
        };
        if self.svr & svr::ENABLED != 0 {
            facts |= Facts::SOFTWARE_ENABLED;
        }
        if self.dfr >> 28 == 0xf {
            facts |= Facts::FLAT;
        }
        if self.lint0_listens() {
            facts |= Facts::LINT0;
        }
        self.fabric.publish(self.vcpu, Facts(facts | u64::from(ldr) << 32));
        self.fabric.publish_priority(self.vcpu, self.tpr);
        // After publishing: a rise of the 8259's output is either told to us or seen here.
        self.ext_int = self.lint0_is_ext_int() && self.fabric.pic_output();
    }

    fn x2apic_ldr(&self) -> u32 {
        self.id >> 4 << 16 | 1 << (self.id & 0xf)
    }

    fn is_bsp(&self) -> bool {
        self.base & base::BSP != 0
    }

    fn lint0_listens(&self) -> bool {
        match self.mode {
            Mode::Disabled => self.is_bsp(),
            Mode::XApic | Mode::X2Apic => self.lvt[lvt::LINT0] & lvt::MASKED == 0,
        }
    }

    /// Whether the 8259 interrupts this vCPU: through LINT0 as ExtINT, or with the APIC off, directly.
    fn lint0_is_ext_int(&self) -> bool {
        self.lint0_listens()
            && (self.mode == Mode::Disabled || self.lvt[lvt::LINT0] & lvt::EXT_INT == lvt::EXT_INT)
    }

    /// Takes what others sent. Call before each entry; costs one load when there is nothing.
    #[inline]
    pub fn pull(&mut self) -> Signals {
        if !self.fabric.outstanding(self.vcpu) {
            return Signals::default();
        }
        self.pull_mail()
    }

    #[inline(never)]
    fn pull_mail(&mut self) -> Signals {
        let mail = self.fabric.take(self.vcpu);
        let mut signals = Signals::default();
        if mail.events & event::INIT != 0 {
            signals.init = true;
            self.reset_registers();
            self.waiting_for_sipi = !self.is_bsp();
        } else if mail.events & event::VECTORS != 0 && self.mode != Mode::Disabled {
            for word in 0..4 {
                let bits = mail.vectors[word];
                if bits != 0 {
                    self.irr.merge(word, bits);
                    self.tmr.replace(word, bits, mail.level[word]);
                }
            }
            self.requested = self.irr.highest();
        }
        if mail.events & event::SIPI != 0 && self.waiting_for_sipi {
            self.waiting_for_sipi = false;
            signals.start_up = Some((mail.events >> event::SIPI_VECTOR_SHIFT) as u8);
        }
        if mail.events & event::NMI != 0 && !self.waiting_for_sipi {
            signals.nmi = true;
        }
        if mail.events & event::EXT_INT != 0 {
            self.ext_int_message = true;
        }
        if mail.events & event::ILLEGAL_VECTOR != 0 {
            self.raise_error(esr::RECEIVE_ILLEGAL_VECTOR);
        }
        if mail.events & event::LINT0 != 0 && self.lint0_listens() {
            if self.lint0_is_ext_int() {
                self.ext_int = true;
            } else {
                let entry = self.lvt[lvt::LINT0];
                match DeliveryMode::from_bits(entry >> 8) {
                    DeliveryMode::Fixed => {
                        self.accept(entry as u8, entry & lvt::LEVEL != 0);
                    }
                    DeliveryMode::Nmi => signals.nmi |= !self.waiting_for_sipi,
                    DeliveryMode::ExtInt
                    | DeliveryMode::LowestPriority
                    | DeliveryMode::Smi
                    | DeliveryMode::Reserved
                    | DeliveryMode::Init
                    | DeliveryMode::StartUp => {}
                }
            }
        }
        signals
    }

    /// Whether the vCPU waits for a start-up and must not run.
    #[inline]
    pub fn waiting_for_sipi(&self) -> bool {
        self.waiting_for_sipi
    }

    /// The interrupt to be delivered now, if its priority is above what the vCPU does.
    #[inline]
    pub fn deliverable(&self) -> Option<u8> {
        if self.requested >> 4 > self.ppr >> 4 { Some(self.requested) } else { None }
    }

    /// The vCPU takes `vector`, which `deliverable` named: from IRR to ISR.
    #[inline]
    pub fn acknowledge(&mut self, vector: u8) {
        self.irr.remove(vector);
        self.requested = self.irr.highest();
        self.isr.insert(vector);
        self.in_service = self.in_service.max(vector);
        self.update_priority();
    }

    /// Whether the 8259 has an interrupt for this vCPU. It is delivered before those of the local APIC.
    #[inline]
    pub fn ext_int(&self) -> bool {
        (self.ext_int && self.fabric.pic_output()) || self.ext_int_message
    }

    /// The vCPU takes the 8259's interrupt. Then ask the 8259 for the vector: its output, if it stays
    /// high, is told anew.
    pub fn acknowledge_ext_int(&mut self) {
        self.ext_int = false;
        self.ext_int_message = false;
    }

    /// When `expire` has something to do.
    #[inline]
    pub fn deadline(&self) -> Option<Nanos> {
        match self.timer.next() {
            NEVER => None,
            at => Some(at),
        }
    }

    /// Raises the timer's interrupt if it is due. Whether it was.
    #[inline]
    pub fn expire(&mut self, now: Nanos) -> bool {
        if !self.timer.expire(now) {
            return false;
        }
        self.accept(self.lvt[lvt::TIMER] as u8, false);
        true
    }

    /// CR8: the upper half of the TPR.
    #[inline]
    pub fn cr8(&self) -> u8 {
        self.tpr >> 4
    }

    /// The vCPU wrote CR8; bits above 3 are the caller's to refuse.
    #[inline]
    pub fn set_cr8(&mut self, value: u8) {
        self.set_tpr(value << 4);
    }

    /// Processor priority.
    pub fn priority(&self) -> u8 {
        self.ppr
    }

    /// APIC ID.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Whether `gpa` is in the page of the registers.
    #[inline]
    pub fn claims(&self, gpa: Gpa) -> bool {
        gpa.get() & !(PAGE - 1) == self.page
    }

    #[inline]
    fn set_tpr(&mut self, value: u8) {
        self.tpr = value;
        self.fabric.publish_priority(self.vcpu, value);
        self.update_priority();
    }

    /// PPR from TPR and ISR (SDM vol. 3A, 11.8.3.1).
    #[inline]
    fn update_priority(&mut self) {
        self.ppr = if self.tpr >> 4 >= self.in_service >> 4 { self.tpr } else { self.in_service & 0xf0 };
    }

    #[inline]
    fn end_of_interrupt(&mut self) -> Option<u8> {
        let vector = self.in_service;
        if vector == 0 {
            return None;
        }
        self.isr.remove(vector);
        self.in_service = self.isr.highest();
        self.update_priority();
        (self.tmr.contains(vector) && self.svr & svr::SUPPRESS_EOI_BROADCAST == 0).then_some(vector)
    }

    /// An interrupt of this local APIC itself.
    #[inline]
    fn accept(&mut self, vector: u8, level: bool) {
        if vector < 16 {
            self.raise_error(esr::RECEIVE_ILLEGAL_VECTOR);
            return;
        }
        self.irr.insert(vector);
        if level {
            self.tmr.insert(vector)
        } else {
            self.tmr.remove(vector)
        }
        self.requested = self.requested.max(vector);
    }
}

#[cfg(test)]
mod tests;
