//! The back end of one vCPU: its VMCS and what the VMCS does not hold.
//!
//! - this file: its parts, and its life of entries, exits and turns;
//! - `standing`: what the VMCS has for good, and what it has of each CPU;
//! - `registers`, `model_specific`: the guest's;
//! - `apic`: the local APIC in hardware;
//! - `delivery`, `debug`: events, and what debug exceptions need besides;
//! - `diagnosis`: why an entry failed.
mod apic;
mod debug;
mod delivery;
mod diagnosis;
mod model_specific;
mod registers;
mod standing;

use super::apic_view::Roots;
use super::beside::Beside;
use super::consistency::{self, Broken};
use super::controls::{Group, INTERRUPT_WINDOW, NMI_WINDOW};
use super::decode::{self, Reason};
use super::field::{Field, Kept, LDTR, TR};
use super::interruptibility as blocking;
use super::processor::{Capabilities, Processor};
use super::vmcs::Vmcs;
use crate::asid::{Asid, Renewal};
use crate::backend::{Backend, HardwareMsr, InitialState};
use crate::cpu::{Cr0, Cr4, Efer, Gpr, Registers, Rflags, Segment, SegmentRegister};
use crate::exit::{Event, Exit};
use crate::memory::CodeWalk;
use crate::platform::apic::{ApicFabric, ApicMode, Requests};
#[cfg(test)]
use alloc::boxed::Box;
use alloc::sync::Arc;
use apic::Apic;
use core::fmt;
use debug::DR6_BS;
use mm::addr::Hpa;
use registers::CR4_KEPT;

/// PAT (SDM vol. 3A, 11.12.4). All other model-specific registers are 0 at power-on.
const PAT_AT_POWER_ON: u64 = 0x0007_0406_0007_0406;

/// What a vCPU is made with.
pub struct Surroundings<'a> {
    /// Of all CPUs.
    pub capabilities: &'a Capabilities,
    /// Physical address of a [`super::PermissionMaps`].
    pub maps: Hpa,
    /// The VM's nested tables. `with_apic` is there if [`Capabilities::apic_accesses`] says so.
    pub roots: Roots,
    /// The VM's interrupt fabric.
    pub fabric: &'a Arc<ApicFabric>,
    /// The vCPU's number in it.
    pub index: usize,
    /// The host's vector by which a CPU is told of posted interrupts.
    pub notification_vector: u8,
    /// Frequency of the TSC: the guest runs for at most a millisecond of it without an exit.
    pub tsc_hz: u64,
}

/// A vCPU on VT-x.
pub struct VmxVcpu {
    vmcs: Vmcs,
    /// General registers by number; RSP is in the VMCS.
    gprs: [u64; 16],
    beside: Beside,
    apic: Apic,
    capabilities: Capabilities,
    /// What the preemption timer counts down from at each entry.
    longest_run: u32,
    vpid: Asid,
    /// Basic reason of the last exit, with the upper bits of the field.
    reason: u32,
    /// The last exit was by an instruction.
    by_instruction: bool,
    /// Whether the instruction that enters failed, before it looked at the guest's state.
    refused: bool,
    interrupted: Option<Event>,
    tpr_threshold: u8,
    /// IA32_DEBUGCTL as the guest wrote it.
    debugctl: u64,
    tsc_aux: u64,
    /// The CPU whose state the VMCS's host area has.
    host: Option<usize>,
    /// What its HOST_RSP is.
    #[cfg_attr(not(target_os = "none"), allow(dead_code))]
    host_stack: u64,
    /// Physical address of the permission maps.
    maps: Hpa,
    roots: Roots,
    code_walk: CodeWalk,
    #[cfg(test)]
    next_exit: Option<NextExit>,
}

#[cfg(test)]
type NextExit = Box<dyn FnOnce(&mut Vmcs) + Send>;

