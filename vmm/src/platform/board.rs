//! The board: all devices of one VM, and the dispatch of ports and MMIO to them.
//!
//! All vCPUs and tasks share it. Each device has a lock of its own. Locks are taken in this order, each
//! for a few dozen instructions, never while waiting and never in an interrupt handler:
//!
//! 1. `pci`, the configuration space of all functions;
//! 2. one device (`uart`, `pit`, `rtc`, `pm`, `keyboard`, or a virtio device with the locks of its own), never two;
//! 3. `controllers` (8259s and IOAPIC), under the device whose line changes, so that two CPUs can't
//!    reorder the line's levels.
//!
//! The devices behind BARs are found without a lock, and a notification of a virtio queue takes that queue's alone.
//!
//! Below these come only the lock-free [`ApicFabric`] and [`ConsoleOutput`], with their hooks.
use super::apic::ApicFabric;
use super::console::ConsoleOutput;
use super::controllers::InterruptControllers;
use super::keyboard::KeyboardController;
use super::map;
use super::pci::{AttachError, Decoder, Firmware, Intx, PciBus, PciFunction};
use super::pic::Chip;
use super::pit::Pit;
use super::pm::PowerManagement;
use super::postponed::Postponed;
use super::rtc::Rtc;
use super::uart::Uart;
use crate::memory::{GuestMemory, Layout};
use crate::time::Nanos;
use crate::virtio::{self, Transport};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use mm::addr::{Gpa, PAGE};
use spin::Mutex;

const NEVER: Nanos = Nanos::MAX;

/// Port A: A20 is open. Nothing closes it here.
const PORT_A_A20: u8 = 1 << 1;
/// Port A: resets the processor as it rises.
const PORT_A_RESET: u8 = 1 << 0;

/// By which register a guest reset its machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetCause {
    /// The reset control register, port 0xCF9, which ACPI names.
    ResetRegister,
    /// The keyboard controller.
    KeyboardController,
    /// Port A, 0x92.
    PortA,
    /// INIT sent to the first processor.
    Init,
}

impl fmt::Display for ResetCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ResetRegister => "reset by the reset register (port 0xcf9)",
            Self::KeyboardController => "reset by the keyboard controller",
            Self::PortA => "reset by port 0x92",
            Self::Init => "reset by INIT of its first processor",
        })
    }
}

/// What an access did beyond its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoardEvent {
    /// The guest went to ACPI's soft-off state.
    PowerOff,
    /// The guest reset its machine.
    Reset(ResetCause),
    /// A disk of the host was asked for something, and nothing else is under way.
    AwaitsOne,
}

/// What a board is made with.
pub struct BoardConfig {
    /// The VM's interrupt fabric; it also tells how many vCPUs there are.
    pub fabric: Arc<ApicFabric>,
    /// Where COM1's output goes.
    pub console: Arc<ConsoleOutput>,
    /// Where RAM is, for the CMOS bytes that tell.
    pub layout: Layout,
    /// Nanoseconds from 1970-01-01 00:00:00 UTC to the zero of the host's clock.
    pub wall_clock: u64,
}

/// A device that has an interrupt line and may have a deadline.
trait Wired {
    const IRQ: u8;
    fn interrupt(&self) -> bool;
    fn deadline(&self) -> Option<Nanos>;
}

impl Wired for Uart {
    const IRQ: u8 = map::COM1_IRQ;
    #[inline]
    fn interrupt(&self) -> bool {
        Self::interrupt(self)
    }
    #[inline]
    fn deadline(&self) -> Option<Nanos> {
        Self::deadline(self)
    }
}

impl Wired for Rtc {
    const IRQ: u8 = map::RTC_IRQ;
    fn interrupt(&self) -> bool {
        Self::interrupt(self)
    }
    fn deadline(&self) -> Option<Nanos> {
        Self::deadline(self)
    }
}

