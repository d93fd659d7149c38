//! A logical unit: a disk, who it is, and what the guest has set.
use super::sense::{Code, Key, Sense};
use crate::virtio::channel::Blocks;
use alloc::string::String;
use alloc::sync::Arc;
use block::{BlockDevice, Features, Geometry};
use core::sync::atomic::{AtomicU16, AtomicU32, Ordering};

/// Most bytes of a serial number.
pub const MAX_SERIAL: usize = 36;

/// Bits of a unit's state.
const WRITE_THROUGH: u32 = 1;
const DESCRIPTORS: u32 = 2;
const STOPPED: u32 = 4;

/// A logical unit.
pub struct Unit {
    /// Where its data is.
    pub disk: Arc<dyn BlockDevice>,
    serial: String,
    state: AtomicU32,
    /// Code of the unit attention that the guest is to be told of next; 0 where there is none.
    attention: AtomicU16,
}

impl Unit {
    /// As it is after power-on. The serial number is cut at [`MAX_SERIAL`] and what is not printable ASCII replaced, as
    /// SPC-4, 4.4.1 wants it.
    pub fn new(disk: Arc<dyn BlockDevice>, serial: &str) -> Self {
        let printable = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
        let serial = serial.chars().map(printable).take(MAX_SERIAL).collect();
        let unit = Self { disk, serial, state: AtomicU32::new(0), attention: AtomicU16::new(0) };
        unit.power_on();
        unit
    }

    /// Back to how it is after power-on.
    pub fn power_on(&self) {
        self.reset(Code::POWER_ON);
    }

    /// Back to how it is after power-on, by what `code` tells.
    pub fn reset(&self, code: Code) {
        self.state.store(0, Ordering::SeqCst);
        self.attention.store(code.0, Ordering::SeqCst);
    }

    /// Its serial number, which no other unit of its controller has.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// Size and abilities of its disk.
    #[inline]
    pub fn geometry(&self) -> &Geometry {
        self.disk.geometry()
    }

    /// Abilities of its disk.
    #[inline]
    pub fn features(&self) -> &Features {
        &self.geometry().features
    }

    /// What has happened to it that the guest does not know yet; told once.
    #[inline]
    pub fn take_attention(&self) -> Option<Sense> {
        if self.attention.load(Ordering::Relaxed) == 0 {
            return None;
        }
        match self.attention.swap(0, Ordering::SeqCst) {
            0 => None,
            code => Some(Sense::new(Key::UNIT_ATTENTION, Code(code))),
        }
    }

    /// Whether the guest has stopped it: it can't be read or written then.
    ///
    /// # Errors
    /// It has.
    #[inline]
    pub fn started(&self) -> Result<(), Sense> {
        if self.state.load(Ordering::Relaxed) & STOPPED != 0 {
            return Err(Sense::new(Key::NOT_READY, Code::NOT_READY_INITIALIZING_COMMAND_REQUIRED));
        }
        Ok(())
    }

    /// Whether it can be read and written: its disk might be gone, too.
    ///
    /// # Errors
    /// Why not.
    pub fn ready(&self) -> Result<(), Sense> {
        self.started()?;
        if self.disk.is_present() {
            return Ok(());
        }
        Err(Sense::new(Key::NOT_READY, Code::NOT_READY_MANUAL_INTERVENTION_REQUIRED))
    }

    /// The guest has stopped or started it.
    pub fn set_stopped(&self, stopped: bool) {
        self.set(STOPPED, stopped);
    }

    /// Whether writes may stay in the disk's cache.
    #[inline]
    pub fn writeback(&self) -> bool {
        self.features().volatile_cache && self.state.load(Ordering::Relaxed) & WRITE_THROUGH == 0
    }

    /// The guest switches the cache. Without one there is nothing to switch.
    pub fn set_writeback(&self, writeback: bool) {
        self.set(WRITE_THROUGH, !writeback);
    }

    /// Whether sense data comes as descriptors.
    pub fn descriptors(&self) -> bool {
        self.state.load(Ordering::Relaxed) & DESCRIPTORS != 0
    }

    /// The guest chooses a format of sense data.
    pub fn set_descriptors(&self, descriptors: bool) {
        self.set(DESCRIPTORS, descriptors);
    }

    fn set(&self, bit: u32, on: bool) {
        if on {
            self.state.fetch_or(bit, Ordering::SeqCst);
        } else {
            self.state.fetch_and(!bit, Ordering::SeqCst);
        }
    }

    /// Whether it has these blocks.
    ///
    /// # Errors
    /// It has not.
    #[inline]
    pub fn check(&self, blocks: Blocks) -> Result<(), Sense> {
        match blocks.first.checked_add(blocks.count) {
            Some(end) if end <= self.geometry().blocks => Ok(()),
            _ => Err(Sense::illegal(Code::BLOCK_ADDRESS_OUT_OF_RANGE)),
        }
    }
}
