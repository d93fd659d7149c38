//! A port: its engine, its link, and questions of the driver's own to the disk (AHCI 1.3.1, clauses 5, 6.2, 10).
//!
//! All of it runs in tasks of one CPU, which don't interrupt each other between two awaits: what the interrupt's
//! task notes of a port, the port's own task does not miss.
use super::disk::Disk;
use super::error::PortError;
use super::events::{Event, Events};
use super::fis::{BUSY, Command, DATA_REQUEST, ERROR, FAULT, SPIN_UP};
use super::identify::{DiskData, wants_spin_up};
use super::limits::Limits;
use super::registers::{Capabilities, Happened, Link, PortRegister, PortRegisters, command};
use super::tables::PortMemory;
use crate::Kernel;
use crate::request::wait::{after, pause, until};
use alloc::string::String;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use core::time::Duration;
use executor::Signal;
use spin::Mutex;

/// Longest that a port takes to stop (10.1.2, 10.3.2).
const STOP: Duration = Duration::from_millis(500);
/// How long COMRESET is held; at least 1 ms (10.4.2).
const COMRESET: Duration = Duration::from_millis(2);
/// How long a link may take until something is seen at all, and then until it is up.
const PRESENCE: Duration = Duration::from_millis(100);
const LINK_UP: Duration = Duration::from_secs(1);
/// Longest that a disk takes to answer a question.
const ANSWER: Duration = Duration::from_secs(10);
/// How often it is looked for an answer, at first: it comes soon.
const LOOK: Duration = Duration::from_micros(100);

/// PxSCTL: no change of power states, all speeds; COMRESET.
const LINK_ON: u32 = 3 << 8;
const LINK_RESET: u32 = LINK_ON | 1;

/// The signature of a disk.
const DISK: u32 = 0x0000_0101;

/// A port.
pub(super) struct Port {
    /// Its number at the HBA.
    pub number: u32,
    /// The number of a disk here.
    pub disk_number: usize,
    /// As it is called in the log.
    pub name: String,
    pub kernel: Arc<dyn Kernel>,
    pub registers: PortRegisters,
    pub capabilities: Capabilities,
    pub limits: Limits,
    pub memory: PortMemory,
    pub events: Events,
    /// The commands that the HBA has, for a look without a lock.
    pub in_flight: AtomicU32,
    /// Raised when there is something to wait for, where the HBA sends no interrupts.
    pub poller: Option<Arc<Signal>>,
    /// The disk that is there.
    pub disk: Mutex<Option<Arc<Disk>>>,
    /// What is plugged in can't be used: nothing to do until something else is.
    pub ignored: AtomicBool,
    /// It was looked at for the first time.
    pub settled: executor::Event,
    /// It has nothing more to do.
    pub ended: executor::Event,
}

impl Port {
    /// Whether memory for the HBA must be below 4 GiB.
    pub fn low_memory(&self) -> bool {
        !self.capabilities.wide()
    }

    #[inline]
    pub fn wake_poller(&self) {
        if let Some(signal) = &self.poller {
            signal.raise();
        }
    }

    pub fn disk(&self) -> Option<Arc<Disk>> {
        self.disk.lock().clone()
    }

    /// Takes note of what the port says has happened, and acknowledges it.
    #[inline]
    pub fn service(&self) {
        let happened: Happened = self.registers.take_happened();
        if happened.0 & !Happened::PROGRESS == 0 {
            return;
        }
        // Some of PxIS is what PxSERR says, and goes with that.
        let error = self.registers.read(PortRegister::SERR);
        self.registers.write(PortRegister::SERR, error);
        if happened.link_changed() {
            self.events.tell(Event::LINK);
        }
        if happened.task_file_error() {
            self.events.tell(Event::TASK_FILE);
        }
        if happened.other_error() {
            self.events.tell(Event::OTHER_ERROR);
        }
    }

    fn is_gone(&self) -> bool {
        self.events.has(Event::END) || self.registers.read(PortRegister::CMD) == u32::MAX
    }

    /// Stops the command list: the HBA has let go of all commands.
    ///
    /// # Errors
    /// Where it does not stop, and may still reach their memory.
    pub async fn stop(&self) -> Result<(), PortError> {
        if self.is_gone() {
            return Err(PortError::HbaGone);
        }
        self.registers.change_command(command::ST, 0);
        let stopped = || self.registers.read(PortRegister::CMD) & command::CR == 0;
        if until(&*self.kernel, STOP, stopped).await {
            return Ok(());
        }
        Err(if self.is_gone() { PortError::HbaGone } else { PortError::Stuck })
    }

    /// Starts the command list of a disk that is ready.
    async fn start(&self) -> Result<(), PortError> {
        if self.is_busy() && self.capabilities.override_busy() {
            self.registers.change_command(0, command::CLO);
            let over = || self.registers.read(PortRegister::CMD) & command::CLO == 0;
            until(&*self.kernel, STOP, over).await;
        }
        // Never without its own list: a reset of the HBA, for another port, may just have taken it.
        let list = self.memory.addresses()[0].get();
        if self.is_busy() || self.registers.read(PortRegister::CLB) != list as u32 {
            return Err(PortError::Busy);
        }
        self.registers.change_command(0, command::ST);
        Ok(())
    }

    fn is_busy(&self) -> bool {
        self.registers.task_file().0 & (BUSY | DATA_REQUEST) != 0
    }

