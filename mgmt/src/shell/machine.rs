//! `node info`, `cpu`, `mem`, `log`: the machine.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use super::arguments::Given;
use super::command::{Failure, Next};
use super::human::{Count, Moment, Share, Size, Span};
use super::node::{AddressInfo, LogEntry, Node};
use super::table::Table;
use crate::line::width;

/// Entries that `log` shows unless told.
const LOG_ENTRIES: usize = 20;

/// `node info`.
pub(super) fn info(node: &mut dyn Node, _: &Given<'_>, out: &mut dyn fmt::Write) -> Result<Next, Failure> {
    let info = node.info();
    let vms = node.vms();
    let alive = vms.iter().filter(|vm| vm.state.is_alive()).count();
    let used = info.memory_total.saturating_sub(info.memory_free);
    writeln!(out, "name            {}", info.name)?;
    writeln!(out, "version         PureVisor {}", info.version)?;
    writeln!(out, "machine         {}", info.machine)?;
    writeln!(out, "CPUs            {} x {}", info.cpus, info.cpu_model)?;
    writeln!(out, "virtualization  {}", info.back_end)?;
    writeln!(
        out,
        "memory          {}: {} used, {} free",
        Size(info.memory_total),
        Size(used),
        Size(info.memory_free)
    )?;
    writeln!(out, "VMs             {}, {alive} of them alive", vms.len())?;
    writeln!(out, "up              {}", Span(info.uptime))?;
    address(&info.address, out)?;
    Ok(Next::Prompt)
}

/// Where the node itself is on a network.
fn address(info: &AddressInfo, out: &mut dyn fmt::Write) -> fmt::Result {
    let list = |addresses: &[IpAddr]| {
        let addresses: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
        addresses.join(", ")
    };
    let addresses: Vec<String> =
        info.addresses.iter().map(|(address, prefix)| format!("{address}/{prefix}")).collect();
    let network = info.network.as_ref().map(|name| format!(" on {name}")).unwrap_or_default();
    let by = if info.dhcp { ", by DHCP" } else { "" };
    match (addresses.is_empty(), info.dhcp) {
        (true, false) => writeln!(out, "address         none")?,
        (true, true) => writeln!(out, "address         none yet{network}: a DHCP server is asked for one")?,
        (false, _) => writeln!(out, "address         {}{network}{by}", addresses.join(", "))?,
    }
    if !info.gateways.is_empty() {
        writeln!(out, "gateway         {}", list(&info.gateways))?;
    }
    if !info.dns.is_empty() {
        writeln!(out, "DNS             {}", list(&info.dns))?;
    }
    Ok(())
}

/// `cpu`.
pub(super) fn cpus(node: &mut dyn Node, _: &Given<'_>, out: &mut dyn fmt::Write) -> Result<Next, Failure> {
    let mut table =
        Table::new(&[">CPU", ">APIC", ">GUEST", ">HYPERVISOR", ">IDLE", ">EXITS", ">INTERRUPTS", "RUNS"]);
    for cpu in node.cpus() {
        let whole = cpu.guest + cpu.hypervisor + cpu.idle;
        table.row([
            cpu.number.to_string(),
            cpu.apic_id.to_string(),
            Share::of_time(cpu.guest, whole).to_string(),
            Share::of_time(cpu.hypervisor, whole).to_string(),
            Share::of_time(cpu.idle, whole).to_string(),
            Count(cpu.exits).to_string(),
            Count(cpu.interrupts).to_string(),
            cpu.runs.map(|(vm, vcpu)| format!("{vm}/{vcpu}")).unwrap_or_default(),
        ]);
    }
    write!(out, "{table}")?;
    Ok(Next::Prompt)
}

/// `mem`.
pub(super) fn memory(node: &mut dyn Node, _: &Given<'_>, out: &mut dyn fmt::Write) -> Result<Next, Failure> {
    let memory = node.memory();
    let mut uses = Table::new(&["USE", ">SIZE"]);
    for (purpose, bytes) in &memory.hypervisor {
        uses.row([format!("hypervisor: {purpose}"), Size(*bytes).to_string()]);
    }
    for (vm, guest, rest) in &memory.vms {
        uses.row([format!("VM {vm}: memory"), Size(*guest).to_string()]);
        uses.row([format!("VM {vm}: tables and devices"), Size(*rest).to_string()]);
    }
    uses.row(["free".to_string(), Size(memory.free).to_string()]);
    uses.row(["all".to_string(), Size(memory.total).to_string()]);
    write!(out, "{uses}")?;
    if !memory.free_blocks.is_empty() {
        let mut blocks = Table::new(&[">FREE BLOCKS OF", ">NUMBER"]);
        for (size, number) in &memory.free_blocks {
            blocks.row([Size(*size).to_string(), Count(*number).to_string()]);
        }
        write!(out, "\n{blocks}")?;
    }
    if !memory.slabs.is_empty() {
        let mut slabs = Table::new(&[">OBJECTS OF", ">USED", ">ROOM FOR", ">FILLED"]);
        for slab in &memory.slabs {
            slabs.row([
                Size(u64::from(slab.size)).to_string(),
                Count(slab.used).to_string(),
                Count(slab.capacity).to_string(),
                Share { part: slab.used.into(), whole: slab.capacity.into() }.to_string(),
            ]);
        }
        write!(out, "\n{slabs}")?;
    }
    Ok(Next::Prompt)
}

/// `log [N] [-f]`.
pub(super) fn log(node: &mut dyn Node, given: &Given<'_>, out: &mut dyn fmt::Write) -> Result<Next, Failure> {
    let entries = node.log(None, given.count.unwrap_or(LOG_ENTRIES));
    for entry in &entries {
        log_entry(entry, out)?;
    }
    if given.flag {
        // Even with no entry to show ("log 0 -f") only new ones are to follow.
        let last = entries.last().or(node.log(None, 1).last()).map(|entry| entry.sequence);
        return Ok(Next::Follow(last));
    }
    Ok(Next::Prompt)
}

/// An entry of the log as a line.
pub(crate) fn log_entry(entry: &LogEntry, out: &mut dyn fmt::Write) -> fmt::Result {
    writeln!(out, "[{}] {:5} {}", Moment(entry.time), entry.level, on_one_line(&entry.text))
}

/// A text that may come from a guest or a device, without what would act on the terminal.
pub(crate) fn on_one_line(text: &str) -> String {
    text.trim_end().chars().map(|c| if width::is_shown(c) { c } else { ' ' }).collect()
}
