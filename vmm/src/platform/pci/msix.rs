//! MSI-X: a table of messages in a BAR, one for each reason to interrupt (PCI 3.0, 6.8.2).
//!
//! What an entry would send is worked out when the guest writes it, not when the device interrupts: sending is one
//! load and the delivery.
use crate::platform::apic::{ApicFabric, DeliveryMode, InterruptMessage, Msi};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use spin::Mutex;

/// ID of the capability.
pub const CAPABILITY: u8 = 0x11;
/// Most entries of a table.
pub const MAX_VECTORS: u16 = 2048;
/// Bytes of an entry.
pub const ENTRY: u64 = 16;

/// Message control: enabled.
pub const ENABLE: u16 = 1 << 15;
/// Message control: all vectors are masked.
pub const FUNCTION_MASK: u16 = 1 << 14;

/// Vector control: masked.
const MASKED: u32 = 1;

/// A message as one word; 0 is none.
mod route {
    use super::{DeliveryMode, InterruptMessage, Msi};

    const OPEN: u64 = 1 << 63;

    /// The word for a message that can be sent.
    pub fn pack(msi: Msi) -> u64 {
        let Some(message) = msi.decode() else { return 0 };
        OPEN | u64::from(message.vector)
            | u64::from(msi.data >> 8 & 7) << 8
            | u64::from(message.logical) << 11
            | u64::from(message.level_triggered) << 12
            | u64::from(message.assert) << 13
            | u64::from(message.destination) << 16
    }

    /// The message of a word that is not 0.
    #[inline]
    pub fn unpack(word: u64) -> InterruptMessage {
        let bit = |n: u32| word >> n & 1 != 0;
        InterruptMessage {
            destination: (word >> 16) as u32,
            logical: bit(11),
            mode: DeliveryMode::from_bits((word >> 8) as u32),
            vector: word as u8,
            level_triggered: bit(12),
            assert: bit(13),
        }
    }
}

#[derive(Clone, Copy)]
struct Entry {
    /// Address (two), data, vector control.
    words: [u32; 4],
    pending: bool,
}

impl Entry {
    const POWER_ON: Self = Self { words: [0, 0, 0, MASKED], pending: false };

    fn message(&self) -> Msi {
        let [low, high, data, _] = self.words;
        Msi { address: u64::from(high) << 32 | u64::from(low), data }
    }
}

struct Table {
    entries: Box<[Entry]>,
    enabled: bool,
    function_mask: bool,
}

/// A function's MSI-X table and pending bits.
pub struct Msix {
    fabric: Arc<ApicFabric>,
    table: Mutex<Table>,
    /// What each entry sends now; 0 where it does not.
    routes: Box<[AtomicU64]>,
    enabled: AtomicBool,
}

impl Msix {
    /// With `vectors` entries, 1 to [`MAX_VECTORS`].
    pub fn new(fabric: Arc<ApicFabric>, vectors: u16) -> Self {
        let vectors = usize::from(vectors.clamp(1, MAX_VECTORS));
        Self {
            fabric,
            table: Mutex::new(Table {
                entries: alloc::vec![Entry::POWER_ON; vectors].into_boxed_slice(),
                enabled: false,
                function_mask: false,
            }),
            routes: (0..vectors).map(|_| AtomicU64::new(0)).collect(),
            enabled: AtomicBool::new(false),
        }
    }

    /// How many entries.
    pub fn vectors(&self) -> u16 {
        self.routes.len() as u16
    }

    /// Bytes of the pending bits: whole 64-bit words.
    pub fn pending_bytes(&self) -> u64 {
        u64::from(self.vectors()).div_ceil(64) * 8
    }

    /// Body of the capability, with the table at `table` and the pending bits at `pending` of BAR `bar`.
    pub fn capability(&self, bar: u8, table: u32, pending: u32) -> [u8; 10] {
        let mut body = [0; 10];
        body[..2].copy_from_slice(&(self.vectors() - 1).to_le_bytes());
        body[2..6].copy_from_slice(&(table & !7 | u32::from(bar & 7)).to_le_bytes());
        body[6..].copy_from_slice(&(pending & !7 | u32::from(bar & 7)).to_le_bytes());
        body
    }

