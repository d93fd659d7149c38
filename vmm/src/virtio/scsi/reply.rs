//! Parameter data that a command answers with: zeroes, and what is put among them.

use super::command::COMMANDS;

/// Most bytes of it: all logical units, or all commands with their time-outs.
pub const MAX_REPLY: usize = {
    let (units, commands) = (8 + 8 * super::MAX_UNITS, 4 + 20 * COMMANDS.len());
    if units > commands { units } else { commands }
};

/// Some parameter data. What does not fit is left out; nothing here is so long.
pub struct Reply {
    bytes: [u8; MAX_REPLY],
    length: usize,
}

impl Reply {
    /// So many zeroes.
    pub fn new(length: usize) -> Self {
        Self { bytes: [0; MAX_REPLY], length: length.min(MAX_REPLY) }
    }

    /// Replaces bytes; it grows as needed.
    pub fn put(&mut self, at: usize, bytes: &[u8]) {
        let end = at.saturating_add(bytes.len());
        if let Some(place) = self.bytes.get_mut(at..end) {
            place.copy_from_slice(bytes);
            self.length = self.length.max(end);
        }
    }

    /// Adds bytes at its end.
    pub fn append(&mut self, bytes: &[u8]) {
        self.put(self.length, bytes);
    }

    /// Text of a fixed width, with spaces behind it.
    pub fn put_text(&mut self, at: usize, text: &str, width: usize) {
        let bytes = text.bytes().chain(core::iter::repeat(b' ')).take(width);
        bytes.enumerate().for_each(|(i, byte)| self.put(at + i, &[byte]));
    }

    /// Its length so far.
    pub fn length(&self) -> usize {
        self.length
    }

    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}
