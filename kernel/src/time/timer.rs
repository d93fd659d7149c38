//! The calling CPU's timer: one interrupt at one point in time.
//!
//! Whoever runs the CPU (its loop) decides for which deadline; nobody else arms it. Where the CPU has the
//! TSC-deadline mode, arming is one MSR write, else a conversion and a write of the count.
use super::{APIC_TIMER, Nanos, now, tsc_at};
use crate::cpu::{control, percpu};
use crate::interrupts::local_apic::{countdown, deadline};
use crate::interrupts::{self, Vector};
use core::sync::atomic::Ordering;

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
/// from before; costs nothing if it is the same. The interrupt may come early where the deadline is further
/// away than the timer can count (some seconds): arm again then. Call with interrupts disabled.
#[inline]
pub fn arm(at: Nanos) {
    let armed = &percpu::current().timer_deadline;
    if armed.load(Ordering::Relaxed) == at.0 {
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