    /// Whether the guest uses it, and not INTx#.
    #[inline]
    pub fn enabled(&self) -> bool {
        self.enabled.load(Ordering::Relaxed)
    }

    /// Sends an entry's message, or makes it pending while it is masked. Not there: nothing.
    #[inline]
    pub fn raise(&self, vector: u16) -> bool {
        let Some(route) = self.routes.get(usize::from(vector)) else { return false };
        match route.load(Ordering::Acquire) {
            0 => {
                self.raise_closed(vector);
                false
            }
            word => {
                self.fabric.deliver(route::unpack(word));
                true
            }
        }
    }

    #[cold]
    fn raise_closed(&self, vector: u16) {
        let mut table = self.table.lock();
        if table.enabled
            && let Some(entry) = table.entries.get_mut(usize::from(vector))
        {
            entry.pending = true;
            self.update(&mut table, usize::from(vector));
        }
    }

    /// Brings an entry's route up to date, and sends what was pending.
    fn update(&self, table: &mut Table, vector: usize) {
        let masked = !table.enabled || table.function_mask;
        let (Some(entry), Some(route)) = (table.entries.get_mut(vector), self.routes.get(vector)) else {
            return;
        };
        if masked || entry.words[3] & MASKED != 0 {
            route.store(0, Ordering::Release);
            return;
        }
        let word = route::pack(entry.message());
        route.store(word, Ordering::Release);
        if core::mem::take(&mut entry.pending) && word != 0 {
            self.fabric.deliver(route::unpack(word));
        }
    }

    /// The message control register was written.
    pub fn set_control(&self, control: u16) {
        let mut table = self.table.lock();
        table.enabled = control & ENABLE != 0;
        table.function_mask = control & FUNCTION_MASK != 0;
        self.enabled.store(table.enabled, Ordering::Relaxed);
        for vector in 0..self.routes.len() {
            self.update(&mut table, vector);
        }
    }

    /// Back to the power-on state: disabled, all entries masked, nothing pending.
    pub fn reset(&self) {
        self.table.lock().entries.fill(Entry::POWER_ON);
        self.set_control(0);
    }

    /// A read of the table, of 4 or 8 bytes, aligned; others read as 0.
    pub fn table_read(&self, offset: u64, size: u8) -> u64 {
        let table = self.table.lock();
        let word = |offset: u64| -> u64 {
            let entry = table.entries.get((offset / ENTRY) as usize);
            entry.map_or(0, |e| e.words[(offset / 4 % 4) as usize].into())
        };
        match size {
            4 if offset.is_multiple_of(4) => word(offset),
            8 if offset.is_multiple_of(8) => word(offset) | word(offset + 4) << 32,
            _ => 0,
        }
    }

    /// A write to the table, of 4 or 8 bytes, aligned; others are dropped.
    pub fn table_write(&self, offset: u64, size: u8, value: u64) {
        let words = match size {
            4 if offset.is_multiple_of(4) => 1,
            8 if offset.is_multiple_of(8) => 2,
            _ => return,
        };
        let vector = (offset / ENTRY) as usize;
        let mut table = self.table.lock();
        let Some(entry) = table.entries.get_mut(vector) else { return };
        for i in 0..words {
            let at = (offset / 4 % 4) as usize + i;
            let word = (value >> (32 * i)) as u32;
            entry.words[at] = match at {
                0 => word & !3,
                3 => word & MASKED,
                _ => word,
            };
        }
        self.update(&mut table, vector);
    }

    /// A read of the pending bits.
    pub fn pending_read(&self, offset: u64, size: u8) -> u64 {
        let table = self.table.lock();
        let first = (offset as usize).saturating_mul(8);
        let waiting = table.entries.iter().enumerate().skip(first).take(8 * usize::from(size.min(8)));
        waiting.fold(0, |bits, (i, entry)| bits | u64::from(entry.pending) << (i - first))
    }
}
