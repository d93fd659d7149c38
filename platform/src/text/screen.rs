//! A text screen: a grid of characters that console output is written to.
//!
//! It understands what the console writes: printable characters, CR, LF, backspace, tab, and the control
//! sequences of ECMA-48 that a line editor needs (cursor movement, erase in line and display). Other
//! sequences are swallowed. Which lines changed is remembered, so that a drawer redraws only those.
use alloc::vec;
use alloc::vec::Vec;

/// What part of a control sequence the next byte belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Text,
    Escape,
    /// After `ESC [`: up to two parameters and the one being read.
    Sequence {
        parameters: [u16; 2],
        at: usize,
    },
}

/// The grid.
pub struct Screen {
    columns: usize,
    rows: usize,
    cells: Vec<u8>,
    dirty: Vec<bool>,
    column: usize,
    row: usize,
    state: State,
}

impl Screen {
    /// An empty screen. Sizes are at least 1 by 1 and at most 1000 by 1000.
    pub fn new(columns: usize, rows: usize) -> Self {
        let (columns, rows) = (columns.clamp(1, 1000), rows.clamp(1, 1000));
        Self {
            columns,
            rows,
            cells: vec![b' '; columns * rows],
            dirty: vec![true; rows],
            column: 0,
            row: 0,
            state: State::Text,
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The characters of `row`, one byte each (Latin-1 is not interpreted: bytes beyond ASCII are `?`).
    pub fn row(&self, row: usize) -> &[u8] {
        &self.cells[row * self.columns..][..self.columns]
    }

    /// Column and row of the cursor.
    pub fn cursor(&self) -> (usize, usize) {
        (self.column.min(self.columns - 1), self.row)
    }

    /// The first row that changed since it was last taken here.
    pub fn take_dirty(&mut self) -> Option<usize> {
        let row = self.dirty.iter().position(|d| *d)?;
        self.dirty[row] = false;
        Some(row)
    }

    /// Writes console output.
    pub fn write(&mut self, bytes: &[u8]) {
        for &b in bytes {
            self.state = match (self.state, b) {
                (State::Text, 0x1b) => State::Escape,
                (State::Text, _) => {
                    self.put(b);
                    State::Text
                }
                (State::Escape, b'[') => State::Sequence { parameters: [0; 2], at: 0 },
                (State::Escape, _) => State::Text,
                (State::Sequence { mut parameters, at }, b'0'..=b'9') => {
                    if let Some(p) = parameters.get_mut(at) {
                        *p = p.saturating_mul(10).saturating_add(u16::from(b - b'0'));
                    }
                    State::Sequence { parameters, at }
                }
                (State::Sequence { parameters, at }, b';') => State::Sequence { parameters, at: at + 1 },
                (State::Sequence { parameters, at }, 0x20..=0x3f) => State::Sequence { parameters, at },
                (State::Sequence { parameters, .. }, _) => {
                    self.control(b, parameters.map(usize::from));
                    State::Text
                }
            };
        }
    }

    fn put(&mut self, b: u8) {
        match b {
            b'\n' => self.line_feed(),
            b'\r' => self.move_to(0, self.row),
            0x08 => self.move_to(self.cursor().0.saturating_sub(1), self.row),
            b'\t' => self.move_to((self.column / 8 + 1) * 8, self.row),
            0..0x20 | 0x7f => {}
            0x80..0xc0 => {} // The tail of a UTF-8 character whose head became one '?'.
            _ => {
                if self.column >= self.columns {
                    self.column = 0;
                    self.line_feed();
                }
                self.cells[self.row * self.columns + self.column] = if b < 0x80 { b } else { b'?' };
                self.dirty[self.row] = true;
                self.column += 1;
            }
        }
    }

    fn line_feed(&mut self) {
        self.dirty[self.row] = true;
        if self.row + 1 < self.rows {
            self.row += 1;
            self.dirty[self.row] = true;
        } else {
            self.cells.copy_within(self.columns.., 0);
            let last = self.cells.len() - self.columns;
            self.cells[last..].fill(b' ');
            self.dirty.fill(true);
        }
    }

    fn move_to(&mut self, column: usize, row: usize) {
        self.dirty[self.row] = true;
        self.column = column.min(self.columns - 1);
        self.row = row.min(self.rows - 1);
        self.dirty[self.row] = true;
    }

    /// A complete control sequence (ECMA-48, 8.3). A missing or zero count means 1.
    fn control(&mut self, last: u8, [a, b]: [usize; 2]) {
        let (column, row) = self.cursor();
        let count = a.max(1);
        match last {
            b'A' => self.move_to(column, row.saturating_sub(count)),
            b'B' => self.move_to(column, row + count),
            b'C' => self.move_to(column + count, row),
            b'D' => self.move_to(column.saturating_sub(count), row),
            b'G' => self.move_to(count - 1, row),
            b'H' | b'f' => self.move_to(b.max(1) - 1, count - 1),
            b'K' => self.erase(row * self.columns, column, self.columns, a),
            b'J' => self.erase(0, row * self.columns + column, self.cells.len(), a),
            _ => {}
        }
    }

    /// Erases within the `len` cells from `base` on: 0 from `at` to the end, 1 up to `at`, 2 all.
    fn erase(&mut self, base: usize, at: usize, len: usize, what: usize) {
        let range = match what {
            0 => at..len,
            1 => 0..at + 1,
            _ => 0..len,
        };
        self.cells[base + range.start..base + range.end].fill(b' ');
        let (first, last) = ((base + range.start) / self.columns, (base + range.end).div_ceil(self.columns));
        self.dirty[first.min(self.rows - 1)..last].fill(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acpi::testing::noise;
    use std::string::String;

    fn shown(screen: &Screen) -> Vec<String> {
        (0..screen.rows()).map(|r| String::from_utf8_lossy(screen.row(r)).trim_end().into()).collect()
    }

    fn after(text: &str) -> Vec<String> {
        let mut s = Screen::new(10, 3);
        s.write(text.as_bytes());
        shown(&s)
    }

    #[test]
    fn text_wraps_and_scrolls() {
        assert_eq!(after("one\r\ntwo"), ["one", "two", ""]);
        assert_eq!(after("0123456789ab"), ["0123456789", "ab", ""]);
        assert_eq!(after("1\r\n2\r\n3\r\n4"), ["2", "3", "4"]);
        assert_eq!(after("0123456789\r\nx"), ["0123456789", "x", ""]);
    }

    #[test]
    fn a_line_editor_can_redraw_its_line() {
        assert_eq!(after("n1> helo\x1b[1Dlo\r\x1b[4C\x1b[KHi"), ["n1> Hi", "", ""]);
        assert_eq!(after("abc\x08\x08X"), ["aXc", "", ""]);
        assert_eq!(after("junk\x1b[2J\x1b[Hclean"), ["clean", "", ""]);
        assert_eq!(after("\x1b[1;31mred\x1b[0m"), ["red", "", ""]);
        assert_eq!(after("grün"), ["gr?n", "", ""]);
    }

    #[test]
    fn only_changed_rows_are_dirty() {
        let mut s = Screen::new(10, 3);
        while s.take_dirty().is_some() {}
        s.write(b"x");
        assert_eq!(s.take_dirty(), Some(0));
        assert_eq!(s.take_dirty(), None);
    }

    #[test]
    fn noise_of_any_kind_stays_on_the_screen() {
        for seed in 0..2000 {
            let mut s = Screen::new((seed % 7) as usize, (seed % 5) as usize);
            let mut bytes = noise(seed, 200);
            for b in bytes.iter_mut().step_by(5) {
                *b = 0x1b;
            }
            for b in bytes.iter_mut().skip(1).step_by(5) {
                *b = b'[';
            }
            s.write(&bytes);
            let (column, row) = s.cursor();
            assert!(column < s.row(row).len());
        }
    }
}