impl Wired for PowerManagement {
    const IRQ: u8 = map::SCI_IRQ;
    fn interrupt(&self) -> bool {
        Self::interrupt(self)
    }
    fn deadline(&self) -> Option<Nanos> {
        Self::deadline(self)
    }
}

/// A wired device, the level of its line, and its deadline where others read it without the lock.
struct Slot<D> {
    state: Mutex<(D, bool)>,
    deadline: AtomicU64,
}

impl<D: Wired> Slot<D> {
    fn new(device: D) -> Self {
        Self { state: Mutex::new((device, false)), deadline: AtomicU64::new(NEVER) }
    }

    /// Accesses the device, then brings its line and deadline up to date.
    #[inline]
    fn access<R>(&self, controllers: &Mutex<InterruptControllers>, f: impl FnOnce(&mut D) -> R) -> R {
        let mut state = self.state.lock();
        let (device, asserted) = &mut *state;
        let result = f(device);
        let level = device.interrupt();
        if level != *asserted {
            *asserted = level;
            controllers.lock().set_isa(D::IRQ, level);
        }
        self.deadline.store(device.deadline().unwrap_or(NEVER), Ordering::Release);
        result
    }

    #[inline]
    fn is_due(&self, now: Nanos) -> bool {
        self.deadline.load(Ordering::Acquire) <= now
    }
}

/// The devices of one VM.
pub struct Board {
    uart: Slot<Uart>,
    rtc: Slot<Rtc>,
    pm: Slot<PowerManagement>,
    pit: Mutex<Pit>,
    pit_deadline: AtomicU64,
    keyboard: Mutex<KeyboardController>,
    pci: Mutex<PciBus>,
    firmware: Firmware,
    decoder: Decoder,
    virtio: Vec<Arc<Transport>>,
    postponed: Arc<Postponed>,
    controllers: Arc<Mutex<InterruptControllers>>,
    port_a: AtomicU8,
    fabric: Arc<ApicFabric>,
    console: Arc<ConsoleOutput>,
    unclaimed: AtomicU64,
}

const PIC_MASTER_DATA: u16 = map::PIC_MASTER + 1;
const PIC_SLAVE_DATA: u16 = map::PIC_SLAVE + 1;
const ELCR_SLAVE: u16 = map::PIC_ELCR + 1;
const PIT_LAST: u16 = map::PIT + 3;
const RTC_DATA: u16 = map::RTC + 1;
const COM1_LAST: u16 = map::COM1 + 7;
const PCI_DATA_LAST: u16 = map::PCI_DATA + 3;
const FIRST_PCI_PORT: u16 = *map::PCI_PORTS.start();
const PM_FIRST: u16 = *map::PM_PORTS.start();
const PM_LAST: u16 = *map::PM_PORTS.end();

impl Board {
    /// A board in its power-on state.
    pub fn new(config: BoardConfig, now: Nanos) -> Self {
        let BoardConfig { fabric, console, layout, wall_clock } = config;
        Self {
            uart: Slot::new(Uart::new(console.clone())),
            rtc: Slot::new(Rtc::new(wall_clock, layout.low_end, layout.high_end, fabric.vcpus(), now)),
            pm: Slot::new(PowerManagement::new(now)),
            pit: Mutex::new(Pit::new()),
            pit_deadline: AtomicU64::new(NEVER),
            keyboard: Mutex::new(KeyboardController::new()),
            pci: Mutex::new(PciBus::new()),
            firmware: Firmware::default(),
            decoder: Decoder::default(),
            virtio: Vec::new(),
            postponed: Arc::new(Postponed::new(fabric.clone())),
            controllers: Arc::new(Mutex::new(InterruptControllers::new(fabric.clone()))),
            port_a: AtomicU8::new(PORT_A_A20),
            fabric,
            console,
            unclaimed: AtomicU64::new(0),
        }
    }

