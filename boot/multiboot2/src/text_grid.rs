//! Where the characters of a text go on a screen.

/// A grid of characters that is filled from its upper left corner on.
#[derive(Clone, Copy, Debug)]
pub struct TextGrid {
    columns: u32,
    rows: u32,
    column: u32,
    row: u32,
}

impl TextGrid {
    /// An empty grid.
    pub const fn new(columns: u32, rows: u32) -> Self {
        Self { columns, rows, column: 0, row: 0 }
    }

    /// Column and row of the next character; `None` for what is not shown: line ends, and what does not fit any
    /// more. Lines that are too long go on in the next row.
    pub fn place(&mut self, character: char) -> Option<(u32, u32)> {
        if character == '\n' {
            self.column = 0;
            self.row = self.row.saturating_add(1);
        }
        if character.is_control() || self.columns == 0 {
            return None;
        }
        if self.column == self.columns {
            self.column = 0;
            self.row = self.row.saturating_add(1);
        }
        if self.row >= self.rows {
            return None;
        }
        self.column += 1;
        Some((self.column - 1, self.row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn places(columns: u32, rows: u32, text: &str) -> Vec<(char, u32, u32)> {
        let mut grid = TextGrid::new(columns, rows);
        text.chars().filter_map(|c| grid.place(c).map(|(column, row)| (c, column, row))).collect()
    }

    #[test]
    fn text_goes_on_in_the_next_row_and_ends_with_the_screen() {
        assert_eq!(places(2, 2, "abcde"), [('a', 0, 0), ('b', 1, 0), ('c', 0, 1), ('d', 1, 1)]);
    }

    #[test]
    fn a_line_end_begins_a_row_also_behind_a_full_one() {
        assert_eq!(places(2, 9, "ab\r\nc\nd"), [('a', 0, 0), ('b', 1, 0), ('c', 0, 1), ('d', 0, 2)]);
    }

    #[test]
    fn a_screen_without_room_shows_nothing() {
        assert_eq!(places(0, 9, "abc"), []);
        assert_eq!(places(9, 0, "abc"), []);
    }
}
