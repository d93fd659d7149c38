//! ACPI Machine Language, as much as the DSDT needs (ACPI 6.5, chapter 20.2). Each function returns the
//! encoding of one term; terms nest by concatenation.
use alloc::vec::Vec;

const ZERO_OP: u8 = 0x00;
const ONE_OP: u8 = 0x01;
const NAME_OP: u8 = 0x08;
const BYTE_PREFIX: u8 = 0x0a;
const WORD_PREFIX: u8 = 0x0b;
const DWORD_PREFIX: u8 = 0x0c;
const SCOPE_OP: u8 = 0x10;
const BUFFER_OP: u8 = 0x11;
const PACKAGE_OP: u8 = 0x12;
const DEVICE_OP: [u8; 2] = [0x5b, 0x82];

/// A name of four characters, or a path of the grammar's encoding such as `\_SB_`.
pub(super) fn name_string(path: &str) -> Vec<u8> {
    path.as_bytes().to_vec()
}

/// An integer in its shortest encoding.
pub(super) fn integer(value: u32) -> Vec<u8> {
    match value {
        0 => alloc::vec![ZERO_OP],
        1 => alloc::vec![ONE_OP],
        2..=0xff => alloc::vec![BYTE_PREFIX, value as u8],
        0x100..=0xffff => [&[WORD_PREFIX][..], &(value as u16).to_le_bytes()].concat(),
        _ => [&[DWORD_PREFIX][..], &value.to_le_bytes()].concat(),
    }
}

/// The compressed EISA form of a device ID such as `PNP0A08` (ACPI 6.5, 19.6.36).
pub(super) fn eisa_id(id: &[u8; 7]) -> Vec<u8> {
    let letter = |c: u8| u32::from(c - b'@');
    let digit = |c: u8| (c as char).to_digit(16).unwrap_or(0);
    let vendor = letter(id[0]) << 10 | letter(id[1]) << 5 | letter(id[2]);
    let product = id[3..].iter().fold(0, |n, &c| n << 4 | digit(c));
    let mut term = alloc::vec![DWORD_PREFIX];
    term.extend((vendor << 16 | product).to_be_bytes());
    term
}

/// A string.
pub(super) fn string(text: &str) -> Vec<u8> {
    [&[0x0d], text.as_bytes(), &[0]].concat()
}

/// `Name (path, value)`.
pub(super) fn name(path: &str, value: Vec<u8>) -> Vec<u8> {
    [alloc::vec![NAME_OP], name_string(path), value].concat()
}

/// `Scope (path) { terms }`.
pub(super) fn scope(path: &str, terms: &[Vec<u8>]) -> Vec<u8> {
    package_of(&[SCOPE_OP], [name_string(path), terms.concat()].concat())
}

/// `Device (path) { terms }`.
pub(super) fn device(path: &str, terms: &[Vec<u8>]) -> Vec<u8> {
    package_of(&DEVICE_OP, [name_string(path), terms.concat()].concat())
}

/// `Package () { elements }`, at most 255 of them.
pub(super) fn package(elements: &[Vec<u8>]) -> Vec<u8> {
    debug_assert!(elements.len() < 256);
    package_of(&[PACKAGE_OP], [alloc::vec![elements.len() as u8], elements.concat()].concat())
}

/// `Buffer () { bytes }`.
pub(super) fn buffer(bytes: &[u8]) -> Vec<u8> {
    package_of(&[BUFFER_OP], [integer(bytes.len() as u32), bytes.to_vec()].concat())
}

/// An opcode, the length of what follows, and that (ACPI 6.5, 20.2.4).
fn package_of(opcode: &[u8], content: Vec<u8>) -> Vec<u8> {
    let mut term = opcode.to_vec();
    // The length counts its own one to four bytes. Of several, the first has four bits of it.
    let extra = match content.len() {
        0..=0x3e => 0,
        0x3f..=0xffd => 1,
        0xffe..=0xf_fffc => 2,
        _ => 3,
    };
    let length = content.len() + extra + 1;
    if extra == 0 {
        term.push(length as u8);
    } else {
        term.push((extra as u8) << 6 | (length & 0xf) as u8);
        term.extend(&(length >> 4).to_le_bytes()[..extra]);
    }
    term.extend(content);
    term
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_take_their_shortest_form() {
        assert_eq!(integer(0), [0x00]);
        assert_eq!(integer(1), [0x01]);
        assert_eq!(integer(5), [0x0a, 5]);
        assert_eq!(integer(0x1234), [0x0b, 0x34, 0x12]);
        assert_eq!(integer(0x1234_5678), [0x0c, 0x78, 0x56, 0x34, 0x12]);
    }

    #[test]
    fn eisa_ids_are_compressed() {
        assert_eq!(eisa_id(b"PNP0A03"), [0x0c, 0x41, 0xd0, 0x0a, 0x03]);
        assert_eq!(eisa_id(b"PNP0501"), [0x0c, 0x41, 0xd0, 0x05, 0x01]);
    }

    #[test]
    fn package_lengths_count_themselves_at_each_width() {
        for (content, encoding) in [
            (0, &[1][..]),
            (0x3e, &[0x3f]),
            (0x3f, &[0x41, 0x04]),
            (0xffd, &[0x4f, 0xff]),
            (0xffe, &[0x81, 0x00, 0x01]),
            (0xf_fffc, &[0x8f, 0xff, 0xff]),
            (0xf_fffd, &[0xc1, 0x00, 0x00, 0x01]),
        ] {
            let term = package_of(&[0x10], alloc::vec![0; content]);
            assert_eq!(&term[1..1 + encoding.len()], encoding, "content of {content:#x}");
            assert_eq!(term.len(), 1 + encoding.len() + content);
        }
    }

    #[test]
    fn soft_off_is_a_package_of_four() {
        let term = name("_S5_", package(&[integer(5), integer(5), integer(0), integer(0)]));
        assert_eq!(term, [0x08, b'_', b'S', b'5', b'_', 0x12, 0x08, 4, 0x0a, 5, 0x0a, 5, 0, 0]);
    }
}
