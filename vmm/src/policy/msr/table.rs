//! The table: every model-specific register that a guest has, and what reading and writing it does.
//!
//! Beside those of the architecture there are registers of one CPU model or another that kernels touch
//! without being ready for #GP (`rdmsrl`, not `rdmsrl_safe`, in Linux): they read as a machine would have
//! them on which nothing needs to be done, and swallow writes.
use super::mtrr::{self, valid_base, valid_default, valid_fixed, valid_mask, valid_pat};
use super::{MsrFacts, Owner};
use crate::backend::HardwareMsr as Hw;
use crate::cpu::Efer;
use crate::policy::paravirtual::{Features, MSR_PV_EOI, MSR_STEAL_TIME, MSR_SYSTEM_TIME, MSR_WALL_CLOCK};

/// What a read does.
#[derive(Clone, Copy)]
pub(super) enum Read {
    /// Always this.
    Constant(u64),
    /// What is kept in the store, this at first.
    Stored(u64),
    /// The microcode's revision, from the facts.
    PatchLevel,
    /// #GP.
    Refuse,
    /// The owner knows.
    Ask(Owner),
}

/// What a write of a valid value does; an invalid one raises #GP.
#[derive(Clone, Copy)]
pub(super) enum Write {
    /// #GP, whatever the value.
    Refuse,
    /// Nothing.
    Ignore,
    /// Keeps it.
    Store,
    /// Keeps it and tells the owner.
    StoreAndTell(Owner),
    /// The owner keeps it.
    Tell(Owner),
}

/// Registers next to each other that behave the same.
pub(super) struct Row {
    pub first: u32,
    pub last: u32,
    /// As the manuals spell it.
    pub name: &'static str,
    pub read: Read,
    pub write: Write,
    pub valid: fn(u64, &MsrFacts) -> bool,
    /// Exists only where the VM is shown this feature.
    pub feature: Features,
}

impl Row {
    const fn to(self, last: u32) -> Self {
        Self { last, ..self }
    }

    const fn if_valid(self, valid: fn(u64, &MsrFacts) -> bool) -> Self {
        Self { valid, ..self }
    }

    const fn with(self, feature: Features) -> Self {
        Self { feature, ..self }
    }
}

fn any(_: u64, _: &MsrFacts) -> bool {
    true
}

fn zero(value: u64, _: &MsrFacts) -> bool {
    value == 0
}

fn canonical(value: u64, _: &MsrFacts) -> bool {
    mm::addr::is_canonical(value)
}

/// EFER without what CPUID hides: SVME, LMSLE, FFXSR, TCE.
fn valid_efer(value: u64, _: &MsrFacts) -> bool {
    Efer::SCE.union(Efer::LME).union(Efer::LMA).union(Efer::NXE).contains(Efer::from_bits_retain(value))
}

/// The barrier of IA32_PRED_CMD, where CPUID shows it.
fn valid_barrier(value: u64, facts: &MsrFacts) -> bool {
    facts.prediction_barrier && value & !1 == 0
}

/// Bits of IA32_DEBUGCTL that both vendors have in the same sense: last-branch records and single-stepping
/// on branches, and AMD's pins.
fn valid_debugctl(value: u64, _: &MsrFacts) -> bool {
    value & !0x3f == 0
}

/// Of KVM_EOI_EN bit 1 is reserved.
fn valid_eoi_flag(value: u64, _: &MsrFacts) -> bool {
    value & 2 == 0
}

const fn row(msr: u32, name: &'static str, read: Read, write: Write) -> Row {
    Row { first: msr, last: msr, name, read, write, valid: any, feature: Features::empty() }
}

/// A register that is always the same and swallows writes.
const fn fixed(msr: u32, name: &'static str, value: u64) -> Row {
    row(msr, name, Read::Constant(value), Write::Ignore)
}

/// A register that is always the same and refuses writes.
const fn constant(msr: u32, name: &'static str, value: u64) -> Row {
    row(msr, name, Read::Constant(value), Write::Refuse)
}

/// A register that only keeps what was written.
const fn stored(msr: u32, name: &'static str, initial: u64) -> Row {
    row(msr, name, Read::Stored(initial), Write::Store)
}

/// A register that belongs to someone else.
const fn owned(msr: u32, name: &'static str, owner: Owner) -> Row {
    row(msr, name, Read::Ask(owner), Write::Tell(owner))
}

const fn hardware(msr: u32, name: &'static str, register: Hw) -> Row {
    owned(msr, name, Owner::Hardware(register))
}

/// A register of the paravirtual interface.
const fn paravirtual(msr: u32, name: &'static str, owner: Owner, feature: Features) -> Row {
    row(msr, name, Read::Stored(0), Write::StoreAndTell(owner)).with(feature)
}

