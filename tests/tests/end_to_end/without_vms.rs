//! Machines whose CPUs cannot run VMs: one line says why and what to do, and the node serves its operator.
//!
//! The processor models are Bochs' and have what their namesakes have; what firmware forbids is forbidden by its
//! BIOS.
use crate::NODE;
use tests::node::{self, Node};
use tests::volume::Volume;
use xtask::failure::{Failure, Result};
use xtask::rig::Bochs;
use xtask::rig::bochs::Permits;

/// Two VMs that start with the node, of which one would be started again and again, and one that does not.
fn volume() -> Result<Volume> {
    let vm = |name: &str, more: &str| {
        format!("[[vm]]\nname = \"{name}\"\nmemory = \"32M\"\nkernel = \"payload\"\n{more}\n\n")
    };
    let node = NODE.replace("\n\n", "\non_idle = \"poweroff\"\n\n");
    let vms = vm("eager", "restart = \"always\"") + &vm("second", "") + &vm("later", "autostart = false");
    Volume::new(node + &vms)
}

/// Boots a machine on which no VM can run, and looks where the operator reads why.
fn runs_none(volume: &Volume, shape: impl FnOnce(Bochs) -> Bochs, why: &str) -> Result<()> {
    let mut node = node::power_on_in_bochs(volume, shape)?;
    node.wait_for_prompt()?;
    node.expect("node info", &format!("virtualization  none: {why}"))?;
    node.expect("vm start later", &format!("cannot start later: {why}"))?;
    let list = node.command("vm list")?;
    let mut states = ["eager", "second", "later"].map(|vm| {
        let row = list.lines().find(|line| line.starts_with(vm)).unwrap_or_default();
        (row.split_whitespace().nth(1).unwrap_or_default().to_string(), row.contains(why))
    });
    states.sort();
    if states.each_ref().map(|(state, told)| (state.as_str(), *told))
        != [("failed", true), ("failed", true), ("off", false)]
    {
        return Err(Failure::new(format!("the VMs are {states:?}{}", node.tail())));
    }
    said_once(&mut node, why)?;
    node.power_off()
}

/// Fails unless the log has one line that says this, and no other line of a problem.
fn said_once(node: &mut Node, why: &str) -> Result<()> {
    let log = node.command("log 100")?;
    let problems: Vec<&str> =
        log.lines().filter(|line| line.contains("] error ") || line.contains("] warn ")).collect();
    if problems.len() != 1 || !problems[0].contains(&format!("no VM can run on this machine: {why}")) {
        return Err(Failure::new(format!("the log tells {problems:#?}{}", node.tail())));
    }
    Ok(())
}

#[test]
fn a_cpu_without_ept_unrestricted_guest_or_nested_paging_is_told_of_with_what_to_do() -> Result<()> {
    let volume = volume()?;
    for (model, why) in [
        ("core2_penryn_t9600", "this CPU has Intel VT-x without extended page tables (EPT)"),
        ("corei5_lynnfield_750", "this CPU has Intel VT-x without \"unrestricted guest\""),
        ("p4_prescott_celeron_336", "this CPU has neither AMD-V (SVM) nor Intel VT-x (VMX)"),
        ("turion64_tyler", "this CPU has AMD-V without nested paging"),
    ] {
        runs_none(&volume, |bochs| bochs.cpu(model), why)?;
    }
    Ok(())
}

#[test]
fn vt_x_that_firmware_has_locked_off_is_told_of_with_what_to_do() -> Result<()> {
    runs_none(
        &volume()?,
        |bochs| bochs.cpus(2).firmware_permits(Permits::NoVmx, Permits::NoVmx),
        "Intel VT-x (VMX) is disabled and locked by the firmware: enable",
    )
}

/// Boots a machine on one of whose two CPUs at least VMs can run, and runs one of two vCPUs to its end.
fn runs_a_vm(shape: impl FnOnce(Bochs) -> Bochs, vm_cpus: usize) -> Result<()> {
    let config = format!(
        "{NODE}[[vm]]\nname = \"payload\"\nvcpus = 2\nmemory = \"32M\"\nkernel = \"payload\"\n\
         cmdline = \"smp-ipis\"\nautostart = false\n\n"
    );
    let mut node = node::power_on_in_bochs(&Volume::new(config)?, |bochs| shape(bochs.cpus(2)))?;
    node.wait_for_prompt()?;
    let log = node.expect("log 100", "CPUs: 2 of 2 run")?;
    let refused = log.lines().filter(|line| line.contains("cannot run VMs, others may: ")).count();
    if refused != 2 - vm_cpus {
        return Err(Failure::new(format!("{refused} CPUs cannot run VMs{}", node.tail())));
    }
    node.start("payload")?;
    node.attach("payload")?;
    node.wait_for(&["PAYLOAD smp-ipis ok"])?;
    let why = node.wait_for_vm_end()?;
    if why != "guest powered off" {
        return Err(Failure::new(format!("the VM ended by '{why}'{}", node.tail())));
    }
    node.power_off()
}

#[test]
fn vt_x_that_firmware_has_left_open_is_switched_on() -> Result<()> {
    runs_a_vm(|bochs| bochs.firmware_permits(Permits::Nothing, Permits::Nothing), 2)
}

#[test]
fn a_cpu_on_which_firmware_forbids_vt_x_is_told_of_and_the_other_runs_vms() -> Result<()> {
    runs_a_vm(|bochs| bochs.firmware_permits(Permits::Vmx, Permits::NoVmx), 1)
}
