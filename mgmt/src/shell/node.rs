//! What the shell asks of the node that it runs on. The kernel implements [`Node`]; tests do too.
//!
//! Every call returns at once: questions with a snapshot, orders with whether they were accepted. What
//! an order leads to later comes to the sessions as [`crate::session::VmEvent`]s and log lines.

mod network;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;
use core::ops::Range;
use core::time::Duration;

use net::capture::Filter;

use super::human::Size;
use crate::config::VmConfig;
pub use network::{
    AddressInfo, CAPTURED_BYTES, CaptureInfo, Echo, Mirror, NetworkInfo, NicInfo, OutgoingInfo, PingReply,
    PortInfo, PortOwner, SocketInfo, Traffic,
};

/// The node, as an operator sees and directs it.
pub trait Node {
    /// The machine and the hypervisor on it.
    fn info(&self) -> NodeInfo;
    /// All VMs, in the configuration's order.
    fn vms(&self) -> Vec<VmSummary>;
    /// One VM in detail.
    fn vm(&self, name: &str) -> Result<VmInfo, NodeError>;
    /// Begins to do this to a VM.
    fn control(&mut self, vm: &str, action: VmAction) -> Result<(), NodeError>;
    /// Asks a VM's guest to use no more than `bytes` of its memory. Whether the guest can be asked now: it may have
    /// no driver for its balloon, or none yet; then it is asked when it has.
    fn set_memory(&mut self, vm: &str, bytes: u64) -> Result<bool, NodeError>;
    /// All physical CPUs that run, by number.
    fn cpus(&self) -> Vec<CpuInfo>;
    /// Where the memory is.
    fn memory(&self) -> MemoryInfo;
    /// The newest `most` entries of the log whose sequence is greater than `after`, oldest first.
    fn log(&self, after: Option<u64>, most: usize) -> Vec<LogEntry>;
    /// Begins to power off or to reboot the machine. With [`Haste::Graceful`] the node presses each
    /// running VM's ACPI power button, waits, tells the rest of the wait by log lines, and then ends.
    fn end(&mut self, ending: Ending, haste: Haste) -> Result<(), NodeError>;
    /// What a VM printed on this terminal until now, as far as it is kept: all that was given to
    /// `Session::vm_output` and nothing that will be.
    fn console_history(&self, vm: &str, terminal: Terminal) -> Result<Vec<u8>, NodeError>;
    /// Types into a VM's terminal.
    fn console_input(&mut self, vm: &str, terminal: Terminal, bytes: &[u8]) -> Result<(), NodeError>;
    /// All PCI functions, by address.
    fn pci(&self) -> Vec<PciInfo>;
    /// All disks, by name.
    fn disks(&self) -> Vec<DiskInfo>;
    /// All network cards, by name.
    fn nics(&self) -> Vec<NicInfo>;
    /// All networks, in the configuration's order.
    fn networks(&self) -> Vec<NetworkInfo>;
    /// From now on keeps the frames of a network that pass the filter, `most` at most, and none of an earlier capture.
    fn start_capture(&mut self, network: &str, filter: Filter, most: usize) -> Result<(), NodeError>;
    /// Keeps no further frames. How many are kept, until the next capture of this network.
    fn stop_capture(&mut self, network: &str) -> Result<usize, NodeError>;
    /// The frames that are kept of a network, as a file of [`net::capture`]. Also while further ones are being kept. Times
    /// are those since the kernel was entered.
    fn captured(&self, network: &str) -> Result<Vec<u8>, NodeError>;
    /// Copies what passes at a port of a network to another port from now on, as the only mirror there; `None`: ends it.
    fn mirror(&mut self, network: &str, mirror: Option<Mirror>) -> Result<(), NodeError>;
    /// Sends an ICMP echo request from the node's own address. Its number, for [`Self::echo`].
    fn ping(&mut self, to: IpAddr) -> Result<u64, NodeError>;
    /// What came of an echo request; other than [`Echo::Waiting`] once. Whoever asked gives up by itself, and the node
    /// forgets what nobody has asked for in ten seconds.
    fn echo(&mut self, number: u64) -> Echo;
}

/// The machine and the hypervisor on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeInfo {
    /// The node's name.
    pub name: String,
    /// PureVisor's version.
    pub version: String,
    /// Maker and model of the machine.
    pub machine: String,
    /// The processor's brand string.
    pub cpu_model: String,
    /// CPUs that run.
    pub cpus: u32,
    /// The virtualization back end and what it uses: `AMD-V, nested paging, 16 ASIDs`.
    pub back_end: String,
    /// Bytes of memory in the machine, and how many of them are free.
    pub memory_total: u64,
    pub memory_free: u64,
    /// Time since the kernel was entered.
    pub uptime: Duration,
    /// Its own addresses.
    pub address: AddressInfo,
}

