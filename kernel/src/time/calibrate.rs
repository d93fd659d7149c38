//! Measures the TSC and the local APIC's timer against clocks of known frequency.
//!
//! Each clock is read together with the TSC, between two reads of it, and the tightest of several attempts
//! counts, so that a pause (system management code, or an outer hypervisor) does not bend the result.
use super::reference::{self, Source};
use super::{Calibrated, NoReference};
use crate::cpu::registers::rdtsc_ordered;
use crate::interrupts::local_apic::countdown;
use crate::machine::Machine;
use platform::clock::{Rate, agree};

/// How long to measure, in nanoseconds. An error of 1 µs at each end makes 200 ppm.
const WINDOW: u64 = 10_000_000;
/// Attempts at a tight reading.
const ATTEMPTS: u32 = 8;
/// Reads without an end before a clock counts as standing still: seconds, at about 1 µs each.
const PATIENCE: u32 = 4_000_000;
/// Two clocks agree if they differ by no more than this many parts in a thousand.
const TOLERANCE: u64 = 5;

/// A clock and the TSC at one moment.
#[derive(Clone, Copy)]
struct Pair {
    clock: u64,
    tsc: u64,
}

fn pair(source: &Source) -> Pair {
    let mut best = (u64::MAX, Pair { clock: 0, tsc: 0 });
    for _ in 0..ATTEMPTS {
        let before = rdtsc_ordered();
        let clock = source.read();
        let width = rdtsc_ordered().wrapping_sub(before);
        if width < best.0 {
            best = (width, Pair { clock, tsc: before.wrapping_add(width / 2) });
        }
    }
    best.1
}

/// Tries the clocks, best first.
pub fn run(machine: &Machine) -> Result<Calibrated, NoReference> {
    let (hpet, pm) = (reference::hpet(machine), reference::pm_timer(machine));
    let found = match (hpet, pm) {
        (Some(hpet), pm) => measure(&hpet, pm.as_ref()).or_else(|| measure(&pm?, None)),
        (None, Some(pm)) => measure(&pm, None),
        (None, None) => None,
    };
    found.or_else(|| measure(&reference::pit(), None)).ok_or(NoReference)
}

/// Measures against `source`, and looks at `second` meanwhile. `None` if `source` stands still or the
/// result is absurd.
fn measure(source: &Source, second: Option<&Source>) -> Option<Calibrated> {
    let wanted = source.reference.ticks(WINDOW);
    countdown::set_up_silent();
    let second_start = second.map(|s| (s, pair(s)));
    let start = pair(source);
    countdown::start(u32::MAX);
    let apic_start = rdtsc_ordered();
    (0..PATIENCE).find(|_| source.reference.elapsed(start.clock, source.read()) >= wanted)?;
    let end = pair(source);
    let apic_ticks = u32::MAX - countdown::left();
    let apic_elapsed = rdtsc_ordered().wrapping_sub(apic_start);
    let second_end = second.map(pair);
    countdown::start(0);

    let frequency = |s: &Source, a: Pair, b: Pair| {
        s.reference.frequency(s.reference.elapsed(a.clock, b.clock), b.tsc.wrapping_sub(a.tsc))
    };
    let tsc = Rate::new(frequency(source, start, end)?)?;
    // The APIC's timer was read with the TSC, which is known now.
    let nanos = tsc.nanos(apic_elapsed).max(1);
    let apic_timer = Rate::new(u64::from(apic_ticks).saturating_mul(1_000_000_000) / nanos)?;
    let disagrees = second_start.zip(second_end).and_then(|((s, a), b)| {
        let other = frequency(s, a, b)?;
        (!agree(other, tsc.hertz, TOLERANCE)).then_some((s.name, other))
    });
    Some(Calibrated { tsc, apic_timer, reference: source.name, disagrees })
}
