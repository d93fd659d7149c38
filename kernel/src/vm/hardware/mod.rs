//! The virtualization hardware: which kind the machine has is looked up once, and known here alone.
//!
//! What differs between the kinds, and is more than a number, is an enum here with a case for each. A turn of a
//! vCPU chooses by it once each time that the guest is run ([`Vcpu::run`]); the exits within are handled by code
//! that was compiled for one of them.
mod svm;
mod vmx;

use crate::cpu::control;
use crate::cpu::registers::cpuid;
use crate::interrupts::Vector;
use crate::memory::{HEAP, NoMemory, ThisCpu};
use crate::time;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use mm::addr::{Gpa, Hpa, Hva};
use mm::heap::Heap;
use mm::paging::{Npt, PageSize, PageTable, PagingError};
use spin::Once;
use vmm::backend::InitialState;
use vmm::exit::ExitKind;
use vmm::extended::SaveFormat;
use vmm::memory::{GuestMemory, nested};
use vmm::policy::cpuid::{Facts, guest_states};
use vmm::svm::SvmVcpu;
use vmm::vcpu::{Activity, Host, Leave};
use vmm::vm::Shared;
use vmm::vmx::{Surroundings, VmxVcpu};

pub use vmx::leave as leave_for_good;

/// What all CPUs have in common.
pub struct Virtualization {
    kind: Kind,
    /// How extended state is saved.
    pub format: SaveFormat,
    /// Revision of the microcode, as guests see it.
    pub patch_level: u64,
}

enum Kind {
    Svm(svm::Found),
    Vmx(vmx::Found),
}

/// Why the machine can't run VMs.
#[derive(Clone, Copy, Debug)]
pub enum Missing {
    /// The CPU has neither extension.
    Both,
    Svm(vmm::svm::Missing),
    Vmx(vmm::vmx::Missing),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Both => f.write_str(
                "this CPU has neither AMD-V (SVM) nor Intel VT-x (VMX), of which VMs need one: enable \
                 virtualization in the firmware's set-up, or use a CPU that has it",
            ),
            Self::Svm(missing) => write!(f, "{missing}"),
            Self::Vmx(missing) => write!(f, "{missing}"),
        }
    }
}

/// Why one CPU can't run VMs though the machine can.
#[derive(Debug)]
pub enum StartError {
    Memory(NoMemory),
    Missing(Missing),
    /// VMXON failed.
    Refused,
}

impl From<NoMemory> for StartError {
    fn from(error: NoMemory) -> Self {
        Self::Memory(error)
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(error) => write!(f, "{error}"),
            Self::Missing(missing) => write!(f, "{missing}"),
            Self::Refused => f.write_str("it refuses VMXON: look for an update of the machine's firmware"),
        }
    }
}

static FOUND: Once<Result<Virtualization, Missing>> = Once::new();

/// What the machine has for VMs, or why it has nothing. Looked up once.
pub fn virtualization() -> Result<&'static Virtualization, Missing> {
    let found = FOUND.call_once(|| {
        let kind = match (svm::find(), vmx::find()) {
            (Ok(found), _) => Kind::Svm(found),
            (_, Ok(found)) => Kind::Vmx(found),
            (Err(vmm::svm::Missing::NoSvm), Err(vmm::vmx::Missing::NoVmx)) => return Err(Missing::Both),
            (Err(vmm::svm::Missing::NoSvm), Err(missing)) => return Err(Missing::Vmx(missing)),
            (Err(missing), _) => return Err(Missing::Svm(missing)),
        };
        let format = save_format(matches!(kind, Kind::Vmx(_)));
        let patch_level = match kind {
            Kind::Svm(_) => svm::patch_level(),
            Kind::Vmx(_) => vmx::PATCH_LEVEL,
        };
        Ok(Virtualization { kind, format, patch_level })
    });
    found.as_ref().map_err(|missing| *missing)
}

impl Virtualization {
    /// Whether a CPU in a guest takes an interrupt for it by [`Vector::POSTED`], without an exit.
    pub fn posts_interrupts(&self) -> bool {
        match &self.kind {
            Kind::Svm(_) => false,
            Kind::Vmx(found) => found.capabilities.controls.post_interrupts(),
        }
    }

