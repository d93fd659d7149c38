//! A vCPU: registers in a back end, a local APIC, and what happens at its exits.
//!
//! # How data flows
//!
//! ```text
//!  run ─► events: mailbox, NMI, interrupts ─► Backend::enter ─► exit ─► handle ─┬─► registers, policy
//!   ▲                                                                           ├─► bus ─► Board, APIC
//!   └───────────────────────────────────────────────────────────────────────────┴─► Leave
//! ```
//!
//! - `events` decides what is delivered to the guest before an entry, `end_of_interrupt` whether its handler needs an
//!   exit to end it.
//! - `handle` is the one match over [`crate::exit::Exit`].
//! - `answer` decides for how long to wait for a disk before the guest runs on.
//! - `bus` leads an emulated access to the local APIC or to the board.
//! - `control` and `msr` check what a guest writes to control and model-specific registers.
//!
//! # What it promises
//!
//! A vCPU runs without allocating and without waiting; it takes only the short locks of devices. It
//! leaves [`Vcpu::run`] as soon as the host wants its CPU, the guest halts, or the VM ends. An
//! instruction that could not be carried out changed nothing.
mod answer;
mod bus;
mod control;
mod end_of_interrupt;
mod events;
mod handle;
mod msr;
#[cfg(test)]
mod tests;

use crate::backend::{Backend, InitialState};
use crate::exit::{Event, ExitKind};
use crate::extended::{ExtendedState, SaveFormat};
use crate::platform::apic::LocalApic;
use crate::policy::cpuid::{CpuidTable, Facts};
use crate::policy::msr::{MsrFacts, MsrStore};
use crate::policy::paravirtual::Features;
use crate::time::Nanos;
use crate::vm::{End, Shared};
use alloc::sync::Arc;
use mm::addr::Gpa;

/// The CPU that a vCPU runs on, as far as it needs to know.
pub trait Host {
    /// The host's clock.
    fn now(&self) -> Nanos;
    /// The host's time-stamp counter.
    fn tsc(&self) -> u64;
    /// Closes interrupts on this CPU.
    fn disable_interrupts(&self);
    /// Opens them.
    fn enable_interrupts(&self);
    /// Whether this CPU has something else to do. Asked with interrupts closed, right before an entry:
    /// whatever sets it afterwards must interrupt this CPU.
    fn attention(&self) -> bool;
    /// The running vCPU's next timer is due at `deadline`: this CPU is to be interrupted then. Called with
    /// interrupts closed; leaves them so.
    fn set_vcpu_timer(&self, deadline: Option<Nanos>);
    /// The guest is about to run. Called with interrupts closed; leaves them so.
    fn enters_guest(&self) {}
    /// The guest does not run any more. Called with interrupts open.
    fn left_guest(&self) {}
    /// A device of the host has just been asked for something, and nothing else is under way: for how long this CPU
    /// can wait for the answer before the guest runs on. As long as the exit costs by which the answer would come; and
    /// up to `longest`, for which the guest is not expected to do anything, if nobody else wants the CPU.
    fn patience(&self, longest: Nanos) -> Nanos {
        longest
    }
}

/// Why a vCPU gives its CPU back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leave {
    /// The host wants the CPU ([`Host::attention`]). The vCPU could go on.
    Attention,
    /// The guest spins on a lock that somebody else holds: let others run first.
    Yield,
    /// The guest has halted, or waits to be started. Not to be run before its mailbox has something, or
    /// the time has come.
    Blocked {
        /// Its next timer.
        until: Option<Nanos>,
    },
    /// The VM is to be left alone ([`Shared::park`]): paused, or coming to an end.
    Parked,
    /// This vCPU has ended its VM.
    Ended(End),
}

/// What a vCPU is doing, for the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Executes instructions.
    Running,
    /// Executed HLT and waits for an interrupt.
    Halted,
    /// Halted with interrupts off: only an NMI or INIT gets it out.
    HaltedForGood,
    /// Waits for another vCPU to start it (SIPI).
    WaitsForStart,
}

