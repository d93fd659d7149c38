//! Every metric: what it is, what is aimed at, and what KVM needs on the same rig (docs/performance.md says
//! how that was measured). A name begins with what it is measured by; `bare` and `linux` are on AMD-V, `vmx` is
//! the guest of `bare` on VT-x.

/// What is measured together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    /// The guest without an operating system.
    Bare,
    /// The same on VT-x.
    Vmx,
    /// The program of a Linux guest.
    Linux,
    /// A Linux guest's boot.
    Boot,
    /// A node without VMs.
    Node,
    /// Nodes with a few VMs and with many.
    PerVm,
    /// A disk on virtio-blk in a VM beside the same without a hypervisor.
    Disk,
    /// The same on virtio-scsi.
    Scsi,
    /// A Debian that boots from a disk.
    DiskBoot,
    /// Instructions of a disk's requests.
    DiskPath,
    /// A network on a virtual card of the machine beside the same without a hypervisor.
    NetVirtio,
    /// The same on Intel's 82540EM,
    NetE1000,
    /// and 82574L.
    NetE1000e,
    /// Two guests beside two of KVM.
    NetGuests,
    /// Instructions of a network's frames.
    NetPath,
    /// Files.
    Image,
    /// The measurement itself; belongs to whatever is measured.
    Rig,
}

/// Which values are good ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Better {
    Lower,
    Higher,
}

impl Better {
    /// As `bench.json` spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lower => "lower",
            Self::Higher => "higher",
        }
    }
}

/// A metric.
#[derive(Debug)]
pub(super) struct Metric {
    pub name: &'static str,
    pub group: Group,
    pub unit: &'static str,
    pub better: Better,
    /// At most this where lower is better, at least this where higher is.
    pub target: Option<f64>,
    /// KVM's figure, where there is one.
    pub kvm: Option<f64>,
    /// What it is, in a few words.
    pub what: &'static str,
}

const INSTRUCTIONS: &str = "instructions";

const fn metric(name: &'static str, group: Group, unit: &'static str, what: &'static str) -> Metric {
    Metric { name, group, unit, better: Better::Lower, target: None, kvm: None, what }
}

/// A rate, or a share of another's.
const fn rate(name: &'static str, group: Group, unit: &'static str, what: &'static str) -> Metric {
    Metric { better: Better::Higher, ..metric(name, group, unit, what) }
}

/// What a guest's disk does, as a part of what Linux does with it without a hypervisor.
const fn disk(name: &'static str, group: Group, what: &'static str) -> Metric {
    Metric { better: Better::Higher, ..metric(name, group, "of Linux", what) }
}

const fn disk_iops(name: &'static str, group: Group, what: &'static str) -> Metric {
    Metric { better: Better::Higher, ..metric(name, group, "IOPS", what) }
}

const fn disk_path(name: &'static str, what: &'static str) -> Metric {
    metric(name, Group::DiskPath, INSTRUCTIONS, what)
}

const fn net_path(name: &'static str, what: &'static str) -> Metric {
    metric(name, Group::NetPath, INSTRUCTIONS, what)
}

const fn disk_exits(name: &'static str, group: Group, what: &'static str) -> Metric {
    metric(name, group, "exits", what)
}

const fn bare(name: &'static str, what: &'static str) -> Metric {
    metric(name, Group::Bare, INSTRUCTIONS, what)
}

const fn vmx(name: &'static str, what: &'static str) -> Metric {
    metric(name, Group::Vmx, INSTRUCTIONS, what)
}

const fn linux(name: &'static str, what: &'static str) -> Metric {
    metric(name, Group::Linux, INSTRUCTIONS, what)
}

impl Metric {
    const fn at_most(self, target: f64) -> Self {
        Self { target: Some(target), ..self }
    }

    const fn at_least(self, target: f64) -> Self {
        Self { target: Some(target), better: Better::Higher, ..self }
    }

    /// Whether a value meets the target, if there is one.
    pub fn is_met(&self, value: f64) -> Option<bool> {
        self.target.map(|target| match self.better {
            Better::Lower => value <= target,
            Better::Higher => value >= target,
        })
    }

