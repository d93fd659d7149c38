//! Products and quotients (APM vol. 3: MUL, IMUL, DIV, IDIV).
use super::arithmetic::{is_negative, mask, sign_extend};

/// The product's low and high half, and whether the high half carries information (CF and OF).
pub(super) fn multiply(size: usize, a: u64, b: u64, signed: bool) -> (u64, u64, bool) {
    let bits = 8 * size as u32;
    let product = if signed {
        let wide = |value: u64| i128::from(sign_extend(size, value) as i64);
        (wide(a) * wide(b)) as u128
    } else {
        u128::from(a & mask(size)) * u128::from(b & mask(size))
    };
    let low = product as u64 & mask(size);
    let high = (product >> bits) as u64 & mask(size);
    let expected = if signed && is_negative(size, low) { mask(size) } else { 0 };
    (low, high, high != expected)
}

/// Quotient and remainder of `high:low` by `divisor`; `None` is a divide error.
pub(super) fn divide(size: usize, high: u64, low: u64, divisor: u64, signed: bool) -> Option<(u64, u64)> {
    let bits = 8 * size as u32;
    let dividend = u128::from(high & mask(size)) << bits | u128::from(low & mask(size));
    if !signed {
        let divisor = u128::from(divisor & mask(size));
        let quotient = dividend.checked_div(divisor)?;
        let remainder = dividend % divisor;
        return (quotient <= u128::from(mask(size))).then_some((quotient as u64, remainder as u64));
    }
    let unused = 128 - 2 * bits;
    let dividend = (dividend << unused) as i128 >> unused;
    let divisor = i128::from(sign_extend(size, divisor) as i64);
    let quotient = dividend.checked_div(divisor)?;
    let remainder = dividend.checked_rem(divisor)?;
    let fits = i128::from(sign_extend(size, quotient as u64) as i64) == quotient;
    fits.then_some((quotient as u64 & mask(size), remainder as u64 & mask(size)))
}
