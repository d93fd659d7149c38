//! The editor against a model of a terminal: what matters is what the operator sees.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use super::*;

/// A terminal that knows what the editor sends.
struct Terminal {
    rows: Vec<Vec<char>>,
    column: usize,
    width: usize,
    bells: usize,
}

impl Terminal {
    fn new(width: usize) -> Self {
        Self { rows: vec![Vec::new()], column: 0, width, bells: 0 }
    }

    fn write(&mut self, bytes: &[u8]) {
        let text = core::str::from_utf8(bytes).expect("the editor sends UTF-8");
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '\r' => self.column = 0,
                '\n' => self.rows.push(Vec::new()),
                '\x07' => self.bells += 1,
                '\x1b' => {
                    assert_eq!(chars.next(), Some('['));
                    let mut number = 0;
                    let last = loop {
                        match chars.next().expect("a whole sequence") {
                            d @ '0'..='9' => number = number * 10 + (d as usize - '0' as usize),
                            last => break last,
                        }
                    };
                    match last {
                        'K' => {
                            let column = self.column;
                            self.row().truncate(column)
                        }
                        'D' => self.column -= number,
                        'H' => (self.rows, self.column) = (vec![Vec::new()], 0),
                        'J' => {}
                        other => panic!("unknown sequence {other}"),
                    }
                }
                c => {
                    assert!(!c.is_control());
                    let column = self.column;
                    let row = self.row();
                    row.resize(row.len().max(column + 1), ' ');
                    row[column] = c;
                    self.column += 1;
                    assert!(self.column < self.width, "the last column stays empty");
                }
            }
        }
    }

    fn row(&mut self) -> &mut Vec<char> {
        self.rows.last_mut().expect("there is a row")
    }

    fn last(&self) -> String {
        self.rows.last().map(|row| row.iter().collect()).unwrap_or_default()
    }

    fn screen(&self) -> Vec<String> {
        self.rows.iter().map(|row| row.iter().collect::<String>().trim_end().to_string()).collect()
    }
}

struct Rig {
    editor: Editor,
    terminal: Terminal,
    events: Vec<Event>,
}

impl Rig {
    fn new() -> Self {
        Self::wide(80)
    }

    fn wide(width: usize) -> Self {
        let mut rig =
            Self { editor: Editor::new("n1> ", width), terminal: Terminal::new(width), events: Vec::new() };
        rig.show();
        rig
    }

    fn show(&mut self) {
        let mut out = Vec::new();
        self.editor.show(&mut out);
        self.terminal.write(&out);
    }

    /// Types bytes; each event but TAB shows a new prompt, TAB offers VM names.
    fn keys(&mut self, bytes: &[u8]) -> &mut Self {
        let mut out = Vec::new();
        for byte in bytes {
            if let Some(event) = self.editor.push(*byte, &mut out) {
                if event == Event::Complete {
                    let words: Vec<String> =
                        ["debian", "debug", "web"].iter().map(|w| w.to_string()).collect();
                    let before = self.editor.before_cursor();
                    let word = before.rsplit(' ').next().unwrap_or("");
                    let fitting: Vec<String> = words.into_iter().filter(|w| w.starts_with(word)).collect();
                    self.editor.offer(word.chars().count(), &fitting, &mut out);
                } else {
                    self.editor.show(&mut out);
                }
                self.events.push(event);
            }
        }
        self.editor.refresh(&mut out);
        self.terminal.write(&out);
        self
    }

    fn line(&self) -> String {
        self.editor.text.iter().collect()
    }
}

#[test]
fn typing_and_enter_give_the_line() {
    let mut rig = Rig::new();
    rig.keys("vm list é\r".as_bytes());
    assert_eq!(rig.events, [Event::Line("vm list é".into())]);
    assert_eq!(rig.terminal.screen(), ["n1> vm list é", "n1>"]);
}

#[test]
fn the_echo_of_a_character_is_that_character() {
    let mut editor = Editor::new("n1> ", 80);
    let mut out = Vec::new();
    editor.show(&mut out);
    out.clear();
    editor.push(b'a', &mut out);
    editor.refresh(&mut out);
    assert_eq!(out, b"a");
}

