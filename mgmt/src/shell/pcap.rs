//! Captured frames as a file that other programs read, and that file as text.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::node::CapturedFrame;

/// Says that times are in nanoseconds, and by its order of bytes that numbers are little endian.
const MAGIC: u32 = 0xa1b2_3c4d;

/// Link type Ethernet.
const ETHERNET: u32 = 1;

/// Bytes of base64's alphabet on a line: 76 characters (RFC 2045, 6.8).
const LINE: usize = 57;

/// A file in the format of libpcap (draft-ietf-opsawg-pcap, 4 and 5). Times are those since the kernel was entered.
pub(super) fn file(frames: &[CapturedFrame]) -> Vec<u8> {
    let mut file = Vec::new();
    let words = |file: &mut Vec<u8>, words: &[u32]| {
        file.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    };
    // Version 2.4, two reserved words, most bytes of a frame.
    words(&mut file, &[MAGIC, 4 << 16 | 2, 0, 0, 0xffff, ETHERNET]);
    for frame in frames {
        let (kept, whole) = (frame.bytes.len() as u32, frame.length as u32);
        words(&mut file, &[frame.time.as_secs() as u32, frame.time.subsec_nanos(), kept, whole]);
        file.extend(&frame.bytes);
    }
    file
}

/// Writes bytes in base64 (RFC 4648, 4), in lines.
pub(super) fn base64(bytes: &[u8], out: &mut dyn fmt::Write) -> fmt::Result {
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
    use alloc::vec;
    use core::time::Duration;

    #[test]
    fn base64_pads_what_is_no_multiple_of_three() {
        // RFC 4648, 10.
        for (bytes, told) in
            [("", ""), ("f", "Zg==\n"), ("fo", "Zm8=\n"), ("foo", "Zm9v\n"), ("foobar", "Zm9vYmFy\n")]
        {
            let mut text = String::new();
            base64(bytes.as_bytes(), &mut text).expect("a String takes all");
            assert_eq!(text, told);
        }
        let mut text = String::new();
        base64(&[0xff; 58], &mut text).expect("a String takes all");
        assert_eq!(text.lines().map(str::len).collect::<Vec<_>>(), [76, 4]);
    }

    #[test]
    fn the_file_has_a_header_and_a_record_for_each_frame() {
        let frame = CapturedFrame { time: Duration::new(2, 3), length: 60, bytes: vec![7; 5] };
        let header =
            [0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0];
        let record = [2, 0, 0, 0, 3, 0, 0, 0, 5, 0, 0, 0, 60, 0, 0, 0, 7, 7, 7, 7, 7];
        assert_eq!(file(&[frame]), [&header[..], &record[..]].concat());
        assert_eq!(file(&[]), header);
    }
}
