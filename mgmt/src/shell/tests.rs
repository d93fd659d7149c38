//! Commands against a node of the tests: what is ordered, what is told.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use super::node::*;
use super::*;
use crate::config::Config;
use net::capture::Filter;

mod networks;

/// A node that remembers what it was told.
pub(crate) struct TestNode {
    pub vms: Vec<VmSummary>,
    pub orders: Vec<String>,
    pub typed: Vec<u8>,
    pub typed_virtio: Vec<u8>,
    pub history: Vec<u8>,
    pub log: Vec<LogEntry>,
    pub cpus: Vec<CpuInfo>,
    pub disk_reads: u64,
    pub balloon: BalloonInfo,
    pub address: AddressInfo,
    pub nics: Vec<NicInfo>,
    pub networks: Vec<NetworkInfo>,
    pub captured: Vec<u8>,
    /// What comes of each echo request; of further ones nothing does.
    pub echoes: Vec<Echo>,
    pub pings: u64,
}

pub(crate) fn summary(name: &str, state: VmState) -> VmSummary {
    let alive = state.is_alive();
    VmSummary {
        name: name.into(),
        state,
        reason: None,
        vcpus: 2,
        memory: 512 << 20,
        cpu_time: Duration::from_millis(if alive { 1500 } else { 0 }),
        exits: 1000,
        uptime: alive.then_some(Duration::from_secs(245)),
        restarts: 0,
    }
}

impl TestNode {
    pub fn new() -> Self {
        let mut failed = summary("web", VmState::Failed);
        failed.reason = Some("triple fault at 0xffffffff81000000".into());
        let cpu = CpuInfo {
            guest: Duration::from_secs(1),
            hypervisor: Duration::from_secs(1),
            idle: Duration::from_secs(8),
            exits: 12345,
            interrupts: 77,
            runs: Some(("debian".into(), 1)),
            ..CpuInfo::default()
        };
        let log = (0..30).map(|n| LogEntry {
            sequence: n,
            time: Duration::from_micros(n * 1_000_001),
            level: LogLevel::Info,
            text: format!("message {n}"),
        });
        Self {
            vms: vec![summary("debian", VmState::Running), failed],
            orders: Vec::new(),
            typed: Vec::new(),
            typed_virtio: Vec::new(),
            history: Vec::new(),
            log: log.collect(),
            cpus: vec![cpu],
            disk_reads: 1234,
            balloon: BalloonInfo::default(),
            address: AddressInfo::default(),
            nics: networks::nics(),
            networks: networks::networks(),
            captured: Vec::new(),
            echoes: Vec::new(),
            pings: 0,
        }
    }

    fn find(&self, name: &str) -> Result<&VmSummary, NodeError> {
        self.vms.iter().find(|vm| vm.name == name).ok_or_else(|| NodeError::NoSuchVm { vm: name.into() })
    }
}

impl Node for TestNode {
    fn info(&self) -> NodeInfo {
        NodeInfo {
            name: "n1".into(),
            version: "0.1.0".into(),
            machine: "QEMU Q35".into(),
            cpu_model: "AMD EPYC".into(),
            cpus: 4,
            back_end: "AMD-V".into(),
            memory_total: 2 << 30,
            memory_free: 3 << 29,
            uptime: Duration::from_secs(61),
            address: self.address.clone(),
        }
    }

    fn vms(&self) -> Vec<VmSummary> {
        self.vms.clone()
    }

    fn vm(&self, name: &str) -> Result<VmInfo, NodeError> {
        let summary = self.find(name)?.clone();
        let toml = format!(
            "[[vm]]\nname = '{name}'\nmemory = '512M'\nkernel = 'vmlinuz'\naffinity = [0, 2]\n\
             disks = [{{ source = 'sata0', offset = '1G', size = '8G', readonly = true }}]\n\
             nics = [{{ network = 'lan', mac = '52:54:00:12:34:56', limit = '1Gbit', addresses = '10.0.0.5' }}]\n\
             [[network]]\nname = 'lan'\n"
        );
        let config = Config::parse(toml.as_bytes()).config.vms.remove(0);
        let vcpu = VcpuInfo {
            state: VcpuState::Halted,
            cpu: Some(3),
            cpu_time: Duration::from_millis(750),
            exits: vec![("CPUID".into(), 100), ("HLT".into(), 300), ("VMMCALL".into(), 0)],
        };
        let vcpus = if summary.state.is_alive() { vec![vcpu.clone(), vcpu] } else { Vec::new() };
        let memory_now = if summary.state.is_alive() { summary.memory - self.balloon.inflated } else { 0 };
        let balloon = summary.state.is_alive().then_some(self.balloon);
        let devices =
            if summary.state.is_alive() { vec!["virtio-rng", "virtio-console"] } else { Vec::new() };
        Ok(VmInfo { summary, config, vcpus, overhead: 300 << 10, devices, memory_now, balloon })
    }

