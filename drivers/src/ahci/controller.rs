//! A controller: how it is started, watched over and ended.
//!
//! # When memory may be freed
//! An HBA that was given an address may write to it until it is known to have stopped: the command is completed, or
//! PxCMD.CR is 0 after PxCMD.ST = 0 (AHCI 1.3.1, 10.3.2), or the HBA was reset, or its function may not be bus
//! master any more ([`Parts::stop_dma`]). A time-out is none of these. All ones from a register are no proof that
//! an HBA is gone: a link that has failed for a moment looks the same. So `stop_dma` is called then, too.
use super::counters::Counters;
use super::disk::Disk;
use super::error::AhciError;
use super::events::{Event, Events};
use super::port::Port;
use super::queue::bits;
use super::recovery::watch;
use super::registers::{Link, PortRegisters, Window};
use super::tables::PortMemory;
use super::{Announce, Limits, Parts};
use crate::pci::MessageInterrupts;
use crate::request::wait::{after, nanos, pause, signal_or, until};
use crate::{Interrupt, Kernel};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use block::{BlockDevice, BlockError};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use executor::Signal;

/// Longest that firmware takes to hand the HBA over, and where it is busy (AHCI 1.3.1, 10.6.3).
const HAND_OFF: Duration = Duration::from_millis(25);
const BUSY_HAND_OFF: Duration = Duration::from_secs(2);
/// Longest that a reset of the HBA takes (10.4.3).
const RESET: Duration = Duration::from_secs(1);
/// How often time-outs and links are looked at, and all ports, for interrupts that got lost.
const TICK: Duration = Duration::from_secs(1);
/// How often an HBA without interrupts is looked at while it has commands.
const POLL: Duration = Duration::from_micros(100);
/// How often a line on something that goes wrong may come.
const TELL: Duration = Duration::from_secs(1);

/// What all tasks of a controller share.
pub(super) struct Core {
    name: String,
    kernel: Arc<dyn Kernel>,
    window: Arc<Window>,
    interrupts: Option<(Box<dyn MessageInterrupts>, Box<dyn Interrupt>)>,
    implemented: u32,
    ports: Vec<Arc<Port>>,
    /// The port of each of the HBA's numbers, as an index into `ports`.
    by_number: [Option<u8>; 32],
    limits: Limits,
    pub announce: Announce,
    stop_dma: Box<dyn Fn() + Send + Sync>,
    /// Raised by interrupts, by whoever wants something of the task, and by requests where there are no interrupts.
    signal: Arc<Signal>,
    wishes: Events,
    told: AtomicU64,
    over: AtomicBool,
    ended: executor::Event,
}

/// A controller that works.
pub struct Controller {
    core: Arc<Core>,
    info: Info,
}

/// What a controller says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// As it is called: `ahci0`.
    pub name: String,
    /// Major and minor version of the specification that it follows, each of them in BCD.
    pub version: (u16, u16),
    /// Its ports.
    pub ports: usize,
    /// Command slots of a port.
    pub slots: u32,
    /// It has native command queuing.
    pub queued: bool,
    /// It interrupts; else it is looked at.
    pub interrupts: bool,
}

