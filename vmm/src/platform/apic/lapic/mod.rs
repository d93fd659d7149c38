//! The local APIC of one vCPU (SDM vol. 3A, chapter 11; APM vol. 2, chapter 16).
//!
//! Its vCPU owns it: no lock, no atomic. What others send arrives in the vCPU's mailbox of the
//! [`ApicFabric`] and comes over in [`LocalApic::pull`].
//!
//! Before each entry the vCPU calls `pull`, `expire` with the time, and looks at `deliverable`, each
//! of which is a compare when there is nothing to do.
//!
//! The registers are in a [`super::RegisterPage`]. Hardware that knows how works on it while the guest runs: it may
//! only read and write the TPR, or all that it can answer, or also deliver what is requested and end it
//! ([`LocalApic::delivered_by_hardware`]). In the last case nothing is `deliverable` here, and what was requested
//! by others than the guest is handed over before the entry ([`LocalApic::hand_over`]).
//!
//! - this file: the state, what the vCPU's loop asks;
//! - `service`: requested and in service, priorities, the end of an interrupt;
//! - `access`: the registers, as memory and as MSRs;
//! - `mode`: IA32_APIC_BASE and the other MSRs of its own;
//! - `send`: the interrupt command register, and errors.
mod access;
mod mode;
mod send;
mod service;

use super::fabric::{ApicFabric, Facts, event};
use super::message::DeliveryMode;
use super::page::RegisterPage;
use super::registers::{Register, VERSION, base, esr, lvt, svr};
use super::timer::{NEVER, Timer};
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

/// How the guest reaches its local APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApicMode {
    /// Not at all.
    Disabled,
    /// By a page of memory.
    XApic {
        /// Where it is.
        page: Gpa,
    },
    /// By MSRs.
    X2Apic,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Disabled,
    XApic,
    X2Apic,
}

/// What hardware that delivers interrupts must be told when others than the guest changed the registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requests {
    /// The highest vector of the IRR, 0 for none.
    pub requested: u8,
    /// The highest vector of the ISR, 0 for none.
    pub in_service: u8,
    /// The TMR, 64 vectors a word, if it changed: the vectors of which the end must be told.
    pub level: Option<[u64; 4]>,
}

/// No page: the registers are not in memory.
const NO_PAGE: u64 = u64::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Untold {
    Nothing,
    Service,
    Level,
}

