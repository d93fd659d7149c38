//! Vectors of devices that send messages: each CPU has a range of its own.
//!
//! A handler finds the signal of its vector and raises it, without a lock. A vector that is given back is waited for
//! on the CPU that may be handling it at this moment, which takes less than a microsecond.
#![allow(unsafe_code)] // a handler borrows the signal that a table entry owns

use super::Vector;
use crate::cpu::percpu;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use drivers::{Interrupt, MsiMessage};
use executor::Signal;
use spin::Once;

/// First vector of devices.
const FIRST: u8 = Vector::AFTER_PIC;
/// How many there are, up to COM1's.
const COUNT: usize = (Vector::SERIAL.0 - FIRST) as usize;

/// A CPU's vectors.
#[repr(align(64))]
struct Table {
    /// Each `Arc::into_raw` of a signal, or null.
    signals: [AtomicPtr<Signal>; COUNT],
    /// The CPU is in a handler: it may be using a signal.
    busy: AtomicBool,
}

static TABLES: Once<Box<[Table]>> = Once::new();

/// Makes the tables, once all CPUs have their blocks.
pub fn start() {
    let new =
        || Table { signals: [const { AtomicPtr::new(null_mut()) }; COUNT], busy: AtomicBool::new(false) };
    TABLES.call_once(|| percpu::all().iter().map(|_| new()).collect());
}

/// Whether `vector` is a device's.
pub(super) fn owns(vector: u8) -> bool {
    (FIRST..Vector::SERIAL.0).contains(&vector)
}

/// Raises the signal of a vector that has come to this CPU. Returns whether it has one.
pub(super) fn taken(vector: u8) -> bool {
    let cpu = percpu::current();
    let Some(table) = TABLES.get().and_then(|tables| tables.get(cpu.index)) else { return false };
    // Announced before the entry is read, as `drop` clears the entry before it looks: one of the two sees the other.
    table.busy.store(true, Ordering::SeqCst);
    let signal = table.signals[usize::from(vector - FIRST)].load(Ordering::SeqCst);
    if !signal.is_null() {
        // SAFETY: the entry owned it when it was read, and whoever empties the entry keeps it until `busy` is over.
        unsafe { &*signal }.raise();
        cpu.attention.store(true, Ordering::Relaxed);
    }
    table.busy.store(false, Ordering::Release);
    !signal.is_null()
}

/// A vector of a CPU.
struct DeviceVector {
    cpu: usize,
    /// Which of the CPU's.
    index: usize,
    message: MsiMessage,
}

/// Takes a vector of CPU `cpu`, whose interrupts raise `signal`. `None` where it has none left, does not run, or
/// has an APIC id that does not fit into a message.
pub fn take(cpu: usize, signal: Arc<Signal>) -> Option<Box<dyn Interrupt>> {
    let block = percpu::get(cpu).filter(|c| c.is_online())?;
    // Without interrupt remapping a message has 8 bits of destination (SDM vol. 3A, 11.11.1); 255 is all CPUs.
    let destination = u8::try_from(block.apic_id()).ok().filter(|id| *id != 255)?;
    let table = TABLES.get()?.get(cpu)?;
    let signal = Arc::into_raw(signal).cast_mut();
    let free = |entry: &AtomicPtr<Signal>| {
        entry.compare_exchange(null_mut(), signal, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    };
    let Some(index) = table.signals.iter().position(free) else {
        // SAFETY: from `into_raw` above, and no entry has it.
        drop(unsafe { Arc::from_raw(signal) });
        return None;
    };
    // Fixed delivery, edge: all zeroes (SDM vol. 3A, 11.11.2).
    let message = MsiMessage {
        address: 0xfee0_0000 | u64::from(destination) << 12,
        data: u32::from(FIRST) + index as u32,
    };
    Some(Box::new(DeviceVector { cpu, index, message }))
}

impl Interrupt for DeviceVector {
    fn message(&self) -> MsiMessage {
        self.message
    }

    fn cpu(&self) -> usize {
        self.cpu
    }
}

impl Drop for DeviceVector {
    fn drop(&mut self) {
        let Some(table) = TABLES.get().and_then(|tables| tables.get(self.cpu)) else { return };
        let signal = table.signals[self.index].swap(null_mut(), Ordering::SeqCst);
        // A handler never drops a vector, so this CPU is in none.
        while table.busy.load(Ordering::SeqCst) {
            core::hint::spin_loop();
        }
        if !signal.is_null() {
            // SAFETY: the entry owned it since `take`, and no handler has it any more: one that comes now finds the
            // entry empty, or another signal.
            drop(unsafe { Arc::from_raw(signal) });
        }
    }
}
