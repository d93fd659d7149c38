//! All VMs of the node: what the console shows and orders.
use super::disks::FileDisks;
use super::hardware::virtualization;
use super::run::{Overhead, Run};
use super::{ram, reclaim, seat, supervisor};
use crate::cpu_loop::Runtime;
use crate::memory::HEAP;
use crate::time;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use core::time::Duration;
use executor::Signal;
use mgmt::config::VmConfig;
use mgmt::shell::human::Size;
use mgmt::shell::node::{
    BalloonInfo, NodeError, Terminal, VcpuInfo, VcpuState, VmAction, VmInfo, VmState, VmSummary,
};
use spin::Mutex;
use vmm::exit::ExitKind;
use vmm::platform::{ConsoleOutput, OutputWatcher};
use vmm::vcpu::Activity;
use vmm::virtio::{Balloon, Port};

/// Orders that wait for a VM's task; more are refused.
const MOST_ORDERS: usize = 16;

/// Bytes of memory that no VM is asked to do with less of, as in purevisor.toml.
const LEAST: u64 = 16 << 20;

/// What a VM is doing.
pub type Status = VmState;

/// Something that the console's sessions are told.
pub enum Notice {
    /// The VM starts again, and why.
    Restarts(String),
    /// It stopped, and why.
    Stopped(String),
}

/// A configured VM.
pub struct Vm {
    /// As `purevisor.toml` has it.
    pub config: VmConfig,
    /// Its terminals: what it printed, over all its runs.
    pub terminals: Terminals,
    /// Its disks that began as files.
    pub files: FileDisks,
    /// Wakes its task.
    pub signal: Arc<Signal>,
    state: Mutex<State>,
    orders: Mutex<VecDeque<VmAction>>,
    restarts: AtomicU32,
    /// What sessions have not been told yet.
    notices: Mutex<VecDeque<Notice>>,
    news: Arc<Signal>,
    /// Has been started at least once.
    lived: AtomicBool,
    /// What its terminals cost, which it has in all its runs.
    console_cost: Overhead,
    /// Bytes of its memory that the operator wants back.
    given_back: AtomicU64,
}

/// Where an operator meets a VM.
pub struct Terminals {
    /// Output of its serial port.
    pub serial: Arc<ConsoleOutput>,
    /// Its virtio console, if it has one.
    pub virtio: Option<Arc<Port>>,
}

impl Terminals {
    /// What was printed on one of them, if the VM has it.
    pub fn output(&self, terminal: Terminal) -> Option<&Arc<ConsoleOutput>> {
        match terminal {
            Terminal::Serial => Some(&self.serial),
            Terminal::Virtio => self.virtio.as_ref().map(|port| port.output()),
        }
    }
}

struct State {
    status: Status,
    reason: Option<String>,
    run: Option<Arc<Run>>,
}

/// Tells the console's task that a VM printed something.
struct Printed(Arc<Signal>);

impl OutputWatcher for Printed {
    fn output(&self) {
        self.0.raise();
    }
}

impl Vm {
    fn new(config: VmConfig, news: Arc<Signal>) -> Self {
        let taken = HEAP.taken_here();
        let output = || Arc::new(ConsoleOutput::new(Some(Box::new(Printed(news.clone())))));
        let terminals =
            Terminals { serial: output(), virtio: config.virtio_console.then(|| Port::new(output())) };
        Self {
            config,
            terminals,
            console_cost: Overhead::of(HEAP.taken_here().since(taken)),
            files: FileDisks::default(),
            signal: Arc::new(Signal::new()),
            state: Mutex::new(State { status: Status::Off, reason: None, run: None }),
            orders: Mutex::new(VecDeque::with_capacity(MOST_ORDERS)),
            restarts: AtomicU32::new(0),
            notices: Mutex::new(VecDeque::new()),
            news,
            lived: AtomicBool::new(false),
            given_back: AtomicU64::new(0),
        }
    }

    /// What it is doing.
    pub fn status(&self) -> Status {
        self.state.lock().status
    }

