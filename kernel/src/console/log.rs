//! The `log` crate's back end: a ring of 128 KiB, and the consoles.
//!
//! Until somebody [follows](follow) the log, every entry also goes to the consoles at once. From then on
//! the follower (the shell) is called and reads the ring, so that it can place lines above its prompt.
//!
//! Entries are stamped with the TSC, so that those from before its calibration have a time as well.
use crate::cpu::percpu;
use crate::cpu::registers::rdtsc;
use crate::sync::IrqLock;
use crate::time;
use core::fmt::Write as _;
pub use platform::text::Entry;
use platform::text::{LONGEST, LogRing};

static RING: IrqLock<LogRing<{ 128 * 1024 }>> = IrqLock::new(LogRing::new());

/// The follower, an `fn()`, or 0.
static FOLLOWER: IrqLock<Option<fn()>> = IrqLock::new(None);

struct KernelLog;

/// A line's text while it is formatted.
struct Line {
    bytes: [u8; LONGEST],
    len: usize,
}

impl Line {
    fn format(arguments: core::fmt::Arguments<'_>) -> Self {
        let mut line = Self { bytes: [0; LONGEST], len: 0 };
        let _ = line.write_fmt(arguments);
        line
    }

    fn text(&self) -> &str {
        core::str::from_utf8(&self.bytes[..self.len]).unwrap_or("")
    }
}

impl core::fmt::Write for Line {
    /// Keeps what fits and drops the rest.
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        for c in text.chars() {
            let Some(place) = self.bytes.get_mut(self.len..self.len + c.len_utf8()) else {
                return Err(core::fmt::Error);
            };
            c.encode_utf8(place);
            self.len += c.len_utf8();
        }
        Ok(())
    }
}

impl log::Log for KernelLog {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = Line::format(*record.args());
        let stamp = rdtsc();
        let cpu = percpu::current().index as u16;
        RING.lock().push(stamp, cpu, record.level() as u8, line.text());
        let follower = *FOLLOWER.lock();
        match follower {
            Some(wake) => wake(),
            None => print(stamp, record.level() as u8, line.text()),
        }
    }

    fn flush(&self) {}
}

/// One line on the consoles, in one piece.
fn print(stamp: u64, level: u8, text: &str) {
    let mark = mark(level);
    let line = match time::of_stamp(stamp) {
        Some(t) => Line::format(format_args!("[{t}] {mark}{text}\n")),
        None => Line::format(format_args!("[       early] {mark}{text}\n")),
    };
    super::write(line.text().as_bytes());
}

/// Shows on the screen what was logged before it was there.
pub fn show_earlier() {
    let mut lines = alloc::vec::Vec::new();
    read(0, usize::MAX, |entry, text| {
        lines.push(alloc::format!("[       early] {}{text}\n", mark(entry.level)));
    });
    for line in lines {
        super::framebuffer::write(line.as_bytes());
    }
}

/// What stands in front of an entry's text for its level: nothing for ordinary ones.
pub const fn mark(level: u8) -> &'static str {
    match level {
        1 => "error: ",
        2 => "warning: ",
        _ => "",
    }
}

/// Makes this the log of the whole kernel.
pub fn start() {
    if log::set_logger(&KernelLog).is_ok() {
        log::set_max_level(log::LevelFilter::Info);
    }
}

/// From now on `wake` is called for every new entry, instead of printing it. It is called with any locks
/// held and from interrupt handlers, so it may only wake a task.
pub fn follow(wake: fn()) {
    *FOLLOWER.lock() = Some(wake);
}

/// The number of the next entry: what a follower starts from.
pub fn next_number() -> u64 {
    RING.lock().next_number()
}

/// Calls `each` with up to `limit` entries from number `from` on. Returns the number to go on from. The
/// log is locked meanwhile: `each` may not log.
pub fn read(from: u64, limit: usize, mut each: impl FnMut(Entry, &str)) -> u64 {
    let ring = RING.lock();
    let mut next = from;
    let mut left = limit;
    ring.read(from, |entry, text| {
        if left == 0 {
            return false;
        }
        left -= 1;
        each(entry, text);
        next = entry.number + 1;
        true
    });
    next
}
