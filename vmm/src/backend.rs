//! What a vCPU back end promises: the CPU's virtualization extension behind vendor-neutral names.
//!
//! One value per vCPU. Everything above this trait is the same for AMD-V and VT-x.
//!
//! # Life of an entry
//!
//! 1. With host interrupts disabled, the caller decides that the guest may run, and injects at most one
//!    event ([`Backend::inject`]).
//! 2. [`Backend::enter`] runs the guest until something needs the hypervisor, and returns with host
//!    interrupts enabled, so an interrupt that ended the guest's run has been taken by then.
//! 3. If delivery of an event was interrupted by the exit, [`Backend::interrupted_event`] gives it back;
//!    it is to be injected again before anything else.
//! 4. The caller handles the exit. If it emulated the instruction it ends with [`Backend::advance`].
use crate::cpu::{Cr0, Cr4, DescriptorTable, Efer, Registers, Segment, SegmentRegister, Vector};
use crate::exit::{Event, Exit};
use crate::platform::apic::{ApicMode, Requests};
use core::fmt;

/// Model-specific registers that live in the back end's control block and are switched by the hardware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The names are the manuals'.
pub enum HardwareMsr {
    Star,
    Lstar,
    Cstar,
    Sfmask,
    FsBase,
    GsBase,
    KernelGsBase,
    SysenterCs,
    SysenterEsp,
    SysenterEip,
    Pat,
    DebugCtl,
    TscAux,
}

/// All registers of a vCPU that an entry point of a guest defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InitialState {
    /// General registers by number.
    pub gprs: [u64; 16],
    /// First instruction.
    pub rip: u64,
    /// Flags.
    pub rflags: u64,
    /// Control registers.
    pub cr0: Cr0,
    /// Page-table root.
    pub cr3: u64,
    /// Feature enables.
    pub cr4: Cr4,
    /// Long mode and so on.
    pub efer: Efer,
    /// ES, CS, SS, DS, FS, GS.
    pub segments: [Segment; 6],
    /// Task register.
    pub tr: Segment,
    /// Local descriptor table.
    pub ldtr: Segment,
    /// Global descriptor table.
    pub gdtr: DescriptorTable,
    /// Interrupt descriptor table.
    pub idtr: DescriptorTable,
}

/// A vCPU on one kind of hardware.
pub trait Backend: Registers {
    /// What a physical CPU keeps for this back end: address-space identifiers, save areas.
    type Cpu;

    /// Runs the guest. To be called with host interrupts disabled on the CPU that `cpu` belongs to;
    /// returns with them enabled.
    fn enter(&mut self, cpu: &mut Self::Cpu) -> Exit;

    /// RIP after the intercepted instruction, where the hardware says it for the last exit.
    fn next_rip(&self) -> Option<u64>;

    /// Moves past an emulated instruction: sets RIP and ends the interrupt shadow.
    fn advance(&mut self, next_rip: u64);

    /// Delivers `event` at the next entry. One per entry; the last one wins.
    fn inject(&mut self, event: Event);

    /// The event whose delivery the last exit interrupted, once. An event that its instruction raises
    /// again by itself when restarted (INT n, INT3, INTO) is not given.
    fn interrupted_event(&mut self) -> Option<Event>;

    /// Whether an external interrupt could be delivered now: RFLAGS.IF set and no interrupt shadow.
    fn interrupts_open(&self) -> bool;

    /// Whether an NMI could be delivered now.
    fn nmi_open(&self) -> bool;

    /// Asks for an [`Exit::InterruptWindow`] as soon as interrupts open; `false` takes it back.
    fn want_interrupt_window(&mut self, wanted: bool);

    /// Has the hardware deliver external interrupt `vector` as soon as interrupts open, without an exit. For an entry
    /// that nothing is injected into; [`Self::took_interrupt`] tells behind it. Whether the hardware can.
    fn deliver_when_open(&mut self, _vector: Vector) -> bool {
        false
    }

    /// Whether the guest has taken the interrupt of [`Self::deliver_when_open`] since the last entry. If not, it is to
    /// be delivered anew.
    fn took_interrupt(&mut self) -> bool {
        false
    }