/// A terminal of a VM that an operator can go to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Terminal {
    /// Its serial port, Linux's `ttyS0`: every VM has it.
    #[default]
    Serial,
    /// Its virtio console, Linux's `hvc0`, if its configuration gives it one.
    Virtio,
}

impl Terminal {
    /// What the operator calls the virtio console: what Linux does.
    pub const VIRTIO: &'static str = "hvc0";
}

/// What a VM is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmState {
    /// Not started, or it powered off.
    Off,
    /// Its memory and files are being prepared.
    Starting,
    Running,
    /// Its vCPUs are held by the operator.
    Paused,
    /// Its power button was pressed, it has not powered off yet.
    Stopping,
    /// It stopped because of an error.
    Failed,
}

impl VmState {
    /// Whether it has a running or held machine.
    pub fn is_alive(self) -> bool {
        !matches!(self, Self::Off | Self::Failed)
    }
}

impl fmt::Display for VmState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Off => "off",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::Failed => "failed",
        })
    }
}

/// A VM in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmSummary {
    pub name: String,
    pub state: VmState,
    /// Why it is in this state, if that is not by the operator's order: `powered off by the guest`.
    pub reason: Option<String>,
    pub vcpus: u32,
    /// Guest memory in bytes.
    pub memory: u64,
    /// CPU time used by all vCPUs since the start, exits included.
    pub cpu_time: Duration,
    /// Exits of all vCPUs since the start.
    pub exits: u64,
    /// Time since the last start; `None` if it is not alive.
    pub uptime: Option<Duration>,
    /// Restarts since the node's start.
    pub restarts: u32,
}

/// A VM in detail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmInfo {
    pub summary: VmSummary,
    pub config: VmConfig,
    /// Empty if the VM is not alive.
    pub vcpus: Vec<VcpuInfo>,
    /// Bytes that the VM costs besides its memory: second-level page tables, control blocks, devices.
    pub overhead: u64,
    /// The devices that it has beside those that every VM has, and its disks. Empty if the VM is not alive.
    pub devices: Vec<&'static str>,
    /// Bytes of the node's memory that its guest has now; 0 if it is not alive.
    pub memory_now: u64,
    /// Its balloon, if it is alive and has one.
    pub balloon: Option<BalloonInfo>,
}

/// The balloon of a VM, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BalloonInfo {
    /// The guest has a driver for it.
    pub driver: bool,
    /// What the operator wants in it.
    pub target: u64,
    /// What is in it.
    pub inflated: u64,
    /// What the guest last said of its memory: unused, available without swapping, and all.
    pub free: Option<u64>,
    pub available: Option<u64>,
    pub total: Option<u64>,
}

/// A PCI function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PciInfo {
    /// Bus, device and function: `00:04.0`.
    pub address: String,
    pub vendor: u16,
    pub device: u16,
    /// Base class, subclass and programming interface.
    pub class: u32,
    /// What that means.
    pub class_name: &'static str,
    /// Its driver and what that is doing, if it has one.
    pub driver: Option<(&'static str, String)>,
    /// Its windows, as far as they have addresses.
    pub bars: Vec<PciBar>,
    /// Which interrupts it can send: `MSI-X 65, on`.
    pub interrupts: String,
    /// The buses behind a bridge, first and last; the first is 0 where it was given none.
    pub behind: Option<(u8, u8)>,
}

/// A window of a PCI function's registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PciBar {
    pub index: u8,
    /// Ports, not memory.
    pub is_io: bool,
    pub prefetchable: bool,
    pub address: u64,
    /// Bytes; 0 where nobody has taken the function, as only its driver may find out.
    pub bytes: u64,
}

/// A disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskInfo {
    /// As `purevisor.toml` names it.
    pub name: String,
    pub model: String,
    pub serial: String,
    pub firmware: String,
    /// What drives it, and the address of that controller.
    pub driver: &'static str,
    pub place: String,
    pub bytes: u64,
    pub block_size: u32,
    pub physical_block_size: u32,
    /// What was written may be lost with the power until it was flushed.
    pub volatile_cache: bool,
    pub discard: bool,
    pub write_zeroes: bool,
    pub solid_state: bool,
    pub read_only: bool,
    /// What was asked of it since it is there.
    pub counters: DiskCounters,
    pub users: Vec<DiskUse>,
}

/// What was asked of a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskCounters {
    pub reads: u64,
    pub writes: u64,
    pub flushes: u64,
    /// Discards and zeroes.
    pub others: u64,
    pub read_bytes: u64,
    pub written_bytes: u64,
}

/// Somebody who uses a part of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskUse {
    /// Who: `VM debian`.
    pub owner: String,
    /// Which bytes.
    pub bytes: Range<u64>,
    /// Writes them, not only reads.
    pub writes: bool,
}