    /// Whether its task has come to the end of what was asked of it.
    fn is_settled(&self) -> bool {
        !self.status().is_alive() && self.orders.lock().is_empty()
    }

    /// Sets what it is doing, and why.
    pub fn set_status(&self, status: Status, reason: Option<String>) {
        let mut state = self.state.lock();
        state.status = status;
        state.reason = reason;
    }

    /// Sets its current run.
    pub fn set_run(&self, run: Option<Arc<Run>>) {
        self.lived.store(true, Ordering::Relaxed);
        self.state.lock().run = run;
    }

    /// Its current run.
    pub fn run(&self) -> Option<Arc<Run>> {
        self.state.lock().run.clone()
    }

    /// Counts a restart.
    pub fn count_restart(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    /// The next order, if there is one.
    pub fn take_order(&self) -> Option<VmAction> {
        self.orders.lock().pop_front()
    }

    /// Waits for an order.
    pub async fn next_order(&self) -> VmAction {
        loop {
            match self.take_order() {
                Some(order) => return order,
                None => self.signal.wait().await,
            }
        }
    }

    /// Gives an order to its task.
    fn order(&self, action: VmAction) -> Result<(), NodeError> {
        let status = self.status();
        let allowed = match action {
            VmAction::Start => matches!(status, Status::Off | Status::Failed),
            VmAction::Stop => status == Status::Running,
            VmAction::Kill => status.is_alive(),
            VmAction::Reset => matches!(status, Status::Running | Status::Paused | Status::Stopping),
            VmAction::Pause => matches!(status, Status::Running | Status::Stopping),
            VmAction::Resume => status == Status::Paused,
        };
        let vm = self.config.name.clone();
        if !allowed {
            return Err(NodeError::WrongState { vm, action, state: status });
        }
        if action == VmAction::Start
            && let Err(missing) = virtualization()
        {
            let what = alloc::format!("start {vm}");
            return Err(NodeError::NotPossible { what, why: missing.to_string() });
        }
        let mut orders = self.orders.lock();
        if orders.len() >= MOST_ORDERS {
            let what = alloc::format!("{action} {vm}");
            return Err(NodeError::NotPossible {
                what,
                why: "it has not served its earlier orders yet".to_string(),
            });
        }
        orders.push_back(action);
        drop(orders);
        if action == VmAction::Start {
            // At once, not when its task comes to it: the next question must find it on its way.
            self.set_status(Status::Starting, None);
        }
        self.signal.raise();
        Ok(())
    }

    /// Sessions are to be told that it stopped.
    pub fn tell_stop(&self, why: &str) {
        self.tell(Notice::Stopped(why.to_string()));
    }

    /// Sessions are to be told that it starts again.
    pub fn tell_restart(&self, why: &str) {
        self.tell(Notice::Restarts(why.to_string()));
    }

    fn tell(&self, notice: Notice) {
        self.notices.lock().push_back(notice);
        self.news.raise();
    }

    /// What sessions are to be told next.
    pub fn take_notice(&self) -> Option<Notice> {
        self.notices.lock().pop_front()
    }

    /// Its task is done with it for now.
    pub fn stopped(&self) {
        self.news.raise();
    }

    fn summary(&self) -> VmSummary {
        let state = self.state.lock();
        let now = time::now().0;
        let mut cpu_time = 0;
        let mut exits = 0;
        let vcpus = state.run.as_ref().map_or(&[][..], |run| run.vcpus());
        for entity in vcpus {
            cpu_time += entity.stats().run;
            exits += entity.payload().exits().iter().sum::<u64>();
        }
        VmSummary {
            name: self.config.name.clone(),
            state: state.status,
            reason: state.reason.clone(),
            vcpus: self.config.vcpus,
            memory: self.config.memory,
            cpu_time: Duration::from_nanos(cpu_time),
            exits,
            uptime: state.run.as_ref().map(|run| Duration::from_nanos(now.saturating_sub(run.started))),
            restarts: self.restarts.load(Ordering::Relaxed),
        }
    }

    fn info(&self) -> VmInfo {
        let summary = self.summary();
        let run = self.run();
        let vcpus = run.as_ref().map_or(&[][..], |run| run.vcpus());
        let vcpus = vcpus.iter().map(vcpu_info).collect();
        let devices = run.as_ref().map_or(&[][..], |run| run.devices()).to_vec();
        let overhead = self.overhead().bytes();
        let memory_now = run.as_ref().map_or(0, |run| run.ram().held());
        let balloon = run.as_ref().and_then(|run| run.balloon()).map(|balloon| balloon_info(balloon));
        VmInfo { summary, config: self.config.clone(), vcpus, overhead, devices, memory_now, balloon }
    }

    /// Bytes of its memory that the operator wants back.
    pub fn given_back(&self) -> u64 {
        self.given_back.load(Ordering::Relaxed)
    }

    /// Wants it to use no more than `bytes` of its memory. Whether its guest can be asked now.
    fn set_memory(&self, bytes: u64) -> Result<bool, NodeError> {
        let all = self.config.memory;
        let no = |why: String| {
            let what = alloc::format!("give {} {}", self.config.name, Size(bytes));
            Err(NodeError::NotPossible { what, why })
        };
        if !self.config.balloon {
            return no("its part of purevisor.toml has balloon = false".to_string());
        }
        if bytes > all {
            return no(alloc::format!(
                "it has {} in purevisor.toml, and no more until it is started anew with more there",
                Size(all)
            ));
        }
        if bytes < LEAST {
            return no(alloc::format!("no guest runs in less than {}", Size(LEAST)));
        }
        let run = self.run();
        let more = bytes.saturating_sub(all - self.given_back());
        if run.is_some() && more > ram::free() {
            return no(alloc::format!(
                "that is {} more than now, and {} are free: stop another VM or give it less",
                Size(more),
                Size(ram::free())
            ));
        }
        self.given_back.store(all - bytes, Ordering::Relaxed);
        let balloon = run.as_ref().and_then(|run| run.balloon());
        if let Some(balloon) = balloon {
            balloon.set_target(all - bytes);
        }
        Ok(balloon.is_some_and(|balloon| balloon.has_driver()))
    }

    /// What it costs beside its guest's memory, if it runs.
    fn overhead(&self) -> Overhead {
        self.run().map_or(Overhead::default(), |run| run.overhead() + self.console_cost)
    }

    /// Presses keys on a terminal. How many were taken.
    fn type_in(&self, terminal: Terminal, bytes: &[u8]) -> Option<usize> {
        let run = self.run()?;
        if terminal == Terminal::Virtio {
            return self.terminals.virtio.as_ref().map(|port| port.input(bytes));
        }
        let taken = run.shared.board.console_input(bytes, time::now().0);
        // Its first vCPU runs the board's timers, and the UART's may have changed.
        run.shared.fabric.attention(0);
        Some(taken)
    }
}

fn balloon_info(balloon: &Balloon) -> BalloonInfo {
    let guest = balloon.statistics().unwrap_or_default();
    BalloonInfo {
        driver: balloon.has_driver(),
        target: balloon.target(),
        inflated: balloon.inflated(),
        free: guest.free,
        available: guest.available,
        total: guest.total,
    }
}

fn vcpu_info(entity: &Arc<seat::VcpuEntity>) -> VcpuInfo {
    let seat = entity.payload();
    let stats = entity.stats();
    let running_on = entity.running_on();
    let state = if seat.parked.load(Ordering::Relaxed) {
        VcpuState::Paused
    } else if running_on.is_some() {
        VcpuState::Running
    } else {
        match seat.activity() {
            Activity::Running => VcpuState::Ready,
            Activity::Halted | Activity::HaltedForGood => VcpuState::Halted,
            Activity::WaitsForStart => VcpuState::WaitForSipi,
        }
    };
    let exits = seat.exits();
    VcpuInfo {
        state,
        cpu: running_on
            .or_else(|| Some(seat.loaded_on.load(Ordering::Relaxed)).filter(|&cpu| cpu != usize::MAX))
            .map(|cpu| cpu as u32),
        cpu_time: Duration::from_nanos(stats.run),
        exits: ExitKind::NAMES.iter().zip(exits).map(|(name, n)| (name.to_string(), n)).collect(),
    }
}

/// All VMs.
pub struct Vms {
    all: Vec<Arc<Vm>>,
    /// Something was printed or happened: the console's task is to look.
    pub news: Arc<Signal>,
}

/// Makes the VMs of a configuration and their tasks, on the calling CPU, and starts those that are to
/// start with the node. Where no VM can run, that is said once, and those have failed for that reason.
pub fn start(runtime: &Runtime, configs: &[VmConfig]) -> Vms {
    vmm::emulate::prepare();
    let missing = virtualization().err();
    if let Some(missing) = missing {
        log::error!("no VM can run on this machine: {missing}");
    }
    let news = Arc::new(Signal::new());
    let all: Vec<Arc<Vm>> =
        configs.iter().map(|config| Arc::new(Vm::new(config.clone(), news.clone()))).collect();
    reclaim::spawn(runtime, all.clone());
    for vm in &all {
        supervisor::spawn(runtime, vm.clone());
        if !vm.config.autostart {
            continue;
        }
        if let Some(missing) = missing {
            vm.set_status(Status::Failed, Some(missing.to_string()));
        } else if let Err(error) = vm.order(VmAction::Start) {
            log::error!("vm {}: {error}", vm.config.name);
        }
    }
    Vms { all, news }
}

impl Vms {
    /// The VMs in the configuration's order.
    pub fn all(&self) -> &[Arc<Vm>] {
        &self.all
    }

