//! What the kernel needs of the processor.
//!
//! Long mode is a given: a 64-bit firmware started us. AMD-V or VT-x is not asked for here: the kernel
//! comes up without either and says on its console why no virtual machine can start.
use core::fmt;

/// Result registers of one CPUID leaf: EAX, EBX, ECX, EDX.
pub type Leaf = [u32; 4];

const ECX: usize = 2;
const EDX: usize = 3;

/// One feature that must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Name as the manuals spell it.
    pub name: &'static str,
    leaf: u32,
    register: usize,
    bit: u32,
}

const fn feature(name: &'static str, leaf: u32, register: usize, bit: u32) -> Feature {
    Feature { name, leaf, register, bit }
}

/// What the kernel is built on (APM vol. 3, appendix E.3 and E.4; SDM vol. 2A, CPUID).
pub const NEEDED: [Feature; 10] = [
    feature("TSC", 1, EDX, 4),
    feature("MSR", 1, EDX, 5),
    feature("PAE", 1, EDX, 6),
    feature("APIC", 1, EDX, 9),
    feature("PGE", 1, EDX, 13),
    feature("PAT", 1, EDX, 16),
    feature("FXSR", 1, EDX, 24),
    feature("SSE2", 1, EDX, 26),
    feature("CMPXCHG16B", 1, ECX, 13),
    // Pages that hold data are never executable.
    feature("NX", 0x8000_0001, EDX, 20),
];

/// 1 GiB pages: not needed, used where they are.
const PAGE_1GB: Feature = feature("Page1GB", 0x8000_0001, EDX, 26);

/// A processor that PureVisor cannot run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsuitable(Feature);

impl fmt::Display for Unsuitable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the processor does not have {} (CPUID {:#x})", self.0.name, self.0.leaf)?;
        if self.0.name == "NX" {
            write!(f, "; switch on 'execute disable' or 'NX' in the firmware's set-up")
        } else {
            write!(f, "; PureVisor needs an x86-64 server or PC processor made since 2009")
        }
    }
}

/// Whether `cpuid` (leaf to registers) reports `feature`.
fn has(cpuid: &impl Fn(u32) -> Leaf, feature: Feature) -> bool {
    // Leaves beyond the highest one answer with another leaf's content on some processors.
    let highest = cpuid(feature.leaf & 0x8000_0000)[0];
    highest >= feature.leaf && cpuid(feature.leaf)[feature.register] & (1 << feature.bit) != 0
}

/// Checks the processor against [`NEEDED`]; the first feature that is missing is the error.
pub fn check(cpuid: impl Fn(u32) -> Leaf) -> Result<(), Unsuitable> {
    match NEEDED.iter().find(|&&f| !has(&cpuid, f)) {
        Some(&missing) => Err(Unsuitable(missing)),
        None => Ok(()),
    }
}

/// Whether page-directory-pointer entries can map 1 GiB.
pub fn has_1gib_pages(cpuid: impl Fn(u32) -> Leaf) -> bool {
    has(&cpuid, PAGE_1GB)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn full(leaf: u32) -> Leaf {
        match leaf {
            0 => [1, 0, 0, 0],
            0x8000_0000 => [0x8000_0001, 0, 0, 0],
            _ => [u32::MAX; 4],
        }
    }

    #[test]
    fn a_processor_with_everything_passes() {
        assert_eq!(check(full), Ok(()));
        assert!(has_1gib_pages(full));
    }

    #[test]
    fn each_missing_feature_is_named() {
        for needed in NEEDED {
            let without = |leaf| {
                let mut registers = full(leaf);
                if leaf == needed.leaf {
                    registers[needed.register] &= !(1 << needed.bit);
                }
                registers
            };
            let error = check(without).unwrap_err();
            assert!(error.to_string().contains(needed.name), "{error}");
        }
    }

    #[test]
    fn a_leaf_beyond_the_highest_is_not_believed() {
        let no_extended = |leaf| if leaf == 0x8000_0000 { [0; 4] } else { full(leaf) };
        assert!(check(no_extended).unwrap_err().to_string().contains("NX"));
        assert!(!has_1gib_pages(no_extended));
    }
}
