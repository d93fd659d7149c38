//! A back end that plays a script of exits over plain registers, and the host CPU that it runs on.
use super::rig::{POWER_ON, TSC_HZ};
use crate::backend::{Backend, HardwareMsr, InitialState};
use crate::cpu::plain::PlainRegisters;
use crate::cpu::{Cr0, Cr4, Efer, Gpr, Registers, Rflags, Segment, SegmentRegister, Vector};
use crate::exit::{Event, Exit};
use crate::memory::CodeWalk;
use crate::platform::apic::{ApicMode, Requests};
use crate::time::{Nanos, SECOND};
use crate::vcpu::Host;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a vCPU looked like when it was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub injected: Option<Event>,
    pub rip: u64,
    pub interrupt_window: bool,
    pub nmi_window: bool,
    pub held: Option<Vector>,
}

type Step = Box<dyn FnOnce(&mut Fake) -> Exit + Send>;

/// The back end.
pub struct Fake {
    pub registers: PlainRegisters,
    pub next_rip: Option<u64>,
    pub interrupted: Option<Event>,
    pub shadow: bool,
    pub nmi_masked: bool,
    /// It delivers what is requested in the local APIC's page; what it was told of that, of the mode, of the priority.
    pub delivers: bool,
    /// It can hold an interrupt until the guest opens; which one it holds in this entry, and whether it was taken.
    pub holds: bool,
    pub held: Option<Vector>,
    pub took: bool,
    pub requests: Vec<Requests>,
    pub mode: ApicMode,
    pub priority: u8,
    pub cr2: u64,
    pub dr6: u64,
    pub tsc_offset: u64,
    pub flushes: u32,
    /// Prediction barriers of the guest.
    pub barriers: u32,
    pub entries: Vec<Entry>,
    /// VMs named by [`Backend::arrive`].
    pub arrivals: Vec<u64>,
    script: VecDeque<Step>,
    injected: Option<Event>,
    interrupt_window: bool,
    nmi_window: bool,
    cr8: u8,
    msrs: HashMap<u8, u64>,
    /// Shared with the host: interrupts are closed; the host wants its CPU.
    pub closed: Arc<AtomicBool>,
    attention: Arc<AtomicBool>,
}

impl Fake {
    pub fn new(host: &TestHost) -> Self {
        Self {
            registers: PlainRegisters::real_mode(),
            next_rip: None,
            interrupted: None,
            shadow: false,
            nmi_masked: false,
            delivers: false,
            holds: false,
            held: None,
            took: false,
            requests: Vec::new(),
            mode: ApicMode::Disabled,
            priority: 0,
            cr2: 0,
            dr6: 0,
            tsc_offset: 0,
            flushes: 0,
            barriers: 0,
            entries: Vec::new(),
            arrivals: Vec::new(),
            script: VecDeque::new(),
            injected: None,
            interrupt_window: false,
            nmi_window: false,
            cr8: 0,
            msrs: HashMap::new(),
            closed: host.closed.clone(),
            attention: host.attention.clone(),
        }
    }

    pub fn then(&mut self, step: impl FnOnce(&mut Fake) -> Exit + Send + 'static) {
        self.script.push_back(Box::new(step));
    }
}

impl Registers for Fake {
    fn gpr(&self, register: Gpr) -> u64 {
        self.registers.gpr(register)
    }
    fn set_gpr(&mut self, register: Gpr, value: u64) {
        self.registers.set_gpr(register, value);
    }
    fn rip(&self) -> u64 {
        self.registers.rip()
    }
    fn set_rip(&mut self, rip: u64) {
        self.registers.set_rip(rip);
    }
    fn rflags(&self) -> Rflags {
        self.registers.rflags()
    }
    fn set_rflags(&mut self, flags: Rflags) {
        self.registers.set_rflags(flags);
    }
    fn segment(&self, register: SegmentRegister) -> Segment {
        self.registers.segment(register)
    }
    fn cr0(&self) -> Cr0 {
        self.registers.cr0()
    }
    fn cr3(&self) -> u64 {
        self.registers.cr3()
    }
    fn cr4(&self) -> Cr4 {
        self.registers.cr4()
    }
    fn efer(&self) -> Efer {
        self.registers.efer()
    }
    fn cpl(&self) -> u8 {
        self.registers.cpl()
    }
    fn xmm(&self, register: u8) -> u128 {
        self.registers.xmm(register)
    }
    fn set_xmm(&mut self, register: u8, value: u128) {
        self.registers.set_xmm(register, value);
    }
    fn code_walk(&self) -> Option<&CodeWalk> {
        self.registers.code_walk()
    }
}

