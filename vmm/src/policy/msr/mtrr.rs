//! Memory-type range registers (SDM vol. 3A, 12.11; APM vol. 2, 7.7): stored and checked, without effect.
//!
//! Second-level paging decides the types: RAM is write-back, devices are emulated. A guest that sets PAT
//! gets those types where its tables say so. The registers exist because Linux sets up PAT only where they do.
use super::MsrFacts;

/// Pairs of base and mask.
pub(super) const VARIABLE: u32 = 8;
/// IA32_MTRRCAP: that many pairs, fixed ranges (bit 8), write-combining (bit 10).
pub(super) const CAP: u64 = VARIABLE as u64 | 1 << 8 | 1 << 10;

const UNCACHEABLE: u64 = 0;
const WRITE_BACK: u64 = 6;
/// Every fixed range of a register write-back.
pub(super) const FIXED_WRITE_BACK: u64 = 0x0606_0606_0606_0606;
/// IA32_MTRR_DEF_TYPE as firmware leaves it: enabled with fixed ranges, write-back where nothing else is said.
pub(super) const DEFAULT_TYPE: u64 = ENABLE | FIXED_ENABLE | WRITE_BACK;
const ENABLE: u64 = 1 << 11;
const FIXED_ENABLE: u64 = 1 << 10;
/// IA32_MTRR_PHYSMASKn: the pair is in use.
const VALID: u64 = 1 << 11;

/// First pair as firmware leaves it, base: the hole for devices, 3 to 4 GiB, is not cached.
pub(super) const HOLE_BASE: u64 = crate::memory::Layout::HOLE | UNCACHEABLE;

/// First pair as firmware leaves it, mask.
pub(super) fn hole_mask(facts: &MsrFacts) -> u64 {
    let bytes = crate::memory::Layout::HIGH - crate::memory::Layout::HOLE;
    address_bits(facts) & !(bytes - 1) | VALID
}

/// Bits 51:12 as far as the CPU's physical addresses go.
fn address_bits(facts: &MsrFacts) -> u64 {
    (1u64 << facts.physical_bits.clamp(32, 52)) - 4096
}

/// The types that exist: UC, WC, WT, WP, WB.
const fn is_type(kind: u64) -> bool {
    matches!(kind, 0 | 1 | 4 | 5 | 6)
}

pub(super) fn valid_base(value: u64, facts: &MsrFacts) -> bool {
    value & !(address_bits(facts) | 0xff) == 0 && is_type(value & 0xff)
}

pub(super) fn valid_mask(value: u64, facts: &MsrFacts) -> bool {
    value & !(address_bits(facts) | VALID) == 0
}

pub(super) fn valid_fixed(value: u64, _: &MsrFacts) -> bool {
    value.to_le_bytes().iter().all(|&kind| is_type(kind.into()))
}

pub(super) fn valid_default(value: u64, _: &MsrFacts) -> bool {
    value & !(ENABLE | FIXED_ENABLE | 0xff) == 0 && is_type(value & 0xff)
}

/// IA32_PAT has one type more, UC- (7).
pub(super) fn valid_pat(value: u64, _: &MsrFacts) -> bool {
    value.to_le_bytes().iter().all(|&kind| kind == 7 || is_type(kind.into()))
}
