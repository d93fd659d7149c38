//! A line editor for a terminal on the other end of a byte stream.
//!
//! Sans-I/O: bytes from the terminal go into [`Editor::push`], bytes for the terminal come out of `out`,
//! and what the operator decided comes out as an [`Event`]. The line stands on one row: what is longer
//! than the row scrolls sideways, so that no terminal's way to wrap matters. Lines of output may come at
//! any time: [`Editor::hide`] takes the prompt away, [`Editor::show`] brings it back.
//!
//! Promise: any bytes leave the editor usable, nothing but shown characters enters the line, and memory
//! is bounded by [`MAX_LINE`] and the history's limit. The echo of plain typing is the character alone;
//! any other change redraws the row once per [`Editor::refresh`], however many keys came before it.
//!
//! Flow: bytes → [`keys`] → the edit → `out`; `history` and `columns` serve it.

mod columns;
mod history;
pub mod keys;
#[cfg(test)]
mod tests;
pub mod width;

use alloc::string::String;
use alloc::vec::Vec;

use history::History;
use keys::{Decoder, Key};

/// Longest line, in characters. More is refused with a bell.
pub const MAX_LINE: usize = 1024;

/// Most candidates that a second TAB lists.
const MAX_LISTED: usize = 200;

/// What the operator did, beyond editing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Enter: the line, which the history now has. The prompt is gone until [`Editor::show`].
    Line(String),
    /// TAB: answer with [`Editor::offer`].
    Complete,
    /// Ctrl-C: the line is discarded. The prompt is gone until [`Editor::show`].
    Interrupt,
    /// Ctrl-D on an empty line. The prompt is gone until [`Editor::show`].
    EndOfInput,
}

/// The line being written, and what stands on the terminal of it.
#[derive(Clone, Debug)]
pub struct Editor {
    decoder: Decoder,
    history: History,
    prompt: Vec<char>,
    /// Columns of the terminal.
    columns: usize,
    text: Vec<char>,
    /// Index in `text` of the character under the cursor.
    cursor: usize,
    /// Index in `text` of the first character on the row.
    start: usize,
    /// What was last cut, for Ctrl-Y.
    cut: Vec<char>,
    /// TABs pressed one after the other.
    tabs: u32,
    /// Whether the prompt is on the terminal.
    visible: bool,
    /// Whether the row no longer shows the line as it is.
    stale: bool,
    /// Whether something was refused since the last refresh.
    bell: bool,
}

impl Editor {
    /// An empty line with this prompt on a terminal of `columns`. Not shown yet.
    pub fn new(prompt: &str, columns: usize) -> Self {
        let prompt: Vec<char> = prompt.chars().filter(|c| width::is_shown(*c)).collect();
        // There must be room to edit in.
        let columns = columns.max(width::of(&prompt) + 19);
        Self {
            decoder: Decoder::default(),
            history: History::default(),
            prompt,
            columns,
            text: Vec::new(),
            cursor: 0,
            start: 0,
            cut: Vec::new(),
            tabs: 0,
            visible: false,
            stale: false,
            bell: false,
        }
    }

    /// Takes one byte from the terminal. Changes show at the next [`Editor::refresh`].
    pub fn push(&mut self, byte: u8, out: &mut Vec<u8>) -> Option<Event> {
        let key = self.decoder.decode(byte)?;
        self.tabs = if key == Key::Tab { self.tabs.saturating_add(1) } else { 0 };
        if key != Key::Control('R') {
            self.history.stop_search();
        }
        match key {
            Key::Char(c) => self.insert(c, out),
            Key::Enter => {
                self.leave("", out);
                let line = self.take();
                self.history.add(&line);
                return Some(Event::Line(line));
            }
            Key::Control('C') => {
                self.leave("^C", out);
                self.take();
                self.history.leave();
                return Some(Event::Interrupt);
            }
            Key::Control('D') if self.text.is_empty() => {
                self.leave("", out);
                return Some(Event::EndOfInput);
            }
            Key::Tab => {
                self.refresh(out);
                return Some(Event::Complete);
            }
            Key::Control('L') => {
                out.extend(b"\x1b[H\x1b[2J");
                self.stale = true;
            }
            edit => self.edit(edit),
        }
        None
    }

