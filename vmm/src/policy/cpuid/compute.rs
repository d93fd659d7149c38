//! Registers of the table that depend on the VM, not on the host alone.
use super::Facts;
use super::feature::*;
use super::table::{MAX_BASIC, MAX_EXTENDED};
use crate::policy::paravirtual::SIGNATURE;

/// What a register is computed from.
pub(super) struct Context<'a> {
    pub facts: &'a Facts,
    pub host: &'a Host<'a>,
    pub leaf: u32,
    pub subleaf: u32,
}

/// The host's CPUID, which answers nothing for leaves that it hasn't got.
pub(super) struct Host<'a> {
    query: &'a dyn Fn(u32, u32) -> [u32; 4],
    max_basic: u32,
    max_extended: u32,
    amd: bool,
}

impl<'a> Host<'a> {
    pub fn new(query: &'a dyn Fn(u32, u32) -> [u32; 4]) -> Self {
        let [max_basic, vendor @ ..] = query(0, 0);
        let max_extended = query(0x8000_0000, 0)[0];
        // EBX of AuthenticAMD and HygonGenuine, the vendors whose leaves these are.
        let amd = [*b"Auth", *b"Hygo"].map(u32::from_le_bytes).contains(&vendor[0]);
        // A CPU without extended leaves answers with anything.
        let max_extended = if max_extended >> 16 == 0x8000 { max_extended } else { 0 };
        Self { query, max_basic, max_extended, amd }
    }

    pub fn get(&self, leaf: u32, subleaf: u32) -> [u32; 4] {
        let exists = match leaf >> 16 {
            0 => leaf <= self.max_basic,
            0x8000 => leaf <= self.max_extended,
            _ => false,
        };
        if exists { (self.query)(leaf, subleaf) } else { [0; 4] }
    }

    pub fn is_amd(&self) -> bool {
        self.amd
    }
}

impl Context<'_> {
    fn host_register(&self, register: usize) -> u32 {
        self.host.get(self.leaf, self.subleaf)[register]
    }
}

/// Bits of the APIC ID below the package's.
fn core_bits(facts: &Facts) -> u32 {
    facts.vcpus.max(1).next_power_of_two().trailing_zeros()
}

/// Topology and, where shown, extended state are computed, so these leaves exist on every host.
pub(super) fn max_basic(c: &Context) -> u32 {
    if c.facts.xcr0 != 0 { MAX_BASIC } else { 0xb }
}

pub(super) fn max_extended(c: &Context) -> u32 {
    c.host.max_extended.clamp(0x8000_0008, MAX_EXTENDED)
}

pub(super) fn leaf_1_ebx(c: &Context) -> u32 {
    c.facts.vcpus.min(0xff) << 16 | c.facts.apic_id << 24
}

/// HTT says that the count of leaf 1 is valid.
pub(super) fn htt(c: &Context) -> u32 {
    if c.facts.vcpus > 1 { leaf_1_edx::HTT } else { 0 }
}

/// On AMD: the "threads" of HTT are cores, and OSVW, whose registers say that no erratum needs a
/// workaround. Without it kernels guess from the model.
pub(super) fn extended_1_ecx(c: &Context) -> u32 {
    if !c.host.is_amd() {
        return 0;
    }
    extended_1_ecx::OSVW | if c.facts.vcpus > 1 { extended_1_ecx::CMP_LEGACY } else { 0 }
}

/// AMD repeats what leaf 1 says of features that we add.
pub(super) fn extended_1_edx(c: &Context) -> u32 {
    if c.host.is_amd() { extended_1_edx::APIC | extended_1_edx::MTRR } else { 0 }
}

/// How many vCPUs share a cache, less one: the first two levels belong to a core, the others to all.
fn sharing(host_eax: u32, all: u32) -> u32 {
    let (kind, level) = (host_eax & 0x1f, host_eax >> 5 & 7);
    if kind == 0 || level < 3 { 0 } else { (all - 1) & 0xfff }
}

/// Intel counts IDs: powers of two.
pub(super) fn leaf_4_eax(c: &Context) -> u32 {
    let host = c.host_register(0);
    if host & 0x1f == 0 {
        return 0;
    }
    let ids = 1 << core_bits(c.facts);
    sharing(host, ids) << 14 | (ids - 1).min(0x3f) << 26
}

