//! A function that a driver has.
use super::bar::{BadBar, Bar, BarSpace};
use super::msi::Msi;
use super::msix::{MsiX, Table};
use super::register::*;
use super::{CapabilityId, Config, Found, MessageInterrupts, assign, power};
use crate::{Kernel, Registers};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use mm::addr::Hpa;

/// Why a function can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PciError {
    /// It does not answer.
    Gone,
    /// A base address register makes no sense.
    BadBar { index: u8 },
    /// It has no such window in memory, or a smaller one.
    NoBar { index: u8 },
    /// The firmware gave it no address, and the port above has no room.
    NoWindow { bytes: u64 },
    /// The firmware gave it no address, and it does not sit in a slot of its own.
    Unassigned { index: u8 },
    /// The window can't be mapped: it overlaps memory, or lies beyond what the CPU reaches.
    Unreachable { address: u64, bytes: u64 },
    /// It has neither MSI-X nor MSI.
    NoMessages,
    /// Its MSI-X table is not within its windows.
    BadTable,
}

impl fmt::Display for PciError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("it does not answer"),
            Self::BadBar { index } => write!(f, "its BAR {index} makes no sense"),
            Self::NoBar { index } => write!(f, "it has no memory at BAR {index}, or too little"),
            Self::NoWindow { bytes } => write!(
                f,
                "the firmware left no room of {bytes:#x} bytes at its slot: reboot with the device plugged in"
            ),
            Self::Unassigned { index } => {
                write!(f, "the firmware gave its BAR {index} no address: update the firmware or its settings")
            }
            Self::Unreachable { address, bytes } => {
                write!(f, "its registers, {bytes:#x} bytes at {address:#x}, can't be mapped")
            }
            Self::NoMessages => f.write_str("it has no message-signalled interrupts"),
            Self::BadTable => f.write_str("its MSI-X table is not in its registers"),
        }
    }
}

/// A function that a driver has taken. Given back when dropped: it does no DMA and sends no interrupt any more.
pub struct Device {
    kernel: Arc<dyn Kernel>,
    config: Config,
    bars: Vec<Bar>,
}

impl Device {
    /// Takes a function: stops what the firmware left running, wakes it, sizes its BARs, gives them addresses where
    /// it came after the firmware, and lets it answer at them. It does no DMA yet.
    ///
    /// # Errors
    /// What is wrong with it. It is silent then.
    pub async fn take(kernel: Arc<dyn Kernel>, config: Config, found: &Found) -> Result<Self, PciError> {
        if !config.is_present() {
            return Err(PciError::Gone);
        }
        config.change_command(IO_DECODE | MEMORY_DECODE | BUS_MASTER, INTX_DISABLE);
        if power::wake(&config) {
            let (timers, until) = (kernel.timers(), kernel.now() + power::WAKE_NANOS);
            timers.sleep_until(until).await;
        }
        let mut bars = Vec::new();
        for bar in Bar::read_all(&config) {
            bars.extend(bar.sized(&config).map_err(|BadBar { index }| PciError::BadBar { index })?);
        }
        let lacks = |bar: &&Bar| bar.address == 0 && bar.space != BarSpace::Io;
        if let Some(bar) = bars.iter().find(lacks) {
            let index = bar.index;
            let port = Self::own_port(&config, found).ok_or(PciError::Unassigned { index })?;
            assign::assign(&config, &port, &mut bars)?;
        }
        for bridge in &found.path {
            // Lets accesses down to it and its DMA up; the bridges have no DMA of their own.
            config.elsewhere(*bridge).change_command(0, MEMORY_DECODE | BUS_MASTER);
        }
        config.change_command(0, MEMORY_DECODE);
        if !config.is_present() {
            return Err(PciError::Gone);
        }
        Ok(Self { kernel, config, bars })
    }

    /// The port above, if this function is the only one behind it.
    fn own_port(config: &Config, found: &Found) -> Option<Config> {
        let port = config.elsewhere(*found.path.last()?);
        let single = found.address.device() == 0 && found.address.function() == 0;
        let single = single && config.read8(HEADER_TYPE) & MULTI_FUNCTION == 0;
        (single && super::Bridge::read(&port).is_port).then_some(port)
    }

    /// Its configuration space.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Its windows.
    pub fn bars(&self) -> &[Bar] {
        &self.bars
    }

    fn memory(&self, index: u8) -> Option<&Bar> {
        self.bars.iter().find(|b| b.index == index && b.space != BarSpace::Io)
    }

    /// Maps all of a window.
    ///
    /// # Errors
    /// Where it is not there or can't be reached.
    pub fn map(&self, index: u8) -> Result<Box<dyn Registers>, PciError> {
        let bytes = self.memory(index).ok_or(PciError::NoBar { index })?.bytes;
        self.map_part(index, 0, bytes)
    }

    /// Maps a part of a window.
    ///
    /// # Errors
    /// Where it is not there or can't be reached.
    pub fn map_part(&self, index: u8, offset: u64, bytes: u64) -> Result<Box<dyn Registers>, PciError> {
        let bar = self.memory(index).ok_or(PciError::NoBar { index })?;
        let inside = bytes != 0 && offset.checked_add(bytes).is_some_and(|end| end <= bar.bytes);
        if !inside {
            return Err(PciError::NoBar { index });
        }
        // Sizes and alignment were checked, so the sum does not wrap.
        let address = bar.address + offset;
        let unreachable = PciError::Unreachable { address, bytes };
        let end = address.checked_add(bytes).ok_or(unreachable)?;
        let first = Hpa::try_new(address).filter(|_| Hpa::try_new(end - 1).is_some()).ok_or(unreachable)?;
        self.kernel.map_registers(first, bytes).ok_or(unreachable)
    }

    /// Its interrupts: MSI-X, or MSI where it has none. Nothing is connected yet. Once, since a second call takes
    /// them from the first.
    ///
    /// # Errors
    /// Where it has neither, or its table is out of place.
    pub fn interrupts(&self) -> Result<Box<dyn MessageInterrupts>, PciError> {
        let msi = self.config.capability(CapabilityId::MSI);
        if let Some(capability) = self.config.capability(CapabilityId::MSI_X) {
            if let Some(other) = msi {
                // Never both (6.8.3); the firmware may have used this one.
                drop(Msi::new(self.config.clone(), other.offset));
            }
            let at = capability.offset;
            let table = Table::read(&self.config, at);
            let window = self.map_part(table.bar, table.offset, table.bytes());
            let window = window.map_err(|error| match error {
                PciError::NoBar { .. } => PciError::BadTable,
                other => other,
            })?;
            return Ok(Box::new(MsiX::new(self.config.clone(), at, window, table.entries)));
        }
        let capability = msi.ok_or(PciError::NoMessages)?;
        Ok(Box::new(Msi::new(self.config.clone(), capability.offset)))
    }

    /// Lets it do DMA and send messages, or not.
    pub fn set_bus_master(&self, on: bool) {
        if on {
            self.config.change_command(0, BUS_MASTER);
        } else {
            self.config.change_command(BUS_MASTER, 0);
        }
    }

    /// Takes its bus mastering, and returns when what it has written before is in memory: a read's answer does not
    /// overtake writes (PCI Local Bus 3.0, 3.2.5).
    pub fn stop_dma(&self) {
        self.set_bus_master(false);
        self.config.read16(COMMAND);
    }

    /// Whether it still answers.
    pub fn is_present(&self) -> bool {
        self.config.is_present()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // Decoding stays on: a driver's last accesses may still be on their way, and do no harm.
        self.set_bus_master(false);
    }
}
