//! `net list`, `net info`, `net mirror`: networks and who is on them.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use super::arguments::Given;
use super::command::{Failure, Next};
use super::human::{Count, Rate, Size};
use super::nics::drops;
use super::node::{Mirror, NetworkInfo, Node, PortInfo, PortOwner};
use super::quoted;
use super::table::Table;
use crate::nearest::nearest;

/// `net list`.
pub(super) fn list(node: &mut dyn Node, _: &Given<'_>, out: &mut dyn fmt::Write) -> Result<Next, Failure> {
    let networks = node.networks();
    if networks.is_empty() {
        writeln!(out, "No networks: purevisor.toml has none, or none without a problem ('log' tells).")?;
        return Ok(Next::Prompt);
    }
    let mut table = Table::new(&["NAME", "UPLINKS", "ACTIVE", ">VLAN", ">MTU", ">PORTS", ">FRAMES"]);
    for network in networks {
        let frames = network.ports.iter().fold(0u64, |sum, port| sum.saturating_add(port.incoming.frames));
        table.row([
            network.name,
            or_dash(network.uplinks.join(", ")),
            network.active.unwrap_or_else(|| "-".into()),
            network.vlan.map_or("-".into(), |vlan| vlan.number().to_string()),
            network.mtu.to_string(),
            network.ports.len().to_string(),
            Count(frames).to_string(),
        ]);
    }
    write!(out, "{table}")?;
    Ok(Next::Prompt)
}

/// `net info NAME`.
pub(super) fn info(
    node: &mut dyn Node,
    given: &Given<'_>,
    out: &mut dyn fmt::Write,
) -> Result<Next, Failure> {
    let Some(network) = find(node, given.name) else {
        writeln!(out, "{} has just gone.", given.name)?;
        return Ok(Next::Prompt);
    };
    properties(&network, out)?;
    if network.ports.is_empty() {
        writeln!(out, "ports      none")?;
        return Ok(Next::Prompt);
    }
    let mut table =
        Table::new(&["PORT", "MAC", "STATE", ">IN", ">BYTES", ">OUT", ">BYTES", ">LIMIT", "DROPPED"]);
    for port in &network.ports {
        table.row([
            port.owner.to_string(),
            port.mac.map_or("-".into(), |mac| mac.to_string()),
            if port.up { "up" } else { "down" }.to_string(),
            Count(port.incoming.frames).to_string(),
            Size(port.incoming.bytes).to_string(),
            Count(port.outgoing.frames).to_string(),
            Size(port.outgoing.bytes).to_string(),
            port.limit.map_or("-".into(), |limit| Rate(limit).to_string()),
            drops(&port.drops),
        ]);
    }
    write!(out, "\n{table}")?;
    Ok(Next::Prompt)
}

fn properties(network: &NetworkInfo, out: &mut dyn fmt::Write) -> fmt::Result {
    let uplinks: Vec<String> =
        network
            .uplinks
            .iter()
            .map(|name| {
                if network.active.as_ref() == Some(name) { format!("{name} (active)") } else { name.clone() }
            })
            .collect();
    let uplinks = if uplinks.is_empty() { "none: internal".to_string() } else { uplinks.join(", ") };
    writeln!(out, "name       {}", network.name)?;
    writeln!(out, "uplinks    {uplinks}")?;
    let vlan = network.vlan.map_or("none".into(), |vlan| vlan.number().to_string());
    writeln!(out, "VLAN       {vlan}")?;
    writeln!(out, "MTU        {}", network.mtu)?;
    writeln!(
        out,
        "addresses  {} learned, {} at most",
        Count(network.learned as u64),
        Count(network.learned_most as u64)
    )?;
    if let Some(Mirror { from, to }) = &network.mirror {
        writeln!(out, "mirror     {from} to {to}")?;
    }
    if let Some(capture) = &network.capture {
        let state = if capture.running { "runs" } else { "has ended" };
        writeln!(out, "capture    {state}: {} of {} frames, {}", capture.kept, capture.most, capture.filter)?;
    }
    Ok(())
}

/// `net mirror NAME FROM TO`, `net mirror NAME off`.
pub(super) fn mirror(
    node: &mut dyn Node,
    given: &Given<'_>,
    out: &mut dyn fmt::Write,
) -> Result<Next, Failure> {
    let ports = find(node, given.name).map(|network| network.ports).unwrap_or_default();
    let (from, to) = match given.words {
        ["off"] => {
            node.mirror(given.name, None)?;
            writeln!(out, "Nothing is mirrored on {}.", given.name)?;
            return Ok(Next::Prompt);
        }
        [from, to] => (port(from, &ports), port(to, &ports)),
        _ => {
            writeln!(
                out,
                "which ports? usage: net mirror NAME FROM TO, net mirror NAME off; there are: {}",
                or_dash(names(&ports).join(", "))
            )?;
            return Ok(Next::Prompt);
        }
    };
    match (from, to) {
        (Ok(from), Ok(to)) if from == to => writeln!(out, "a port cannot be mirrored to itself")?,
        (Ok(from), Ok(to)) => {
            let told = format!("What passes {from} goes to {to} too.");
            node.mirror(given.name, Some(Mirror { from, to }))?;
            writeln!(out, "{told}")?;
        }
        (Err(wrong), _) | (_, Err(wrong)) => writeln!(out, "{wrong}")?,
    }
    Ok(Next::Prompt)
}

/// The port of a name, or what is wrong with that.
fn port(name: &str, ports: &[PortInfo]) -> Result<PortOwner, String> {
    let names = names(ports);
    if let Some(index) = names.iter().position(|known| known == name) {
        return Ok(ports[index].owner.clone());
    }
    Err(match nearest(name, names.iter().map(String::as_str)) {
        Some(meant) => format!("there is no port {}; did you mean {meant}?", quoted(name)),
        None => format!("there is no port {}; there are: {}", quoted(name), or_dash(names.join(", "))),
    })
}

fn names(ports: &[PortInfo]) -> Vec<String> {
    ports.iter().map(|port| port.owner.to_string()).collect()
}

/// The words that can follow `given` behind `net mirror NETWORK`.
pub(super) fn offer(network: &str, given: &[&str], node: &dyn Node) -> Vec<String> {
    let mut words = find(node, network).map(|network| names(&network.ports)).unwrap_or_default();
    match given {
        [] => words.push("off".into()),
        ["off"] | [_, _, ..] => words.clear(),
        [from] => words.retain(|name| name != from),
    }
    words
}

fn find(node: &dyn Node, name: &str) -> Option<NetworkInfo> {
    node.networks().into_iter().find(|network| network.name == name)
}

fn or_dash(text: String) -> String {
    if text.is_empty() { "-".into() } else { text }
}