    fn control(&mut self, vm: &str, action: VmAction) -> Result<(), NodeError> {
        let state = self.find(vm)?.state;
        if (action == VmAction::Start) == state.is_alive() {
            return Err(NodeError::WrongState { vm: vm.into(), action, state });
        }
        self.orders.push(format!("{action} {vm}"));
        Ok(())
    }

    fn set_memory(&mut self, vm: &str, bytes: u64) -> Result<bool, NodeError> {
        self.find(vm)?;
        if bytes > 512 << 20 {
            let what = format!("give {vm} that");
            return Err(NodeError::NotPossible { what, why: "it has less".into() });
        }
        self.orders.push(format!("memory {vm} {bytes}"));
        Ok(self.balloon.driver)
    }

    fn cpus(&self) -> Vec<CpuInfo> {
        self.cpus.clone()
    }

    fn memory(&self) -> MemoryInfo {
        MemoryInfo {
            total: 2 << 30,
            free: 3 << 29,
            hypervisor: vec![("image".into(), 2 << 20)],
            vms: vec![("debian".into(), 512 << 20, 300 << 10)],
            free_blocks: vec![(4096, 17), (2 << 20, 700)],
            slabs: vec![SlabInfo { size: 64, used: 10, capacity: 40 }],
        }
    }

    fn log(&self, after: Option<u64>, most: usize) -> Vec<LogEntry> {
        let new: Vec<LogEntry> = self
            .log
            .iter()
            .filter(|entry| after.is_none_or(|after| entry.sequence > after))
            .cloned()
            .collect();
        new[new.len().saturating_sub(most)..].to_vec()
    }

    fn end(&mut self, ending: Ending, haste: Haste) -> Result<(), NodeError> {
        self.orders.push(format!("{ending:?} {haste:?}"));
        Ok(())
    }

    fn console_history(&self, vm: &str, terminal: Terminal) -> Result<Vec<u8>, NodeError> {
        self.find(vm)?;
        match terminal {
            Terminal::Serial => Ok(self.history.clone()),
            Terminal::Virtio if vm == "debian" => Ok(b"hvc: ".to_vec()),
            Terminal::Virtio => {
                Err(NodeError::NotPossible { what: format!("go to {vm}'s hvc0"), why: "it has none".into() })
            }
        }
    }

    fn console_input(&mut self, vm: &str, terminal: Terminal, bytes: &[u8]) -> Result<(), NodeError> {
        self.find(vm)?;
        match terminal {
            Terminal::Serial => self.typed.extend(bytes),
            Terminal::Virtio => self.typed_virtio.extend(bytes),
        }
        Ok(())
    }

    fn pci(&self) -> Vec<PciInfo> {
        let bar = PciBar { index: 0, is_io: false, prefetchable: false, address: 0xfe00_0000, bytes: 0x4000 };
        let port = PciBar { index: 4, is_io: true, address: 0xc040, bytes: 0, ..bar.clone() };
        let disk = PciInfo {
            address: "00:04.0".into(),
            vendor: 0x1b36,
            device: 0x10,
            class: 0x010802,
            class_name: "NVMe controller",
            driver: Some(("nvme", "nvme0".into())),
            bars: vec![bar],
            interrupts: "MSI-X 65, on".into(),
            behind: None,
        };
        let bridge = PciInfo {
            address: "00:05.0".into(),
            class_name: "PCI bridge",
            driver: None,
            bars: vec![port],
            interrupts: String::new(),
            behind: Some((1, 3)),
            ..disk.clone()
        };
        vec![disk, bridge]
    }

