//! Numbers of the paravirtual interface (Linux, Documentation/virt/kvm/x86/cpuid.rst and msr.rst).
use bitflags::bitflags;

/// First hypervisor leaf.
pub const BASE_LEAF: u32 = 0x4000_0000;
/// Leaf of the feature bits.
pub const FEATURES_LEAF: u32 = 0x4000_0001;
/// Leaf of the frequencies: EAX is that of the time-stamp counter, EBX that of the local APIC's timer, both
/// in kHz. FreeBSD and others read it; VMware introduced it.
pub const TIMING_LEAF: u32 = 0x4000_0010;
/// EBX, ECX, EDX of [`BASE_LEAF`].
pub const SIGNATURE: [u8; 12] = *b"KVMKVMKVM\0\0\0";

bitflags! {
    /// EAX of [`FEATURES_LEAF`]. A VM is shown those that its caller carries out.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Features: u32 {
        /// Port accesses need no delay after them.
        const NOP_IO_DELAY = 1 << 1;
        /// The clock, at the registers [`MSR_SYSTEM_TIME`] and [`MSR_WALL_CLOCK`].
        const CLOCKSOURCE2 = 1 << 3;
        /// Time stolen from a vCPU, at [`MSR_STEAL_TIME`].
        const STEAL_TIME = 1 << 5;
        /// End of interrupt without an exit, at [`MSR_PV_EOI`].
        const PV_EOI = 1 << 6;
        /// Hypercall that wakes a vCPU.
        const PV_UNHALT = 1 << 7;
        /// Hypercall that sends an interrupt to many vCPUs.
        const PV_SEND_IPI = 1 << 11;
        /// Hypercall that gives the rest of the time slice to a vCPU.
        const PV_SCHED_YIELD = 1 << 13;
        /// The clock never steps back between vCPUs.
        const CLOCKSOURCE_STABLE = 1 << 24;
    }
}

impl Features {
    /// What needs nothing but this crate: the clock, and that ports are fast.
    pub const CLOCK: Self = Self::NOP_IO_DELAY.union(Self::CLOCKSOURCE2).union(Self::CLOCKSOURCE_STABLE);
}

/// Address of the wall clock's page ([`Features::CLOCKSOURCE2`]).
pub const MSR_WALL_CLOCK: u32 = 0x4b56_4d00;
/// Address of this vCPU's clock, and whether it is on ([`Features::CLOCKSOURCE2`]).
pub const MSR_SYSTEM_TIME: u32 = 0x4b56_4d01;
/// Address of the stolen time ([`Features::STEAL_TIME`]).
pub const MSR_STEAL_TIME: u32 = 0x4b56_4d03;
/// Address of the end-of-interrupt flag ([`Features::PV_EOI`]).
pub const MSR_PV_EOI: u32 = 0x4b56_4d04;
