//! COM1: a 16550 UART at port 0x3f8, 115200 baud, 8 data bits, no parity (NS16550A data sheet).
//!
//! Received bytes are moved by the interrupt handler into a ring that one task reads. Transmission is
//! polled, a FIFO's fill at a time; a UART that stops sending (nobody drains it, or flow control) is
//! given up after a bound, and its output is dropped until it is ready again.
#![allow(unsafe_code)] // port I/O on the UART, which no memory depends on

use crate::cpu::port::Port;
use crate::sync::IrqLock;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use executor::Signal;

const COM1: Port = Port(0x3f8);

// Registers, as offsets from the base port.
const DATA: u16 = 0;
const INTERRUPT_ENABLE: u16 = 1;
const FIFO_CONTROL: u16 = 2;
const LINE_CONTROL: u16 = 3;
const MODEM_CONTROL: u16 = 4;
const LINE_STATUS: u16 = 5;

/// LSR: a received byte waits.
const DATA_READY: u8 = 1;
/// LSR: the transmit FIFO is empty.
const TRANSMIT_EMPTY: u8 = 1 << 5;
/// MCR: DTR, RTS, and OUT2, which lets the interrupt out on a PC.
const LINES_ON: u8 = 0x0b;
/// MCR: the same, looped back.
const LOOPBACK: u8 = 0x1e;

/// Bytes that the transmit FIFO takes once it is empty.
const FIFO: usize = 16;
/// Looks at the line status before a UART counts as stuck. A look takes about 1 µs, and 16 bytes at 115200
/// baud 1.4 ms.
const PATIENCE: u32 = 50_000;

struct Uart {
    present: bool,
    stuck: bool,
}

static UART: IrqLock<Uart> = IrqLock::new(Uart { present: false, stuck: false });

fn read(register: u16) -> u8 {
    // SAFETY: registers of the UART; reading them affects the UART alone.
    unsafe { COM1.offset(register).read_u8() }
}

fn put(register: u16, value: u8) {
    // SAFETY: registers of the UART; writing them affects the UART alone.
    unsafe { COM1.offset(register).write_u8(value) };
}

/// Sets the port up, if the machine has it. Returns whether it does.
pub fn start() -> bool {
    let mut uart = UART.lock();
    put(INTERRUPT_ENABLE, 0);
    put(LINE_CONTROL, 0x80); // divisor latch
    put(DATA, 1); // 115200 baud
    put(INTERRUPT_ENABLE, 0);
    put(LINE_CONTROL, 0x03); // 8n1
    put(FIFO_CONTROL, 0xc7); // FIFOs on and empty, interrupt at 14 bytes or on time-out
    // What is sent in loopback comes back at once, unless there is nothing but an open bus.
    put(MODEM_CONTROL, LOOPBACK);
    put(DATA, 0xae);
    uart.present = (0..1000).any(|_| read(LINE_STATUS) & DATA_READY != 0) && read(DATA) == 0xae;
    put(MODEM_CONTROL, LINES_ON);
    uart.present
}

impl Uart {
    fn write(&mut self, bytes: &[u8]) {
        if !self.present {
            return;
        }
        for chunk in bytes.chunks(FIFO) {
            let patience = if self.stuck { 1 } else { PATIENCE };
            self.stuck = !(0..patience).any(|_| read(LINE_STATUS) & TRANSMIT_EMPTY != 0);
            if self.stuck {
                return;
            }
            for b in chunk {
                put(DATA, *b);
            }
        }
    }

    /// With the carriage returns that a terminal wants.
    fn write_text(&mut self, text: &[u8]) {
        for line in text.split_inclusive(|b| *b == b'\n') {
            match line.strip_suffix(b"\n") {
                Some(l) if !l.ends_with(b"\r") => {
                    self.write(l);
                    self.write(b"\r\n");
                }
                _ => self.write(line),
            }
        }
    }
}

/// Writes text; a line feed goes out as CR LF.
pub fn write(text: &[u8]) {
    UART.lock().write_text(text);
}

/// Writes text even where another CPU, or this one, was stopped with the port locked.
pub fn write_regardless(text: &[u8]) {
    match UART.try_lock_for(100_000) {
        Some(mut uart) => uart.write_text(text),
        None => Uart { present: true, stuck: false }.write_text(text),
    }
}

/// Bytes that arrived and were not read yet.
struct Received {
    bytes: [AtomicU8; Self::SIZE],
    /// Counts on; the interrupt handler alone moves it.
    head: AtomicUsize,
    /// Counts on; the reader alone moves it.
    tail: AtomicUsize,
    overflowed: AtomicBool,
}

impl Received {
    const SIZE: usize = 4096;
}

static RECEIVED: Received = Received {
    bytes: [const { AtomicU8::new(0) }; Received::SIZE],
    head: AtomicUsize::new(0),
    tail: AtomicUsize::new(0),
    overflowed: AtomicBool::new(false),
};

/// Raised when bytes arrived.
static ARRIVED: Signal = Signal::new();

/// Lets the UART interrupt when bytes arrive. The caller has routed its interrupt to
/// [`interrupted`].
pub fn enable_receive_interrupt() {
    let uart = UART.lock();
    if uart.present {
        put(INTERRUPT_ENABLE, 1);
    }
}

/// The interrupt handler: empties the receive FIFO and wakes the reader.
pub fn interrupted() {
    let ring = &RECEIVED;
    // A bound, because an absent UART reads as ones.
    for _ in 0..256 {
        if read(LINE_STATUS) & DATA_READY == 0 {
            break;
        }
        let byte = read(DATA);
        let head = ring.head.load(Ordering::Relaxed);
        if head.wrapping_sub(ring.tail.load(Ordering::Acquire)) == Received::SIZE {
            ring.overflowed.store(true, Ordering::Relaxed);
            continue;
        }
        ring.bytes[head % Received::SIZE].store(byte, Ordering::Relaxed);
        ring.head.store(head.wrapping_add(1), Ordering::Release);
    }
    ARRIVED.raise();
}

/// The next received byte. For one reader.
pub fn take() -> Option<u8> {
    let ring = &RECEIVED;
    let tail = ring.tail.load(Ordering::Relaxed);
    if tail == ring.head.load(Ordering::Acquire) {
        return None;
    }
    let byte = ring.bytes[tail % Received::SIZE].load(Ordering::Relaxed);
    ring.tail.store(tail.wrapping_add(1), Ordering::Release);
    Some(byte)
}

/// Waits until bytes have arrived since the last wait. For one task: take them all, then wait again.
pub async fn arrived() {
    ARRIVED.wait().await;
}

/// Whether bytes were lost since the last call because nobody read them.
pub fn take_overflow() -> bool {
    RECEIVED.overflowed.swap(false, Ordering::Relaxed)
}
