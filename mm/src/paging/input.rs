//! The addresses that tables translate, as the numbers that index them.
use crate::addr::{Gpa, Hva};
use core::fmt;

/// Bits that four levels translate.
const BITS: u32 = 48;

/// What page tables translate. Its space is the same in every format.
pub trait InputAddress: Copy + fmt::Debug {
    /// The number that indexes the tables: bits 47:0 of the address, or `None` where four levels cannot
    /// translate it.
    fn number(self) -> Option<u64>;

    /// The address that has this number.
    fn from_number(number: u64) -> Self;

    /// First number after `number` that does not follow it in the address space: ranges end there.
    fn end_of_space(number: u64) -> u64;
}

/// In long mode, bits 63:48 are like bit 47 (APM vol. 2, 5.3.1; SDM vol. 1, 3.3.7.1).
impl InputAddress for Hva {
    #[inline]
    fn number(self) -> Option<u64> {
        // An `Hva` is canonical, so nothing is lost.
        Some(self.get() & ((1 << BITS) - 1))
    }

    #[inline]
    fn from_number(number: u64) -> Self {
        let shift = u64::BITS - BITS;
        Self::new((((number << shift) as i64) >> shift) as u64)
    }

    /// Neither half reaches into the other: the canonical hole is between them.
    #[inline]
    fn end_of_space(number: u64) -> u64 {
        let half = 1 << (BITS - 1);
        if number < half { half } else { 2 * half }
    }
}

/// One space from 0 on, whoever made the processor.
impl InputAddress for Gpa {
    #[inline]
    fn number(self) -> Option<u64> {
        if self.get() < 1 << BITS { Some(self.get()) } else { None }
    }

    #[inline]
    fn from_number(number: u64) -> Self {
        Self::new_truncate(number)
    }

    #[inline]
    fn end_of_space(_number: u64) -> u64 {
        1 << BITS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_virtual_addresses_convert_in_both_halves() {
        for address in [0, 0x7fff_ffff_f000, 0xffff_8000_0000_0000, 0xffff_ffff_ffff_f000] {
            let hva = Hva::new(address);
            assert_eq!(Hva::from_number(hva.number().unwrap()), hva);
        }
    }

    #[test]
    fn the_space_of_virtual_addresses_ends_at_the_canonical_hole_and_at_its_top() {
        for (number, end) in [(0, 1 << 47), ((1 << 47) - 1, 1 << 47), (1 << 47, 1 << 48)] {
            assert_eq!(Hva::end_of_space(number), end);
        }
    }

    #[test]
    fn a_guest_physical_address_beyond_48_bits_is_refused() {
        let last = (1 << 48) - 1;
        assert_eq!(Gpa::new(last).number(), Some(last));
        assert_eq!(Gpa::new(last + 1).number(), None);
        assert_eq!(Gpa::from_number(last), Gpa::new(last));
        assert_eq!(Gpa::end_of_space(last), last + 1);
    }
}
