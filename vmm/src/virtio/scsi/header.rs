//! Headers of requests and answers, and how logical units are addressed (virtio 1.2, 5.6.6.1).

/// Bytes of a command's header, without the CDB behind it.
pub const HEADER: usize = 19;
/// Bytes of an answer, without the sense data behind it.
pub const ANSWER: usize = 12;

/// How a request ended, as the controller sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response(pub u8);

impl Response {
    /// There is a status, or the function is complete.
    pub const OK: Self = Self(0);
    /// The CDB speaks of more data than the chain has.
    pub const OVERRUN: Self = Self(1);
    /// There is no such target.
    pub const BAD_TARGET: Self = Self(3);
    /// Something else is wrong with the request.
    pub const FAILURE: Self = Self(9);
    /// The function found what it asks for.
    pub const FUNCTION_SUCCEEDED: Self = Self(10);
    /// The function is not supported.
    pub const FUNCTION_REJECTED: Self = Self(11);
    /// There is no such logical unit.
    pub const INCORRECT_LUN: Self = Self(12);
}

/// Status of a command (SAM-5, 5.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u8);

impl Status {
    /// It worked.
    pub const GOOD: Self = Self(0x00);
    /// It did not; sense data tells why.
    pub const CHECK_CONDITION: Self = Self(0x02);
    /// There are no resources for it now.
    pub const TASK_SET_FULL: Self = Self(0x28);
}

/// A command's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whom it is for.
    pub unit: [u8; 8],
    /// By which the guest can name it to a task management function.
    pub id: u64,
}

impl Header {
    /// Reads it. Attribute, priority and reference number make no difference: all tasks are simple ones, as 5.6.6.1
    /// allows.
    pub fn parse(bytes: &[u8; HEADER]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] = *bytes;
        Self { unit: [a, b, c, d, e, f, g, h], id: u64::from_le_bytes([i, j, k, l, m, n, o, p]) }
    }
}

/// The target of an address.
///
/// # Errors
/// [`Response::BAD_TARGET`] where that is not target 0, the only one.
#[inline]
pub fn target(address: &[u8; 8]) -> Result<(), Response> {
    if address[..2] == [1, 0] { Ok(()) } else { Err(Response::BAD_TARGET) }
}

/// The number of the logical unit that is meant, in either form (SAM-5, 4.7.7.2 and 4.7.7.3), if it is one that has a
/// number.
#[inline]
pub fn unit(address: &[u8; 8]) -> Option<usize> {
    let [_, _, high, low, rest @ ..] = *address;
    // Peripheral addresses of bus 0 have a byte, flat ones 14 bits.
    let numbered = (high == 0 || high & 0xc0 == 0x40) && rest == [0; 4];
    numbered.then_some(usize::from(high & 0x3f) << 8 | usize::from(low))
}

/// The address of a logical unit within its target, as REPORT LUNS tells it.
pub fn address(unit: usize) -> [u8; 8] {
    let [.., high, low] = unit.to_be_bytes();
    [if high == 0 { 0 } else { high | 0x40 }, low, 0, 0, 0, 0, 0, 0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_has_an_address_and_a_little_endian_id() {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(&[1, 0, 0x40, 5, 0, 0, 0, 0]);
        (bytes[8], bytes[15], bytes[16]) = (1, 0x80, 0xff);
        let header = Header::parse(&bytes);
        assert_eq!(header, Header { unit: [1, 0, 0x40, 5, 0, 0, 0, 0], id: 0x8000_0000_0000_0001 });
        assert_eq!((target(&header.unit), unit(&header.unit)), (Ok(()), Some(5)));
    }

    #[test]
    fn addresses_of_other_forms_are_nobodys() {
        for (bytes, number) in [
            ([1, 0, 0, 0, 0, 0, 0, 0], Some(0)),
            ([1, 0, 0, 255, 0, 0, 0, 0], Some(255)),
            ([1, 0, 0x41, 2, 0, 0, 0, 0], Some(0x102)),
            ([1, 0, 0x7f, 255, 0, 0, 0, 0], Some(0x3fff)),
            ([1, 0, 1, 0, 0, 0, 0, 0], None),
            ([1, 0, 0x80, 0, 0, 0, 0, 0], None),
            ([1, 0, 0xc1, 1, 0, 0, 0, 0], None),
            ([1, 0, 0, 0, 0, 0, 0, 1], None),
        ] {
            assert_eq!((target(&bytes), unit(&bytes)), (Ok(()), number), "{bytes:x?}");
        }
        for bytes in [[0; 8], [1, 1, 0, 0, 0, 0, 0, 0], [0xc1, 1, 0, 0, 0, 0, 0, 0], [0xff; 8]] {
            assert_eq!(target(&bytes), Err(Response::BAD_TARGET));
        }
    }

    #[test]
    fn what_is_reported_is_understood() {
        for number in [0, 1, 63, 255, 256, 0x3fff] {
            let within = address(number);
            let whole = [1, 0, within[0], within[1], 0, 0, 0, 0];
            assert_eq!(unit(&whole), Some(number));
        }
    }
}
