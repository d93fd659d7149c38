//! The local APIC's timer (SDM vol. 3A, 11.5.4).
//!
//! Its clock is 1 GHz, so that a tick of the undivided counter is a nanosecond. Nothing runs while it
//! counts: the state is the instant at which the count reaches 0.
use super::registers::lvt;
use crate::time::{Nanos, TscScale};

/// No deadline.
pub(super) const NEVER: Nanos = Nanos::MAX;

/// Shortest period of a periodic timer. A shorter one would let a guest keep the host's timer busy; KVM
/// limits it likewise.
const SHORTEST_PERIOD: Nanos = 100_000;

/// A TSC deadline further away than this many ticks is brought this near: years, at any real frequency.
const FARTHEST_TICKS: u64 = 1 << 58;

/// How a guest's time-stamp counter follows from the host's clock, at the moment when both were read.
///
/// Made anew for each use: carried on from an old reading, the rounding of the scale would add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestTsc {
    /// Value of the counter when the host's clock ([`Nanos`]) was 0, modulo 2^64.
    pub at_zero: u64,
    /// Its frequency.
    pub scale: TscScale,
}

impl GuestTsc {
    /// The counter at `now`.
    #[inline]
    pub fn at(&self, now: Nanos) -> u64 {
        self.scale.ns_to_ticks(now).wrapping_add(self.at_zero)
    }

    /// When the counter reaches `value`: `now` if it has.
    #[inline]
    pub fn instant_of(&self, value: u64, now: Nanos) -> Nanos {
        let counter = self.at(now);
        if value <= counter {
            return now;
        }
        let left = self.scale.ticks_to_ns((value - counter).min(FARTHEST_TICKS));
        // Rounded up by more than the scale's error, which is below 2^-31: a guest that reads its counter
        // on the interrupt finds the deadline reached.
        now.saturating_add(left + (left >> 31) + 1)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    OneShot,
    Periodic,
    TscDeadline,
    Reserved,
}

/// The timer of one local APIC.
#[derive(Clone, Debug)]
pub(super) struct Timer {
    mode: Mode,
    masked: bool,
    divide: u32,
    /// Binary logarithm of the divisor.
    shift: u8,
    initial: u32,
    /// When the count reaches 0 or the TSC the deadline; [`NEVER`] if it does not count.
    end: Nanos,
    /// IA32_TSC_DEADLINE; 0 for disarmed.
    tsc_deadline: u64,
    /// When `expire` has something to do: `end` unless masked.
    next: Nanos,
}

impl Timer {
    pub fn new() -> Self {
        Self {
            mode: Mode::OneShot,
            masked: true,
            divide: 0,
            shift: 1,
            initial: 0,
            end: NEVER,
            tsc_deadline: 0,
            next: NEVER,
        }
    }

    #[inline]
    pub fn next(&self) -> Nanos {
        self.next
    }

    pub fn initial(&self) -> u32 {
        self.initial
    }

    pub fn divide(&self) -> u32 {
        self.divide
    }

    fn period(&self) -> Nanos {
        u64::from(self.initial) << self.shift
    }

    #[inline]
    fn schedule(&mut self) {
        self.next = if self.masked { NEVER } else { self.end };
    }

    /// Drops what came to its end unseen while the timer was masked.
    fn settle(&mut self, now: Nanos) {
        if !self.masked || now < self.end {
            return;
        }
        match self.mode {
            Mode::Periodic => self.advance(now),
            Mode::OneShot | Mode::TscDeadline | Mode::Reserved => self.disarm(),
        }
    }

    fn disarm(&mut self) {
        self.end = NEVER;
        self.tsc_deadline = 0;
    }

    /// Brings the end of a periodic count beyond `now`, on the grid of its period.
    fn advance(&mut self, now: Nanos) {
        let period = self.period().max(SHORTEST_PERIOD);
        let late = now.saturating_sub(self.end);
        self.end = self.end.saturating_add((late / period + 1).saturating_mul(period));
    }

