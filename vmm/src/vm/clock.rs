//! A VM's time-stamp counter.
use crate::platform::apic::GuestTsc;
use crate::time::{Nanos, TscScale};

/// A guest's time-stamp counter: the host's less its value when the VM was powered on, so that it starts
/// at 0 as a real machine's does, and reading it costs no exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    scale: TscScale,
    power_on: u64,
    wall_clock: Nanos,
}

impl Clock {
    /// For a host whose counter runs at `hz` and stands at `power_on` now, `wall_clock` after 1970.
    pub const fn new(hz: u64, power_on: u64, wall_clock: Nanos) -> Self {
        Self { scale: TscScale::new(hz), power_on, wall_clock }
    }

    /// Time since 1970 when the VM was powered on.
    pub const fn wall_clock_at_power_on(&self) -> Nanos {
        self.wall_clock
    }

    /// Its rate.
    pub const fn scale(&self) -> TscScale {
        self.scale
    }

    /// What is added to the host's counter to get the guest's.
    pub const fn offset(&self) -> u64 {
        self.power_on.wrapping_neg()
    }

    /// The guest's counter when the host's is `tsc`.
    pub const fn guest(&self, tsc: u64) -> u64 {
        tsc.wrapping_sub(self.power_on)
    }

    /// How counter and host clock relate at the moment when both are read. Made anew for each use, the
    /// rounding of the rate does not add up over months.
    pub fn anchored(&self, tsc: u64, now: Nanos) -> GuestTsc {
        GuestTsc { at_zero: self.guest(tsc).wrapping_sub(self.scale.ns_to_ticks(now)), scale: self.scale }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_s_counter_starts_at_0() {
        let clock = Clock::new(1_000_000_000, 5_000, 0);
        assert_eq!(clock.guest(5_000), 0);
        assert_eq!(5_100u64.wrapping_add(clock.offset()), 100);
    }

    #[test]
    fn an_anchored_counter_is_exact_now_however_long_the_host_runs() {
        let clock = Clock::new(2_445_427_123, 1 << 40, 0);
        let year: u64 = 365 * 86_400 * 1_000_000_000;
        let tsc = (1 << 40) + 77_000_000_000_000_000;
        assert_eq!(clock.anchored(tsc, year).at(year), 77_000_000_000_000_000);
    }
}
