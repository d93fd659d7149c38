//! The shell's questions and orders, answered by this kernel.
use super::ending::Ordered;
use crate::console::log as kernel_log;
use crate::cpu::percpu::{self, PerCpu};
use crate::cpu::registers::cpuid;
use crate::devices::{self, disks};
use crate::memory::{self, HEAP};
use crate::network::Network;
use crate::time::{self, Nanos};
use crate::vm::{self, Vms};
use crate::{machine, network, power};
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::Cell;
use core::net::IpAddr;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use mgmt::config::{Config, NodeAddress, OnIdle};
use mgmt::shell::node::{
    CpuInfo, DiskInfo, Echo, Ending, Haste, LogEntry, LogLevel, MemoryInfo, Mirror, NetworkInfo, NicInfo,
    Node, NodeError, NodeInfo, PciInfo, Terminal, VcpuState, VmAction, VmInfo, VmSummary,
};
use net::capture::Filter;

/// Keys that wait for a VM to take them, at most: a paste.
const MOST_UNTYPED: usize = 4096;

/// Bytes of a VM's output that are shown to whoever attaches: all that is kept.
const HISTORY: usize = 64 << 10;

/// This node.
pub struct ThisNode {
    /// As `purevisor.toml` has it.
    pub config: Config,
    /// Its VMs.
    pub vms: Vms,
    /// Up to where the console has shown the output of the VM that it is on.
    pub console_shown: Cell<u64>,
    /// Keys that a VM has not taken yet.
    untyped: VecDeque<u8>,
    untyped_for: (String, Terminal),
    ending: Option<Ordered>,
}

impl ThisNode {
    /// The node of this configuration.
    pub fn new(config: Config, vms: Vms) -> Self {
        Self {
            config,
            vms,
            console_shown: Cell::new(0),
            untyped: VecDeque::new(),
            untyped_for: (String::new(), Terminal::Serial),
            ending: None,
        }
    }

    /// Whether the machine is to end now: by an order, or because the last VM has stopped.
    pub fn is_to_end(&mut self, now: Nanos) -> bool {
        if self.ending.is_none() && self.config.node.on_idle == OnIdle::PowerOff && self.vms.all_done() {
            log::info!("the last VM has stopped: powering off");
            self.ending = Some(Ordered::begin(Ending::PowerOff, Haste::Now, &self.vms, now));
        }
        self.ending.as_mut().is_some_and(|e| e.is_due(&self.vms, now))
    }

    /// Ends the machine's run, if that was ordered.
    pub fn end_now(&self) {
        if let Some(ending) = &self.ending {
            ending.carry_out();
        }
    }

    /// Whether keys wait for a VM.
    pub fn has_untyped(&self) -> bool {
        !self.untyped.is_empty()
    }

    /// Offers keys again that a VM has not taken.
    pub fn type_rest(&mut self) {
        if self.untyped.is_empty() {
            return;
        }
        let (vm, terminal) = &self.untyped_for;
        match self.vms.console_input(vm, *terminal, self.untyped.make_contiguous()) {
            Ok(taken) => drop(self.untyped.drain(..taken)),
            Err(_) => self.untyped.clear(),
        }
    }
}

fn nanos(counter: &AtomicU64) -> Duration {
    Duration::from_nanos(counter.load(Ordering::Relaxed))
}

fn cpu_info(cpu: &PerCpu, now: Nanos, vms: &[VmInfo]) -> CpuInfo {
    let guest = nanos(&cpu.guest_nanos);
    let idle = Duration::from_nanos(cpu.idle_until(now).0);
    let runs = vms.iter().find_map(|vm| {
        let on = |v: &mgmt::shell::node::VcpuInfo| {
            v.state == VcpuState::Running && v.cpu == Some(cpu.index as u32)
        };
        let vcpu = vm.vcpus.iter().position(on)?;
        Some((vm.summary.name.clone(), vcpu as u32))
    });
    CpuInfo {
        number: cpu.index as u32,
        apic_id: cpu.apic_id(),
        guest,
        hypervisor: Duration::from_nanos(now.0).saturating_sub(guest).saturating_sub(idle),
        idle,
        exits: cpu.exits.load(Ordering::Relaxed),
        interrupts: cpu.interrupts.load(Ordering::Relaxed),
        runs,
    }
}

