//! Takes out of a VM's earlier output what asks the terminal for an answer.
//!
//! When kept output is shown again, a terminal would answer its queries again, and the answers would be
//! typed into whatever the VM is doing now. Taken out are ENQ, DECID (ESC Z), device status reports and
//! device attributes (CSI … n, CSI … c; ECMA-48 8.3.35 and 8.3.24), and control strings (DCS, OSC, SOS,
//! PM, APC), by which terminals are asked for colours and settings.

use alloc::vec::Vec;

/// Longest CSI sequence that is told apart; what is longer is passed on.
const MAX_SEQUENCE: usize = 32;

/// The output without queries. A sequence that is cut off at the end is left out: what the VM prints
/// next continues it only by chance.
pub(super) fn without_queries(output: &[u8]) -> Vec<u8> {
    let mut shown = Vec::with_capacity(output.len());
    let mut rest = output;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        match byte {
            0x05 => {}
            0x1b => match tail {
                [] => {}
                [b'Z', tail @ ..] => rest = tail,
                [b'[', tail @ ..] => {
                    let end = tail.iter().take(MAX_SEQUENCE).position(|b| !(0x20..=0x3f).contains(b));
                    match end.and_then(|end| tail.get(end).map(|last| (end, *last))) {
                        Some((end, b'n' | b'c')) => rest = &tail[end + 1..],
                        None if tail.len() < MAX_SEQUENCE => rest = &[],
                        _ => shown.push(0x1b),
                    }
                }
                [b'P' | b']' | b'X' | b'^' | b'_', tail @ ..] => rest = after_string(tail),
                _ => shown.push(0x1b),
            },
            _ => shown.push(*byte),
        }
    }
    shown
}

/// What follows a control string: it ends with BEL or ST, and a control character breaks it off.
fn after_string(text: &[u8]) -> &[u8] {
    match text.iter().position(|b| *b < 0x20) {
        None => &[],
        Some(end) => match text[end..] {
            [0x07, ..] => &text[end + 1..],
            [0x1b, b'\\', ..] => &text[end + 2..],
            _ => &text[end..],
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_left_out_and_all_else_is_kept() {
        let output = b"a\x1b[6nb\x1b[cc\x1b[>0cd\x1bZe\x05f\x1b]11;?\x07g\x1bP$q\x1b\\h\x1b[1;31mred\x1b[0m\x1b[2J\x1b7";
        assert_eq!(without_queries(output), b"abcdefgh\x1b[1;31mred\x1b[0m\x1b[2J\x1b7");
    }

    #[test]
    fn a_broken_control_string_swallows_one_line_at_most() {
        assert_eq!(without_queries(b"\x1b]0;title\r\nlogin:"), b"\r\nlogin:");
    }

    #[test]
    fn sequences_that_are_cut_off_are_left_out() {
        for cut in [&b"x\x1b"[..], b"x\x1b[", b"x\x1b[6", b"x\x1b]0;t"] {
            assert_eq!(without_queries(cut), b"x");
        }
    }

    #[test]
    fn any_bytes_are_taken() {
        let long = [&b"\x1b["[..], &[b'1'; 1000]].concat();
        assert_eq!(without_queries(&long), long);
        let mut random = 1u64;
        for _ in 0..2000 {
            let bytes: Vec<u8> = (0..40)
                .map(|_| {
                    random = random.wrapping_mul(6364136223846793005).wrapping_add(1);
                    b"\x1b[]P\\nc;1Z\x07\x05\r\xff"[(random >> 33) as usize % 14]
                })
                .collect();
            assert!(without_queries(&bytes).len() <= bytes.len());
        }
    }
}