/// Brings a controller up and looks at all its ports: each disk is announced before this returns. Called on the CPU
/// that is to watch over it.
///
/// # Errors
/// Why it can't be used. It knows no memory then.
pub async fn start(
    kernel: Arc<dyn Kernel>,
    parts: Parts,
    limits: Limits,
) -> Result<Arc<Controller>, AhciError> {
    let Parts { number, registers, interrupts, disk_number, announce, stop_dma } = parts;
    let name = format!("ahci{number}");
    let bytes = registers.bytes();
    let window = Arc::new(Window::new(registers));
    if bytes < 0x180 {
        return Err(AhciError::Window(bytes));
    }
    if window.is_gone() {
        return Err(AhciError::Gone);
    }
    take_over(&*kernel, &window, &name).await;
    let implemented = window.implemented();
    if implemented == 0 {
        return Err(AhciError::NoPorts);
    }
    if implemented >> (window.room() - 1) > 1 {
        return Err(AhciError::Window(bytes));
    }
    if let Err(error) = reset(&*kernel, &window, implemented).await {
        stop_dma();
        return Err(error);
    }
    let capabilities = window.capabilities();
    let count = implemented.count_ones();
    let memories = (0..count).map(|_| PortMemory::new(&*kernel, !capabilities.wide()));
    let memories = memories.collect::<Option<Vec<_>>>().ok_or(AhciError::NoMemory)?;
    let here = kernel.this_cpu();
    let signal = Arc::new(Signal::new());
    let interrupts = interrupts.and_then(|messages| {
        let vector = kernel.interrupt(here, signal.clone())?;
        messages.connect(0, Some(vector.message()));
        Some((messages, vector))
    });
    if interrupts.is_none() {
        log::warn!("{name}: it can't interrupt, and is looked at every {} µs instead", POLL.as_micros());
    }
    let mut ports: Vec<Arc<Port>> = Vec::new();
    let mut by_number = [None; 32];
    for (number, memory) in bits(implemented).zip(memories) {
        // At most 32.
        by_number[number as usize] = Some(ports.len() as u8);
        ports.push(Arc::new(Port {
            number,
            disk_number: disk_number(number),
            name: format!("{name} port {number}"),
            kernel: kernel.clone(),
            registers: PortRegisters::new(window.clone(), number),
            capabilities,
            limits,
            memory,
            events: Events::default(),
            in_flight: Default::default(),
            poller: interrupts.is_none().then(|| signal.clone()),
            disk: Default::default(),
            ignored: AtomicBool::new(false),
            settled: executor::Event::new(),
            ended: executor::Event::new(),
        }));
    }
    let info = Info {
        name: name.clone(),
        version: window.version(),
        ports: ports.len(),
        slots: capabilities.slots(),
        queued: capabilities.queued(),
        interrupts: interrupts.is_some(),
    };
    let core = Arc::new(Core {
        name,
        kernel: kernel.clone(),
        window,
        interrupts,
        implemented,
        ports,
        by_number,
        limits,
        announce,
        stop_dma,
        signal,
        wishes: Events::default(),
        told: AtomicU64::new(0),
        over: AtomicBool::new(false),
        ended: executor::Event::new(),
    });
    core.window.enable(core.interrupts.is_some());
    kernel.spawn(here, "ahci", Box::pin(serve(core.clone())));
    let mut before = None;
    for port in &core.ports {
        let turn = if capabilities.staggered() { before.take() } else { None };
        kernel.spawn(here, "ahci port", Box::pin(watch(core.clone(), port.clone(), turn)));
        before = Some(port.clone());
    }
    for port in &core.ports {
        port.settled.wait().await;
    }
    if core.over.load(Ordering::Relaxed) {
        return Err(AhciError::Gone);
    }
    Ok(Arc::new(Controller { core, info }))
}

/// Takes the HBA over from the firmware.
async fn take_over(kernel: &dyn Kernel, window: &Window, name: &str) {
    if !window.request_hand_off() {
        return;
    }
    let free = || !window.hand_off().firmware_owns();
    let mut taken = until(kernel, HAND_OFF, free).await;
    if !taken && window.hand_off().firmware_busy() {
        taken = until(kernel, BUSY_HAND_OFF, free).await;
    }
    if !taken {
        log::warn!("{name}: the firmware does not hand it over: it is taken");
    }
}

/// Resets the HBA: it knows no memory then. Interrupts are off.
async fn reset(kernel: &dyn Kernel, window: &Window, implemented: u32) -> Result<(), AhciError> {
    window.begin_reset();
    let done = until(kernel, RESET, || !window.in_reset()).await;
    if window.is_gone() {
        return Err(AhciError::Gone);
    }
    if !done {
        return Err(AhciError::HungReset);
    }
    window.enable(false);
    window.restore_implemented(implemented);
    Ok(())
}

/// The task that serves the HBA.
async fn serve(core: Arc<Core>) {
    let kernel = &*core.kernel;
    let mut tick = after(kernel, TICK);
    loop {
        let busy = || core.ports.iter().any(|port| port.has_commands());
        let polled = core.interrupts.is_none() && busy();
        let deadline = if polled { tick.min(after(kernel, POLL)) } else { tick };
        signal_or(kernel, &core.signal, deadline).await;
        let wishes = core.wishes.take();
        if core.wishes.has(Event::END) {
            return core.end();
        }
        if wishes.has(Event::SHUT_DOWN) {
            return core.shut_down().await;
        }
        if wishes.has(Event::RESET) && !core.reset().await {
            return core.end();
        }
        core.serve();
        if kernel.now() >= tick {
            tick = after(kernel, TICK);
            if core.window.is_gone() {
                return core.end();
            }
            core.tick();
        }
    }
}

impl Core {
    fn port(&self, number: u32) -> Option<&Arc<Port>> {
        self.ports.get(usize::from((*self.by_number.get(number as usize)?)?))
    }

    /// Looks at the ports that want something.
    #[inline]
    fn serve(&self) {
        let wanting = self.window.interrupts();
        if wanting == u32::MAX && self.window.is_gone() {
            return self.wishes.tell(Event::END);
        }
        for number in bits(wanting & self.implemented) {
            if let Some(port) = self.port(number) {
                port.service();
            }
        }
        if wanting != 0 {
            // After the ports' own: before, it would be set again at once.
            self.window.acknowledge(wanting);
        }
        // After that, so that what is completed from here on interrupts again.
        for port in self.ports.iter().filter(|port| port.has_commands()) {
            if let Some(disk) = port.disk() {
                disk.queue().reap();
            }
        }
    }