/// AMD counts CPUs.
pub(super) fn leaf_1d_eax(c: &Context) -> u32 {
    sharing(c.host_register(0), c.facts.vcpus.max(1)) << 14
}

pub(super) fn max_leaf_7(c: &Context) -> u32 {
    c.host_register(0).min(1)
}

/// Leaf 0xb: how far to shift the APIC ID for the ID of the next level.
pub(super) fn topology_shift(c: &Context) -> u32 {
    if c.subleaf == 0 { 0 } else { core_bits(c.facts) }
}

pub(super) fn topology_count(c: &Context) -> u32 {
    if c.subleaf == 0 { 1 } else { c.facts.vcpus.max(1) & 0xffff }
}

/// Type of the level (1 for threads, 2 for cores) and the subleaf.
pub(super) fn topology_level(c: &Context) -> u32 {
    (c.subleaf + 1) << 8 | c.subleaf
}

pub(super) fn apic_id(c: &Context) -> u32 {
    c.facts.apic_id
}

pub(super) fn xcr0_low(c: &Context) -> u32 {
    c.facts.xcr0 as u32
}

pub(super) fn xcr0_high(c: &Context) -> u32 {
    (c.facts.xcr0 >> 32) as u32
}

/// Bytes of the standard form with all components.
pub(super) fn xsave_max(c: &Context) -> u32 {
    if c.facts.xcr0 == 0 {
        return 0;
    }
    (2..63)
        .filter(|bit| c.facts.xcr0 >> bit & 1 != 0)
        .map(|bit| c.host.get(0xd, bit))
        .fold(super::LEGACY_AND_HEADER, |end, [size, offset, ..]| end.max(offset.saturating_add(size)))
}

fn component(c: &Context) -> [u32; 4] {
    if c.subleaf < 63 && c.facts.xcr0 >> c.subleaf & 1 != 0 { c.host.get(0xd, c.subleaf) } else { [0; 4] }
}

pub(super) fn component_size(c: &Context) -> u32 {
    component(c)[0]
}

pub(super) fn component_offset(c: &Context) -> u32 {
    component(c)[1]
}

/// Bit 1: aligned to 64 bytes in the compacted form. Bit 0, a supervisor's component, is never set.
pub(super) fn component_alignment(c: &Context) -> u32 {
    component(c)[2] & super::ALIGNED
}

/// Four bytes of the paravirtual interface's signature.
pub(super) const fn signature(at: usize) -> u32 {
    u32::from_le_bytes([SIGNATURE[at], SIGNATURE[at + 1], SIGNATURE[at + 2], SIGNATURE[at + 3]])
}

pub(super) fn paravirtual_features(c: &Context) -> u32 {
    c.facts.paravirtual.bits()
}

pub(super) fn tsc_khz(c: &Context) -> u32 {
    (c.facts.tsc_hz / 1000).min(u32::MAX.into()) as u32
}

pub(super) fn apic_timer_khz(c: &Context) -> u32 {
    (c.facts.apic_timer_hz / 1000).min(u32::MAX.into()) as u32
}

pub(super) fn invariant_tsc(c: &Context) -> u32 {
    if c.facts.invariant_tsc { extended_7_edx::INVARIANT_TSC } else { 0 }
}

/// Physical addresses as wide as the host's, but not wider than 4 levels of second-level tables reach;
/// linear ones of 48 bits, since LA57 is hidden.
pub(super) fn address_sizes(c: &Context) -> u32 {
    let physical = match c.host_register(0) & 0xff {
        0 => 36,
        bits => bits.min(48),
    };
    physical | 48 << 8
}

pub(super) fn core_count(c: &Context) -> u32 {
    if !c.host.is_amd() {
        return 0;
    }
    (c.facts.vcpus.max(1) - 1).min(0xff) | core_bits(c.facts) << 12
}

/// Whether AMD's topology leaves exist.
fn topology_extensions(c: &Context) -> bool {
    c.host.get(0x8000_0001, 0)[2] & extended_1_ecx::TOPOLOGY_EXTENSIONS != 0
}

pub(super) fn extended_apic_id(c: &Context) -> u32 {
    if topology_extensions(c) { c.facts.apic_id } else { 0 }
}

/// One thread a core.
pub(super) fn core_id(c: &Context) -> u32 {
    if topology_extensions(c) { c.facts.apic_id & 0xff } else { 0 }
}
