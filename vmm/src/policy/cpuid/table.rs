//! The table: what a guest sees of each leaf. What is not in it reads as zero.
//!
//! Hidden on purpose, and why:
//!
//! | feature | reason |
//! |---|---|
//! | VMX, SVM, SKINIT, SMX | no nested virtualization |
//! | MONITOR, MONITORX, WAITPKG | the guest would idle without an exit and keep its CPU |
//! | performance counters, IBS, PEBS, LBR, PT | counters of the host would count other VMs, too |
//! | HLE, RTM | aborted on most hosts by microcode, and a side channel |
//! | MPX, CET, PKS, AMX, XSAVES, XFD, LWP | state or registers that no back end switches |
//! | LA57 | second-level paging and the walk of guest tables are tuned to 4 levels; no guest needs it |
//! | speculation control (IBRS, STIBP, SSBD) | its register is not switched yet; guests fall back to retpolines and IBPB |
//! | FFXSR, TCE, LMSLE, automatic IBRS, UAI | bits of EFER that guests may not set |
//! | SEV, SME, RDT, SGX, TME, thermal, P-states | the host's |
use super::compute::{self, Context};
use super::feature::*;

/// How one register of a leaf comes about: `host & mask | set | made()`.
#[derive(Clone, Copy)]
pub(super) struct Reg {
    /// Bits that are passed through from the host.
    pub mask: u32,
    /// Bits that are always set.
    pub set: u32,
    /// Bits that depend on the VM.
    pub made: Option<fn(&Context) -> u32>,
}

impl Reg {
    const fn with(self, made: fn(&Context) -> u32) -> Self {
        Self { made: Some(made), ..self }
    }

    const fn and_set(self, set: u32) -> Self {
        Self { set, ..self }
    }
}

/// Reads as zero.
const HIDDEN: Reg = Reg { mask: 0, set: 0, made: None };
/// The host's register as it is.
const HOST: Reg = host(u32::MAX);

/// The host's register under a mask.
const fn host(mask: u32) -> Reg {
    Reg { mask, ..HIDDEN }
}

/// The same in every VM.
const fn set(set: u32) -> Reg {
    Reg { set, ..HIDDEN }
}

/// Computed from the facts.
const fn made(made: fn(&Context) -> u32) -> Reg {
    HIDDEN.with(made)
}

/// Which subleaves a row describes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Subleaf {
    /// ECX is not looked at.
    Any,
    /// This one.
    Is(u32),
    /// From the first to the last, each computed by itself.
    From(u32, u32),
}

/// Changes that are made at each look-up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Live {
    /// None.
    Nothing,
    /// APIC and OSXSAVE.
    Leaf1,
    /// APIC.
    Extended1,
    /// OSPKE.
    Leaf7,
    /// What lies beyond the last subleaf still names the subleaf and the APIC ID.
    Topology,
    /// Sizes of the save area.
    Xsave,
}

pub(super) struct Row {
    pub leaf: u32,
    pub subleaf: Subleaf,
    pub live: Live,
    /// EAX, EBX, ECX, EDX.
    pub regs: [Reg; 4],
}

const fn row(leaf: u32, eax: Reg, ebx: Reg, ecx: Reg, edx: Reg) -> Row {
    Row { leaf, subleaf: Subleaf::Any, live: Live::Nothing, regs: [eax, ebx, ecx, edx] }
}

impl Row {
    const fn sub(self, subleaf: Subleaf) -> Self {
        Self { subleaf, ..self }
    }

    const fn live(self, live: Live) -> Self {
        Self { live, ..self }
    }
}

