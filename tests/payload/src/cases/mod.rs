//! The cases, by what they are about.
mod control_registers;
mod cpuid;
mod endings;
mod interrupt_controllers;
mod mmio;
mod mmio_faults;
mod msr;
mod ports;
mod random_instructions;
mod self_modifying;
mod single_step;
mod smp;
mod timers;
mod undefined;

use crate::Outcome;
use payload::Id;

/// Does what the table says.
pub fn run(id: Id) -> Outcome {
    match id {
        Id::SvmInstructions => undefined::svm(),
        Id::VmxInstructions => undefined::vmx(),
        Id::MonitorMwait => undefined::monitor_mwait(),
        Id::CacheFlush => undefined::cache_flush(),
        Id::Rdpmc => undefined::rdpmc(),
        Id::EferBits => control_registers::efer(),
        Id::Cr4Bits => control_registers::cr4(),
        Id::Cr8 => control_registers::cr8(),
        Id::Xsetbv => control_registers::xsetbv(),
        Id::XsetbvAvxAlone => control_registers::xsetbv_avx_alone(),
        Id::Cr0Combinations => control_registers::cr0(),
        Id::CpuidLeaves => cpuid::leaves(),
        Id::CpuidHides => cpuid::hides(),
        Id::RandomCpuid => cpuid::random(),
        Id::MsrUnknown => msr::unknown(),
        Id::MsrSweep => msr::sweep(),
        Id::RandomMsrs => msr::random(),
        Id::Hypercalls => msr::hypercalls(),
        Id::ModifiedCode => self_modifying::behind_a_jump(),
        Id::SelfModifying => self_modifying::right_in_front(),
        Id::SingleStep => single_step::run(),
        Id::PortsRead => ports::read(),
        Id::PortsWrite => ports::write(),
        Id::PortFlood => ports::flood(),
        Id::PortStrings => ports::strings(),
        Id::MmioNothing => mmio::nothing(),
        Id::MmioFetch => mmio::fetch(),
        Id::MmioBoundary => mmio::boundary(),
        Id::MmioOperations => mmio::operations(),
        Id::RandomMmio => mmio::random(),
        Id::MmioFaults => mmio_faults::faults(),
        Id::MmioStrings => mmio_faults::strings(),
        Id::TimerValues => timers::apic(),
        Id::PitStorm => timers::pit_storm(),
        Id::SelfIpiStorm => interrupt_controllers::self_ipi_storm(),
        Id::LapicFuzz => interrupt_controllers::lapic(),
        Id::X2apicFuzz => interrupt_controllers::x2apic(),
        Id::X2apicModes => interrupt_controllers::x2apic_modes(),
        Id::IoapicFuzz => interrupt_controllers::ioapic(),
        Id::RandomInstructions => random_instructions::run(),
        Id::SmpStart => smp::start(),
        Id::SmpIpis => smp::ipis(),
        Id::SmpShootDown => smp::shoot_down(),
        Id::SmpContention => smp::contention(),
        Id::SmpTripleFault => smp::triple_fault(),
        Id::TripleFault => endings::triple_fault(),
        Id::PageTablesInMmio => endings::page_tables_in_mmio(),
        Id::Reset => endings::reset(),
        Id::KeyboardReset => endings::keyboard_reset(),
        Id::Spin => endings::spin(),
        Id::Halt => endings::halt(),
        Id::DebugStorm => endings::debug_storm(),
        Id::FetchStorm => endings::fetch_storm(),
        Id::AlignmentStorm => endings::alignment_storm(),
        Id::InitSelf => endings::init_self(),
    }
}