    fn tick(&self) {
        let late = self.kernel.now().saturating_sub(nanos(self.limits.command));
        for port in &self.ports {
            port.service();
            match port.disk() {
                Some(disk) => {
                    disk.queue().reap();
                    if disk.queue().find_late(late) {
                        port.events.tell(Event::TIMEOUT);
                    }
                }
                None => {
                    let there = port.registers.link() != Link::Down;
                    if !there {
                        port.ignored.store(false, Ordering::Relaxed);
                    } else if !port.ignored.load(Ordering::Relaxed) && port.settled.is_set() {
                        port.events.tell(Event::LINK);
                    }
                }
            }
        }
    }

    /// Whether another line on something that goes wrong may come.
    pub fn may_tell(&self) -> bool {
        let (now, last) = (self.kernel.now(), self.told.load(Ordering::Relaxed));
        let may = last == 0 || now.saturating_sub(last) >= nanos(TELL);
        if may {
            self.told.store(now, Ordering::Relaxed);
        }
        may
    }

    /// For a port that can't be stopped: waits until the HBA was reset, or is given up.
    pub async fn reset_for(&self, port: &Port) {
        port.events.forget(&[Event::RESET]);
        self.wishes.tell(Event::RESET);
        self.signal.raise();
        let done = || port.events.has(Event::RESET) || port.events.has(Event::END);
        until(&*self.kernel, 3 * RESET, done).await;
        port.events.forget(&[Event::RESET]);
    }

    /// Resets the HBA for a port that can't be stopped. Whether it works.
    async fn reset(&self) -> bool {
        log::warn!("{}: a port can't be stopped: the controller is reset", self.name);
        for disk in self.ports.iter().filter_map(|port| port.disk()) {
            disk.queue().hold();
        }
        if let Err(error) = reset(&*self.kernel, &self.window, self.implemented).await {
            log::error!("{}: {error}", self.name);
            return false;
        }
        self.window.enable(self.interrupts.is_some());
        for port in &self.ports {
            port.events.tell(Event::RESET);
        }
        true
    }

    /// Ends all requests: the HBA is gone, or given up, and its disks with it.
    fn end(&self) {
        for port in &self.ports {
            if let Some(disk) = port.disk() {
                log::warn!("{}: {} is gone", port.name, disk.identity().name);
            }
        }
        self.close();
    }

    /// Ends all requests: nobody reaches the HBA any more.
    fn close(&self) {
        if self.over.swap(true, Ordering::AcqRel) {
            return;
        }
        (self.stop_dma)();
        self.window.close();
        if let Some((messages, _)) = &self.interrupts {
            messages.connect(0, None);
        }
        for port in &self.ports {
            port.events.tell(Event::END);
            let disk = port.disk.lock().take();
            if let Some(disk) = disk {
                disk.close(BlockError::Removed);
            }
        }
        self.ended.set();
    }

    async fn shut_down(&self) {
        for port in &self.ports {
            port.events.tell(Event::SHUT_DOWN);
        }
        for port in &self.ports {
            // The ports' tasks wait with limits; completions are served meanwhile.
            while !port.ended.is_set() && !self.wishes.has(Event::END) {
                self.serve();
                pause(&*self.kernel, Duration::from_millis(1)).await;
            }
        }
        let _ = reset(&*self.kernel, &self.window, self.implemented).await;
        self.close();
    }
}

impl Controller {
    /// What it is.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// The disks that are there now.
    pub fn disks(&self) -> Vec<Arc<Disk>> {
        self.core.ports.iter().filter_map(|port| port.disk()).collect()
    }

    /// Takes completions of all disks now, if there are any, and tells whoever waits: for a CPU's loop or exit
    /// handler that does not want to wait for the interrupt. Without completions it costs a load or two per port,
    /// and no access to the device. Whether there were some.
    #[inline]
    pub fn poll(&self) -> bool {
        let mut some = false;
        for port in &self.core.ports {
            if port.has_commands() && port.memory.take_device_bits() {
                some |= port.disk().is_some_and(|disk| disk.queue().reap() != 0);
            }
        }
        some
    }

    /// What its disks have done so far.
    pub fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        for disk in self.disks() {
            sum += disk.counters();
        }
        sum
    }

    /// Whether it is there and works.
    pub fn is_present(&self) -> bool {
        !self.core.over.load(Ordering::Relaxed)
    }

    /// The bus says that it is gone: all requests are done with [`BlockError::Removed`] soon.
    pub fn removed(&self) {
        self.core.wishes.tell(Event::END);
        self.core.signal.raise();
    }

    /// Waits until it is over: removed, given up or shut down.
    pub async fn ended(&self) {
        self.core.ended.wait().await;
    }

    /// Lets the disks finish what they have, write back their caches and stop: before the power is switched off.
    /// Requests that come later fail.
    pub async fn shut_down(&self) {
        self.core.wishes.tell(Event::SHUT_DOWN);
        self.core.signal.raise();
        self.core.ended.wait().await;
    }
}
