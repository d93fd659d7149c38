//! The card and its first queue for sending (virtio 1.2, 2.7 and 4.1; PureVisor's layout of it, vmm/src/virtio/pci).
use crate::linux::{HUGE, Mapping, allow_ports, huge_page, out};
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{Ordering, fence};
use std::thread;
use std::time::{Duration, Instant};

/// Offsets in the common configuration (4.1.4.3), with which the memory BAR begins.
mod at {
    pub const DRIVER_FEATURE_SELECT: usize = 8;
    pub const DRIVER_FEATURE: usize = 12;
    pub const STATUS: usize = 20;
    pub const QUEUE_SELECT: usize = 22;
    pub const QUEUE_SIZE: usize = 24;
    pub const QUEUE_ENABLE: usize = 28;
    pub const QUEUE_DESCRIPTORS: usize = 32;
    pub const QUEUE_DRIVER: usize = 40;
    pub const QUEUE_DEVICE: usize = 48;
}
const REGISTERS: usize = 0x1000;

/// Status bits (2.1): a driver is there, it knows the device, features are agreed on, it works.
const DRIVER: u8 = 3;
const FEATURES_OK: u8 = 8;
const DRIVER_OK: u8 = 4;

/// Checksums and segments may be left to the device: what else could be lied about. By halves: virtio 1 is the second's.
const FEATURES: [u32; 2] = [1 << 0 | 1 << 5 | 1 << 11 | 1 << 12 | 1 << 13, 1];

/// The first queue for sending (5.1.2).
const QUEUE: u16 = 1;
/// Its entries; each frame takes two, one for its header.
const ENTRIES: u16 = 128;
const FRAMES: u16 = ENTRIES / 2;

/// Where things lie in the huge page.
const DESCRIPTORS: usize = 0;
const AVAILABLE: usize = 0x1000;
const USED: usize = 0x2000;
const HEADER: usize = 0x3000;
const FRAME: usize = 0x1_0000;

const NEXT: u16 = 1;
/// The device wants no notification (2.7.10).
const NO_NOTIFY: u16 = 1;

/// How long the card may take for a frame.
const PATIENCE: Duration = Duration::from_secs(30);

/// In the function's configuration: memory and ports are decoded, it may read and write memory.
const COMMAND: u64 = 4;
const DECODE_AND_MASTER: u16 = 7;

/// A card that was Linux's.
pub struct Card {
    /// As `/sys/bus/pci/devices` names it.
    address: String,
    registers: Mapping,
    notify: u16,
    memory: Mapping,
    physical: u64,
    available: u16,
    used: u16,
}

impl Card {
    /// Takes the card of a network interface from Linux' driver, and makes it ready to send.
    pub fn take(nic: &str) -> io::Result<Self> {
        let device = fs::canonicalize(format!("/sys/class/net/{nic}/device"))?;
        let function = device.parent().ok_or_else(|| io::Error::other("it is on no bus"))?.to_path_buf();
        let address = function.file_name().unwrap_or_default().to_string_lossy().into_owned();
        fs::write("/sys/bus/pci/drivers/virtio-pci/unbind", &address)?;
        let config = fs::File::options().write(true).open(function.join("config"))?;
        config.write_all_at(&DECODE_AND_MASTER.to_le_bytes(), COMMAND)?;
        allow_ports()?;
        let (memory, physical) = huge_page()?;
        let registers = Mapping::registers(&function.join("resource1"), REGISTERS)?;
        let notify = ports_of(&function)?;
        let mut card = Self { address, registers, notify, memory, physical, available: 0, used: 0 };
        card.begin()?;
        Ok(card)
    }