    fn disks(&self) -> Vec<DiskInfo> {
        let user = |bytes, writes| DiskUse { owner: "VM debian".into(), bytes, writes };
        let disk = DiskInfo {
            name: "nvme0n1".into(),
            model: "QEMU \x1b[2J".into(),
            driver: "nvme",
            place: "00:04.0".into(),
            bytes: 8 << 30,
            block_size: 512,
            physical_block_size: 4096,
            volatile_cache: true,
            discard: true,
            counters: DiskCounters { reads: self.disk_reads, read_bytes: 4 << 20, ..DiskCounters::default() },
            users: vec![user(0..8 << 30, true), user(1 << 30..3 << 30, false)],
            ..DiskInfo::default()
        };
        vec![disk, DiskInfo { name: "sata0".into(), ..DiskInfo::default() }]
    }

    fn nics(&self) -> Vec<NicInfo> {
        self.nics.clone()
    }

    fn networks(&self) -> Vec<NetworkInfo> {
        self.networks.clone()
    }

    fn start_capture(&mut self, network: &str, filter: Filter, most: usize) -> Result<(), NodeError> {
        self.orders.push(format!("capture {network}: {filter}, {most}"));
        Ok(())
    }

    fn stop_capture(&mut self, network: &str) -> Result<usize, NodeError> {
        self.orders.push(format!("stop capture {network}"));
        Ok(net::capture::records(&self.captured).count())
    }

    fn captured(&self, _: &str) -> Result<Vec<u8>, NodeError> {
        Ok(self.captured.clone())
    }

    fn mirror(&mut self, network: &str, mirror: Option<Mirror>) -> Result<(), NodeError> {
        let what = mirror.map_or("off".to_string(), |mirror| format!("{} to {}", mirror.from, mirror.to));
        self.orders.push(format!("mirror {network}: {what}"));
        Ok(())
    }

    fn ping(&mut self, to: IpAddr) -> Result<u64, NodeError> {
        if to.is_ipv6() {
            let why = "the node has no IPv6 address".into();
            return Err(NodeError::NotPossible { what: format!("ping {to}"), why });
        }
        self.pings += 1;
        Ok(self.pings)
    }

    fn echo(&mut self, number: u64) -> Echo {
        self.echoes
            .get_mut(number as usize - 1)
            .map_or(Echo::Waiting, |echo| core::mem::replace(echo, Echo::Waiting))
    }
}

fn answer(line: &str) -> String {
    answer_of(&mut TestNode::new(), line)
}

fn answer_of(node: &mut TestNode, line: &str) -> String {
    let mut out = String::new();
    run(line, node, &mut out).expect("a String takes all");
    out
}

fn next(line: &str) -> Next {
    run(line, &mut TestNode::new(), &mut String::new()).expect("a String takes all")
}

#[test]
fn vm_list_is_an_aligned_table_with_the_reason() {
    assert_eq!(
        answer("vm list"),
        "NAME    STATE    VCPUS   MEMORY  CPU TIME          UP  RESTARTS  REASON\n\
         debian  running      2  512 MiB     1.5 s  4 min 05 s         0\n\
         web     failed       2  512 MiB     0.0 s           -         0  triple fault at 0xffffffff81000000\n"
    );
}

#[test]
fn vm_info_tells_state_vcpus_exits_and_configuration() {
    let told = answer("vm info debian");
    for part in [
        "state     running\n",
        "up        4 min 05 s\n",
        "memory    512 MiB, and 300 KiB for tables and devices\n",
        "schedule  weight 100, cap none, CPUs 0, 2\n",
        "starts    with the node; restart: never\n",
        "disk      sata0, 8 GiB from 1 GiB on, read-only, virtio-blk\n",
        "NIC       lan, 52:54:00:12:34:56, 1 queue, at most 1 Gbit/s, from 10.0.0.5 only\n",
        "VCPU  STATE   CPU  CPU TIME  EXITS\n   0  halted    3     0.7 s    400\n",
        "EXIT   NUMBER   SHARE\nHLT       600  75.0 %\nCPUID     200  25.0 %\n",
    ] {
        assert!(told.contains(part), "{part:?} is not in\n{told}");
    }
    assert!(!told.contains("VMMCALL"), "a kind of exit that never happened");
    let failed = answer("vm info web");
    assert!(failed.contains("state     failed: triple fault") && !failed.contains("VCPU"), "{failed}");
}

#[test]
fn orders_reach_the_node_and_are_confirmed() {
    let mut node = TestNode::new();
    for (line, told) in [
        ("vm start web", "web starts.\n"),
        ("vm stop debian", "debian is asked to shut down.\n"),
        ("  vm   kill debian ", "debian is stopped.\n"),
        ("vm reset debian", "debian is reset.\n"),
        ("vm pause debian", "debian is paused.\n"),
        ("vm resume debian", "debian goes on.\n"),
    ] {
        assert_eq!(answer_of(&mut node, line), told);
    }
    assert_eq!(
        node.orders,
        ["start web", "stop debian", "kill debian", "reset debian", "pause debian", "resume debian"]
    );
}

