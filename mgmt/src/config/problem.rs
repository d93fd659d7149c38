//! What is wrong in a configuration file, told so that the operator can mend it.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// The configuration's file name, on the boot volume and in messages.
pub const FILE: &str = "purevisor.toml";

/// One thing that is wrong in the file. `Display` is the operator's message:
/// `purevisor.toml:LINE: what is wrong; allowed: what is`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line in the file, counted from 1.
    pub line: usize,
    /// What is wrong and what is allowed.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{FILE}:{}: {}", self.line, self.text)
    }
}

impl core::error::Error for Problem {}

/// Most problems that are kept: who sees these knows that it is the wrong file.
const MAX_KEPT: usize = 100;

/// The problems found so far. All are counted, the first [`MAX_KEPT`] are kept.
#[derive(Default)]
pub(super) struct Problems {
    kept: Vec<Problem>,
    count: usize,
}

impl Problems {
    pub fn push(&mut self, line: usize, text: String) {
        self.count += 1;
        if self.kept.len() < MAX_KEPT {
            self.kept.push(Problem { line, text });
        }
    }

    pub fn count(&self) -> usize {
        self.count
    }

    /// The problems by line, and last how many more there are.
    pub fn by_line(mut self) -> Vec<Problem> {
        self.kept.sort_by_key(|problem| problem.line);
        let more = self.count - self.kept.len();
        if more > 0 {
            let line = self.kept.last().map_or(1, |problem| problem.line);
            self.kept.push(Problem { line, text: format!("{more} more problems are not shown") });
        }
        self.kept
    }
}

/// Why a key's value is refused: completes the sentence `KEY = VALUE …; allowed: …`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub why: String,
    pub allowed: String,
}

impl Refused {
    pub fn new(why: impl Into<String>, allowed: impl Into<String>) -> Self {
        Self { why: why.into(), allowed: allowed.into() }
    }
}
