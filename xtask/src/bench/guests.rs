//! The benchmark's guests, built, and the boot volumes with which they run.
use crate::artifacts::{self, Artifacts};
use crate::failure::{Context, Failure, Result};
use crate::image::{self, Contents};
use crate::initramfs::Initramfs;
use crate::rig::Medium;
use crate::setup::guest::Guest;
use crate::{debian, workspace};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

/// The guest VM's name.
pub(super) const NAME: &str = "bench";

/// Linux as the peers' figures were taken with it.
pub(super) const CMDLINE: &str = "console=ttyS0 panic=-1 quiet iomem=relaxed nox2apic";

/// Modules in the initramfs.
const MODULES: [&str; 10] = [
    "irqbypass",
    "virtio_ring",
    "virtio",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "virtio_mmio",
    "virtio_blk",
    "net_failover",
    "virtio_net",
];

/// The guest's first program. For a boot it does what the guest did with which the peers were measured:
/// installs busybox's programs, mounts, counts its processors and memory, tells, and ends.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp /bin /sbin
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev 2>/dev/null
read up _ < /proc/uptime
run=boot
for a in $(cat /proc/cmdline); do case $a in run=*) run=${a#run=};; esac; done
cpus=$(grep -c ^processor /proc/cpuinfo)
mem=$(grep MemTotal /proc/meminfo | tr -s ' ' | cut -d' ' -f2)
echo "GUEST-MARKER up=$up run=$run cpus=$cpus mem=${mem}kB"
case $run in
exits) /bench-linux;;
disk:*)
  for m in $(cat /modules/order 2>/dev/null); do insmod /modules/$m.ko; done
  until [ -b ${run#disk:} ]; do sleep 0.1; done
  # As it is typed, without its echo: what is read is what the program says.
  stty -echo; /bench-linux disk ${run#disk:};;
net:*|listen:*)
  for m in $(cat /modules/order 2>/dev/null); do insmod /modules/$m.ko; done
  # Its address with the prefix's length, and the one to talk with or to listen at.
  set -- $(echo ${run#*:} | tr , ' ')
  until [ -d /sys/class/net/eth0 ]; do sleep 0.1; done
  ip link set lo up; ip addr add $1 dev eth0; ip link set eth0 up
  case $run in
  net:*) stty -echo; /bench-linux net $2;;
  *) /bench-linux listen $2;;
  esac;;
stay) while :; do sleep 1000; done;;
esac
sync; poweroff -f
"#;

/// The guest without an operating system, on the node's console.
pub(super) fn bare(built: &Artifacts) -> Result<Medium> {
    Volume::with_bare()?.write(built, &bare_config())
}

/// The same on a CD, for the machine with VT-x.
pub(super) fn bare_iso(built: &Artifacts) -> Result<PathBuf> {
    Volume::with_bare()?.write_iso(built, &bare_config())
}

fn bare_config() -> String {
    format!("{ATTACHED}[[vm]]\nname = \"{NAME}\"\nmemory = \"256M\"\nkernel = \"kernel.elf\"\n")
}

/// The Linux guest whose program measures, on the node's console.
pub(super) fn linux(built: &Artifacts, guest: &Guest) -> Result<Medium> {
    linux_volume(built, guest, "linux", ATTACHED, "exits")
}

/// The Linux guest that only boots and powers off; the node's console stays with the node.
pub(super) fn boot(built: &Artifacts, guest: &Guest) -> Result<Medium> {
    linux_volume(built, guest, "boot", "", "boot")
}

pub(super) const ATTACHED: &str = "[node]\non_idle = \"poweroff\"\n[console]\nattach = \"bench\"\n";

fn linux_volume(built: &Artifacts, guest: &Guest, name: &str, head: &str, run: &str) -> Result<Medium> {
    let volume = Volume::with_linux(name, guest)?;
    volume.write(built, &format!("{head}{}", linux_vm(NAME, 1, "256M", run)))
}

/// What a guest has the machine's NVMe drive on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DiskBus {
    VirtioBlk,
    VirtioScsi,
}

impl DiskBus {
    /// As `purevisor.toml` spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::VirtioBlk => "virtio-blk",
            Self::VirtioScsi => "virtio-scsi",
        }
    }
}

