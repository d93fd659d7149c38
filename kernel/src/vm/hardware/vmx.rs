//! VT-x on each CPU: what it needs is checked once, then each CPU enters VMX operation (SDM vol. 3C, 23.6 to
//! 23.8 and 31.5).
//!
//! In VMX operation a CPU ignores INIT, by which some machines are reset: so each CPU leaves it before the
//! machine is switched off or reset.
#![allow(unsafe_code)] // model-specific registers, control registers, VMXON and VMXOFF

use super::{Missing, StartError, leaf};
use crate::cpu::registers::{self, Msr, rdmsr, wrmsr};
use crate::cpu::{gdt, percpu};
use crate::interrupts;
use crate::memory::{DIRECT, HEAP, NoMemory, ThisCpu};
use alloc::string::String;
use core::arch::asm;
use mm::addr::{Gpa, Hpa};
use mm::heap::Heap;
use mm::paging::{Ept, PageSize, PageTable, PagingError};
use spin::Once;
use vmm::memory::nested;
use vmm::vmx::{
    self, ApicView, Capabilities, HostState, PermissionMaps, Processor, Roots, has_prediction_barrier,
};

const FEATURE_CONTROL: Msr = Msr(0x3a);
/// Revision of the microcode in guests. The register of the host's CPU needs a ritual before each read, and not
/// every emulated CPU has it; guests only look whether it is one of those with known faults.
pub const PATCH_LEVEL: u64 = 1 << 32;
const CR4_VMXE: u64 = 1 << 13;

/// What the CPUs have.
pub struct Found {
    pub capabilities: Capabilities,
    /// Physical address of the [`PermissionMaps`].
    pub maps: Hpa,
}

static MAPS: Once<PermissionMaps> = Once::new();

/// Looks whether the machine has it.
pub fn find() -> Result<Found, vmx::Missing> {
    // SAFETY: `check` asks for registers that the CPU has.
    let capabilities = vmx::check(leaf, |msr| unsafe { rdmsr(Msr(msr)) })?;
    let maps = MAPS.call_once(|| PermissionMaps::new(&capabilities.controls));
    let maps = crate::memory::kernel_physical(core::ptr::from_ref(maps).cast());
    Ok(Found { capabilities, maps })
}

impl Found {
    /// The largest page of nested tables.
    pub fn largest_page(&self) -> PageSize {
        if self.capabilities.huge_pages { PageSize::Huge } else { PageSize::Large }
    }

    /// For the console: what the CPUs have beside what they must.
    pub fn extras(&self) -> String {
        let controls = self.capabilities.controls;
        let extras = [
            (controls.vpid(), ", VPIDs"),
            (controls.deliver_interrupts(), ", interrupt delivery"),
            (controls.post_interrupts(), ", posted interrupts"),
        ];
        extras.iter().filter(|(there, _)| *there).map(|(_, name)| *name).collect()
    }

    /// Switches it on, on the calling CPU.
    pub fn start(&self) -> Result<Processor, StartError> {
        // SAFETY: a CPU with VMX has the register. It is written only if it is not locked.
        unsafe {
            let wanted = vmx::feature_control(rdmsr(FEATURE_CONTROL));
            if let Some(value) = wanted.map_err(|missing| StartError::Missing(Missing::Vmx(missing)))? {
                wrmsr(FEATURE_CONTROL, value);
            }
        }
        let region = HEAP.allocate_zeroed_frames(0).ok_or(NoMemory("a CPU's VMXON region"))?;
        // SAFETY: the frame is ours, and the direct map covers it. CR4.VMXE only permits VMXON; the region has
        // the revision identifier, is this CPU's alone and is never freed.
        let entered = unsafe {
            DIRECT.address(region).as_mut_ptr::<u32>().write_volatile(self.capabilities.revision);
            registers::write_cr4(registers::cr4() | CR4_VMXE);
            vmxon(region)
        };
        if !entered {
            // SAFETY: as it was before.
            unsafe { registers::write_cr4(registers::cr4() & !CR4_VMXE) };
            return Err(StartError::Refused);
        }
        let barrier = has_prediction_barrier(leaf);
        let cpu = percpu::current().index;
        Ok(Processor::new(cpu, &self.capabilities, barrier, host_state(), interrupts::taken))
    }
}