/// Features of leaf 1 that need nothing from us but to be there.
const LEAF_1_ECX: u32 = {
    use leaf_1_ecx::*;
    SSE3 | PCLMULQDQ
        | SSSE3
        | FMA
        | CMPXCHG16B
        | PCID
        | SSE4_1
        | SSE4_2
        | MOVBE
        | POPCNT
        | AES
        | XSAVE
        | AVX
        | F16C
        | RDRAND
};
/// What we emulate, whatever the host has.
const LEAF_1_ECX_SET: u32 = leaf_1_ecx::X2APIC | leaf_1_ecx::TSC_DEADLINE | leaf_1_ecx::HYPERVISOR;
const LEAF_1_EDX: u32 = {
    use leaf_1_edx::*;
    FPU | VME
        | DE
        | PSE
        | TSC
        | MSR
        | PAE
        | MCE
        | CX8
        | SEP
        | PGE
        | MCA
        | CMOV
        | PAT
        | PSE36
        | CLFSH
        | MMX
        | FXSR
        | SSE
        | SSE2
        | SS
};
const LEAF_1_EDX_SET: u32 = leaf_1_edx::APIC | leaf_1_edx::MTRR;

const LEAF_7_EBX: u32 = {
    use leaf_7_ebx::*;
    FSGSBASE
        | BMI1
        | AVX2
        | FDP_EXCPTN_ONLY
        | SMEP
        | BMI2
        | ERMS
        | INVPCID
        | FCS_FDS
        | AVX512F
        | AVX512DQ
        | RDSEED
        | ADX
        | SMAP
        | AVX512_IFMA
        | CLFLUSHOPT
        | CLWB
        | AVX512PF
        | AVX512ER
        | AVX512CD
        | SHA
        | AVX512BW
        | AVX512VL
};
const LEAF_7_ECX: u32 = {
    use leaf_7_ecx::*;
    AVX512_VBMI
        | UMIP
        | PKU
        | AVX512_VBMI2
        | GFNI
        | VAES
        | VPCLMULQDQ
        | AVX512_VNNI
        | AVX512_BITALG
        | AVX512_VPOPCNTDQ
        | RDPID
        | CLDEMOTE
        | MOVDIRI
        | MOVDIR64B
};
const LEAF_7_EDX: u32 = {
    use leaf_7_edx::*;
    AVX512_4VNNIW | AVX512_4FMAPS | FSRM | AVX512_VP2INTERSECT | MD_CLEAR | SERIALIZE | AVX512_FP16
};
const LEAF_7_1_EAX: u32 = {
    use leaf_7_1_eax::*;
    SHA512 | SM3 | SM4 | AVX_VNNI | AVX512_BF16 | FZRM | FSRS | FSRC | AVX_IFMA
};
const LEAF_7_1_EDX: u32 = {
    use leaf_7_1_edx::*;
    AVX_VNNI_INT8 | AVX_NE_CONVERT | AVX_VNNI_INT16 | PREFETCHI
};
const LEAF_D_1_EAX: u32 = {
    use leaf_d_1_eax::*;
    XSAVEOPT | XSAVEC | XGETBV_1
};

const EXTENDED_1_ECX: u32 = {
    use extended_1_ecx::*;
    LAHF_SAHF
        | ALT_MOV_CR8
        | ABM
        | SSE4A
        | MISALIGN_SSE
        | PREFETCH_3DNOW
        | XOP
        | FMA4
        | TBM
        | TOPOLOGY_EXTENSIONS
};
const EXTENDED_1_EDX: u32 = {
    use extended_1_edx::*;
    FPU | VME
        | DE
        | PSE
        | TSC
        | MSR
        | PAE
        | MCE
        | CX8
        | SYSCALL
        | PGE
        | MCA
        | CMOV
        | PAT
        | PSE36
        | NX
        | MMX_EXT
        | MMX
        | FXSR
        | PAGE_1GB
        | RDTSCP
        | LM
        | EXT_3DNOW
        | AMD_3DNOW
};
const EXTENDED_8_EBX: u32 = {
    use extended_8_ebx::*;
    CLZERO | XSAVE_ERPTR | IBPB | LMSLE_UNSUPPORTED | SSB_NO | BTC_NO
};
const EXTENDED_21_EAX: u32 = {
    use extended_21_eax::*;
    NO_NESTED_DATA_BP | LFENCE_SERIALIZING | NULL_SELECT_CLEARS_BASE
};

/// Highest basic leaf of the table.
pub(super) const MAX_BASIC: u32 = 0xd;
/// Highest extended leaf of the table.
pub(super) const MAX_EXTENDED: u32 = 0x8000_0021;

