//! `purevisor.toml`: what the operator wants this node and its VMs to be.
//!
//! ```toml
//! [node]                      # optional
//! name = "n1"                 # default "node"
//! on_idle = "poweroff"        # when the last VM has stopped: "stay" (default) or "poweroff"
//! address = "dhcp"            # or "none" (default), "10.0.2.15/24", "fd00::5/64", or a list of such
//! gateway = "10.0.2.2"        # with a written address: a router, or one of IPv4 and one of IPv6; default none
//! dns = ["10.0.2.3"]          # with a written address; default none
//! network = "lan"             # which network the address is on; default the first that has an uplink
//!
//! [console]                   # optional
//! attach = "debian"           # after boot, put the serial console into this VM
//!
//! [[network]]                 # at most 64
//! name = "lan"                # required, as a VM's
//! uplink = ["eth0", "eth1"]   # network cards by preference, or one; default none: internal to the node
//! vlan = 10                   # 1 to 4094, default none: no tag
//! mtu = 1500                  # 1280 to 9000, default 1500
//!
//! [[vm]]                      # any number
//! name = "debian"             # required; 1 to 63 of a-z 0-9 - _ .
//! vcpus = 2                   # 1 to 16, default 1
//! memory = "512M"             # required; K, M, G, T; in whole MiB, at least 16M
//! kernel = "vmlinuz"          # required; a path on the boot volume
//! initrd = "initrd.img"       # default none
//! cmdline = "console=ttyS0"   # default empty
//! autostart = true            # default true
//! weight = 100                # 1 to 10000, default 100
//! cap = 150                   # percent of one CPU, default none
//! affinity = [0, 1]           # CPU numbers, default all
//! restart = "never"           # "never" (default), "on-crash", "always"
//! disks = [                   # default none, at most 16
//!   { source = "nvme0n1" },   # a whole disk of this machine
//!   { source = "sata0", offset = "1G", size = "8G", bus = "virtio-blk", readonly = true },
//!   { source = "file:data.img" },   # a copy of a file of the boot volume, in memory
//! ]
//! nics = [                    # default none, at most 8
//!   { network = "lan" },      # with an address derived from the names of the node and the VM and its place here
//!   { network = "lan", mac = "52:54:00:12:34:56", queues = 2, limit = "1Gbit", addresses = ["10.0.0.5"] },
//! ]
//! balloon = true              # a virtio-balloon, for 'vm memory'; default true
//! return_free_memory = true   # what the guest does not use goes back to the node; default false
//! rng = true                  # a virtio-rng; default true
//! virtio_console = true       # a virtio-console beside the serial port; default false
//! ```
//!
//! A guest gets no disk that is not named here in full: nothing is chosen by itself, by position or by a part of
//! a name, so that what a disk holds is at stake only where somebody wrote its name down.
//!
//! Promise: any bytes give a [`Parsed`]. Every problem in the file is reported, with its line; what is
//! sound is used. A wrong key in `[node]` or `[console]` keeps its default; a `[[vm]]` or
//! `[[network]]` with any problem is left out, and so is a VM that names such a network; a table that is not TOML is left out as a whole, and the others still count.
//! Not done here: whether the files exist and the memory and CPUs suffice, which only the loader and
//! the kernel know.
//!
//! Flow: bytes → `document` (TOML, in parts where it is broken) → `section` (the keys of one table,
//! by the readers in `value`) → one file per section (`node`, `network`, `vm`) → `references` (what they say of each
//! other). A new key is one line in its
//! section's `read`; a new section is a file with a `read` and an arm in `Reader::section`.

mod address;
mod disk;
mod document;
mod network;
mod nic;
mod node;
mod problem;
mod references;
mod section;
#[cfg(test)]
mod tests;
mod value;
mod vm;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use toml::Spanned;
use toml::de::DeValue;

