//! Virtual machines: vCPUs on two back ends, second-level paging, exits, instruction emulation, the
//! virtual PC and how a guest's kernel is put into it.
//!
//! # How data flows
//!
//! ```text
//!  kernel's CPU loop ── Vcpu::run ──► Backend::enter ──► guest
//!                            ▲               │ exit, decoded once into `exit::Exit`
//!                            │               ▼
//!                            └──────── vcpu::handle ──► policy (CPUID, MSR)
//!                                         │             platform (ports, MMIO, local APIC)
//!                                         └───────────► emulate (an instruction that touched MMIO)
//! ```
//!
//! - [`cpu`]: the names of x86: registers, segments, control bits, exceptions.
//! - [`memory`]: a guest's physical memory, and the walk of its page tables.
//! - [`exit`]: why a vCPU came back, the same for every back end.
//! - [`emulate`]: decodes and executes the instructions that the hardware left to us.
//! - [`platform`]: the virtual PC around the vCPUs.
//! - [`virtio`]: the paravirtual devices: rings, their PCI transport, disks.
//! - [`policy`]: what a guest sees of CPUID and MSRs, as tables.
//! - [`load`]: kernel formats, boot parameters, and the ACPI tables of the virtual PC.
//! - [`svm`], [`vmx`]: the back ends for AMD-V and VT-x.
//!
//! # What it promises
//!
//! Nothing a guest does can panic or hang this crate, or reach memory other than its own. What a guest
//! may do and a real CPU would answer, is answered as a real CPU would; what can't be answered stops
//! that VM with a reason.
#![cfg_attr(not(test), no_std)]
extern crate alloc;

mod asid;
pub mod backend;
mod barrier;
pub mod cpu;
pub mod emulate;
pub mod exit;
pub mod extended;
pub mod load;
pub mod memory;
pub mod platform;
pub mod policy;
pub mod svm;
pub mod time;
pub mod vcpu;
pub mod virtio;
pub mod vm;
pub mod vmx;
