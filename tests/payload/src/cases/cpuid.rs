//! CPUID.
use crate::instructions::cpuid;
use crate::{Outcome, ensure, random};

/// The maker's name in EBX, EDX, ECX.
fn vendor() -> [u32; 3] {
    let [_, b, c, d] = cpuid(0, 0);
    [b, d, c]
}

fn is_intel() -> bool {
    vendor() == [0x756e_6547, 0x4965_6e69, 0x6c65_746e]
}

pub fn leaves() -> Outcome {
    let max_basic = cpuid(0, 0)[0];
    let max_extended = cpuid(0x8000_0000, 0)[0];
    ensure!((1..0x100).contains(&max_basic), "highest basic leaf {max_basic:#x}");
    ensure!(
        (0x8000_0008..0x8000_0100).contains(&max_extended),
        "highest extended leaf {max_extended:#x}, long mode needs 0x80000008"
    );
    let beyond = [max_basic + 1, 0x1000, 0x2fff_ffff, 0x7fff_ffff, max_extended + 1, 0x8fff_ffff, u32::MAX];
    for leaf in beyond {
        for subleaf in [0, 1, u32::MAX] {
            let got = cpuid(leaf, subleaf);
            let right = if is_intel() { got == cpuid(max_basic, subleaf) } else { got == [0; 4] };
            ensure!(right, "leaf {leaf:#x} subleaf {subleaf:#x} beyond the limits: {got:x?}");
        }
    }
    // Every leaf within the limits, with subleaves that nobody has.
    for leaf in (0..=max_basic).chain(0x8000_0000..=max_extended).chain(0x4000_0000..0x4000_0110) {
        for subleaf in [0, 1, 2, 63, 64, 0xffff, u32::MAX] {
            let _ = cpuid(leaf, subleaf);
        }
    }
    let physical_bits = cpuid(0x8000_0008, 0)[0] & 0xff;
    ensure!((32..=52).contains(&physical_bits), "{physical_bits} physical address bits");
    Ok(())
}

pub fn hides() -> Outcome {
    let [_, _, ecx, _] = cpuid(1, 0);
    let [_, _, extended, _] = cpuid(0x8000_0001, 0);
    ensure!(ecx & 1 << 31 != 0, "no hypervisor bit in leaf 1");
    ensure!(cpuid(0x4000_0000, 0)[0] >= 0x4000_0000, "no hypervisor leaf");
    for (bit, name) in [(5, "VMX"), (6, "SMX"), (3, "MONITOR"), (15, "PDCM"), (2, "DTES64")] {
        ensure!(ecx & 1 << bit == 0, "leaf 1 shows {name}");
    }
    for (bit, name) in [(2, "SVM"), (12, "SKINIT"), (10, "IBS"), (15, "LWP"), (29, "MONITORX")] {
        ensure!(extended & 1 << bit == 0, "leaf 0x80000001 shows {name}");
    }
    Ok(())
}

pub fn random() -> Outcome {
    for _ in 0..2000 {
        let base = random::one_of(&[0, 0x4000_0000, 0x8000_0000, 0xc000_0000]);
        let leaf =
            base + if random::below(2) == 0 { random::below(0x40) as u32 } else { random::nasty() as u32 };
        let subleaf = random::nasty() as u32;
        let (first, second) = (cpuid(leaf, subleaf), cpuid(leaf, subleaf));
        ensure!(first == second, "leaf {leaf:#x} subleaf {subleaf:#x}: {first:x?}, then {second:x?}");
    }
    Ok(())
}
