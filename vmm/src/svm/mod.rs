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
//! | `asid` | address-space identifiers of one CPU |
//! | `processor` | what a physical CPU must have and keep |
//! | `vcpu` | the back end of one vCPU |
//! | `switch` | the world switch itself |
//!
//! Nothing here relies on nRIP save, decode assists, AVIC, flush-by-ASID or the pause filter. nRIP save,
//! decode assists and the pause filter are used where the CPU has them. A single guest's translations
//! are dropped by giving it another identifier, which needs no flush at all.
mod asid;
mod decode;
mod intercepts;
mod permission_maps;
mod processor;
#[cfg(target_os = "none")]
mod switch;
mod vcpu;
mod vmcb;

pub use permission_maps::PermissionMaps;
pub use processor::{Features, Missing, Processor, check};
pub use vcpu::SvmVcpu;
