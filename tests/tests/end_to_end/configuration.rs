//! Configurations and boot files that are not as they should be.
use crate::debian;
use tests::node;
use tests::volume::Volume;
use xtask::failure::{Failure, Result};

#[test]
fn wrong_lines_are_told_by_file_and_line_while_the_other_vm_runs() -> Result<()> {
    let config = "[node]\nname = \"n1\"\nspeed = 9\n\n".to_string()
        + &debian("good", 1, 96, "", "")
        + "[[vm]]\nname = \"bad-memory\"\nmemory = \"lots\"\nkernel = \"vmlinuz\"\n\n\
           [[vm]]\nname = \"bad-type\"\nmemory = \"64M\"\nkernel = \"vmlinuz\"\nvcpus = \"two\"\n";
    let lines = |text: &str| 1 + config.lines().position(|line| line.starts_with(text)).unwrap_or_default();
    let told = [
        (lines("speed"), "speed"),
        (lines("memory = \"lots\""), "memory"),
        (lines("vcpus = \"two\""), "vcpus"),
    ];
    let mut node = node::boot(&Volume::new(&*config)?)?;
    node.attach("good")?;
    node.wait_for_shell()?;
    node.detach()?;
    let log = node.command("log")?;
    for (line, what) in told {
        let place = format!("purevisor.toml:{line}: ");
        let said = log.lines().find(|text| text.contains(&place));
        if !said.is_some_and(|text| text.contains(what) && text.contains("allowed: ")) {
            return Err(Failure::new(format!("nothing is said of {what} in line {line}:\n{log}")));
        }
    }
    let list = node.command("vm list")?;
    if !list.contains("good") || list.contains("bad-") {
        return Err(Failure::new(format!("the list of VMs is:\n{list}")));
    }
    node.power_off()
}

#[test]
fn a_vm_whose_files_are_cut_off_or_random_fails_with_the_reason_and_others_run() -> Result<()> {
    // Large enough for Debian's kernel, not for the initrd beside it.
    let vm = |name: &str, kernel: &str, initrd: &str| {
        format!(
            "[[vm]]\nname = \"{name}\"\nmemory = \"80M\"\nkernel = \"{kernel}\"\n{initrd}\
             cmdline = \"console=ttyS0 panic=-1\"\n\n"
        )
    };
    let config = "[node]\nname = \"n1\"\n\n".to_string()
        + &vm("empty", "empty.bin", "")
        + &vm("random", "random.bin", "")
        + &vm("cut", "cut.bin", "")
        + &vm("cut-elf", "cut.elf", "")
        + &vm("big-initrd", "vmlinuz", "initrd = \"big.bin\"\n")
        + &debian("good", 1, 96, "", "");
    let prepared = tests::prepared::prepared()?;
    let read = |path| std::fs::read(path).map_err(|error| Failure::new(error.to_string()));
    let kernel = read(prepared.debian.kernel())?;
    let payload = read(prepared.payload.clone())?;
    let mut state = 7u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8
    };
    let volume = Volume::new(config)?
        .file("empty.bin", [])
        .file("random.bin", (0..50_000).map(|_| random()).collect::<Vec<u8>>())
        .file("cut.bin", &kernel[..600])
        .file("cut.elf", &payload[..payload.len() / 3])
        .file("big.bin", vec![0x55; 70 << 20]);
    let mut node = node::boot(&volume)?;
    node.attach("good")?;
    node.wait_for_shell()?;
    node.detach()?;
    for (vm, file) in [
        ("empty", "empty.bin"),
        ("random", "random.bin"),
        ("cut", "cut.bin"),
        ("cut-elf", "cut.elf"),
        ("big-initrd", "big.bin"),
    ] {
        let row = node.wait_for_state(vm, "failed")?.join(" ");
        if !row.contains(file) {
            return Err(Failure::new(format!("{vm} does not name {file}: {row}")));
        }
    }
    node.power_off()
}

#[test]
fn a_file_that_memory_has_no_room_for_fails_its_vm_with_the_reason() -> Result<()> {
    let vm = "[[vm]]\nname = \"big\"\nmemory = \"16M\"\nkernel = \"big.bin\"\n";
    let volume = Volume::new(crate::NODE.to_string() + vm)?.file("big.bin", vec![0; 60 << 20]);
    let mut node = node::power_on(&volume, |qemu| qemu.memory_mib(96))?;
    let boot = node.wait_for_prompt()?;
    if !boot.contains("big.bin: no memory for its 60 MiB") {
        return Err(Failure::new(format!("the loader does not say so:\n{boot}")));
    }
    let row = node.wait_for_state("big", "failed")?.join(" ");
    if !row.contains("big.bin") {
        return Err(Failure::new(format!("the reason is: {row}")));
    }
    node.power_off()
}