    /// The steps of 3.1.1.
    fn begin(&mut self) -> io::Result<()> {
        let registers = &self.registers;
        self.reset()?;
        registers.write(at::STATUS, DRIVER);
        for (half, features) in FEATURES.into_iter().enumerate() {
            registers.write(at::DRIVER_FEATURE_SELECT, half as u32);
            registers.write(at::DRIVER_FEATURE, features);
        }
        registers.write(at::STATUS, DRIVER | FEATURES_OK);
        if registers.read::<u8>(at::STATUS) & FEATURES_OK == 0 {
            return Err(io::Error::other("the card refuses our features"));
        }
        registers.write(at::QUEUE_SELECT, QUEUE);
        if registers.read::<u16>(at::QUEUE_SIZE) < ENTRIES {
            return Err(io::Error::other("the card's queue is too small"));
        }
        registers.write(at::QUEUE_SIZE, ENTRIES);
        let parts =
            [(at::QUEUE_DESCRIPTORS, DESCRIPTORS), (at::QUEUE_DRIVER, AVAILABLE), (at::QUEUE_DEVICE, USED)];
        for (register, part) in parts {
            let address = self.physical + part as u64;
            registers.write(register, address as u32);
            registers.write(register + 4, (address >> 32) as u32);
        }
        registers.write(at::QUEUE_ENABLE, 1u16);
        registers.write(at::STATUS, DRIVER | FEATURES_OK | DRIVER_OK);
        Ok(())
    }

    fn reset(&self) -> io::Result<()> {
        self.registers.write(at::STATUS, 0u8);
        patiently("its reset", || self.registers.read::<u8>(at::STATUS) == 0)
    }

    /// Puts in place what [`Self::send`] sends from now on. Nothing may be under way.
    pub fn put(&mut self, header: &[u8], frame: &[u8]) -> io::Result<()> {
        if header.len() > FRAME - HEADER || frame.len() > HUGE - FRAME {
            return Err(io::Error::other("there is no room for such a frame"));
        }
        self.memory.write_all(HEADER, header);
        self.memory.write_all(FRAME, frame);
        for i in 0..FRAMES {
            // A descriptor of no bytes would be a mistake of its own.
            let flags = if frame.is_empty() { 0 } else { NEXT };
            self.describe(2 * i, HEADER, header.len(), flags);
            self.describe(2 * i + 1, FRAME, frame.len(), 0);
        }
        Ok(())
    }

    fn describe(&self, index: u16, part: usize, bytes: usize, flags: u16) {
        let at = DESCRIPTORS + usize::from(index) * 16;
        self.memory.write(at, self.physical + part as u64);
        self.memory.write(at + 8, bytes as u32);
        self.memory.write(at + 12, flags);
        self.memory.write(at + 14, index + 1);
    }

    /// Sends it once more, as soon as there is a place. How many the card has let go of since the last call.
    pub fn send(&mut self) -> io::Result<u64> {
        if self.available.wrapping_sub(self.used) == FRAMES {
            patiently("a frame to be taken", || self.used_index() != self.used)?;
        }
        let entry = usize::from(self.available % ENTRIES);
        self.memory.write(AVAILABLE + 4 + entry * 2, self.available % FRAMES * 2);
        self.available = self.available.wrapping_add(1);
        fence(Ordering::SeqCst);
        self.memory.write(AVAILABLE + 2, self.available);
        fence(Ordering::SeqCst);
        if self.memory.read::<u16>(USED) & NO_NOTIFY == 0 {
            out(self.notify, QUEUE);
        }
        Ok(self.taken())
    }

    /// Waits until the card has let go of all. How many of them since the last call.
    pub fn wait(&mut self) -> io::Result<u64> {
        patiently("all frames to be taken", || self.used_index() == self.available)?;
        Ok(self.taken())
    }

    /// Frames are let go of in their order here: what is in the used ring is not looked at.
    fn taken(&mut self) -> u64 {
        let now = self.used_index();
        let before = std::mem::replace(&mut self.used, now);
        now.wrapping_sub(before).into()
    }

    fn used_index(&self) -> u16 {
        self.memory.read(USED + 2)
    }

    /// Linux has it again.
    pub fn give_back(self) -> io::Result<()> {
        self.reset()?;
        fs::write("/sys/bus/pci/drivers/virtio-pci/bind", &self.address)
    }
}

/// The first port of a function.
fn ports_of(function: &Path) -> io::Result<u16> {
    let path: PathBuf = function.join("resource");
    let text = fs::read_to_string(path)?;
    let first = text.split_whitespace().next().unwrap_or_default();
    u16::from_str_radix(first.trim_start_matches("0x"), 16).map_err(io::Error::other)
}

fn patiently(what: &str, mut done: impl FnMut() -> bool) -> io::Result<()> {
    let end = Instant::now() + PATIENCE;
    while !done() {
        if Instant::now() > end {
            return Err(io::Error::other(format!("the card takes too long for {what}")));
        }
        thread::yield_now();
    }
    Ok(())
}
