//! Why a vCPU came back from the guest, the same for every back end.
//!
//! A back end decodes its exit once, at the edge, into an [`Exit`]; everything above matches that enum
//! without a wildcard, so that a new kind of exit can't be forgotten anywhere.
use crate::cpu::{Exception, Gpr, Vector};
use mm::addr::Gpa;

/// Direction of a transfer, as seen from the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The guest reads.
    In,
    /// The guest writes.
    Out,
}

/// A port access (IN, OUT, INS, OUTS).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortAccess {
    /// First port.
    pub port: u16,
    /// 1, 2 or 4 bytes.
    pub size: u8,
    /// Which way.
    pub direction: Direction,
    /// INS or OUTS, which the emulator carries out.
    pub string: bool,
    /// RIP after the instruction: both vendors' hardware tells it for every port access.
    pub next_rip: u64,
}

/// An access to guest-physical memory that the second-level page tables don't allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryFault {
    /// The address.
    pub gpa: Gpa,
    /// A write.
    pub write: bool,
    /// An instruction fetch.
    pub fetch: bool,
    /// The access was to the guest's page tables, not by the instruction itself.
    pub page_walk: bool,
    /// Bytes at RIP that the hardware fetched, and how many are valid (0 where it gives none).
    pub instruction: [u8; 15],
    /// Valid bytes of `instruction`.
    pub instruction_len: u8,
}

/// Instructions that a guest may not execute in a virtual machine without nesting, or that it has no
/// feature bit for. A CPU without the feature raises #UD for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The names are the documentation.
pub enum Forbidden {
    Vmrun,
    Vmload,
    Vmsave,
    Stgi,
    Clgi,
    Skinit,
    Rsm,
    Monitor,
    Mwait,
    /// Any other that the hardware intercepted.
    Other,
}

/// Why a vCPU left the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The host has an interrupt pending; it is taken as soon as interrupts are enabled.
    HostInterrupt,
    /// The host has an NMI pending.
    HostNmi,
    /// The guest can now take an interrupt that we asked a window for, or lowered its priority as we asked to hear.
    InterruptWindow,
    /// The guest can now take an NMI that we asked a window for.
    NmiWindow,
    /// CPUID.
    Cpuid,
    /// HLT.
    Halt,
    /// PAUSE in a loop.
    Pause,
    /// RDMSR; the number is in ECX.
    ReadMsr,
    /// WRMSR; the number is in ECX.
    WriteMsr,
    /// A port access.
    Port(PortAccess),
    /// An access that second-level paging refused.
    Memory(MemoryFault),
    /// The guest has written the register at this offset of the local APIC's page, by memory or by an MSR. The value is
    /// there, RIP is behind the instruction; what follows from it is to be done.
    ApicWrite(u16),
    /// The hardware has ended this interrupt for the guest, which is one whose end the IOAPIC may have to see.
    EndOfInterrupt(u8),
    /// VMMCALL or VMCALL.
    Hypercall,
    /// A write to a control register, with the source register where the hardware decoded it.
    WriteCr {
        /// 0 (VT-x only: what changes of it outside of long mode is the guest's on AMD-V), 4 or 8.
        cr: u8,
        /// Where the value comes from.
        source: Option<Gpr>,
    },
    /// XSETBV.
    Xsetbv,
    /// INVD or WBINVD.
    CacheFlush,
    /// INT1 (opcode F1, "ICEBP"): a #DB that DR6 does not tell of.
    Int1,
    /// RDPMC.
    ReadPmc,
    /// An exception that we intercept.
    Exception(Exception),
    /// An instruction that does not exist in this virtual machine.
    Forbidden(Forbidden),
    /// A hardware task switch.
    TaskSwitch,
    /// INIT or SMI reached the vCPU.
    InitOrSmi,
    /// The guest faulted while a double fault was being delivered.
    TripleFault,
    /// The hardware refused to enter the guest. The back end says why.
    EntryFailed,
    /// A code that this back end has no name for.
    Unknown(u64),
}

/// An event to be delivered to the guest at the next entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An external interrupt.
    Interrupt(Vector),
    /// A non-maskable interrupt.
    Nmi,
    /// An exception.
    Exception(Exception),
}

/// Kinds of exits as the statistics count them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)] // The names are the documentation.
pub enum ExitKind {
    HostInterrupt,
    Window,
    Cpuid,
    Halt,
    Pause,
    Msr,
    Port,
    Mmio,
    Hypercall,
    ControlRegister,
    Exception,
    Other,
}

impl ExitKind {
    /// How many there are.
    pub const COUNT: usize = 12;
    /// Names for the console, in order.
    pub const NAMES: [&str; Self::COUNT] = [
        "host interrupt",
        "window",
        "cpuid",
        "halt",
        "pause",
        "msr",
        "port",
        "mmio",
        "hypercall",
        "control register",
        "exception",
        "other",
    ];
}

impl Exit {
    /// What the statistics count it as.
    #[inline]
    pub const fn kind(&self) -> ExitKind {
        match self {
            Self::HostInterrupt | Self::HostNmi => ExitKind::HostInterrupt,
            Self::InterruptWindow | Self::NmiWindow => ExitKind::Window,
            Self::Cpuid => ExitKind::Cpuid,
            Self::Halt => ExitKind::Halt,
            Self::Pause => ExitKind::Pause,
            Self::ReadMsr | Self::WriteMsr => ExitKind::Msr,
            Self::Port(_) => ExitKind::Port,
            Self::Memory(_) | Self::ApicWrite(_) | Self::EndOfInterrupt(_) => ExitKind::Mmio,
            Self::Hypercall => ExitKind::Hypercall,
            Self::WriteCr { .. } => ExitKind::ControlRegister,
            Self::Exception(_) => ExitKind::Exception,
            Self::Xsetbv
            | Self::CacheFlush
            | Self::Int1
            | Self::ReadPmc
            | Self::Forbidden(_)
            | Self::TaskSwitch
            | Self::InitOrSmi
            | Self::TripleFault
            | Self::EntryFailed
            | Self::Unknown(_) => ExitKind::Other,
        }
    }
}