    /// Asks for an [`Exit::NmiWindow`] as soon as the running NMI handler returns.
    fn want_nmi_window(&mut self);

    /// Replaces CR0, with the long-mode consequences (EFER.LMA).
    fn set_cr0(&mut self, value: Cr0);
    /// Replaces CR2.
    fn set_cr2(&mut self, value: u64);
    /// Sets BS in DR6: the debug exception that follows is a single step's. As any, it ends general detect (GD
    /// in DR7).
    fn set_dr6_single_step(&mut self);
    /// Replaces CR3 and drops its translations.
    fn set_cr3(&mut self, value: u64);
    /// Replaces CR4.
    fn set_cr4(&mut self, value: Cr4);
    /// Tells which bits of CR4 the guest may change as it likes: it need not exit for these.
    fn allow_cr4(&mut self, _allowed: Cr4) {}
    /// Whether an intercepted MOV of `value` to CR0 or CR4, which the caller has checked, is left to the
    /// hardware: then the guest is to execute the instruction again, which will not exit. Else the caller
    /// carries it out.
    fn left_to_hardware(&mut self, _cr: u8, _value: u64) -> bool {
        false
    }
    /// Replaces EFER.
    fn set_efer(&mut self, value: Efer);
    /// Replaces a segment register with its hidden part.
    fn set_segment(&mut self, register: SegmentRegister, value: Segment);

    /// Whether the hardware delivers the interrupts that are requested in the local APIC's page, and ends them: then
    /// none of them is to be injected, and no window to be asked for.
    fn delivers_interrupts(&self) -> bool {
        false
    }
    /// Tells hardware that delivers interrupts what others than the guest changed in the local APIC's page.
    fn set_requests(&mut self, _requests: &Requests) {}
    /// Tells how the guest reaches its local APIC from now on, to hardware that can answer the guest.
    fn set_apic_mode(&mut self, _mode: ApicMode) {}
    /// Asks for an [`Exit::InterruptWindow`] as soon as the guest writes a task priority whose class (bits 7:4) is
    /// below `class`; 0 takes it back. Called before each entry. For hardware whose guests write it without an exit.
    fn want_priority_below(&mut self, _class: u8) {}

    /// Bits 7:4 of the task-priority register, as CR8 shows them.
    fn cr8(&self) -> u8;
    /// Makes CR8 read as `value`.
    fn set_cr8(&mut self, value: u8);

    /// Reads a register that the hardware switches.
    fn msr(&self, msr: HardwareMsr) -> u64;
    /// Writes a register that the hardware switches; the value was checked.
    fn set_msr(&mut self, msr: HardwareMsr, value: u64);

    /// Drops what the CPU has learned of indirect branches (IBPB), for a guest that asks for it. Called only
    /// where CPUID shows it, so on a CPU that has it.
    fn forget_predictions(&mut self);

    /// What is added to the host's time-stamp counter for the guest.
    fn set_tsc_offset(&mut self, offset: u64);

    /// A turn of the vCPU on this CPU begins. Until [`Self::end_turn`] it is entered here and nowhere else.
    fn begin_turn(&mut self, _cpu: &mut Self::Cpu) {}

    /// The turn ends, on the same CPU. The next one may be on another.
    fn end_turn(&mut self) {}

    /// Behind [`Self::begin_turn`]: tells that the vCPU, which is one of VM number `vm`, goes on on a CPU that ran another vCPU before:
    /// what that one left behind in the CPU must not be of use to this one, if it is of another VM.
    fn arrive(&mut self, cpu: &mut Self::Cpu, vm: u64);

    /// Puts the vCPU into the state of an entry point, INIT or power-on. Model-specific registers but EFER
    /// stay as they are: a new vCPU has them as at power-on, and INIT does not change them.
    fn reset(&mut self, state: &InitialState);

    /// Drops all cached translations of this vCPU before it next runs.
    fn flush_translations(&mut self);

    /// Why the last entry failed, or what an unknown exit was, for the operator.
    fn diagnose(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}
