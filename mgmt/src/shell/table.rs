//! Aligned tables.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};

use crate::line::width;

/// Rows under a header. A header that begins with `>` is of a column of figures, set flush right.
pub struct Table {
    columns: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new(columns: &'static [&'static str]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row; what it has more or less than the header stays without a header or empty.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let titles: Vec<&str> = self.columns.iter().map(|title| title.trim_start_matches('>')).collect();
        let mut widths: Vec<usize> = titles.iter().map(|title| columns(title)).collect();
        for row in &self.rows {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = columns(cell).max(*width);
            }
        }
        self.line(f, &widths, titles.iter().copied())?;
        self.rows.iter().try_for_each(|row| self.line(f, &widths, row.iter().map(String::as_str)))
    }
}

impl Table {
    /// Writes a line, without spaces at its end.
    fn line<'c>(
        &self,
        f: &mut fmt::Formatter<'_>,
        widths: &[usize],
        cells: impl Iterator<Item = &'c str>,
    ) -> fmt::Result {
        let mut due = 0;
        for (index, (cell, width)) in cells.zip(widths).enumerate() {
            let pad = width - columns(cell).min(*width);
            let right = self.columns.get(index).is_some_and(|title| title.starts_with('>'));
            let (before, after) = if right { (pad, 0) } else { (0, pad) };
            if !cell.is_empty() {
                // Not by a format's width: that panics beyond 65535.
                (0..due + before).try_for_each(|_| f.write_char(' '))?;
                f.write_str(cell)?;
                due = 0;
            } else {
                due += before;
            }
            due += after + 2;
        }
        writeln!(f)
    }
}

/// Columns of a terminal that a text takes.
fn columns(text: &str) -> usize {
    text.chars().map(width::columns).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn columns_align_and_lines_end_without_spaces() {
        let mut table = Table::new(&["NAME", ">CPUS", "STATE"]);
        table.row(["debian".to_string(), "2".to_string(), "running".to_string()]);
        table.row(["日本".to_string(), "16".to_string(), String::new()]);
        assert_eq!(table.to_string(), "NAME    CPUS  STATE\ndebian     2  running\n日本      16\n");
    }

    #[test]
    fn rows_of_other_lengths_are_shown_too() {
        let mut table = Table::new(&["A"]);
        table.row([]);
        table.row(["1".to_string(), "2".to_string()]);
        assert_eq!(table.to_string(), "A\n\n1  2\n");
    }
}