/// A Linux guest that uses the machine's NVMe drive, on the node's console.
pub(super) fn with_disk(built: &Artifacts, guest: &Guest, bus: DiskBus) -> Result<Medium> {
    let (device, drivers): (_, &[_]) = match bus {
        DiskBus::VirtioBlk => ("/dev/vda", &["virtio_pci", "virtio_blk"]),
        DiskBus::VirtioScsi => ("/dev/sda", &["virtio_pci", "virtio_scsi", "sd_mod"]),
    };
    let name = bus.name();
    let volume = Volume::with_linux_and(name, guest, drivers)?;
    let vm = linux_vm(NAME, 1, "256M", &format!("disk:{device}"));
    volume.write(built, &format!("{ATTACHED}{vm}disks = [{{ source = \"nvme0n1\", bus = \"{name}\" }}]\n"))
}

/// The same Linux without a hypervisor.
pub(super) fn linux_itself(guest: &Guest, run: &str) -> Result<Medium> {
    let volume = Volume::with_linux("linux-itself", guest)?;
    Ok(volume.linux(format!("{CMDLINE} run={run}")))
}

/// A Debian whose root file system is on the machine's NVMe drive, on the node's console.
pub(super) fn debian(built: &Artifacts, guest: &Guest) -> Result<Medium> {
    let volume = Volume::with_debian("debian", guest)?;
    let cmdline = "console=ttyS0 quiet root=/dev/vda";
    let vm = format!(
        "[[vm]]\nname = \"{NAME}\"\nmemory = \"256M\"\nkernel = \"vmlinuz\"\ninitrd = \"initrd.img\"\n\
         cmdline = \"{cmdline}\"\ndisks = [{{ source = \"nvme0n1\" }}]\n"
    );
    volume.write(built, &format!("{ATTACHED}{vm}"))
}

/// The same Debian without a hypervisor.
pub(super) fn debian_itself(guest: &Guest) -> Result<Medium> {
    let volume = Volume::with_debian("debian-itself", guest)?;
    Ok(volume.linux("console=ttyS0 quiet root=/dev/nvme0n1".into()))
}

/// A node whose configuration is empty.
pub(super) fn none(built: &Artifacts) -> Result<Medium> {
    Volume::new("none")?.write(built, "")
}

/// A node with this many Linux VMs of 4 vCPUs that go on running.
pub(super) fn many(built: &Artifacts, guest: &Guest, count: usize) -> Result<Medium> {
    let volume = Volume::with_linux(&format!("many-{count}"), guest)?;
    let vms: String = (0..count).map(|n| linux_vm(&format!("{NAME}{n}"), 4, "128M", "stay")).collect();
    volume.write(built, &vms)
}

/// A VM with what [`Volume::with_linux`] puts there; more keys may follow.
pub(super) fn linux_vm(name: &str, vcpus: u32, memory: &str, run: &str) -> String {
    format!(
        "[[vm]]\nname = \"{name}\"\nvcpus = {vcpus}\nmemory = \"{memory}\"\nkernel = \"vmlinuz\"\n\
         initrd = \"initrd.img\"\ncmdline = \"{CMDLINE} run={run}\"\n"
    )
}

/// A folder in which a configuration and its files come together.
pub(super) struct Volume(PathBuf);

impl Volume {
    /// An empty one.
    pub fn new(name: &str) -> Result<Self> {
        workspace::target_folder(&format!("bench/{name}")).map(Self)
    }

    /// With the program that runs without an operating system.
    fn with_bare() -> Result<Self> {
        let program = artifacts::build_with("bench-bare", "x86_64-unknown-none", "image", &[])?;
        let volume = Self::new("bare")?;
        volume.copy("kernel.elf", &program)?;
        Ok(volume)
    }

    /// With the guest's kernel and an initramfs that can do all that [`INIT`] knows.
    fn with_linux(name: &str, guest: &Guest) -> Result<Self> {
        Self::with_linux_and(name, guest, &[])
    }