/// Ascending by leaf and subleaf.
pub(super) const TABLE: &[Row] = &[
    // Highest leaf, vendor.
    row(0, made(compute::max_basic), HOST, HOST, HOST),
    // Signature; brand, line size of CLFLUSH, logical processors, APIC ID; features.
    row(
        1,
        HOST,
        host(0xffff).with(compute::leaf_1_ebx),
        host(LEAF_1_ECX).and_set(LEAF_1_ECX_SET),
        host(LEAF_1_EDX).and_set(LEAF_1_EDX_SET).with(compute::htt),
    )
    .live(Live::Leaf1),
    // Caches and TLBs as descriptor bytes (Intel).
    row(2, HOST, HOST, HOST, HOST),
    // Caches (Intel).
    row(4, host(0x0000_03ff).with(compute::leaf_4_eax), HOST, HOST, host(0x7)).sub(Subleaf::From(0, 7)),
    // The local APIC's timer runs in every idle state.
    row(6, set(leaf_6_eax::ARAT), HIDDEN, HIDDEN, HIDDEN),
    // Features.
    row(
        7,
        made(compute::max_leaf_7),
        host(LEAF_7_EBX).and_set(leaf_7_ebx::TSC_ADJUST),
        host(LEAF_7_ECX),
        host(LEAF_7_EDX),
    )
    .sub(Subleaf::Is(0))
    .live(Live::Leaf7),
    row(7, host(LEAF_7_1_EAX), HIDDEN, HIDDEN, host(LEAF_7_1_EDX)).sub(Subleaf::Is(1)).live(Live::Leaf7),
    // Topology: threads of a core, cores of the package.
    row(
        0xb,
        made(compute::topology_shift),
        made(compute::topology_count),
        made(compute::topology_level),
        made(compute::apic_id),
    )
    .sub(Subleaf::From(0, 1))
    .live(Live::Topology),
    // Extended state: enabled components, sizes for XCR0 (live) and for all.
    row(0xd, made(compute::xcr0_low), HIDDEN, made(compute::xsave_max), made(compute::xcr0_high))
        .sub(Subleaf::Is(0))
        .live(Live::Xsave),
    row(0xd, host(LEAF_D_1_EAX), HIDDEN, HIDDEN, HIDDEN).sub(Subleaf::Is(1)).live(Live::Xsave),
    // Size and offset of each component; aligned in the compacted form or not.
    row(
        0xd,
        made(compute::component_size),
        made(compute::component_offset),
        made(compute::component_alignment),
        HIDDEN,
    )
    .sub(Subleaf::From(2, 63))
    .live(Live::Xsave),
    // The paravirtual interface.
    row(
        0x4000_0000,
        set(super::paravirtual::TIMING_LEAF),
        set(compute::signature(0)),
        set(compute::signature(4)),
        set(compute::signature(8)),
    ),
    row(0x4000_0001, made(compute::paravirtual_features), HIDDEN, HIDDEN, HIDDEN),
    row(0x4000_0010, made(compute::tsc_khz), made(compute::apic_timer_khz), HIDDEN, HIDDEN),
    // Highest extended leaf, vendor.
    row(0x8000_0000, made(compute::max_extended), HOST, HOST, HOST),
    // Signature, brand, features.
    row(
        0x8000_0001,
        HOST,
        HOST,
        host(EXTENDED_1_ECX).with(compute::extended_1_ecx),
        host(EXTENDED_1_EDX).with(compute::extended_1_edx),
    )
    .live(Live::Extended1),
    // Brand string.
    row(0x8000_0002, HOST, HOST, HOST, HOST),
    row(0x8000_0003, HOST, HOST, HOST, HOST),
    row(0x8000_0004, HOST, HOST, HOST, HOST),
    // Caches and TLBs.
    row(0x8000_0005, HOST, HOST, HOST, HOST),
    row(0x8000_0006, HOST, HOST, HOST, HOST),
    // Power management: a counter that neither stops nor changes its pace.
    row(0x8000_0007, HIDDEN, HIDDEN, HIDDEN, made(compute::invariant_tsc)),
    // Address sizes, features, number of cores.
    row(0x8000_0008, made(compute::address_sizes), host(EXTENDED_8_EBX), made(compute::core_count), HIDDEN),
    // TLBs of 1 GiB pages, hints for optimisation.
    row(0x8000_0019, HOST, HOST, HIDDEN, HIDDEN),
    row(0x8000_001a, host(0x7), HIDDEN, HIDDEN, HIDDEN),
    // Caches (AMD).
    row(0x8000_001d, host(0x0000_03ff).with(compute::leaf_1d_eax), HOST, HOST, host(0x3))
        .sub(Subleaf::From(0, 7)),
    // Topology (AMD): APIC ID; core; node.
    row(0x8000_001e, made(compute::extended_apic_id), made(compute::core_id), HIDDEN, HIDDEN),
    // Features.
    row(0x8000_0021, host(EXTENDED_21_EAX), HIDDEN, HIDDEN, HIDDEN),
];

