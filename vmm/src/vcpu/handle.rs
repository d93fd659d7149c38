//! The one match over why a vCPU left the guest.
use super::bus::VcpuBus;
use super::{Host, Leave, Vcpu};
use crate::backend::Backend;
use crate::cpu::{Exception, Gpr, Rflags, Vector};
use crate::emulate::length::{Miss, Named, instruction_length};
use crate::emulate::{self, Outcome};
use crate::exit::{Direction, Event, Exit, MemoryFault, PortAccess};
use crate::memory::NoMemory;
use crate::platform::BoardEvent;
use crate::platform::apic::{DeliveryMode, InterruptMessage};
use crate::policy::cpuid::LiveState;
use crate::policy::hypercall::{self, Hypercall};
use crate::time::Nanos;
use crate::vm::{Crash, End};
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;
use mm::addr::Gpa;

impl<B: Backend> Vcpu<B> {
    /// Carries out what the guest left for. `Some` where the vCPU gives its CPU back.
    #[inline]
    pub(super) fn handle(&mut self, exit: &Exit, host: &impl Host) -> Option<Leave> {
        match *exit {
            // The interrupt has been taken by now; what it wants is in `Host::attention`.
            Exit::HostInterrupt | Exit::HostNmi | Exit::InterruptWindow | Exit::NmiWindow => None,
            Exit::Cpuid => self.after(Named::Cpuid, Self::cpuid),
            Exit::ReadMsr => self.read_msr(host),
            Exit::WriteMsr => self.write_msr(host),
            Exit::Port(ref access) => self.port(access, host),
            Exit::Memory(ref fault) => self.memory(fault, host),
            Exit::ApicWrite(offset) => {
                let ended = self.apic.written(offset, host.now());
                self.end_of_interrupt(ended)
            }
            Exit::EndOfInterrupt(vector) => self.end_of_interrupt(self.apic.ended(vector)),
            Exit::Halt => self.halt(host),
            Exit::Pause => {
                let leave = self.after(Named::Pause, |_| ());
                leave.or(Some(Leave::Yield))
            }
            Exit::Hypercall => self.after(Named::Hypercall, Self::hypercall),
            Exit::WriteCr { cr, source } => self.write_cr(cr, source),
            Exit::Xsetbv => self.xsetbv(),
            Exit::CacheFlush => self.cache_flush(),
            Exit::Int1 => self.int1(),
            Exit::ReadPmc => self.raise(Exception::gp(0)),
            Exit::Exception(exception) => self.exception(exception),
            Exit::Forbidden(_) => self.raise(Exception::UD),
            // The host's business: an INIT or SMI of the machine is none of the guest's.
            Exit::InitOrSmi => None,
            Exit::TaskSwitch => self.unsupported("a hardware task switch".to_string()),
            Exit::TripleFault => {
                self.end(End::Crash(Crash::TripleFault { vcpu: self.index, rip: self.backend.rip() }))
            }
            Exit::EntryFailed | Exit::Unknown(_) => {
                let diagnosis = Diagnosis(&self.backend).to_string();
                self.end(End::Crash(Crash::EntryFailed { vcpu: self.index, diagnosis }))
            }
        }
    }

    /// The guest has ended an interrupt; the IOAPIC is to see it, if there is a vector.
    fn end_of_interrupt(&self, ended: Option<u8>) -> Option<Leave> {
        if let Some(vector) = ended {
            self.shared.board.end_of_interrupt(vector);
        }
        None
    }

    /// Raises an exception at the current instruction.
    ///
    /// It takes the place of an event whose delivery it interrupted. What is intercepted or raised by us
    /// is benign then, so that no double fault comes of it (SDM vol. 3A, table 6-5): an exception is raised
    /// again by its instruction, an interrupt is lost, as on a CPU.
    pub(super) fn raise(&mut self, exception: Exception) -> Option<Leave> {
        if exception.vector != Vector::DB {
            // A fault pushes RF, so that a breakpoint on its instruction does not strike again behind the
            // handler (SDM vol. 3B, 17.3.1.1). For #DB the hardware has decided.
            let flags = self.backend.rflags();
            self.backend.set_rflags(flags | Rflags::RF);
        }
        self.pending = Some(Event::Exception(exception));
        None
    }