/// One virtual CPU.
pub struct Vcpu<B: Backend> {
    index: usize,
    backend: B,
    apic: LocalApic,
    cpuid: CpuidTable,
    msrs: MsrStore,
    extended: ExtendedState,
    shared: Arc<Shared>,
    /// An event that must be delivered before anything else: one whose delivery an exit interrupted, or
    /// an exception that the last instruction raised.
    pending: Option<Event>,
    nmi_pending: bool,
    halted: bool,
    /// Bits of CR4 and EFER that the guest was shown features for.
    allowed: control::Allowed,
    /// What the guest has added to its time-stamp counter.
    tsc_adjust: u64,
    /// Where the guest wants its paravirtual clock.
    system_time: Option<Gpa>,
    /// The interrupt that the hardware delivers by itself if the guest opens in this entry.
    awaited: Option<u8>,
    /// Where the guest wants to be told that it can end an interrupt by itself.
    eoi_flag: Option<Gpa>,
    /// Something may be in service, or be taken in the next entry, whose end it could be told of.
    lends: bool,
    /// It is told so in this entry.
    eoi_lent: bool,
    /// One of the two is to be settled behind this entry.
    unsettled: bool,
    /// The timer that the host was last told.
    armed: Nanos,
    /// What the guest does until a disk answers.
    answers: answer::Answers,
    exits: [u64; ExitKind::COUNT],
}

impl<B: Backend> Vcpu<B> {
    /// A vCPU of a VM, in its power-on state. `facts` says which one, `host_cpuid` executes CPUID.
    pub fn new(
        mut backend: B,
        shared: Arc<Shared>,
        format: SaveFormat,
        host_cpuid: &dyn Fn(u32, u32) -> [u32; 4],
        facts: &Facts,
    ) -> Self {
        let mut facts = *facts;
        if backend.delivers_interrupts() {
            // It ends them without an exit as well.
            facts.paravirtual.remove(Features::PV_EOI);
        }
        let cpuid = CpuidTable::new(host_cpuid, &facts);
        let physical_bits = control::physical_bits(&cpuid);
        let index = facts.apic_id as usize;
        let msr_facts = MsrFacts {
            paravirtual: facts.paravirtual,
            patch_level: facts.patch_level,
            physical_bits,
            prediction_barrier: control::prediction_barrier(&cpuid),
        };
        backend.set_tsc_offset(shared.clock.offset());
        let allowed = control::Allowed::new(&cpuid);
        backend.allow_cr4(allowed.cr4());
        let hardware = backend.delivers_interrupts();
        let mut vcpu = Self {
            index,
            backend,
            apic: LocalApic::new(shared.fabric.clone(), index, physical_bits).delivered_by_hardware(hardware),
            allowed,
            cpuid,
            msrs: MsrStore::new(msr_facts),
            extended: ExtendedState::new(format),
            shared,
            pending: None,
            nmi_pending: false,
            halted: false,
            tsc_adjust: 0,
            system_time: None,
            awaited: None,
            eoi_flag: None,
            lends: false,
            eoi_lent: false,
            unsettled: false,
            armed: Nanos::MAX,
            answers: answer::Answers::new(),
            exits: [0; ExitKind::COUNT],
        };
        vcpu.backend.set_apic_mode(vcpu.apic.mode());
        vcpu.start_at(&crate::load::reset_vector());
        vcpu
    }

    /// Starts here, as the first vCPU of a guest whose kernel was loaded.
    pub fn start_at(&mut self, state: &InitialState) {
        self.backend.reset(state);
        self.pending = None;
        self.nmi_pending = false;
        self.halted = false;
        self.awaited = None;
        self.unsettled = false;
    }

    /// Its number in the VM, which is its APIC ID.
    pub fn index(&self) -> usize {
        self.index
    }

    /// What the vCPUs of the VM share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// How often it left the guest, by [`ExitKind`].
    pub fn exits(&self) -> &[u64; ExitKind::COUNT] {
        &self.exits
    }