#[test]
fn several_edits_in_one_chunk_redraw_the_row_once() {
    let mut editor = Editor::new("n1> ", 80);
    let mut out = Vec::new();
    editor.show(&mut out);
    out.clear();
    for byte in *b"ab\x1b[Dcd\x08" {
        editor.push(byte, &mut out);
    }
    editor.refresh(&mut out);
    assert_eq!(out, b"ab\rn1> acb\x1b[K\x1b[1D");
}

#[test]
fn edits_in_the_middle_show_as_they_are() {
    let mut rig = Rig::new();
    rig.keys(b"vm lst\x1b[D\x1b[Di");
    assert_eq!(rig.terminal.last(), "n1> vm list");
    assert_eq!(rig.terminal.column, "n1> vm li".len());
    rig.keys(b"\x01x\x1b[3~\x05y\x7f\x08");
    assert_eq!(rig.line(), "xm lis");
    assert_eq!(rig.terminal.last(), "n1> xm lis");
}

#[test]
fn cutting_and_pasting_work_by_line_and_word() {
    let mut rig = Rig::new();
    rig.keys(b"one two  three\x17");
    assert_eq!(rig.line(), "one two  ");
    rig.keys(b"\x17\x19\x19");
    assert_eq!(rig.line(), "one two  two  ");
    rig.keys(b"\x1bb\x0b");
    assert_eq!(rig.line(), "one two  ");
    rig.keys(b"\x15");
    assert_eq!(rig.line(), "");
    rig.keys(b"\x19\x01\x1bf!");
    assert_eq!(rig.line(), "one! two  ");
}

#[test]
fn history_keeps_what_was_being_written() {
    let mut rig = Rig::new();
    rig.keys(b"first\rsecond\rdraft\x1b[A");
    assert_eq!(rig.line(), "second");
    rig.keys(b"\x1b[A\x1b[A");
    assert_eq!(rig.line(), "first");
    rig.keys(b"\x1b[B\x1b[B");
    assert_eq!(rig.line(), "draft");
    rig.keys(b"\x15fi\x12");
    assert_eq!(rig.line(), "first");
    assert_eq!(rig.terminal.last(), "n1> first");
}

#[test]
fn one_tab_completes_and_two_list() {
    let mut rig = Rig::new();
    rig.keys(b"vm info w\t");
    assert_eq!(rig.line(), "vm info web ");
    rig.keys(b"\x15vm info d\t");
    assert_eq!(rig.line(), "vm info deb");
    assert_eq!(rig.terminal.rows.len(), 1);
    rig.keys(b"\t");
    assert_eq!((rig.terminal.rows.len(), rig.terminal.bells), (1, 1));
    rig.keys(b"\t");
    assert_eq!(rig.terminal.screen(), ["n1> vm info deb", "debian  debug", "n1> vm info deb"]);
    rig.keys(b"u\t");
    assert_eq!(rig.line(), "vm info debug ");
}

#[test]
fn nothing_to_complete_rings_the_bell() {
    let mut rig = Rig::new();
    rig.keys(b"vm info x\t");
    assert_eq!((rig.line().as_str(), rig.terminal.bells), ("vm info x", 1));
}

#[test]
fn a_long_line_scrolls_sideways_and_stays_whole() {
    let mut rig = Rig::wide(40);
    let long: String = (0..200).map(|n| char::from(b'a' + (n % 26) as u8)).collect();
    for byte in long.bytes() {
        rig.keys(&[byte]);
    }
    assert_eq!(rig.terminal.rows.len(), 1);
    assert!(rig.terminal.last().starts_with("n1> "));
    let shown = rig.terminal.last()[4..].to_string();
    assert!(long.ends_with(&shown), "{shown}");
    rig.keys(b"\x01");
    assert_eq!(rig.terminal.column, 4);
    assert!(long.starts_with(&rig.terminal.last()[4..]));
    for _ in 0..100 {
        rig.keys(b"\x1b[C");
        let under = rig.terminal.last().chars().nth(rig.terminal.column);
        assert_eq!(under, rig.editor.text.get(rig.editor.cursor).copied());
    }
    for _ in 0..90 {
        rig.keys(b"\x1b[D");
        let under = rig.terminal.last().chars().nth(rig.terminal.column);
        assert_eq!(under, rig.editor.text.get(rig.editor.cursor).copied());
    }
    rig.keys(b"\r");
    assert_eq!(rig.events, [Event::Line(long)]);
}