    /// Lets the port receive FISes, to its own memory.
    async fn receive(&self) -> Result<(), PortError> {
        self.registers.change_command(command::FRE, 0);
        let stopped = || self.registers.read(PortRegister::CMD) & command::FR == 0;
        if !until(&*self.kernel, STOP, stopped).await {
            return Err(if self.is_gone() { PortError::HbaGone } else { PortError::Stuck });
        }
        let [list, received] = self.memory.addresses();
        let names =
            [(PortRegister::CLB, PortRegister::CLBU, list), (PortRegister::FB, PortRegister::FBU, received)];
        for (low, high, address) in names {
            self.registers.write(low, address.get() as u32);
            self.registers.write(high, (address.get() >> 32) as u32);
        }
        self.registers.change_command(0, command::POD | command::SUD | command::FRE | command::ICC_ACTIVE);
        Ok(())
    }

    /// Forgets what has happened up to now, but for changes of the link.
    pub fn forget_errors(&self) {
        self.service();
        self.events.forget(&[Event::TASK_FILE, Event::OTHER_ERROR, Event::TIMEOUT]);
    }

    /// Resets what is plugged in and asks it what it is. The command list runs then.
    ///
    /// # Errors
    /// Why that is no use.
    pub async fn bring_up(&self) -> Result<DiskData, PortError> {
        self.stop().await?;
        self.registers.write(PortRegister::IE, 0);
        self.receive().await?;
        self.registers.write(PortRegister::SCTL, LINK_RESET);
        pause(&*self.kernel, COMRESET).await;
        self.registers.write(PortRegister::SCTL, LINK_ON);
        let linked = self.wait_for_link().await;
        // The reset changes the link, too: from here on a change is another's doing.
        self.registers.write(PortRegister::SERR, u32::MAX);
        self.forget_errors();
        self.events.forget(&[Event::LINK]);
        self.registers.write(PortRegister::IE, Happened::ENABLED);
        linked?;
        let settled = || {
            let done = !self.is_busy() && self.registers.read(PortRegister::SIG) != u32::MAX;
            done || self.registers.link() != Link::Up
        };
        let ready = until(&*self.kernel, self.limits.ready, settled).await;
        if self.is_gone() {
            return Err(PortError::HbaGone);
        }
        if self.registers.link() != Link::Up {
            return Err(PortError::NoLink);
        }
        if !ready && !self.capabilities.override_busy() {
            return Err(PortError::Busy);
        }
        let signature = self.registers.read(PortRegister::SIG);
        if ready && signature != DISK {
            return Err(PortError::Foreign(signature));
        }
        self.start().await?;
        self.identify().await
    }

    /// Waits for the link.
    async fn wait_for_link(&self) -> Result<(), PortError> {
        let kernel = &*self.kernel;
        if !until(kernel, PRESENCE, || self.registers.link() != Link::Down).await {
            return Err(if self.is_gone() { PortError::HbaGone } else { PortError::Empty });
        }
        let up = until(kernel, LINK_UP, || self.registers.link() == Link::Up).await;
        if up { Ok(()) } else { Err(PortError::NoLink) }
    }

    async fn identify(&self) -> Result<DiskData, PortError> {
        const WHAT: &str = "IDENTIFY DEVICE";
        self.ask(Command::IDENTIFY, WHAT, ANSWER).await?;
        let mut data = self.memory.own_data();
        if wants_spin_up(&data) {
            self.ask(Command::set_features(SPIN_UP), "to spin up", self.limits.ready).await?;
            self.ask(Command::IDENTIFY, WHAT, ANSWER).await?;
            data = self.memory.own_data();
        }
        DiskData::read(&data)
    }

    /// Lets the disk execute a command of the driver's own, while no other is in flight.
    ///
    /// # Errors
    /// Where it does not; the command list has to be stopped then.
    pub async fn ask(&self, command: Command, what: &'static str, limit: Duration) -> Result<(), PortError> {
        self.memory.forget();
        self.forget_errors();
        self.memory.write_own(0, command.fis(), command.reads_block());
        self.registers.write(PortRegister::CI, 1);
        let deadline = after(&*self.kernel, limit);
        let mut look = LOOK;
        loop {
            let late = self.kernel.now() >= deadline;
            self.service();
            let issued = self.registers.read(PortRegister::CI) & 1 != 0;
            let (status, error) = self.registers.task_file();
            if self.is_gone() {
                return Err(PortError::HbaGone);
            }
            let failed = self.events.has(Event::TASK_FILE) || (!issued && status & (ERROR | FAULT) != 0);
            if failed {
                return Err(PortError::Refused(what, status, error));
            }
            if !issued {
                return Ok(());
            }
            if self.events.has(Event::LINK) {
                return Err(PortError::NoLink);
            }
            if late || self.events.has(Event::OTHER_ERROR) || self.events.has(Event::RESET) {
                return Err(PortError::Unanswered(what));
            }
            pause(&*self.kernel, look).await;
            look = (look * 2).min(Duration::from_millis(10));
        }
    }

    /// Restarts the command list after an error of the disk's, which has let go of all commands by itself.
    ///
    /// # Errors
    /// Where it takes a reset.
    pub async fn restart(&self) -> Result<(), PortError> {
        self.stop().await?;
        self.registers.write(PortRegister::SERR, u32::MAX);
        self.forget_errors();
        if self.registers.link() != Link::Up {
            return Err(PortError::NoLink);
        }
        self.start().await
    }

    /// How many commands the HBA has.
    pub fn has_commands(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) != 0
    }
}
