//! Sums, differences and logic with their flags (APM vol. 1, 3.1.4; vol. 3, each instruction).
//!
//! Operands are `size` (1, 2, 4 or 8) bytes wide; bits above them may be anything, and are 0 in results.
use crate::cpu::Rflags;

/// The flags that arithmetic sets.
pub(super) const STATUS: Rflags =
    Rflags::CF.union(Rflags::PF).union(Rflags::AF).union(Rflags::ZF).union(Rflags::SF).union(Rflags::OF);

/// All bits of an operand.
#[inline(always)]
pub(super) const fn mask(size: usize) -> u64 {
    match size {
        1 => 0xff,
        2 => 0xffff,
        4 => 0xffff_ffff,
        _ => u64::MAX,
    }
}

/// The most significant bit of an operand.
#[inline(always)]
pub(super) const fn is_negative(size: usize, value: u64) -> bool {
    value & (mask(size) ^ mask(size) >> 1) != 0
}

/// An operand as a signed number.
#[inline(always)]
pub(super) const fn sign_extend(size: usize, value: u64) -> u64 {
    if is_negative(size, value) { value | !mask(size) } else { value & mask(size) }
}

/// `flag` if `set`.
#[inline(always)]
pub(super) fn when(set: bool, flag: Rflags) -> Rflags {
    if set { flag } else { Rflags::empty() }
}

/// SF, ZF and PF of a result.
pub(super) fn of_result(size: usize, result: u64) -> Rflags {
    when(result & mask(size) == 0, Rflags::ZF)
        | when(is_negative(size, result), Rflags::SF)
        | when((result as u8).count_ones().is_multiple_of(2), Rflags::PF)
}

/// `a + b + carry` and all status flags.
pub(super) fn add(size: usize, a: u64, b: u64, carry: bool) -> (u64, Rflags) {
    let (a, b) = (a & mask(size), b & mask(size));
    let sum = u128::from(a) + u128::from(b) + u128::from(carry);
    let result = sum as u64 & mask(size);
    let flags = of_result(size, result)
        | when(sum >> (8 * size) != 0, Rflags::CF)
        | when((a ^ b ^ result) & 0x10 != 0, Rflags::AF)
        | when(is_negative(size, (a ^ result) & (b ^ result)), Rflags::OF);
    (result, flags)
}

/// `a - b - borrow` and all status flags.
pub(super) fn subtract(size: usize, a: u64, b: u64, borrow: bool) -> (u64, Rflags) {
    let (a, b) = (a & mask(size), b & mask(size));
    let result = a.wrapping_sub(b).wrapping_sub(u64::from(borrow)) & mask(size);
    let flags = of_result(size, result)
        | when(u128::from(a) < u128::from(b) + u128::from(borrow), Rflags::CF)
        | when((a ^ b ^ result) & 0x10 != 0, Rflags::AF)
        | when(is_negative(size, (a ^ b) & (a ^ result)), Rflags::OF);
    (result, flags)
}

/// Flags of AND, OR, XOR and TEST: CF, OF and (undefined, but so on every CPU) AF are 0.
pub(super) fn logic(size: usize, result: u64) -> (u64, Rflags) {
    (result & mask(size), of_result(size, result))
}

/// The instructions of two operands, in the order of their opcodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Add,
    Or,
    Adc,
    Sbb,
    And,
    Sub,
    Xor,
}

impl Operation {
    /// The result and all status flags; `flags` are those before.
    pub(super) fn apply(self, size: usize, a: u64, b: u64, flags: Rflags) -> (u64, Rflags) {
        let carry = flags.contains(Rflags::CF);
        match self {
            Self::Add => add(size, a, b, false),
            Self::Adc => add(size, a, b, carry),
            Self::Sub => subtract(size, a, b, false),
            Self::Sbb => subtract(size, a, b, carry),
            Self::And => logic(size, a & b),
            Self::Or => logic(size, a | b),
            Self::Xor => logic(size, a ^ b),
        }
    }
}