#[test]
fn an_order_that_the_state_forbids_says_so_and_what_to_do() {
    assert_eq!(answer("vm stop web"), "cannot stop web: it is failed; 'vm start web' starts it\n");
    assert_eq!(answer("vm start debian"), "cannot start debian: it is running\n");
}

#[test]
fn a_wrong_verb_gets_the_nearest_and_its_family() {
    assert_eq!(
        answer("pwoeroff"),
        "unknown command \"pwoeroff\"; did you mean poweroff? 'help' lists the commands\n"
    );
    assert_eq!(answer("ls"), "unknown command \"ls\"; 'help' lists the commands\n");
    let told = answer("vm strat debian");
    assert!(told.starts_with("unknown command \"vm strat\"; did you mean vm start?\n  vm list "), "{told}");
    assert!(answer("vm").starts_with("vm needs one more word:\n  vm list "));
    assert!(answer("node").contains("node info"));
}

#[test]
fn wrong_arguments_get_the_usage() {
    assert_eq!(answer("vm start"), "which VM? usage: vm start NAME; there are: debian, web\n");
    assert_eq!(answer("vm start debain"), "there is no VM \"debain\"; did you mean debian?\n");
    assert_eq!(answer("vm start xyzzy"), "there is no VM \"xyzzy\"; 'vm list' shows those that are\n");
    assert_eq!(answer("cpu 1"), "\"1\" does not belong there; usage: cpu\n");
    assert_eq!(answer("vm kill debian web"), "\"web\" does not belong there; usage: vm kill NAME\n");
    assert_eq!(
        answer("poweroff --nwo"),
        "\"--nwo\" does not belong there; did you mean --now?; usage: poweroff [--now]\n"
    );
    assert_eq!(answer("poweroff --now --now"), "\"--now\" does not belong there; usage: poweroff [--now]\n");
    assert_eq!(answer("log -1"), "\"-1\" does not belong there; did you mean -f?; usage: log [N] [-f]\n");
    assert_eq!(answer("log 1 2"), "\"2\" does not belong there; usage: log [N] [-f]\n");
}

#[test]
fn a_wrong_line_orders_nothing() {
    let mut node = TestNode::new();
    for line in ["poweroff now", "reboot --force", "vm kill debian --now", "vm kill", "POWEROFF", "poweroff;"]
    {
        answer_of(&mut node, line);
    }
    assert!(node.orders.is_empty(), "{:?}", node.orders);
}

#[test]
fn poweroff_waits_for_the_vms_unless_told_not_to() {
    let mut node = TestNode::new();
    assert_eq!(
        answer_of(&mut node, "poweroff"),
        "Asked to shut down: debian. The node powers off when they have, in 60 s at the latest; \
         'poweroff --now' at once.\n"
    );
    assert_eq!(answer_of(&mut node, "reboot --now"), "The node reboots.\n");
    node.vms.clear();
    assert_eq!(answer_of(&mut node, "poweroff"), "The node powers off.\n");
    assert_eq!(node.orders, ["PowerOff Graceful(60s)", "Reboot Now", "PowerOff Graceful(60s)"]);
}

#[test]
fn the_machine_is_described() {
    let told = answer("node info");
    assert!(told.contains("CPUs            4 x AMD EPYC\n"), "{told}");
    assert!(told.contains("memory          2 GiB: 512 MiB used, 1.5 GiB free\n"), "{told}");
    assert!(told.contains("VMs             2, 1 of them alive\n"), "{told}");
    assert_eq!(
        answer("cpu"),
        "CPU  APIC   GUEST  HYPERVISOR    IDLE   EXITS  INTERRUPTS  RUNS\n  \
           0     0  10.0 %      10.0 %  80.0 %  12,345          77  debian/1\n"
    );
    let told = answer("mem");
    assert!(told.contains("VM debian: tables and devices  300 KiB\n"), "{told}");
    assert!(told.contains("64 B    10        40  25.0 %\n"), "{told}");
}

#[test]
fn the_log_shows_the_last_entries() {
    assert_eq!(answer("log").lines().count(), 20);
    assert_eq!(answer("log 2"), "[   28.000028] info  message 28\n[   29.000029] info  message 29\n");
    assert_eq!(next("log -f"), Next::Follow(Some(29)));
    assert_eq!(next("log 0 -f"), Next::Follow(Some(29)));
}

