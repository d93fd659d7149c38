//! The machine's own consoles: the first serial port and the screen.
//!
//! ```text
//! log::info!() ─► log.rs: ring of entries ─► serial.rs  COM1
//!                                         └► framebuffer.rs  screen
//! keys on COM1 ─► interrupt ─► ring of bytes ─► the shell's task
//! ```
//!
//! Both consoles are optional: a machine without a UART or a framebuffer works, and neither can make a
//! writer wait for longer than a transmit FIFO takes to drain.
pub mod framebuffer;
pub mod log;
pub mod serial;

use executor::Signal;

/// Raised when the task that owns the console has something to do: keys arrived, or a log entry.
pub static ACTIVITY: Signal = Signal::new();

/// Writes to all consoles, in order with the other writers.
pub fn write(text: &[u8]) {
    serial::write(text);
    framebuffer::write(text);
}

/// Writes to all consoles although their locks may be held for ever: a panic's way.
pub struct Emergency;

impl core::fmt::Write for Emergency {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        serial::write_regardless(text.as_bytes());
        framebuffer::write_regardless(text.as_bytes());
        Ok(())
    }
}
