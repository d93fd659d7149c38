//! Base address registers, and who answers at which address (PCI 3.0, 6.2.5).
//!
//! A function's BARs are registers in its configuration space, which the guest writes under the bus' lock. What
//! they decode is published in atomics, so that an access to a port or an address finds its device without a lock.
use super::config_space::{ConfigSpace, header};
use crate::platform::map;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

/// What a BAR decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarKind {
    /// I/O ports.
    Ports,
    /// Memory below 4 GiB.
    Memory32,
    /// Memory anywhere; takes two registers.
    Memory64 {
        /// Reading has no side effects.
        prefetchable: bool,
    },
}

/// Who is behind a BAR.
pub trait BarTarget: Send + Sync {
    /// A read of `size` (1, 2, 4 or 8) bytes at `offset`, wholly within BAR `bar`.
    fn bar_read(&self, bar: u8, offset: u64, size: u8) -> u64;
    /// A write likewise.
    fn bar_write(&self, bar: u8, offset: u64, size: u8, value: u64);
}

/// A base that no address is behind: physical ones have 52 bits.
const OFF: u64 = 1 << 63;

/// A base address register.
#[derive(Clone)]
pub struct Bar {
    index: u8,
    kind: BarKind,
    bytes: u64,
    /// Where it is decoded now; [`OFF`] where it isn't.
    base: Arc<AtomicU64>,
}

impl Bar {
    /// BAR `index` (0 to 5), of `bytes`, rounded up to a power of two and what the kind needs at least.
    pub fn new(index: u8, kind: BarKind, bytes: u64) -> Self {
        let least = if kind == BarKind::Ports { 4 } else { 16 };
        let bytes = bytes.next_power_of_two().max(least);
        Self { index: index.min(5), kind, bytes, base: Arc::new(AtomicU64::new(OFF)) }
    }

    /// What it decodes.
    pub fn kind(&self) -> BarKind {
        self.kind
    }

    /// How much it decodes, in ports or bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn offset(&self) -> u8 {
        header::BAR0 + 4 * self.index
    }

    /// Puts the register into the configuration space, with the address that firmware gives it.
    pub fn install(&self, space: &mut ConfigSpace, address: u64) {
        let mask = !(self.bytes - 1);
        match self.kind {
            BarKind::Ports => {
                space.set(self.offset(), &(address as u32 | 1).to_le_bytes());
                space.allow(self.offset(), &(mask as u32 & !3).to_le_bytes());
            }
            BarKind::Memory32 => {
                space.set(self.offset(), &(address as u32).to_le_bytes());
                space.allow(self.offset(), &(mask as u32 & !15).to_le_bytes());
            }
            BarKind::Memory64 { prefetchable } => {
                let flags = 4 | u64::from(prefetchable) << 3;
                space.set(self.offset(), &(address | flags).to_le_bytes());
                space.allow(self.offset(), &(mask & !15).to_le_bytes());
            }
        }
    }

    /// Publishes where it is decoded, by the register and the command register.
    pub fn update(&self, space: &ConfigSpace) {
        let low = u64::from(space.read(self.offset().into(), 4));
        let enabled = |bit| space.command() & bit != 0;
        let base = match self.kind {
            BarKind::Ports => {
                let base = low & !3;
                // The bridge hands on these ports only, and no access goes over the last one.
                let first = u64::from(*map::PCI_PORTS.start());
                (enabled(header::IO) && base >= first && base + self.bytes <= 1 << 16).then_some(base)
            }
            BarKind::Memory32 => enabled(header::MEMORY).then_some(low & !15),
            BarKind::Memory64 { .. } => {
                let high = u64::from(space.read(u16::from(self.offset()) + 4, 4));
                let base = high << 32 | low & !15;
                (enabled(header::MEMORY) && base < 1 << 52).then_some(base)
            }
        };
        self.base.store(base.unwrap_or(OFF), Ordering::Release);
    }
}

/// A BAR and who is behind it.
struct Window {
    bar: Bar,
    target: Arc<dyn BarTarget>,
}

/// All BARs of one address space.
#[derive(Default)]
struct Space(Vec<Window>);

impl Space {
    #[inline]
    fn find(&self, address: u64, size: u8) -> Option<(&Window, u64)> {
        self.0.iter().find_map(|window| {
            let offset = address.wrapping_sub(window.bar.base.load(Ordering::Acquire));
            (offset < window.bar.bytes && offset + u64::from(size) <= window.bar.bytes)
                .then_some((window, offset))
        })
    }
}

/// Finds the device that decodes a port or an address.
#[derive(Default)]
pub struct Decoder {
    ports: Space,
    memory: Space,
}

impl Decoder {
    /// Adds a function's BARs.
    pub fn add(&mut self, bars: &[Bar], target: &Arc<dyn BarTarget>) {
        for bar in bars {
            let space = if bar.kind == BarKind::Ports { &mut self.ports } else { &mut self.memory };
            space.0.push(Window { bar: bar.clone(), target: target.clone() });
        }
    }

    /// A read of ports; `None` where no BAR has them all.
    #[inline]
    pub fn port_read(&self, port: u16, size: u8) -> Option<u32> {
        let (window, offset) = self.ports.find(port.into(), size)?;
        Some(window.target.bar_read(window.bar.index, offset, size) as u32)
    }

    /// A write to ports; whether a BAR has them all.
    #[inline]
    pub fn port_write(&self, port: u16, size: u8, value: u32) -> bool {
        let Some((window, offset)) = self.ports.find(port.into(), size) else { return false };
        window.target.bar_write(window.bar.index, offset, size, value.into());
        true
    }

    /// A read of memory; `None` where no BAR has it.
    #[inline]
    pub fn memory_read(&self, address: u64, size: u8) -> Option<u64> {
        let (window, offset) = self.memory.find(address, size)?;
        Some(window.target.bar_read(window.bar.index, offset, size))
    }

    /// A write to memory; whether a BAR has it.
    #[inline]
    pub fn memory_write(&self, address: u64, size: u8, value: u64) -> bool {
        let Some((window, offset)) = self.memory.find(address, size) else { return false };
        window.target.bar_write(window.bar.index, offset, size, value);
        true
    }
}

/// What the board's firmware does before the guest starts: gives each BAR an address.
pub struct Firmware {
    next_port: u64,
    next_memory: u64,
}

impl Default for Firmware {
    fn default() -> Self {
        Self { next_port: u64::from(*map::PCI_PORTS.start()), next_memory: map::PCI_WINDOWS[1].start }
    }
}

impl Firmware {
    /// An address for a BAR; `None` where its window is full.
    pub fn assign(&mut self, bar: &Bar) -> Option<u64> {
        let (next, end, least) = match bar.kind {
            BarKind::Ports => (&mut self.next_port, u64::from(*map::PCI_PORTS.end()) + 1, 4),
            // Pages of their own, so that a guest can map each for itself.
            _ => (&mut self.next_memory, map::PCI_WINDOWS[1].end, mm::addr::PAGE),
        };
        let at = next.checked_next_multiple_of(bar.bytes.max(least))?;
        let behind = at.checked_add(bar.bytes)?;
        if behind > end {
            return None;
        }
        *next = behind;
        Some(at)
    }
}
