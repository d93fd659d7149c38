//! Hostile guests: each gets what a CPU would do, or is stopped with a reason; nobody else notices.
use crate::{NODE, debian};
use payload::{CASES, Case, Ends, Group, Id};
use std::time::{Duration, Instant};
use tests::node::{self, Node};
use tests::rig::Rig;
use tests::volume::Volume;
use xtask::failure::{Failure, Result};

/// A VM that runs cases of the payload.
fn payload_vm(name: &str, vcpus: u32, cases: &str, lines: &str) -> String {
    format!(
        "[[vm]]\nname = \"{name}\"\nvcpus = {vcpus}\nmemory = \"32M\"\nkernel = \"payload\"\n\
         cmdline = \"{cases}\"\nautostart = false\n{lines}\n\n"
    )
}

/// The node with a VM that shows that it goes on.
fn with_bystander(rig: Rig) -> String {
    NODE.to_string() + &debian("bystander", 1, 96, &format!("act=tick{}", rig.linux_words()), "")
}

/// Fails unless the bystander hears what is typed and ticks from then on, and has missed no tick before.
fn bystander_goes_on(node: &mut Node) -> Result<()> {
    node.attach("bystander")?;
    // What it printed before comes first. It may still be on its way to its first program.
    let mut text = node.wait_for(&["GUEST tick 1\r"])?;
    node.type_text("you\n")?;
    text += &node.wait_for(&["GUEST hears you\r"])?;
    let ticks = |text: &str| -> Vec<u32> {
        text.lines().filter_map(|line| line.trim().strip_prefix("GUEST tick ")?.parse().ok()).collect()
    };
    let coming = ticks(&text).last().map_or(2, |last| last + 2);
    text += &node.wait_for(&[&format!("GUEST tick {coming}\r")])?;
    let ticks = ticks(&text);
    if ticks.windows(2).any(|pair| pair[1] != pair[0] + 1) {
        return Err(Failure::new(format!("the bystander's ticks were {ticks:?}{}", node.tail())));
    }
    node.detach()
}

/// The cases of a group that this machine can show.
fn cases(rig: Rig, group: Group) -> impl Iterator<Item = &'static Case> {
    CASES.iter().filter(move |case| case.group == group && case.runs_on(rig.emulator()))
}

/// Starts a VM with cases that all go on, and reads its results.
fn run_group(node: &mut Node, rig: Rig, group: Group, failures: &mut Vec<String>) -> Result<()> {
    let name = group.name();
    node.start(name)?;
    node.attach(name)?;
    for case in cases(rig, group) {
        match case.ends {
            Ends::GoesOn | Ends::Anyhow => {
                let ok = format!("PAYLOAD {} ok", case.name);
                let fail = format!("PAYLOAD {} FAIL", case.name);
                let [stopped, off, failed] = node::ENDS;
                let text = node.wait_long(&[&ok, &fail, stopped, off, failed], 2 * rig.patience())?;
                if node::ENDS.iter().any(|end| text.ends_with(end)) {
                    let why = node.wait_for(&["]"])?;
                    if case.ends == Ends::GoesOn {
                        failures.push(format!("{}: the VM stopped: {why}", case.name));
                    }
                    return Ok(());
                }
                if text.ends_with("FAIL") {
                    let why = node.wait_for(&["\n"])?;
                    failures.push(format!("{} ({}):{}", case.name, case.says, why.trim_end()));
                }
            }
            Ends::Stops(reason) => {
                let why = node.wait_for_vm_end()?;
                if !why.contains(reason) {
                    failures.push(format!("{} ({}): stopped by {why}", case.name, case.says));
                }
                return Ok(());
            }
            Ends::Restarts | Ends::Spins | Ends::Halts => {
                return Err(Failure::new(format!("{} can't run in a group", case.name)));
            }
        }
    }
    let [stopped, off, failed] = node::ENDS;
    let text = node.wait_for(&["PAYLOAD done", stopped, off, failed])?;
    if !text.ends_with("PAYLOAD done") {
        failures.push(format!("{name}: stopped before it was done: {}", node.wait_for(&["]"])?));
        return Ok(());
    }
    let why = node.wait_for_vm_end()?;
    if why != "guest powered off" {
        failures.push(format!("{name}: stopped by {why}"));
    }
    Ok(())
}

fn report(failures: &[String]) -> Result<()> {
    if failures.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!("{} cases failed:\n  {}", failures.len(), failures.join("\n  "))))
}

fn hostile_guests_get_what_a_cpu_does_and_a_bystander_goes_on(rig: Rig) -> Result<()> {
    let groups = [
        (Group::Cpu, 1),
        (Group::Mmio, 1),
        (Group::Interrupts, 1),
        (Group::Smp, 4),
        (Group::Random, 1),
        (Group::Ports, 1),
    ];
    let mut config = with_bystander(rig);
    for (group, vcpus) in groups {
        let names: Vec<&str> = cases(rig, group).map(|case| case.name).collect();
        config += &payload_vm(group.name(), vcpus, &format!("seed=1 {}", names.join(" ")), "");
    }
    let mut node = node::boot_in(rig, &Volume::new(config)?)?;
    let mut failures = Vec::new();
    for (group, _) in groups {
        run_group(&mut node, rig, group, &mut failures)?;
    }
    bystander_goes_on(&mut node)?;
    node.power_off()?;
    report(&failures)
}

