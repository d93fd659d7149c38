//! The machines that a test runs on.
use crate::PATIENCE;
use payload::Emulator;
use std::time::Duration;

/// A machine that PureVisor starts on, and with it the back end that its VMs get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rig {
    /// QEMU: AMD-V, UEFI; 2 processors, 1 GiB.
    Qemu,
    /// QEMU, whose 3 processors really run in parallel; VMs must keep off the first (see [`xtask::rig`]).
    QemuInParallel,
    /// Bochs: VT-x, BIOS and GRUB; so many processors, 512 MiB. The hypervisor injects interrupts.
    Bochs {
        /// 1 or 2.
        cpus: u32,
    },
    /// Bochs with 2 processors that deliver interrupts to guests by themselves: for guests that Bochs' mistake
    /// in this does not hurt ([`xtask::rig::bochs`]).
    BochsDelivers,
}

impl Rig {
    /// What executes the back end's instructions.
    pub fn emulator(self) -> Emulator {
        match self {
            Self::Qemu | Self::QemuInParallel => Emulator::Qemu,
            Self::Bochs { .. } | Self::BochsDelivers => Emulator::Bochs,
        }
    }

    /// How long a text may take that comes within seconds on an idle machine.
    pub fn patience(self) -> Duration {
        match self {
            Self::Qemu | Self::QemuInParallel => PATIENCE,
            // Nothing is translated: some 70 million instructions a second, for all processors together.
            Self::Bochs { .. } | Self::BochsDelivers => 4 * PATIENCE,
        }
    }

    /// The clock that Linux takes: the TSC where CPUID says that it is invariant, else the hypervisor's.
    pub fn guest_clock(self) -> &'static str {
        match self {
            Self::Qemu | Self::QemuInParallel => "kvm-clock",
            Self::Bochs { .. } | Self::BochsDelivers => "tsc",
        }
    }

    /// Words for the command line of a Debian guest, with a space before them. On its way to the first program
    /// Linux tests its own ciphers, which is half of its boot where instructions are counted out one by one. In
    /// QEMU it does so, with vector registers and through many exits, as one test of ours more.
    pub fn linux_words(self) -> &'static str {
        match self {
            Self::Qemu | Self::QemuInParallel => "",
            Self::Bochs { .. } | Self::BochsDelivers => " cryptomgr.notests",
        }
    }

    /// What a VM's section needs to run here.
    pub fn vm_lines(self) -> &'static str {
        match self {
            Self::QemuInParallel => "affinity = [1, 2]",
            Self::Qemu | Self::Bochs { .. } | Self::BochsDelivers => "",
        }
    }
}