    const fn kvm(self, kvm: f64) -> Self {
        Self { kvm: Some(kvm), ..self }
    }

    /// KVM's figure by virtio-blk.
    const fn kvm_blk(self, kvm: f64) -> Self {
        match self.group {
            Group::Disk => self.kvm(kvm),
            _ => self,
        }
    }

    /// A port of a device that KVM has in the kernel, and one that it leaves to a program: 3429 to 4155.
    const fn port_in_kernel(self) -> Self {
        self.kvm(1514.0).at_most(378.0)
    }

    const fn port_in_user_space(self) -> Self {
        self.kvm(3429.0).at_most(857.0)
    }

    const fn uart(self) -> Self {
        self.kvm(3429.0).at_most(900.0)
    }

    const fn lapic(self) -> Self {
        self.kvm(3974.0).at_most(990.0)
    }

    const fn ioapic(self) -> Self {
        self.kvm(4142.0).at_most(1035.0)
    }

    const fn nobody(self) -> Self {
        self.kvm(6149.0).at_most(1537.0)
    }

    const fn self_ipi(self) -> Self {
        self.kvm(9516.0).at_most(2379.0)
    }

    const fn fresh(self) -> Self {
        self.kvm(97.9e6).at_most(24.4e6)
    }
}

/// All metrics in the table's order. The targets of exits are a quarter of KVM's instructions; where KVM
/// was not measured (MSRs) they are those of CPUID, whose path in KVM is the same.
pub(super) fn catalogue() -> impl Iterator<Item = &'static Metric> {
    [EXITS, BLK, SCSI, NET_VIRTIO, NET_E1000, NET_E1000E, NET_GUESTS, OTHERS].into_iter().flatten()
}