    /// For the console.
    pub fn describe(&self) -> String {
        match &self.kind {
            Kind::Svm(found) => format!("AMD-V, nested paging, {} ASIDs", found.asids),
            Kind::Vmx(found) => {
                format!("VT-x, EPT, unrestricted guests{}", found.extras())
            }
        }
    }
}

fn leaf(leaf: u32) -> [u32; 4] {
    let r = cpuid(leaf, 0);
    [r.eax, r.ebx, r.ecx, r.edx]
}

/// States that guests may use, as far as the CPU has them.
fn save_format(intel: bool) -> SaveFormat {
    let tsc_aux = cpuid(0x8000_0001, 0).edx & 1 << 27 != 0;
    // Only CPUs of AMD leave x87's pointers out, and only some of them.
    let x87_pointers = intel || cpuid(0x8000_0008, 0).ebx & 1 << 2 != 0;
    let xcr0 = control::features().xcr0.map_or(0, guest_states);
    // The area is as large as all of the host's components need, of which guests get a part.
    let bytes = if xcr0 == 0 { SaveFormat::FXSAVE_BYTES } else { cpuid(0xd, 0).ecx };
    SaveFormat { xcr0, bytes, tsc_aux, x87_pointers }
}

/// What the calling CPU keeps to run guests.
pub enum Processor {
    Svm(vmm::svm::Processor),
    Vmx(vmm::vmx::Processor),
}

impl Processor {
    /// Switches virtualization on, on the calling CPU. `None` where the machine can't run VMs.
    ///
    /// # Errors
    /// Why this CPU can't.
    pub fn start() -> Result<Option<Self>, StartError> {
        let Ok(found) = virtualization() else { return Ok(None) };
        Ok(Some(match &found.kind {
            Kind::Svm(found) => Self::Svm(found.start()?),
            Kind::Vmx(found) => Self::Vmx(found.start()?),
        }))
    }
}

impl Processor {
    /// The CPU drops what it has cached of nested tables, before it runs a guest again.
    pub fn drop_translations(&mut self) {
        match self {
            Self::Svm(cpu) => cpu.drop_translations(),
            Self::Vmx(cpu) => cpu.drop_translations(),
        }
    }
}

/// A VM's second-level page tables.
pub enum NestedTables {
    Svm(PageTable<Npt, &'static Heap<ThisCpu>>),
    Vmx(vmx::NestedTables),
}

impl NestedTables {
    /// Tables that map all of `memory`. `changes`: chunks of it may go and come.
    ///
    /// # Errors
    /// As [`nested::map`].
    pub fn map(found: &Virtualization, memory: &GuestMemory, changes: bool) -> Result<Self, PagingError> {
        let largest = |possible| if changes { PageSize::Large } else { possible };
        Ok(match &found.kind {
            Kind::Svm(_) => Self::Svm(nested::map(memory, &HEAP, largest(svm::largest_page()))?),
            Kind::Vmx(found) => {
                let ram = nested::map(memory, &HEAP, largest(found.largest_page()))?;
                Self::Vmx(vmx::NestedTables::new(ram, found)?)
            }
        })
    }

    /// As [`nested::map_chunk`].
    pub fn map_chunk(&mut self, gpa: Gpa, chunk: Hpa) {
        match self {
            Self::Svm(tables) => nested::map_chunk(tables, gpa, chunk),
            Self::Vmx(tables) => tables.map_chunk(gpa, chunk),
        }
    }

    /// As [`nested::unmap_chunk`].
    pub fn unmap_chunk(&mut self, gpa: Gpa) {
        match self {
            Self::Svm(tables) => nested::unmap_chunk(tables, gpa),
            Self::Vmx(tables) => tables.unmap_chunk(gpa),
        }
    }

