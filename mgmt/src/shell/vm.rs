//! The `vm` commands.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::fmt;

use super::arguments::Given;
use super::command::{Failure, Next};
use super::human::{Count, Rate, Share, Size, Span};
use super::machine::on_one_line;
use super::node::{BalloonInfo, Node, Terminal, VmAction, VmInfo};
use super::table::Table;
use crate::config::{DiskConfig, NicConfig};

/// Kinds of exits that `vm info` lists.
const EXIT_KINDS: usize = 12;

/// `vm list`.
pub(super) fn list(node: &mut dyn Node, _: &Given<'_>, out: &mut dyn fmt::Write) -> Result<Next, Failure> {
    let vms = node.vms();
    if vms.is_empty() {
        writeln!(out, "No VMs: purevisor.toml has none, or none without a problem ('log' tells).")?;
        return Ok(Next::Prompt);
    }
    let mut table =
        Table::new(&["NAME", "STATE", ">VCPUS", ">MEMORY", ">CPU TIME", ">UP", ">RESTARTS", "REASON"]);
    for vm in vms {
        table.row([
            vm.name,
            vm.state.to_string(),
            vm.vcpus.to_string(),
            Size(vm.memory).to_string(),
            Span(vm.cpu_time).to_string(),
            vm.uptime.map_or("-".to_string(), |up| Span(up).to_string()),
            vm.restarts.to_string(),
            on_one_line(&vm.reason.unwrap_or_default()),
        ]);
    }
    write!(out, "{table}")?;
    Ok(Next::Prompt)
}

/// `vm start`, `stop`, `kill`, `reset`, `pause`, `resume`: `done` completes "VM …".
pub(super) fn control(
    node: &mut dyn Node,
    given: &Given<'_>,
    action: VmAction,
    done: &str,
    out: &mut dyn fmt::Write,
) -> Result<Next, Failure> {
    node.control(given.name, action)?;
    writeln!(out, "{} {done}.", given.name)?;
    Ok(Next::Prompt)
}

/// `vm memory NAME SIZE`.
pub(super) fn memory(
    node: &mut dyn Node,
    given: &Given<'_>,
    out: &mut dyn fmt::Write,
) -> Result<Next, Failure> {
    let can_be_asked = node.set_memory(given.name, given.size)?;
    let info = node.vm(given.name)?;
    write!(out, "{} is to use {} of {}", given.name, Size(given.size), Size(info.config.memory))?;
    match (info.summary.state.is_alive(), can_be_asked) {
        (_, true) => writeln!(out, ".")?,
        (true, false) => writeln!(
            out,
            ", and is asked to when its guest has loaded a driver for its balloon (Linux: virtio_balloon)."
        )?,
        (false, false) => writeln!(out, ", and is asked to when it has started.")?,
    }
    Ok(Next::Prompt)
}

/// `vm console NAME [hvc0]`.
pub(super) fn console(_: &mut dyn Node, given: &Given<'_>, _: &mut dyn fmt::Write) -> Result<Next, Failure> {
    let terminal = if given.flag { Terminal::Virtio } else { Terminal::Serial };
    Ok(Next::Attach(given.name.to_string(), terminal))
}

/// `vm info NAME`.
pub(super) fn info(
    node: &mut dyn Node,
    given: &Given<'_>,
    out: &mut dyn fmt::Write,
) -> Result<Next, Failure> {
    let info = node.vm(given.name)?;
    state(&info, out)?;
    configuration(&info, out)?;
    vcpus(&info, out)?;
    exits(&info, out)?;
    Ok(Next::Prompt)
}

fn state(info: &VmInfo, out: &mut dyn fmt::Write) -> fmt::Result {
    let vm = &info.summary;
    writeln!(out, "name      {}", vm.name)?;
    match &vm.reason {
        Some(reason) => writeln!(out, "state     {}: {}", vm.state, on_one_line(reason))?,
        None => writeln!(out, "state     {}", vm.state)?,
    }
    if let Some(up) = vm.uptime {
        writeln!(out, "up        {}", Span(up))?;
    }
    writeln!(out, "restarts  {}", vm.restarts)?;
    writeln!(out, "CPU time  {}", Span(vm.cpu_time))?;
    write!(out, "memory    {}", Size(vm.memory))?;
    if info.memory_now < vm.memory && vm.state.is_alive() {
        write!(out, ", of which it has {} now", Size(info.memory_now))?;
    }
    writeln!(out, ", and {} for tables and devices", Size(info.overhead))?;
    info.balloon.as_ref().map_or(Ok(()), |info| balloon(info, out))
}

/// What the guest has given back because it was asked to, and what it says of the rest.
fn balloon(info: &BalloonInfo, out: &mut dyn fmt::Write) -> fmt::Result {
    if info.target > 0 || info.inflated > 0 {
        let driver = if info.driver { "" } else { "; its guest has no driver for it" };
        writeln!(out, "balloon   {} of {}{driver}", Size(info.inflated), Size(info.target))?;
    }
    match (info.free, info.available, info.total) {
        (Some(free), Some(available), Some(total)) => {
            let (free, available, total) = (Size(free), Size(available), Size(total));
            writeln!(out, "guest     {free} of {total} unused, {available} available, as it says")
        }
        _ => Ok(()),
    }
}

