//! The entry's lines, on the first serial port and on the screen. Each begins with `boot: `.
//!
//! Nothing here allocates, so that a refusal can be told at any time.
#![allow(unsafe_code)] // Halts.
use core::arch::asm;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, Ordering};
use loader::com1;

/// Whether there is a serial port.
static SERIAL: AtomicBool = AtomicBool::new(false);

struct Output;

impl Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if SERIAL.load(Ordering::Relaxed) {
            com1::write(text);
        }
        Ok(())
    }
}

/// Finds the serial port.
pub fn start() {
    SERIAL.store(com1::start(), Ordering::Relaxed);
    // Whatever GRUB left on the line stays on a line of its own.
    let _ = Output.write_str("\r\n");
}

/// Shows a line.
pub fn say(text: fmt::Arguments) {
    let _ = write!(Output, "boot: {text}\r\n");
}

/// Before the kernel takes the serial port over: all lines are out.
pub fn finish() {
    if SERIAL.load(Ordering::Relaxed) {
        com1::drain();
    }
}

/// Shows why the machine is not started, and halts it.
pub fn stop(reason: &dyn fmt::Display) -> ! {
    say(format_args!("{reason}"));
    say(format_args!("stopped; switch the machine off"));
    loop {
        // SAFETY: stops this CPU for good; nothing is to run on it any more.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) }
    }
}

#[panic_handler]
fn panicked(info: &core::panic::PanicInfo) -> ! {
    stop(&format_args!("internal error: {info}; please report it"))
}
