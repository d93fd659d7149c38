//! The entry's lines on the first serial port, each beginning with `boot: `; and the last one, if it says why
//! nothing starts, on the screen too.
//!
//! Nothing here allocates, so that a refusal can be told at any time.
#![allow(unsafe_code)] // Halts.
use super::screen::Writer;
use core::arch::asm;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, Ordering};
use loader::com1;
use multiboot2::information::Screen;
use spin::Once;

/// Whether there is a serial port.
static SERIAL: AtomicBool = AtomicBool::new(false);
/// The screen, once it is known.
static SCREEN: Once<Screen> = Once::new();
/// Whether the end is being told.
static STOPPING: AtomicBool = AtomicBool::new(false);

struct Serial;

impl Write for Serial {
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
    let _ = Serial.write_str("\r\n");
}

/// Makes a screen known.
pub fn use_screen(screen: Screen) {
    SCREEN.call_once(|| screen);
}

/// Shows a line.
pub fn say(text: fmt::Arguments) {
    let _ = write!(Serial, "boot: {text}\r\n");
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
    // A panic on the way to the screen gets no screen.
    if !STOPPING.swap(true, Ordering::Relaxed)
        && let Some(&screen) = SCREEN.get()
    {
        let _ = write!(Writer::new(screen), "boot: {reason}\nboot: stopped; switch the machine off\n");
    }
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
