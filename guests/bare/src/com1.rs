//! COM1, a 16550, polled.
use crate::instructions::{inb, outb};
use core::fmt;

const COM1: u16 = 0x3f8;
const LINE_STATUS: u16 = COM1 + 5;
const THR_EMPTY: u8 = 1 << 5;

/// COM1 as somewhere to print to; line feeds are preceded by carriage returns. There are no errors.
pub struct Com1;

impl fmt::Write for Com1 {
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
    // A broken UART must not keep a program from ending.
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
