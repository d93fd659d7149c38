//! `top`: CPUs, VMs, disks and networks live, on one screen.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::time::Duration;

use crate::shell::human::{Count, Share, Size, Span};
use crate::shell::node::{CpuInfo, DiskCounters, Node, Traffic};
use crate::shell::on_one_line;
use crate::shell::table::Table;

/// How often the screen is drawn.
const INTERVAL: Duration = Duration::from_secs(1);

/// CPUs shown one by one; the rest is summed up.
const MAX_CPUS: usize = 8;

/// The counters at the last drawing, from which the rates come.
#[derive(Clone, Debug)]
pub(super) struct Top {
    /// Lines and columns of the terminal.
    rows: usize,
    columns: usize,
    /// When it was drawn; `None`: not yet.
    drawn: Option<Duration>,
    cpus: BTreeMap<u32, CpuInfo>,
    /// CPU time and exits by VM.
    vms: BTreeMap<String, (Duration, u64)>,
    disks: BTreeMap<String, DiskCounters>,
    /// What came in, what went out and what was dropped, by network and port.
    ports: BTreeMap<(String, String), (Traffic, Traffic, u64)>,
}

impl Top {
    pub fn new(rows: usize, columns: usize) -> Self {
        Self {
            rows,
            columns,
            drawn: None,
            cpus: BTreeMap::new(),
            vms: BTreeMap::new(),
            disks: BTreeMap::new(),
            ports: BTreeMap::new(),
        }
    }

    /// Draws the screen, if it is time.
    pub fn tick(&mut self, now: Duration, node: &dyn Node, out: &mut Vec<u8>) {
        match self.drawn {
            Some(drawn) if now.saturating_sub(drawn) < INTERVAL => return,
            Some(_) => out.extend(b"\x1b[H"),
            None => out.extend(b"\x1b[?25l\x1b[2J\x1b[H"),
        }
        let text = self.screen(now, node);
        for (index, line) in text.lines().take(self.rows.saturating_sub(1)).enumerate() {
            if index > 0 {
                out.extend(b"\r\n");
            }
            out.extend(line.chars().take(self.columns - 1).collect::<String>().bytes());
            out.extend(b"\x1b[K");
        }
        out.extend(b"\x1b[J");
        self.drawn = Some(now);
    }

    /// What the screen shows: the rates since the last drawing, at first the averages since the start.
    fn screen(&mut self, now: Duration, node: &dyn Node) -> String {
        let info = node.info();
        let period = match self.drawn {
            Some(drawn) => format!("in the last {}", Span(now.saturating_sub(drawn))),
            None => "since the start".to_string(),
        };
        let used = info.memory_total.saturating_sub(info.memory_free);
        let disks = match self.disk_table(node) {
            Some(table) => format!("\n{table}"),
            None => String::new(),
        };
        let ports = match self.port_table(node) {
            Some(table) => format!("\n{table}"),
            None => String::new(),
        };
        format!(
            "{}: up {}, memory {} of {} used; rates {period}; any key ends\n\n{}\n{}{disks}{ports}",
            info.name,
            Span(info.uptime),
            Size(used),
            Size(info.memory_total),
            self.cpu_table(node),
            self.vm_table(now, node)
        )
    }

    fn cpu_table(&mut self, node: &dyn Node) -> Table {
        let mut table =
            Table::new(&[">CPU", ">GUEST", ">HYPERVISOR", ">IDLE", ">EXITS", ">INTERRUPTS", "RUNS"]);
        let cpus = node.cpus();
        let mut rest = CpuInfo::default();
        for (index, cpu) in cpus.iter().enumerate() {
            let before = self.cpus.get(&cpu.number).cloned().unwrap_or_default();
            let rate = CpuInfo {
                guest: cpu.guest.saturating_sub(before.guest),
                hypervisor: cpu.hypervisor.saturating_sub(before.hypervisor),
                idle: cpu.idle.saturating_sub(before.idle),
                exits: cpu.exits.saturating_sub(before.exits),
                interrupts: cpu.interrupts.saturating_sub(before.interrupts),
                ..CpuInfo::default()
            };
            if index < MAX_CPUS {
                let runs = cpu.runs.as_ref().map(|(vm, vcpu)| format!("{vm}/{vcpu}")).unwrap_or_default();
                table.row(cpu_row(cpu.number.to_string(), &rate, runs));
            } else {
                rest.guest += rate.guest;
                rest.hypervisor += rate.hypervisor;
                rest.idle += rate.idle;
                rest.exits = rest.exits.saturating_add(rate.exits);
                rest.interrupts = rest.interrupts.saturating_add(rate.interrupts);
            }
        }
        if let Some(others) = cpus.len().checked_sub(MAX_CPUS).filter(|others| *others > 0) {
            table.row(cpu_row(format!("{others} more"), &rest, String::new()));
        }
        self.cpus = cpus.into_iter().map(|cpu| (cpu.number, cpu)).collect();
        table
    }

