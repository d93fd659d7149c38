//! Bytes as text, to be copied from a terminal.

use alloc::string::String;
use core::fmt;

/// Bytes of base64's alphabet on a line: 76 characters (RFC 2045, 6.8).
const LINE: usize = 57;

/// Writes bytes in base64 (RFC 4648, 4), in lines.
pub(super) fn write(bytes: &[u8], out: &mut dyn fmt::Write) -> fmt::Result {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for line in bytes.chunks(LINE) {
        let mut text = String::with_capacity(LINE / 3 * 4);
        for group in line.chunks(3) {
            let [a, b, c] = [0, 1, 2].map(|index| u32::from(group.get(index).copied().unwrap_or(0)));
            let bits = a << 16 | b << 8 | c;
            for place in 0..4 {
                let digit = ALPHABET[(bits >> (18 - 6 * place) & 63) as usize];
                text.push(if place > group.len() { '=' } else { char::from(digit) });
            }
        }
        writeln!(out, "{text}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn base64_pads_what_is_no_multiple_of_three() {
        // RFC 4648, 10.
        for (bytes, told) in
            [("", ""), ("f", "Zg==\n"), ("fo", "Zm8=\n"), ("foo", "Zm9v\n"), ("foobar", "Zm9vYmFy\n")]
        {
            let mut text = String::new();
            write(bytes.as_bytes(), &mut text).expect("a String takes all");
            assert_eq!(text, told);
        }
        let mut text = String::new();
        write(&[0xff; 58], &mut text).expect("a String takes all");
        assert_eq!(text.lines().map(str::len).collect::<Vec<_>>(), [76, 4]);
    }
}