    /// Likewise; [`INIT`] can also load these drivers.
    pub fn with_linux_and(name: &str, guest: &Guest, drivers: &[&str]) -> Result<Self> {
        let program = artifacts::build_for_guests("bench-linux")?;
        let volume = Self::new(name)?;
        let mut initramfs = Initramfs::busybox(guest, INIT)?;
        initramfs.file("bench-linux", 0o755, &read(&program)?);
        // As the peers' guest had them, and any guest with a disk or network has: unpacked, not loaded.
        for module in MODULES {
            initramfs.file(&format!("m/{module}.ko"), 0o644, &guest.module(module)?);
        }
        if !drivers.is_empty() {
            initramfs.modules(&guest.modules(drivers)?);
        }
        volume.put("initrd.img", &compressed(&initramfs.finish())?)?;
        volume.copy("vmlinuz", &guest.kernel())?;
        Ok(volume)
    }

    /// With the guest's kernel and the initramfs that goes on to a root file system.
    fn with_debian(name: &str, guest: &Guest) -> Result<Self> {
        let volume = Self::new(name)?;
        volume.put("initrd.img", &debian::initrd(guest)?)?;
        volume.copy("vmlinuz", &guest.kernel())?;
        Ok(volume)
    }

    /// Its Linux for a machine without a hypervisor.
    pub fn linux(&self, cmdline: String) -> Medium {
        Medium::Linux { kernel: self.path("vmlinuz"), initrd: self.path("initrd.img"), cmdline }
    }

    /// Where its file of this name is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Adds a file.
    pub fn put(&self, name: &str, content: &[u8]) -> Result<()> {
        let path = self.path(name);
        fs::write(&path, content).context(|| format!("cannot write {}", path.display()))
    }

    fn copy(&self, name: &str, from: &Path) -> Result<()> {
        self.put(name, &read(from)?)
    }

    /// The image with this configuration.
    pub fn write(&self, built: &Artifacts, config: &str) -> Result<Medium> {
        image::write(&self.contents(config)?, built, &self.0).map(|image| Medium::Disk(image.disk))
    }

    fn write_iso(&self, built: &Artifacts, config: &str) -> Result<PathBuf> {
        image::iso::write(&self.contents(config)?, built, &self.0)
    }

    fn contents(&self, config: &str) -> Result<Contents> {
        self.put("purevisor.toml", config.as_bytes())?;
        Contents::of(&self.0.join("purevisor.toml"))
    }
}

/// As gzip does it at its fastest, with which the peers' guest was compressed: unpacking is a part of the boot.
fn compressed(archive: &[u8]) -> Result<Vec<u8>> {
    let mut gzip = Command::new("gzip");
    gzip.args(["-1", "--no-name"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut gzip = gzip.spawn().context(|| "cannot call gzip")?;
    let mut input = gzip.stdin.take().ok_or_else(|| Failure::new("gzip takes no input"))?;
    let output = thread::scope(|scope| {
        scope.spawn(move || input.write_all(archive));
        gzip.wait_with_output()
    });
    let output = output.context(|| "cannot call gzip")?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(Failure::new(format!("gzip ended with {}", output.status))),
    }
}

/// A file's bytes.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mgmt::config::Config;

    #[test]
    fn gzip_packs_so_that_it_can_be_unpacked() {
        let archive: Vec<u8> = (0..1_000_000u32).map(|n| (n / 1000) as u8).collect();
        let packed = compressed(&archive).unwrap();
        assert!(packed.len() < archive.len() / 10 && packed.starts_with(&[0x1f, 0x8b]), "{}", packed.len());
        let path = workspace::target_folder("bench").unwrap().join("gzip-test.gz");
        fs::write(&path, packed).unwrap();
        let unpacked = Command::new("gzip").args(["--decompress", "--stdout"]).arg(&path).output().unwrap();
        fs::remove_file(&path).unwrap();
        assert!(unpacked.stdout == archive);
    }

    #[test]
    fn the_configurations_have_no_mistakes() {
        let linux = format!("{ATTACHED}{}", linux_vm(NAME, 1, "256M", "exits"));
        let many: String = (0..9).map(|n| linux_vm(&format!("{NAME}{n}"), 4, "128M", "stay")).collect();
        for (text, vms) in [(bare_config(), 1), (linux, 1), (many, 9)] {
            let parsed = Config::parse(text.as_bytes());
            assert_eq!(parsed.problems, []);
            assert_eq!(parsed.config.vms.len(), vms);
        }
    }
}