    /// Ends the VM.
    #[cold]
    pub(super) fn end(&self, end: End) -> Option<Leave> {
        Some(Leave::Ended(end))
    }

    /// Ends the VM because its guest wants what the virtual machine does not have.
    #[cold]
    pub(super) fn unsupported(&self, what: String) -> Option<Leave> {
        self.end(End::Crash(Crash::Unsupported { vcpu: self.index, rip: self.backend.rip(), what }))
    }

    /// Where the instruction after the current one is, or what becomes of the vCPU because there is none.
    #[inline]
    pub(super) fn next_rip(&mut self, named: Named) -> Result<u64, Option<Leave>> {
        if let Some(next) = self.backend.next_rip() {
            return Ok(next);
        }
        match instruction_length(&self.backend, &self.shared.memory, named) {
            Ok(length) => Ok(self.rip_after(length)),
            Err(miss) => Err(self.missed(miss)),
        }
    }

    #[inline]
    pub(super) fn rip_after(&self, length: u8) -> u64 {
        let next = self.backend.rip().wrapping_add(u64::from(length));
        if self.backend.in_64_bit_code() { next } else { next & 0xffff_ffff }
    }

    #[cold]
    pub(super) fn missed(&mut self, miss: Miss) -> Option<Leave> {
        match miss {
            Miss::Changed => None,
            Miss::Exception(exception) => self.raise(exception),
            Miss::Unsupported(reason) => self.unsupported(reason.to_string()),
        }
    }

    /// Moves past an emulated instruction, with the trap that single-stepping owes.
    #[inline]
    pub(super) fn advance(&mut self, next_rip: u64) {
        self.backend.advance(next_rip);
        if self.backend.rflags().intersects(Rflags::TF | Rflags::RF) {
            self.end_instruction();
        }
    }

    #[cold]
    fn end_instruction(&mut self) {
        let flags = self.backend.rflags();
        self.backend.set_rflags(flags - Rflags::RF);
        if flags.contains(Rflags::TF) {
            self.single_step();
        }
    }

    fn single_step(&mut self) {
        self.backend.set_dr6_single_step();
        self.pending = Some(Event::Exception(Exception::DB));
    }

    /// Carries out an instruction that can't fail once it is known to be there.
    #[inline]
    fn after(&mut self, named: Named, effect: impl FnOnce(&mut Self)) -> Option<Leave> {
        match self.next_rip(named) {
            Ok(next) => {
                effect(self);
                self.advance(next);
                None
            }
            Err(leave) => leave,
        }
    }

    #[inline]
    fn cpuid(&mut self) {
        let leaf = self.backend.gpr(Gpr::Rax) as u32;
        let subleaf = self.backend.gpr(Gpr::Rcx) as u32;
        let [a, b, c, d] = self.cpuid.get(leaf, subleaf, || LiveState {
            cr4: self.backend.cr4(),
            xcr0: self.extended.xcr0(),
            apic_enabled: self.apic.enabled(),
        });
        self.backend.set_gpr(Gpr::Rax, u64::from(a));
        self.backend.set_gpr(Gpr::Rbx, u64::from(b));
        self.backend.set_gpr(Gpr::Rcx, u64::from(c));
        self.backend.set_gpr(Gpr::Rdx, u64::from(d));
    }

    fn hypercall(&mut self) {
        let long = self.backend.in_64_bit_code();
        let mask = if long { u64::MAX } else { 0xffff_ffff };
        let [rax, rbx, rcx, rdx, rsi] =
            [Gpr::Rax, Gpr::Rbx, Gpr::Rcx, Gpr::Rdx, Gpr::Rsi].map(|r| self.backend.gpr(r) & mask);
        let answer = match hypercall::decode(self.backend.cpl(), rax, rbx, rcx, rdx, rsi) {
            Hypercall::SendIpi { targets, lowest, icr } => self.send_ipis(targets, lowest, icr),
            Hypercall::Refused(answer) => answer,
            // Not shown by this virtual machine.
            Hypercall::KickCpu { .. } | Hypercall::Yield { .. } => hypercall::NO_SUCH_CALL,
        };
        self.backend.set_gpr(Gpr::Rax, answer & mask);
    }