    fn find(&self, name: &str) -> Result<&Arc<Vm>, NodeError> {
        let vm = self.all.iter().find(|vm| vm.config.name == name);
        vm.ok_or_else(|| NodeError::NoSuchVm { vm: name.to_string() })
    }

    /// The VM of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Vm>> {
        self.find(name).ok()
    }

    /// All VMs in short.
    pub fn summaries(&self) -> Vec<VmSummary> {
        self.all.iter().map(|vm| vm.summary()).collect()
    }

    /// One VM in detail.
    pub fn info(&self, name: &str) -> Result<VmInfo, NodeError> {
        Ok(self.find(name)?.info())
    }

    /// What all VMs that run cost beside their guests' memory.
    pub fn overhead(&self) -> Overhead {
        self.all.iter().fold(Overhead::default(), |sum, vm| sum + vm.overhead())
    }

    /// Sets how much of its memory a VM is to use. Whether its guest can be asked now.
    pub fn set_memory(&self, name: &str, bytes: u64) -> Result<bool, NodeError> {
        self.find(name)?.set_memory(bytes)
    }

    /// Gives an order to a VM.
    pub fn control(&self, name: &str, action: VmAction) -> Result<(), NodeError> {
        self.find(name)?.order(action)
    }

    /// Types into a VM's terminal; how many bytes were taken.
    pub fn console_input(&self, name: &str, terminal: Terminal, bytes: &[u8]) -> Result<usize, NodeError> {
        let vm = self.find(name)?;
        vm.type_in(terminal, bytes).ok_or_else(|| NodeError::NotPossible {
            what: alloc::format!("type into {name}"),
            why: alloc::format!("it is {}", vm.status()),
        })
    }

    /// Whether some VM has been started and none is left running or about to run. Not where no VM can run: whoever
    /// is to read why finds a console.
    pub fn all_done(&self) -> bool {
        virtualization().is_ok()
            && !self.all.is_empty()
            && self.all.iter().all(|vm| vm.is_settled())
            && self.all.iter().any(|vm| vm.lived.load(Ordering::Relaxed) || vm.status() == Status::Failed)
    }

    /// Whether some VM runs or is about to.
    pub fn any_alive(&self) -> bool {
        self.all.iter().any(|vm| !vm.is_settled())
    }
}