impl Backend for Fake {
    type Cpu = ();

    /// Plays the next step; after the last one the host wants its CPU.
    fn enter(&mut self, _cpu: &mut ()) -> Exit {
        assert!(self.closed.swap(false, Ordering::SeqCst), "entered with host interrupts open");
        let injected = self.injected.take();
        self.entries.push(Entry {
            injected,
            rip: self.registers.rip,
            interrupt_window: self.interrupt_window,
            nmi_window: self.nmi_window,
            held: self.held,
        });
        self.nmi_window = false;
        match injected {
            Some(Event::Interrupt(_)) => self.registers.rflags -= Rflags::IF,
            Some(Event::Nmi) => {
                self.nmi_masked = true;
                self.registers.rflags -= Rflags::IF;
            }
            Some(Event::Exception(_)) | None => {}
        }
        assert!(injected.is_none() || self.held.is_none(), "one event an entry");
        let exit = match self.script.pop_front() {
            Some(step) => step(self),
            None => {
                self.attention.store(true, Ordering::SeqCst);
                Exit::HostInterrupt
            }
        };
        self.held = None;
        exit
    }

    fn next_rip(&self) -> Option<u64> {
        self.next_rip
    }
    fn advance(&mut self, next_rip: u64) {
        self.registers.rip = next_rip;
        self.shadow = false;
    }
    fn inject(&mut self, event: Event) {
        assert_eq!(self.injected, None, "one event an entry");
        if let Event::Exception(exception) = event
            && let Some(address) = exception.fault_address
        {
            self.cr2 = address;
        }
        self.injected = Some(event);
    }
    fn interrupted_event(&mut self) -> Option<Event> {
        self.interrupted.take()
    }
    fn interrupts_open(&self) -> bool {
        self.registers.rflags.contains(Rflags::IF) && !self.shadow
    }
    fn nmi_open(&self) -> bool {
        !self.nmi_masked && !self.shadow
    }
    fn want_interrupt_window(&mut self, wanted: bool) {
        self.interrupt_window = wanted;
    }
    fn deliver_when_open(&mut self, vector: Vector) -> bool {
        self.held = self.holds.then_some(vector);
        self.holds
    }
    fn took_interrupt(&mut self) -> bool {
        std::mem::take(&mut self.took)
    }
    fn want_nmi_window(&mut self) {
        self.nmi_window = true;
    }
    fn set_cr0(&mut self, value: Cr0) {
        self.registers.cr0 = value;
    }
    fn set_cr2(&mut self, value: u64) {
        self.cr2 = value;
    }
    fn set_dr6_single_step(&mut self) {
        self.dr6 |= 1 << 14;
    }
    fn set_cr3(&mut self, value: u64) {
        self.registers.cr3 = value;
    }
    fn set_cr4(&mut self, value: Cr4) {
        self.registers.cr4 = value;
    }
    fn set_efer(&mut self, value: Efer) {
        self.registers.efer = value;
    }
    fn set_segment(&mut self, register: SegmentRegister, value: Segment) {
        self.registers.segments[register as usize] = value;
    }
    fn delivers_interrupts(&self) -> bool {
        self.delivers
    }
    fn set_requests(&mut self, requests: &Requests) {
        self.requests.push(*requests);
    }
    fn set_apic_mode(&mut self, mode: ApicMode) {
        self.mode = mode;
    }
    fn want_priority_below(&mut self, class: u8) {
        self.priority = class;
    }
    fn cr8(&self) -> u8 {
        self.cr8
    }
    fn set_cr8(&mut self, value: u8) {
        self.cr8 = value;
    }
    fn msr(&self, msr: HardwareMsr) -> u64 {
        self.msrs.get(&(msr as u8)).copied().unwrap_or(0)
    }
    fn set_msr(&mut self, msr: HardwareMsr, value: u64) {
        self.msrs.insert(msr as u8, value);
    }
    fn forget_predictions(&mut self) {
        self.barriers += 1;
    }
    fn arrive(&mut self, _cpu: &mut (), vm: u64) {
        self.arrivals.push(vm);
    }
    fn set_tsc_offset(&mut self, offset: u64) {
        self.tsc_offset = offset;
    }
    fn reset(&mut self, state: &InitialState) {
        let r = &mut self.registers;
        (r.gprs, r.rip, r.segments) = (state.gprs, state.rip, state.segments);
        r.rflags = Rflags::from_bits_retain(state.rflags);
        (r.cr0, r.cr3, r.cr4, r.efer, r.cpl) = (state.cr0, state.cr3, state.cr4, state.efer, 0);
        self.injected = None;
        self.interrupt_window = false;
        self.shadow = false;
        self.nmi_masked = false;
    }
    fn flush_translations(&mut self) {
        self.flushes += 1;
    }
    fn diagnose(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the diagnosis")
    }
}