    /// The timer's LVT entry was written.
    pub fn set_lvt(&mut self, entry: u32, now: Nanos) {
        self.settle(now);
        let mode = match entry >> 17 & 3 {
            0 => Mode::OneShot,
            1 => Mode::Periodic,
            2 => Mode::TscDeadline,
            _ => Mode::Reserved,
        };
        if mode != self.mode && (mode == Mode::TscDeadline || self.mode == Mode::TscDeadline) {
            // SDM vol. 3A, 11.5.4.1: changing to or from TSC-deadline mode disarms.
            self.disarm();
            self.initial = 0;
        }
        self.mode = mode;
        self.masked = entry & lvt::MASKED != 0;
        self.schedule();
    }

    /// The initial-count register was written.
    #[inline]
    pub fn set_initial(&mut self, count: u32, now: Nanos) {
        if self.mode == Mode::TscDeadline {
            return;
        }
        self.initial = count;
        let period = self.period();
        self.end = match (count, self.mode) {
            (0, _) => NEVER,
            (_, Mode::Periodic) => now.saturating_add(period.max(SHORTEST_PERIOD)),
            _ => now.saturating_add(period),
        };
        self.schedule();
    }

    /// The current-count register.
    #[inline]
    pub fn current(&self, now: Nanos) -> u32 {
        if self.end == NEVER || self.mode == Mode::TscDeadline {
            return 0;
        }
        let left = if now < self.end {
            self.end - now
        } else if self.mode == Mode::Periodic {
            let period = self.period().max(SHORTEST_PERIOD);
            period - (now - self.end) % period
        } else {
            0
        };
        (left >> self.shift).min(u64::from(self.initial)) as u32
    }

    /// The divide-configuration register was written.
    pub fn set_divide(&mut self, value: u32, now: Nanos) {
        let count = self.current(now);
        self.divide = value & 0b1011;
        // 000 divides by 2, 001 by 4, ... 110 by 128, 111 by 1.
        self.shift = (((value & 3 | value >> 1 & 4) + 1) & 7) as u8;
        if self.end != NEVER && self.mode != Mode::TscDeadline && now < self.end {
            self.end = now.saturating_add(u64::from(count) << self.shift);
            self.schedule();
        }
    }

    /// IA32_TSC_DEADLINE.
    pub fn tsc_deadline(&self) -> u64 {
        self.tsc_deadline
    }

    /// IA32_TSC_DEADLINE was written. Without effect in the other modes.
    #[inline]
    pub fn set_tsc_deadline(&mut self, value: u64, now: Nanos, tsc: &GuestTsc) {
        if self.mode != Mode::TscDeadline {
            return;
        }
        self.tsc_deadline = value;
        self.end = if value == 0 { NEVER } else { tsc.instant_of(value, now) };
        self.schedule();
    }

    /// The counter was written: an armed deadline moves with it.
    pub fn tsc_changed(&mut self, now: Nanos, tsc: &GuestTsc) {
        if self.tsc_deadline != 0 {
            self.set_tsc_deadline(self.tsc_deadline, now, tsc);
        }
    }

