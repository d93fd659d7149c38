//! `nic list`, `nic info`: the machine's network cards.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use net::nic::Link;

use super::arguments::Given;
use super::command::{Failure, Next};
use super::human::{Count, Rate, Size};
use super::machine::on_one_line;
use super::node::{NicInfo, Node, SocketInfo};
use super::table::Table;

/// `nic list`.
pub(super) fn list(node: &mut dyn Node, _: &Given<'_>, out: &mut dyn fmt::Write) -> Result<Next, Failure> {
    let nics = node.nics();
    if nics.is_empty() {
        writeln!(
            out,
            "No network cards: 'pci' shows what the machine has, 'log' why something does not work."
        )?;
        return Ok(Next::Prompt);
    }
    let mut table = Table::new(&[
        "NAME", "DRIVER", "MAC", "LINK", ">MTU", ">IN", ">BYTES", ">OUT", ">BYTES", ">ERRORS", "NETWORKS",
    ]);
    for nic in nics {
        let c = &nic.counters;
        let errors = c.receive_errors.saturating_add(c.receive_missed).saturating_add(c.send_errors);
        table.row([
            nic.identity.name.clone(),
            driver(&nic),
            nic.identity.mac.to_string(),
            link(nic.link),
            nic.abilities.mtu.to_string(),
            Count(c.received).to_string(),
            Size(c.received_bytes).to_string(),
            Count(c.sent).to_string(),
            Size(c.sent_bytes).to_string(),
            Count(errors).to_string(),
            if nic.networks.is_empty() { "-".to_string() } else { nic.networks.join(", ") },
        ]);
    }
    write!(out, "{table}")?;
    Ok(Next::Prompt)
}

/// `nic info NAME`.
pub(super) fn info(
    node: &mut dyn Node,
    given: &Given<'_>,
    out: &mut dyn fmt::Write,
) -> Result<Next, Failure> {
    let Some(nic) = node.nics().into_iter().find(|nic| nic.identity.name == given.name) else {
        writeln!(out, "{} has just gone.", given.name)?;
        return Ok(Next::Prompt);
    };
    let or_none = |text: String| if text.is_empty() { "-".to_string() } else { text };
    let (c, a) = (&nic.counters, &nic.abilities);
    writeln!(out, "name       {}", nic.identity.name)?;
    writeln!(out, "model      {}", or_none(on_one_line(&nic.identity.model)))?;
    writeln!(out, "driver     {} at {}", driver(&nic), nic.place)?;
    writeln!(out, "MAC        {}", nic.identity.mac)?;
    let duplex = if nic.link.up && !nic.link.full_duplex { ", one direction at a time" } else { "" };
    writeln!(out, "link       {}{duplex}, changed {} times", link(nic.link), Count(c.link_changes))?;
    writeln!(out, "MTU        up to {}", a.mtu)?;
    writeln!(out, "queues     {}", a.queues)?;
    let abilities = [
        (a.checksum, "makes checksums"),
        (a.verifies, "checks checksums"),
        (a.tcp4, "cuts TCP over IPv4"),
        (a.tcp6, "cuts TCP over IPv6"),
    ];
    let abilities: Vec<&str> = abilities.iter().filter(|(has, _)| *has).map(|(_, name)| *name).collect();
    writeln!(out, "abilities  {}", or_none(abilities.join(", ")))?;
    writeln!(out, "networks   {}", or_none(nic.networks.join(", ")))?;
    writeln!(out, "received   {}, {}", Count(c.received), Size(c.received_bytes))?;
    writeln!(
        out,
        "           {} damaged, {} found no room",
        Count(c.receive_errors),
        Count(c.receive_missed)
    )?;
    writeln!(out, "sent       {}, {}", Count(c.sent), Size(c.sent_bytes))?;
    writeln!(out, "           {} could not be sent", Count(c.send_errors))?;
    writeln!(out, "resets     {}", Count(c.resets))?;
    if !nic.sockets.is_empty() {
        write!(out, "\n{}", sockets(&nic.sockets))?;
    }
    Ok(Next::Prompt)
}

/// A row for what came to each, and one for what it has sent with each priority.
fn sockets(sockets: &[SocketInfo]) -> Table {
    let mut table =
        Table::new(&["SOCKET", "ETHERTYPE", "VLAN", "WAY", ">FRAMES", ">BYTES", ">WAITING", "DROPPED"]);
    for socket in sockets {
        table.row([
            on_one_line(&socket.name),
            format!("{:#06x}", socket.ether_type.0),
            socket.vlan.map_or("-".into(), |vlan| vlan.number().to_string()),
            "in".into(),
            Count(socket.incoming.frames).to_string(),
            Size(socket.incoming.bytes).to_string(),
            String::new(),
            drops(&socket.drops),
        ]);
        for out in &socket.outgoing {
            table.row([
                String::new(),
                String::new(),
                String::new(),
                format!("out, {}", out.priority),
                Count(out.sent.frames).to_string(),
                Size(out.sent.bytes).to_string(),
                Count(out.waiting).to_string(),
                drops(&out.drops),
            ]);
        }
    }
    table
}

/// Frames that were dropped, by reason: `15: 12 no room, 3 spoofed`.
pub(super) fn drops(drops: &[(&'static str, u64)]) -> String {
    let some = || drops.iter().filter(|(_, count)| *count > 0);
    let reasons: Vec<String> = some().map(|(why, count)| format!("{} {why}", Count(*count))).collect();
    match reasons.len() {
        0 | 1 => reasons.concat(),
        _ => {
            let all = some().fold(0u64, |sum, (_, count)| sum.saturating_add(*count));
            format!("{}: {}", Count(all), reasons.join(", "))
        }
    }
}

/// `e1000e`, or with what it is doing: `e1000e: resetting`.
fn driver(nic: &NicInfo) -> String {
    if nic.state.is_empty() {
        nic.driver.into()
    } else {
        format!("{}: {}", nic.driver, on_one_line(&nic.state))
    }
}

fn link(link: Link) -> String {
    match link {
        Link { up: false, .. } => "down".to_string(),
        Link { megabits: 0, .. } => "up".to_string(),
        Link { megabits, .. } => Rate(u64::from(megabits) * 1_000_000).to_string(),
    }
}