    /// Sends one interrupt to each vCPU named; how many took it.
    fn send_ipis(&mut self, mut targets: u128, lowest: u32, icr: u32) -> u64 {
        let mode = DeliveryMode::from_bits(icr >> 8);
        if !matches!(mode, DeliveryMode::Fixed | DeliveryMode::Nmi) {
            return hypercall::INVALID_ARGUMENT;
        }
        let mut taken = 0;
        while targets != 0 {
            let bit = targets.trailing_zeros();
            targets &= targets - 1;
            let Some(destination) = lowest.checked_add(bit) else { break };
            let message = InterruptMessage { mode, ..InterruptMessage::fixed(destination, icr as u8) };
            // All ones would be everybody.
            if destination != InterruptMessage::BROADCAST && self.shared.fabric.deliver(message) {
                taken += 1;
            }
        }
        taken
    }

    fn exception(&mut self, exception: Exception) -> Option<Leave> {
        if exception.vector == Vector::MC {
            return self.end(End::Crash(Crash::MachineCheck { vcpu: self.index }));
        }
        self.raise(exception)
    }

    /// A trap: RIP is behind the instruction when the handler begins.
    fn int1(&mut self) -> Option<Leave> {
        match self.next_rip(Named::Int1) {
            Ok(next) => {
                self.backend.advance(next);
                self.raise(Exception::DB)
            }
            Err(leave) => leave,
        }
    }

    fn cache_flush(&mut self) -> Option<Leave> {
        // Guest memory is coherent and no device is passed through: there is nothing to flush.
        match instruction_length(&self.backend, &self.shared.memory, Named::Wbinvd) {
            Err(Miss::Changed) => self.after(Named::Invd, |_| ()),
            _ => self.after(Named::Wbinvd, |_| ()),
        }
    }

    #[inline]
    fn port(&mut self, access: &PortAccess, host: &impl Host) -> Option<Leave> {
        let timers = if self.index != 0 { self.shared.board.next_deadline() } else { None };
        if access.string {
            let now = host.now();
            let mut bus = VcpuBus { apic: &mut self.apic, board: &self.shared.board, now, event: None };
            let outcome =
                emulate::emulate_port_string(&mut self.backend, &self.shared.memory, &mut bus, access);
            let event = bus.event;
            if self.index != 0 {
                self.tell_first_vcpu(timers);
            }
            return self.emulated(outcome, event);
        }
        let board = &self.shared.board;
        let mut event = None;
        let rax = self.backend.gpr(Gpr::Rax);
        match access.direction {
            Direction::In => {
                let value = u64::from(board.port_read(access.port, access.size, host.now()));
                // A 32-bit result clears the upper half; smaller ones keep the rest.
                let rax = match access.size {
                    1 => rax & !0xff | value & 0xff,
                    2 => rax & !0xffff | value & 0xffff,
                    _ => value & 0xffff_ffff,
                };
                self.backend.set_gpr(Gpr::Rax, rax);
            }
            Direction::Out => {
                let mask = if access.size >= 4 { u32::MAX } else { (1 << (8 * access.size)) - 1 };
                event = board.port_write(access.port, access.size, rax as u32 & mask, host.now());
            }
        }
        if self.index != 0 {
            self.tell_first_vcpu(timers);
        }
        self.advance(access.next_rip);
        match event {
            None => None,
            Some(BoardEvent::AwaitsOne) => self.asked(host),
            Some(event) => self.board_event(event),
        }
    }

    #[inline(never)]
    fn halt(&mut self, host: &impl Host) -> Option<Leave> {
        if self.answers.awaits() {
            self.answers.halts(host.now());
        }
        self.after(Named::Hlt, |vcpu| vcpu.halted = true)
    }

    /// A disk has been asked for something, and nothing else is under way.
    #[inline(never)]
    fn asked(&mut self, host: &impl Host) -> Option<Leave> {
        self.answers.asks(host.now(), |longest| host.patience(longest));
        self.await_answer(host);
        None
    }

