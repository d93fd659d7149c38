//! The calling CPU's timer: one interrupt at one point in time.
//!
//! Whoever runs the CPU (its loop) decides for which deadline; nobody else arms it. Where the CPU has the
//! TSC-deadline mode, arming is one MSR write, else a conversion and a write of the count.
//!
//! An interrupt that got lost does not stop a CPU: [`arm`] arms anew where the deadline has passed, and
//! [`look_after_neighbour`] wakes a CPU that does not come so far. (Seen in QEMU's emulation of VMRUN: it changes
//! the CPU's set of pending interrupts without a lock, and so may take back what a device adds at that moment.)
use super::{APIC_TIMER, Nanos, now, tsc_at};
use crate::cpu::{control, percpu};
use crate::interrupts::local_apic::{countdown, deadline};
use crate::interrupts::{self, Vector, ipi};
use core::sync::atomic::Ordering;

/// So late a timer's interrupt counts as lost, in nanoseconds. An emulator that lets its CPUs take turns lets
/// one wait for 100 ms.
const LOST: u64 = 250_000_000;

/// Wakes the next CPU if its timer should have interrupted it long ago, although it may sit in a guest that
/// never exits. Every CPU looks after one other, whenever it comes by here.
#[inline]
pub fn look_after_neighbour(now: Nanos) {
    let all = percpu::all();
    let other = all[(percpu::current().index + 1) % all.len()];
    if now.0 > other.timer_deadline.load(Ordering::Relaxed).saturating_add(LOST) {
        ipi::wake(other.index);
    }
}

/// Prepares the calling CPU's timer. The clock was calibrated.
pub fn set_up() {
    interrupts::register(Vector::TIMER, fired);
    if control::features().tsc_deadline {
        deadline::set_up();
    } else {
        countdown::set_up();
    }
}

/// The interrupt: the CPU's loop is to see what is due.
fn fired() {
    let cpu = percpu::current();
    cpu.timer_deadline.store(u64::MAX, Ordering::Relaxed);
    cpu.attention.store(true, Ordering::Relaxed);
}

/// Interrupts this CPU at `at`, at once if that is past, never for [`Nanos::NEVER`]. Replaces the deadline
/// from before; costs next to nothing if it is the same and yet to come. The interrupt may come early where
/// the deadline is further away than the timer can count (some seconds): arm again then. Call with interrupts
/// disabled.
#[inline]
pub fn arm(at: Nanos) {
    let armed = &percpu::current().timer_deadline;
    if armed.load(Ordering::Relaxed) == at.0 && at > now() {
        return;
    }
    armed.store(at.0, Ordering::Relaxed);
    if control::features().tsc_deadline {
        deadline::start(if at == Nanos::NEVER { 0 } else { tsc_at(at).max(1) });
    } else if at == Nanos::NEVER {
        countdown::start(0);
    } else if let Some(rate) = APIC_TIMER.get() {
        // Round up: an interrupt before the deadline would only be followed by another.
        let ticks = rate.ticks(at.since(now()).0).saturating_add(1);
        countdown::start(u32::try_from(ticks).unwrap_or(u32::MAX));
    }
}

/// Stops the calling CPU's timer without telling anybody: its interrupt is lost.
#[cfg(feature = "boot-tests")]
pub fn lose() {
    log::info!("boot-tests: a timer is stopped");
    if control::features().tsc_deadline { deadline::start(0) } else { countdown::start(0) }
}
