//! Reads the keys of one table: each wrong one is reported, none stops the others.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::document::Lines;
use super::problem::{Problems, Refused};
use crate::nearest::nearest;

/// A table of the file that is being read. Each call takes one key out; [`Section::finish`] reports
/// those that nobody asked for.
pub(super) struct Section<'a, 'p> {
    /// The header as the operator writes it: `[node]`, `[[vm]]`.
    title: &'static str,
    /// Line of the header.
    pub line: usize,
    table: DeTable<'a>,
    known: Vec<&'static str>,
    lines: &'p Lines,
    problems: &'p mut Problems,
    problems_before: usize,
}

impl<'a, 'p> Section<'a, 'p> {
    /// The table in `value`, or `None` and a problem if it is something else.
    pub fn open(
        title: &'static str,
        value: Spanned<DeValue<'a>>,
        lines: &'p Lines,
        problems: &'p mut Problems,
    ) -> Option<Self> {
        let line = lines.at(value.span().start);
        match value.into_inner() {
            DeValue::Table(table) => {
                let problems_before = problems.count();
                Some(Self { title, line, table, known: Vec::new(), lines, problems, problems_before })
            }
            other => {
                let text =
                    format!("{} is not a table; allowed: a line {title} with its keys below", show(&other));
                problems.push(line, text);
                None
            }
        }
    }

    /// Whether a key that was not taken out yet is there, sound or not.
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// A key that may be absent: `None` then, and if its value is refused.
    pub fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'a>) -> Result<T, Refused>,
    ) -> Option<T> {
        self.known.push(key);
        let (key, value) = self.table.remove_entry(key)?;
        match read(value.get_ref()) {
            Ok(value) => Some(value),
            Err(Refused { why, allowed }) => {
                let line = self.lines.at(key.span().start);
                let shown = show(value.get_ref());
                self.report(line, format!("{} = {shown} {why}; allowed: {allowed}", key.get_ref()));
                None
            }
        }
    }

    /// A key that must be there: reported if it is absent.
    pub fn required<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'a>) -> Result<T, Refused>,
    ) -> Option<T> {
        if !self.table.contains_key(key) {
            self.known.push(key);
            self.report(
                self.line,
                format!("this {} has no {key}; allowed: {key} = … is required", self.title),
            );
            return None;
        }
        self.optional(key, read)
    }

    /// A key whose value is a list of tables, each called `title`. Those that `read` finds sound; none where the key
    /// is absent.
    pub fn tables<T>(
        &mut self,
        key: &'static str,
        title: &'static str,
        allowed: &str,
        read: impl Fn(Section<'a, '_>) -> Option<T>,
    ) -> Vec<T> {
        self.known.push(key);
        let Some((name, value)) = self.table.remove_entry(key) else { return Vec::new() };
        let at = self.lines.at(name.span().start);
        let items = match value.into_inner() {
            DeValue::Array(items) => items,
            other => {
                self.report(at, format!("{key} = {} is not a list; allowed: {allowed}", show(&other)));
                return Vec::new();
            }
        };
        let mut sound = Vec::new();
        for item in items {
            let line = self.lines.at(item.span().start);
            match item.get_ref() {
                DeValue::Table(_) => {
                    let section = Section::open(title, item, self.lines, self.problems);
                    sound.extend(section.and_then(&read));
                }
                other => {
                    self.report(line, format!("{key} has {}, no {title}; allowed: {allowed}", show(other)));
                }
            }
        }
        sound
    }

    /// Reports a problem that shows only between keys, at the section's header.
    pub fn conflict(&mut self, text: String) {
        self.report(self.line, text);
    }

    /// Reports the keys that were not asked for. Whether the whole section is sound.
    pub fn finish(mut self) -> bool {
        for (key, _) in core::mem::take(&mut self.table) {
            let line = self.lines.at(key.span().start);
            let key = clip(key.get_ref());
            let hint = match nearest(&key, self.known.iter().copied()) {
                Some(meant) => format!("did you mean {meant}?"),
                None => format!("allowed: {}", self.known.join(", ")),
            };
            self.report(line, format!("unknown key {key} in {}; {hint}", self.title));
        }
        self.problems.count() == self.problems_before
    }

    fn report(&mut self, line: usize, text: String) {
        self.problems.push(line, text);
    }
}

/// A value as the operator wrote it, shortened, on one line.
pub(super) fn show(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("\"{}\"", clip(text)),
        DeValue::Integer(number) => clip(&number.to_string()),
        DeValue::Float(number) => clip(number.as_str()),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(value) => value.to_string(),
        DeValue::Array(_) => "[…]".to_string(),
        DeValue::Table(_) => "{…}".to_string(),
    }
}

/// At most 40 characters of a text, control characters escaped: messages go to a terminal.
pub(super) fn clip(text: &str) -> String {
    let mut shown: String = text.chars().take(40).flat_map(char::escape_debug).collect();
    if text.chars().nth(40).is_some() {
        shown.push('…');
    }
    shown
}
