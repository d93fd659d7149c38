//! The text that the guest writes to COM1, line by line.
use bare::com1::Com1;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use payload::{CASES, Case};

/// Writes a line.
#[macro_export]
macro_rules! say {
    ($($arg:tt)*) => { $crate::console::line(format_args!($($arg)*)) };
}

/// Writes a line; several CPUs do so one after the other.
pub fn line(text: fmt::Arguments) {
    static BUSY: AtomicBool = AtomicBool::new(false);
    // A CPU that faulted within does not lock out the report of that for ever.
    for _ in 0..10_000_000 {
        if !BUSY.swap(true, Ordering::Acquire) {
            break;
        }
        core::hint::spin_loop();
    }
    let _ = writeln!(Com1, "{text}");
    BUSY.store(false, Ordering::Release);
}

/// Index of the case that runs.
static CURRENT: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Notes which case runs, for the report of its failure.
pub fn set_current(case: &Case) {
    let index = CASES.iter().position(|other| other.id == case.id);
    CURRENT.store(index.unwrap_or(usize::MAX), Ordering::SeqCst);
}

/// The case that runs.
pub fn current() -> &'static str {
    CASES.get(CURRENT.load(Ordering::SeqCst)).map_or("start", |case| case.name)
}
