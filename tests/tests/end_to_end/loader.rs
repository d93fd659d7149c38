//! Machines and volumes that PureVisor can't be started from: one clear line, and no more. Both ways to boot,
//! `boot.efi` from the volume and GRUB from the ISO image, say the same.
use crate::{NODE, debian};
use std::fs;
use tests::node::{self, Node};
use tests::prepared::prepared;
use tests::volume::Volume;
use xtask::artifacts::Artifacts;
use xtask::failure::{Context, Failure, Result};
use xtask::rig::{Firmware, Qemu};

/// Starts from a volume with another kernel, and waits for the line that refuses it.
fn refused(kernel: &[u8], name: &str, expected: &str) -> Result<()> {
    let built = &prepared()?.built;
    let path = built.kernel.with_file_name(name);
    fs::write(&path, kernel).context(|| format!("cannot write {}", path.display()))?;
    let artifacts = Artifacts { kernel: path, ..built.clone() };
    says(&Volume::new(NODE)?.artifacts(artifacts), |qemu| qemu, expected)
}

/// Starts both ways, and waits for the loader to stop with a line that has this in it.
fn says(volume: &Volume, shape: impl Fn(Qemu) -> Qemu, expected: &str) -> Result<()> {
    stops(node::power_on(volume, &shape)?, expected)?;
    grub_says(volume, shape, expected)
}

/// As [`says`], by GRUB alone.
fn grub_says(volume: &Volume, shape: impl Fn(Qemu) -> Qemu, expected: &str) -> Result<()> {
    stops(node::power_on_from_cd(volume, |qemu| shape(qemu.firmware(Firmware::Bios)))?, expected)
}

fn stops(mut node: Node, expected: &str) -> Result<()> {
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
    stops(node::power_on(&volume, |qemu| qemu)?, "purevisor/kernel.elf is not on the boot volume")
}

#[test]
fn a_grub_configuration_without_a_kernel_says_which_line_is_missing() -> Result<()> {
    let volume = Volume::new(NODE)?.edit_iso("'purevisor/kernel.elf'", "'purevisor/kernel.old'");
    grub_says(&volume, |qemu| qemu, "module2 /purevisor/kernel.elf purevisor/kernel.elf")
}

#[test]
fn an_entry_that_is_cut_off_is_refused_by_grub() -> Result<()> {
    let built = &prepared()?.built;
    let whole = fs::read(&built.entry).context(|| "cannot read the entry")?;
    let path = built.entry.with_file_name("cut-entry.elf");
    fs::write(&path, &whole[..whole.len() / 2]).context(|| "cannot write the cut entry")?;
    let volume = Volume::new(NODE)?.artifacts(Artifacts { entry: path, ..built.clone() });
    let mut node = node::power_on_from_cd(&volume, |qemu| qemu.firmware(Firmware::Bios))?;
    node.wait_for(&["you need to load the kernel first"]).map(drop)
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
fn a_processor_without_64_bit_mode_is_refused_by_grub_and_by_the_entry() -> Result<()> {
    let shape = |qemu: Qemu| qemu.cpu("qemu32").firmware(Firmware::Bios);
    stops(node::power_on_from_cd(&Volume::new(NODE)?, shape)?, "64-bit mode")?;
    // Where GRUB does not ask, the entry does.
    let volume = Volume::new(NODE)?.edit_iso("if ! cpuid -l;", "if [ '' = x ];");
    stops(node::power_on_from_cd(&volume, shape)?, "64-bit mode (CPUID 0x80000001)")
}

#[test]
fn files_that_grub_does_not_find_or_that_are_cut_off_fail_their_vms_and_a_wrong_line_is_told() -> Result<()> {
    // What FAT's names can hold, and GRUB's script or its command lines could trip over.
    const ODD: &str = "it's a = $1 & {é;#} [x] ~ü^%.bin";
    let vm = |name: &str, file: &str| {
        format!("[[vm]]\nname = \"{name}\"\nmemory = \"32M\"\nkernel = \"{file}\"\n\n")
    };
    let config = "[node]\nname = \"n1\"\nspeed = 9\n\n".to_string()
        + &vm("gone", "gone.bin")
        + &vm("cut", "cut.bin")
        + &vm("odd", ODD);
    let kernel = prepared()?.debian.kernel();
    let kernel = fs::read(&kernel).context(|| format!("cannot read {}", kernel.display()))?;
    let volume = Volume::new(config)?
        .file("gone.bin", [1])
        .file("cut.bin", &kernel[..600])
        .file(ODD, &kernel[..1200])
        .edit_iso("'/gone.bin' 'gone.bin'", "'/gone.old' 'gone.bin'");
    let mut node = node::power_on_from_cd(&volume, |qemu| qemu.firmware(Firmware::Bios))?;
    let boot = node.wait_for_prompt()?;
    if !boot.contains("gone.old' not found") || !boot.contains("gone.bin: no module has this name") {
        return Err(Failure::new(format!("neither GRUB nor the entry says so:\n{boot}")));
    }
    if !boot.contains(&format!("boot: {ODD}: 2 KiB")) {
        return Err(Failure::new(format!("the file with the odd name is not found:\n{boot}")));
    }
    for (vm, file) in [("gone", "gone.bin"), ("cut", "cut.bin")] {
        let row = node.wait_for_state(vm, "failed")?.join(" ");
        if !row.contains(file) {
            return Err(Failure::new(format!("{vm} does not name {file}: {row}")));
        }
    }
    node.expect("log", "purevisor.toml:3: ")?;
    node.power_off()
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
