//! Shifts and rotations with their flags (APM vol. 3, each instruction).
//!
//! A count of 0, after cutting it to 5 or 6 bits, changes neither operand nor flags. Where the manuals
//! leave a flag undefined (OF for counts above 1, AF), OF follows the rule for a count of 1 and AF stays.
use super::arithmetic::{is_negative, mask, of_result, sign_extend, when};
use crate::cpu::Rflags;

/// Shifts and rotations of one operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shift {
    Rol,
    Ror,
    Rcl,
    Rcr,
    Shl,
    Shr,
    Sar,
}

const RESULT: Rflags = Rflags::SF.union(Rflags::ZF).union(Rflags::PF);
const CARRY: Rflags = Rflags::CF.union(Rflags::OF);

/// The bits of a count that are used.
fn cut(size: usize, count: u64) -> u32 {
    (count & if size == 8 { 0x3f } else { 0x1f }) as u32
}

impl Shift {
    /// The result, and all flags after.
    pub(super) fn apply(self, size: usize, a: u64, count: u64, flags: Rflags) -> (u64, Rflags) {
        let count = cut(size, count);
        let a = a & mask(size);
        if count == 0 {
            return (a, flags);
        }
        let bits = 8 * size as u32;
        let wide = u128::from(a);
        let second = |value: u64| value & (1 << (bits - 2)) != 0;
        let (result, carry, overflow);
        match self {
            Self::Shl => {
                let shifted = wide << count;
                result = shifted as u64 & mask(size);
                carry = shifted >> bits & 1 != 0;
                overflow = is_negative(size, result) != carry;
            }
            Self::Shr => {
                result = (wide >> count) as u64;
                carry = wide >> (count - 1) & 1 != 0;
                overflow = is_negative(size, a);
            }
            Self::Sar => {
                let signed = sign_extend(size, a) as i64;
                result = (signed >> count) as u64 & mask(size);
                carry = signed >> (count - 1) & 1 != 0;
                overflow = false;
            }
            Self::Rol => {
                let by = count % bits;
                result = (wide << by | wide >> (bits - by)) as u64 & mask(size);
                carry = result & 1 != 0;
                overflow = is_negative(size, result) != carry;
            }
            Self::Ror => {
                let by = count % bits;
                result = (wide >> by | wide << (bits - by)) as u64 & mask(size);
                carry = is_negative(size, result);
                overflow = carry != second(result);
            }
            Self::Rcl | Self::Rcr => {
                // A rotation of one bit more, with CF as the highest.
                let ring = bits + 1;
                let full = wide | u128::from(flags.contains(Rflags::CF)) << bits;
                let left = if self == Self::Rcl { count % ring } else { (ring - count % ring) % ring };
                let turned = (full << left | full >> (ring - left)) & ((1u128 << ring) - 1);
                result = turned as u64 & mask(size);
                carry = turned >> bits & 1 != 0;
                overflow = if self == Self::Rcl {
                    is_negative(size, result) != carry
                } else {
                    is_negative(size, result) != second(result)
                };
            }
        }
        let mut after = (flags - CARRY) | when(carry, Rflags::CF) | when(overflow, Rflags::OF);
        if matches!(self, Self::Shl | Self::Shr | Self::Sar) {
            after = (after - RESULT) | of_result(size, result);
        }
        (result, after)
    }
}

/// SHLD (`left`) and SHRD: shifts `a`, filling from `b`. For a 16-bit operand and a count above 16 both
/// result and flags are undefined.
pub(super) fn double(left: bool, size: usize, a: u64, b: u64, count: u64, flags: Rflags) -> (u64, Rflags) {
    let count = cut(size, count);
    let (a, b) = (a & mask(size), b & mask(size));
    if count == 0 {
        return (a, flags);
    }
    let bits = 8 * size as u32;
    let (result, carry) = if left {
        let wide = u128::from(a) << bits | u128::from(b);
        ((wide << count >> bits) as u64 & mask(size), wide >> (2 * bits - count) & 1 != 0)
    } else {
        let wide = u128::from(b) << bits | u128::from(a);
        ((wide >> count) as u64 & mask(size), wide >> (count - 1) & 1 != 0)
    };
    let overflow = is_negative(size, a ^ result);
    let after = (flags - CARRY - RESULT)
        | of_result(size, result)
        | when(carry, Rflags::CF)
        | when(overflow, Rflags::OF);
    (result, after)
}