    /// All devices back to their power-on state, and no interrupt on its way. Call with all vCPUs
    /// stopped; then each calls [`super::apic::LocalApic::power_on`].
    pub fn reset(&self, now: Nanos) {
        self.uart.access(&self.controllers, Uart::reset);
        self.rtc.access(&self.controllers, |rtc| rtc.reset(now));
        self.pm.access(&self.controllers, |pm| *pm = PowerManagement::new(now));
        self.with_pit(|pit| *pit = Pit::new());
        *self.keyboard.lock() = KeyboardController::new();
        self.pci.lock().reset();
        self.port_a.store(PORT_A_A20, Ordering::Relaxed);
        self.controllers.lock().reset();
        self.fabric.reset();
    }

    // --- Ports ---

    /// IN of 1, 2 or 4 bytes.
    #[inline]
    pub fn port_read(&self, port: u16, size: u8, now: Nanos) -> u32 {
        if size == 1 {
            return u32::from(self.read_byte(port, now));
        }
        if port >= FIRST_PCI_PORT
            && let Some(value) = self.decoder.port_read(port, size)
        {
            return value;
        }
        self.port_read_wide(port, size, now)
    }

    fn port_read_wide(&self, port: u16, size: u8, now: Nanos) -> u32 {
        match port {
            map::PM_TIMER if size == 4 => PowerManagement::timer(now),
            map::PCI_ADDRESS if size == 4 => self.pci.lock().address(),
            map::PCI_DATA..=PCI_DATA_LAST if (port & 3) as u8 + size <= 4 => {
                self.pci.lock().read_data(port & 3, size)
            }
            // Everything else is eight bits wide: one access for each byte, as the bus does it.
            _ => (0..size.min(4)).fold(0, |value, i| {
                let byte = match port.checked_add(u16::from(i)) {
                    Some(port) => self.read_byte(port, now),
                    None => 0xff,
                };
                value | u32::from(byte) << (8 * i)
            }),
        }
    }

    /// OUT of 1, 2 or 4 bytes.
    #[inline]
    pub fn port_write(&self, port: u16, size: u8, value: u32, now: Nanos) -> Option<BoardEvent> {
        if port >= FIRST_PCI_PORT && self.decoder.port_write(port, size, value) {
            return (self.in_flight() == 1).then_some(BoardEvent::AwaitsOne);
        }
        if size == 1 {
            return self.write_byte(port, value as u8, now);
        }
        self.port_write_wide(port, size, value, now)
    }

    fn port_write_wide(&self, port: u16, size: u8, value: u32, now: Nanos) -> Option<BoardEvent> {
        match port {
            map::PCI_ADDRESS if size == 4 => self.pci.lock().set_address(value),
            map::PCI_DATA..=PCI_DATA_LAST if (port & 3) as u8 + size <= 4 => {
                self.pci.lock().write_data(port & 3, size, value);
            }
            _ => {
                let mut event = None;
                for i in 0..size.min(4) {
                    let Some(port) = port.checked_add(u16::from(i)) else { break };
                    event = event.or(self.write_byte(port, (value >> (8 * i)) as u8, now));
                }
                return event;
            }
        }
        None
    }

    #[inline]
    fn read_byte(&self, port: u16, now: Nanos) -> u8 {
        match port {
            map::COM1..=COM1_LAST => {
                self.uart.access(&self.controllers, |uart| uart.read(port - map::COM1, now))
            }
            map::PIC_MASTER | PIC_MASTER_DATA => {
                self.controllers.lock().read_pic(Chip::Master, port == PIC_MASTER_DATA)
            }
            map::PIC_SLAVE | PIC_SLAVE_DATA => {
                self.controllers.lock().read_pic(Chip::Slave, port == PIC_SLAVE_DATA)
            }
            map::PIC_ELCR => self.controllers.lock().read_elcr(Chip::Master),
            ELCR_SLAVE => self.controllers.lock().read_elcr(Chip::Slave),
            map::PIT..=PIT_LAST => self.pit.lock().read(port - map::PIT, now),
            map::PORT_B => self.pit.lock().read_port_b(now),
            map::KEYBOARD_DATA => self.keyboard.lock().read_data(),
            map::KEYBOARD_COMMAND => self.keyboard.lock().read_status(),
            RTC_DATA => self.rtc.access(&self.controllers, |rtc| rtc.read(now)),
            map::PORT_A => self.port_a.load(Ordering::Relaxed),
            PM_FIRST..=PM_LAST => self.pm.access(&self.controllers, |pm| pm.read(port - PM_FIRST, now)),
            map::RESET => self.pm.state.lock().0.read_reset(),
            map::PCI_DATA..=PCI_DATA_LAST => self.pci.lock().read_data(port & 3, 1) as u8,
            // The index can't be read back, and nothing answers for POST codes.
            map::RTC | map::POST => 0xff,
            FIRST_PCI_PORT.. => self.decoder.port_read(port, 1).map_or_else(|| self.absent(), |v| v as u8),
            _ => self.absent(),
        }
    }