#[test]
fn a_line_without_end_is_cut_at_its_limit() {
    let mut rig = Rig::new();
    rig.keys(&vec![b'x'; 100_000]);
    assert_eq!(rig.editor.text.len(), MAX_LINE);
    rig.keys(b"\x15\x19\x19\x19");
    assert_eq!(rig.editor.text.len(), MAX_LINE);
}

#[test]
fn interrupt_and_end_of_input_are_told_apart_from_editing() {
    let mut rig = Rig::new();
    rig.keys(b"abc\x01\x04\x03\x04");
    assert_eq!(rig.events, [Event::Interrupt, Event::EndOfInput]);
    assert_eq!(rig.terminal.screen(), ["n1> bc^C", "n1>", "n1>"]);
}

#[test]
fn output_may_come_in_the_middle_of_a_line() {
    let mut rig = Rig::new();
    rig.keys(b"vm li\x1b[D");
    let mut out = Vec::new();
    assert!(rig.editor.hide(&mut out));
    out.extend(b"log line\r\n");
    assert!(!rig.editor.hide(&mut out), "hidden already");
    rig.editor.show(&mut out);
    rig.terminal.write(&out);
    assert_eq!(rig.terminal.screen(), ["log line", "n1> vm li"]);
    assert_eq!(rig.terminal.column, "n1> vm l".len());
}

#[test]
fn clearing_the_screen_keeps_the_line() {
    let mut rig = Rig::new();
    rig.keys(b"a\rbc\x0c");
    assert_eq!(rig.terminal.screen(), ["n1> bc"]);
}

#[test]
fn control_characters_never_enter_the_line() {
    let mut rig = Rig::new();
    let mut bytes: Vec<u8> = (0..=31u8).filter(|b| !b"\r\n\x03\t\x1b".contains(b)).collect();
    bytes.extend("x\u{9b}\u{202e}y".bytes());
    rig.keys(&bytes);
    assert_eq!(rig.line(), "xy");
}

#[test]
fn wide_characters_take_two_columns() {
    let mut editor = Editor::new("> ", 80);
    let mut out = Vec::new();
    editor.show(&mut out);
    for byte in "日本\x1b[D".bytes() {
        editor.push(byte, &mut out);
    }
    out.clear();
    editor.refresh(&mut out);
    assert_eq!(out, "\r> 日本\x1b[K\x1b[2D".as_bytes());
}

#[test]
fn random_keys_never_break_the_editor_or_what_is_shown() {
    let mut random = 88172645463325252u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let keys = [
        "a",
        "b ",
        "\t",
        "\x1b[A",
        "\x1b[B",
        "\x1b[C",
        "\x1b[D",
        "\x01",
        "\x05",
        "\x08",
        "\x1b[3~",
        "\x0b",
        "\x15",
        "\x17",
        "\x19",
        "\x12",
        "\r",
        "\x04",
        "\x1bb",
        "\x1bf",
        "de",
        "word word word",
        "\x03",
        "\x1b[",
        "\u{0}",
    ];
    let mut rig = Rig::wide(30);
    for _ in 0..20_000 {
        // Up to three keys at once: the row is brought up to date only after the last.
        let chunk: String =
            (0..1 + next() % 3).map(|_| keys[(next() % keys.len() as u64) as usize]).collect();
        rig.keys(chunk.as_bytes());
        let editor = &rig.editor;
        assert!(editor.cursor <= editor.text.len() && editor.start <= editor.cursor);
        let shown: String = editor.text[editor.start..].iter().collect();
        let row = rig.terminal.last();
        assert!(shown.starts_with(row[4..].trim_end()), "{row:?} shows {shown:?}");
        if rig.terminal.rows.len() > 50 {
            rig.terminal.rows.drain(..49);
        }
    }
    for byte in 0..10_000 {
        let byte = (next() >> (byte % 8)) as u8;
        let mut out = Vec::new();
        rig.editor.push(byte, &mut out);
    }
    assert!(rig.editor.text.len() <= MAX_LINE);
    let _ = format!("{:?}", rig.editor);
}