/// The processor's brand string (SDM vol. 2A, CPUID leaves 8000_0002h to 8000_0004h).
fn brand() -> String {
    let mut text = Vec::with_capacity(48);
    for leaf in 0x8000_0002..=0x8000_0004 {
        let r = cpuid(leaf, 0);
        for word in [r.eax, r.ebx, r.ecx, r.edx] {
            text.extend(word.to_le_bytes());
        }
    }
    let end = text.iter().position(|b| *b == 0).unwrap_or(text.len());
    String::from_utf8_lossy(&text[..end]).trim().to_string()
}

/// What runs VMs, or why nothing can.
fn back_end() -> String {
    match vm::virtualization() {
        Ok(found) => found.describe(),
        Err(missing) => format!("none: {missing}"),
    }
}

impl Node for ThisNode {
    fn info(&self) -> NodeInfo {
        NodeInfo {
            name: self.config.node.name.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            machine: machine::name().into(),
            cpu_model: brand(),
            cpus: percpu::online().count() as u32,
            back_end: back_end(),
            memory_total: memory::ram_bytes(),
            memory_free: HEAP.usage().free,
            uptime: Duration::from_nanos(time::now().0),
            address: network::address_info(&self.config.node),
        }
    }

    fn vms(&self) -> Vec<VmSummary> {
        self.vms.summaries()
    }

    fn vm(&self, name: &str) -> Result<VmInfo, NodeError> {
        self.vms.info(name)
    }

    fn control(&mut self, vm: &str, action: VmAction) -> Result<(), NodeError> {
        self.vms.control(vm, action)
    }

    fn set_memory(&mut self, vm: &str, bytes: u64) -> Result<bool, NodeError> {
        self.vms.set_memory(vm, bytes)
    }

    fn cpus(&self) -> Vec<CpuInfo> {
        let now = time::now();
        let vms: Vec<VmInfo> =
            self.vms.summaries().iter().filter_map(|vm| self.vms.info(&vm.name).ok()).collect();
        percpu::online().map(|cpu| cpu_info(cpu, now, &vms)).collect()
    }

    fn memory(&self) -> MemoryInfo {
        let (ram, usage) = (memory::ram_bytes(), HEAP.usage());
        let alive = self.vms.summaries().into_iter().filter(|vm| vm.state.is_alive());
        let vms: Vec<(String, u64, u64)> = alive
            .filter_map(|vm| {
                let info = self.vms.info(&vm.name).ok()?;
                Some((vm.name, info.memory_now, info.overhead))
            })
            .collect();
        let guests: u64 = vms.iter().map(|(_, memory, _)| memory).sum();
        let overhead = self.vms.overhead();
        let hypervisor = [
            ("objects", usage.slabs),
            ("large allocations", usage.large.saturating_sub(overhead.large)),
            ("page tables, stacks, CPUs", usage.frames.saturating_sub(guests + overhead.frames)),
            ("frame tables", usage.tables),
            ("image, boot files, firmware", ram.saturating_sub(usage.total + usage.tables)),
        ];
        MemoryInfo {
            total: ram,
            free: usage.free,
            hypervisor: hypervisor.map(|(what, bytes)| (what.into(), bytes)).into(),
            vms,
            ..MemoryInfo::default()
        }
    }

    fn log(&self, after: Option<u64>, most: usize) -> Vec<LogEntry> {
        let first = after.map_or(0, |a| a.saturating_add(1));
        let from = kernel_log::next_number().saturating_sub(most as u64).max(first);
        let mut entries = Vec::new();
        kernel_log::read(from, most, |entry, text| {
            entries.push(LogEntry {
                sequence: entry.number,
                time: Duration::from_nanos(time::of_stamp(entry.stamp).unwrap_or_default().0),
                level: level(entry.level),
                text: text.into(),
            });
        });
        entries
    }

    fn end(&mut self, ending: Ending, haste: Haste) -> Result<(), NodeError> {
        if ending == Ending::PowerOff && !power::can_switch_off() {
            return Err(NodeError::NotPossible {
                what: "power off".into(),
                why: "the firmware's ACPI tables do not say how; use the power button".into(),
            });
        }
        self.ending = Some(Ordered::begin(ending, haste, &self.vms, time::now()));
        Ok(())
    }

