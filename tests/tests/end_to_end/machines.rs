//! The machines that PureVisor runs on.
use crate::{NODE, debian};
use std::fs;
use tests::guest;
use tests::node::{self, Node};
use tests::prepared::prepared;
use tests::rig::Rig;
use tests::volume::Volume;
use xtask::artifacts::Artifacts;
use xtask::failure::{Context, Failure, Result};
use xtask::rig::{Firmware, Machine, Qemu};

/// A guest of two processors that reports and powers off.
fn volume(more: &str) -> Result<Volume> {
    Volume::new(NODE.to_string() + &debian("debian", 2, 96, "act=off", more))
}

/// Boots on a machine, lets the guest run to its end, and looks at what the node says of the machine.
fn shows(shape: impl FnOnce(Qemu) -> Qemu, cpus: u32, text: &str) -> Result<()> {
    run(&volume("")?, shape, cpus, text)
}

fn run(volume: &Volume, shape: impl FnOnce(Qemu) -> Qemu, cpus: u32, text: &str) -> Result<()> {
    let mut node = node::power_on(volume, shape)?;
    let boot = node.wait_for_prompt()?;
    check(&mut node, &boot, cpus, text)?;
    node.power_off()
}

fn check(node: &mut Node, boot: &str, cpus: u32, text: &str) -> Result<()> {
    for expected in [&format!("CPUs: {cpus} of {cpus} run"), "W^X holds", text] {
        if !boot.contains(expected) {
            return Err(Failure::new(format!("\"{expected}\" is not said at boot{}", node.tail())));
        }
    }
    node.wait_for_state("debian", "off")?;
    node.attach("debian")?;
    let console = node.wait_for_vm_end_text()?;
    let report = guest::Report::find(&console);
    let Some(report) = report else { return Err(Failure::new(format!("no report in:\n{console}"))) };
    if report.cpus != 2 {
        return Err(Failure::new(format!("the guest sees {} CPUs of 2", report.cpus)));
    }
    let shown = node.command("cpu")?;
    let rows =
        shown.lines().filter(|l| l.split_whitespace().next().is_some_and(|w| w.parse::<u32>().is_ok()));
    let rows = rows.count();
    if rows != cpus as usize {
        return Err(Failure::new(format!("'cpu' shows {rows} CPUs of {cpus}:\n{shown}")));
    }
    Ok(())
}

#[test]
fn one_processor_and_512_mib_run_a_guest() -> Result<()> {
    shows(|qemu| qemu.cpus(1).memory_mib(512), 1, "")
}

#[test]
fn two_processors_of_the_model_epyc_on_a_pc_of_1996_run_a_guest() -> Result<()> {
    shows(|qemu| qemu.cpus(2).cpu("EPYC").machine(Machine::Pc), 2, "")
}

#[test]
fn four_processors_of_the_model_epyc_and_2_gib_run_a_guest() -> Result<()> {
    shows(|qemu| qemu.cpus(4).cpu("EPYC").memory_mib(2048), 4, "")
}

#[test]
fn eight_processors_and_8_gib_run_a_guest() -> Result<()> {
    // The memory is not touched, so that this computer need not have it.
    shows(|qemu| qemu.cpus(8).memory_mib(8192), 8, "memory: 8")
}

#[test]
fn four_processors_that_really_run_in_parallel_run_a_guest_on_three() -> Result<()> {
    run(&volume("affinity = [1, 2, 3]")?, |qemu| qemu.cpus(4).parallel(), 4, "")
}

#[test]
fn the_disk_image_boots_on_both_chipsets() -> Result<()> {
    for machine in [Machine::Q35, Machine::Pc] {
        let mut node = node::power_on_from_disk(&volume("")?, |qemu| qemu.machine(machine))?;
        let boot = node.wait_for_prompt()?;
        check(&mut node, &boot, 2, "")?;
        node.power_off()?;
    }
    Ok(())
}

