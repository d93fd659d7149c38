//! The shell: a line that the operator entered → what is done → what is told.
//!
//! [`run`] reads the line by the table in `command`, asks or orders the [`Node`], and writes the answer.
//! It keeps nothing between lines, so that any number of sessions use it at once. Lines of output end
//! with `\n`; a terminal's session makes CR LF of it.
//!
//! Promise: any line gets an answer that says what is wrong, what was probably meant, and how it is
//! written; no line panics. Not done here: editing ([`mod@crate::line`]), modes ([`crate::session`]).

mod command;
mod complete;
mod devices;
pub mod human;
mod machine;
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

pub use command::Next;
use command::{Arg, COMMANDS, Command, Failure, Given};
pub use complete::complete;
pub(crate) use machine::{log_entry, on_one_line};
use node::{Node, NodeError};
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

/// What a line gives that a command does not take. `Display` is the operator's message.
enum Wrong {
    NoVm { known: Vec<String>, usage: String },
    UnknownVm { vm: String, known: Vec<String> },
    NoDisk { known: Vec<String>, usage: String },
    UnknownDisk { disk: String, known: Vec<String> },
    NoSize { word: Option<String>, usage: String },
    Surplus { word: String, meant: Option<&'static str>, usage: String },
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoVm { known, usage } => {
                write!(f, "which VM? usage: {usage}")?;
                if !known.is_empty() {
                    write!(f, "; there are: {}", known.join(", "))?;
                }
                Ok(())
            }
            Self::UnknownVm { vm, known } => match nearest(vm, known.iter().map(String::as_str)) {
                Some(meant) => write!(f, "there is no VM {}; did you mean {meant}?", quoted(vm)),
                None => {
                    let vm = alloc::format!("{}", quoted(vm));
                    write!(f, "{}", NodeError::NoSuchVm { vm })
                }
            },
            Self::NoDisk { known, usage } => {
                write!(f, "which disk? usage: {usage}")?;
                if !known.is_empty() {
                    write!(f, "; there are: {}", known.join(", "))?;
                }
                Ok(())
            }
            Self::UnknownDisk { disk, known } => {
                write!(f, "there is no disk {}", quoted(disk))?;
                match nearest(disk, known.iter().map(String::as_str)) {
                    Some(meant) => write!(f, "; did you mean {meant}?"),
                    None => f.write_str("; 'disk list' shows those that are"),
                }
            }
            Self::NoSize { word: None, usage } => write!(f, "how much? usage: {usage}; such as 256M"),
            Self::NoSize { word: Some(word), usage } => {
                write!(f, "{} is no size; usage: {usage}; such as 256M or 2G", quoted(word))
            }
            Self::Surplus { word, meant, usage } => {
                write!(f, "{} does not belong there", quoted(word))?;
                if let Some(meant) = meant {
                    write!(f, "; did you mean {meant}?")?;
                }
                write!(f, "; usage: {usage}")
            }
        }
    }
}

/// Matches the words after a command with its arguments.
fn arguments<'l>(command: &Command, words: &'l [&'l str], node: &dyn Node) -> Result<Given<'l>, Wrong> {
    let mut given = Given::default();
    if command.args.contains(&Arg::Topic) {
        given.topic = words;
        return Ok(given);
    }
    let mut vm = None;
    let mut disk = None;
    let mut size = None;
    for word in words {
        let flag = command.args.iter().any(|arg| matches!(arg, Arg::Flag(flag) if flag == word));
        let count = word.parse().ok().filter(|_| command.args.contains(&Arg::Count));
        if command.args.contains(&Arg::Vm) && vm.is_none() {
            vm = Some(*word);
        } else if command.args.contains(&Arg::Disk) && disk.is_none() {
            disk = Some(*word);
        } else if command.args.contains(&Arg::Size) && size.is_none() {
            size = Some(*word);
        } else if flag && !given.flag {
            given.flag = true;
        } else if count.is_some() && given.count.is_none() {
            given.count = count;
        } else {
            let flags = command.args.iter().filter_map(|arg| match arg {
                Arg::Flag(flag) => Some(*flag),
                Arg::Vm | Arg::Disk | Arg::Size | Arg::Count | Arg::Topic => None,
            });
            let meant = nearest(word, flags).filter(|_| !flag);
            return Err(Wrong::Surplus { word: (*word).into(), meant, usage: command.usage() });
        }
    }
    if command.args.contains(&Arg::Vm) {
        let known = || node.vms().into_iter().map(|vm| vm.name).collect::<Vec<String>>();
        match vm {
            None => return Err(Wrong::NoVm { known: known(), usage: command.usage() }),
            Some(vm) if !known().iter().any(|known| known == vm) => {
                return Err(Wrong::UnknownVm { vm: vm.into(), known: known() });
            }
            Some(vm) => given.vm = vm,
        }
    }
    if command.args.contains(&Arg::Disk) {
        let known = || node.disks().into_iter().map(|disk| disk.name).collect::<Vec<String>>();
        match disk {
            None => return Err(Wrong::NoDisk { known: known(), usage: command.usage() }),
            Some(disk) if !known().iter().any(|known| known == disk) => {
                return Err(Wrong::UnknownDisk { disk: disk.into(), known: known() });
            }
            Some(disk) => given.disk = disk,
        }
    }
    if command.args.contains(&Arg::Size) {
        let wrong = || Wrong::NoSize { word: size.map(String::from), usage: command.usage() };
        given.size = size.and_then(crate::config::size).ok_or_else(wrong)?;
    }
    Ok(given)
}

/// What the operator typed, in quotes, shortened.
fn quoted(text: &str) -> impl fmt::Display {
    let mut shown: String = text.chars().take(40).collect();
    if text.chars().nth(40).is_some() {
        shown.push('…');
    }
    alloc::format!("{shown:?}")
}
