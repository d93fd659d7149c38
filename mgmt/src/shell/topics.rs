//! `help`.

use alloc::vec::Vec;
use core::fmt;

use super::arguments::Given;
use super::command::{COMMANDS, Command, Failure, Next};
use super::node::Node;

/// `help [COMMAND]`: the list, the part of it that a word begins, or one command in full.
pub(super) fn help(_: &mut dyn Node, given: &Given<'_>, out: &mut dyn fmt::Write) -> Result<Next, Failure> {
    let found: Vec<&Command> = COMMANDS
        .iter()
        .filter(|c| c.words.len() >= given.words.len() && c.words.starts_with(given.words))
        .collect();
    match found.as_slice() {
        [] => {
            writeln!(out, "no command {:?}; 'help' lists all", given.words.join(" "))?;
        }
        [command] => {
            writeln!(out, "{}: {}", command.usage(), command.help)?;
            if !command.more.is_empty() {
                writeln!(out, "{}", command.more)?;
            }
        }
        several => {
            list(several, out)?;
            if given.words.is_empty() {
                writeln!(
                    out,
                    "\nTab completes, Up and Down walk through earlier lines, Ctrl-R searches them, Ctrl-] leaves\n\
                     a VM's console. 'help COMMAND' tells more."
                )?;
            }
        }
    }
    Ok(Next::Prompt)
}

/// A line for each command.
pub(super) fn list(commands: &[&Command], out: &mut dyn fmt::Write) -> fmt::Result {
    let widest = commands.iter().map(|c| c.usage().len()).max().unwrap_or(0);
    commands.iter().try_for_each(|c| writeln!(out, "  {:widest$}  {}", c.usage(), c.help))
}
