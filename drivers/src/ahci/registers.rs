//! The registers of HBA and ports (AHCI 1.3.1, clause 3).
use crate::Registers;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering};

/// HBA capabilities.
const CAP: u64 = 0x00;
/// Global HBA control.
const GHC: u64 = 0x04;
/// Interrupt status: a bit per port.
const IS: u64 = 0x08;
/// Ports implemented.
const PI: u64 = 0x0c;
/// Version.
const VS: u64 = 0x10;
/// Extended capabilities.
const CAP2: u64 = 0x24;
/// BIOS/OS hand-off.
const BOHC: u64 = 0x28;
/// The first port's registers.
const PORTS: u64 = 0x100;
/// Bytes of a port's registers.
const PORT_BYTES: u64 = 0x80;

/// GHC: HBA reset.
const RESET: u32 = 1 << 0;
/// GHC: interrupts are sent.
const INTERRUPT_ENABLE: u32 = 1 << 1;
/// GHC: AHCI, not the interface that came before it.
const AHCI_ENABLE: u32 = 1 << 31;

/// HBA capabilities (3.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Capabilities(pub u32);

impl Capabilities {
    /// Command slots of a port, 1 to 32 (NCS).
    pub const fn slots(self) -> u32 {
        (self.0 >> 8 & 0x1f) + 1
    }

    /// The HBA has native command queuing (SNCQ).
    pub const fn queued(self) -> bool {
        self.0 & 1 << 30 != 0
    }

    /// It reaches all of memory, not only the first 4 GiB (S64A).
    pub const fn wide(self) -> bool {
        self.0 & 1 << 31 != 0
    }

    /// Disks spin up when told (SSS).
    pub const fn staggered(self) -> bool {
        self.0 & 1 << 27 != 0
    }

    /// A busy disk's status can be overridden (SCLO).
    pub const fn override_busy(self) -> bool {
        self.0 & 1 << 24 != 0
    }
}

/// BOHC: who owns the HBA (3.1.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HandOff(u32);

impl HandOff {
    /// The firmware owns it.
    pub const fn firmware_owns(self) -> bool {
        self.0 & 1 != 0
    }

    /// The firmware has commands in flight, and asks for more time.
    pub const fn firmware_busy(self) -> bool {
        self.0 & 1 << 4 != 0
    }
}

/// The HBA's window.
pub(super) struct Window {
    registers: Box<dyn Registers>,
    /// Nobody answers any more, whatever may be at its place.
    closed: AtomicBool,
}

impl Window {
    pub fn new(registers: Box<dyn Registers>) -> Self {
        Self { registers, closed: AtomicBool::new(false) }
    }

    /// The HBA is gone, and its place may be another's: from now on reads are all ones, and writes go nowhere.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    #[inline]
    fn read(&self, offset: u64) -> u32 {
        if self.closed.load(Ordering::Relaxed) { u32::MAX } else { self.registers.read32(offset) }
    }

    #[inline]
    fn write(&self, offset: u64, value: u32) {
        if !self.closed.load(Ordering::Relaxed) {
            self.registers.write32(offset, value);
        }
    }

    pub fn capabilities(&self) -> Capabilities {
        Capabilities(self.read(CAP))
    }

    /// Nobody answers. CAP has reserved combinations in all ones, so that no HBA says it.
    pub fn is_gone(&self) -> bool {
        self.read(CAP) == u32::MAX && self.read(VS) == u32::MAX
    }

    /// Major and minor version.
    pub fn version(&self) -> (u16, u16) {
        let version = self.read(VS);
        ((version >> 16) as u16, version as u16)
    }

    pub fn implemented(&self) -> u32 {
        self.read(PI)
    }

    /// PI is written by firmware alone; an HBA that loses it by a reset gets it back.
    pub fn restore_implemented(&self, ports: u32) {
        if self.implemented() != ports {
            self.write(PI, ports);
        }
    }

