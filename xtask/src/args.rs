//! The command line: options with values, flags, nothing else.
use crate::failure::{Failure, Result};
use std::str::FromStr;

/// The words after the command, taken one option at a time. What is left at the end is an error.
pub struct Args {
    words: Vec<String>,
    /// What follows `--`.
    rest: Vec<String>,
}

impl Args {
    /// From the words after the command.
    pub fn new(words: impl IntoIterator<Item = String>) -> Self {
        let mut words: Vec<String> = words.into_iter().collect();
        let rest = match words.iter().position(|w| w == "--") {
            Some(at) => words.drain(at..).skip(1).collect(),
            None => Vec::new(),
        };
        Self { words, rest }
    }

    /// Whether `name` was given.
    pub fn flag(&mut self, name: &str) -> bool {
        let at = self.words.iter().position(|w| w == name);
        at.map(|at| self.words.remove(at)).is_some()
    }

    /// The value of `name`, given as `name VALUE` or `name=VALUE`.
    pub fn value(&mut self, name: &str) -> Result<Option<String>> {
        let with_equals = |w: &String| w.strip_prefix(name).is_some_and(|v| v.starts_with('='));
        if let Some(at) = self.words.iter().position(with_equals) {
            return Ok(Some(self.words.remove(at)[name.len() + 1..].to_string()));
        }
        let Some(at) = self.words.iter().position(|w| w == name) else { return Ok(None) };
        self.words.remove(at);
        if at >= self.words.len() || self.words[at].starts_with("--") {
            return Err(Failure::new(format!("{name} needs a value")));
        }
        Ok(Some(self.words.remove(at)))
    }

    /// The value of `name` as a number or another type, which `kind` describes.
    pub fn parsed<T: FromStr>(&mut self, name: &str, kind: &str) -> Result<Option<T>> {
        let Some(text) = self.value(name)? else { return Ok(None) };
        match text.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(Failure::new(format!("{name} {text}: not {kind}"))),
        }
    }

    /// Fails on any word that nobody took; returns what follows `--`.
    pub fn finish(self) -> Result<Vec<String>> {
        match self.words.first() {
            Some(word) => Err(Failure::new(format!("'{word}' is not known here; see 'cargo xtask --help'"))),
            None => Ok(self.rest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Args {
        Args::new(line.split_whitespace().map(String::from))
    }

    #[test]
    fn options_are_taken_in_any_order_and_form() {
        let mut args = args("--smp 4 --quick --out=a=b -- --smp x");
        assert_eq!(args.value("--out").unwrap().as_deref(), Some("a=b"));
        assert!(args.flag("--quick") && !args.flag("--quick"));
        assert_eq!(args.parsed::<u32>("--smp", "a number").unwrap(), Some(4));
        assert_eq!(args.value("--config").unwrap(), None);
        assert_eq!(args.finish().unwrap(), ["--smp", "x"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(args("--smp").value("--smp").unwrap_err().to_string(), "--smp needs a value");
        assert_eq!(args("--smp --x").value("--smp").unwrap_err().to_string(), "--smp needs a value");
        let error = args("--smp many").parsed::<u32>("--smp", "a number").unwrap_err();
        assert_eq!(error.to_string(), "--smp many: not a number");
        assert!(args("--smpx 4").finish().unwrap_err().to_string().contains("'--smpx'"));
    }
}