#[test]
fn bochs_starts_the_node_by_bios_and_grub_on_one_processor_and_on_two() -> Result<()> {
    for cpus in [1, 2] {
        let mut node = node::power_on_in(Rig::Bochs { cpus }, &Volume::new(NODE)?)?;
        let boot = node.wait_for_prompt()?;
        for expected in [&format!("CPUs: {cpus} of {cpus} run"), "W^X holds"] {
            if !boot.contains(expected) {
                return Err(Failure::new(format!("\"{expected}\" is not said at boot{}", node.tail())));
            }
        }
        node.power_off()?;
    }
    Ok(())
}

#[test]
fn the_iso_image_runs_a_guest_as_a_cd_by_bios_and_by_uefi() -> Result<()> {
    for (firmware, machine) in [(Firmware::Bios, Machine::Pc), (Firmware::Uefi, Machine::Q35)] {
        let shape = |qemu: Qemu| qemu.firmware(firmware).machine(machine).memory_mib(512);
        let mut node = node::power_on_from_cd(&volume("")?, shape)?;
        let boot = node.wait_for_prompt()?;
        check(&mut node, &boot, 2, "boot: started by GRUB")?;
        node.power_off()?;
    }
    Ok(())
}

#[test]
fn the_iso_image_boots_as_a_cd_and_as_a_disk_whatever_the_firmware_and_the_chipset() -> Result<()> {
    let volume = Volume::new(NODE)?;
    for (is_cd, firmware, machine) in [
        (true, Firmware::Bios, Machine::Q35),
        (false, Firmware::Bios, Machine::Q35),
        (false, Firmware::Bios, Machine::Pc),
        (false, Firmware::Uefi, Machine::Q35),
    ] {
        let shape = |qemu: Qemu| qemu.firmware(firmware).machine(machine);
        let mut node = match is_cd {
            true => node::power_on_from_cd(&volume, shape)?,
            false => node::power_on_from_iso_disk(&volume, shape)?,
        };
        let boot = node.wait_for_prompt()?;
        for expected in ["boot: started by GRUB", " characters", "W^X holds"] {
            if !boot.contains(expected) {
                return Err(Failure::new(format!("\"{expected}\" is not said at boot{}", node.tail())));
            }
        }
        node.power_off()?;
    }
    Ok(())
}

#[test]
fn the_entry_runs_wherever_grub_puts_it() -> Result<()> {
    let built = &prepared()?.built;
    let mut entry = fs::read(&built.entry).context(|| "cannot read the entry")?;
    // What its header asks for (Multiboot2 2.0, 3.1.12): lowest and highest address, alignment, preference.
    let wish = |lowest: u32| [lowest, u32::MAX, 2 << 20, 1].map(u32::to_le_bytes).concat();
    let at = entry.windows(16).position(|bytes| bytes == wish(1 << 20));
    let at = at.ok_or_else(|| Failure::new("the entry's header does not ask for a place"))?;
    entry[at..at + 16].copy_from_slice(&wish(100 << 20));
    let path = built.entry.with_file_name("moved-entry.elf");
    fs::write(&path, entry).context(|| "cannot write the moved entry")?;
    let volume = Volume::new(NODE)?.artifacts(Artifacts { entry: path, ..built.clone() });
    let mut node = node::power_on_from_cd(&volume, |qemu| qemu.firmware(Firmware::Bios))?;
    let boot = node.wait_for_prompt()?;
    if !boot.contains(" at 0x6400000") || !boot.contains("W^X holds") {
        return Err(Failure::new(node.tail()));
    }
    node.power_off()
}

#[test]
fn the_node_reboots_and_then_switches_itself_off_when_its_last_vm_has() -> Result<()> {
    let config = NODE.to_string() + "on_idle = \"poweroff\"\n\n" + &debian("debian", 1, 96, "", "");
    let config = config.replacen("name = \"n1\"\n\n", "name = \"n1\"\n", 1);
    let mut node = node::power_on(&Volume::new(config)?, Qemu::may_reboot)?;
    node.wait_for_prompt()?;
    node.type_text("reboot --now\r")?;
    node.wait_for_prompt()?;
    node.attach("debian")?;
    node.wait_for_shell()?;
    node.type_text("poweroff -f\n")?;
    if node.wait_for_vm_end()? != "guest powered off" {
        return Err(Failure::new(node.tail()));
    }
    node.wait_for_end()
}
