//! AMD-V on each CPU: what it needs is checked once, then each CPU switches it on.
#![allow(unsafe_code)] // model-specific registers and VMSAVE

use crate::cpu::registers::{Msr, cpuid, rdmsr, wrmsr};
use crate::cpu::{control, percpu};
use crate::memory::{HEAP, NoMemory};
use core::arch::asm;
use mm::addr::Hpa;
use spin::Once;
use vmm::extended::SaveFormat;
use vmm::policy::cpuid::guest_states;
use vmm::svm::{self, Features, Missing, PermissionMaps, Processor, has_prediction_barrier};

/// VM_CR (APM vol. 2, 15.30.1).
const VM_CR: Msr = Msr(0xc001_0114);
/// VM_HSAVE_PA (APM vol. 2, 15.30.4).
const VM_HSAVE_PA: Msr = Msr(0xc001_0117);
/// IA32_BIOS_SIGN_ID (SDM vol. 3A, 9.11.7), PATCH_LEVEL.
const PATCH_LEVEL: Msr = Msr(0x8b);
const EFER_SVME: u64 = 1 << 12;

/// What all CPUs have in common.
#[derive(Clone, Copy)]
pub struct Virtualization {
    pub features: Features,
    pub asids: u32,
    /// Physical address of the [`PermissionMaps`].
    pub maps: Hpa,
    /// How extended state is saved.
    pub format: SaveFormat,
    /// Revision of the microcode.
    pub patch_level: u64,
}

static FOUND: Once<Result<Virtualization, Missing>> = Once::new();

static MAPS: PermissionMaps = PermissionMaps::new();

/// What the machine has for VMs, or why it has nothing. Looked up once.
pub fn virtualization() -> Result<&'static Virtualization, Missing> {
    let found = FOUND.call_once(|| {
        // SAFETY: the register exists where the CPU has SVM, which `check` looks at first.
        let (features, asids) = svm::check(leaf, || unsafe { rdmsr(VM_CR) })?;
        let maps = crate::memory::kernel_physical(core::ptr::from_ref(&MAPS).cast());
        // SAFETY: every x86-64 CPU has IA32_BIOS_SIGN_ID, which AMD calls PATCH_LEVEL.
        let patch_level = unsafe { rdmsr(PATCH_LEVEL) };
        Ok(Virtualization { features, asids, maps, format: save_format(), patch_level })
    });
    found.as_ref().map_err(|missing| *missing)
}

fn leaf(leaf: u32) -> [u32; 4] {
    let r = cpuid(leaf, 0);
    [r.eax, r.ebx, r.ecx, r.edx]
}

/// States that guests may use, as far as the CPU has them.
fn save_format() -> SaveFormat {
    let tsc_aux = cpuid(0x8000_0001, 0).edx & 1 << 27 != 0;
    let x87_pointers = cpuid(0x8000_0008, 0).ebx & 1 << 2 != 0;
    let xcr0 = control::features().xcr0.map_or(0, guest_states);
    // The area is as large as all of the host's components need, of which guests get a part.
    let bytes = if xcr0 == 0 { SaveFormat::FXSAVE_BYTES } else { cpuid(0xd, 0).ecx };
    SaveFormat { xcr0, bytes, tsc_aux, x87_pointers }
}

/// A CPU that can run guests, and whose extended state is in it.
pub struct GuestCpu {
    pub(super) processor: Processor,
    /// The vCPU whose extended state this CPU's registers hold, by the seat's number.
    pub(super) live: Option<u64>,
}

impl GuestCpu {
    /// Switches AMD-V on, on the calling CPU. `None` where the machine can't run VMs.
    ///
    /// # Errors
    /// No memory for the CPU's save areas.
    pub fn start() -> Result<Option<Self>, NoMemory> {
        let Ok(found) = virtualization() else { return Ok(None) };
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
        let processor = Processor::new(percpu::current().index, found.asids, barrier, host_state);
        Ok(Some(Self { processor, live: None }))
    }
}