    /// Whether the timer's interrupt is due at `now`. Missed periods make one interrupt.
    #[inline]
    pub fn expire(&mut self, now: Nanos) -> bool {
        if now < self.next || self.next == NEVER {
            return false;
        }
        match self.mode {
            Mode::Periodic => self.advance(now),
            Mode::OneShot | Mode::TscDeadline | Mode::Reserved => self.disarm(),
        }
        self.schedule();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::SECOND;

    const ONE_SHOT: u32 = 0x30;
    const PERIODIC: u32 = 1 << 17 | 0x30;
    const TSC: u32 = 2 << 17 | 0x30;

    fn timer(lvt: u32, divide: u32) -> Timer {
        let mut t = Timer::new();
        t.set_lvt(lvt, 0);
        t.set_divide(divide, 0);
        t
    }

    #[test]
    fn every_divide_configuration_counts_at_its_rate() {
        for (value, divisor) in [(0, 2), (1, 4), (2, 8), (3, 16), (8, 32), (9, 64), (10, 128), (11, 1)] {
            let mut t = timer(ONE_SHOT, value);
            t.set_initial(1000, 500);
            assert_eq!(t.next(), 500 + 1000 * divisor, "{value:#b}");
            assert_eq!(t.current(500 + 10 * divisor), 990);
        }
    }

    #[test]
    fn a_one_shot_timer_fires_once_and_stays_at_zero() {
        let mut t = timer(ONE_SHOT, 11);
        t.set_initial(1_000_000, 0);
        assert!(!t.expire(999_999));
        assert!(t.expire(1_000_000));
        assert!(!t.expire(9_000_000));
        assert_eq!((t.current(9_000_000), t.next()), (0, NEVER));
    }

    #[test]
    fn a_periodic_timer_keeps_its_grid_and_merges_missed_periods() {
        let mut t = timer(PERIODIC, 11);
        t.set_initial(1_000_000, 0);
        assert!(t.expire(1_000_123));
        assert_eq!(t.next(), 2_000_000);
        assert!(t.expire(5_500_000));
        assert!(!t.expire(5_500_001));
        assert_eq!(t.next(), 6_000_000);
        assert_eq!(t.current(5_900_000), 100_000);
    }

    #[test]
    fn a_period_of_one_tick_does_not_flood_the_host() {
        let mut t = timer(PERIODIC, 11);
        t.set_initial(1, 0);
        let fired = (0..1_000_000).step_by(100).filter(|&now| t.expire(now)).count();
        assert!((9..=10).contains(&fired), "{fired}");
    }

    #[test]
    fn an_initial_count_of_zero_stops_the_timer() {
        let mut t = timer(PERIODIC, 11);
        t.set_initial(1_000_000, 0);
        t.set_initial(0, 10);
        assert_eq!((t.next(), t.current(20)), (NEVER, 0));
    }

    #[test]
    fn what_ended_while_masked_does_not_fire_after_unmasking() {
        let mut t = timer(ONE_SHOT | lvt::MASKED, 11);
        t.set_initial(1000, 0);
        assert_eq!(t.next(), NEVER);
        assert_eq!(t.current(400), 600);
        t.set_lvt(ONE_SHOT, 2000);
        assert!(!t.expire(10_000));
        let mut t = timer(ONE_SHOT | lvt::MASKED, 11);
        t.set_initial(1000, 0);
        t.set_lvt(ONE_SHOT, 500);
        assert!(t.expire(1000));
    }

    #[test]
    fn a_tsc_deadline_fires_when_the_guests_counter_has_reached_it() {
        let tsc = GuestTsc { at_zero: u64::MAX - 100, scale: TscScale::new(2_445_427_123) };
        let mut t = timer(TSC, 11);
        let now = 10 * SECOND;
        let deadline = tsc.at(now) + 2_445_427;
        t.set_tsc_deadline(deadline, now, &tsc);
        assert!(tsc.at(t.next()) >= deadline);
        assert!(t.next() - now < 1_000_010);
        // An hour ahead, too.
        let far = tsc.at(now) + 3600 * 2_445_427_123;
        assert!(tsc.at(tsc.instant_of(far, now)) >= far);
        assert!(!t.expire(t.next() - 1));
        assert!(t.expire(t.next()));
        assert_eq!((t.tsc_deadline(), t.next()), (0, NEVER));
    }

    #[test]
    fn a_tsc_deadline_in_the_past_fires_at_once_and_the_farthest_never_wraps() {
        let tsc = GuestTsc { at_zero: 0, scale: TscScale::new(1_000_000_000) };
        let mut t = timer(TSC, 11);
        t.set_tsc_deadline(1, SECOND, &tsc);
        assert!(t.expire(SECOND));
        t.set_tsc_deadline(u64::MAX, SECOND, &tsc);
        assert!(t.next() > SECOND + (1 << 57));
        t.set_tsc_deadline(0, SECOND, &tsc);
        assert_eq!(t.next(), NEVER);
    }

    #[test]
    fn each_mode_ignores_the_other_modes_register_and_a_change_disarms() {
        let tsc = GuestTsc { at_zero: 0, scale: TscScale::new(1_000_000_000) };
        let mut t = timer(ONE_SHOT, 11);
        t.set_tsc_deadline(500, 0, &tsc);
        assert_eq!((t.next(), t.tsc_deadline()), (NEVER, 0));
        t.set_initial(100, 0);
        t.set_lvt(TSC, 0);
        assert_eq!(t.next(), NEVER);
        t.set_initial(100, 0);
        assert_eq!((t.next(), t.initial()), (NEVER, 0));
        t.set_tsc_deadline(500, 0, &tsc);
        t.set_lvt(ONE_SHOT, 0);
        assert_eq!((t.next(), t.tsc_deadline()), (NEVER, 0));
    }
}
