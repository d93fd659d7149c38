//! What TAB offers.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::arguments::Arg;
use super::command::COMMANDS;
use super::node::Node;
use super::{capture, networks};

/// The words that can stand where the cursor is, sorted, and how many characters of them are typed.
pub fn complete(before_cursor: &str, node: &dyn Node) -> (usize, Vec<String>) {
    let word_start = before_cursor.rfind(' ').map_or(0, |space| space + 1);
    let (done, word) = before_cursor.split_at(word_start);
    let done: Vec<&str> = done.split_whitespace().collect();
    let mut candidates = Vec::new();
    offer(&done, node, &mut candidates);
    candidates.retain(|candidate| candidate.starts_with(word));
    candidates.sort_unstable();
    candidates.dedup();
    (word.chars().count(), candidates)
}

/// All words that can follow `done`.
fn offer(done: &[&str], node: &dyn Node, candidates: &mut Vec<String>) {
    for command in COMMANDS {
        if let Some(next) = command.words.get(done.len()) {
            if command.words.starts_with(done) {
                candidates.push(next.to_string());
            }
        } else if let Some(given) = done.strip_prefix(command.words) {
            for arg in command.args {
                match arg {
                    Arg::Name(named) if given.is_empty() => candidates.extend(named.known(node)),
                    Arg::Flag(flag) if !given.contains(flag) => candidates.push(flag.to_string()),
                    // `help` itself is a command: one level of it is enough.
                    Arg::Topic if given.first() != Some(&"help") => offer(given, node, candidates),
                    Arg::Capture if !given.is_empty() => {
                        candidates.extend(capture::offer(&given[1..]).into_iter().map(String::from))
                    }
                    Arg::Ports if !given.is_empty() => {
                        candidates.extend(networks::offer(given[0], &given[1..], node))
                    }
                    Arg::Name(_)
                    | Arg::Size
                    | Arg::Address
                    | Arg::Flag(_)
                    | Arg::Count
                    | Arg::Topic
                    | Arg::Capture
                    | Arg::Ports => {}
                }
            }
        }
    }
}
