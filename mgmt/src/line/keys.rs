//! From the bytes of a terminal to keys: UTF-8 and the escape sequences of ECMA-48 (fifth edition,
//! 5.4: CSI, 5.6: control strings) as xterm, VT220 and the Linux console send them.

/// A key that was pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A character that can be shown.
    Char(char),
    /// CR, LF, or CR LF (once).
    Enter,
    Tab,
    /// BS (0x08) or DEL (0x7f): terminals disagree about which they send.
    Backspace,
    Delete,
    Left,
    Right,
    WordLeft,
    WordRight,
    Up,
    Down,
    Home,
    End,
    /// Control with this upper-case letter or sign: 0x01 is `Control('A')`.
    Control(char),
    /// A key that means nothing here, or what is no key at all.
    Unknown,
}

/// Longest CSI sequence that is followed. What is longer is no key.
const MAX_SEQUENCE: u8 = 32;

/// The decoder's place in the byte stream. Its memory is this, whatever comes.
#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Ground,
    /// Within a character of several bytes.
    Utf8 { bytes: [u8; 4], have: usize, need: usize },
    /// After ESC.
    Escape,
    /// After ESC [: the first two parameters, and how many bytes were seen.
    Csi { parameters: [u16; 2], index: usize, length: u8 },
    /// After ESC O: one more byte follows.
    Ss3,
    /// After ESC [ [, a function key of the Linux console: one more byte follows.
    LinuxFunction,
    /// Within a control string (the answer to a query): ends with BEL or ST.
    ControlString,
}

/// Decodes one byte at a time.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    state: State,
    after_return: bool,
}

impl Decoder {
    /// Takes one byte; the key that it completes, if it completes one.
    pub fn decode(&mut self, byte: u8) -> Option<Key> {
        let after_return = core::mem::replace(&mut self.after_return, byte == b'\r');
        if byte == b'\n' && after_return {
            return None;
        }
        // A control character ends whatever it interrupts and keeps its own meaning (ECMA-48 leaves this
        // open; VT100 does so). So no broken sequence can swallow Ctrl-C or the line that follows.
        if byte < 0x20 {
            let interrupted = core::mem::take(&mut self.state);
            return match (byte, interrupted) {
                (0x1b, _) => {
                    self.state = State::Escape;
                    None
                }
                (0x07, State::ControlString) => None,
                _ => control(byte),
            };
        }
        match core::mem::take(&mut self.state) {
            State::Ground => self.ground(byte),
            State::Utf8 { mut bytes, have, need } => {
                if byte & 0xc0 != 0x80 {
                    return self.ground(byte);
                }
                bytes[have] = byte;
                let have = have + 1;
                if have < need {
                    self.state = State::Utf8 { bytes, have, need };
                    return None;
                }
                Some(
                    core::str::from_utf8(&bytes[..need])
                        .ok()
                        .and_then(|s| s.chars().next())
                        .map_or(Key::Unknown, character),
                )
            }
            State::Escape => match byte {
                b'[' => {
                    self.state = State::Csi { parameters: [0; 2], index: 0, length: 0 };
                    None
                }
                b'O' => {
                    self.state = State::Ss3;
                    None
                }
                b']' | b'P' | b'X' | b'^' | b'_' => {
                    self.state = State::ControlString;
                    None
                }
                // ST, the end of a control string whose ESC came here.
                b'\\' => None,
                b'b' => Some(Key::WordLeft),
                b'f' => Some(Key::WordRight),
                0x7f => Some(Key::Control('W')),
                _ => Some(Key::Unknown),
            },
            State::Csi { parameters, index, length } => self.csi(byte, parameters, index, length),
            State::Ss3 => Some(arrow(byte, false)),
            State::LinuxFunction => Some(Key::Unknown),
            State::ControlString => {
                self.state = State::ControlString;
                None
            }
        }
    }

    /// Whether the last byte was ESC: it begins a sequence, or it is the Escape key, which only the
    /// absence of a next byte tells.
    pub fn after_escape(&self) -> bool {
        matches!(self.state, State::Escape)
    }

    fn ground(&mut self, byte: u8) -> Option<Key> {
        let need = match byte {
            0x20..=0x7e => return Some(Key::Char(byte as char)),
            0x7f => return Some(Key::Backspace),
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => return Some(Key::Unknown),
        };
        self.state = State::Utf8 { bytes: [byte, 0, 0, 0], have: 1, need };
        None
    }

    fn csi(&mut self, byte: u8, mut parameters: [u16; 2], mut index: usize, length: u8) -> Option<Key> {
        match byte {
            b'[' if length == 0 => {
                self.state = State::LinuxFunction;
                return None;
            }
            0x40..=0x7e => {
                // xterm: a second parameter of 3 is Alt, 5 is Control.
                let word = matches!(parameters[1], 3 | 5);
                return Some(match (byte, parameters[0]) {
                    (b'~', 1 | 7) => Key::Home,
                    (b'~', 4 | 8) => Key::End,
                    (b'~', 3) => Key::Delete,
                    (b'A'..=b'H', _) => arrow(byte, word),
                    _ => Key::Unknown,
                });
            }
            b'0'..=b'9' => {
                if let Some(parameter) = parameters.get_mut(index) {
                    *parameter = parameter.saturating_mul(10).saturating_add(u16::from(byte - b'0'));
                }
            }
            b';' => index += 1,
            0x20..=0x3f => {}
            _ => return Some(Key::Unknown),
        }
        if length == MAX_SEQUENCE {
            return Some(Key::Unknown);
        }
        self.state = State::Csi { parameters, index, length: length + 1 };
        None
    }
}

