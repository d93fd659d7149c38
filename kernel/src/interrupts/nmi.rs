//! Non-maskable interrupts: how a CPU that reports a panic, or powers off, stops the others.
use super::local_apic::{self, Command};
use crate::cpu::idt::Frame;
use crate::cpu::percpu;
use crate::cpu::registers::halt_forever;
use crate::vm;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Whoever takes an NMI is to halt.
static STOP: AtomicBool = AtomicBool::new(false);

/// NMIs that nobody here sent.
static UNEXPLAINED: AtomicU64 = AtomicU64::new(0);

/// What an NMI runs. It may have come at any instruction, so it takes no lock and prints nothing.
pub(crate) fn taken(_frame: &Frame) {
    if STOP.load(Ordering::Acquire) {
        vm::leave_for_good();
        halt_forever();
    }
    UNEXPLAINED.fetch_add(1, Ordering::Relaxed);
}

/// Halts all other CPUs for good.
pub fn stop_others() {
    STOP.store(true, Ordering::Release);
    let me = percpu::current().index;
    for c in percpu::online().filter(|c| c.index != me) {
        local_apic::send(Command::NMI, c.apic_id());
    }
}

/// NMIs that nobody here sent, since the last call.
pub fn take_unexplained() -> u64 {
    UNEXPLAINED.swap(0, Ordering::Relaxed)
}
