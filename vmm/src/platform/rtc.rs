//! The MC146818 real-time clock and 128 bytes of CMOS RAM.
//!
//! The time of day is the host's wall clock plus what the guest set it off by. The clock ticks lazily:
//! flags that rose since the last look are computed from the time.
use super::calendar::DateTime;
use super::map::CMOS_CENTURY;
use super::rate::Rate;
use crate::time::{Nanos, SECOND};

/// The update of the time registers takes this long at the start of a second; UIP is up as long before.
const UPDATE: Nanos = 244_000;
/// Periodic interrupts are taps of this oscillator.
const OSCILLATOR: Rate = Rate(32_768);

mod register {
    pub const SECONDS: u8 = 0x00;
    pub const SECONDS_ALARM: u8 = 0x01;
    pub const MINUTES: u8 = 0x02;
    pub const MINUTES_ALARM: u8 = 0x03;
    pub const HOURS: u8 = 0x04;
    pub const HOURS_ALARM: u8 = 0x05;
    pub const WEEKDAY: u8 = 0x06;
    pub const DAY: u8 = 0x07;
    pub const MONTH: u8 = 0x08;
    pub const YEAR: u8 = 0x09;
    pub const A: u8 = 0x0a;
    pub const B: u8 = 0x0b;
    pub const C: u8 = 0x0c;
    pub const D: u8 = 0x0d;
}

mod a {
    pub const UPDATE_IN_PROGRESS: u8 = 1 << 7;
    /// Divider in normal operation, with the 32.768 kHz oscillator.
    pub const RUNNING: u8 = 0b010 << 4;
    pub const DIVIDER: u8 = 0b111 << 4;
}

mod b {
    pub const SET: u8 = 1 << 7;
    pub const PERIODIC: u8 = 1 << 6;
    pub const ALARM: u8 = 1 << 5;
    pub const UPDATE: u8 = 1 << 4;
    pub const BINARY: u8 = 1 << 2;
    pub const HOURS_24: u8 = 1 << 1;
}

/// Flags of register C, at the places of their enables in register B.
mod c {
    pub const REQUEST: u8 = 1 << 7;
    pub const PERIODIC: u8 = 1 << 6;
    pub const ALARM: u8 = 1 << 5;
    pub const UPDATE: u8 = 1 << 4;
}

/// Hours in 12-hour mode: afternoon.
const PM: u8 = 0x80;

/// The clock and its RAM.
#[derive(Clone, Debug)]
pub struct Rtc {
    /// All bytes; those of the time of day are valid only while it is halted.
    ram: [u8; 128],
    index: u8,
    /// Nanoseconds from 1970 to the zero of the host's clock, as the guest sees it.
    epoch: u64,
    /// Flags of register C.
    flags: u8,
    /// The flags are computed up to here.
    seen: Nanos,
    /// Instant of the next alarm, whether or not it interrupts.
    alarm: Option<Nanos>,
    /// When the next enabled interrupt is due.
    next: Option<Nanos>,
}

impl Rtc {
    /// A clock that shows `wall_clock` nanoseconds since 1970 (UTC) at the zero of the host's clock, in a
    /// machine with RAM up to `low_end` below and from 4 GiB to `high_end`, and `vcpus` vCPUs.
    pub fn new(wall_clock: u64, low_end: u64, high_end: u64, vcpus: usize, now: Nanos) -> Self {
        let mut ram = [0; 128];
        ram[usize::from(register::A)] = a::RUNNING | 6;
        ram[usize::from(register::B)] = b::HOURS_24;
        // Equipment: a numeric coprocessor.
        ram[0x14] = 0x02;
        let mut put = |at: usize, value: u64, bytes: usize| {
            let value = value.min((1u64 << (8 * bytes)) - 1).to_le_bytes();
            ram[at..at + bytes].copy_from_slice(&value[..bytes]);
        };
        // The memory sizes that firmware reads: KiB of base memory, KiB above 1 MiB (twice), 64 KiB
        // blocks above 16 MiB and above 4 GiB.
        put(0x15, 640, 2);
        put(0x17, low_end.saturating_sub(1 << 20) >> 10, 2);
        put(0x30, low_end.saturating_sub(1 << 20) >> 10, 2);
        put(0x34, low_end.saturating_sub(16 << 20) >> 16, 2);
        put(0x5b, high_end.saturating_sub(1 << 32) >> 16, 3);
        put(0x5f, (vcpus as u64).saturating_sub(1), 1);
        Self { ram, index: 0, epoch: wall_clock, flags: 0, seen: now, alarm: None, next: None }
    }

    /// The machine was reset. The clock is battery-backed: it runs on, only interrupts are disabled.
    pub fn reset(&mut self, now: Nanos) {
        self.index = 0;
        self.catch_up(now);
        self.flags = 0;
        self.ram[usize::from(register::B)] &= !(b::PERIODIC | b::ALARM | b::UPDATE);
        self.schedule(now);
    }