    #[inline]
    fn write_byte(&self, port: u16, value: u8, now: Nanos) -> Option<BoardEvent> {
        match port {
            map::COM1..=COM1_LAST => {
                self.uart.access(&self.controllers, |uart| uart.write(port - map::COM1, value, now));
            }
            // Kernels write here to wait for a microsecond: nothing at all.
            map::POST => {}
            map::PIC_MASTER | PIC_MASTER_DATA => {
                self.controllers.lock().write_pic(Chip::Master, port == PIC_MASTER_DATA, value);
            }
            map::PIC_SLAVE | PIC_SLAVE_DATA => {
                self.controllers.lock().write_pic(Chip::Slave, port == PIC_SLAVE_DATA, value);
            }
            map::PIC_ELCR => self.controllers.lock().write_elcr(Chip::Master, value),
            ELCR_SLAVE => self.controllers.lock().write_elcr(Chip::Slave, value),
            map::PIT..=PIT_LAST => self.with_pit(|pit| pit.write(port - map::PIT, value, now)),
            map::PORT_B => self.with_pit(|pit| pit.write_port_b(value, now)),
            map::KEYBOARD_DATA => {
                return reset_if(self.keyboard.lock().write_data(value), ResetCause::KeyboardController);
            }
            map::KEYBOARD_COMMAND => {
                let resets = self.keyboard.lock().write_command(value);
                return reset_if(resets, ResetCause::KeyboardController);
            }
            map::RTC => self.rtc.state.lock().0.select(value),
            RTC_DATA => self.rtc.access(&self.controllers, |rtc| rtc.write(value, now)),
            map::PORT_A => {
                let before = self.port_a.swap(value & PORT_A_RESET | PORT_A_A20, Ordering::Relaxed);
                return reset_if(value & !before & PORT_A_RESET != 0, ResetCause::PortA);
            }
            PM_FIRST..=PM_LAST => {
                let off = self.pm.access(&self.controllers, |pm| pm.write(port - PM_FIRST, value, now));
                return off.then_some(BoardEvent::PowerOff);
            }
            map::RESET => {
                let resets = self.pm.state.lock().0.write_reset(value);
                return reset_if(resets, ResetCause::ResetRegister);
            }
            map::PCI_DATA..=PCI_DATA_LAST => {
                self.pci.lock().write_data(port & 3, 1, u32::from(value));
            }
            // Of a write that is wider than what is behind it; others were looked for before.
            FIRST_PCI_PORT.. if self.decoder.port_write(port, 1, value.into()) => {}
            _ => {
                self.absent();
            }
        }
        None
    }

    #[inline]
    fn absent(&self) -> u8 {
        self.unclaimed.fetch_add(1, Ordering::Relaxed);
        0xff
    }

    // --- MMIO ---