impl VmxVcpu {
    /// A vCPU that is to be [`Backend::reset`] before it runs.
    ///
    /// `physical` tells the physical address of an object on the hypervisor's heap.
    pub fn new(around: &Surroundings<'_>, physical: impl Fn(*const u8) -> Hpa) -> Self {
        let capabilities = around.capabilities;
        let apic = Apic::new(around.fabric, around.index, around.notification_vector, &physical);
        let mut vmcs = Vmcs::new(capabilities.revision, physical);
        for (kept, value) in [
            (Kept::PRIMARY_CONTROLS, capabilities.controls.get(Group::Primary).into()),
            (Kept::PAT, PAT_AT_POWER_ON),
            (Kept::CR4_MASK, u64::MAX),
        ] {
            vmcs.set(kept, value);
        }
        for kept in [
            Kept::ACTIVITY,
            Kept::DEBUGCTL,
            Kept::SYSENTER_CS,
            Kept::SYSENTER_ESP,
            Kept::SYSENTER_EIP,
            Kept::TSC_OFFSET,
            Kept::TPR_THRESHOLD,
            Kept::ENTRY_EVENT,
            Kept::ENTRY_ERROR_CODE,
        ] {
            vmcs.set(kept, 0);
        }
        if capabilities.controls.deliver_interrupts() {
            vmcs.set(Kept::INTERRUPT_STATUS, 0);
        }
        Self {
            vmcs,
            gprs: [0; 16],
            beside: Beside::new(),
            apic,
            capabilities: *capabilities,
            longest_run: ((around.tsc_hz / 1000) >> capabilities.timer_shift).clamp(1, u32::MAX.into())
                as u32,
            vpid: Asid::default(),
            reason: 0,
            by_instruction: false,
            refused: false,
            interrupted: None,
            tpr_threshold: 0,
            debugctl: 0,
            tsc_aux: 0,
            host: None,
            host_stack: 0,
            maps: around.maps,
            roots: around.roots,
            code_walk: CodeWalk::default(),
            #[cfg(test)]
            next_exit: None,
        }
    }

    /// What the CPU does to the VMCS when the guest is entered next.
    #[cfg(test)]
    pub(crate) fn next_exit(&mut self, run: impl FnOnce(&mut Vmcs) + Send + 'static) {
        self.next_exit = Some(Box::new(run));
    }

    /// Everything before the entry but the instruction.
    #[inline]
    fn prepare(&mut self, cpu: &mut Processor) {
        if self.capabilities.controls.vpid() {
            let renewal = cpu.vpids.renew(&mut self.vpid);
            if renewal != Renewal::Kept {
                self.use_new_vpid(renewal);
            }
        }
        self.vmcs.flush();
    }

    #[cold]
    fn use_new_vpid(&mut self, renewal: Renewal) {
        self.vmcs.set(Kept::VPID, self.vpid.number.into());
        #[cfg(target_os = "none")]
        #[allow(unsafe_code)]
        if renewal == Renewal::NewAfterFlush {
            // SAFETY: the CPU is in VMX operation; VPIDs are used only where INVVPID can drop them all.
            unsafe { super::instructions::invvpid_all() };
        }
        let _ = renewal;
    }

    /// Everything after an exit but the instruction.
    #[inline]
    fn conclude(&mut self) -> Exit {
        self.vmcs.guest_ran();
        // Each exit makes it invalid in the VMCS.
        self.vmcs.note(Kept::ENTRY_EVENT, 0);
        self.reason = self.vmcs.read(Field::EXIT_REASON) as u32;
        let reason = Reason(self.reason as u16);
        self.by_instruction = reason.is_instruction();
        let exit = decode::decode(&self.vmcs, reason);
        if !self.by_instruction {
            self.look_behind(&exit, reason);
        }
        exit
    }

    /// The rule of VM entry that the VMCS breaks, if it does.
    fn first_broken(&self) -> Option<Broken> {
        consistency::first_broken(&self.vmcs, &self.capabilities, self.apic.registers().task_priority())
    }

    /// Hands on the interrupt of the host's that the exit has acknowledged, if it has: else it is pending still.
    #[cfg(target_os = "none")]
    #[inline]
    fn take_interrupt(&self, cpu: &Processor) {
        if self.capabilities.controls.post_interrupts() {
            let information = self.vmcs.read(Field::EXIT_INTERRUPTION) as u32;
            if information & super::event::VALID != 0 {
                (cpu.take_interrupt)(information as u8);
            }
        }
    }

    /// The registers of the local APIC.
    #[cfg(test)]
    pub(crate) fn registers(&self) -> &crate::platform::apic::RegisterPage {
        self.apic.registers()
    }