    /// How many ports the window has room for.
    pub fn room(&self) -> u32 {
        (self.registers.bytes().saturating_sub(PORTS) / PORT_BYTES).min(32) as u32
    }

    /// Asks the firmware for the HBA, if there is something to ask (CAP2.BOH).
    pub fn request_hand_off(&self) -> bool {
        let has = self.read(CAP2) & 1 != 0 && self.hand_off().firmware_owns();
        if has {
            // OOS; writing 0 to OOC, which is cleared by ones.
            self.write(BOHC, self.read(BOHC) & !(1 << 3) | 1 << 1);
        }
        has
    }

    pub fn hand_off(&self) -> HandOff {
        HandOff(self.read(BOHC))
    }

    pub fn begin_reset(&self) {
        // AE first: without it the other bits may be read-only (3.1.2).
        self.write(GHC, AHCI_ENABLE);
        self.write(GHC, AHCI_ENABLE | RESET);
    }

    /// An HBA that is gone never ends its reset.
    pub fn in_reset(&self) -> bool {
        self.read(GHC) & RESET != 0
    }

    pub fn enable(&self, interrupts: bool) {
        self.write(GHC, AHCI_ENABLE);
        self.write(GHC, AHCI_ENABLE | if interrupts { INTERRUPT_ENABLE } else { 0 });
    }

    /// Which ports want something.
    #[inline]
    pub fn interrupts(&self) -> u32 {
        self.read(IS)
    }

    /// Clears those.
    #[inline]
    pub fn acknowledge(&self, ports: u32) {
        self.write(IS, ports);
    }
}

/// A register of a port (3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PortRegister(u64);

impl PortRegister {
    /// Command list base; upper half 4 further on.
    pub const CLB: Self = Self(0x00);
    /// Upper half of it.
    pub const CLBU: Self = Self(0x04);
    /// FIS base.
    pub const FB: Self = Self(0x08);
    /// Upper half of it.
    pub const FBU: Self = Self(0x0c);
    /// Interrupt status, see [`Happened`].
    pub const IS: Self = Self(0x10);
    /// Interrupt enable, likewise.
    pub const IE: Self = Self(0x14);
    /// Command and status, see [`command`].
    pub const CMD: Self = Self(0x18);
    /// Task file: status in bits 7:0, error in 15:8.
    pub const TFD: Self = Self(0x20);
    /// Signature.
    pub const SIG: Self = Self(0x24);
    /// Serial ATA status: DET in bits 3:0.
    pub const SSTS: Self = Self(0x28);
    /// Serial ATA control: DET in bits 3:0, IPM in 11:8.
    pub const SCTL: Self = Self(0x2c);
    /// Serial ATA error, cleared by ones.
    pub const SERR: Self = Self(0x30);
    /// Tags of queued commands that are not completed.
    pub const SACT: Self = Self(0x34);
    /// Command slots that were issued.
    pub const CI: Self = Self(0x38);
}

/// Bits of PxCMD (3.3.7).
pub(super) mod command {
    /// Start: the command list is processed.
    pub const ST: u32 = 1 << 0;
    /// Spin up the device.
    pub const SUD: u32 = 1 << 1;
    /// Power on the device.
    pub const POD: u32 = 1 << 2;
    /// Command list override.
    pub const CLO: u32 = 1 << 3;
    /// FIS receive enable.
    pub const FRE: u32 = 1 << 4;
    /// FIS receive running.
    pub const FR: u32 = 1 << 14;
    /// Command list running.
    pub const CR: u32 = 1 << 15;
    /// Interface communication control: active.
    pub const ICC_ACTIVE: u32 = 1 << 28;
    /// What of the register is kept when a bit is changed: not ICC, which starts a transition.
    pub const KEPT: u32 = !(0xf << 28 | CLO);
}

/// What has happened at a port: bits of PxIS and PxIE (3.3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Happened(pub u32);