    /// A read of guest-physical memory that is not RAM. The local APIC's page is its vCPU's to look at
    /// before ([`super::apic::LocalApic::claims`]).
    #[inline]
    pub fn mmio_read(&self, gpa: Gpa, size: u8, _now: Nanos) -> u64 {
        let address = gpa.get();
        if address & !(PAGE - 1) == map::IOAPIC_BASE {
            return self.controllers.lock().ioapic.mmio_read(address - map::IOAPIC_BASE, size);
        }
        if map::ECAM.contains(&address) {
            return self.pci.lock().ecam_read(address - map::ECAM.start, size);
        }
        if let Some(value) = self.decoder.memory_read(address, size) {
            return value;
        }
        self.absent();
        match size {
            1 => 0xff,
            2 => 0xffff,
            4 => 0xffff_ffff,
            _ => u64::MAX,
        }
    }

    /// A write to guest-physical memory that is not RAM.
    #[inline]
    pub fn mmio_write(&self, gpa: Gpa, size: u8, value: u64, _now: Nanos) -> Option<BoardEvent> {
        let address = gpa.get();
        if address & !(PAGE - 1) == map::IOAPIC_BASE {
            self.controllers.lock().ioapic.mmio_write(address - map::IOAPIC_BASE, size, value);
        } else if map::ECAM.contains(&address) {
            self.pci.lock().ecam_write(address - map::ECAM.start, size, value);
        } else if !self.decoder.memory_write(address, size, value) {
            self.absent();
        }
        None
    }

    // --- Interrupts ---

    /// A local APIC ended a level-triggered interrupt and broadcasts its vector.
    pub fn end_of_interrupt(&self, vector: u8) {
        self.controllers.lock().ioapic.end_of_interrupt(vector);
    }

    /// A vCPU takes the 8259's interrupt: its vector. Call
    /// [`super::apic::LocalApic::acknowledge_ext_int`] before.
    pub fn acknowledge_ext_int(&self) -> u8 {
        self.controllers.lock().acknowledge()
    }

    /// Level of a global system interrupt that no ISA device has, such as a PCI device's INTx. Where
    /// several devices share it, the caller asserts it as long as one of them does.
    pub fn set_gsi(&self, gsi: u8, asserted: bool) {
        self.controllers.lock().ioapic.set_line(gsi, asserted);
    }

    /// The fabric, for message-signalled interrupts.
    pub fn fabric(&self) -> &Arc<ApicFabric> {
        &self.fabric
    }

    // --- Time ---

    #[inline]
    fn with_pit<R>(&self, f: impl FnOnce(&mut Pit) -> R) -> R {
        let mut pit = self.pit.lock();
        let result = f(&mut pit);
        self.pit_deadline.store(pit.deadline().unwrap_or(NEVER), Ordering::Release);
        result
    }

    /// When [`Board::expire`] has something to do. A few loads: ask after each access and before a halt.
    #[inline]
    pub fn next_deadline(&self) -> Option<Nanos> {
        let next = self.earliest();
        (next != NEVER).then_some(next)
    }

    /// As [`Self::next_deadline`]; [`Nanos::MAX`] for none.
    #[inline]
    pub fn earliest(&self) -> Nanos {
        if self.postponed.any() {
            return 0;
        }
        [&self.uart.deadline, &self.rtc.deadline, &self.pm.deadline, &self.pit_deadline]
            .into_iter()
            .fold(NEVER, |next, deadline| next.min(deadline.load(Ordering::Acquire)))
    }

    /// Lets the timers of all devices act that are due, and those go on that had stopped to let others.
    pub fn expire(&self, now: Nanos) {
        self.postponed.take().for_each(|slot| {
            if let Some(device) = self.virtio.iter().find(|device| device.slot() == slot) {
                device.resume();
            }
        });
        if self.pit_deadline.load(Ordering::Acquire) <= now {
            self.with_pit(|pit| {
                if pit.expire(now) {
                    let mut controllers = self.controllers.lock();
                    controllers.set_isa(map::PIT_IRQ, false);
                    controllers.set_isa(map::PIT_IRQ, true);
                }
            });
        }
        if self.uart.is_due(now) {
            self.uart.access(&self.controllers, |uart| uart.expire(now));
        }
        if self.rtc.is_due(now) {
            self.rtc.access(&self.controllers, |rtc| rtc.expire(now));
        }
        if self.pm.is_due(now) {
            self.pm.access(&self.controllers, |pm| pm.expire(now));
        }
    }