pub use address::{MAX_ADDRESSES, NodeAddress};
pub use disk::{Bus, DiskConfig, MAX_DISKS, Source};
pub use document::MAX_BYTES;
pub use network::{MAX_MTU, MAX_NETWORKS, MAX_UPLINKS, MIN_MTU, NetworkConfig};
pub use nic::{MAX_NICS, MAX_QUEUES, NicConfig, derived_mac};
pub use node::{Console, Node, OnIdle};
use problem::Problems;
pub use problem::{FILE, Problem};
pub use value::{MAX_CMDLINE, MAX_CPU, MAX_NAME, MAX_PATH, normal_path, size};
pub use vm::{MAX_VCPUS, Restart, VmConfig};

use crate::nearest::nearest;
use document::{Lines, Part};
use references::{Candidate, Networks, Sorted};
use section::{Section, clip, show};

/// What the operator wants. Sound in itself: names and MAC addresses are unique, `console.attach` names a VM of `vms`,
/// NICs and the node are on networks of `networks`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// `[node]`.
    pub node: Node,
    /// `[console]`.
    pub console: Console,
    /// The sound `[[network]]`s, in the file's order.
    pub networks: Vec<NetworkConfig>,
    /// The sound `[[vm]]`s, in the file's order.
    pub vms: Vec<VmConfig>,
}

/// What a file gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// All of it that is sound.
    pub config: Config,
    /// All that is not, by line.
    pub problems: Vec<Problem>,
    /// Names of the VMs that were left out because of a problem, as far as their names could be read.
    pub left_out: Vec<String>,
}

impl Config {
    /// Reads a `purevisor.toml`. Never fails as a whole: see [`Parsed`].
    pub fn parse(file: &[u8]) -> Parsed {
        let mut reader = Reader::default();
        let parts = document::parts(file, &mut reader.problems);
        for Part { table, lines } in parts {
            for (name, value) in table {
                reader.section(name.get_ref(), lines.at(name.span().start), value, &lines);
            }
        }
        reader.finish()
    }

    /// The files of the boot volume that the VMs need, each once, in the order of their first mention.
    pub fn files(&self) -> Vec<&str> {
        let mut files: Vec<&str> = Vec::new();
        for vm in &self.vms {
            let disks = vm.disks.iter().filter_map(|disk| match &disk.source {
                Source::File(path) => Some(path),
                Source::Device(_) => None,
            });
            for file in [Some(&vm.kernel), vm.initrd.as_ref()].into_iter().flatten().chain(disks) {
                if !files.contains(&file.as_str()) {
                    files.push(file);
                }
            }
        }
        files
    }
}

/// The file while it is being read.
#[derive(Default)]
struct Reader {
    parsed: Parsed,
    problems: Problems,
    /// Lines of the sections that may be given once.
    node_line: Option<usize>,
    console_line: Option<usize>,
    /// Name and line of each network and each VM, also of those left out.
    network_lines: Vec<(String, usize)>,
    vm_lines: Vec<(String, usize)>,
    /// The VMs that are sound by themselves.
    candidates: Vec<Candidate>,
}

impl Reader {
    /// Reads one top-level entry of the file.
    fn section(&mut self, name: &str, line: usize, value: Spanned<DeValue<'_>>, lines: &Lines) {
        let problems = &mut self.problems;
        match name {
            "node" if first(&mut self.node_line, "[node]", line, problems) => {
                if let Some(section) = Section::open("[node]", value, lines, problems) {
                    self.parsed.config.node = Node::read(section);
                }
            }
            "console" if first(&mut self.console_line, "[console]", line, problems) => {
                if let Some(section) = Section::open("[console]", value, lines, problems) {
                    self.parsed.config.console = Console::read(section);
                }
            }
            "node" | "console" => {}
            "network" | "vm" => {
                let tables = match value.into_inner() {
                    DeValue::Array(tables) => tables,
                    other => {
                        let what = match other {
                            DeValue::Table(_) => format!("[{name}] is one table"),
                            other => format!("{name} = {}", show(&other)),
                        };
                        let each = if name == "vm" { "VM" } else { "network" };
                        return problems
                            .push(line, format!("{what}; allowed: [[{name}]] before each {each}"));
                    }
                };
                for table in tables {
                    if name == "vm" { self.vm(table, lines) } else { self.network(table, lines) }
                }
            }
            other => {
                let other = clip(other);
                let hint = match nearest(&other, ["node", "console", "network", "vm"]) {
                    Some(meant @ ("network" | "vm")) => format!("did you mean [[{meant}]]?"),
                    Some(meant) => format!("did you mean [{meant}]?"),
                    None => "allowed: [node], [console], [[network]], [[vm]]".into(),
                };
                problems.push(line, format!("unknown section {other}; {hint}"));
            }
        }
    }

