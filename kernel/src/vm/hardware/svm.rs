//! AMD-V on each CPU: what it needs is checked once, then each CPU switches it on.
#![allow(unsafe_code)] // model-specific registers and VMSAVE

use super::{StartError, leaf};
use crate::cpu::registers::{Msr, rdmsr, wrmsr};
use crate::cpu::{control, percpu};
use crate::memory::{HEAP, NoMemory};
use core::arch::asm;
use mm::addr::Hpa;
use mm::paging::PageSize;
use vmm::svm::{self, Features, Missing, PermissionMaps, Processor, has_prediction_barrier};

/// VM_CR (APM vol. 2, 15.30.1).
const VM_CR: Msr = Msr(0xc001_0114);
/// VM_HSAVE_PA (APM vol. 2, 15.30.4).
const VM_HSAVE_PA: Msr = Msr(0xc001_0117);
/// PATCH_LEVEL (APM vol. 2, appendix A).
const PATCH_LEVEL: Msr = Msr(0x8b);
const EFER_SVME: u64 = 1 << 12;

/// What the CPUs have.
pub struct Found {
    pub features: Features,
    pub asids: u32,
    /// Physical address of the [`PermissionMaps`].
    pub maps: Hpa,
}

static MAPS: PermissionMaps = PermissionMaps::new();

/// Looks whether the machine has it.
pub fn find() -> Result<Found, Missing> {
    // SAFETY: the register exists where the CPU has SVM, which `check` looks at first.
    let (features, asids) = svm::check(leaf, || unsafe { rdmsr(VM_CR) })?;
    let maps = crate::memory::kernel_physical(core::ptr::from_ref(&MAPS).cast());
    Ok(Found { features, asids, maps })
}

/// Revision of the microcode.
pub fn patch_level() -> u64 {
    // SAFETY: every CPU with SVM has the register.
    unsafe { rdmsr(PATCH_LEVEL) }
}

/// The largest page of nested tables: they have the format of the host's own.
pub fn largest_page() -> PageSize {
    if control::features().huge_pages { PageSize::Huge } else { PageSize::Large }
}

impl Found {
    /// Switches it on, on the calling CPU.
    pub fn start(&self) -> Result<Processor, StartError> {
        // As the booting CPU was asked, whose answer is the machine's.
        // SAFETY: as in `find`.
        svm::check(leaf, || unsafe { rdmsr(VM_CR) })
            .map_err(|missing| StartError::Missing(super::Missing::Svm(missing)))?;
        let page = || HEAP.allocate_zeroed_frames(0).ok_or(NoMemory("a CPU's host save area"));
        let (save_area, host_state) = (page()?, page()?);
        // SAFETY: the CPU has SVM and firmware did not disable it (`check`); the save area and the page
        // for VMSAVE are this CPU's alone and are never freed.
        unsafe {
            wrmsr(Msr::EFER, rdmsr(Msr::EFER) | EFER_SVME);
            wrmsr(VM_HSAVE_PA, save_area.get());
            asm!("vmsave rax", in("rax") host_state.get(), options(nostack, preserves_flags));
        }
        let barrier = has_prediction_barrier(leaf);
        Ok(Processor::new(percpu::current().index, self.asids, barrier, host_state))
    }
}