    /// Frees them: no vCPU uses them any more.
    pub fn free(self) {
        match self {
            Self::Svm(tables) => nested::free(tables),
            Self::Vmx(tables) => tables.free(),
        }
    }
}

/// A vCPU of this machine.
#[allow(clippy::large_enum_variant)] // All of a machine's are of one kind.
pub enum Vcpu {
    Svm(vmm::vcpu::Vcpu<SvmVcpu>),
    Vmx(vmm::vcpu::Vcpu<VmxVcpu>),
}

/// One choice was made for the whole machine.
const MIXED: &str = "a vCPU of one kind of hardware with a CPU or tables of the other";

macro_rules! either {
    ($self:expr, $vcpu:ident => $result:expr) => {
        match $self {
            Self::Svm($vcpu) => $result,
            Self::Vmx($vcpu) => $result,
        }
    };
}

impl Vcpu {
    /// A vCPU, in its power-on state, of the VM with these nested tables.
    pub fn new(found: &Virtualization, tables: &NestedTables, shared: Arc<Shared>, facts: &Facts) -> Self {
        let physical = |object: *const u8| HEAP.physical(Hva::from_ptr(object));
        match (&found.kind, tables) {
            (Kind::Svm(kind), NestedTables::Svm(tables)) => {
                let back_end = SvmVcpu::new(kind.maps, tables.root(), kind.features, physical);
                Self::Svm(vmm::vcpu::Vcpu::new(back_end, shared, found.format, &host_cpuid, facts))
            }
            (Kind::Vmx(kind), NestedTables::Vmx(tables)) => {
                let around = Surroundings {
                    capabilities: &kind.capabilities,
                    maps: kind.maps,
                    roots: tables.roots(),
                    fabric: &shared.fabric,
                    index: facts.apic_id as usize,
                    notification_vector: Vector::POSTED.0,
                    tsc_hz: time::tsc_rate().hertz,
                };
                let back_end = VmxVcpu::new(&around, physical);
                Self::Vmx(vmm::vcpu::Vcpu::new(back_end, shared, found.format, &host_cpuid, facts))
            }
            _ => unreachable!("{MIXED}"),
        }
    }

    /// As [`vmm::vcpu::Vcpu::start_at`].
    pub fn start_at(&mut self, state: &InitialState) {
        either!(self, vcpu => vcpu.start_at(state));
    }

    /// As [`vmm::vcpu::Vcpu::begin_turn`].
    ///
    /// # Safety
    /// Its.
    #[allow(unsafe_code)] // Hands on the contract.
    pub unsafe fn begin_turn(&mut self, processor: &mut Processor, in_cpu: bool) {
        match (self, processor) {
            // SAFETY: the caller's.
            (Self::Svm(vcpu), Processor::Svm(cpu)) => unsafe { vcpu.begin_turn(cpu, in_cpu) },
            // SAFETY: likewise.
            (Self::Vmx(vcpu), Processor::Vmx(cpu)) => unsafe { vcpu.begin_turn(cpu, in_cpu) },
            _ => unreachable!("{MIXED}"),
        }
    }

    /// As [`vmm::vcpu::Vcpu::end_turn`].
    ///
    /// # Safety
    /// Its.
    #[allow(unsafe_code)] // Hands on the contract.
    pub unsafe fn end_turn(&mut self) {
        // SAFETY: the caller's.
        either!(self, vcpu => unsafe { vcpu.end_turn() });
    }

    /// As [`vmm::vcpu::Vcpu::run`].
    pub fn run(&mut self, processor: &mut Processor, host: &impl Host) -> Leave {
        match (self, processor) {
            (Self::Svm(vcpu), Processor::Svm(cpu)) => vcpu.run(cpu, host),
            (Self::Vmx(vcpu), Processor::Vmx(cpu)) => vcpu.run(cpu, host),
            _ => unreachable!("{MIXED}"),
        }
    }

    /// As [`vmm::vcpu::Vcpu::shared`].
    pub fn shared(&self) -> &Arc<Shared> {
        either!(self, vcpu => vcpu.shared())
    }

    /// As [`vmm::vcpu::Vcpu::deadline`].
    pub fn deadline(&self) -> Option<u64> {
        either!(self, vcpu => vcpu.deadline())
    }

    /// As [`vmm::vcpu::Vcpu::activity`].
    pub fn activity(&self) -> Activity {
        either!(self, vcpu => vcpu.activity())
    }

    /// As [`vmm::vcpu::Vcpu::exits`].
    pub fn exits(&self) -> &[u64; ExitKind::COUNT] {
        either!(self, vcpu => vcpu.exits())
    }
}

/// The host's CPUID, as the policy asks for it.
fn host_cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    let r = cpuid(leaf, subleaf);
    [r.eax, r.ebx, r.ecx, r.edx]
}