fn random_instructions_end_at_most_their_own_vm(rig: Rig) -> Result<()> {
    const SEEDS: std::ops::Range<u32> = 2..6;
    let mut config = with_bystander(rig);
    for seed in SEEDS {
        config += &payload_vm(
            &format!("seed{seed}"),
            1,
            &format!("seed={seed} random-instructions random-msrs random-mmio"),
            "",
        );
    }
    let mut node = node::boot_in(rig, &Volume::new(config)?)?;
    for seed in SEEDS {
        let name = format!("seed{seed}");
        node.start(&name)?;
        node.attach(&name)?;
        // What it does next is up to the random bytes: it may hang too, and is killed then.
        loop {
            let progress = "of 20000";
            let [stopped, off, failed] = node::ENDS;
            match node.wait_whether(&[progress, stopped, off, failed], Duration::from_secs(45)) {
                Ok(text) if text.ends_with(progress) => println!("{name} goes on"),
                Ok(_) => {
                    println!("{name} ended: {}", node.wait_for(&["\n"])?.trim());
                    break;
                }
                Err(_) => {
                    println!("{name} hangs");
                    node.detach()?;
                    node.expect(&format!("vm kill {name}"), "")?;
                    node.wait_for_state(&name, "off")?;
                    break;
                }
            }
        }
    }
    bystander_goes_on(&mut node)?;
    node.power_off()
}

/// Waits until a vCPU has used much more CPU time than it had, which nothing but running takes.
fn spins(node: &mut Node, name: &str) -> Result<()> {
    let end = Instant::now() + node.patience();
    let time = |row: &[String]| row.get(5).cloned().unwrap_or_default();
    let first = time(&node.row(name)?);
    while time(&node.row(name)?) == first {
        if Instant::now() > end {
            return Err(Failure::new(format!("{name} does not run{}", node.tail())));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

fn a_guest_that_ends_or_hangs_is_told_of_and_disturbs_nobody(rig: Rig) -> Result<()> {
    let mut config = with_bystander(rig);
    for case in cases(rig, Group::Last) {
        // QEMU 7.2 loads DR7 at VMRUN but arms breakpoints only at MOV DR (svm_helper.c, bpt_helper.c): on
        // another processor than the one that executed that, a guest's breakpoints do not strike.
        let stays = if case.id == Id::FetchStorm { "affinity = [0]" } else { "" };
        config += &payload_vm(case.name, 1, case.name, stays);
    }
    let mut node = node::boot_in(rig, &Volume::new(config)?)?;
    let mut failures = Vec::new();
    for case in cases(rig, Group::Last) {
        let name = case.name;
        node.start(name)?;
        node.attach(name)?;
        node.wait_for(&[&format!("PAYLOAD {name} begins")])?;
        match case.ends {
            Ends::Stops(reason) => {
                let why = node.wait_for_vm_end()?;
                if !why.contains(reason) {
                    failures.push(format!("{name}: stopped by {why}, expected {reason}"));
                }
                let row = node.row(name)?;
                if row[1] != "failed" || !row.join(" ").contains(reason) {
                    failures.push(format!("{name}: listed as {row:?}"));
                }
            }
            Ends::Restarts => {
                node.wait_for(&[&format!("[{name} restarts: ")])?;
                node.wait_for(&[&format!("PAYLOAD {name} begins")])?;
                node.detach()?;
                node.expect(&format!("vm kill {name}"), "")?;
                node.wait_for_state(name, "off")?;
            }
            Ends::Spins => {
                node.detach()?;
                spins(&mut node, name)?;
                // It stays for the following cases, on a CPU that the others share with it.
            }
            Ends::Halts => {
                node.detach()?;
                node.wait_until(&format!("vm info {name}"), "halted")?;
                node.command(&format!("vm kill {name}"))?;
                node.wait_for_state(name, "off")?;
            }
            Ends::Anyhow | Ends::GoesOn => {
                // A storm never says ok, and is ended once it has raged for a while.
                let ok = format!("PAYLOAD {name} ok");
                let [stopped, off, failed] = node::ENDS;
                let goes_on = case.ends == Ends::GoesOn;
                let patience = if goes_on { node.patience() } else { Duration::from_secs(5) };
                let text = node.wait_whether(&[&ok, " FAIL ", stopped, off, failed], patience);
                match text {
                    Ok(text) if text.ends_with(&ok) => {
                        node.wait_for_vm_end()?;
                    }
                    Ok(text) if text.ends_with(" FAIL ") => {
                        let why = node.wait_for(&["\n"])?;
                        if goes_on {
                            failures.push(format!("{name}: {why}"));
                        }
                        node.wait_for_vm_end()?;
                    }
                    Ok(text) => {
                        if goes_on {
                            failures
                                .push(format!("{name}: the VM ended before it was done: {}", text.trim()));
                        }
                    }
                    Err(error) if goes_on => return Err(error),
                    Err(_) => {
                        node.detach()?;
                        node.command(&format!("vm kill {name}"))?;
                        node.wait_for_state(name, "off")?;
                    }
                }
            }
        }
    }
    bystander_goes_on(&mut node)?;
    for case in cases(rig, Group::Last).filter(|case| case.ends == Ends::Spins) {
        node.command(&format!("vm kill {}", case.name))?;
        node.wait_for_state(case.name, "off")?;
    }
    node.power_off()?;
    report(&failures)
}

on_each_rig! {
    hostile_guests_get_what_a_cpu_does_and_a_bystander_goes_on,
    random_instructions_end_at_most_their_own_vm,
    a_guest_that_ends_or_hangs_is_told_of_and_disturbs_nobody,
}