type Tables = PageTable<Ept, &'static Heap<ThisCpu>>;

/// A VM's second-level page tables.
pub struct NestedTables {
    ram: Tables,
    /// For vCPUs whose local APIC the CPU answers for.
    with_apic: Option<ApicView<&'static Heap<ThisCpu>>>,
}

impl NestedTables {
    /// Tables of a VM whose RAM `ram` maps.
    ///
    /// # Errors
    /// There is no memory for them.
    pub fn new(ram: Tables, found: &Found) -> Result<Self, PagingError> {
        let mut with_apic = None;
        if found.capabilities.apic_accesses() {
            // SAFETY: the tables are complete, and both go together.
            with_apic = unsafe { ApicView::new(ram.root(), &HEAP) };
            if with_apic.is_none() {
                nested::free(ram);
                return Err(PagingError::OutOfMemory);
            }
        }
        Ok(Self { ram, with_apic })
    }

    /// Where they are.
    pub fn roots(&self) -> Roots {
        let with_apic = self.with_apic.as_ref().map(|view| (view.root(), view.page()));
        Roots { ram: self.ram.root(), with_apic }
    }

    /// As [`nested::map_chunk`]. Both views have the table that is changed.
    pub fn map_chunk(&mut self, gpa: Gpa, chunk: Hpa) {
        nested::map_chunk(&mut self.ram, gpa, chunk);
    }

    /// As [`nested::unmap_chunk`].
    pub fn unmap_chunk(&mut self, gpa: Gpa) {
        nested::unmap_chunk(&mut self.ram, gpa);
    }

    /// Frees them: no vCPU uses them any more.
    pub fn free(self) {
        vmx::tables_are_freed();
        if let Some(view) = self.with_apic {
            // SAFETY: the VM's vCPUs are gone, and what CPUs have cached is dropped before they run another.
            unsafe { view.free() };
        }
        nested::free(self.ram);
    }
}

/// What exits are to restore on the calling CPU.
fn host_state() -> HostState {
    let (gdtr, idtr, tr) = (registers::gdtr(), registers::idtr(), registers::tr());
    // SAFETY: every 64-bit CPU has these registers.
    let (efer, pat, gs_base) = unsafe { (rdmsr(Msr::EFER), rdmsr(Msr::PAT), rdmsr(Msr::GS_BASE)) };
    HostState {
        cr0: registers::cr0(),
        cr3: registers::cr3(),
        cr4: registers::cr4(),
        efer,
        pat,
        cs: gdt::CODE,
        tr,
        tr_base: percpu::current().task_state().get(),
        gs_base,
        gdtr_base: gdtr.base,
        idtr_base: idtr.base,
    }
}

/// Enters VMX operation; whether it did.
///
/// # Safety
/// CR4.VMXE is set, IA32_FEATURE_CONTROL permits it, and `region` is a page with the revision identifier that
/// nobody else uses for as long as the CPU is in VMX operation.
unsafe fn vmxon(region: Hpa) -> bool {
    let address = region.get();
    let failed: u8;
    // SAFETY: the caller's. CF or ZF says that it failed.
    unsafe {
        asm!("vmxon [{}]", "setbe {}", in(reg) &raw const address, out(reg_byte) failed, options(nostack));
    }
    failed == 0
}

/// Takes the calling CPU out of VMX operation, if it is in it. No guest runs on it any more.
pub fn leave() {
    if registers::cr4() & CR4_VMXE != 0 {
        // SAFETY: CR4.VMXE is set only together with VMXON.
        unsafe { asm!("vmxoff", options(nostack)) };
    }
}
