//! The 8254 programmable interval timer, and port B (0x61) in front of its counter 2.
//!
//! A counter is the tick of the 1.193182 MHz clock at which it was loaded; what it shows, its output and
//! the next interrupt follow from the time. So it keeps its grid for ever, and costs nothing while it
//! counts.
use super::rate::Rate;
use crate::time::Nanos;

const CLOCK: Rate = Rate(1_193_182);
/// Ticks between two interrupts at least (100 µs): a guest that programs less gets them merged.
const SHORTEST_PERIOD: u64 = 119;
/// The refresh toggle of port B changes this often.
const REFRESH: Nanos = 15_085;

/// Bits of port B that are stored: gate of counter 2, speaker, and two check disables.
const PORT_B_WRITABLE: u8 = 0x0f;
const PORT_B_GATE: u8 = 1 << 0;
const PORT_B_REFRESH: u8 = 1 << 4;
const PORT_B_OUTPUT: u8 = 1 << 5;

#[derive(Clone, Debug)]
struct Counter {
    mode: u8,
    /// 1: low byte, 2: high byte, 3: low then high.
    access: u8,
    bcd: bool,
    /// The count, 1 to 65536; `None` until it was written after the mode.
    count: Option<u32>,
    /// The low byte that waits for its high byte.
    low: Option<u8>,
    /// The next read in access mode 3 is of the high byte.
    high_next: bool,
    latch: Option<u16>,
    status: Option<u8>,
    gate: bool,
    /// Tick at which counting began.
    start: u64,
    /// Ticks counted when the gate stopped it.
    stopped: Option<u64>,
    /// In modes 1 and 5: a trigger came.
    triggered: bool,
}

impl Counter {
    const fn new(gate: bool) -> Self {
        Self {
            mode: 0,
            access: 3,
            bcd: false,
            count: None,
            low: None,
            high_next: false,
            latch: None,
            status: None,
            gate,
            start: 0,
            stopped: None,
            triggered: false,
        }
    }

    fn modulus(&self) -> u64 {
        if self.bcd { 10_000 } else { 0x1_0000 }
    }

    fn elapsed(&self, tick: u64) -> u64 {
        self.stopped.unwrap_or_else(|| tick.saturating_sub(self.start))
    }

    fn waits_for_trigger(&self) -> bool {
        matches!(self.mode, 1 | 5) && !self.triggered
    }

    /// The value of the counting element.
    fn value(&self, tick: u64) -> u16 {
        let Some(count) = self.count else { return 0 };
        let count = u64::from(count);
        let elapsed = if self.waits_for_trigger() { 0 } else { self.elapsed(tick) };
        let value = match self.mode {
            2 => count - elapsed % count,
            // Counts down by two, twice in a period.
            3 => (count - elapsed * 2 % count) & !1,
            _ => (count + self.modulus() - elapsed % self.modulus()) % self.modulus(),
        };
        if self.bcd { to_bcd((value % 10_000) as u16) } else { value as u16 }
    }

    fn output(&self, tick: u64) -> bool {
        let Some(count) = self.count else { return self.mode != 0 };
        let (count, elapsed) = (u64::from(count), self.elapsed(tick));
        match self.mode {
            0 => elapsed >= count,
            1 => !self.triggered || elapsed >= count,
            2 => !self.gate || elapsed % count != count - 1,
            3 => !self.gate || elapsed % count < count.div_ceil(2),
            4 => elapsed != count,
            _ => !self.triggered || elapsed != count,
        }
    }

    /// The tick after `tick` at which the output rises next.
    fn next_rise(&self, tick: u64) -> Option<u64> {
        let count = u64::from(self.count?);
        if !self.gate || self.stopped.is_some() {
            return None;
        }
        match self.mode {
            0 | 4 => Some(self.start.saturating_add(count)).filter(|&at| at > tick),
            2 | 3 => {
                let from = tick + SHORTEST_PERIOD.saturating_sub(count);
                Some(self.start + (from.saturating_sub(self.start) / count + 1) * count)
            }
            _ => None,
        }
    }

    fn set_mode(&mut self, control: u8) {
        let mode = control >> 1 & 7;
        *self = Self {
            mode: if mode > 5 { mode & 3 } else { mode },
            access: control >> 4 & 3,
            bcd: control & 1 != 0,
            latch: self.latch,
            status: self.status,
            ..Self::new(self.gate)
        };
    }

    fn latch_count(&mut self, tick: u64) {
        if self.latch.is_none() {
            self.latch = Some(self.value(tick));
        }
    }