/// The key of a control character other than ESC.
fn control(byte: u8) -> Option<Key> {
    match byte {
        // NUL pads slow terminals and follows CR in telnet.
        0 => None,
        b'\r' | b'\n' => Some(Key::Enter),
        b'\t' => Some(Key::Tab),
        0x08 => Some(Key::Backspace),
        _ => Some(Key::Control((byte + 0x40) as char)),
    }
}

/// The key of a final byte of a cursor key.
fn arrow(byte: u8, word: bool) -> Key {
    match (byte, word) {
        (b'A', _) => Key::Up,
        (b'B', _) => Key::Down,
        (b'C', false) => Key::Right,
        (b'C', true) => Key::WordRight,
        (b'D', false) => Key::Left,
        (b'D', true) => Key::WordLeft,
        (b'H', _) => Key::Home,
        (b'F', _) => Key::End,
        _ => Key::Unknown,
    }
}

/// A character, if it can be shown.
fn character(c: char) -> Key {
    if super::width::is_shown(c) { Key::Char(c) } else { Key::Unknown }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let mut decoder = Decoder::default();
        bytes.iter().filter_map(|byte| decoder.decode(*byte)).collect()
    }

    #[test]
    fn line_ends_of_all_kinds_are_one_enter() {
        assert_eq!(keys(b"\r"), [Key::Enter]);
        assert_eq!(keys(b"\n"), [Key::Enter]);
        assert_eq!(keys(b"\r\n"), [Key::Enter]);
        assert_eq!(keys(b"\r\n\r\n\n\r\r"), [Key::Enter; 5]);
        assert_eq!(keys(b"\r\0"), [Key::Enter], "telnet pads CR with NUL");
    }

    #[test]
    fn cursor_keys_of_all_terminals_are_known() {
        assert_eq!(
            keys(b"\x1b[A\x1bOA\x1b[B\x1b[C\x1bOD"),
            [Key::Up, Key::Up, Key::Down, Key::Right, Key::Left]
        );
        assert_eq!(keys(b"\x1b[H\x1b[1~\x1b[7~\x1bOH"), [Key::Home; 4]);
        assert_eq!(keys(b"\x1b[F\x1b[4~\x1b[8~\x1bOF"), [Key::End; 4]);
        assert_eq!(keys(b"\x1b[3~"), [Key::Delete]);
        assert_eq!(
            keys(b"\x1b[1;5D\x1b[1;3C\x1bb\x1bf"),
            [Key::WordLeft, Key::WordRight, Key::WordLeft, Key::WordRight]
        );
        assert_eq!(keys(b"\x08\x7f"), [Key::Backspace; 2]);
    }

    #[test]
    fn other_sequences_type_nothing() {
        assert_eq!(keys(b"\x1b[15~\x1b[[Ax"), [Key::Unknown, Key::Unknown, Key::Char('x')]);
        assert_eq!(keys(b"\x1b]0;title\x07x"), [Key::Char('x')]);
        assert_eq!(keys(b"\x1bP1$r\x1b\\x"), [Key::Char('x')]);
        assert_eq!(keys(b"\x1b[?1;2cx"), [Key::Unknown, Key::Char('x')]);
    }

    #[test]
    fn characters_of_several_bytes_are_one_key() {
        assert_eq!(keys("é€😀".as_bytes()), [Key::Char('é'), Key::Char('€'), Key::Char('😀')]);
    }

    #[test]
    fn broken_characters_are_refused_and_swallow_nothing() {
        assert_eq!(keys(b"\xc3x"), [Key::Char('x')]);
        assert_eq!(keys(b"\xe2\x82\r"), [Key::Enter]);
        assert_eq!(keys(b"\xff\x80x"), [Key::Unknown, Key::Unknown, Key::Char('x')]);
        assert_eq!(keys(b"\xed\xa0\x80"), [Key::Unknown], "a surrogate");
        assert_eq!(keys("\u{85}\u{202e}".as_bytes()), [Key::Unknown; 2], "C1 and direction controls");
    }

    #[test]
    fn control_characters_break_any_sequence() {
        for start in [&b"\x1b"[..], b"\x1b[", b"\x1b[12;", b"\x1bO", b"\x1b]52;", b"\x1b[[", b"\xe2"] {
            let mut bytes = start.to_vec();
            bytes.push(3);
            assert_eq!(keys(&bytes), [Key::Control('C')], "{start:?}");
        }
    }

    #[test]
    fn an_endless_sequence_is_given_up() {
        let mut bytes = b"\x1b[".to_vec();
        bytes.extend([b'1'; 100]);
        assert!(keys(&bytes).contains(&Key::Unknown));
    }

    #[test]
    fn any_three_bytes_leave_the_decoder_usable() {
        let mut decoder = Decoder::default();
        for a in 0..=255u8 {
            for b in 0..=255u8 {
                decoder.decode(a);
                decoder.decode(b);
            }
            decoder.decode(3);
            assert_eq!(decoder.decode(b'x'), Some(Key::Char('x')));
        }
    }
}
