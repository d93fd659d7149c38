//! What a guest's shell is told to do, on the console that a node is attached to.
use crate::node::Node;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use xtask::failure::{Failure, Result};

/// Lets the guest's shell do something; what it prints. `Err` where it fails.
pub fn does(node: &mut Node, command: &str) -> Result<String> {
    does_long(node, command, node.patience())
}

/// As [`does`], for what takes its time.
pub fn does_long(node: &mut Node, command: &str, patience: Duration) -> Result<String> {
    let (worked, text) = attempt(node, command, patience)?;
    if worked { Ok(text) } else { Err(Failure::new(format!("'{command}' failed:{}", node.tail()))) }
}

/// Lets the guest's shell try something: whether it works, and what it prints.
pub fn tries(node: &mut Node, command: &str) -> Result<(bool, String)> {
    attempt(node, command, node.patience())
}

fn attempt(node: &mut Node, command: &str, patience: Duration) -> Result<(bool, String)> {
    // A mark of its own: what was printed earlier is shown again on attaching. Its echo has no number behind it.
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let mark = format!("END{}=", COUNT.fetch_add(1, Ordering::Relaxed));
    node.type_text(&format!("{command}; echo {mark}$(($? == 0))\n"))?;
    let text = node.wait_long(&[&format!("{mark}0"), &format!("{mark}1")], patience)?;
    Ok((text.ends_with(&format!("{mark}1")), text))
}