fn configuration(info: &VmInfo, out: &mut dyn fmt::Write) -> fmt::Result {
    let config = &info.config;
    writeln!(out, "kernel    {}", config.kernel)?;
    writeln!(out, "initrd    {}", config.initrd.as_deref().unwrap_or("none"))?;
    writeln!(out, "cmdline   {}", config.cmdline)?;
    let cap = config.cap.map_or("none".to_string(), |cap| format!("{cap} % of a CPU"));
    let affinity = config.affinity.as_ref().map_or("all CPUs".to_string(), |cpus| {
        let cpus: Vec<String> = cpus.iter().map(u32::to_string).collect();
        format!("CPUs {}", cpus.join(", "))
    });
    writeln!(out, "schedule  weight {}, cap {cap}, {affinity}", config.weight)?;
    let starts = if config.autostart { "with the node" } else { "by 'vm start'" };
    writeln!(out, "starts    {starts}; restart: {}", config.restart)?;
    if !info.devices.is_empty() {
        writeln!(out, "devices   {}", info.devices.join(", "))?;
    }
    config.disks.iter().try_for_each(|disk| writeln!(out, "disk      {}", one_disk(disk)))?;
    config.nics.iter().try_for_each(|nic| writeln!(out, "NIC       {}", one_nic(nic)))
}

/// A NIC of a VM: `lan, 52:54:00:12:34:56, 2 queues, at most 1 Gbit/s, from 10.0.0.5 only`.
fn one_nic(nic: &NicConfig) -> String {
    let queues = if nic.queues == 1 { "queue" } else { "queues" };
    let mut text = format!("{}, {}, {} {queues}", nic.network, nic.mac, nic.queues);
    if let Some(limit) = nic.limit {
        text.push_str(&format!(", at most {}", Rate(limit)));
    }
    if !nic.addresses.is_empty() {
        let addresses: Vec<String> = nic.addresses.iter().map(ToString::to_string).collect();
        text.push_str(&format!(", from {} only", addresses.join(" and ")));
    }
    if nic.any_mac {
        text.push_str(", any MAC");
    }
    text
}

/// A disk of a VM: `sata0, 8 GiB from 1 GiB on, read-only, virtio-blk`.
fn one_disk(disk: &DiskConfig) -> String {
    let mut text = disk.source.to_string();
    match (disk.offset, disk.size) {
        (0, None) => {}
        (0, Some(size)) => text.push_str(&format!(", the first {}", Size(size))),
        (offset, None) => text.push_str(&format!(", from {} on", Size(offset))),
        (offset, Some(size)) => text.push_str(&format!(", {} from {} on", Size(size), Size(offset))),
    }
    if disk.readonly {
        text.push_str(", read-only");
    }
    format!("{text}, {}", disk.bus)
}

fn vcpus(info: &VmInfo, out: &mut dyn fmt::Write) -> fmt::Result {
    if info.vcpus.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&[">VCPU", "STATE", ">CPU", ">CPU TIME", ">EXITS"]);
    for (index, vcpu) in info.vcpus.iter().enumerate() {
        table.row([
            index.to_string(),
            vcpu.state.to_string(),
            vcpu.cpu.map_or("-".to_string(), |cpu| cpu.to_string()),
            Span(vcpu.cpu_time).to_string(),
            Count(vcpu.exits.iter().map(|(_, count)| *count).sum()).to_string(),
        ]);
    }
    write!(out, "\n{table}")
}

/// The kinds of exits of all vCPUs together, the most frequent first.
fn exits(info: &VmInfo, out: &mut dyn fmt::Write) -> fmt::Result {
    let mut by_kind: BTreeMap<&str, u64> = BTreeMap::new();
    for (kind, count) in info.vcpus.iter().flat_map(|vcpu| &vcpu.exits) {
        *by_kind.entry(kind).or_default() += count;
    }
    let mut kinds: Vec<(&str, u64)> = by_kind.into_iter().filter(|(_, count)| *count > 0).collect();
    if kinds.is_empty() {
        return Ok(());
    }
    kinds.sort_by_key(|(_, count)| Reverse(*count));
    let all: u64 = kinds.iter().map(|(_, count)| *count).sum();
    let mut table = Table::new(&["EXIT", ">NUMBER", ">SHARE"]);
    let row = |kind: &str, count: u64| {
        [
            kind.to_string(),
            Count(count).to_string(),
            Share { part: count.into(), whole: all.into() }.to_string(),
        ]
    };
    for (kind, count) in kinds.iter().take(EXIT_KINDS) {
        table.row(row(kind, *count));
    }
    let others: u64 = kinds.iter().skip(EXIT_KINDS).map(|(_, count)| *count).sum();
    if others > 0 {
        table.row(row("others", others));
    }
    write!(out, "\n{table}")
}
