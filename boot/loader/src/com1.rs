//! The first serial port, a 16550 at 0x3f8, written by polling.
#![allow(unsafe_code)] // Port I/O.
use core::arch::asm;

const PORT: u16 = 0x3f8;
const LINE_STATUS: u16 = PORT + 5;
/// The transmitter takes a byte.
const HOLDING_EMPTY: u8 = 0x20;
/// Nothing is left to send.
const TRANSMITTER_EMPTY: u8 = 0x40;
/// Polls after which a port that does not take a byte is given up: longer than ten bytes take at
/// 9600 baud, as a port read takes about a microsecond.
const PATIENCE: u32 = 20_000;

/// Sets 115200 baud, 8N1, FIFOs on. False where there is no port.
pub fn start() -> bool {
    // A scratch register that does not keep a value is none (PC16550D, 8.9).
    output(PORT + 7, 0x5a);
    if input(PORT + 7) != 0x5a || input(LINE_STATUS) == 0xff {
        return false;
    }
    // No interrupts; divisor latch open; divisor 1; latch closed, 8N1; FIFOs on; DTR, RTS, OUT2.
    for (register, value) in [(1, 0), (3, 0x80), (0, 1), (1, 0), (3, 3), (2, 7), (4, 0x0b)] {
        output(PORT + register, value);
    }
    true
}

/// Writes text, or as much of it as the port takes.
pub fn write(text: &str) {
    for byte in text.bytes() {
        if !(0..PATIENCE).any(|_| input(LINE_STATUS) & HOLDING_EMPTY != 0) {
            return;
        }
        output(PORT, byte);
    }
}

/// Waits until all that was written is on the line: who comes next empties the FIFO.
pub fn drain() {
    let _ = (0..PATIENCE).any(|_| input(LINE_STATUS) & TRANSMITTER_EMPTY != 0);
}

fn output(port: u16, value: u8) {
    // SAFETY: only the ports of COM1 are written, whose effects stay within the UART.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags)) }
}

fn input(port: u16) -> u8 {
    let value;
    // SAFETY: only the ports of COM1 are read, whose effects stay within the UART.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack, preserves_flags)) }
    value
}
