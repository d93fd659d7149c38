//! Debian guests.
use crate::{NODE, debian};
use tests::node::{self, Node};
use tests::rig::Rig;
use tests::volume::Volume;
use xtask::failure::{Failure, Result};

fn fail<T>(node: &Node, what: impl std::fmt::Display) -> Result<T> {
    Err(Failure::new(format!("{what}{}", node.tail())))
}

/// Types a command into a guest's shell and waits for its output to have this in it.
fn answers(node: &mut Node, command: &str, expected: &str) -> Result<()> {
    node.type_text(&format!("{command}\n"))?;
    // The echo of the command comes first.
    node.wait_for(&["\n"])?;
    node.wait_for(&[expected]).map(drop)
}

/// What `vm info` says that a VM costs beside its memory, in KiB: `memory    96 MiB, and 300 KiB for tables and
/// devices`.
fn overhead_kib(info: &str) -> Option<u64> {
    let (before, _) = info.split_once(" for tables and devices")?;
    let (number, unit) = before.rsplit_once(", and ")?.1.split_once(' ')?;
    let kib = match unit {
        "KiB" => 1.0,
        "MiB" => 1024.0,
        _ => return None,
    };
    Some((number.parse::<f64>().ok()? * kib) as u64)
}

/// A guest of one and one of `several` vCPUs run at once and end each in its own way.
fn two_guests(rig: Rig, several: u32) -> Result<()> {
    let (words, lines) = (rig.linux_words(), rig.vm_lines());
    let config = NODE.to_string()
        + &debian("one", 1, 96, words, lines)
        + &debian("several", several, 128, words, lines);
    let mut node = node::boot_in(rig, &Volume::new(config)?)?;
    for (vm, vcpus, mib) in [("one", 1, 96u64), ("several", several, 128)] {
        node.attach(vm)?;
        let report = node.wait_for_shell()?;
        // The kernel keeps a part for itself.
        let plausible = (mib * 1024 * 3 / 5..mib * 1024).contains(&report.memory_kib);
        if report.cpus != vcpus || !plausible || report.clock != rig.guest_clock() {
            return fail(&node, format_args!("{vm} reports {report:?}"));
        }
        answers(&mut node, "nproc", &format!("{vcpus}\r"))?;
        answers(&mut node, "echo $((6 * 7))", "42")?;
        node.detach()?;
    }
    // Both are up; one is powered off by itself, the other goes on and is powered off after it.
    let list = node.command("vm list")?;
    if list.lines().filter(|line| line.contains("running")).count() != 2 {
        return fail(&node, "not both run");
    }
    // Though they were started at once, each is told what it costs itself, and that is not much.
    for vm in ["one", "several"] {
        let kib = overhead_kib(&node.command(&format!("vm info {vm}"))?);
        if !kib.is_some_and(|kib| (64..=512).contains(&kib)) {
            return fail(&node, format_args!("{vm} costs {kib:?} KiB beside its memory"));
        }
    }
    for vm in ["several", "one"] {
        node.attach(vm)?;
        answers(&mut node, "cat /proc/uptime", ".")?;
        node.type_text("poweroff -f\n")?;
        let why = node.wait_for_vm_end()?;
        if why != "guest powered off" {
            return fail(&node, format_args!("{vm} ended by '{why}'"));
        }
        node.expect("vm list", "guest powered off")?;
    }
    // Memory comes back: the next start finds it.
    node.start("several")?;
    node.attach("several")?;
    node.wait_for_shell()?;
    node.detach()?;
    node.power_off()
}

#[test]
fn a_guest_of_one_and_one_of_four_vcpus_run_at_once_in_parallel() -> Result<()> {
    two_guests(Rig::QemuInParallel, 4)
}

#[test]
fn a_guest_of_one_and_one_of_two_vcpus_run_at_once_on_vt_x() -> Result<()> {
    two_guests(Rig::Bochs { cpus: 1 }, 2)
}

#[test]
fn a_guest_of_one_and_one_of_two_vcpus_run_at_once_on_two_processors_with_vt_x() -> Result<()> {
    two_guests(Rig::Bochs { cpus: 2 }, 2)
}

