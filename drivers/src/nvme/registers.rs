//! The controller's registers (NVMe 2.0, 3.1.3) and where its doorbells are (NVMe over PCIe 1.0, 3.1.2).
use crate::Registers;
use core::fmt;
use core::time::Duration;

/// Controller Capabilities, 64 bits.
const CAP: u64 = 0x00;
/// Controller Configuration.
const CC: u64 = 0x14;
/// Controller Status.
const CSTS: u64 = 0x1c;
/// Admin Queue Attributes.
const AQA: u64 = 0x24;
/// Admin Submission Queue Base Address, 64 bits.
const ASQ: u64 = 0x28;
/// Admin Completion Queue Base Address, 64 bits.
const ACQ: u64 = 0x30;
/// Controller Ready Timeouts.
const CRTO: u64 = 0x68;
/// The first doorbell.
pub(super) const DOORBELLS: u64 = 0x1000;

/// Memory pages as controller and driver mean them here: CC.MPS is always 0.
pub(super) const PAGE_BYTES: u64 = 4096;

/// CC: enabled, with entries of 64 and 16 bytes, pages of 4 KiB, round robin.
const CC_ENABLE: u32 = 1 | 6 << 16 | 4 << 20;
/// CC.SHN: a normal shutdown notification.
const CC_SHUT_DOWN: u32 = 1 << 14;

/// Controller Capabilities (NVMe 2.0, 3.1.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Capabilities(pub u64);

impl Capabilities {
    /// Most entries of an I/O queue. 1 is a controller's nonsense: a queue has at least 2.
    pub const fn most_entries(self) -> u32 {
        (self.0 & 0xffff) as u32 + 1
    }

    /// Bytes from one doorbell to the next.
    pub const fn doorbell_stride(self) -> u64 {
        4 << (self.0 >> 32 & 0xf)
    }

    /// Longest that CSTS.RDY takes to follow CC.EN, where CRTO does not say otherwise.
    pub const fn ready_time(self) -> Duration {
        // In units of 500 ms, and one more, since many count a little short.
        Duration::from_millis(500 * ((self.0 >> 24 & 0xff) + 1))
    }

    /// What to write to CC.CSS for the NVM command set, if the controller has it.
    pub const fn command_set(self) -> Option<u32> {
        if self.0 >> 37 & 1 != 0 {
            Some(0)
        } else if self.0 >> 43 & 1 != 0 {
            Some(6 << 4)
        } else {
            None
        }
    }

    /// Bytes of the smallest memory page that the controller can be set to.
    pub const fn smallest_page(self) -> u64 {
        PAGE_BYTES << (self.0 >> 48 & 0xf)
    }

    /// Whether CRTO holds the ready times (CAP.CRMS).
    const fn has_ready_times(self) -> bool {
        self.0 >> 59 & 3 != 0
    }
}

/// Controller Status (NVMe 2.0, 3.1.3.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status(pub u32);

impl Status {
    /// The controller takes commands.
    pub const fn ready(self) -> bool {
        self.0 & 1 != 0
    }

    /// It has failed fatally, and wants a reset.
    pub const fn failed(self) -> bool {
        self.0 & 2 != 0
    }

    /// Its shutdown is complete (SHST).
    pub const fn shut_down(self) -> bool {
        self.0 >> 2 & 3 == 2
    }

    /// Nobody answers on the bus. Bits 31:7 are reserved and 0, so no controller says this.
    pub const fn gone(self) -> bool {
        self.0 == u32::MAX
    }
}

/// The version of the specification that a controller follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32);

impl Version {
    /// NVMe 2.0.
    pub const V2_0: Self = Self(0x2_0000);
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 >> 16, self.0 >> 8 & 0xff)?;
        if self.0 & 0xff != 0 { write!(f, ".{}", self.0 & 0xff) } else { Ok(()) }
    }
}

/// The window, by the names of what is in it.
pub(super) struct Window {
    registers: alloc::boxed::Box<dyn Registers>,
    pub capabilities: Capabilities,
    stride: u64,
    command_set: u32,
}

impl Window {
    /// Reads what does not change. `None` where nobody answers.
    pub fn new(registers: alloc::boxed::Box<dyn Registers>) -> Option<Self> {
        // Two halves: 32-bit accesses are what every controller takes.
        let (low, high) = (registers.read32(CAP), registers.read32(CAP + 4));
        let capabilities = Capabilities(u64::from(low) | u64::from(high) << 32);
        let gone = capabilities.0 == u64::MAX || Status(registers.read32(CSTS)).gone();
        let command_set = capabilities.command_set().unwrap_or(0);
        (!gone).then_some(Self {
            registers,
            capabilities,
            stride: capabilities.doorbell_stride(),
            command_set,
        })
    }

    pub fn status(&self) -> Status {
        Status(self.registers.read32(CSTS))
    }

    /// Longest that CSTS.RDY takes to follow CC.EN.
    pub fn ready_time(&self) -> Duration {
        let cap = self.capabilities.ready_time();
        if !self.capabilities.has_ready_times() {
            return cap;
        }
        // CRWMT; CC.CRIME stays 0.
        cap.max(Duration::from_millis(500 * (u64::from(self.registers.read32(CRTO) & 0xffff) + 1)))
    }

    /// Whether CC.EN is set.
    pub fn enabled(&self) -> bool {
        self.registers.read32(CC) & 1 != 0
    }

    pub fn disable(&self) {
        self.registers.write32(CC, self.registers.read32(CC) & !(1 | 3 << 14));
    }

    /// Names the admin queues, of `entries` each, and enables the controller.
    pub fn enable(&self, entries: u16, submission: mm::Hpa, completion: mm::Hpa) {
        let size = u32::from(entries - 1);
        self.registers.write32(AQA, size | size << 16);
        for (register, address) in [(ASQ, submission.get()), (ACQ, completion.get())] {
            self.registers.write32(register, address as u32);
            self.registers.write32(register + 4, (address >> 32) as u32);
        }
        self.registers.write32(CC, CC_ENABLE | self.command_set);
    }

    /// Tells the controller that it will be switched off.
    pub fn notify_shut_down(&self) {
        self.registers.write32(CC, self.registers.read32(CC) & !(3 << 14) | CC_SHUT_DOWN);
    }

    /// How many queue pairs, the admin queues among them, have their doorbells within the window.
    pub fn pairs(&self) -> u64 {
        let last = self.registers.bytes().saturating_sub(DOORBELLS);
        // The completion doorbell of pair n is 4 bytes at (2n + 1) strides.
        last.saturating_sub(4).checked_div(self.stride).map_or(0, |strides| strides.div_ceil(2))
    }

    /// The offset of a queue's submission doorbell; its completion doorbell is one stride further on.
    pub fn doorbells(&self, queue: u16) -> (u64, u64) {
        let first = DOORBELLS + 2 * u64::from(queue) * self.stride;
        (first, first + self.stride)
    }

    /// Rings a doorbell: every store to memory before it is seen by the device first.
    #[inline]
    pub fn ring(&self, doorbell: u64, value: u16) {
        self.registers.write32(doorbell, u32::from(value));
    }
}
