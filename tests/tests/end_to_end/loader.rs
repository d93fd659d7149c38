//! Machines and volumes that PureVisor can't be started from: one clear line, and no more.
use crate::{NODE, debian};
use std::fs;
use tests::node;
use tests::prepared::prepared;
use tests::volume::Volume;
use xtask::artifacts::Artifacts;
use xtask::failure::{Context, Failure, Result};
use xtask::rig::Qemu;

/// Starts from a volume with another kernel, and waits for the line that refuses it.
fn refused(kernel: &[u8], name: &str, expected: &str) -> Result<()> {
    let built = &prepared()?.built;
    let path = built.kernel.with_file_name(name);
    fs::write(&path, kernel).context(|| format!("cannot write {}", path.display()))?;
    let artifacts = Artifacts { kernel: path, ..built.clone() };
    says(&Volume::new(NODE)?.artifacts(artifacts), |qemu| qemu, expected)
}

/// Starts, and waits for the loader to stop with a line that has this in it.
fn says(volume: &Volume, shape: impl FnOnce(Qemu) -> Qemu, expected: &str) -> Result<()> {
    let mut node = node::power_on(volume, shape)?;
    let text = node.wait_for(&["boot: stopped"])?;
    let line = text.lines().rev().find(|line| line.starts_with("boot: ") && *line != "boot: stopped");
    let line = line.unwrap_or_default();
    if line.contains(expected) {
        Ok(())
    } else {
        Err(Failure::new(format!("it said: {line}{}", node.tail())))
    }
}

fn kernel() -> Result<Vec<u8>> {
    let path = &prepared()?.built.kernel;
    fs::read(path).context(|| format!("cannot read {}", path.display()))
}

#[test]
fn a_kernel_that_is_cut_off_is_refused() -> Result<()> {
    let whole = kernel()?;
    refused(&whole[..whole.len() / 2], "cut.elf", "cut off")
}

#[test]
fn a_kernel_of_another_version_is_refused_with_both_versions() -> Result<()> {
    let mut kernel = kernel()?;
    // The note's type, its name, and as its descriptor the version.
    let before = b"\x01\0\0\0PureVisor\0\0\0";
    let at = kernel.windows(before.len()).position(|bytes| bytes == before);
    let at = at.ok_or_else(|| Failure::new("the kernel has no note"))? + before.len();
    kernel[at..at + 4].copy_from_slice(&77u32.to_le_bytes());
    refused(&kernel, "other.elf", "hand-over version 77")
}

#[test]
fn random_bytes_as_the_kernel_are_refused() -> Result<()> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8
    };
    let random: Vec<u8> = (0..100_000).map(|_| next()).collect();
    refused(&random, "random.elf", "not an ELF file")
}

#[test]
fn a_volume_without_a_kernel_says_which_file_is_missing() -> Result<()> {
    let volume = Volume::new(NODE)?.without_kernel();
    says(&volume, |qemu| qemu, "purevisor/kernel.elf is not on the boot volume")
}

#[test]
fn too_little_memory_is_said_with_how_much_is_needed() -> Result<()> {
    says(&Volume::new(NODE)?, |qemu| qemu.memory_mib(64), "MiB of memory are free, PureVisor needs 64")
}

#[test]
fn a_processor_without_what_the_kernel_is_built_on_is_refused() -> Result<()> {
    says(&Volume::new(NODE)?, |qemu| qemu.cpu("max,-cx16"), "CMPXCHG16B")
}

#[test]
fn a_machine_without_virtualization_has_a_console_that_says_why_no_vm_starts() -> Result<()> {
    let config = NODE.to_string() + &debian("debian", 1, 96, "", "");
    let mut node = node::boot_on(&Volume::new(config)?, |qemu| qemu.cpu("max,-svm"))?;
    let row = node.wait_for_state("debian", "failed")?.join(" ");
    if !row.contains("SVM") && !row.contains("AMD-V") {
        return Err(Failure::new(format!("the reason is: {row}")));
    }
    node.power_off()
}