    fn vm(&mut self, value: Spanned<DeValue<'_>>, lines: &Lines) {
        let Some(section) = Section::open("[[vm]]", value, lines, &mut self.problems) else {
            return;
        };
        let line = section.line;
        let vm::Read { name, mut vm } = VmConfig::read(section);
        if let Some(name) = &name {
            if let Some((_, first)) = self.vm_lines.iter().find(|(known, _)| known == name) {
                let text = format!("VM \"{name}\" is defined on line {first}; allowed: one VM of a name");
                self.problems.push(line, text);
                vm = None;
            } else {
                self.vm_lines.push((name.clone(), line));
                if vm.is_none() {
                    self.parsed.left_out.push(name.clone());
                }
            }
        }
        self.candidates.extend(vm);
    }

    fn network(&mut self, value: Spanned<DeValue<'_>>, lines: &Lines) {
        let Some(section) = Section::open("[[network]]", value, lines, &mut self.problems) else {
            return;
        };
        let line = section.line;
        let network::Read { name, network } = NetworkConfig::read(section);
        let networks = &mut self.parsed.config.networks;
        if let Some(name) = name {
            if let Some((_, first)) = self.network_lines.iter().find(|(known, _)| *known == name) {
                let text =
                    format!("network \"{name}\" is defined on line {first}; allowed: one network of a name");
                return self.problems.push(line, text);
            }
            if self.network_lines.len() == MAX_NETWORKS {
                let text =
                    format!("network \"{name}\" is one too many; allowed: at most {MAX_NETWORKS} networks");
                return self.problems.push(line, text);
            }
            self.network_lines.push((name, line));
        }
        let Some(network) = network else { return };
        let contested = networks.iter().find_map(|other| Some((other, network.contested(other)?)));
        if let Some((other, uplink)) = contested {
            let vlan = network.vlan.map_or("no VLAN".into(), |vlan| format!("VLAN {}", vlan.number()));
            let text = format!(
                "network \"{}\" has {vlan} on {uplink}, as network \"{}\" has; allowed: each VLAN of an uplink once, and \
                 one network without",
                network.name, other.name
            );
            return self.problems.push(line, text);
        }
        networks.push(network);
    }

    /// Checks what holds between sections.
    fn finish(mut self) -> Parsed {
        let (parsed, problems) = (&mut self.parsed, &mut self.problems);
        let networks = Networks { sound: &parsed.config.networks, all: &self.network_lines };
        let Sorted { sound, left_out } =
            references::vms(self.candidates, &networks, &parsed.config.node.name, problems);
        parsed.config.vms = sound;
        parsed.left_out.extend(left_out);
        references::node_network(parsed, &self.network_lines, self.node_line.unwrap_or(1), problems);
        references::attach(parsed, self.console_line.unwrap_or(1), problems);
        self.parsed.problems = self.problems.by_line();
        self.parsed
    }
}

/// Whether this is the first section of its kind; reports it if not.
fn first(seen: &mut Option<usize>, title: &str, line: usize, problems: &mut Problems) -> bool {
    if let Some(earlier) = seen {
        let text = format!("a second {title}, the first is on line {earlier}; allowed: one");
        problems.push(line, text);
        return false;
    }
    *seen = Some(line);
    true
}