    fn b(&self) -> u8 {
        self.ram[usize::from(register::B)]
    }

    /// Whether the time of day advances.
    fn runs(&self) -> bool {
        self.b() & b::SET == 0 && self.ram[usize::from(register::A)] & a::DIVIDER == a::RUNNING
    }

    /// Writes the index port. Bit 7, which masks NMIs on a PC, is dropped: no device raises one.
    pub fn select(&mut self, value: u8) {
        self.index = value & 0x7f;
    }

    /// Reads the data port.
    pub fn read(&mut self, now: Nanos) -> u8 {
        match self.index {
            register::A => {
                let in_progress = self.runs() && (now.wrapping_add(self.epoch) % SECOND) >= SECOND - UPDATE;
                self.ram[usize::from(register::A)] & !a::UPDATE_IN_PROGRESS
                    | if in_progress { a::UPDATE_IN_PROGRESS } else { 0 }
            }
            register::C => {
                self.catch_up(now);
                let flags = self.flags | if self.interrupt() { c::REQUEST } else { 0 };
                self.flags = 0;
                self.schedule(now);
                flags
            }
            // The battery is good.
            register::D => 0x80,
            index if is_time(index) => {
                self.refresh(now);
                self.ram[usize::from(index)]
            }
            index => self.ram[usize::from(index & 0x7f)],
        }
    }

    /// Writes the data port.
    pub fn write(&mut self, value: u8, now: Nanos) {
        self.catch_up(now);
        match self.index {
            register::A => {
                self.refresh(now);
                let ran = self.runs();
                self.ram[usize::from(register::A)] = value & 0x7f;
                self.restart(ran, now);
            }
            register::B => {
                self.refresh(now);
                let ran = self.runs();
                let format = (value ^ self.b()) & (b::BINARY | b::HOURS_24) != 0;
                self.ram[usize::from(register::B)] = value;
                if format && ran && self.runs() {
                    // The registers are the guest's to write anew in the other format; the clock goes on.
                    self.refresh(now);
                }
                self.restart(ran, now);
            }
            register::C | register::D => {}
            index if is_time(index) => {
                self.refresh(now);
                self.ram[usize::from(index)] = value;
                if self.runs() {
                    self.adopt(now);
                }
            }
            index => self.ram[usize::from(index & 0x7f)] = value,
        }
        self.find_alarm(now);
        self.schedule(now);
    }

    /// After a write to A or B: a clock that starts takes the time from its registers.
    fn restart(&mut self, ran: bool, now: Nanos) {
        if !ran && self.runs() {
            self.adopt(now);
            self.seen = now;
        }
    }

    /// Level of the interrupt line.
    #[inline]
    pub fn interrupt(&self) -> bool {
        self.flags & self.b() & (c::PERIODIC | c::ALARM | c::UPDATE) != 0
    }

    /// When `expire` has something to do.
    #[inline]
    pub fn deadline(&self) -> Option<Nanos> {
        self.next
    }

    /// Raises the interrupts that are due.
    pub fn expire(&mut self, now: Nanos) {
        if self.next.is_some_and(|at| now >= at) {
            self.catch_up(now);
            self.schedule(now);
        }
    }

    fn unix(&self, now: Nanos) -> u64 {
        now.wrapping_add(self.epoch) / SECOND
    }

    /// Sets the flags of what happened since the last look.
    fn catch_up(&mut self, now: Nanos) {
        let seen = self.seen;
        self.seen = seen.max(now);
        if now <= seen {
            return;
        }
        if let Some(period) = self.period()
            && OSCILLATOR.ticks(now) / period != OSCILLATOR.ticks(seen) / period
        {
            self.flags |= c::PERIODIC;
        }
        if !self.runs() {
            return;
        }
        if self.unix(now) != self.unix(seen) {
            self.flags |= c::UPDATE;
        }
        if self.alarm.is_some_and(|at| now >= at) {
            self.flags |= c::ALARM;
            self.find_alarm(now);
        }
    }

    /// Ticks of the oscillator between two periodic interrupts.
    fn period(&self) -> Option<u64> {
        let value = self.ram[usize::from(register::A)];
        if value & a::DIVIDER != a::RUNNING {
            return None;
        }
        match value & 15 {
            0 => None,
            // The two fastest taps are those of 256 and 128 Hz again.
            rate @ (1 | 2) => Some(1 << (rate + 6)),
            rate => Some(1 << (rate - 1)),
        }
    }

