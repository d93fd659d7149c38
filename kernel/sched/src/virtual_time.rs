//! Virtual runtime: nanoseconds as an entity of the default weight would count them.

/// The weight of an entity that nobody gave another one.
pub const DEFAULT_WEIGHT: u32 = 100;

/// The largest weight; the smallest is 1.
pub const MAX_WEIGHT: u32 = 10_000;

/// How long an entity runs while others wait. Long enough that a switch of the guest's vector state and
/// the refilling of caches (tens of µs) stay under 1 %, short enough that with a few entities per CPU
/// a spinning guest answers within a console user's and a network peer's patience.
pub const SLICE_NS: u64 = 5_000_000;

/// How long an entity runs that nobody waited for: a row of slices, since the end of each is an exit of its
/// guest for nothing. Who comes to wait on its CPU ends it at once. Who waits on another CPU may have to wait
/// so long until this one looks.
pub const ALONE_NS: u64 = 4 * SLICE_NS;

/// The shortest turn worth a world switch: what is handed out though a cap or a deadline leaves less.
pub const MIN_SLICE_NS: u64 = 200_000;

/// An entity waiting elsewhere is taken over when it lags this CPU's own least by more, virtual
/// nanoseconds. One slice: queues that differ only by the phase of their slices are left alone. Half a
/// slice made three times as many migrations in the simulation (134 instead of 44 per second for three
/// spinners on two CPUs) and shares no more equal (within 0.6 %).
pub const STEAL_LAG_NS: u64 = SLICE_NS;

/// How far an entity's virtual runtime may differ from what it competes with, virtual nanoseconds.
/// Twice the slice: more than fair queues differ by, so it distorts no share that can be given.
pub const MAX_LAG_NS: u64 = 2 * SLICE_NS;

/// A waking entity preempts when it lags the running one by more than this much of its own time.
pub const WAKE_LAG_NS: u64 = 500_000;

/// The virtual time of `ran` nanoseconds at `weight`; rounded up, so that no turn is free.
pub(crate) fn charge(ran: u64, weight: u32) -> u64 {
    ran.saturating_mul(u64::from(DEFAULT_WEIGHT)).div_ceil(u64::from(weight.max(1)))
}

/// Of a turn from the virtual runtime `start` to `end`: where its last slice began. Turns are compared by that,
/// or one for which nobody waited would count for more than the same time in turns.
pub(crate) fn slice_start(start: u64, end: u64, weight: u32) -> u64 {
    start.max(end.saturating_sub(charge(SLICE_NS, weight)))
}

/// `ns` of an entity's own time as virtual time, but at most `ns`: what a wake-up is worth. A heavy
/// entity's bonus would otherwise be weight / 100 slices in one go.
pub(crate) fn bounded(ns: u64, weight: u32) -> u64 {
    charge(ns, weight).min(ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_charged_by_weight_and_never_free() {
        assert_eq!(charge(1000, 100), 1000);
        assert_eq!(charge(1000, 200), 500);
        assert_eq!(charge(1000, 1), 100_000);
        assert_eq!(charge(1, MAX_WEIGHT), 1);
        assert_eq!(charge(0, 1), 0);
    }

    #[test]
    fn an_absurd_time_saturates() {
        assert_eq!(charge(u64::MAX, 1), u64::MAX);
    }

    #[test]
    fn a_turn_of_several_slices_counts_from_its_last() {
        assert_eq!(slice_start(7, 7 + SLICE_NS / 2, 100), 7);
        assert_eq!(slice_start(7, 7 + 3 * SLICE_NS, 100), 7 + 2 * SLICE_NS);
        assert_eq!(slice_start(7, 7 + 3 * SLICE_NS, 50), 7 + SLICE_NS);
    }

    #[test]
    fn a_bonus_is_at_most_a_slice_of_either_time() {
        assert_eq!(bounded(SLICE_NS, 100), SLICE_NS);
        assert_eq!(bounded(SLICE_NS, 1), SLICE_NS);
        assert_eq!(bounded(SLICE_NS, 10_000), SLICE_NS / 100);
    }
}