    /// The entry did not take place: nothing of the guest has changed.
    #[cold]
    fn refuse(&mut self) -> Exit {
        self.refused = true;
        self.by_instruction = false;
        Exit::EntryFailed
    }
}

impl Backend for VmxVcpu {
    type Cpu = Processor;

    #[cfg(target_os = "none")]
    #[inline]
    #[allow(unsafe_code)] // The world switch.
    fn enter(&mut self, cpu: &mut Processor) -> Exit {
        use super::instructions;
        self.prepare(cpu);
        // SAFETY: `begin_turn` made the VMCS this CPU's current one, with this CPU's host state. It was built by
        // `new`, which gave it the VM's own nested page table and maps that let everything exit that could reach
        // the host. Interrupts are disabled, by contract.
        let failed = unsafe {
            super::switch::run_guest(&raw mut self.gprs, self.vmcs.launched(), &raw mut self.host_stack)
        };
        let exit = if failed == 0 { self.conclude() } else { self.refuse() };
        match exit {
            Exit::HostNmi => instructions::take_nmi(),
            Exit::HostInterrupt => self.take_interrupt(cpu),
            _ => {}
        }
        instructions::enable_interrupts();
        exit
    }

    /// There is no guest to enter in a test on the host: only the book-keeping around it is done, and the
    /// checks that VM entry would do.
    #[cfg(not(target_os = "none"))]
    fn enter(&mut self, cpu: &mut Processor) -> Exit {
        self.prepare(cpu);
        if self.first_broken().is_some() {
            return self.refuse();
        }
        #[cfg(test)]
        if let Some(run) = self.next_exit.take() {
            run(&mut self.vmcs);
        }
        self.conclude()
    }

    #[inline]
    fn next_rip(&self) -> Option<u64> {
        self.by_instruction.then(|| decode::next_rip(&self.vmcs))
    }

    #[inline]
    fn advance(&mut self, next_rip: u64) {
        self.vmcs.set(Kept::RIP, next_rip);
        if self.vmcs.get(Kept::INTERRUPTIBILITY) & blocking::SHADOW != 0 {
            self.set_blocking(blocking::SHADOW, false);
        }
    }

    fn inject(&mut self, event: Event) {
        self.deliver(event);
    }

    #[inline]
    fn interrupted_event(&mut self) -> Option<Event> {
        self.interrupted.take()
    }

    #[inline]
    fn interrupts_open(&self) -> bool {
        self.rflags().contains(Rflags::IF) && self.vmcs.get(Kept::INTERRUPTIBILITY) & blocking::SHADOW == 0
    }

    fn nmi_open(&self) -> bool {
        self.vmcs.get(Kept::INTERRUPTIBILITY) & (blocking::BY_NMI | blocking::BY_MOV_SS) == 0
    }

    #[inline]
    fn want_interrupt_window(&mut self, wanted: bool) {
        self.set_primary(INTERRUPT_WINDOW, wanted);
    }

    fn want_nmi_window(&mut self) {
        self.set_primary(NMI_WINDOW, true);
    }

    fn set_cr0(&mut self, value: Cr0) {
        self.write_cr0(value);
        let mut efer = self.efer();
        efer.set(Efer::LMA, efer.contains(Efer::LME) && value.contains(Cr0::PG));
        self.write_efer(efer);
        self.flush_translations();
    }

    fn set_cr2(&mut self, value: u64) {
        self.beside.set_cr2(value);
    }

    fn set_dr6_single_step(&mut self) {
        self.beside.set_dr6(self.beside.dr6() | DR6_BS);
    }

    fn set_cr3(&mut self, value: u64) {
        self.vmcs.set(Kept::CR3, value);
        self.flush_translations();
    }

    fn set_cr4(&mut self, value: Cr4) {
        self.write_cr4(value);
        self.flush_translations();
    }

    fn allow_cr4(&mut self, allowed: Cr4) {
        let may = Cr4::from_bits_retain(self.capabilities.cr4.may);
        self.vmcs.set(Kept::CR4_MASK, !(allowed & may).difference(CR4_KEPT).bits());
    }

    /// What exits is a change of a bit that the guest does not own. With that bit as it wants it in the read
    /// shadow, the same MOV does not exit, and the CPU does all that it entails: LMA, PDPTEs, the TLB.
    fn left_to_hardware(&mut self, cr: u8, value: u64) -> bool {
        let shadow = if cr == 0 { Kept::CR0_SHADOW } else { Kept::CR4_SHADOW };
        self.vmcs.set(shadow, value);
        true
    }