/// A vCPU in detail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VcpuInfo {
    pub state: VcpuState,
    /// The physical CPU that runs it or ran it last.
    pub cpu: Option<u32>,
    pub cpu_time: Duration,
    /// Exits by kind since the start.
    pub exits: Vec<(String, u64)>,
}

/// What a vCPU is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VcpuState {
    /// On a physical CPU now.
    Running,
    /// Wants a physical CPU.
    Ready,
    /// In HLT, waits for an interrupt.
    Halted,
    /// An application processor that waits for a start-up IPI (SDM vol. 3A 9.4.3).
    WaitForSipi,
    /// Held with its VM.
    Paused,
}

impl fmt::Display for VcpuState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Running => "running",
            Self::Ready => "ready",
            Self::Halted => "halted",
            Self::WaitForSipi => "wait-for-SIPI",
            Self::Paused => "paused",
        })
    }
}

/// What can be done to a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmAction {
    Start,
    /// The ACPI power button: the guest shuts itself down.
    Stop,
    /// At once, whatever the guest is doing.
    Kill,
    /// The reset button.
    Reset,
    Pause,
    Resume,
}

impl fmt::Display for VmAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Kill => "kill",
            Self::Reset => "reset",
            Self::Pause => "pause",
            Self::Resume => "resume",
        })
    }
}

/// A physical CPU: times since it started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuInfo {
    pub number: u32,
    pub apic_id: u32,
    /// In guests.
    pub guest: Duration,
    /// In the hypervisor.
    pub hypervisor: Duration,
    /// Halted.
    pub idle: Duration,
    /// Exits of guests and interrupts that it took.
    pub exits: u64,
    pub interrupts: u64,
    /// The VM and the index of the vCPU that it runs now.
    pub runs: Option<(String, u32)>,
}

/// Where the memory is, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryInfo {
    pub total: u64,
    pub free: u64,
    /// What the hypervisor uses itself, by purpose.
    pub hypervisor: Vec<(String, u64)>,
    /// What each VM that is alive uses: name, guest memory, all else.
    pub vms: Vec<(String, u64, u64)>,
    /// Free blocks of the buddy allocator: their size and number.
    pub free_blocks: Vec<(u64, u64)>,
    /// Slab caches.
    pub slabs: Vec<SlabInfo>,
}

/// A cache of objects of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlabInfo {
    /// Size of an object in bytes.
    pub size: u32,
    pub used: u64,
    /// Objects for which there is memory, used or not.
    pub capacity: u64,
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Grows by one with each entry.
    pub sequence: u64,
    /// Time since the kernel was entered.
    pub time: Duration,
    pub level: LogLevel,
    pub text: String,
}

/// How much an entry of the log matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        })
    }
}

/// What becomes of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    PowerOff,
    Reboot,
}

/// Whether running VMs may shut down first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Haste {
    /// Ask them to, and wait for at most this long.
    Graceful(Duration),
    /// At once.
    Now,
}

/// Why an order was not accepted. `Display` is the operator's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeError {
    /// There is no VM of this name.
    NoSuchVm { vm: String },
    /// The VM's state does not allow it.
    WrongState { vm: String, action: VmAction, state: VmState },
    /// There is too little free memory to start it.
    NotEnoughMemory { vm: String, needed: u64, free: u64 },
    /// A file that it needs is missing or not what it should be.
    BadFile { vm: String, file: String, why: String },
    /// This machine or this VM cannot do it.
    NotPossible { what: String, why: String },
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchVm { vm } => write!(f, "there is no VM {vm}; 'vm list' shows those that are"),
            Self::WrongState { vm, action, state } => {
                write!(f, "cannot {action} {vm}: it is {state}")?;
                match (action, state) {
                    (VmAction::Start, VmState::Paused) => write!(f, "; 'vm resume {vm}' lets it go on"),
                    (VmAction::Start, _) => Ok(()),
                    (_, VmState::Off | VmState::Failed) => write!(f, "; 'vm start {vm}' starts it"),
                    (VmAction::Stop, VmState::Stopping) => write!(f, "; 'vm kill {vm}' stops it at once"),
                    (VmAction::Stop, VmState::Paused) => {
                        write!(f, "; 'vm resume {vm}' lets it go on, 'vm kill {vm}' stops it at once")
                    }
                    _ => Ok(()),
                }
            }
            Self::NotEnoughMemory { vm, needed, free } => write!(
                f,
                "cannot start {vm}: it needs {}, {} is free; stop another VM or give it less memory",
                Size(*needed),
                Size(*free)
            ),
            Self::BadFile { vm, file, why } => {
                write!(f, "cannot start {vm}: {file} on the boot volume: {why}; replace the file and reboot")
            }
            Self::NotPossible { what, why } => write!(f, "cannot {what}: {why}"),
        }
    }
}

impl core::error::Error for NodeError {}
