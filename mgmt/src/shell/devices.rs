//! `pci`, `disk list`, `disk info`: the machine's devices.

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;

use super::arguments::Given;
use super::command::{Failure, Next};
use super::human::{Count, Size};
use super::machine::on_one_line;
use super::node::{DiskInfo, DiskUse, Node, PciBar};
use super::table::Table;

/// `pci`.
pub(super) fn pci(node: &mut dyn Node, _: &Given<'_>, out: &mut dyn fmt::Write) -> Result<Next, Failure> {
    let functions = node.pci();
    if functions.is_empty() {
        writeln!(out, "No PCI functions were found.")?;
        return Ok(Next::Prompt);
    }
    let mut table = Table::new(&["WHERE", "ID", "WHAT", "DRIVER", "INTERRUPTS", "REGISTERS"]);
    for f in functions {
        let what = match f.behind {
            Some((0, _)) => format!("{}, without a bus", f.class_name),
            Some((first, last)) if first == last => format!("{} to bus {first:02x}", f.class_name),
            Some((first, last)) => format!("{} to buses {first:02x}-{last:02x}", f.class_name),
            None => f.class_name.to_string(),
        };
        let driver = f.driver.map_or("-".to_string(), |(name, state)| {
            if state.is_empty() { name.to_string() } else { format!("{name}: {}", on_one_line(&state)) }
        });
        let bars: alloc::vec::Vec<String> = f.bars.iter().map(bar).collect();
        let id = format!("{:04x}:{:04x}", f.vendor, f.device);
        table.row([f.address, id, what, driver, f.interrupts, bars.join(", ")]);
    }
    write!(out, "{table}")?;
    Ok(Next::Prompt)
}

/// A window: `0: 16 KiB at fe000000`.
fn bar(bar: &PciBar) -> String {
    let kind = if bar.is_io { "ports " } else { "" };
    let size = if bar.bytes == 0 { String::new() } else { format!("{} at ", Size(bar.bytes)) };
    format!("{}: {kind}{size}{:x}", bar.index, bar.address)
}

/// `disk list`.
pub(super) fn list(node: &mut dyn Node, _: &Given<'_>, out: &mut dyn fmt::Write) -> Result<Next, Failure> {
    let disks = node.disks();
    if disks.is_empty() {
        writeln!(out, "No disks: 'pci' shows what the machine has, 'log' why something does not work.")?;
        return Ok(Next::Prompt);
    }
    let mut table = Table::new(&["NAME", ">SIZE", ">READ", ">WRITTEN", "USED BY", "MODEL"]);
    for disk in disks {
        let users: alloc::vec::Vec<&str> = disk.users.iter().map(|u| u.owner.as_str()).collect();
        table.row([
            disk.name,
            Size(disk.bytes).to_string(),
            Size(disk.counters.read_bytes).to_string(),
            Size(disk.counters.written_bytes).to_string(),
            if users.is_empty() { "-".to_string() } else { on_one_line(&users.join(", ")) },
            on_one_line(&disk.model),
        ]);
    }
    write!(out, "{table}")?;
    Ok(Next::Prompt)
}

/// `disk info NAME`.
pub(super) fn info(
    node: &mut dyn Node,
    given: &Given<'_>,
    out: &mut dyn fmt::Write,
) -> Result<Next, Failure> {
    let Some(disk) = node.disks().into_iter().find(|disk| disk.name == given.name) else {
        writeln!(out, "{} has just gone.", given.name)?;
        return Ok(Next::Prompt);
    };
    properties(&disk, out)?;
    let c = &disk.counters;
    writeln!(out, "reads     {}, {}", Count(c.reads), Size(c.read_bytes))?;
    writeln!(out, "writes    {}, {}", Count(c.writes), Size(c.written_bytes))?;
    writeln!(out, "flushes   {}", Count(c.flushes))?;
    writeln!(out, "others    {} (discards, zeroes)", Count(c.others))?;
    if disk.users.is_empty() {
        writeln!(out, "used by   nobody")?;
    }
    for DiskUse { owner, bytes, writes } in &disk.users {
        let how = if *writes { "writes" } else { "reads" };
        let part = if *bytes == (0..disk.bytes) {
            "all of it".to_string()
        } else {
            format!("{} from {} on", Size(bytes.end.saturating_sub(bytes.start)), Size(bytes.start))
        };
        writeln!(out, "used by   {}: {how} {part}", on_one_line(owner))?;
    }
    Ok(Next::Prompt)
}

fn properties(disk: &DiskInfo, out: &mut dyn fmt::Write) -> fmt::Result {
    let or_none = |text: &str| if text.is_empty() { "-".to_string() } else { on_one_line(text) };
    writeln!(out, "name      {}", disk.name)?;
    writeln!(out, "model     {}", or_none(&disk.model))?;
    writeln!(out, "serial    {}", or_none(&disk.serial))?;
    writeln!(out, "firmware  {}", or_none(&disk.firmware))?;
    writeln!(out, "driver    {} at {}", disk.driver, disk.place)?;
    writeln!(out, "size      {} ({} bytes)", Size(disk.bytes), Count(disk.bytes))?;
    writeln!(out, "blocks    {} bytes, {} on the medium", disk.block_size, disk.physical_block_size)?;
    writeln!(
        out,
        "cache     {}",
        if disk.volatile_cache { "volatile, flushed when a guest asks" } else { "none that loses data" }
    )?;
    let features = [
        (disk.solid_state, "solid state"),
        (disk.read_only, "read-only"),
        (disk.discard, "discard"),
        (disk.write_zeroes, "write zeroes"),
    ];
    let features: alloc::vec::Vec<&str> =
        features.iter().filter(|(has, _)| *has).map(|(_, name)| *name).collect();
    writeln!(out, "features  {}", or_none(&features.join(", ")))
}