impl Happened {
    /// D2H register FIS: a command that is not queued is done.
    const D2H: u32 = 1 << 0;
    /// Set device bits FIS: queued commands are done.
    const SDB: u32 = 1 << 3;
    /// A FIS of unknown type has come.
    const UNKNOWN_FIS: u32 = 1 << 4;
    /// Port connect change: something was plugged in, or reset itself.
    const CONNECT: u32 = 1 << 6;
    /// PhyRdy change: the link went up or down.
    const PHY_READY: u32 = 1 << 22;
    /// The disk sent more than was asked for.
    const OVERFLOW: u32 = 1 << 24;
    /// Interface fatal error.
    const INTERFACE: u32 = 1 << 27;
    /// Host bus data error.
    const BUS_DATA: u32 = 1 << 28;
    /// Host bus fatal error.
    const BUS_FATAL: u32 = 1 << 29;
    /// Task file error: the disk reports an error.
    const TASK_FILE: u32 = 1 << 30;

    const OTHER_FATAL: u32 = Self::OVERFLOW | Self::INTERFACE | Self::BUS_DATA | Self::BUS_FATAL;

    /// Commands are done, or their data is on its way: nothing to take note of.
    pub const PROGRESS: u32 = Self::D2H | Self::SDB | 1 << 1 | 1 << 2 | 1 << 5;

    /// What interrupts are sent for.
    pub const ENABLED: u32 = Self::D2H
        | Self::SDB
        | Self::UNKNOWN_FIS
        | Self::CONNECT
        | Self::PHY_READY
        | Self::TASK_FILE
        | Self::OTHER_FATAL;

    /// The disk reports an error.
    pub const fn task_file_error(self) -> bool {
        self.0 & Self::TASK_FILE != 0
    }

    /// The HBA has stopped for another reason.
    pub const fn other_error(self) -> bool {
        self.0 & Self::OTHER_FATAL != 0
    }

    /// The link is not as it was.
    pub const fn link_changed(self) -> bool {
        self.0 & (Self::CONNECT | Self::PHY_READY) != 0
    }
}

/// What is known of the link (PxSSTS.DET, 3.3.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// Nothing is there, or the port is off.
    Down,
    /// Something is there, without communication.
    Present,
    /// Communication.
    Up,
}

/// A port's registers.
#[derive(Clone)]
pub(super) struct PortRegisters {
    window: Arc<Window>,
    base: u64,
}

impl PortRegisters {
    /// Port `number`, for which the window must have room.
    pub fn new(window: Arc<Window>, number: u32) -> Self {
        Self { window, base: PORTS + u64::from(number) * PORT_BYTES }
    }

    #[inline]
    pub fn read(&self, register: PortRegister) -> u32 {
        self.window.read(self.base + register.0)
    }

    #[inline]
    pub fn write(&self, register: PortRegister, value: u32) {
        self.window.write(self.base + register.0, value);
    }

    /// Sets and clears bits of PxCMD.
    pub fn change_command(&self, clear: u32, set: u32) {
        let command = self.read(PortRegister::CMD) & command::KEPT;
        self.write(PortRegister::CMD, command & !clear | set);
    }

    pub fn link(&self) -> Link {
        // All ones, of an HBA that is gone, are DET 15.
        match self.read(PortRegister::SSTS) & 0xf {
            3 => Link::Up,
            1 => Link::Present,
            _ => Link::Down,
        }
    }

    /// The disk's status and error registers.
    pub fn task_file(&self) -> (u8, u8) {
        let task_file = self.read(PortRegister::TFD);
        (task_file as u8, (task_file >> 8) as u8)
    }

    /// Takes what has happened.
    #[inline]
    pub fn take_happened(&self) -> Happened {
        let happened = self.read(PortRegister::IS);
        if happened == u32::MAX {
            // Nobody answers: the look at the whole HBA finds that.
            return Happened(0);
        }
        if happened != 0 {
            self.write(PortRegister::IS, happened);
        }
        Happened(happened)
    }
}