/// A local APIC.
pub struct LocalApic {
    fabric: Arc<ApicFabric>,
    vcpu: usize,
    id: u32,
    mode: Mode,
    /// Address of the register page in xAPIC mode, else [`NO_PAGE`].
    claimed: u64,
    /// IA32_APIC_BASE.
    base: u64,
    /// Bits of IA32_APIC_BASE that the guest may set.
    base_mask: u64,
    /// The hardware delivers what is requested.
    hardware: bool,
    /// Highest of the IRR, 0 for none. Always 0 where the hardware delivers.
    requested: u8,
    /// Highest of the ISR, 0 for none. Not kept where the hardware delivers.
    in_service: u8,
    /// What the hardware is to be told: nothing, of IRR and ISR, of the TMR too.
    untold: Untold,
    /// Errors since ESR was last written.
    errors: u32,
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
            claimed: NO_PAGE,
            base: 0,
            base_mask: address_mask | base::ENABLED | base::X2APIC | base::BSP,
            hardware: false,
            requested: 0,
            in_service: 0,
            untold: Untold::Nothing,
            errors: 0,
            timer: Timer::new(),
            ext_int_message: false,
            ext_int: false,
            waiting_for_sipi: false,
        };
        apic.power_on();
        apic
    }

    /// One whose interrupts the hardware delivers, if it does.
    pub fn delivered_by_hardware(mut self, hardware: bool) -> Self {
        self.hardware = hardware;
        self.reset_registers();
        self
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
        self.requested = 0;
        self.in_service = 0;
        self.untold = if self.hardware { Untold::Level } else { Untold::Nothing };
        self.errors = 0;
        let page = self.page();
        page.clear();
        page.set(Register::VERSION, VERSION);
        page.set(Register::DFR, u32::MAX);
        page.set(Register::SVR, svr::RESET);
        for entry in 0..lvt::COUNT {
            page.set(Register::lvt(entry), lvt::MASKED);
        }
        if self.vcpu == 0 {
            // Firmware leaves virtual wire mode behind: the 8259 interrupts the bootstrap processor.
            // There is none here that would set it up, so it is the reset state, as in KVM.
            page.set(Register::lvt(lvt::LINT0), lvt::EXT_INT);
        }
        self.timer = Timer::new();
        self.ext_int_message = false;
        self.update_mode();
    }

    /// Publishes mode and logical destination, after any change of them.
    #[cold]
    fn update_mode(&mut self) {
        self.claimed = match self.mode() {
            ApicMode::XApic { page } => page.get(),
            ApicMode::Disabled | ApicMode::X2Apic => NO_PAGE,
        };
        let mut facts = 0;
        if self.mode != Mode::Disabled {
            facts |= Facts::HARDWARE_ENABLED;
        }
        self.show_id();
        let page = self.page();
        if self.mode == Mode::X2Apic {
            facts |= Facts::X2APIC;
            page.set(Register::LDR, self.id >> 4 << 16 | 1 << (self.id & 0xf));
        }
        if page.get(Register::SVR) & svr::ENABLED != 0 {
            facts |= Facts::SOFTWARE_ENABLED;
        }
        if page.get(Register::DFR) >> 28 == 0xf {
            facts |= Facts::FLAT;
        }
        if self.lint0_listens() {
            facts |= Facts::LINT0;
        }
        self.fabric.publish(self.vcpu, Facts(facts | u64::from(page.get(Register::LDR)) << 32));
        // After publishing: a rise of the 8259's output is either told to us or seen here.
        self.ext_int = self.lint0_is_ext_int() && self.fabric.pic_output();
    }

    /// The ID has another place in each mode.
    fn show_id(&self) {
        let id = if self.mode == Mode::X2Apic { self.id } else { self.id << 24 };
        self.page().set(Register::ID, id);
    }

    /// The registers.
    #[inline(always)]
    fn page(&self) -> &RegisterPage {
        self.fabric.registers(self.vcpu)
    }

    /// An entry of the local vector table.
    #[inline]
    fn lvt(&self, entry: usize) -> u32 {
        self.page().get(Register::lvt(entry))
    }

    fn svr(&self) -> u32 {
        self.page().get(Register::SVR)
    }

    fn is_bsp(&self) -> bool {
        self.base & base::BSP != 0
    }

    fn lint0_listens(&self) -> bool {
        match self.mode {
            Mode::Disabled => self.is_bsp(),
            Mode::XApic | Mode::X2Apic => self.lvt(lvt::LINT0) & lvt::MASKED == 0,
        }
    }

    /// Whether the 8259 interrupts this vCPU: through LINT0 as ExtINT, or with the APIC off, directly.
    fn lint0_is_ext_int(&self) -> bool {
        self.lint0_listens()
            && (self.mode == Mode::Disabled || self.lvt(lvt::LINT0) & lvt::EXT_INT == lvt::EXT_INT)
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
        } else if mail.events & (event::POSTED | event::LEVEL) != 0 && self.mode != Mode::Disabled {
            self.take_vectors(&mail);
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
                let entry = self.lvt(lvt::LINT0);
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
        let next = self.next_timer();
        (next != NEVER).then_some(next)
    }

    /// As [`Self::deadline`]; [`Nanos::MAX`] for never.
    #[inline]
    pub fn next_timer(&self) -> Nanos {
        self.timer.next()
    }

    /// Raises the timer's interrupt if it is due. Whether it was.
    #[inline]
    pub fn expire(&mut self, now: Nanos) -> bool {
        if !self.timer.expire(now) {
            return false;
        }
        self.accept(self.lvt(lvt::TIMER) as u8, false);
        true
    }

    /// APIC ID.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Whether `gpa` is in the page of the registers.
    #[inline]
    pub fn claims(&self, gpa: Gpa) -> bool {
        gpa.get() & !(PAGE - 1) == self.claimed
    }
}

#[cfg(test)]
mod tests;