/// IA32_MISC_ENABLE: fast strings; no branch trace store, no PEBS.
const MISC_ENABLE: u64 = 1 | 1 << 11 | 1 << 12;
/// HWCR: the time-stamp counter counts at the frequency of P0. Linux complains otherwise.
const HWCR_TSC_FREQ_SEL: u64 = 1 << 24;
/// VM_CR: SVM disabled, and locked so.
const VM_CR_DISABLED: u64 = 1 << 3 | 1 << 4;
/// DE_CFG: LFENCE is serializing.
const DE_CFG_LFENCE: u64 = 1 << 1;
/// OSVW: all errata that it could tell of are fixed.
const OSVW_IDS: u64 = 4;

/// First register of the x2APIC.
pub(super) const X2APIC_FIRST: u32 = 0x800;
/// Last register of the x2APIC.
pub(super) const X2APIC_LAST: u32 = 0x8ff;
pub(super) const IA32_APIC_BASE: u32 = 0x1b;
pub(super) const IA32_TSC_DEADLINE: u32 = 0x6e0;

/// Ascending.
pub(super) const TABLE: &[Row] = &[
    fixed(0x0, "IA32_P5_MC_ADDR, IA32_P5_MC_TYPE", 0).to(0x1),
    owned(0x10, "IA32_TIME_STAMP_COUNTER", Owner::Tsc),
    constant(0x17, "IA32_PLATFORM_ID", 0),
    owned(IA32_APIC_BASE, "IA32_APIC_BASE", Owner::ApicBase),
    fixed(0x2a, "EBL_CR_POWERON", 0),
    fixed(0x2c, "EBC_FREQUENCY_ID", 1 << 24),
    // Locked, with VMX and SMX off.
    constant(0x3a, "IA32_FEATURE_CONTROL", 1),
    owned(0x3b, "IA32_TSC_ADJUST", Owner::TscAdjust),
    row(0x49, "IA32_PRED_CMD", Read::Refuse, Write::Tell(Owner::PredictionBarrier)).if_valid(valid_barrier),
    fixed(0x79, "IA32_BIOS_UPDT_TRIG", 0),
    // PATCH_LEVEL on AMD.
    row(0x8b, "IA32_BIOS_SIGN_ID", Read::PatchLevel, Write::Ignore),
    constant(0xcd, "FSB_FREQ", 3),
    constant(0xce, "PLATFORM_INFO", 0),
    constant(0xfe, "IA32_MTRRCAP", mtrr::CAP),
    fixed(0x11e, "BBL_CR_CTL3", 0xbe70_2111),
    fixed(0x140, "MISC_FEATURES_ENABLES", 0).if_valid(zero),
    hardware(0x174, "IA32_SYSENTER_CS", Hw::SysenterCs),
    hardware(0x175, "IA32_SYSENTER_ESP", Hw::SysenterEsp).if_valid(canonical),
    hardware(0x176, "IA32_SYSENTER_EIP", Hw::SysenterEip).if_valid(canonical),
    // No banks: a machine check is the host's business.
    constant(0x179, "IA32_MCG_CAP", 0),
    fixed(0x17a, "IA32_MCG_STATUS", 0).if_valid(zero),
    constant(0x198, "IA32_PERF_STATUS", 0),
    fixed(0x199, "IA32_PERF_CTL", 0),
    fixed(0x1a0, "IA32_MISC_ENABLE", MISC_ENABLE),
    hardware(0x1d9, "IA32_DEBUGCTL", Hw::DebugCtl).if_valid(valid_debugctl),
    fixed(0x1db, "LASTBRANCHFROMIP to LASTINTTOIP", 0).to(0x1de),
    mtrr_base(0x200),
    mtrr_mask(0x201),
    mtrr_base(0x202),
    mtrr_mask(0x203),
    mtrr_base(0x204),
    mtrr_mask(0x205),
    mtrr_base(0x206),
    mtrr_mask(0x207),
    mtrr_base(0x208),
    mtrr_mask(0x209),
    mtrr_base(0x20a),
    mtrr_mask(0x20b),
    mtrr_base(0x20c),
    mtrr_mask(0x20d),
    mtrr_base(0x20e),
    mtrr_mask(0x20f),
    mtrr_fixed(0x250, "IA32_MTRR_FIX64K_00000"),
    mtrr_fixed(0x258, "IA32_MTRR_FIX16K_80000"),
    // The video window.
    stored(0x259, "IA32_MTRR_FIX16K_A0000", 0).if_valid(valid_fixed),
    mtrr_fixed(0x268, "IA32_MTRR_FIX4K_C0000 to IA32_MTRR_FIX4K_F8000").to(0x26f),
    hardware(0x277, "IA32_PAT", Hw::Pat).if_valid(valid_pat),
    stored(0x2ff, "IA32_MTRR_DEF_TYPE", mtrr::DEFAULT_TYPE).if_valid(valid_default),
    owned(IA32_TSC_DEADLINE, "IA32_TSC_DEADLINE", Owner::TscDeadline),
    owned(X2APIC_FIRST, "x2APIC", Owner::X2Apic(0)).to(X2APIC_LAST),
    paravirtual(MSR_WALL_CLOCK, "KVM_WALL_CLOCK_NEW", Owner::WallClock, Features::CLOCKSOURCE2),
    paravirtual(MSR_SYSTEM_TIME, "KVM_SYSTEM_TIME_NEW", Owner::SystemTime, Features::CLOCKSOURCE2),
    paravirtual(MSR_STEAL_TIME, "KVM_STEAL_TIME", Owner::StealTime, Features::STEAL_TIME),
    paravirtual(MSR_PV_EOI, "KVM_EOI_EN", Owner::PvEoi, Features::PV_EOI).if_valid(valid_eoi_flag),
    owned(0xc000_0080, "EFER", Owner::Efer).if_valid(valid_efer),
    hardware(0xc000_0081, "STAR", Hw::Star),
    hardware(0xc000_0082, "LSTAR", Hw::Lstar).if_valid(canonical),
    hardware(0xc000_0083, "CSTAR", Hw::Cstar).if_valid(canonical),
    hardware(0xc000_0084, "SFMASK", Hw::Sfmask),
    hardware(0xc000_0100, "FS.Base", Hw::FsBase).if_valid(canonical),
    hardware(0xc000_0101, "GS.Base", Hw::GsBase).if_valid(canonical),
    hardware(0xc000_0102, "KernelGSBase", Hw::KernelGsBase).if_valid(canonical),
    hardware(0xc000_0103, "TSC_AUX", Hw::TscAux),
    // A counter that doesn't count tells a kernel that there is none.
    fixed(0xc001_0000, "PerfEvtSel0-3, PerfCtr0-3", 0).to(0xc001_0007),
    fixed(0xc001_0010, "SYSCFG", 0),
    fixed(0xc001_0015, "HWCR", HWCR_TSC_FREQ_SEL),
    fixed(0xc001_001a, "TOP_MEM", 0),
    fixed(0xc001_001d, "TOP_MEM2", 0),
    fixed(0xc001_001f, "NB_CFG", 0),
    fixed(0xc001_0020, "PATCH_LOADER", 0),
    fixed(0xc001_0055, "Interrupt Pending", 0),
    fixed(0xc001_0058, "MMIO Configuration Base", 0),
    fixed(0xc001_0061, "P-state limit, control, status, definitions", 0).to(0xc001_006b),
    fixed(0xc001_0071, "COFVID Status", 0),
    fixed(0xc001_0111, "SMM_BASE, SMMAddr, SMMMask", 0).to(0xc001_0113),
    fixed(0xc001_0114, "VM_CR", VM_CR_DISABLED),
    fixed(0xc001_0140, "OSVW_ID_Length", OSVW_IDS),
    fixed(0xc001_0141, "OSVW_Status", 0),
    fixed(0xc001_1021, "IC_CFG, DC_CFG, TW_CFG", 0).to(0xc001_1023),
    fixed(0xc001_1029, "DE_CFG", DE_CFG_LFENCE),
    fixed(0xc001_102a, "BU_CFG2", 0),
    fixed(0xc001_102c, "EX_CFG", 0),
];

const fn mtrr_fixed(msr: u32, name: &'static str) -> Row {
    stored(msr, name, mtrr::FIXED_WRITE_BACK).if_valid(valid_fixed)
}

const fn mtrr_base(msr: u32) -> Row {
    stored(msr, "IA32_MTRR_PHYSBASEn", 0).if_valid(valid_base)
}

const fn mtrr_mask(msr: u32) -> Row {
    stored(msr, "IA32_MTRR_PHYSMASKn", 0).if_valid(valid_mask)
}

/// Where each row's values begin in the store.
pub(super) const SLOTS: [u16; TABLE.len() + 1] = {
    let mut slots = [0; TABLE.len() + 1];
    let mut i = 0;
    while i < TABLE.len() {
        let row = &TABLE[i];
        let count = if let Read::Stored(_) = row.read { row.last - row.first + 1 } else { 0 };
        slots[i + 1] = slots[i] + count as u16;
        i += 1;
    }
    slots
};

/// Values in a store.
pub(super) const STORED: usize = SLOTS[TABLE.len()] as usize;