    /// Waits for a disk's answer as long as that may be waited for, or until somebody wants something of this vCPU.
    /// What the CPU is wanted for comes between: the answer itself is noticed by a task, and may need several.
    pub(super) fn await_answer(&mut self, host: &impl Host) {
        let until = self.answers.until();
        // Also an interrupt that the hardware is to deliver.
        let interrupted = self.apic.due().is_some() || self.apic.ext_int();
        while !interrupted && !self.shared.parking() && !self.shared.fabric.outstanding(self.index) {
            if host.attention() {
                return;
            }
            if host.now() >= until {
                break;
            }
            core::hint::spin_loop();
        }
        self.answers.runs_on();
    }

    /// At the beginning of a run: whether the answer is there, or is still to be waited for.
    #[inline(never)]
    pub(super) fn look_for_answer(&mut self, now: Nanos, host: &impl Host) {
        if self.shared.board.in_flight() == 0 {
            self.answers.answered(now);
        } else if self.answers.until() > now {
            self.await_answer(host);
        }
    }

    /// The first vCPU runs the board's timers: it is to look, if the first of them was `before` this
    /// vCPU's access and is another now.
    fn tell_first_vcpu(&self, before: Option<Nanos>) {
        if self.shared.board.next_deadline() != before {
            self.shared.fabric.attention(0);
        }
    }

    #[inline]
    fn memory(&mut self, fault: &MemoryFault, host: &impl Host) -> Option<Leave> {
        if self.shared.memory.is_ram(fault.gpa) {
            return self.restore(fault.gpa);
        }
        if fault.page_walk || fault.fetch || self.pending.is_some() {
            return self.not_by_the_instruction(fault);
        }
        let mut bus =
            VcpuBus { apic: &mut self.apic, board: &self.shared.board, now: host.now(), event: None };
        let outcome = emulate::emulate(&mut self.backend, &self.shared.memory, &mut bus, fault);
        let event = bus.event;
        self.emulated(outcome, event)
    }

    /// RAM that went back to the host is touched: it comes back, and what touched it does so again.
    #[cold]
    #[inline(never)]
    fn restore(&self, gpa: Gpa) -> Option<Leave> {
        match self.shared.memory.restore(gpa) {
            Ok(()) => None,
            Err(NoMemory) => self.end(End::Crash(Crash::OutOfMemory)),
        }
    }

    /// A fault that emulating the instruction at RIP can't answer.
    #[cold]
    fn not_by_the_instruction(&mut self, fault: &MemoryFault) -> Option<Leave> {
        let gpa = fault.gpa;
        if fault.page_walk {
            return self.unsupported(format!("its page tables lie at {gpa} where there is no RAM"));
        }
        if let Some(event) = self.pending {
            return self.unsupported(format!("the delivery of {event:x?} needs {gpa} where there is no RAM"));
        }
        // What is read where nothing answers is all ones, and FF FF is no instruction.
        self.raise(Exception::UD)
    }

    /// Ends an emulated instruction.
    #[inline]
    fn emulated(&mut self, outcome: Outcome, event: Option<BoardEvent>) -> Option<Leave> {
        // A write to the TPR by its register is seen in CR8.
        self.backend.set_cr8(self.apic.cr8());
        match outcome {
            Outcome::Done { single_step: false } => self.backend.advance(self.backend.rip()),
            Outcome::Done { single_step: true } => {
                self.backend.advance(self.backend.rip());
                self.single_step();
            }
            Outcome::Repeat { single_step } => {
                if single_step {
                    self.single_step();
                }
            }
            Outcome::Retry => {}
            Outcome::Exception(exception) => return self.raise(exception),
            Outcome::Unsupported(unsupported) => return self.unsupported(unsupported.to_string()),
        }
        match event {
            None => None,
            Some(event) => self.board_event(event),
        }
    }

    #[cold]
    fn board_event(&mut self, event: BoardEvent) -> Option<Leave> {
        match event {
            BoardEvent::PowerOff => self.end(End::PowerOff),
            BoardEvent::Reset(cause) => self.end(End::Reset(cause)),
            // By an access so rare that nobody waits.
            BoardEvent::AwaitsOne => None,
        }
    }
}

/// A back end's diagnosis as text.
struct Diagnosis<'a, B>(&'a B);

impl<B: Backend> fmt::Display for Diagnosis<'_, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.diagnose(f)
    }
}
