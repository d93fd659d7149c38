//! The lines that were entered, and the walk through them.

use alloc::collections::VecDeque;
use alloc::string::String;

/// Most lines kept.
const MAX_LINES: usize = 100;

/// Entered lines, oldest first, and where the operator is among them.
#[derive(Clone, Debug, Default)]
pub struct History {
    lines: VecDeque<String>,
    /// Index of the line that is shown; `None`: the line that is being written.
    shown: Option<usize>,
    /// The line that was being written when the walk began.
    draft: String,
    /// What [`History::search`] looks for, while it goes on.
    sought: Option<String>,
}

impl History {
    /// Keeps an entered line, unless it is blank or the same as the last, and ends the walk.
    pub fn add(&mut self, line: &str) {
        self.leave();
        if line.trim().is_empty() || self.lines.back().is_some_and(|last| last == line) {
            return;
        }
        if self.lines.len() == MAX_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line.into());
    }

    /// Ends the walk: the next one starts at the newest line.
    pub fn leave(&mut self) {
        self.shown = None;
        self.sought = None;
        self.draft.clear();
    }

    /// Ends a search, and stays at the line that it found.
    pub fn stop_search(&mut self) {
        self.sought = None;
    }

    /// The next older line, or `None` at the oldest. `current` is what is being written.
    pub fn older(&mut self, current: &str) -> Option<&str> {
        let index = self.shown.unwrap_or(self.lines.len()).checked_sub(1)?;
        self.show(index, current)
    }

    /// The next newer line, after the newest the one that was being written, or `None` there.
    pub fn newer(&mut self) -> Option<&str> {
        let index = self.shown? + 1;
        if index < self.lines.len() {
            self.shown = Some(index);
            return self.lines.get(index).map(String::as_str);
        }
        self.shown = None;
        Some(&self.draft)
    }

    /// The next older line that contains what was written when the search began.
    pub fn search(&mut self, current: &str) -> Option<&str> {
        let sought = self.sought.get_or_insert_with(|| current.into()).clone();
        let before = self.shown.unwrap_or(self.lines.len());
        let index = (0..before).rev().find(|index| self.lines[*index].contains(&sought))?;
        self.show(index, current)
    }

    fn show(&mut self, index: usize, current: &str) -> Option<&str> {
        if self.shown.is_none() {
            self.draft = current.into();
        }
        self.shown = Some(index);
        self.lines.get(index).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    fn history(lines: &[&str]) -> History {
        let mut history = History::default();
        lines.iter().for_each(|line| history.add(line));
        history
    }

    #[test]
    fn walking_up_and_down_returns_to_the_line_being_written() {
        let mut history = history(&["a", "b"]);
        assert_eq!(history.older("dra"), Some("b"));
        assert_eq!(history.older("b"), Some("a"));
        assert_eq!(history.older("a"), None);
        assert_eq!(history.newer(), Some("b"));
        assert_eq!(history.newer(), Some("dra"));
        assert_eq!(history.newer(), None);
    }

    #[test]
    fn blank_lines_and_repetitions_are_not_kept() {
        let mut history = history(&["a", "a", "", "  ", "b", "a"]);
        assert_eq!(history.older(""), Some("a"));
        assert_eq!(history.older(""), Some("b"));
        assert_eq!(history.older(""), Some("a"));
        assert_eq!(history.older(""), None);
    }

    #[test]
    fn only_the_newest_lines_are_kept() {
        let mut history = History::default();
        for number in 0..500 {
            history.add(&format!("line {number}"));
        }
        let mut kept = 0;
        while history.older("").is_some() {
            kept += 1;
        }
        assert_eq!(kept, MAX_LINES);
    }

    #[test]
    fn a_search_finds_ever_older_lines_with_what_was_written() {
        let mut history = history(&["vm start a", "cpu", "vm stop a", "mem"]);
        assert_eq!(history.search("vm"), Some("vm stop a"));
        assert_eq!(history.search("vm stop a"), Some("vm start a"));
        assert_eq!(history.search("vm start a"), None);
        history.leave();
        assert_eq!(history.search("nothing"), None);
    }
}