    fn latch_status(&mut self, tick: u64) {
        let null = u8::from(self.count.is_none());
        let output = u8::from(self.output(tick));
        self.status
            .get_or_insert(output << 7 | null << 6 | self.access << 4 | self.mode << 1 | u8::from(self.bcd));
    }

    fn read(&mut self, tick: u64) -> u8 {
        if let Some(status) = self.status.take() {
            return status;
        }
        let [low, high] = self.latch.unwrap_or_else(|| self.value(tick)).to_le_bytes();
        match self.access {
            1 => {
                self.latch = None;
                low
            }
            2 => {
                self.latch = None;
                high
            }
            _ if self.high_next => {
                self.high_next = false;
                self.latch = None;
                high
            }
            _ => {
                self.high_next = true;
                low
            }
        }
    }

    /// Whether a count is complete and was loaded.
    fn write(&mut self, value: u8, tick: u64) -> bool {
        let bits = match self.access {
            1 => u16::from(value),
            2 => u16::from(value) << 8,
            _ => match self.low.take() {
                Some(low) => u16::from_le_bytes([low, value]),
                None => {
                    self.low = Some(value);
                    if self.mode == 0 {
                        // The first byte of a count stops counting in mode 0.
                        self.count = None;
                    }
                    return false;
                }
            },
        };
        let count = if self.bcd { from_bcd(bits) } else { u32::from(bits) };
        self.count = Some(if count == 0 { self.modulus() as u32 } else { count });
        // The count reaches the counting element with the next clock pulse.
        self.start = tick + 1;
        self.stopped = (!self.gate && matches!(self.mode, 0 | 2 | 3 | 4)).then_some(0);
        true
    }

    fn set_gate(&mut self, gate: bool, tick: u64) {
        if gate == self.gate {
            return;
        }
        self.gate = gate;
        match (self.mode, gate) {
            (0 | 4, false) => self.stopped = Some(self.elapsed(tick)),
            (0 | 4, true) => {
                if let Some(counted) = self.stopped.take() {
                    self.start = tick.saturating_sub(counted);
                }
            }
            (2 | 3, false) => self.stopped = Some(0),
            (_, true) => {
                self.stopped = None;
                self.start = tick + 1;
                self.triggered = true;
            }
            _ => {}
        }
    }
}

fn to_bcd(value: u16) -> u16 {
    [1, 10, 100, 1000].into_iter().rev().fold(0, |bits, unit| (bits << 4) | (value / unit % 10))
}

fn from_bcd(bits: u16) -> u32 {
    let digit = |n: u16| u32::from(bits >> (4 * n) & 15);
    (digit(0) + 10 * digit(1) + 100 * digit(2) + 1000 * digit(3)) % 10_000
}

/// The timer. Counter 0 interrupts; counter 1 once refreshed memory; counter 2 drives the speaker and is
/// what kernels calibrate against.
#[derive(Clone, Debug)]
pub struct Pit {
    counters: [Counter; 3],
    port_b: u8,
    /// Tick of counter 0's next interrupt, and the instant of that tick.
    next: Option<(u64, Nanos)>,
}

impl Default for Pit {
    fn default() -> Self {
        Self::new()
    }
}

impl Pit {
    /// In power-on state: nothing counts.
    pub const fn new() -> Self {
        Self {
            counters: [Counter::new(true), Counter::new(true), Counter::new(false)],
            port_b: 0,
            next: None,
        }
    }

    /// Reads port `0x40 + register`. The control word (3) can't be read.
    pub fn read(&mut self, register: u16, now: Nanos) -> u8 {
        match self.counters.get_mut(usize::from(register)) {
            Some(counter) => counter.read(CLOCK.ticks(now)),
            None => 0xff,
        }
    }

    /// Writes port `0x40 + register`.
    pub fn write(&mut self, register: u16, value: u8, now: Nanos) {
        let tick = CLOCK.ticks(now);
        match self.counters.get_mut(usize::from(register)) {
            Some(counter) => {
                counter.write(value, tick);
            }
            None => self.control(value, tick),
        }
        self.schedule(tick);
    }

    fn control(&mut self, value: u8, tick: u64) {
        if value >> 6 == 3 {
            // Read-back command; the select bits are active low.
            for (n, counter) in self.counters.iter_mut().enumerate() {
                if value >> 1 & 1 << n != 0 {
                    if value & 0x20 == 0 {
                        counter.latch_count(tick);
                    }
                    if value & 0x10 == 0 {
                        counter.latch_status(tick);
                    }
                }
            }
            return;
        }
        let counter = &mut self.counters[usize::from(value >> 6)];
        if value & 0x30 == 0 { counter.latch_count(tick) } else { counter.set_mode(value) }
    }