const EXITS: &[Metric] = &[
    bare("bare.floor", "two readings of the counter, which all others contain"),
    bare("bare.cpuid", "CPUID").kvm(3130.0).at_most(780.0),
    bare("bare.vmmcall", "VMMCALL of no hypercall").kvm(3350.0).at_most(837.0),
    bare("bare.port_in_nobody", "IN from port 0xed, where nothing is").port_in_user_space(),
    bare("bare.port_out_0x80", "OUT to the POST port").port_in_user_space(),
    bare("bare.port_in_port_b", "IN from port B of the PIT").port_in_kernel(),
    bare("bare.port_in_pic", "IN from the PIC's mask").port_in_kernel(),
    bare("bare.port_in_rtc", "IN from the RTC").port_in_user_space(),
    bare("bare.port_in_pm_timer", "IN from the power management timer").port_in_user_space(),
    bare("bare.uart_read_lsr", "IN from the UART's line status").uart(),
    bare("bare.uart_write_scr", "OUT to the UART's scratch register").uart(),
    bare("bare.msr_read", "RDMSR of IA32_APIC_BASE").at_most(780.0),
    bare("bare.msr_read_table", "RDMSR of IA32_MTRRCAP").at_most(780.0),
    bare("bare.msr_write_tsc_deadline", "WRMSR that arms the timer").at_most(780.0),
    bare("bare.x2apic_read_id", "RDMSR of the x2APIC's ID").at_most(780.0),
    bare("bare.x2apic_write_tpr", "WRMSR to the x2APIC's TPR").at_most(780.0),
    bare("bare.x2apic_write_eoi", "WRMSR to the x2APIC's EOI").at_most(780.0),
    bare("bare.lapic_mmio_read", "read of the local APIC's ID").lapic(),
    bare("bare.lapic_mmio_write_tpr", "write to the local APIC's TPR").lapic(),
    bare("bare.lapic_mmio_write_eoi", "write to the local APIC's EOI").lapic(),
    bare("bare.ioapic_read", "read of the IOAPIC's window").ioapic(),
    bare("bare.ioapic_write", "write to the IOAPIC's selector").ioapic(),
    bare("bare.mmio_read_nobody", "read where no device is").nobody(),
    bare("bare.mmio_write_nobody", "write where no device is").nobody(),
    bare("bare.self_ipi_xapic", "interrupt to itself, handler, EOI: by MMIO").self_ipi(),
    bare("bare.self_ipi_x2apic", "interrupt to itself, handler, EOI: by MSR").self_ipi(),
    bare("bare.self_ipi_register", "interrupt to itself, handler, EOI: by the MSR for it").self_ipi(),
    // 81.0k of which 54.5k are Linux, its 50 us of slack among them.
    bare("bare.halt_1ms_late", "from a deadline to its handler, after HLT").kvm(26_500.0).at_most(6_625.0),
    bare("bare.touch_64mib_first", "first touch of 64 MiB beyond the second").fresh(),
    vmx("vmx.floor", "two readings of the counter, which all others contain"),
    vmx("vmx.cpuid", "CPUID").kvm(1074.0).at_most(400.0),
    vmx("vmx.vmcall", "VMCALL of no hypercall"),
    vmx("vmx.port", "IN from port B of the PIT").kvm(1364.0).at_most(500.0),
    vmx("vmx.uart", "IN from the UART's line status").kvm(8144.0).at_most(600.0),
    vmx("vmx.uart_write_scr", "OUT to the UART's scratch register").kvm(8144.0).at_most(600.0),
    vmx("vmx.port_in_nobody", "IN from port 0xed, where nothing is").kvm(7900.0),
    vmx("vmx.port_out_0x80", "OUT to the POST port").kvm(7900.0),
    vmx("vmx.port_in_pic", "IN from the PIC's mask").kvm(1364.0).at_most(500.0),
    vmx("vmx.port_in_rtc", "IN from the RTC").kvm(7900.0),
    vmx("vmx.port_in_pm_timer", "IN from the power management timer").kvm(7900.0),
    vmx("vmx.msr_read", "RDMSR of IA32_APIC_BASE"),
    vmx("vmx.msr_read_table", "RDMSR of IA32_MTRRCAP"),
    vmx("vmx.msr_write_tsc_deadline", "WRMSR that arms the timer"),
    vmx("vmx.x2apic_read_id", "RDMSR of the x2APIC's ID"),
    vmx("vmx.x2apic_write_tpr", "WRMSR to the x2APIC's TPR"),
    vmx("vmx.x2apic_write_eoi", "WRMSR to the x2APIC's EOI"),
    vmx("vmx.lapic_mmio_read", "read of the local APIC's ID"),
    vmx("vmx.lapic_mmio_write_tpr", "write to the local APIC's TPR"),
    vmx("vmx.lapic_mmio_write_eoi", "write to the local APIC's EOI"),
    vmx("vmx.ioapic_read", "read of the IOAPIC's window"),
    vmx("vmx.ioapic_write", "write to the IOAPIC's selector"),
    vmx("vmx.mmio_read_nobody", "read where no device is"),
    vmx("vmx.mmio_write_nobody", "write where no device is"),
    vmx("vmx.self_ipi_xapic", "interrupt to itself, handler, EOI: by MMIO"),
    vmx("vmx.self_ipi_x2apic", "interrupt to itself, handler, EOI: by MSR"),
    vmx("vmx.self_ipi_register", "interrupt to itself, handler, EOI: by the MSR for it"),
    vmx("vmx.halt_1ms_late", "from a deadline to its handler, after HLT"),
    vmx("vmx.touch_64mib_first", "first touch of 64 MiB beyond the second"),
    linux("linux.floor", "two readings of the counter, which all others contain"),
    linux("linux.cpuid", "CPUID").kvm(3130.0).at_most(780.0),
    linux("linux.vmmcall", "VMMCALL from ring 3").kvm(3350.0).at_most(837.0),
    linux("linux.port_in_nobody", "IN from port 0xed, where nothing is").port_in_user_space(),
    linux("linux.port_out_0x80", "OUT to the POST port").port_in_user_space(),
    linux("linux.port_in_port_b", "IN from port B of the PIT").port_in_kernel(),
    linux("linux.port_in_pic", "IN from the PIC's mask").port_in_kernel(),
    linux("linux.port_in_rtc", "IN from the RTC").port_in_user_space(),
    linux("linux.uart_read_lsr", "IN from the UART's line status").uart(),
    linux("linux.lapic_mmio_read", "read of the local APIC's ID").lapic(),
    linux("linux.ioapic_read", "read of the IOAPIC's window").ioapic(),
    linux("linux.mmio_read_nobody", "read where no device is").nobody(),
    linux("linux.touch_64mib_first", "first touch of 64 MiB beyond the second").fresh(),
    // Without any hypervisor it is 54.5k; a quarter of what KVM adds.
    linux("linux.sleep_1ms_late", "how late a sleep of 1 ms ends").kvm(81_000.0).at_most(61_100.0),
    metric("boot.instructions", Group::Boot, INSTRUCTIONS, "Linux guest, from VM start to power-off")
        .kvm(2.03e9)
        .at_most(1.7e9),
    metric("boot.guest_clock", Group::Boot, "ms", "the guest's own clock at its first program").kvm(1540.0),
];

