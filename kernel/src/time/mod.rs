//! Time: the TSC as the clock of all CPUs, and a timer per CPU.
//!
//! The clock counts nanoseconds from the loader's hand-over. Reading it is RDTSC, a multiplication and a
//! shift. `calibrate` measures the TSC (and the local APIC's timer) against the HPET, the ACPI PM timer, or
//! the PIT; [`timer`] interrupts its own CPU at a point in time.
mod calibrate;
mod reference;
pub mod sync_check;
pub mod timer;

use crate::cpu::registers::rdtsc;
use crate::machine::Machine;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
pub use platform::clock::{Nanos, Rate};
use spin::Once;

/// TSC at time 0.
static ORIGIN: AtomicU64 = AtomicU64::new(0);
/// `Rate::nanos_mul` of the TSC; 0 before it was calibrated.
static NANOS_MUL: AtomicU64 = AtomicU64::new(0);
static TSC: Once<Rate> = Once::new();
static APIC_TIMER: Once<Rate> = Once::new();

/// No clock of the machine could be used to measure the TSC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoReference;

impl fmt::Display for NoReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no clock to measure the TSC with: the machine has no working HPET, ACPI PM timer or PIT")
    }
}

/// What the calibration found, for the log.
pub struct Calibrated {
    /// The TSC.
    pub tsc: Rate,
    /// The local APIC's timer.
    pub apic_timer: Rate,
    /// What they were measured against.
    pub reference: &'static str,
    /// A second reference that measured another frequency of the TSC, and what it measured.
    pub disagrees: Option<(&'static str, u64)>,
}

/// Measures the TSC and sets the clock so that 0 is when the TSC was `handover_tsc`. The local APIC is
/// enabled.
pub fn start(machine: &Machine, handover_tsc: u64) -> Result<Calibrated, NoReference> {
    let found = calibrate::run(machine)?;
    TSC.call_once(|| found.tsc);
    APIC_TIMER.call_once(|| found.apic_timer);
    ORIGIN.store(handover_tsc, Ordering::Relaxed);
    NANOS_MUL.store(found.tsc.nanos_mul, Ordering::Release);
    Ok(found)
}

/// Now. 0 before the clock was set.
#[inline(always)]
pub fn now() -> Nanos {
    nanos_at(rdtsc())
}

#[inline(always)]
fn nanos_at(tsc: u64) -> Nanos {
    let ticks = tsc.wrapping_sub(ORIGIN.load(Ordering::Relaxed));
    let mul = NANOS_MUL.load(Ordering::Relaxed);
    Nanos(((u128::from(ticks) * u128::from(mul)) >> Rate::SHIFT) as u64)
}

/// The time at which the TSC was `stamp`; `None` before the clock was set.
pub fn of_stamp(stamp: u64) -> Option<Nanos> {
    TSC.get().map(|_| nanos_at(stamp))
}

/// The TSC's rate, for those who convert themselves (guests' clocks).
///
/// # Panics
/// Before the clock was set.
pub fn tsc_rate() -> Rate {
    match TSC.get() {
        Some(rate) => *rate,
        None => panic!("the clock is used before it was calibrated"),
    }
}

/// TSC at time 0.
pub fn tsc_origin() -> u64 {
    ORIGIN.load(Ordering::Relaxed)
}

/// TSC at `time`.
#[inline]
pub fn tsc_at(time: Nanos) -> u64 {
    tsc_origin().saturating_add(tsc_rate().ticks(time.0))
}
