//! The shell: a line that the operator entered → what is done → what is told.
//!
//! [`run`] reads the line by the table in `command`, asks or orders the [`Node`], and writes the answer.
//! It keeps nothing between lines, so that any number of sessions use it at once. Lines of output end
//! with `\n`; a terminal's session makes CR LF of it.
//!
//! Promise: any line gets an answer that says what is wrong, what was probably meant, and how it is
//! written; no line panics. Not done here: editing ([`mod@crate::line`]), modes ([`crate::session`]).

mod arguments;
mod base64;
mod capture;
mod command;
mod complete;
mod devices;
mod frame;
pub mod human;
mod machine;
mod networks;
mod nics;
pub mod node;
mod power;
pub mod table;
#[cfg(test)]
pub(crate) mod tests;
mod topics;
mod vm;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use arguments::arguments;
pub use command::Next;
use command::{COMMANDS, Command, Failure};
pub use complete::complete;
pub(crate) use machine::{log_entry, on_one_line};
use node::Node;
pub use power::GRACE;

use crate::nearest::nearest;

/// Does what a line says. Fails only if `out` does.
pub fn run(line: &str, node: &mut dyn Node, out: &mut dyn fmt::Write) -> Result<Next, fmt::Error> {
    let words: Vec<&str> =
        line.split_whitespace().map(|word| if word == "?" { "help" } else { word }).collect();
    if words.is_empty() {
        return Ok(Next::Prompt);
    }
    let Some((command, rest)) = COMMANDS.iter().find_map(|c| Some((c, words.strip_prefix(c.words)?))) else {
        unknown(&words, out)?;
        return Ok(Next::Prompt);
    };
    let given = match arguments(command, rest, node) {
        Ok(given) => given,
        Err(wrong) => {
            writeln!(out, "{wrong}")?;
            return Ok(Next::Prompt);
        }
    };
    match (command.run)(node, &given, out) {
        Ok(next) => Ok(next),
        Err(Failure::Node(error)) => {
            writeln!(out, "{}", on_one_line(&alloc::format!("{error}")))?;
            Ok(Next::Prompt)
        }
        Err(Failure::Output(error)) => Err(error),
    }
}

/// Says that these words are no command, and which ones are near.
fn unknown(words: &[&str], out: &mut dyn fmt::Write) -> fmt::Result {
    let first = words[0];
    let family: Vec<&Command> = COMMANDS.iter().filter(|c| c.words[0] == first).collect();
    if family.is_empty() {
        write!(out, "unknown command {}", quoted(first))?;
        return match nearest(first, COMMANDS.iter().map(|c| c.words[0])) {
            Some(meant) => writeln!(out, "; did you mean {meant}? 'help' lists the commands"),
            None => writeln!(out, "; 'help' lists the commands"),
        };
    }
    match words.get(1) {
        None => writeln!(out, "{first} needs one more word:")?,
        Some(second) => {
            write!(out, "unknown command {}", quoted(&alloc::format!("{first} {second}")))?;
            match nearest(second, family.iter().filter_map(|c| c.words.get(1).copied())) {
                Some(meant) => writeln!(out, "; did you mean {first} {meant}?")?,
                None => writeln!(out, "; allowed:")?,
            }
        }
    }
    topics::list(&family, out)
}

/// What the operator typed, in quotes, shortened.
fn quoted(text: &str) -> impl fmt::Display {
    let mut shown: String = text.chars().take(40).collect();
    if text.chars().nth(40).is_some() {
        shown.push('…');
    }
    alloc::format!("{shown:?}")
}