/// Nothing is typed: see [`xtask::rig::bochs`].
#[test]
fn a_linux_to_which_the_processor_delivers_interrupts_boots_and_powers_off() -> Result<()> {
    let rig = Rig::BochsDelivers;
    let (words, lines) = (format!("act=off {}", rig.linux_words()), rig.vm_lines());
    let config = NODE.replace("\n\n", "\non_idle = \"poweroff\"\n\n[console]\nattach = \"debian\"\n\n")
        + &debian("debian", 1, 96, &words, lines);
    let mut node = node::power_on_in(rig, &Volume::new(config)?)?;
    node.wait_for(&["GUEST cpus 1 "])?;
    node.wait_for(&["guest powered off"])?;
    node.wait_for_end()
}

#[test]
fn a_guest_reboots_by_itself_and_by_the_operator_and_keeps_its_console() -> Result<()> {
    let config = NODE.to_string() + &debian("debian", 2, 128, "", "");
    let mut node = node::boot(&Volume::new(config)?)?;
    node.attach("debian")?;
    node.wait_for_shell()?;
    node.type_text("reboot -f\n")?;
    node.wait_for(&["[debian restarts: guest reset it"])?;
    let report = node.wait_for_shell()?;
    if report.cpus != 2 {
        return fail(&node, "the other processor did not come back");
    }
    node.detach()?;
    let row = node.row("debian")?;
    if row.get(1).map(String::as_str) != Some("running") || !row.contains(&"1".to_string()) {
        return fail(&node, format_args!("listed as {row:?}"));
    }
    node.expect("vm reset debian", "")?;
    // The console's history has the two shells before; the third is new.
    node.attach("debian")?;
    for _ in 0..3 {
        node.wait_for_shell()?;
    }
    node.detach()?;
    node.expect("vm info debian", "restarts  2")?;
    node.power_off()
}

#[test]
fn a_vm_is_paused_resumed_killed_and_started_again() -> Result<()> {
    let config = NODE.to_string()
        + &debian("ticks", 2, 128, "act=tick", "")
        + &debian("late", 1, 96, "", "autostart = false");
    let mut node = node::boot(&Volume::new(config)?)?;
    node.attach("ticks")?;
    node.wait_for(&["GUEST tick 2\r"])?;
    node.detach()?;
    node.expect("vm pause ticks", "ticks")?;
    node.wait_for_state("ticks", "paused")?;
    let time = |row: Vec<String>| row.get(5).cloned().unwrap_or_default();
    let before = time(node.row("ticks")?);
    // What else runs meanwhile takes some seconds, in which a VM that is held gets nothing.
    node.start("late")?;
    node.attach("late")?;
    node.wait_for_shell()?;
    node.detach()?;
    let row = node.row("ticks")?;
    if row[1] != "paused" || time(row) != before {
        return fail(&node, "it ran while it was paused");
    }
    // What does not fit the state is refused with what would.
    node.expect("vm pause ticks", "cannot pause ticks: it is paused")?;
    node.expect("vm start ticks", "vm resume ticks")?;
    node.expect("vm resume ticks", "ticks")?;
    node.wait_for_state("ticks", "running")?;
    node.attach("ticks")?;
    node.wait_for(&["GUEST tick 6\r"])?;
    node.detach()?;
    node.expect("vm kill ticks", "ticks")?;
    node.wait_for_state("ticks", "off")?;
    node.expect("vm list", "killed by the operator")?;
    node.expect("vm kill ticks", "cannot kill ticks: it is off")?;
    // A guest that does not listen to its power button is asked, and then ended with the node.
    node.expect("vm stop late", "late")?;
    node.wait_for(&["n1> "])?;
    node.start("ticks")?;
    node.power_off()
}

#[test]
fn a_crash_restarts_a_vm_whose_policy_says_so_and_no_other() -> Result<()> {
    let vm = |name: &str, restart: &str| {
        format!(
            "[[vm]]\nname = \"{name}\"\nmemory = \"32M\"\nkernel = \"payload\"\ncmdline = \"triple-fault\"\n\
             restart = \"{restart}\"\n\n"
        )
    };
    let config = NODE.to_string() + &vm("stays", "never") + &vm("again", "on-crash");
    let mut node = node::boot(&Volume::new(config)?)?;
    let row = node.wait_for_state("stays", "failed")?;
    if !row.join(" ").contains("triple fault on vCPU 0") {
        return fail(&node, format_args!("listed as {row:?}"));
    }
    node.wait_until("vm info again", "restarts  2")?;
    node.expect("vm info stays", "restarts  0")?;
    node.expect("vm kill again", "again")?;
    node.wait_for_state("again", "off")?;
    node.power_off()
}