/// The host CPU of one vCPU.
pub struct TestHost {
    pub now: Cell<Nanos>,
    pub timers: RefCell<Vec<Option<Nanos>>>,
    pub attention: Arc<AtomicBool>,
    pub closed: Arc<AtomicBool>,
    /// Looks at [`Host::attention`] in this run, which must end.
    pub looks: Cell<u32>,
    /// Looks after which it wants its CPU, whatever else.
    patience: Cell<Option<u32>>,
    /// What others do the next time that interrupts are closed, right before.
    pub meanwhile: RefCell<Option<Box<dyn FnOnce() + Send>>>,
}

/// More turns of the loop in one run than any script has steps.
const TOO_MANY: u32 = 10_000;

impl TestHost {
    pub fn new() -> Self {
        Self {
            now: Cell::new(1_000),
            timers: RefCell::default(),
            attention: Arc::default(),
            closed: Arc::default(),
            looks: Cell::new(0),
            patience: Cell::new(None),
            meanwhile: RefCell::default(),
        }
    }
}

impl TestHost {
    /// Wants the CPU when it is asked for the time after `looks`.
    pub fn attention_after(&self, looks: u32) {
        self.looks.set(0);
        self.patience.set(Some(looks));
    }
}

impl Host for TestHost {
    fn now(&self) -> Nanos {
        self.now.get()
    }
    fn tsc(&self) -> u64 {
        POWER_ON + self.now.get() * (TSC_HZ / SECOND)
    }
    fn disable_interrupts(&self) {
        if let Some(others) = self.meanwhile.take() {
            others();
        }
        self.closed.store(true, Ordering::SeqCst);
    }
    fn enable_interrupts(&self) {
        self.closed.store(false, Ordering::SeqCst);
    }
    fn attention(&self) -> bool {
        self.looks.set(self.looks.get() + 1);
        assert!(self.looks.get() < TOO_MANY, "the vCPU does not give its CPU back");
        let impatient = self.patience.get().is_some_and(|looks| self.looks.get() > looks);
        impatient || self.attention.load(Ordering::SeqCst)
    }
    fn set_vcpu_timer(&self, deadline: Option<Nanos>) {
        assert!(self.closed.load(Ordering::SeqCst), "a timer set with interrupts open");
        self.timers.borrow_mut().push(deadline);
    }
}
