//! `cargo xtask bench`: what PureVisor costs, beside what is aimed at and what KVM needs.
//!
//! Exits and the guest's boot are counted in instructions: the machine is emulated so that one tick of its
//! time-stamp counter is one instruction of guest and hypervisor ([`crate::rig::Qemu::counted`]; in
//! [`crate::rig::Bochs`] it always is). Such
//! figures are exact; they depend neither on this computer nor on what else it does. `node.ready` is a time, and
//! disks and networks are compared with Linux' own at the same time on the same computer.
//!
//! ```text
//!  guests: two programs, built ──► counted: a machine that counts ──► BENCH lines, log lines ──┐
//!  node: machines with 4 processors ──► "ready" line, `mem` ───────────────────────────────────┤
//!  disk: Linux and Linux in a VM, turn by turn ──► DISK lines, `vm info` ──────────────────────┤
//!  net: likewise with cards, and guests beside KVM's ──► NET lines, `vm info`, `net info` ──────┤
//!  artifacts: sizes of the files ──────────────────────────────────────────────────────────────┤
//!                                                       catalogue (targets, peers) ──► report ◄┘
//! ```
//!
//! - `catalogue`: every metric, once: unit, target, and what KVM needs.
//! - `guests`: the benchmark's guests and their boot volumes.
//! - `counted`: runs in the counting machine, with the second try that it sometimes needs.
//! - `node`: time to ready, memory.
//! - `disk`: a guest's disk beside Linux' own.
//! - `net`: a guest's network beside Linux' own, guests among each other beside those of KVM.
//! - `pairs`: two machines turn by turn; `exits`: what the node counts of a VM meanwhile.
//! - `reading`: numbers in what a console showed.
//! - `report`: the table and `bench.json`.
use crate::args::Args;
use crate::artifacts::Artifacts;
use crate::failure::{Failure, Result};
use crate::progress::say;
use crate::{artifacts, setup, workspace};
use catalogue::{Group, Metric, catalogue};
use counted::Counter;
use guests::DiskBus;
use net::Card;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

mod catalogue;
mod counted;
mod disk;
mod exits;
mod guests;
mod net;
mod node;
mod pairs;
mod reading;
mod report;

/// Values by the metrics' names.
type Values = BTreeMap<String, f64>;

/// The command. Missed targets are shown, and are no failure; a figure that cannot be taken is one.
pub fn command(mut args: Args) -> Result<ExitCode> {
    let quick = args.flag("--quick");
    let only = args.value("--only")?;
    let json = args.value("--json")?.map(PathBuf::from);
    args.finish()?;
    let metrics = selected(quick, only.as_deref())?;
    let wanted = |group: Group| metrics.iter().any(|metric| metric.group == group);

    let guest = setup::everything()?;
    let built = artifacts::build()?;
    let mut values = Values::new();
    let mut counter = Counter::new();
    if wanted(Group::Image) {
        values.extend(image(&built)?);
    }
    if wanted(Group::Node) {
        values.extend(node::ready(&built, if quick { 1 } else { 3 })?);
    }
    if wanted(Group::PerVm) {
        values.extend(node::per_vm(&built, &guest)?);
    }
    if wanted(Group::Bare) {
        values.extend(counter.lines(&guests::bare(&built)?, "bare")?);
    }
    if wanted(Group::Vmx) {
        values.extend(counter.vmx_lines(&guests::bare_iso(&built)?)?);
    }
    if wanted(Group::Linux) {
        values.extend(counter.lines(&guests::linux(&built, &guest)?, "linux")?);
    }
    if wanted(Group::Boot) {
        values.extend(counter.boot(&guests::boot(&built, &guest)?)?);
    }
    if wanted(Group::Disk) {
        values.extend(disk::compare(&built, &guest, DiskBus::VirtioBlk, "disk")?);
    }
    if wanted(Group::Scsi) {
        values.extend(disk::compare(&built, &guest, DiskBus::VirtioScsi, "scsi")?);
    }
    if wanted(Group::DiskBoot) {
        values.extend(disk::login(&built, &guest)?);
    }
    if wanted(Group::DiskPath) {
        values.extend(disk::instructions(&built, &guest, &mut counter)?);
    }
    for (group, card) in
        [(Group::NetVirtio, Card::Virtio), (Group::NetE1000, Card::E1000), (Group::NetE1000e, Card::E1000e)]
    {
        if wanted(group) {
            values.extend(net::compare(&built, &guest, card)?);
        }
    }
    if wanted(Group::NetGuests) {
        values.extend(net::guests(&built, &guest)?);
    }
    if wanted(Group::NetPath) {
        values.extend(net::instructions(&built, &guest, &mut counter)?);
    }
    values.insert("rig.retries".into(), f64::from(counter.retries()));

    let report = report::Report::new(&metrics, &values)?;
    print!("{report}");
    let path = match json {
        Some(path) => path,
        None => workspace::target_folder("bench")?.join("bench.json"),
    };
    report.write_json(&path)?;
    say(&format!("written to {}", path.display()));
    Ok(ExitCode::SUCCESS)
}

/// The metrics that the options ask for: all, those that take less than two minutes, or those of a name
/// or of a name's beginning.
fn selected(quick: bool, only: Option<&str>) -> Result<Vec<&'static Metric>> {
    let metrics: Vec<_> = catalogue()
        .filter(|metric| only.is_none_or(|only| metric.name.starts_with(only)))
        .filter(|metric| {
            !quick || matches!(metric.group, Group::Bare | Group::Vmx | Group::Image | Group::Node)
        })
        .collect();
    if metrics.is_empty() {
        let names: Vec<_> = catalogue().map(|metric| metric.name).collect();
        return Err(Failure::new(format!("no metric is left; there are: {}", names.join(" "))));
    }
    Ok(metrics)
}

fn image(built: &Artifacts) -> Result<Values> {
    let [(_, loader), _, (_, kernel)] = built.sizes()?;
    let kib = |bytes: u64| bytes as f64 / 1024.0;
    Ok([("image.loader", kib(loader)), ("image.kernel", kib(kernel)), ("image.size", kib(loader + kernel))]
        .map(|(name, value)| (name.to_string(), value))
        .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(quick: bool, only: Option<&str>) -> Vec<&'static str> {
        selected(quick, only).unwrap().iter().map(|metric| metric.name).collect()
    }

    #[test]
    fn a_metric_is_asked_for_by_its_name_or_the_beginning_of_it() {
        assert_eq!(names(false, Some("bare.cpuid")), ["bare.cpuid"]);
        assert!(names(false, Some("linux.")).len() > 5);
        assert_eq!(names(false, None).len(), catalogue().count());
        assert!(names(true, None).iter().all(|name| !name.starts_with("linux.")));
        let error = selected(false, Some("cpu")).unwrap_err().to_string();
        assert!(error.contains("bare.cpuid"), "{error}");
    }
}