#[test]
fn help_covers_every_command() {
    let all = answer("help");
    for command in COMMANDS {
        assert!(all.contains(&format!("  {}", command.usage())), "{} is not in help", command.usage());
        let one = answer(&format!("help {}", command.words.join(" ")));
        assert!(one.starts_with(&command.usage()), "{one}");
        assert!(all.lines().chain(one.lines()).all(|line| line.chars().count() < 100));
    }
    assert_eq!(answer("?"), all);
    assert!(answer("help vm").contains("vm list") && !answer("help vm").contains("poweroff"));
    assert_eq!(answer("help nothing"), "no command \"nothing\"; 'help' lists all\n");
}

#[test]
fn the_memory_of_a_vm_is_set_by_its_size() {
    let mut node = TestNode::new();
    node.balloon.driver = true;
    let answer = |node: &mut TestNode, line| {
        let mut out = String::new();
        run(line, node, &mut out).unwrap();
        out
    };
    assert_eq!(answer(&mut node, "vm memory debian 256M"), "debian is to use 256 MiB of 512 MiB.\n");
    node.balloon.driver = false;
    assert_eq!(
        answer(&mut node, "vm memory debian 512MiB"),
        "debian is to use 512 MiB of 512 MiB, and is asked to when its guest has loaded a driver for its balloon \
         (Linux: virtio_balloon).\n"
    );
    let off = answer(&mut node, "vm memory web 64M");
    assert_eq!(off, "web is to use 64 MiB of 512 MiB, and is asked to when it has started.\n");
    assert_eq!(node.orders, ["memory debian 268435456", "memory debian 536870912", "memory web 67108864"]);
    for (wrong, says) in [
        ("vm memory debian", "how much? usage: vm memory NAME SIZE; such as 256M\n"),
        ("vm memory debian 256", "\"256\" is no size; usage: vm memory NAME SIZE; such as 256M or 2G\n"),
        ("vm memory debian -1G", "\"-1G\" is no size; usage: vm memory NAME SIZE; such as 256M or 2G\n"),
        ("vm memory debian 1G", "cannot give debian that: it has less\n"),
        ("vm memory 256M", "there is no VM \"256M\"; 'vm list' shows those that are\n"),
        ("vm memory debian 256M 1", "\"1\" does not belong there; usage: vm memory NAME SIZE\n"),
    ] {
        assert_eq!(answer(&mut node, wrong), says, "{wrong}");
    }
}

#[test]
fn what_a_guest_gave_back_is_shown() {
    let info = |balloon| {
        let mut node = TestNode::new();
        node.balloon = balloon;
        let mut out = String::new();
        run("vm info debian", &mut node, &mut out).unwrap();
        out
    };
    let plain = info(BalloonInfo::default());
    assert!(plain.contains("memory    512 MiB, and 300 KiB for") && !plain.contains("balloon"), "{plain}");
    let mib = 1 << 20;
    let balloon = BalloonInfo {
        driver: true,
        target: 256 * mib,
        inflated: 128 * mib,
        free: Some(90 * mib),
        available: Some(100 * mib),
        total: Some(469 * mib),
    };
    let some = info(balloon);
    assert!(some.contains("memory    512 MiB, of which it has 384 MiB now, and 300 KiB for"), "{some}");
    assert!(some.contains("balloon   128 MiB of 256 MiB\n"), "{some}");
    assert!(some.contains("guest     90 MiB of 469 MiB unused, 100 MiB available, as it says\n"), "{some}");
    let none = info(BalloonInfo { target: 256 * mib, ..BalloonInfo::default() });
    assert!(none.contains("balloon   0 B of 256 MiB; its guest has no driver for it\n"), "{none}");
}

#[test]
fn commands_that_change_the_session_say_so() {
    assert_eq!(next("vm console debian"), Next::Attach("debian".into(), Terminal::Serial));
    assert_eq!(next("vm console debian hvc0"), Next::Attach("debian".into(), Terminal::Virtio));
    assert_eq!(next("top"), Next::Top);
    assert_eq!(next("clear"), Next::Clear);
    assert_eq!(next("   "), Next::Prompt);
}

