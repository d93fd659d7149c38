//! The sleep type of S5, "soft off" (ACPI 6.5, 7.4.2.6, 16.1.3).
//!
//! The two numbers to be written to the PM1 control registers stand in a package named `\_S5` in the
//! DSDT or an SSDT. Firmware writes it as a constant, so it is found by its encoding (ACPI 6.5,
//! 20.2.5.1 DefName, 20.2.5.4 DefPackage): `NameOp [\] _S5_ PackageOp PkgLength NumElements values`.

/// The values for SLP_TYPa and SLP_TYPb, three bits each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SleepType {
    /// For PM1a, and for the sleep control register of hardware-reduced machines.
    pub a: u8,
    /// For PM1b.
    pub b: u8,
}

const NAME_OP: u8 = 0x08;
const PACKAGE_OP: u8 = 0x12;

/// Looks for the S5 package in the AML of one table.
pub fn sleep_type_s5(aml: &[u8]) -> Option<SleepType> {
    let mut at = 0;
    while let Some(found) = aml.get(at..)?.windows(4).position(|w| w == b"_S5_") {
        let name = at + found;
        if is_named(aml, name)
            && let Some(values) = package(&aml[name + 4..])
        {
            return Some(values);
        }
        at = name + 4;
    }
    None
}

/// Whether the name at `at` is what a NameOp defines, rather than text or a reference.
fn is_named(aml: &[u8], at: usize) -> bool {
    let before = |n: usize| at.checked_sub(n).and_then(|i| aml.get(i)).copied();
    before(1) == Some(NAME_OP) || (before(1) == Some(b'\\') && before(2) == Some(NAME_OP))
}

fn package(aml: &[u8]) -> Option<SleepType> {
    let aml = aml.strip_prefix(&[PACKAGE_OP])?;
    // PkgLength: the top two bits of the first byte count the bytes that follow it (20.2.4).
    let aml = aml.get(1 + usize::from(*aml.first()? >> 6)..)?;
    let (elements, aml) = aml.split_first()?;
    let (a, aml) = integer(aml)?;
    let b = if *elements > 1 { integer(aml).map_or(a, |(b, _)| b) } else { a };
    (a <= 7 && b <= 7).then_some(SleepType { a, b })
}

/// A constant of at most 8 bits, however it is encoded (20.2.3), and what follows it.
fn integer(aml: &[u8]) -> Option<(u8, &[u8])> {
    let (op, rest) = aml.split_first()?;
    let width = match op {
        0x00 | 0x01 => return Some((*op, rest)),
        0x0a => 1,
        0x0b => 2,
        0x0c => 4,
        0x0e => 8,
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(width)?;
    let high_bytes_are_zero = value[1..].iter().all(|b| *b == 0);
    high_bytes_are_zero.then_some((value[0], rest))
}

#[cfg(test)]
mod tests {
    use super::super::testing::noise;
    use super::*;
    use std::vec::Vec;

    #[test]
    fn the_package_of_qemu_is_read() {
        let aml = b"\x10\x20\x08_S3_\x12\x06\x04\x01\x01\0\0\x08_S5_\x12\x06\x04\0\0\0\0";
        assert_eq!(sleep_type_s5(aml), Some(SleepType { a: 0, b: 0 }));
    }

    #[test]
    fn byte_constants_and_a_root_prefix_are_read() {
        let aml = b"\x08\\_S5_\x12\x0a\x04\x0a\x05\x0a\x07\x0a\0\x0a\0";
        assert_eq!(sleep_type_s5(aml), Some(SleepType { a: 5, b: 7 }));
        let aml = b"\x08_S5_\x12\x40\x0a\x02\x0b\x05\0\x01";
        assert_eq!(sleep_type_s5(aml), Some(SleepType { a: 5, b: 1 }));
    }

    #[test]
    fn a_mention_of_the_name_is_not_its_definition() {
        let aml = b"x_S5_\x12\x06\x04\x01\x01\0\0\x08_S5_\x12\x06\x04\x02\x02\0\0\x08_S5_\x12\x07\x02\x0a\x05\x0a\x05";
        assert_eq!(sleep_type_s5(aml), Some(SleepType { a: 5, b: 5 }));
        assert_eq!(sleep_type_s5(b"_S5_"), None);
    }

    #[test]
    fn values_beyond_three_bits_are_refused() {
        assert_eq!(sleep_type_s5(b"\x08_S5_\x12\x06\x02\x0a\x08\x01"), None);
        assert_eq!(sleep_type_s5(b"\x08_S5_\x12\x06\x02\x0b\x01\x01\x01"), None);
    }

    #[test]
    fn every_truncation_and_random_tail_is_survived() {
        let whole = b"\x08_S5_\x12\x40\x0a\x02\x0b\x05\0\x01";
        for len in 0..whole.len() {
            let _ = sleep_type_s5(&whole[..len]);
        }
        for seed in 0..2000 {
            let mut aml = Vec::from(*b"\x08_S5_\x12");
            aml.extend(noise(seed, (seed % 12) as usize));
            aml.extend(b"\x08_S5_");
            let _ = sleep_type_s5(&aml);
        }
    }
}
