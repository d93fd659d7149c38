//! COM1: a 16550 UART at port 0x3f8, 115200 baud, 8 data bits, no parity (NS16550A data sheet).
//!
//! Both directions go through rings. Received bytes are moved by the interrupt handler into one that a
//! task reads. Bytes to be sent are taken from the other one, a FIFO's fill at a time, whenever the UART
//! has room: by its interrupt once those are [on](enable_interrupts), by polling before. A writer waits
//! only while the ring is full, and never for a UART that stopped sending (nobody drains it, or flow
//! control): then output is dropped until it is ready again.
#![allow(unsafe_code)] // port I/O on the UART, which no memory depends on

use super::ACTIVITY;
use crate::cpu::port::Port;
use crate::sync::IrqLock;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

const COM1: Port = Port(0x3f8);

// Registers, as offsets from the base port.
const DATA: u16 = 0;
const INTERRUPT_ENABLE: u16 = 1;
const INTERRUPT_ID: u16 = 2;
const FIFO_CONTROL: u16 = 2;
const LINE_CONTROL: u16 = 3;
const MODEM_CONTROL: u16 = 4;
const LINE_STATUS: u16 = 5;
const MODEM_STATUS: u16 = 6;

/// IER: received data.
const ON_RECEIVE: u8 = 1;
/// IER: room to transmit.
const ON_ROOM: u8 = 1 << 1;
/// IIR: no interrupt is pending.
const NOTHING_PENDING: u8 = 1;
/// LSR: a received byte waits.
const DATA_READY: u8 = 1;
/// LSR: the transmit FIFO is empty.
const TRANSMIT_EMPTY: u8 = 1 << 5;
/// LSR: the last bit of the last byte has left, too.
const TRANSMITTER_IDLE: u8 = 1 << 6;
/// MCR: DTR, RTS, and OUT2, which lets the interrupt out on a PC.
const LINES_ON: u8 = 0x0b;
/// MCR: the same, looped back.
const LOOPBACK: u8 = 0x1e;

/// Bytes that the transmit FIFO takes once it is empty.
const FIFO: usize = 16;
/// Looks at the line status before a UART counts as stuck. A look takes about 1 µs, and 16 bytes at 115200
/// baud 1.4 ms.
const PATIENCE: u32 = 50_000;

/// Bytes that wait to be sent, at most.
const QUEUE: usize = 16 * 1024;

struct Uart {
    present: bool,
    /// Whether its interrupt drains the queue.
    interrupts: bool,
    stuck: bool,
    /// The last byte that was written is a carriage return: output comes in pieces of any size.
    after_return: bool,
    queue: [u8; QUEUE],
    /// Both count on; their remainders by `QUEUE` are places.
    head: usize,
    tail: usize,
}

static UART: IrqLock<Uart> = IrqLock::new(Uart {
    present: false,
    interrupts: false,
    stuck: false,
    after_return: false,
    queue: [0; QUEUE],
    head: 0,
    tail: 0,
});

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
    // What the loader wrote goes out first, or it would come back in the loopback below.
    let _ = (0..PATIENCE).any(|_| read(LINE_STATUS) & TRANSMITTER_IDLE != 0);
    put(LINE_CONTROL, 0x80); // divisor latch
    put(DATA, 1); // 115200 baud
    put(INTERRUPT_ENABLE, 0);
    put(LINE_CONTROL, 0x03); // 8n1
    put(FIFO_CONTROL, 0xc7); // FIFOs on and empty, interrupt at 14 bytes or on time-out
    // What is sent in loopback comes back after the time that a byte takes on the line; an open bus answers at
    // once, with something else.
    put(MODEM_CONTROL, LOOPBACK);
    put(DATA, 0xae);
    uart.present = (0..PATIENCE).any(|_| read(LINE_STATUS) & DATA_READY != 0) && read(DATA) == 0xae;
    put(MODEM_CONTROL, LINES_ON);
    uart.present
}

impl Uart {
    fn queued(&self) -> usize {
        self.head - self.tail
    }

