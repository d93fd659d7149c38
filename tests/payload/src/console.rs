//! COM1, polled.
use crate::instructions::{inb, outb};
use core::fmt::{self, Write};
use core::str;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

const COM1: u16 = 0x3f8;
const LINE_STATUS: u16 = COM1 + 5;
const THR_EMPTY: u8 = 1 << 5;

/// Writes a line.
#[macro_export]
macro_rules! say {
    ($($arg:tt)*) => { $crate::console::line(format_args!($($arg)*)) };
}

struct Com1;

impl Write for Com1 {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                put(b'\r');
            }
            put(byte);
        }
        Ok(())
    }
}

fn put(byte: u8) {
    // A broken UART must not keep the result of a case from ending the machine.
    for _ in 0..100_000 {
        if inb(LINE_STATUS) & THR_EMPTY != 0 {
            break;
        }
    }
    outb(COM1, byte);
}

/// Puts the UART into a known state: 8 data bits, no parity, 115200 baud, no interrupts.
pub fn set_up() {
    outb(COM1 + 1, 0);
    outb(COM1 + 3, 0x80);
    outb(COM1, 1);
    outb(COM1 + 1, 0);
    outb(COM1 + 3, 3);
    outb(COM1 + 2, 7);
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
    let _ = Com1.write_fmt(text);
    let _ = Com1.write_str("\n");
    BUSY.store(false, Ordering::Release);
}

static NAME: AtomicPtr<u8> = AtomicPtr::new(core::ptr::null_mut());
static LENGTH: AtomicUsize = AtomicUsize::new(0);

/// Notes which case runs, for the report of a fault that it did not expect.
pub fn set_current(name: &'static str) {
    LENGTH.store(0, Ordering::SeqCst);
    NAME.store(name.as_ptr().cast_mut(), Ordering::SeqCst);
    LENGTH.store(name.len(), Ordering::SeqCst);
}

/// The case that runs.
pub fn current() -> &'static str {
    let (name, length) = (NAME.load(Ordering::SeqCst), LENGTH.load(Ordering::SeqCst));
    if name.is_null() || length == 0 {
        return "start";
    }
    // One of the table's names; at worst a shorter part of it.
    unsafe { str::from_utf8_unchecked(core::slice::from_raw_parts(name, length)) }
}

/// A short text.
pub struct Text {
    bytes: [u8; 240],
    length: usize,
}

impl Text {
    pub const fn new() -> Self {
        Self { bytes: [0; 240], length: 0 }
    }

    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[..self.length]).unwrap_or("a text that is not UTF-8")
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            let Some(place) = self.bytes.get_mut(self.length) else { return Err(fmt::Error) };
            *place = byte;
            self.length += 1;
        }
        Ok(())
    }
}
