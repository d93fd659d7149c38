//! PureVisor as a whole, in emulated machines.
//!
//! | module | what it shows |
//! |---|---|
//! | `machines` | chipsets, processor models and counts, amounts of memory, a disk as the medium, restarts of the node |
//! | `without_vms` | CPUs that cannot run VMs, or that firmware keeps from it |
//! | `loader` | what is said on the way to a node that cannot be started |
//! | `configuration` | wrong lines in purevisor.toml, files that are no kernels, the other VMs |
//! | `disks` | guests' disks: data on the host's image, parts, copies of files, refusals, drives that are pulled out |
//! | `devices` | guests' other virtio devices: random numbers, a second terminal |
//! | `debian` | a Debian on a disk: log-in, what it wrote after restarts and a loss of power, all queues verified by fio |
//! | `scsi` | what sg3-utils and Linux find of virtio-scsi |
//! | `faults` | drives that fail, or hold commands, while a guest uses them; and go on when that is over |
//! | `memory` | memory that guests give back, and touch again |
//! | `networks` | guests among each other, on one node and on two, and with the world; links that go, VLANs, limits, hostile frames |
//! | `guests` | Debian guests: what they see, how they end, what the operator does to them |
//! | `console` | attaching, history, editing |
//! | `failures` | what the kernel reports of its own mistakes |
//! | `shares` | who gets how much of the CPUs |
//! | `hostile` | guests that do what they should not: the table of `payload`, on this back end |
/// Makes tests of these bodies, functions of the machine that they run on: one for each machine, in a module of
/// its name.
macro_rules! on_each_rig {
    ($($body:ident),* $(,)?) => {
        on_each_rig!(amd_v, tests::rig::Rig::Qemu, $($body)*);
        on_each_rig!(vt_x, tests::rig::Rig::Bochs { cpus: 1 }, $($body)*);
        on_each_rig!(vt_x_that_delivers_interrupts, tests::rig::Rig::BochsDelivers, $($body)*);
    };
    ($machine:ident, $rig:expr, $($body:ident)*) => {
        mod $machine {
            $(
                #[test]
                fn $body() -> xtask::failure::Result<()> {
                    super::$body($rig)
                }
            )*
        }
    };
}

mod configuration;
mod console;
mod debian;
mod devices;
mod disks;
mod failures;
mod faults;
mod guests;
mod hostile;
mod loader;
mod machines;
mod memory;
mod networks;
mod scsi;
mod shares;
mod without_vms;

/// The node's section, which every test begins its configuration with.
const NODE: &str = "[node]\nname = \"n1\"\n\n";

/// A Debian VM that starts with the node. `more` is further lines; `act` what the guest does: see
/// [`tests::guest::INIT`].
fn debian(name: &str, vcpus: u32, memory_mib: u32, act: &str, more: &str) -> String {
    format!(
        "[[vm]]\nname = \"{name}\"\nvcpus = {vcpus}\nmemory = \"{memory_mib}M\"\nkernel = \"vmlinuz\"\n\
         initrd = \"initrd.img\"\ncmdline = \"console=ttyS0 quiet {act}\"\n{more}\n\n"
    )
}