    fn set_efer(&mut self, value: Efer) {
        self.write_efer(value);
        self.flush_translations();
    }

    fn set_segment(&mut self, register: SegmentRegister, value: Segment) {
        self.write_segment(register as u8, value);
    }

    #[inline]
    fn delivers_interrupts(&self) -> bool {
        self.capabilities.controls.deliver_interrupts()
    }

    fn set_requests(&mut self, requests: &Requests) {
        self.write_requests(requests);
    }

    fn set_apic_mode(&mut self, mode: ApicMode) {
        self.change_apic_mode(mode);
    }

    #[inline]
    fn want_priority_below(&mut self, class: u8) {
        if self.tpr_threshold != class {
            self.tpr_threshold = class;
            self.vmcs.set(Kept::TPR_THRESHOLD, class.into());
        }
    }

    #[inline]
    fn cr8(&self) -> u8 {
        self.apic.registers().task_priority() >> 4
    }

    /// CR8 is the TPR, in the page of registers: who calls this has written it there.
    #[inline]
    fn set_cr8(&mut self, value: u8) {
        debug_assert_eq!(self.cr8(), value & 0xf);
    }

    fn msr(&self, msr: HardwareMsr) -> u64 {
        self.read_msr(msr)
    }

    fn set_msr(&mut self, msr: HardwareMsr, value: u64) {
        self.write_msr(msr, value);
    }

    fn forget_predictions(&mut self) {
        crate::barrier::forget_predictions();
    }

    fn begin_turn(&mut self, cpu: &mut Processor) {
        let new = self.vmcs.is_new();
        self.vmcs.arrive();
        if new {
            self.write_standing_fields();
        }
        self.tell_apic_mode();
        if self.host != Some(cpu.number) {
            self.write_host_state(cpu);
        }
        self.beside.begin_turn();
    }

    fn arrive(&mut self, cpu: &mut Processor, vm: u64) {
        cpu.go_on_to(vm);
        self.beside.load();
    }

    fn end_turn(&mut self) {
        // What is shown of a vCPU that has no CPU.
        for kept in [Kept::RIP, Kept::RFLAGS] {
            self.vmcs.get(kept);
        }
        self.beside.end_turn();
        self.vmcs.leave();
    }

    fn set_tsc_offset(&mut self, offset: u64) {
        self.vmcs.set(Kept::TSC_OFFSET, offset);
    }

    fn reset(&mut self, state: &InitialState) {
        for (number, value) in (0..).zip(state.segments) {
            self.write_segment(number, value);
        }
        self.write_segment(LDTR, state.ldtr);
        self.write_segment(TR, state.tr);
        for (base, limit, table) in
            [(Kept::GDTR_BASE, Kept::GDTR_LIMIT, state.gdtr), (Kept::IDTR_BASE, Kept::IDTR_LIMIT, state.idtr)]
        {
            self.vmcs.set(base, table.base);
            self.vmcs.set(limit, table.limit.into());
        }
        self.write_cr0(state.cr0);
        self.write_cr4(state.cr4);
        self.write_efer(state.efer);
        for (kept, value) in [
            (Kept::CR3, state.cr3),
            (Kept::DR7, 0x400),
            (Kept::RFLAGS, state.rflags),
            (Kept::RIP, state.rip),
            (Kept::INTERRUPTIBILITY, 0),
            (Kept::PENDING_DEBUG, 0),
            (Kept::ENTRY_EVENT, 0),
        ] {
            self.vmcs.set(kept, value);
        }
        self.gprs = state.gprs;
        self.vmcs.set(Kept::RSP, state.gprs[Gpr::Rsp as usize]);
        self.beside.init();
        self.interrupted = None;
        self.set_primary(INTERRUPT_WINDOW | NMI_WINDOW, false);
        self.flush_translations();
    }

    fn flush_translations(&mut self) {
        // An identifier of no generation: the next entry takes a fresh one, which has no translations. Without
        // identifiers every entry begins with none.
        self.vpid = Asid::default();
    }

    fn diagnose(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_diagnosis(f)
    }
}

#[cfg(test)]
pub(super) mod tests;
