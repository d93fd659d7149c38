//! Single bits, scans and counts (APM vol. 3: BT to BTS, BSF, BSR, LZCNT, TZCNT, POPCNT, CRC32).
use super::arithmetic::{STATUS, mask, when};
use crate::cpu::Rflags;

/// What a bit test does besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BitOperation {
    Test,
    Set,
    Reset,
    Complement,
}

impl BitOperation {
    /// The operand with bit `number` changed, and what the bit was.
    pub(super) fn apply(self, size: usize, value: u64, number: u64) -> (u64, bool) {
        let bit = 1u64 << (number & (8 * size as u64 - 1));
        let new = match self {
            Self::Test => value,
            Self::Set => value | bit,
            Self::Reset => value & !bit,
            Self::Complement => value ^ bit,
        };
        (new, value & bit != 0)
    }
}

/// Scans and counts of one operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scan {
    Bsf,
    Bsr,
    Tzcnt,
    Lzcnt,
    Popcnt,
}

impl Scan {
    /// The result (`None`: the destination stays) and all flags after. Flags that the manuals leave
    /// undefined stay.
    pub(super) fn apply(self, size: usize, value: u64, flags: Rflags) -> (Option<u64>, Rflags) {
        let value = value & mask(size);
        let bits = 8 * size as u32;
        let leading = value.leading_zeros() - (64 - bits);
        let trailing = value.trailing_zeros().min(bits);
        let zero = value == 0;
        match self {
            Self::Bsf | Self::Bsr => {
                let flags = (flags - Rflags::ZF) | when(zero, Rflags::ZF);
                let index = if self == Self::Bsf { trailing } else { bits.wrapping_sub(leading + 1) };
                ((!zero).then_some(u64::from(index)), flags)
            }
            Self::Tzcnt | Self::Lzcnt => {
                let count = if self == Self::Tzcnt { trailing } else { leading };
                let flags =
                    (flags - Rflags::ZF - Rflags::CF) | when(count == 0, Rflags::ZF) | when(zero, Rflags::CF);
                (Some(u64::from(count)), flags)
            }
            Self::Popcnt => (Some(u64::from(value.count_ones())), (flags - STATUS) | when(zero, Rflags::ZF)),
        }
    }
}

/// CRC32 with the polynomial 11EDC6F41H, bit-reflected, of `size` more bytes.
pub(super) fn crc32(size: usize, crc: u32, value: u64) -> u32 {
    let mut crc = u64::from(crc);
    for byte in &value.to_le_bytes()[..size] {
        crc ^= u64::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 != 0 { 0x82f6_3b78 } else { 0 };
        }
    }
    crc as u32
}