#[test]
fn completion_follows_the_table() {
    let node = TestNode::new();
    let offered = |line: &str| complete(line, &node);
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<String>>();
    assert_eq!(offered("v"), (1, words(&["vm"])));
    assert_eq!(offered("vm st"), (2, words(&["start", "stop"])));
    assert_eq!(offered("vm start "), (0, words(&["debian", "web"])));
    assert_eq!(offered("vm start w"), (1, words(&["web"])));
    assert_eq!(offered("vm start web "), (0, words(&[])));
    assert_eq!(offered("poweroff -"), (1, words(&["--now"])));
    assert_eq!(offered("poweroff --now "), (0, words(&[])));
    assert_eq!(offered("help vm pa"), (2, words(&["pause"])));
    assert_eq!(offered("x "), (0, words(&[])));
    assert!(offered("").1.len() >= 9);
    assert!(offered("é").1.is_empty());
}

#[test]
fn hostile_text_stays_on_its_line() {
    let mut node = TestNode::new();
    node.vms[1].reason = Some("a\x1b[2J\r\nb".into());
    assert!(answer_of(&mut node, "vm list").ends_with("a [2J  b\n"));
    let told = answer(&format!("vm start \x1b[2J{}", "x".repeat(100_000)));
    assert!(!told.contains('\x1b') && told.len() < 300, "{told}");
}

#[test]
fn random_lines_never_panic() {
    let words = [
        "vm",
        "list",
        "info",
        "start",
        "help",
        "?",
        "log",
        "net",
        "nic",
        "capture",
        "mirror",
        "lan",
        "show",
        "pcap",
        "host",
        "port",
        "count",
        "eth0",
        "ping",
        "10.0.2.2",
        "-f",
        "20",
        "99999999999999999999",
        "debian",
        "\u{0}",
        "é",
        "--now",
    ];
    let mut random = 7u64;
    let mut node = TestNode::new();
    for _ in 0..5000 {
        let mut line = String::new();
        for _ in 0..random % 6 {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            line.push_str(words[(random >> 33) as usize % words.len()]);
            line.push(' ');
        }
        random = random.wrapping_add(0x9e37_79b9_7f4a_7c15).rotate_left(7);
        answer_of(&mut node, &line);
        complete(line.trim_end(), &node);
    }
}

#[test]
fn pci_lists_functions_with_their_drivers_interrupts_and_registers() {
    assert_eq!(
        answer("pci"),
        "WHERE    ID         WHAT                       DRIVER       INTERRUPTS    REGISTERS\n\
         00:04.0  1b36:0010  NVMe controller            nvme: nvme0  MSI-X 65, on  0: 16 KiB at fe000000\n\
         00:05.0  1b36:0010  PCI bridge to buses 01-03  -                          4: ports c040\n"
    );
}

#[test]
fn disks_are_listed_with_what_moved_and_who_uses_them() {
    assert_eq!(
        answer("disk list"),
        "NAME      SIZE   READ  WRITTEN  USED BY               MODEL\n\
         nvme0n1  8 GiB  4 MiB      0 B  VM debian, VM debian  QEMU  [2J\n\
         sata0      0 B    0 B      0 B  -\n"
    );
}

#[test]
fn disk_info_tells_what_it_is_and_which_part_is_whose() {
    let told = answer("disk info nvme0n1");
    for part in [
        "model     QEMU  [2J\n",
        "serial    -\n",
        "driver    nvme at 00:04.0\n",
        "size      8 GiB (8,589,934,592 bytes)\n",
        "blocks    512 bytes, 4096 on the medium\n",
        "cache     volatile, flushed when a guest asks\n",
        "features  discard\n",
        "reads     1,234, 4 MiB\n",
        "used by   VM debian: writes all of it\n",
        "used by   VM debian: reads 2 GiB from 1 GiB on\n",
    ] {
        assert!(told.contains(part), "{part:?} is not in\n{told}");
    }
    assert!(answer("disk info sata0").contains("used by   nobody\n"));
}

#[test]
fn a_disk_that_is_not_there_is_told_with_what_was_meant() {
    assert_eq!(answer("disk info"), "which disk? usage: disk info NAME; there are: nvme0n1, sata0\n");
    assert_eq!(answer("disk info nvme0n2"), "there is no disk \"nvme0n2\"; did you mean nvme0n1?\n");
    assert_eq!(answer("disk info floppy"), "there is no disk \"floppy\"; 'disk list' shows those that are\n");
    assert_eq!(complete("disk info n", &TestNode::new()), (1, vec!["nvme0n1".to_string()]));
}