/// The rows of a guest's disk on one bus. KVM was measured by virtio-blk.
macro_rules! of_disks {
    ($bus:literal $group:ident: $($pattern:literal $what:literal $([$($targets:tt)*])? $(exits [$($of_exits:tt)*])?;)*) => {
        &[
            $(disk(concat!($bus, ".", $pattern), Group::$group, $what)$($($targets)*)?,)*
            $(disk_iops(concat!($bus, ".", $pattern, "_iops"), Group::$group, $what),)*
            $(disk_exits(
                concat!($bus, ".exits_", $pattern),
                Group::$group,
                concat!("exits per request: ", $what),
            )$($($of_exits)*)?,)*
        ]
    };
    ($bus:literal $group:ident) => {
        of_disks! { $bus $group:
            "read_1" "random reads of 4 KiB, one at a time" [.kvm_blk(0.10).at_least(0.4)];
            "write_1" "random writes of 4 KiB, one at a time" [.kvm_blk(0.13).at_least(0.4)];
            "read_32" "random reads of 4 KiB, 32 at a time" [.kvm_blk(0.08).at_least(0.7)] exits [.at_most(0.2)];
            "write_32" "random writes of 4 KiB, 32 at a time" [.kvm_blk(0.11).at_least(0.7)] exits [.at_most(0.2)];
            "read_seq" "reads of 1 MiB one after the other" [.kvm_blk(0.18).at_least(0.7)];
            "write_seq" "writes of 1 MiB one after the other" [.kvm_blk(0.23).at_least(0.7)];
            "read_seq_4" "reads of 1 MiB, 4 at a time";
            "write_seq_4" "writes of 1 MiB, 4 at a time";
        }
    };
}

const BLK: &[Metric] = of_disks!("disk" Disk);
const SCSI: &[Metric] = of_disks!("scsi" Scsi);

/// The rows of a guest's network by a card of the machine. KVM was measured by the 82540EM, with vhost.
macro_rules! of_networks {
    ($card:literal $group:ident: $($what:literal [$($of_kvm:tt)*] $target:literal $words:literal $rate:literal $unit:literal
        $each:literal;)*) => {
        &[
            $(rate(concat!("net.", $card, ".", $what), Group::$group, "of Linux", $words)
                .at_least($target)$($of_kvm)*,)*
            $(rate(concat!("net.", $card, ".", $rate), Group::$group, $unit, $words),)*
            $(metric(concat!("net.", $card, ".exits_", $what), Group::$group, "exits", $each),)*
        ]
    };
    ($card:literal $group:ident [$($send:tt)*] [$($receive:tt)*] [$($echo:tt)*]) => {
        of_networks! { $card $group:
            "send" [$($send)*] 0.7 "a guest sends by TCP" "send_mbs" "MB/s" "exits per frame that a guest sends";
            "receive" [$($receive)*] 0.7 "a guest receives by TCP" "receive_mbs" "MB/s" "exits per frame that a guest receives";
            "echo" [$($echo)*] 0.6 "a byte goes there and back" "echo_rate" "a second" "exits per byte that goes there and back";
        }
    };
}