    // --- The operator ---

    /// Presses the power button: a guest with ACPI shuts down.
    pub fn power_button(&self) {
        self.pm.access(&self.controllers, PowerManagement::power_button);
    }

    /// Types into COM1. How many bytes were accepted; offer the others later.
    pub fn console_input(&self, bytes: &[u8], now: Nanos) -> usize {
        self.uart.access(&self.controllers, |uart| uart.receive(bytes, now))
    }

    /// What COM1 printed.
    pub fn console(&self) -> &Arc<ConsoleOutput> {
        &self.console
    }

    /// Puts a virtio device on the PCI bus, before the guest starts. It uses `memory`, and addresses that no other
    /// device has.
    ///
    /// # Errors
    /// The slot (1 to 31) is taken, or there is no address left.
    pub fn attach_virtio(
        &mut self,
        slot: u8,
        device: Box<dyn virtio::Device>,
        memory: &Arc<GuestMemory>,
    ) -> Result<(), AttachError> {
        let intx = Intx::new(self.controllers.clone(), slot);
        let place =
            virtio::Place { slot, fabric: self.fabric.clone(), intx, postponed: self.postponed.clone() };
        let function = Transport::plug(device, memory, place, &mut self.firmware)?;
        let (bars, transport) = (function.bars().to_vec(), function.transport().clone());
        self.pci.lock().attach(slot, Box::new(function))?;
        self.decoder.add(&bars, &transport.target());
        self.virtio.push(transport);
        Ok(())
    }

    /// Stops all virtio devices for good: they take no further requests from the guest. `drained` is called, on
    /// any CPU and maybe more than once, when the last request of a device that had some is done; ask
    /// [`Self::in_flight`] then.
    pub fn stop(&self, drained: Arc<dyn Fn() + Send + Sync>) {
        for device in &self.virtio {
            device.stop(&drained);
        }
    }

    /// A vCPU in its turn looks at what the guest need not tell of. Whether it is to do so again after `pace` at the
    /// latest, and is to call [`Self::rest`] when its turn ends.
    #[inline]
    pub fn look(&self, now: Nanos, pace: Nanos) -> bool {
        self.virtio.iter().fold(false, |again, device| again | device.look(now, pace))
    }

    /// The turn of a vCPU ends: what interrupts were put off go out.
    #[inline]
    pub fn pay(&self) {
        self.virtio.iter().for_each(|device| device.pay(true));
    }

    /// The turn of a vCPU that had promised to look ends.
    #[inline]
    pub fn rest(&self) {
        self.virtio.iter().for_each(|device| device.rest());
    }

    /// Marks the requests that use the guest's memory now, by host addresses that were looked up before. One caller at
    /// a time; see [`crate::memory::chunks`].
    pub fn mark_requests(&self) {
        self.virtio.iter().for_each(|device| device.mark_requests());
    }

    /// Whether all that were marked are done.
    pub fn marked_are_done(&self) -> bool {
        self.virtio.iter().all(|device| device.marked_are_done())
    }

    /// Requests of virtio devices that use the guest's memory now. Its memory must not be used for anything else
    /// before this is 0, after [`Self::stop`] or with all vCPUs stopped.
    pub fn in_flight(&self) -> u32 {
        self.virtio.iter().map(|device| device.in_flight()).sum()
    }

    /// Puts a device on the PCI bus.
    pub fn attach(&self, device: u8, function: Box<dyn PciFunction>) -> Result<(), AttachError> {
        self.pci.lock().attach(device, function)
    }

    /// Accesses to ports and addresses where nothing is.
    pub fn unclaimed(&self) -> u64 {
        self.unclaimed.load(Ordering::Relaxed)
    }
}

fn reset_if(resets: bool, cause: ResetCause) -> Option<BoardEvent> {
    resets.then_some(BoardEvent::Reset(cause))
}

#[cfg(test)]
#[path = "board_tests.rs"]
mod tests;