    /// Sends from the queue while the UART has room.
    fn pump(&mut self) {
        while self.queued() > 0 && read(LINE_STATUS) & TRANSMIT_EMPTY != 0 {
            self.stuck = false;
            for _ in 0..self.queued().min(FIFO) {
                put(DATA, self.queue[self.tail % QUEUE]);
                self.tail += 1;
            }
        }
    }

    /// Sends all of the queue, or drops it where the UART does not send.
    fn drain(&mut self) {
        let mut patience = if self.stuck { 1 } else { PATIENCE };
        while self.queued() > 0 && patience > 0 {
            let before = self.tail;
            self.pump();
            patience = if self.tail == before { patience - 1 } else { PATIENCE };
        }
        if self.queued() > 0 {
            self.stuck = true;
            self.tail = self.head;
        }
    }

    fn push(&mut self, byte: u8) {
        if self.queued() == QUEUE {
            self.drain();
        }
        self.queue[self.head % QUEUE] = byte;
        self.head += 1;
    }

    /// Queues text, with the carriage returns that a terminal wants and it lacks, and begins to send.
    fn write(&mut self, text: &[u8]) {
        if !self.present {
            return;
        }
        for byte in text {
            if *byte == b'\n' && !self.after_return {
                self.push(b'\r');
            }
            self.push(*byte);
            self.after_return = *byte == b'\r';
        }
        if self.interrupts {
            self.pump();
            self.enable(self.queued() > 0);
        } else {
            self.drain();
        }
    }

    fn enable(&self, on_room: bool) {
        put(INTERRUPT_ENABLE, if on_room { ON_RECEIVE | ON_ROOM } else { ON_RECEIVE });
    }
}

/// Writes text; a line feed goes out as CR LF.
pub fn write(text: &[u8]) {
    UART.lock().write(text);
}

/// Bytes that can be written without waiting. Also sends what the UART has room for, so that an interrupt
/// that got lost delays output only until somebody wants to write more.
pub fn room() -> usize {
    let mut uart = UART.lock();
    if uart.present && uart.interrupts {
        uart.pump();
    }
    QUEUE - uart.queued()
}

/// Sends what is queued, for the last words before power-off.
pub fn flush() {
    if let Some(mut uart) = UART.try_lock_for(100_000) {
        uart.drain();
    }
}

/// Writes text by polling, even where another CPU, or this one, was stopped with the port locked.
pub fn write_regardless(text: &[u8]) {
    if let Some(mut uart) = UART.try_lock_for(100_000) {
        uart.interrupts = false;
        uart.write(text);
        return;
    }
    for byte in text {
        if *byte == b'\n' {
            send_polled(b'\r');
        }
        send_polled(*byte);
    }
}

fn send_polled(byte: u8) {
    if (0..PATIENCE).any(|_| read(LINE_STATUS) & TRANSMIT_EMPTY != 0) {
        put(DATA, byte);
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

/// Lets the UART interrupt. The caller has routed its interrupt to [`interrupted`].
pub fn enable_interrupts() {
    let mut uart = UART.lock();
    if uart.present {
        uart.interrupts = true;
        uart.enable(false);
    }
}

/// The interrupt handler. The line is edge-triggered on a PC: it is served until nothing is pending.
pub fn interrupted() {
    // A bound, because an absent UART may read as anything.
    for _ in 0..256 {
        match read(INTERRUPT_ID) & 0x0f {
            id if id & NOTHING_PENDING != 0 => break,
            0x0 => _ = read(MODEM_STATUS),
            // Room to transmit, which is used below.
            0x2 => {}
            0x6 => _ = read(LINE_STATUS),
            _ => receive(),
        }
    }
    // Whatever was told: Bochs' UART forgets that there is room when it tells of a received byte, and what is
    // queued would wait for ever.
    let mut uart = UART.lock();
    uart.pump();
    uart.enable(uart.queued() > 0);
}

/// Empties the receive FIFO into the ring.
fn receive() {
    let ring = &RECEIVED;
    for _ in 0..4 * FIFO {
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
    ACTIVITY.raise();
}

/// The next received byte. For one reader; `ACTIVITY` is raised when there are new ones.
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

/// Whether bytes were lost since the last call because nobody read them.
pub fn take_overflow() -> bool {
    RECEIVED.overflowed.swap(false, Ordering::Relaxed)
}
