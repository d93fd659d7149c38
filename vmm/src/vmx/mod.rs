//! VT-x: virtual-machine extensions (VMX) with extended page tables and unrestricted guests.
//!
//! The manual is the Intel 64 and IA-32 Architectures Software Developer's Manual (SDM) volume 3C, chapters 23
//! to 30, and volume 3D, appendices A to C.
//!
//! | file | what |
//! |---|---|
//! | `field` | the fields of a VMCS by their encodings |
//! | `vmcs` | a VMCS, and the values that are kept beside it |
//! | `controls` | what leaves the guest and what is switched, as one table |
//! | `apic_view` | the nested tables of vCPUs whose local APIC the CPU answers for |
//! | `permission_maps` | which ports and MSRs leave the guest |
//! | `segment` | segment attributes as a VMCS has them |
//! | `event` | events as a VMCS has them |
//! | `decode` | exit reasons into [`crate::exit::Exit`] |
//! | `beside` | registers of a guest that the VMCS does not hold |
//! | `processor` | what a physical CPU must have and keep |
//! | `translations` | when a CPU drops what it cached of nested tables |
//! | `vcpu` | the back end of one vCPU |
//! | `switch`, `instructions` | the world switch itself, and the other instructions |
//! | `consistency` | the rules of VM entry, to name the field that breaks one |
//!
//! # How data flows
//!
//! A turn on a CPU begins with VMPTRLD and ends with VMCLEAR, so that a VMCS is never on two CPUs and none is
//! on a CPU when its vCPU goes. In between, a value of the guest's is read by VMREAD when somebody asks for it,
//! once for each exit, and is written by VMWRITE only if it changed: an exit for CPUID reads reason, RIP, length,
//! flags and interruptibility, and writes RIP.
//!
//! The host's own timer ends a turn. The preemption timer, where there is one, is written once and for all: each
//! entry starts it anew at a millisecond, which few runs of a guest reach. It is there for Bochs 2.7, where an
//! interrupt of the host's does not end the run of a guest that was entered with interrupts off before that guest
//! switches them on (its VM entry looks at the guest's IF before it notes that a guest runs), and for whatever
//! else there may be that keeps an interrupt away.
//!
//! The local APIC's registers are one page, on which hypervisor and CPU work by turns; how much the CPU does of it is
//! a matter of controls (`vcpu/apic`). Where it takes posted interrupts it acknowledges the host's at the exit, too,
//! and `Processor` has whom to give them to.
//!
//! # Speculation
//!
//! As on AMD-V (see [`crate::svm`]): IBPB between VMs; nothing from a guest to the hypervisor: no return-stack
//! filling, no L1D flush and no buffer clearing (VERW) before entries.
mod apic_view;
mod beside;
mod consistency;
mod controls;
mod decode;
mod event;
mod field;
#[cfg(target_os = "none")]
mod instructions;
mod interruptibility;
mod permission_maps;
mod processor;
mod segment;
#[cfg(target_os = "none")]
mod switch;
mod translations;
mod vcpu;
mod vmcs;

#[cfg(test)]
pub(crate) use field::{Field, Kept};
#[cfg(test)]
pub(crate) use processor::tests::{checked, skylake, skylake_server};
#[cfg(test)]
pub(crate) use vmcs::Vmcs;

pub use apic_view::{ApicView, Roots};
pub use permission_maps::PermissionMaps;
pub use processor::{
    Capabilities, HostState, Missing, Processor, check, feature_control, has_prediction_barrier,
};
pub use translations::tables_are_freed;
pub use vcpu::{Surroundings, VmxVcpu};