    fn console_history(&self, vm: &str, terminal: Terminal) -> Result<Vec<u8>, NodeError> {
        let Some(found) = self.vms.get(vm) else {
            return Err(NodeError::NoSuchVm { vm: vm.into() });
        };
        let Some(output) = found.terminals.output(terminal) else {
            return Err(NodeError::NotPossible {
                what: format!("go to the virtio console of {vm}"),
                why: "it has none; virtio_console = true in its part of purevisor.toml gives it one".into(),
            });
        };
        let mut bytes = alloc::vec![0; HISTORY];
        let got = output.read(0, &mut bytes);
        bytes.truncate(got.len);
        self.console_shown.set(got.next);
        Ok(bytes)
    }

    fn console_input(&mut self, vm: &str, terminal: Terminal, bytes: &[u8]) -> Result<(), NodeError> {
        if self.untyped_for.0 != vm || self.untyped_for.1 != terminal {
            self.untyped.clear();
            self.untyped_for = (vm.into(), terminal);
        }
        let taken = if self.untyped.is_empty() { self.vms.console_input(vm, terminal, bytes)? } else { 0 };
        let room = MOST_UNTYPED.saturating_sub(self.untyped.len());
        self.untyped.extend(bytes[taken..].iter().take(room));
        Ok(())
    }

    fn pci(&self) -> Vec<PciInfo> {
        devices::functions()
    }

    fn disks(&self) -> Vec<DiskInfo> {
        disks::infos()
    }

    fn nics(&self) -> Vec<NicInfo> {
        network::nic_infos()
    }

    fn networks(&self) -> Vec<NetworkInfo> {
        network::network_infos()
    }

    fn start_capture(&mut self, network: &str, filter: Filter, most: usize) -> Result<(), NodeError> {
        let what = || format!("capture frames of {network}");
        let started = the_network(network)?.start_capture(filter, most);
        started.map_err(|why| NodeError::NotPossible { what: what(), why: why.to_string() })
    }

    fn stop_capture(&mut self, network: &str) -> Result<usize, NodeError> {
        the_network(network)?.stop_capture().ok_or_else(|| no_capture(network))
    }

    fn captured(&self, network: &str) -> Result<Vec<u8>, NodeError> {
        the_network(network)?.captured().ok_or_else(|| no_capture(network))
    }

    fn mirror(&mut self, network: &str, mirror: Option<Mirror>) -> Result<(), NodeError> {
        let what = || format!("mirror a port of {network}");
        let mirrored = the_network(network)?.mirror(mirror.as_ref());
        mirrored.map_err(|why| NodeError::NotPossible { what: what(), why })
    }

    fn ping(&mut self, to: IpAddr) -> Result<u64, NodeError> {
        let refused = |why: String| NodeError::NotPossible { what: format!("ping {to}"), why };
        let Some(station) = network::station() else {
            return Err(refused(no_station(&self.config).into()));
        };
        station.ping(to).map_err(|why| refused(why.to_string()))
    }

    fn echo(&mut self, number: u64) -> Echo {
        network::station().map_or(Echo::Waiting, |station| station.echo(number))
    }
}

/// Why the node can't speak for itself.
fn no_station(config: &Config) -> &'static str {
    match config.node.address {
        NodeAddress::None => "the node has no address; address in [node] of purevisor.toml gives it one",
        _ => "none of the cards that are its network's uplink works yet; 'nic list' shows those that do",
    }
}

fn the_network(name: &str) -> Result<&'static Arc<Network>, NodeError> {
    let why = || "there is no such network; 'net list' shows those that there are".into();
    network::get(name)
        .ok_or_else(|| NodeError::NotPossible { what: format!("use network {name}"), why: why() })
}

fn no_capture(network: &str) -> NodeError {
    let why = format!("nothing was captured there; 'net capture {network}' begins");
    NodeError::NotPossible { what: format!("show frames of {network}"), why }
}

fn level(of_log_crate: u8) -> LogLevel {
    match of_log_crate {
        1 => LogLevel::Error,
        2 => LogLevel::Warn,
        3 => LogLevel::Info,
        4 => LogLevel::Debug,
        _ => LogLevel::Trace,
    }
}
