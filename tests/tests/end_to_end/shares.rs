//! Who gets how much of the CPUs, when all want more than there is.
use crate::NODE;
use std::time::{Duration, Instant};
use tests::PATIENCE;
use tests::node::{self, Node};
use tests::volume::Volume;
use xtask::failure::{Failure, Result};

/// How far a share may be from what it should be.
const TOLERANCE: f64 = 0.05;

/// A VM of one vCPU that spins with interrupts off, started by hand.
fn spinning(name: &str, more: &str) -> String {
    format!(
        "[[vm]]\nname = \"{name}\"\nmemory = \"32M\"\nkernel = \"payload\"\ncmdline = \"spin\"\n\
         autostart = false\n{more}\n\n"
    )
}

/// The CPU time and the up time of VMs, in seconds, all from one `vm list`.
fn times(node: &mut Node, vms: &[&str]) -> Result<Vec<(f64, f64)>> {
    let list = node.command("vm list")?;
    let time_of = |vm: &&str| {
        let row = list.lines().map(str::trim).find(|row| row.split_whitespace().next() == Some(vm))?;
        // Name, state, vCPUs, memory and its unit, CPU time and its unit, up time and its unit.
        let words: Vec<&str> = row.split_whitespace().collect();
        let seconds = |at: usize| (*words.get(at + 1)? == "s").then(|| words[at].parse().ok())?;
        Some((seconds(5)?, seconds(7)?))
    };
    let times: Option<Vec<_>> = vms.iter().map(time_of).collect();
    times.ok_or_else(|| Failure::new(format!("no CPU times of {vms:?} in seconds in:\n{list}")))
}

/// Starts VMs and watches them from when all run until the first of them has got so much CPU time: how much
/// each got meanwhile, and how long that took.
fn watch(node: &mut Node, vms: &[&str], seconds: f64) -> Result<Vec<(f64, f64)>> {
    for vm in vms {
        node.start(vm)?;
    }
    for vm in vms {
        node.wait_for_state(vm, "running")?;
    }
    let before = times(node, vms)?;
    let end = Instant::now() + PATIENCE;
    loop {
        std::thread::sleep(Duration::from_millis(500));
        let now = times(node, vms)?;
        let got: Vec<_> =
            now.iter().zip(&before).map(|(now, then)| (now.0 - then.0, now.1 - then.1)).collect();
        if got[0].0 >= seconds {
            return Ok(got);
        }
        if Instant::now() > end {
            return Err(Failure::new(format!("{vms:?} got no more than {got:?}{}", node.tail())));
        }
    }
}

fn is_about(what: &str, share: f64, expected: f64) -> Result<()> {
    if (share / expected - 1.0).abs() <= TOLERANCE {
        return Ok(());
    }
    Err(Failure::new(format!("{what} should be {expected:.3}: {share:.3}")))
}

#[test]
fn spinning_vcpus_get_equal_shares_or_those_of_their_weights_and_no_more_than_their_cap() -> Result<()> {
    let config = [
        NODE.into(),
        ["a", "b", "c"].map(|name| spinning(name, "")).concat(),
        spinning("light", "affinity = [1]\nweight = 100"),
        spinning("heavy", "affinity = [1]\nweight = 300"),
        spinning("capped", "affinity = [0]\ncap = 25"),
    ];
    let mut node = node::boot(&Volume::new(config.concat())?)?;
    // Three on two CPUs: someone has to move all the time.
    let got = watch(&mut node, &["a", "b", "c"], 8.0)?;
    let mean = got.iter().map(|(cpu, _)| cpu).sum::<f64>() / 3.0;
    for (name, (cpu, _)) in ["a", "b", "c"].into_iter().zip(&got) {
        is_about(&format!("the share of {name} among equals"), cpu / mean, 1.0)?;
    }
    is_about("what three get of two CPUs", got.iter().map(|(cpu, _)| cpu).sum::<f64>() / got[0].1, 2.0)?;
    for name in ["a", "b", "c"] {
        node.expect(&format!("vm kill {name}"), name)?;
    }
    let got = watch(&mut node, &["light", "heavy", "capped"], 4.0)?;
    is_about("the share of three times the weight", got[1].0 / got[0].0, 3.0)?;
    // A limit: what the emulated CPU misses while the computer does other things is not made up for.
    let part = got[2].0 / got[2].1;
    if !(0.25 * 0.8..0.25 * (1.0 + TOLERANCE)).contains(&part) {
        return Err(Failure::new(format!(
            "the capped VM's part of a CPU should be at most 0.250: {part:.3}"
        )));
    }
    node.power_off()
}