const NET_VIRTIO: &[Metric] = of_networks!("virtio" NetVirtio [] [] []);
const NET_E1000: &[Metric] = of_networks!("e1000" NetE1000 [.kvm(0.24)] [.kvm(0.36)] [.kvm(0.30)]);
const NET_E1000E: &[Metric] = of_networks!("e1000e" NetE1000e [] [] []);

const NET_GUESTS: &[Metric] = &[
    rate("net.guests.send", Group::NetGuests, "of KVM", "a guest sends to another by TCP").at_least(3.0),
    rate("net.guests.echo", Group::NetGuests, "of KVM", "a byte goes to another guest and back"),
    rate("net.guests.send_mbs", Group::NetGuests, "MB/s", "a guest sends to another by TCP"),
    rate("net.guests.echo_rate", Group::NetGuests, "a second", "a byte goes to another guest and back"),
    metric("net.guests.exits_send", Group::NetGuests, "exits", "exits of both per frame from guest to guest"),
    metric("net.guests.exits_echo", Group::NetGuests, "exits", "exits of both per byte there and back"),
];

const OTHERS: &[Metric] = &[
    Metric {
        better: Better::Higher,
        ..metric(
            "disk.login",
            Group::DiskBoot,
            "of Linux",
            "how soon a Debian on the drive asks for a log-in",
        )
    },
    metric("disk.login_seconds", Group::DiskBoot, "s", "the same, from the VM's start"),
    disk_path("disk.instructions_read_1", "guest and hypervisor, per read of 4 KiB, one at a time"),
    disk_path("disk.instructions_write_1", "guest and hypervisor, per write of 4 KiB, one at a time"),
    disk_path("disk.instructions_read_32", "guest and hypervisor, per read of 4 KiB, 32 at a time"),
    disk_path("disk.instructions_write_32", "guest and hypervisor, per write of 4 KiB, 32 at a time"),
    disk_path("disk.instructions_read_seq", "guest and hypervisor, per read of 1 MiB, one at a time"),
    disk_path("disk.instructions_read_1_more", "the same, beyond those of Linux itself"),
    disk_path("disk.instructions_write_1_more", "the same, beyond those of Linux itself"),
    disk_path("disk.instructions_read_32_more", "the same, beyond those of Linux itself"),
    disk_path("disk.instructions_write_32_more", "the same, beyond those of Linux itself"),
    disk_path("disk.instructions_read_seq_more", "the same, beyond those of Linux itself"),
    net_path("net.instructions_send", "guest and hypervisor, per frame that is sent"),
    net_path("net.instructions_receive", "guest and hypervisor, per frame that is received"),
    net_path("net.instructions_echo", "guest and hypervisor, per byte there and back"),
    net_path("net.instructions_send_more", "the same, beyond those of Linux itself"),
    net_path("net.instructions_receive_more", "the same, beyond those of Linux itself"),
    net_path("net.instructions_echo_more", "the same, beyond those of Linux itself"),
    metric("node.ready", Group::Node, "ms", "from hand-over to ready, 4 CPUs").at_most(1000.0),
    metric("node.memory", Group::Node, "KiB", "used by the hypervisor of 2 GiB, no VM")
        .at_most(32.0 * 1024.0),
    metric("vm.memory", Group::PerVm, "KiB", "per VM of 4 vCPUs besides its memory").at_most(1024.0),
    metric("image.loader", Group::Image, "KiB", "boot.efi"),
    metric("image.kernel", Group::Image, "KiB", "kernel.elf"),
    metric("image.size", Group::Image, "KiB", "both").at_most(4.0 * 1024.0),
    metric("rig.retries", Group::Rig, "runs", "second tries after a hang of the emulator"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exits_target_is_at_most_a_quarter_of_kvms_instructions() {
        for metric in catalogue() {
            let exit = matches!(metric.group, Group::Bare | Group::Linux) && !metric.name.contains("sleep");
            if let (true, Some(kvm), Some(target)) = (exit, metric.kvm, metric.target) {
                // The UART's was set from the middle of the range that KVM needs.
                let kvm = if metric.name.contains("uart") { 3600.0 } else { kvm };
                assert!(target <= (kvm / 4.0).ceil(), "{}", metric.name);
            }
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = catalogue().map(|metric| metric.name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
