//! `[[vm]]`: one virtual machine. Any problem leaves the VM out: half of what was asked for may be
//! worse than nothing.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use super::disk::{self, DiskConfig};
use super::nic::{self, NicConfig};
use super::references::Candidate;
use super::section::Section;
use super::value;

/// Most vCPUs of a VM.
pub const MAX_VCPUS: u32 = 16;

/// A virtual machine, as the operator wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmConfig {
    /// Its name, unique on the node.
    pub name: String,
    /// Number of virtual CPUs, 1 to [`MAX_VCPUS`]. Default 1.
    pub vcpus: u32,
    /// Memory in bytes: a multiple of 1 MiB, at least 16 MiB.
    pub memory: u64,
    /// Path of the kernel (Linux `bzImage` or ELF with a PVH note) on the boot volume.
    pub kernel: String,
    /// Path of the initial ramdisk on the boot volume.
    pub initrd: Option<String>,
    /// The kernel's command line. Default empty.
    pub cmdline: String,
    /// Whether the VM starts with the node. Default true.
    pub autostart: bool,
    /// Share of CPU time against other VMs, 1 to 10000. Default 100.
    pub weight: u32,
    /// Most CPU time of all its vCPUs together, in percent of one physical CPU; `None`: no limit.
    pub cap: Option<u32>,
    /// Physical CPUs that may run it, ascending; `None`: all. Whether they exist only the kernel knows.
    pub affinity: Option<Vec<u32>>,
    /// What happens when it stops. Default [`Restart::Never`].
    pub restart: Restart,
    /// Its disks, in the order in which the guest finds them.
    pub disks: Vec<DiskConfig>,
    /// Its network cards, in the order in which the guest finds them.
    pub nics: Vec<NicConfig>,
    /// Whether its guest can give memory back (virtio-balloon). Default true.
    pub balloon: bool,
    /// Whether memory that its guest does not use goes back to the node by itself. Default false.
    pub return_free_memory: bool,
    /// Whether it has a virtio-rng: random numbers of the machine's. Default true.
    pub rng: bool,
    /// Whether it has a virtio-console, Linux's `hvc0`, beside its serial port. Default false.
    pub virtio_console: bool,
}

/// What happens when a VM stops without the operator's doing. A reboot that the guest asks for always
/// restarts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// `"never"`: it stays off.
    Never,
    /// `"on-crash"`: started again after a triple fault or another failure, not after it powered off.
    OnCrash,
    /// `"always"`: started again whatever stopped it.
    Always,
}

const RESTART: [(&str, Restart); 3] =
    [("never", Restart::Never), ("on-crash", Restart::OnCrash), ("always", Restart::Always)];

impl fmt::Display for Restart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Never => "never",
            Self::OnCrash => "on-crash",
            Self::Always => "always",
        })
    }
}

/// A `[[vm]]` that was read.
pub(super) struct Read {
    /// Its name, if that at least is sound.
    pub name: Option<String>,
    /// The VM, if all of it is sound.
    pub vm: Option<Candidate>,
}

impl VmConfig {
    pub(super) fn read(mut section: Section<'_, '_>) -> Read {
        let name = section.required("name", value::name);
        let some = section.has("vcpus");
        let vcpus = section.optional("vcpus", value::integer(1..=MAX_VCPUS)).or((!some).then_some(1));
        let memory = section.required("memory", value::memory);
        let kernel = section.required("kernel", value::path);
        let initrd = section.optional("initrd", value::path);
        let cmdline = section.optional("cmdline", value::cmdline).unwrap_or_default();
        let autostart = section.optional("autostart", value::boolean).unwrap_or(true);
        let weight = section.optional("weight", value::integer(1..=10_000)).unwrap_or(100);
        let cap = section.optional("cap", value::integer(1..=100 * MAX_VCPUS));
        let affinity = section.optional("affinity", value::cpus);
        let restart = section.optional("restart", value::word(&RESTART)).unwrap_or(Restart::Never);
        let disks = disk::read(&mut section);
        let nics = nic::read(&mut section, vcpus);
        let balloon = section.optional("balloon", value::boolean).unwrap_or(true);
        let return_free_memory = section.optional("return_free_memory", value::boolean).unwrap_or(false);
        let rng = section.optional("rng", value::boolean).unwrap_or(true);
        let virtio_console = section.optional("virtio_console", value::boolean).unwrap_or(false);
        if return_free_memory && !balloon {
            section.conflict(
                "return_free_memory = true with balloon = false; allowed: it needs the balloon".to_string(),
            );
        }
        if let (Some(cap), Some(vcpus)) = (cap, vcpus)
            && cap > 100 * vcpus
        {
            section.conflict(format!(
                "cap = {cap} is more than vcpus = {vcpus} can use; allowed: percent of one CPU, at most {}",
                100 * vcpus
            ));
        }
        let sound = section.finish();
        let vm = match (sound, name.clone(), vcpus, memory, kernel) {
            (true, Some(name), Some(vcpus), Some(memory), Some(kernel)) => Some(Self {
                name,
                vcpus,
                memory,
                kernel,
                initrd,
                cmdline,
                autostart,
                weight,
                cap,
                affinity,
                restart,
                disks,
                nics: Vec::new(),
                balloon,
                return_free_memory,
                rng,
                virtio_console,
            }),
            _ => None,
        };
        Read { name, vm: vm.map(|vm| Candidate { vm, nics }) }
    }
}