    /// Brings the row up to date.
    pub fn refresh(&mut self, out: &mut Vec<u8>) {
        if core::mem::take(&mut self.bell) {
            out.push(0x07);
        }
        if !self.visible || !core::mem::take(&mut self.stale) {
            return;
        }
        self.scroll();
        out.push(b'\r');
        put(&self.prompt, out);
        let mut room = self.room();
        let mut end = self.start;
        while let Some(columns) =
            self.text.get(end).map(|c| width::columns(*c)).filter(|columns| *columns <= room)
        {
            room -= columns;
            end += 1;
        }
        put(&self.text[self.start..end], out);
        out.extend(b"\x1b[K");
        let back = width::of(&self.text[self.cursor..end]);
        if back > 0 {
            out.extend(alloc::format!("\x1b[{back}D").bytes());
        }
    }

    /// Takes the prompt and the line off the terminal, so that output can take their row. The line is
    /// kept. Whether it was shown.
    pub fn hide(&mut self, out: &mut Vec<u8>) -> bool {
        let visible = core::mem::take(&mut self.visible);
        if visible {
            out.extend(b"\r\x1b[K");
        }
        visible
    }

    /// Puts the prompt and the line on the terminal's row, which must be empty.
    pub fn show(&mut self, out: &mut Vec<u8>) {
        self.visible = true;
        self.stale = true;
        self.refresh(out);
    }

    /// The line up to the cursor: what is to be completed.
    pub fn before_cursor(&self) -> String {
        self.text[..self.cursor].iter().collect()
    }

    /// Completes the word before the cursor. `word` is how much of the line before the cursor it is, in
    /// characters; each candidate is a whole word that begins with it. What all candidates agree on is
    /// inserted; if that is nothing, a second TAB lists them.
    pub fn offer(&mut self, word: usize, candidates: &[String], out: &mut Vec<u8>) {
        let typed = &self.text[self.cursor.saturating_sub(word)..self.cursor];
        let mut candidates_left =
            candidates.iter().filter(|c| c.chars().take(word).eq(typed.iter().copied()));
        let Some(first) = candidates_left.next() else {
            self.bell = true;
            return self.refresh(out);
        };
        let mut common: Vec<char> = first.chars().collect();
        let mut only = true;
        for other in candidates_left {
            only = false;
            let alike = common.iter().copied().zip(other.chars()).take_while(|(a, b)| a == b).count();
            common.truncate(alike);
        }
        let progress = common.len() > word || only;
        for c in common.into_iter().skip(word).chain(only.then_some(' ')) {
            self.insert(c, out);
        }
        if progress {
            self.tabs = 0;
        } else if self.tabs < 2 {
            self.bell = true;
        } else {
            self.list(candidates, out);
        }
        self.refresh(out);
    }

    fn list(&mut self, candidates: &[String], out: &mut Vec<u8>) {
        out.extend(b"\r\n");
        let shown = &candidates[..candidates.len().min(MAX_LISTED)];
        out.extend(columns::columns(shown, self.columns - 1).bytes());
        if shown.len() < candidates.len() {
            out.extend(alloc::format!("and {} more\r\n", candidates.len() - shown.len()).bytes());
        }
        self.stale = true;
    }

    fn insert(&mut self, c: char, out: &mut Vec<u8>) {
        if !width::is_shown(c) || self.text.len() >= MAX_LINE {
            self.bell = true;
            return;
        }
        let at_end = self.cursor == self.text.len();
        self.text.insert(self.cursor, c);
        self.cursor += 1;
        // Only a row that is up to date has the cursor on it.
        let current = at_end && self.visible && !self.stale;
        if current && width::of(&self.text[self.start..self.cursor]) <= self.room() {
            put(&[c], out);
        } else {
            self.stale = true;
        }
    }