    /// What it is doing.
    pub fn activity(&self) -> Activity {
        if self.apic.waiting_for_sipi() {
            Activity::WaitsForStart
        } else if !self.halted {
            Activity::Running
        } else if self.backend.rflags().contains(crate::cpu::Rflags::IF) {
            Activity::Halted
        } else {
            Activity::HaltedForGood
        }
    }

    /// Address of its next instruction.
    pub fn rip(&self) -> u64 {
        self.backend.rip()
    }

    /// Its next timer: the local APIC's, and for vCPU 0 those of the board.
    pub fn deadline(&self) -> Option<Nanos> {
        let next = self.next_timer();
        (next != Nanos::MAX).then_some(next)
    }

    /// As [`Self::deadline`]; [`Nanos::MAX`] for none.
    #[inline]
    fn next_timer(&self) -> Nanos {
        let own = self.apic.next_timer();
        if self.index != 0 { own } else { own.min(self.shared.board.earliest()) }
    }

    /// Begins a turn on this CPU: puts the vCPU's extended state into it, unless it is there still (`in_cpu`),
    /// because no other vCPU had a turn here since this one's last, nor this one elsewhere.
    ///
    /// # Safety
    /// As for [`ExtendedState::load`]; `cpu` is this CPU's; the last turn was ended.
    #[cfg(target_os = "none")]
    #[allow(unsafe_code)] // Hands on the contract.
    pub unsafe fn begin_turn(&mut self, cpu: &mut B::Cpu, in_cpu: bool) {
        self.backend.begin_turn(cpu);
        if in_cpu {
            return;
        }
        self.backend.arrive(cpu, self.shared.number());
        let tsc_aux = self.backend.msr(crate::backend::HardwareMsr::TscAux);
        // SAFETY: the caller's.
        unsafe { self.extended.load(tsc_aux) }
    }

    /// Ends the turn: copies the vCPU's extended state out of this CPU.
    ///
    /// # Safety
    /// As for [`ExtendedState::save`].
    #[cfg(target_os = "none")]
    #[allow(unsafe_code)] // Hands on the contract.
    pub unsafe fn end_turn(&mut self) {
        // SAFETY: the caller's.
        unsafe { self.extended.save() };
        self.backend.end_turn();
    }

    /// Runs the guest on this CPU until one of the reasons in [`Leave`].
    pub fn run(&mut self, cpu: &mut B::Cpu, host: &impl Host) -> Leave {
        let now = host.now();
        self.expire_timers(now);
        if self.answers.awaits() {
            self.look_for_answer(now, host);
        }
        loop {
            host.disable_interrupts();
            let leave = if self.shared.parking() {
                Some(Leave::Parked)
            } else if host.attention() {
                Some(Leave::Attention)
            } else {
                self.prepare_events(host)
            };
            if let Some(leave) = leave {
                host.enable_interrupts();
                return self.leave(leave);
            }
            host.enters_guest();
            let exit = self.backend.enter(cpu);
            host.left_guest();
            self.exits[exit.kind() as usize] += 1;
            if self.unsettled {
                self.settle();
            }
            if let Some(event) = self.backend.interrupted_event() {
                self.pending = Some(event);
            }
            if let Some(leave) = self.handle(&exit, host) {
                return self.leave(leave);
            }
        }
    }

    /// The end of one vCPU stops all.
    fn leave(&self, leave: Leave) -> Leave {
        if let Leave::Ended(_) = leave {
            self.shared.park();
        }
        leave
    }

    fn expire_timers(&mut self, now: Nanos) {
        if self.apic.deadline().is_some_and(|at| at <= now) {
            self.apic.expire(now);
        }
        if self.index == 0 && self.shared.board.next_deadline().is_some_and(|at| at <= now) {
            self.shared.board.expire(now);
        }
    }

    /// Tells the host when the next timer has changed.
    #[inline]
    fn tell_timer(&mut self, host: &impl Host) {
        let next = self.next_timer();
        if next != self.armed {
            self.armed = next;
            host.set_vcpu_timer((next != Nanos::MAX).then_some(next));
        }
    }
}
