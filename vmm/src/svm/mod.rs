//! AMD-V: secure virtual machine (SVM) with nested paging.
//!
//! The manual is AMD64 Architecture Programmer's Manual volume 2 (APM), chapter 15 and appendix B.
//!
//! | file | what |
//! |---|---|
//! | `vmcb` | the virtual machine control block, bit by bit |
//! | `intercepts` | what leaves the guest, as one table |
//! | `permission_maps` | which ports and MSRs leave the guest |
//! | `decode` | exit codes into [`crate::exit::Exit`] |
//! | `processor` | what a physical CPU must have and keep |
//! | `vcpu` | the back end of one vCPU |
//! | `switch` | the world switch itself |
//!
//! [`crate::asid`] and [`crate::barrier`] serve both back ends.
//!
//! Nothing here relies on nRIP save, decode assists, AVIC, flush-by-ASID or the pause filter. nRIP save,
//! decode assists and the pause filter are used where the CPU has them. A single guest's translations
//! are dropped by giving it another identifier, which needs no flush at all.
//!
//! # Speculation
//!
//! Between two VMs: a CPU that goes on to a vCPU of another VM executes IBPB first, where it has it, so no
//! VM steers what another speculates on. Registers of x87, SSE and AVX are always those of the vCPU that
//! runs (nothing is switched lazily), and so is x87's last pointer.
//!
//! From a guest to the hypervisor, these are not done:
//!
//! - The return stack is not refilled after #VMEXIT (32 CALLs, on each exit), nor are the hypervisor's indirect
//!   branches retpolines. A CPU with automatic IBRS (EFER.AIBRSE, CPUID Fn8000_0021_EAX bit 8) does both
//!   for a host that switches it on, which is the kernel's to do.
//! - SPEC_CTRL is neither shown to guests nor changed, so it is the same for all: what the kernel chose. Guests
//!   are shown IBPB, which needs no state.
//! - Two VMs may run on the two threads of a core at the same time (STIBP is the kernel's choice, too).
#[cfg(test)]
mod consistency;
mod decode;
mod intercepts;
mod permission_maps;
mod processor;
#[cfg(target_os = "none")]
mod switch;
mod vcpu;
mod vmcb;
#[cfg(test)]
pub(crate) use vmcb::Vmcb;

pub use permission_maps::PermissionMaps;
pub use processor::{Features, Missing, Processor, check, has_prediction_barrier};
pub use vcpu::SvmVcpu;
