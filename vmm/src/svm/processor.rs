//! What a physical CPU needs for AMD-V, and what it keeps.
use crate::asid::AsidPool;
use bitflags::bitflags;
use core::fmt;
use mm::addr::Hpa;

bitflags! {
    /// SVM features (CPUID Fn8000_000A_EDX).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Features: u32 {
        /// Nested paging.
        const NESTED_PAGING = 1 << 0;
        /// The RIP after an intercepted instruction is saved.
        const NEXT_RIP = 1 << 3;
        /// VMCB clean bits.
        const CLEAN_BITS = 1 << 5;
        /// TLB_CONTROL can flush a single guest.
        const FLUSH_BY_ASID = 1 << 6;
        /// Exits carry decoded operands and instruction bytes.
        const DECODE_ASSISTS = 1 << 7;
        /// PAUSE is counted before it exits.
        const PAUSE_FILTER = 1 << 10;
        /// The count restarts when PAUSEs are far apart.
        const PAUSE_FILTER_THRESHOLD = 1 << 12;
    }
}

/// Why AMD-V can't be used on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The CPU does not have it.
    NoSvm,
    /// Firmware switched it off (VM_CR.SVMDIS), and locked it or not.
    Disabled {
        /// A key or a reset is needed to change it.
        locked: bool,
    },
    /// The CPU is too old for nested paging.
    NoNestedPaging,
    /// There are fewer than two address-space identifiers.
    NoAsids,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSvm => "this CPU has no AMD-V (SVM)",
            Self::Disabled { locked: true } => {
                "AMD-V (SVM) is disabled and locked by the firmware: enable \"SVM Mode\" in its set-up"
            }
            Self::Disabled { locked: false } => {
                "AMD-V (SVM) is disabled by the firmware: enable \"SVM Mode\" in its set-up"
            }
            Self::NoNestedPaging => {
                "this CPU has AMD-V without nested paging, which VMs need: use a newer CPU, or give this one \
                 nested paging if it is virtual itself"
            }
            Self::NoAsids => {
                "this CPU has AMD-V with fewer than two address-space identifiers: VMs need a CPU with more"
            }
        })
    }
}

/// VM_CR (MSR C001_0114h): SVMDIS.
const SVM_DISABLED: u64 = 1 << 4;
/// VM_CR: LOCK.
const SVM_LOCKED: u64 = 1 << 3;

/// Looks whether a CPU can be used: `cpuid(leaf)` as EAX, EBX, ECX, EDX; `vm_cr` reads MSR C001_0114h and
/// is called only if the CPU has SVM (APM vol. 2, 15.4). Returns its features and number of ASIDs.
///
/// # Errors
/// What is missing.
pub fn check(
    cpuid: impl Fn(u32) -> [u32; 4],
    vm_cr: impl FnOnce() -> u64,
) -> Result<(Features, u32), Missing> {
    let max_extended = cpuid(0x8000_0000)[0];
    if max_extended < 0x8000_000a || cpuid(0x8000_0001)[2] & 1 << 2 == 0 {
        return Err(Missing::NoSvm);
    }
    let vm_cr = vm_cr();
    if vm_cr & SVM_DISABLED != 0 {
        return Err(Missing::Disabled { locked: vm_cr & SVM_LOCKED != 0 });
    }
    let [_, asids, _, features] = cpuid(0x8000_000a);
    let features = Features::from_bits_truncate(features);
    if !features.contains(Features::NESTED_PAGING) {
        return Err(Missing::NoNestedPaging);
    }
    if asids < 2 {
        return Err(Missing::NoAsids);
    }
    Ok((features, asids))
}

/// Whether a CPU has the prediction barrier (IBPB: CPUID Fn8000_0008_EBX bit 12; PRED_CMD, MSR 49h). To be
/// asked of a CPU that has SVM, and so that leaf.
pub fn has_prediction_barrier(cpuid: impl Fn(u32) -> [u32; 4]) -> bool {
    cpuid(0x8000_0008)[1] & 1 << 12 != 0
}

/// What one physical CPU keeps while it runs guests.
pub struct Processor {
    /// The VM that ran here last; 0 for none.
    pub(super) vm: u64,
    prediction_barrier: bool,
    pub(super) asids: AsidPool,
    /// Where VMSAVE keeps, and VMLOAD finds, the host's FS, GS, TR and system-call registers.
    #[cfg_attr(not(target_os = "none"), allow(dead_code))]
    pub(super) host_state: Hpa,
}

impl Processor {
    /// For CPU number `cpu`; `host_state` is a page of its own that holds what VMSAVE wrote there.
    pub fn new(cpu: usize, asids: u32, prediction_barrier: bool, host_state: Hpa) -> Self {
        Self { vm: 0, prediction_barrier, asids: AsidPool::new(cpu, asids), host_state }
    }

    /// No translation that the CPU has cached of any guest is used from the next entry on: something was unmapped from
    /// nested tables (APM vol. 2, 15.25.9).
    pub fn drop_translations(&mut self) {
        self.asids.drop_all();
    }

    /// Keeps branches of the VM that ran here last from steering what the next one speculates on, where the
    /// CPU can (APM vol. 2, 3.2.9).
    pub(super) fn forget_predictions(&self) {
        if self.prediction_barrier {
            crate::barrier::forget_predictions();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(svm: bool, features: u32, asids: u32) -> impl Fn(u32) -> [u32; 4] {
        move |leaf| match leaf {
            0x8000_0000 => [0x8000_001f, 0, 0, 0],
            0x8000_0001 => [0, 0, u32::from(svm) << 2, 0],
            0x8000_000a => [1, asids, 0, features],
            _ => [0; 4],
        }
    }

    #[test]
    fn a_cpu_without_svm_is_told_from_one_where_it_is_off() {
        assert_eq!(check(machine(false, 1, 16), || unreachable!()), Err(Missing::NoSvm));
        assert_eq!(check(machine(true, 1, 16), || 0x18), Err(Missing::Disabled { locked: true }));
        assert_eq!(check(machine(true, 1, 16), || 0x10), Err(Missing::Disabled { locked: false }));
    }

    #[test]
    fn the_prediction_barrier_has_a_bit_of_its_own() {
        let with =
            |ebx| has_prediction_barrier(move |leaf| [0, if leaf == 0x8000_0008 { ebx } else { 0 }, 0, 0]);
        assert!(with(1 << 12) && !with(!(1 << 12)));
    }

    #[test]
    fn nested_paging_and_identifiers_are_needed_and_nothing_else() {
        assert_eq!(check(machine(true, 0, 16), || 0), Err(Missing::NoNestedPaging));
        assert_eq!(check(machine(true, 1, 1), || 0), Err(Missing::NoAsids));
        assert_eq!(check(machine(true, 1, 16), || 0), Ok((Features::NESTED_PAGING, 16)));
    }
}
