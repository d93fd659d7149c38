//! `cargo xtask run`: from a checkout to PureVisor's console.
use crate::args::Args;
use crate::failure::{Context, Failure, Result};
use crate::image::{self, Contents};
use crate::initramfs::{DHCP_SCRIPT, Initramfs};
use crate::progress::say;
use crate::rig::{Bochs, Machine, Medium, Qemu, bochs};
use crate::setup::guest::Guest;
use crate::{artifacts, setup, workspace};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The configuration that is run unless another one is named.
fn configuration(guest_memory: &str) -> String {
    format!(
        r#"# What 'cargo xtask run' starts; written anew by each run.
[node]
name = "n1"
address = "dhcp"

[[network]]
name = "lan"
uplink = "eth0"

[[vm]]
name = "debian"
vcpus = 2
memory = "{guest_memory}"
kernel = "vmlinuz"
initrd = "initrd.img"
cmdline = "console=ttyS0"
nics = [{{ network = "lan" }}]
autostart = true
"#
    )
}

/// QEMU's network of its own, behind the host's, with a DHCP server; the machine's card on it.
const CARD: [&str; 4] =
    ["-netdev", "user,id=world", "-device", "virtio-net-pci,disable-legacy=on,netdev=world"];

/// The guest's first program: a shell on the console, and power-off after it. An address is asked for meanwhile.
const INIT: &str = "#!/bin/sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in $(cat /modules/order); do insmod /modules/$module.ko; done
hostname debian
ip link set lo up
ip link set eth0 up && udhcpc -i eth0 -s /etc/dhcp -b -q >/dev/null 2>&1 &
echo
echo \"Debian's kernel $(uname -r) on $(grep -c ^processor /proc/cpuinfo) CPUs,\" \\
  \"$(awk '/MemTotal/ { print int($2 / 1024) }' /proc/meminfo) MiB; 'exit' powers the VM off.\"
cd /root
setsid cttyhack sh
poweroff -f
";

/// The machine that is asked for.
enum Rig {
    Qemu { machine: Machine, cpus: u32, memory_mib: u64, cpu: String, more: Vec<String> },
    Bochs { cpus: u32 },
}

impl Rig {
    /// From all options that are left.
    fn of(mut args: Args) -> Result<Self> {
        let machine = args.parsed("--machine", "one of q35, pc")?;
        let memory_mib = args.parsed("--memory", "a number of MiB")?;
        let cpu = args.value("--cpu")?;
        let cpus: Option<u32> = args.parsed("--smp", "a number of processors")?;
        match args.value("--rig")?.as_deref() {
            None | Some("qemu") => Ok(Self::Qemu {
                machine: machine.unwrap_or(Machine::Q35),
                cpus: cpus.unwrap_or(2),
                memory_mib: memory_mib.unwrap_or(2048),
                cpu: cpu.unwrap_or_else(|| "max".into()),
                more: args.finish()?,
            }),
            Some("bochs") => {
                let given = [
                    ("--machine", machine.is_some()),
                    ("--memory", memory_mib.is_some()),
                    ("--cpu", cpu.is_some()),
                    ("what follows --", !args.finish()?.is_empty()),
                ];
                if let Some((option, _)) = given.into_iter().find(|(_, given)| *given) {
                    let memory = bochs::MEMORY_MIB;
                    return Err(Failure::new(format!(
                        "{option} is for QEMU only; the machine in Bochs has {memory} MiB and a Skylake, leave it out"
                    )));
                }
                let (cpus, most) = (cpus.unwrap_or(2), bochs::MOST_CPUS);
                if !(1..=most).contains(&cpus) {
                    return Err(Failure::new(format!(
                        "--smp {cpus}: the machine in Bochs has 1 to {most} processors"
                    )));
                }
                Ok(Self::Bochs { cpus })
            }
            Some(other) => Err(Failure::new(format!("--rig {other}: not one of qemu, bochs"))),
        }
    }

    /// How much memory a guest can have.
    fn guest_memory(&self) -> &'static str {
        match self {
            Self::Qemu { .. } => "512M",
            Self::Bochs { .. } => "256M",
        }
    }
}