    fn edit(&mut self, key: Key) {
        let before = (self.cursor, self.text.len());
        match key {
            Key::Left | Key::Control('B') => self.cursor = self.cursor.saturating_sub(1),
            Key::Right | Key::Control('F') => self.cursor = (self.cursor + 1).min(self.text.len()),
            Key::WordLeft => self.cursor = self.word_left(),
            Key::WordRight => self.cursor = self.word_right(),
            Key::Home | Key::Control('A') => self.cursor = 0,
            Key::End | Key::Control('E') => self.cursor = self.text.len(),
            Key::Backspace if self.cursor > 0 => {
                self.cursor -= 1;
                self.text.remove(self.cursor);
            }
            Key::Delete | Key::Control('D') if self.cursor < self.text.len() => {
                self.text.remove(self.cursor);
            }
            Key::Control('K') => self.cut = self.text.split_off(self.cursor),
            Key::Control('U') => self.cut_from(0),
            Key::Control('W') => self.cut_from(self.word_left()),
            Key::Control('Y') => {
                let room = MAX_LINE - self.text.len().min(MAX_LINE);
                let pasted = &self.cut[..self.cut.len().min(room)];
                self.text.splice(self.cursor..self.cursor, pasted.iter().copied());
                self.cursor += pasted.len();
            }
            Key::Up | Key::Control('P') => return self.recall(|history, line| history.older(line)),
            Key::Down | Key::Control('N') => return self.recall(|history, _| history.newer()),
            Key::Control('R') => return self.recall(|history, line| history.search(line)),
            _ => {}
        }
        if before == (self.cursor, self.text.len()) {
            self.bell = true;
        } else {
            self.stale = true;
        }
    }

    /// Replaces the line by one of the history, if that has it.
    fn recall(&mut self, choose: impl for<'h> FnOnce(&'h mut History, &str) -> Option<&'h str>) {
        let line: String = self.text.iter().collect();
        match choose(&mut self.history, &line) {
            Some(line) => {
                self.text = line.chars().collect();
                self.cursor = self.text.len();
                self.stale = true;
            }
            None => self.bell = true,
        }
    }

    fn cut_from(&mut self, start: usize) {
        if start < self.cursor {
            self.cut = self.text.drain(start..self.cursor).collect();
            self.cursor = start;
        }
    }

    /// Start of the word before the cursor.
    fn word_left(&self) -> usize {
        let before = &self.text[..self.cursor];
        let end = before.iter().rposition(|c| *c != ' ').map_or(0, |at| at + 1);
        before[..end].iter().rposition(|c| *c == ' ').map_or(0, |at| at + 1)
    }

    /// End of the word after the cursor.
    fn word_right(&self) -> usize {
        let after = &self.text[self.cursor..];
        let start = after.iter().position(|c| *c != ' ').unwrap_or(after.len());
        self.cursor + after[start..].iter().position(|c| *c == ' ').map_or(after.len(), |at| start + at)
    }

    /// Leaves the line as it stands, with a mark behind it, and goes to the next row.
    fn leave(&mut self, mark: &str, out: &mut Vec<u8>) {
        if !mark.is_empty() && self.cursor < self.text.len() {
            self.cursor = self.text.len();
            self.stale = true;
        }
        self.refresh(out);
        if self.visible {
            out.extend(mark.bytes());
            out.extend(b"\r\n");
        }
        self.visible = false;
    }

    fn take(&mut self) -> String {
        (self.cursor, self.start) = (0, 0);
        core::mem::take(&mut self.text).into_iter().collect()
    }

    /// Columns for the line: the row without the prompt, without the last column, where terminals wrap,
    /// and without two for the mark of Ctrl-C.
    fn room(&self) -> usize {
        self.columns - 3 - width::of(&self.prompt)
    }

    /// Moves the row's first character so that the cursor is on the row, by half a row at once.
    fn scroll(&mut self) {
        let room = self.room();
        let hidden_left = self.cursor < self.start || (self.cursor == self.start && self.start > 0);
        // The cursor itself needs a column too, unless it stands behind the text.
        let under = self.text.get(self.cursor).map_or(0, |c| width::columns(*c));
        if hidden_left || width::of(&self.text[self.start..self.cursor]) + under > room {
            let mut columns = 0;
            self.start = self.cursor;
            while self.start > 0 && columns < room / 2 {
                self.start -= 1;
                columns += width::columns(self.text[self.start]);
            }
        }
    }
}

fn put(text: &[char], out: &mut Vec<u8>) {
    for c in text {
        out.extend(c.encode_utf8(&mut [0; 4]).bytes());
    }
}
