//! The IOAPIC: 24 interrupt lines to messages (82093AA data sheet; version 0x20 with an EOI register as
//! in ICH9 and later).
use super::fabric::ApicFabric;
use super::message::{DeliveryMode, InterruptMessage};
use crate::platform::map::{IOAPIC_ID, IOAPIC_PINS};
use alloc::sync::Arc;

const PINS: usize = IOAPIC_PINS as usize;
const VERSION: u32 = (IOAPIC_PINS as u32 - 1) << 16 | 0x20;

/// Offsets in the register page.
mod window {
    pub const SELECT: u64 = 0x00;
    pub const DATA: u64 = 0x10;
    pub const EOI: u64 = 0x40;
}

/// Redirection table entries.
mod entry {
    pub const LOGICAL: u64 = 1 << 11;
    pub const REMOTE_IRR: u64 = 1 << 14;
    pub const LEVEL: u64 = 1 << 15;
    pub const MASKED: u64 = 1 << 16;
    /// All but delivery status and remote IRR; the destination in the upper eight bits.
    pub const WRITABLE: u64 = 0xff00_0000_0001_afff;
}

/// An IOAPIC. Lines are active high whatever the polarity bit says: the board's devices know no other
/// electrical level than "asserted".
pub struct IoApic {
    fabric: Arc<ApicFabric>,
    select: u8,
    id: u8,
    table: [u64; PINS],
    /// Level of each line.
    lines: u32,
    /// Pins whose remote IRR is set.
    awaiting_eoi: u32,
}

impl IoApic {
    /// In its power-on state: all pins masked.
    pub fn new(fabric: Arc<ApicFabric>) -> Self {
        Self { fabric, select: 0, id: IOAPIC_ID, table: [entry::MASKED; PINS], lines: 0, awaiting_eoi: 0 }
    }

    /// Back to the power-on state. Lines keep their level: devices set them.
    pub fn reset(&mut self) {
        self.select = 0;
        self.id = IOAPIC_ID;
        self.table = [entry::MASKED; PINS];
        self.awaiting_eoi = 0;
    }

    /// A device asserts or releases its line.
    #[inline]
    pub fn set_line(&mut self, pin: u8, asserted: bool) {
        let Some(&redirection) = self.table.get(usize::from(pin)) else { return };
        let bit = 1 << pin;
        let rose = asserted && self.lines & bit == 0;
        if asserted {
            self.lines |= bit;
        } else {
            self.lines &= !bit;
        }
        // A masked edge is lost, as on the chip. A level that stays is seen when its pin is unmasked.
        if rose && redirection & entry::MASKED == 0 {
            self.fire(usize::from(pin));
        }
    }

    /// A local APIC ended a level-triggered interrupt with this vector.
    pub fn end_of_interrupt(&mut self, vector: u8) {
        let mut pins = self.awaiting_eoi;
        while pins != 0 {
            let pin = pins.trailing_zeros() as usize;
            pins &= pins - 1;
            if self.table[pin] as u8 == vector {
                self.table[pin] &= !entry::REMOTE_IRR;
                self.awaiting_eoi &= !(1 << pin);
                self.fire_level(pin);
            }
        }
    }

    /// A read of the register page. Registers are 32 bits wide; narrower reads get their bytes.
    pub fn mmio_read(&self, offset: u64, size: u8) -> u64 {
        let value = match offset & 0xffc {
            window::SELECT => u32::from(self.select),
            window::DATA => self.register(),
            _ => 0,
        };
        let value = u64::from(value >> (8 * (offset & 3)));
        match size {
            1 => value & 0xff,
            2 => value & 0xffff,
            _ => value,
        }
    }

    /// A write to the register page. The chip takes 32 bits at a time; a narrower write is accepted where
    /// the register has no more than eight bits.
    pub fn mmio_write(&mut self, offset: u64, size: u8, value: u64) {
        match offset & 0xfff {
            window::SELECT => self.select = value as u8,
            window::EOI => self.end_of_interrupt(value as u8),
            window::DATA if size >= 4 => self.set_register(value as u32),
            _ => {}
        }
    }

    fn register(&self) -> u32 {
        match self.select {
            0 | 2 => u32::from(self.id) << 24,
            1 => VERSION,
            n @ 0x10.. => {
                let redirection = self.table.get(usize::from(n - 0x10) / 2).copied().unwrap_or(0);
                (redirection >> (32 * (n & 1))) as u32
            }
            _ => 0,
        }
    }

    fn set_register(&mut self, value: u32) {
        match self.select {
            0 => self.id = (value >> 24) as u8,
            n @ 0x10.. => {
                let pin = usize::from(n - 0x10) / 2;
                let Some(redirection) = self.table.get_mut(pin) else { return };
                let shift = 32 * (n & 1);
                let mask = entry::WRITABLE & 0xffff_ffff << shift;
                *redirection = *redirection & !mask | u64::from(value) << shift & mask;
                if *redirection & entry::LEVEL == 0 {
                    // Linux clears a stuck remote IRR by making the pin edge-triggered for a moment.
                    *redirection &= !entry::REMOTE_IRR;
                    self.awaiting_eoi &= !(1 << pin);
                }
                self.fire_level(pin);
            }
            _ => {}
        }
    }

    /// Sends a level-triggered pin's interrupt if its line is asserted and none is under way.
    fn fire_level(&mut self, pin: usize) {
        let blocked = entry::MASKED | entry::REMOTE_IRR;
        if self.table[pin] & (blocked | entry::LEVEL) == entry::LEVEL && self.lines & 1 << pin != 0 {
            self.fire(pin);
        }
    }

    fn fire(&mut self, pin: usize) {
        let redirection = self.table[pin];
        if redirection & entry::REMOTE_IRR != 0 {
            return;
        }
        let mode = DeliveryMode::from_bits(redirection as u32 >> 8);
        let level = redirection & entry::LEVEL != 0;
        let accepted = self.fabric.deliver(InterruptMessage {
            destination: InterruptMessage::destination8((redirection >> 56) as u8),
            logical: redirection & entry::LOGICAL != 0,
            mode,
            vector: redirection as u8,
            level_triggered: level,
            assert: true,
        });
        // Only what has an EOI waits for it. What nobody accepted is sent anew with the next change.
        let has_eoi =
            matches!(mode, DeliveryMode::Fixed | DeliveryMode::LowestPriority) && redirection as u8 >= 16;
        if accepted && level && has_eoi {
            self.table[pin] |= entry::REMOTE_IRR;
            self.awaiting_eoi |= 1 << pin;
        }
    }
}

#[cfg(test)]
#[path = "ioapic_tests.rs"]
mod tests;