    fn schedule(&mut self, tick: u64) {
        self.next = self.counters[0].next_rise(tick).map(|at| (at, CLOCK.instant(at)));
    }

    /// Reads port B.
    pub fn read_port_b(&self, now: Nanos) -> u8 {
        let refresh = if (now / REFRESH) & 1 != 0 { PORT_B_REFRESH } else { 0 };
        let output = if self.counters[2].output(CLOCK.ticks(now)) { PORT_B_OUTPUT } else { 0 };
        self.port_b | refresh | output
    }

    /// Writes port B.
    pub fn write_port_b(&mut self, value: u8, now: Nanos) {
        self.port_b = value & PORT_B_WRITABLE;
        self.counters[2].set_gate(value & PORT_B_GATE != 0, CLOCK.ticks(now));
    }

    /// When counter 0 interrupts next.
    #[inline]
    pub fn deadline(&self) -> Option<Nanos> {
        self.next.map(|(_, at)| at)
    }

    /// Whether counter 0's output has risen by `now`: an edge of IRQ 0. Missed periods make one edge.
    pub fn expire(&mut self, now: Nanos) -> bool {
        if self.next.is_none_or(|(_, at)| now < at) {
            return false;
        }
        self.schedule(CLOCK.ticks(now));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::SECOND;

    const MS: Nanos = 1_000_000;

    fn program(pit: &mut Pit, control: u8, count: u16, now: Nanos) {
        let port = u16::from(control >> 6);
        pit.write(3, control, now);
        pit.write(port, count as u8, now);
        pit.write(port, (count >> 8) as u8, now);
    }

    #[test]
    fn a_periodic_tick_of_linux_keeps_its_rate_for_an_hour() {
        let mut pit = Pit::new();
        program(&mut pit, 0x34, 4773, 0);
        assert_eq!(pit.deadline(), Some(CLOCK.instant(1 + 4773)), "counting starts with the next pulse");
        let mut fired = 0u64;
        let mut now = 0;
        while let Some(at) = pit.deadline().filter(|&at| at <= 3600 * SECOND) {
            now = at + fired % 977; // The host is late by a varying time.
            assert!(pit.expire(now));
            fired += 1;
        }
        assert!(now > 3599 * SECOND);
        assert_eq!(fired, (3600 * 1_193_182 - 1) / 4773);
    }

    #[test]
    fn the_one_shot_of_linux_fires_once() {
        for control in [0x30, 0x38] {
            let mut pit = Pit::new();
            program(&mut pit, control, 11_932, SECOND);
            let at = pit.deadline().unwrap();
            assert_eq!(at, CLOCK.instant(1_193_182 + 1 + 11_932));
            assert!(!pit.expire(at - 1));
            assert!(pit.expire(at));
            assert_eq!(pit.deadline(), None);
        }
    }

    #[test]
    fn a_mode_without_a_count_never_interrupts() {
        let mut pit = Pit::new();
        program(&mut pit, 0x34, 4773, 0);
        pit.write(3, 0x30, MS);
        assert_eq!(pit.deadline(), None);
    }

    #[test]
    fn the_speaker_gate_calibration_of_linux_sees_the_output_rise_after_its_count() {
        // pit_calibrate_tsc: gate on, speaker off, counter 2 in mode 0, then poll port B bit 5.
        let mut pit = Pit::new();
        pit.write_port_b(pit.read_port_b(0) & !2 | 1, 0);
        let count = 11_932; // 10 ms
        program(&mut pit, 0xb0, count, 0);
        assert_eq!(pit.read_port_b(9 * MS) & 0x20, 0);
        assert_eq!(pit.read_port_b(10 * MS + 20_000) & 0x20, 0x20);
    }

    #[test]
    fn the_quick_calibration_of_linux_sees_the_high_byte_count_down() {
        // quick_pit_calibrate: mode 0, count 0xffff, reads low and high byte without a latch.
        let mut pit = Pit::new();
        pit.write_port_b(1, 0);
        program(&mut pit, 0xb0, 0xffff, 0);
        for step in 0..200u64 {
            let now = CLOCK.instant(step * 256 + 10);
            pit.read(2, now);
            assert_eq!(u64::from(pit.read(2, now)), 0xff - step);
        }
    }

    #[test]
    fn a_closed_gate_stops_the_count_and_an_open_one_goes_on() {
        let mut pit = Pit::new();
        pit.write_port_b(1, 0);
        program(&mut pit, 0xb0, 11_932, 0);
        pit.write_port_b(0, 5 * MS);
        assert_eq!(pit.read_port_b(50 * MS) & 0x20, 0);
        pit.write_port_b(1, 100 * MS);
        assert_eq!(pit.read_port_b(104 * MS) & 0x20, 0);
        assert_eq!(pit.read_port_b(106 * MS) & 0x20, 0x20);
    }

    #[test]
    fn a_count_written_while_the_gate_is_closed_waits() {
        let mut pit = Pit::new();
        program(&mut pit, 0xb0, 11_932, 0);
        assert_eq!(pit.read_port_b(SECOND) & 0x20, 0);
        pit.write_port_b(1, SECOND);
        assert_eq!(pit.read_port_b(SECOND + 9 * MS) & 0x20, 0);
        assert_eq!(pit.read_port_b(SECOND + 11 * MS) & 0x20, 0x20);
    }

    #[test]
    fn a_gate_pulse_triggers_the_one_shot_modes() {
        let mut pit = Pit::new();
        program(&mut pit, 0xb2, 11_932, 0);
        assert_eq!(pit.read_port_b(MS) & 0x20, 0x20, "high until triggered");
        pit.write_port_b(1, 20 * MS);
        assert_eq!(pit.read_port_b(29 * MS) & 0x20, 0);
        assert_eq!(pit.read_port_b(31 * MS) & 0x20, 0x20);
        // Retriggered, it starts anew.
        pit.write_port_b(0, 40 * MS);
        pit.write_port_b(1, 41 * MS);
        assert_eq!(pit.read_port_b(50 * MS) & 0x20, 0);
    }

    #[test]
    fn a_latched_count_stays_while_the_counter_goes_on() {
        let mut pit = Pit::new();
        program(&mut pit, 0x34, 0, 0);
        pit.write(3, 0x00, MS);
        let low = pit.read(0, 30 * MS);
        let high = pit.read(0, 40 * MS);
        let shown = 0x1_0000 - u64::from(u16::from_le_bytes([low, high]));
        assert_eq!(shown, CLOCK.ticks(MS) - 1);
    }

    #[test]
    fn the_read_back_command_shows_status_then_count() {
        let mut pit = Pit::new();
        pit.write(3, 0x36, 0);
        pit.write(3, 0xe2, 0);
        assert_eq!(pit.read(0, 0), 0xf6, "output high, null count, both bytes, mode 3");
        pit.write(0, 0xe8, 0);
        pit.write(0, 0x03, 0);
        pit.write(3, 0xc2, 0);
        assert_eq!(pit.read(0, MS), 0xb6);
        assert_eq!((pit.read(0, MS), pit.read(0, MS)), (0xe8, 0x03));
    }

    #[test]
    fn the_square_wave_is_high_for_its_first_half() {
        let mut pit = Pit::new();
        pit.write_port_b(1, 0);
        program(&mut pit, 0xb6, 1000, 0);
        let high = |t: u64| pit.read_port_b(CLOCK.instant(t)) & 0x20 != 0;
        assert!(high(1) && high(500) && !high(501) && !high(1000) && high(1001));
    }

    #[test]
    fn counting_in_bcd_shows_decimal_digits() {
        let mut pit = Pit::new();
        program(&mut pit, 0x35, 0x1000, 0);
        assert_eq!(pit.read(0, CLOCK.instant(2)), 0x99);
        assert_eq!(pit.read(0, CLOCK.instant(2)), 0x09);
    }

    #[test]
    fn a_count_of_two_does_not_flood_the_host() {
        let mut pit = Pit::new();
        program(&mut pit, 0x34, 2, 0);
        let fired = (0..10 * MS).step_by(500).filter(|&now| pit.expire(now)).count();
        assert!((90..=101).contains(&fired), "{fired}");
    }

    #[test]
    fn random_accesses_keep_the_deadline_ahead() {
        let mut pit = Pit::new();
        let mut random = super::super::fuzz::Random::new(8254);
        let mut now = 0;
        for _ in 0..300_000 {
            now += random.below(100_000);
            let r = random.next();
            match r & 7 {
                0 => pit.write_port_b((r >> 8) as u8, now),
                1 => {
                    pit.read_port_b(now);
                }
                2 | 3 => {
                    pit.read((r >> 3 & 3) as u16, now);
                }
                4 => {
                    pit.expire(now);
                    assert!(pit.deadline().is_none_or(|at| at > now));
                }
                _ => pit.write((r >> 3 & 3) as u16, (r >> 8) as u8, now),
            }
        }
    }
}