/// Bits that need a component of the extended state which XCR0 must be able to enable.
pub(super) struct Needs {
    pub leaf: u32,
    pub subleaf: u32,
    /// 0 for EAX to 3 for EDX.
    pub register: usize,
    pub bits: u32,
    /// Components of XCR0.
    pub state: u64,
}

/// x87: that XSAVE can be used at all.
const X87: u64 = 1 << 0;
/// SSE and AVX.
const AVX_STATE: u64 = 0b111;
/// AVX and what AVX-512 adds: opmask, upper halves, upper registers.
const AVX_512_STATE: u64 = 0b1110_0111;
/// Protection keys.
const PKRU: u64 = 1 << 9;

const fn needs(leaf: u32, subleaf: u32, register: usize, bits: u32, state: u64) -> Needs {
    Needs { leaf, subleaf, register, bits, state }
}

/// All of them.
pub(super) const NEEDS: &[Needs] = &[
    needs(1, 0, 2, leaf_1_ecx::XSAVE, X87),
    needs(1, 0, 2, leaf_1_ecx::AVX | leaf_1_ecx::FMA | leaf_1_ecx::F16C, AVX_STATE),
    needs(7, 0, 1, leaf_7_ebx::AVX2, AVX_STATE),
    needs(7, 0, 1, AVX_512_EBX, AVX_512_STATE),
    needs(7, 0, 2, leaf_7_ecx::VAES | leaf_7_ecx::VPCLMULQDQ, AVX_STATE),
    needs(7, 0, 2, AVX_512_ECX, AVX_512_STATE),
    needs(7, 0, 2, leaf_7_ecx::PKU, PKRU),
    needs(7, 0, 3, AVX_512_EDX, AVX_512_STATE),
    needs(7, 1, 0, AVX_1_EAX, AVX_STATE),
    needs(7, 1, 0, leaf_7_1_eax::AVX512_BF16, AVX_512_STATE),
    needs(7, 1, 3, AVX_1_EDX, AVX_STATE),
    needs(0xd, 1, 0, u32::MAX, X87),
    needs(0x8000_0001, 0, 2, extended_1_ecx::XOP | extended_1_ecx::FMA4, AVX_STATE),
    needs(0x8000_0008, 0, 1, extended_8_ebx::XSAVE_ERPTR, X87),
];

const AVX_512_EBX: u32 = {
    use leaf_7_ebx::*;
    AVX512F | AVX512DQ | AVX512_IFMA | AVX512PF | AVX512ER | AVX512CD | AVX512BW | AVX512VL
};
const AVX_512_ECX: u32 = {
    use leaf_7_ecx::*;
    AVX512_VBMI | AVX512_VBMI2 | AVX512_VNNI | AVX512_BITALG | AVX512_VPOPCNTDQ
};
const AVX_512_EDX: u32 = {
    use leaf_7_edx::*;
    AVX512_4VNNIW | AVX512_4FMAPS | AVX512_VP2INTERSECT | AVX512_FP16
};
const AVX_1_EAX: u32 = {
    use leaf_7_1_eax::*;
    SHA512 | SM3 | SM4 | AVX_VNNI | AVX_IFMA
};
const AVX_1_EDX: u32 = {
    use leaf_7_1_edx::*;
    AVX_VNNI_INT8 | AVX_NE_CONVERT | AVX_VNNI_INT16
};
