//! `cargo xtask run`: from a checkout to PureVisor's console.
use crate::args::Args;
use crate::failure::{Context, Failure, Result};
use crate::image::{self, Contents};
use crate::initramfs::Initramfs;
use crate::progress::say;
use crate::rig::{Machine, Medium, Qemu};
use crate::setup::guest::Guest;
use crate::{artifacts, setup, workspace};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The configuration that is run unless another one is named.
const CONFIG: &str = r#"# What 'cargo xtask run' starts; written anew by each run.
[node]
name = "n1"

[[vm]]
name = "debian"
vcpus = 2
memory = "512M"
kernel = "vmlinuz"
initrd = "initrd.img"
cmdline = "console=ttyS0"
autostart = true
"#;

/// The guest's first program: a shell on the console, and power-off after it.
const INIT: &str = "#!/bin/sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
hostname debian
echo
echo \"Debian's kernel $(uname -r) on $(grep -c ^processor /proc/cpuinfo) CPUs,\" \\
  \"$(awk '/MemTotal/ { print int($2 / 1024) }' /proc/meminfo) MiB; 'exit' powers the VM off.\"
cd /root
setsid cttyhack sh
poweroff -f
";

/// The command.
pub fn command(mut args: Args) -> Result<ExitCode> {
    let config = args.value("--config")?.map(PathBuf::from);
    let machine = args.parsed("--machine", "one of q35, pc")?.unwrap_or(Machine::Q35);
    let cpus = args.parsed("--smp", "a number of processors")?.unwrap_or(2);
    let memory = args.parsed("--memory", "a number of MiB")?.unwrap_or(2048);
    let cpu = args.value("--cpu")?.unwrap_or_else(|| "max".into());
    let extra = args.finish()?;
    // Another configuration is looked at before the minutes that set-up and build may take.
    let named = config.as_deref().map(Contents::of).transpose()?;
    let guest = setup::everything()?;
    let folder = workspace::target_folder("run")?;
    let contents = match named {
        Some(contents) => contents,
        None => Contents::of(&default_configuration(&guest, &folder)?)?,
    };
    let image = image::write(&contents, &artifacts::build()?, &folder)?;
    say(
        "the console of the node is this terminal; Ctrl-A X ends the machine at once, 'poweroff' in good order",
    );
    if config.is_none() {
        say("the VM's console: 'vm console debian', back by Ctrl-]; 'help' shows all commands");
    }
    let qemu = Qemu::new(Medium::Disk(image.disk)).machine(machine).cpu(cpu).cpus(cpus).memory_mib(memory);
    let status = qemu.may_reboot().args(extra).run_in_terminal()?;
    if status.success() {
        Ok(ExitCode::SUCCESS)
    } else {
        Err(Failure::new(format!("QEMU ended with {status}")))
    }
}

/// Writes the default configuration and its files into `folder`.
fn default_configuration(guest: &Guest, folder: &Path) -> Result<PathBuf> {
    let put = |name: &str, content: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, content).context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    };
    put("initrd.img", &Initramfs::busybox(guest, INIT)?.finish())?;
    let kernel = guest.kernel();
    put("vmlinuz", &fs::read(&kernel).context(|| format!("cannot read {}", kernel.display()))?)?;
    put("purevisor.toml", CONFIG.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_configuration_has_no_mistakes() {
        let parsed = mgmt::config::Config::parse(CONFIG.as_bytes());
        assert_eq!(parsed.problems, []);
        assert_eq!(parsed.config.files(), ["vmlinuz", "initrd.img"]);
    }
}