/// The command.
pub fn command(mut args: Args) -> Result<ExitCode> {
    let config = args.value("--config")?.map(PathBuf::from);
    let rig = Rig::of(args)?;
    // Another configuration is looked at before the minutes that set-up and build may take.
    let named = config.as_deref().map(Contents::of).transpose()?;
    let guest = setup::everything()?;
    let folder = workspace::target_folder("run")?;
    let contents = match named {
        Some(contents) => contents,
        None => Contents::of(&default_configuration(&guest, rig.guest_memory(), &folder)?)?,
    };
    let built = artifacts::build()?;
    let medium = match rig {
        Rig::Qemu { .. } => image::write(&contents, &built, &folder)?.disk,
        Rig::Bochs { .. } => image::iso::write(&contents, &built, &folder)?,
    };
    say(
        "the console of the node is this terminal; Ctrl-A X ends the machine at once, 'poweroff' in good order",
    );
    if config.is_none() {
        say("the VM's console: 'vm console debian', back by Ctrl-]; 'help' shows all commands");
    }
    match rig {
        Rig::Qemu { machine, cpus, memory_mib, cpu, more } => {
            let qemu = Qemu::new(Medium::Disk(medium)).machine(machine).cpu(cpu).cpus(cpus);
            let status = qemu.memory_mib(memory_mib).may_reboot().args(CARD).args(more).run_in_terminal()?;
            if !status.success() {
                return Err(Failure::new(format!("QEMU ended with {status}")));
            }
        }
        Rig::Bochs { cpus } => {
            say("Bochs needs some seconds to PureVisor's first line, and is some 30 times slower than QEMU");
            Bochs::new(medium).cpus(cpus).paced().run_in_terminal()?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the default configuration and its files into `folder`.
fn default_configuration(guest: &Guest, guest_memory: &str, folder: &Path) -> Result<PathBuf> {
    let put = |name: &str, content: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, content).context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    };
    let mut initrd = Initramfs::busybox(guest, INIT)?;
    initrd.modules(&guest.modules(&["virtio_pci", "virtio_net"])?);
    initrd.file("etc/dhcp", 0o755, DHCP_SCRIPT.as_bytes());
    put("initrd.img", &initrd.finish())?;
    let kernel = guest.kernel();
    put("vmlinuz", &fs::read(&kernel).context(|| format!("cannot read {}", kernel.display()))?)?;
    put("purevisor.toml", configuration(guest_memory).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_configuration_has_no_mistakes() {
        let parsed = mgmt::config::Config::parse(configuration("256M").as_bytes());
        assert_eq!(parsed.problems, []);
        assert_eq!(parsed.config.files(), ["vmlinuz", "initrd.img"]);
    }

    fn rig(line: &str) -> Result<Rig> {
        Rig::of(Args::new(line.split_whitespace().map(String::from)))
    }

    #[test]
    fn qemu_is_what_is_meant_unless_bochs_is_named() {
        let Ok(Rig::Qemu { cpus: 4, memory_mib: 2048, more, .. }) = rig("--smp 4 -- -S") else { panic!() };
        assert_eq!(more, ["-S"]);
        assert!(matches!(rig("--rig qemu --memory 512"), Ok(Rig::Qemu { memory_mib: 512, .. })));
        assert!(matches!(rig("--rig bochs"), Ok(Rig::Bochs { cpus: 2 })));
        assert!(matches!(rig("--rig bochs --smp 1"), Ok(Rig::Bochs { cpus: 1 })));
    }

    #[test]
    fn what_bochs_does_not_have_is_refused() {
        for (line, expected) in [
            ("--rig bochs --memory 1024", "--memory is for QEMU only"),
            ("--rig bochs --cpu EPYC", "--cpu is"),
            ("--rig=bochs --machine pc", "--machine is"),
            ("--rig bochs -- -S", "what follows -- is"),
            ("--rig bochs --smp 3", "1 to 2 processors"),
            ("--rig bochs --smp 0", "1 to 2 processors"),
            ("--rig xen", "not one of qemu, bochs"),
            ("--rig bochs --fast", "'--fast' is not known"),
        ] {
            let error = rig(line).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
