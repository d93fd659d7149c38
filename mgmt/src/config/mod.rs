//! `purevisor.toml`: what the operator wants this node and its VMs to be.
//!
//! ```toml
//! [node]                      # optional
//! name = "n1"                 # default "node"
//! on_idle = "poweroff"        # when the last VM has stopped: "stay" (default) or "poweroff"
//!
//! [console]                   # optional
//! attach = "debian"           # after boot, put the serial console into this VM
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
//! sound is used. A wrong key in `[node]` or `[console]` keeps its default; a `[[vm]]` with any problem
//! is left out; a table that is not TOML is left out as a whole, and the others still count.
//! Not done here: whether the files exist and the memory and CPUs suffice, which only the loader and
//! the kernel know.
//!
//! Flow: bytes → `document` (TOML, in parts where it is broken) → `section` (the keys of one table,
//! by the readers in `value`) → one file per section (`node`, `vm`). A new key is one line in its
//! section's `read`; a new section is a file with a `read` and an arm in `Reader::section`.

mod disk;
mod document;
mod node;
mod problem;
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

pub use disk::{Bus, DiskConfig, MAX_DISKS, Source};
pub use document::MAX_BYTES;
pub use node::{Console, Node, OnIdle};
use problem::Problems;
pub use problem::{FILE, Problem};
pub use value::{MAX_CMDLINE, MAX_CPU, MAX_NAME, MAX_PATH, normal_path, size};
pub use vm::{MAX_VCPUS, Restart, VmConfig};

use crate::nearest::nearest;
use document::{Lines, Part};
use section::{Section, clip, show};

/// What the operator wants. Sound in itself: names are unique, `console.attach` names a VM of `vms`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// `[node]`.
    pub node: Node,
    /// `[console]`.
    pub console: Console,
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
    /// Name and line of each VM, also of those left out.
    vm_lines: Vec<(String, usize)>,
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
            "vm" => match value.into_inner() {
                DeValue::Array(vms) => vms.into_iter().for_each(|vm| self.vm(vm, lines)),
                other => {
                    let text = match other {
                        DeValue::Table(_) => "[vm] is one table; allowed: [[vm]] before each VM".into(),
                        other => format!("vm = {}; allowed: [[vm]] before each VM", show(&other)),
                    };
                    problems.push(line, text);
                }
            },
            other => {
                let other = clip(other);
                let hint = match nearest(&other, ["node", "console", "vm"]) {
                    Some("vm") => "did you mean [[vm]]?".into(),
                    Some(meant) => format!("did you mean [{meant}]?"),
                    None => "allowed: [node], [console], [[vm]]".into(),
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
        self.parsed.config.vms.extend(vm);
    }

    /// Checks what holds between sections.
    fn finish(mut self) -> Parsed {
        let Parsed { config, left_out, .. } = &mut self.parsed;
        if let Some(attach) =
            config.console.attach.take_if(|name| !config.vms.iter().any(|vm| vm.name == *name))
        {
            let names = config.vms.iter().map(|vm| vm.name.as_str());
            let why = if left_out.contains(&attach) {
                "a VM that is left out because of its own problem; allowed: a VM that is sound".into()
            } else if let Some(meant) = nearest(&attach, names) {
                format!("no VM; did you mean \"{meant}\"?")
            } else {
                "no VM; allowed: the name of a [[vm]] in this file".into()
            };
            let line = self.console_line.unwrap_or(1);
            self.problems.push(line, format!("[console] attach = \"{attach}\" names {why}"));
        }
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