    fn vm_table(&mut self, now: Duration, node: &dyn Node) -> Table {
        let mut table = Table::new(&["VM", "STATE", ">VCPUS", ">MEMORY", ">CPU", ">EXITS", ">UP", "REASON"]);
        let vms = node.vms();
        let mut rows = Vec::new();
        for vm in &vms {
            let (time, exits) = self.vms.get(&vm.name).copied().unwrap_or_default();
            // A VM that was started anew counts from zero again.
            let since = match (self.drawn, vm.uptime) {
                (Some(drawn), Some(up)) => now.saturating_sub(drawn).min(up),
                (_, up) => up.unwrap_or_default(),
            };
            let used = vm.cpu_time.checked_sub(time).unwrap_or(vm.cpu_time);
            let exits = vm.exits.checked_sub(exits).unwrap_or(vm.exits);
            let busy =
                if vm.state.is_alive() { Share::of_time(used, since).to_string() } else { "-".to_string() };
            let row = [
                vm.name.clone(),
                vm.state.to_string(),
                vm.vcpus.to_string(),
                Size(vm.memory).to_string(),
                busy,
                Count(exits).to_string(),
                vm.uptime.map_or("-".to_string(), |up| Span(up).to_string()),
                on_one_line(vm.reason.as_deref().unwrap_or_default()),
            ];
            rows.push((Reverse((vm.state.is_alive(), used)), row));
        }
        rows.sort_by_key(|(busiest_first, _)| *busiest_first);
        rows.into_iter().for_each(|(_, row)| table.row(row));
        self.vms = vms.into_iter().map(|vm| (vm.name, (vm.cpu_time, vm.exits))).collect();
        table
    }

    /// What moved on disks; nothing on a machine without.
    fn disk_table(&mut self, node: &dyn Node) -> Option<Table> {
        let disks = node.disks();
        let mut table =
            Table::new(&["DISK", ">READS", ">READ", ">WRITES", ">WRITTEN", ">FLUSHES", "USED BY"]);
        for disk in &disks {
            let before = self.disks.get(&disk.name).copied().unwrap_or_default();
            let users: Vec<&str> = disk.users.iter().map(|u| u.owner.as_str()).collect();
            let c = &disk.counters;
            table.row([
                disk.name.clone(),
                Count(since(c.reads, before.reads)).to_string(),
                Size(since(c.read_bytes, before.read_bytes)).to_string(),
                Count(since(c.writes, before.writes)).to_string(),
                Size(since(c.written_bytes, before.written_bytes)).to_string(),
                Count(since(c.flushes, before.flushes)).to_string(),
                on_one_line(&users.join(", ")),
            ]);
        }
        self.disks = disks.iter().map(|disk| (disk.name.clone(), disk.counters)).collect();
        (!disks.is_empty()).then_some(table)
    }

    /// What moved at the ports of networks; nothing on a node without.
    fn port_table(&mut self, node: &dyn Node) -> Option<Table> {
        let mut table = Table::new(&["PORT", "NETWORK", ">IN", ">BYTES", ">OUT", ">BYTES", ">DROPPED"]);
        let mut counted = BTreeMap::new();
        for network in node.networks() {
            for port in &network.ports {
                let key = (network.name.clone(), port.owner.to_string());
                let (incoming, outgoing, dropped) = self.ports.get(&key).copied().unwrap_or_default();
                table.row([
                    key.1.clone(),
                    network.name.clone(),
                    Count(since(port.incoming.frames, incoming.frames)).to_string(),
                    Size(since(port.incoming.bytes, incoming.bytes)).to_string(),
                    Count(since(port.outgoing.frames, outgoing.frames)).to_string(),
                    Size(since(port.outgoing.bytes, outgoing.bytes)).to_string(),
                    Count(since(port.dropped(), dropped)).to_string(),
                ]);
                counted.insert(key, (port.incoming, port.outgoing, port.dropped()));
            }
        }
        self.ports = counted;
        (!self.ports.is_empty()).then_some(table)
    }
}

/// What was counted since then. What came in the place of another counts from zero again.
fn since(now: u64, before: u64) -> u64 {
    now.checked_sub(before).unwrap_or(now)
}

fn cpu_row(name: String, rate: &CpuInfo, runs: String) -> [String; 7] {
    let whole = rate.guest + rate.hypervisor + rate.idle;
    [
        name,
        Share::of_time(rate.guest, whole).to_string(),
        Share::of_time(rate.hypervisor, whole).to_string(),
        Share::of_time(rate.idle, whole).to_string(),
        Count(rate.exits).to_string(),
        Count(rate.interrupts).to_string(),
        runs,
    ]
}