    /// Finds when the next interrupt is due that is enabled and not yet flagged.
    fn schedule(&mut self, now: Nanos) {
        let wanted = self.b() & !self.flags;
        let mut next: Option<Nanos> = None;
        let mut consider = |at: Nanos| next = Some(next.map_or(at, |n| n.min(at)));
        if wanted & c::PERIODIC != 0
            && let Some(period) = self.period()
        {
            consider(OSCILLATOR.instant((OSCILLATOR.ticks(now) / period + 1) * period));
        }
        if wanted & c::UPDATE != 0 && self.runs() {
            consider(now.saturating_add(SECOND - now.wrapping_add(self.epoch) % SECOND));
        }
        if wanted & c::ALARM != 0
            && let Some(at) = self.alarm
        {
            consider(at);
        }
        // One interrupt line: what is up already needs no deadline, reading C finds the rest.
        self.next = if self.interrupt() { None } else { next };
    }

    fn encode(&self, value: u8) -> u8 {
        if self.b() & b::BINARY != 0 { value } else { (value / 10 % 10) << 4 | (value % 10) }
    }

    fn decode(&self, value: u8) -> u8 {
        if self.b() & b::BINARY != 0 { value } else { (value >> 4) * 10 + (value & 15) }
    }

    fn encode_hour(&self, hour: u8) -> u8 {
        if self.b() & b::HOURS_24 != 0 {
            return self.encode(hour);
        }
        let half = if hour >= 12 { PM } else { 0 };
        self.encode(if hour.is_multiple_of(12) { 12 } else { hour % 12 }) | half
    }

    fn decode_hour(&self, value: u8) -> u8 {
        if self.b() & b::HOURS_24 != 0 {
            return self.decode(value);
        }
        let hour = self.decode(value & !PM) % 12;
        if value & PM != 0 { hour + 12 } else { hour }
    }

    /// Brings the registers of a running clock up to date.
    fn refresh(&mut self, now: Nanos) {
        if !self.runs() {
            return;
        }
        let unix = self.unix(now);
        let t = DateTime::from_unix(unix);
        for (at, value) in [
            (register::SECONDS, self.encode(t.second)),
            (register::MINUTES, self.encode(t.minute)),
            (register::HOURS, self.encode_hour(t.hour)),
            (register::WEEKDAY, self.encode(DateTime::weekday(unix))),
            (register::DAY, self.encode(t.day)),
            (register::MONTH, self.encode(t.month)),
            (register::YEAR, self.encode((t.year % 100) as u8)),
            (CMOS_CENTURY, self.encode((t.year / 100) as u8)),
        ] {
            self.ram[usize::from(at)] = value;
        }
    }

    /// Takes the time of day from the registers. The second begins now.
    fn adopt(&mut self, now: Nanos) {
        let field = |at: u8| self.decode(self.ram[usize::from(at)]);
        let time = DateTime {
            year: u16::from(field(CMOS_CENTURY)) * 100 + u16::from(field(register::YEAR)),
            month: field(register::MONTH),
            day: field(register::DAY),
            hour: self.decode_hour(self.ram[usize::from(register::HOURS)]),
            minute: field(register::MINUTES),
            second: field(register::SECONDS),
        };
        self.epoch = time.to_unix().wrapping_mul(SECOND).wrapping_sub(now);
    }

    /// Finds the next second that the alarm registers match.
    fn find_alarm(&mut self, now: Nanos) {
        self.alarm = None;
        if !self.runs() {
            return;
        }
        let any = |value: u8| value & 0xc0 == 0xc0;
        let raw = |at: u8| self.ram[usize::from(at)];
        let hours = Some(raw(register::HOURS_ALARM)).filter(|&v| !any(v)).map(|v| self.decode_hour(v));
        let field = |at: u8| Some(raw(at)).filter(|&v| !any(v)).map(|v| self.decode(v));
        let (minutes, seconds) = (field(register::MINUTES_ALARM), field(register::SECONDS_ALARM));
        let first = self.unix(now) + 1;
        let mut second = first;
        // Skips hours, then minutes, then seconds: 25 + 60 + 60 steps, and again at the day's turn.
        for _ in 0..512 {
            let of_day = second % 86_400;
            let (h, m, s) = ((of_day / 3600) as u8, (of_day / 60 % 60) as u8, (of_day % 60) as u8);
            if hours.is_some_and(|hour| hour != h) {
                second += 3600 - of_day % 3600;
            } else if minutes.is_some_and(|minute| minute != m) {
                second += 60 - of_day % 60;
            } else if seconds.is_some_and(|second| second != s) {
                second += 1;
            } else {
                // From the next full second on, in whole seconds.
                let to_first = SECOND - now.wrapping_add(self.epoch) % SECOND;
                self.alarm = Some(now.saturating_add(to_first + (second - first) * SECOND));
                return;
            }
        }
    }
}

/// Whether a byte is one of the time of day.
fn is_time(index: u8) -> bool {
    matches!(
        index,
        register::SECONDS | register::MINUTES | register::HOURS | register::WEEKDAY
            ..=register::YEAR | CMOS_CENTURY
    )
}

#[cfg(test)]
#[path = "rtc_tests.rs"]
mod tests;
