//! `poweroff` and `reboot`.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use super::arguments::Given;
use super::command::{Failure, Next};
use super::node::{Ending, Haste, Node};

/// How long VMs may take to shut down.
pub const GRACE: Duration = Duration::from_secs(60);

/// `poweroff [--now]`.
pub(super) fn off(node: &mut dyn Node, given: &Given<'_>, out: &mut dyn fmt::Write) -> Result<Next, Failure> {
    end(node, given, Ending::PowerOff, "powers off", "poweroff", out)
}

/// `reboot [--now]`.
pub(super) fn reboot(
    node: &mut dyn Node,
    given: &Given<'_>,
    out: &mut dyn fmt::Write,
) -> Result<Next, Failure> {
    end(node, given, Ending::Reboot, "reboots", "reboot", out)
}

fn end(
    node: &mut dyn Node,
    given: &Given<'_>,
    ending: Ending,
    does: &str,
    verb: &str,
    out: &mut dyn fmt::Write,
) -> Result<Next, Failure> {
    let alive: Vec<String> =
        node.vms().into_iter().filter(|vm| vm.state.is_alive()).map(|vm| vm.name).collect();
    let haste = if given.flag { Haste::Now } else { Haste::Graceful(GRACE) };
    node.end(ending, haste)?;
    if given.flag || alive.is_empty() {
        writeln!(out, "The node {does}.")?;
    } else {
        writeln!(
            out,
            "Asked to shut down: {}. The node {does} when they have, in {} s at the latest; '{verb} --now' at once.",
            alive.join(", "),
            GRACE.as_secs()
        )?;
    }
    Ok(Next::Prompt)
}
