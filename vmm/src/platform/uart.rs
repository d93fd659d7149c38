//! A 16550A UART, with infinite speed towards the console (PC16550D data sheet).
//!
//! Output goes to a [`ConsoleOutput`] at once, so the transmitter is always empty. Input waits in a
//! queue of 4 KiB and moves on to the 16-byte FIFO as the guest reads it, so that pasting does not need
//! a console task that knows about FIFOs.
use super::console::ConsoleOutput;
use crate::time::Nanos;
use alloc::collections::VecDeque;
use alloc::sync::Arc;

/// Bytes of input that wait for the guest.
const INPUT_QUEUE: usize = 4096;
const FIFO: usize = 16;

mod ier {
    pub const RECEIVED: u8 = 1 << 0;
    pub const TRANSMIT_EMPTY: u8 = 1 << 1;
    pub const LINE_STATUS: u8 = 1 << 2;
    pub const MODEM_STATUS: u8 = 1 << 3;
    pub const WRITABLE: u8 = 0x0f;
}

mod iir {
    pub const NONE: u8 = 0x01;
    pub const MODEM_STATUS: u8 = 0x00;
    pub const TRANSMIT_EMPTY: u8 = 0x02;
    pub const RECEIVED: u8 = 0x04;
    pub const LINE_STATUS: u8 = 0x06;
    pub const TIME_OUT: u8 = 0x0c;
    pub const FIFOS: u8 = 0xc0;
}

mod fcr {
    pub const ENABLE: u8 = 1 << 0;
    pub const CLEAR_RECEIVE: u8 = 1 << 1;
}

mod lcr {
    pub const DIVISOR_LATCH: u8 = 1 << 7;
}

mod mcr {
    pub const DTR: u8 = 1 << 0;
    pub const RTS: u8 = 1 << 1;
    pub const OUT1: u8 = 1 << 2;
    /// Connects the interrupt output to the line, in a PC.
    pub const OUT2: u8 = 1 << 3;
    pub const LOOP: u8 = 1 << 4;
    pub const WRITABLE: u8 = 0x1f;
}

mod lsr {
    pub const DATA_READY: u8 = 1 << 0;
    pub const OVERRUN: u8 = 1 << 1;
    pub const ERRORS: u8 = 0x1e;
    pub const TRANSMITTER_EMPTY: u8 = 0x60;
}

mod msr {
    pub const CTS: u8 = 1 << 4;
    pub const DSR: u8 = 1 << 5;
    pub const RI: u8 = 1 << 6;
    pub const DCD: u8 = 1 << 7;
    /// The console is always connected and ready.
    pub const CONNECTED: u8 = CTS | DSR | DCD;
}

/// A serial port.
pub struct Uart {
    output: Arc<ConsoleOutput>,
    input: VecDeque<u8>,
    fifo: [u8; FIFO],
    /// Index of the oldest byte in `fifo`, and how many there are.
    head: u8,
    len: u8,
    ier: u8,
    fcr: u8,
    lcr: u8,
    mcr: u8,
    /// Error bits only.
    lsr: u8,
    /// Delta bits only.
    modem_changed: u8,
    scratch: u8,
    divisor: u16,
    /// The transmitter became empty and nobody was told.
    transmit_pending: bool,
    /// When the bytes below the trigger level have waited for four characters.
    time_out: Option<Nanos>,
    /// That has happened.
    timed_out: bool,
}

impl Uart {
    /// In its reset state.
    pub fn new(output: Arc<ConsoleOutput>) -> Self {
        Self {
            output,
            input: VecDeque::with_capacity(INPUT_QUEUE),
            fifo: [0; FIFO],
            head: 0,
            len: 0,
            ier: 0,
            fcr: 0,
            lcr: 0,
            mcr: 0,
            lsr: 0,
            modem_changed: 0,
            scratch: 0,
            divisor: 12,
            transmit_pending: false,
            time_out: None,
            timed_out: false,
        }
    }

    /// Back to the reset state. Input that waits is dropped, output stays readable.
    pub fn reset(&mut self) {
        self.input.clear();
        self.head = 0;
        self.len = 0;
        self.ier = 0;
        self.fcr = 0;
        self.lcr = 0;
        self.mcr = 0;
        self.lsr = 0;
        self.modem_changed = 0;
        self.scratch = 0;
        self.divisor = 12;
        self.transmit_pending = false;
        self.time_out = None;
        self.timed_out = false;
    }

    /// Input from the console. How many bytes were accepted; offer the others later.
    pub fn receive(&mut self, bytes: &[u8], now: Nanos) -> usize {
        let accepted = bytes.len().min(INPUT_QUEUE - self.input.len().min(INPUT_QUEUE));
        self.input.extend(&bytes[..accepted]);
        if accepted != 0 {
            self.refill(now);
        }
        accepted
    }

    /// Level of the interrupt line.
    #[inline]
    pub fn interrupt(&self) -> bool {
        // In loop-back mode the output is disconnected like all others.
        self.mcr & (mcr::OUT2 | mcr::LOOP) == mcr::OUT2 && self.cause() != iir::NONE
    }

    /// When `expire` has something to do.
    #[inline]
    pub fn deadline(&self) -> Option<Nanos> {
        self.time_out
    }

    /// Raises the time-out interrupt if it is due.
    pub fn expire(&mut self, now: Nanos) {
        if self.time_out.is_some_and(|at| now >= at) {
            self.time_out = None;
            self.timed_out = true;
        }
    }

    /// Reads register 0 to 7.
    #[inline]
    pub fn read(&mut self, register: u16, now: Nanos) -> u8 {
        match register {
            0 if self.lcr & lcr::DIVISOR_LATCH != 0 => self.divisor as u8,
            0 => self.read_data(now),
            1 if self.lcr & lcr::DIVISOR_LATCH != 0 => (self.divisor >> 8) as u8,
            1 => self.ier,
            2 => self.read_cause(),
            3 => self.lcr,
            4 => self.mcr,
            5 => self.read_line_status(),
            6 => self.read_modem_status(),
            7 => self.scratch,
            _ => 0xff,
        }
    }

    /// Writes register 0 to 7.
    #[inline]
    pub fn write(&mut self, register: u16, value: u8, now: Nanos) {
        match register {
            0 if self.lcr & lcr::DIVISOR_LATCH != 0 => {
                self.divisor = self.divisor & 0xff00 | u16::from(value)
            }
            0 => self.transmit(value, now),
            1 if self.lcr & lcr::DIVISOR_LATCH != 0 => {
                self.divisor = self.divisor & 0x00ff | u16::from(value) << 8;
            }
            1 => {
                // Enabling the interrupt while the transmitter is empty raises it.
                if value & !self.ier & ier::TRANSMIT_EMPTY != 0 {
                    self.transmit_pending = true;
                }
                self.ier = value & ier::WRITABLE;
            }
            2 => self.write_fifo_control(value, now),
            3 => self.lcr = value,
            4 => self.write_modem_control(value, now),
            7 => self.scratch = value,
            _ => {}
        }
    }

    #[inline]
    fn fifos(&self) -> bool {
        self.fcr & fcr::ENABLE != 0
    }

    /// Bytes in the FIFO that raise the received-data interrupt.
    #[inline]
    fn trigger(&self) -> u8 {
        if self.fifos() { [1, 4, 8, 14][usize::from(self.fcr >> 6)] } else { 1 }
    }

    /// The most urgent reason to interrupt, as IIR tells it.
    #[inline]
    fn cause(&self) -> u8 {
        if self.ier & ier::LINE_STATUS != 0 && self.lsr & lsr::ERRORS != 0 {
            return iir::LINE_STATUS;
        }
        if self.ier & ier::RECEIVED != 0 {
            if self.len >= self.trigger() {
                return iir::RECEIVED;
            }
            if self.timed_out {
                return iir::TIME_OUT;
            }
        }
        if self.ier & ier::TRANSMIT_EMPTY != 0 && self.transmit_pending {
            return iir::TRANSMIT_EMPTY;
        }
        if self.ier & ier::MODEM_STATUS != 0 && self.modem_changed != 0 {
            return iir::MODEM_STATUS;
        }
        iir::NONE
    }

    fn read_cause(&mut self) -> u8 {
        let cause = self.cause();
        if cause == iir::TRANSMIT_EMPTY {
            self.transmit_pending = false;
        }
        if self.fifos() { cause | iir::FIFOS } else { cause }
    }

    #[inline]
    fn read_line_status(&mut self) -> u8 {
        let errors = core::mem::take(&mut self.lsr);
        lsr::TRANSMITTER_EMPTY | errors | if self.len != 0 { lsr::DATA_READY } else { 0 }
    }

    fn modem_lines(&self) -> u8 {
        if self.mcr & mcr::LOOP == 0 {
            return msr::CONNECTED;
        }
        [(mcr::DTR, msr::DSR), (mcr::RTS, msr::CTS), (mcr::OUT1, msr::RI), (mcr::OUT2, msr::DCD)]
            .into_iter()
            .filter(|&(control, _)| self.mcr & control != 0)
            .fold(0, |lines, (_, line)| lines | line)
    }

    fn read_modem_status(&mut self) -> u8 {
        core::mem::take(&mut self.modem_changed) | self.modem_lines()
    }

    fn write_modem_control(&mut self, value: u8, now: Nanos) {
        let before = self.modem_lines();
        self.mcr = value & mcr::WRITABLE;
        let after = self.modem_lines();
        let changed = before ^ after;
        // RI's delta bit tells its trailing edge only.
        let trailing = before & !after & msr::RI;
        self.modem_changed |= (changed & !msr::RI | trailing) >> 4;
        self.refill(now);
    }

    fn write_fifo_control(&mut self, value: u8, now: Nanos) {
        let switched = (value ^ self.fcr) & fcr::ENABLE != 0;
        if switched || value & fcr::CLEAR_RECEIVE != 0 {
            self.head = 0;
            self.len = 0;
            self.time_out = None;
            self.timed_out = false;
        }
        // With the enable bit clear no other bit is programmed.
        self.fcr = if value & fcr::ENABLE != 0 { value & 0xc9 } else { 0 };
        self.transmit_pending = true;
        self.refill(now);
    }

    #[inline]
    fn transmit(&mut self, byte: u8, now: Nanos) {
        if self.mcr & mcr::LOOP == 0 {
            self.output.push(byte);
        } else {
            self.loop_back(byte, now);
        }
        self.transmit_pending = true;
    }

    fn capacity(&self) -> u8 {
        if self.fifos() { FIFO as u8 } else { 1 }
    }

    fn loop_back(&mut self, byte: u8, now: Nanos) {
        if self.len < self.capacity() {
            self.store(byte);
            self.arm(now);
        } else {
            self.lsr |= lsr::OVERRUN;
        }
    }

    fn store(&mut self, byte: u8) {
        self.fifo[usize::from(self.head + self.len) % FIFO] = byte;
        self.len += 1;
    }

    fn read_data(&mut self, now: Nanos) -> u8 {
        if self.len == 0 {
            return 0;
        }
        let byte = self.fifo[usize::from(self.head)];
        self.head = (self.head + 1) % FIFO as u8;
        self.len -= 1;
        self.refill(now);
        self.arm(now);
        byte
    }

    /// Moves input on, unless the receiver is looped to the transmitter.
    fn refill(&mut self, now: Nanos) {
        if self.mcr & mcr::LOOP != 0 || self.input.is_empty() {
            return;
        }
        while self.len < self.capacity() {
            let Some(byte) = self.input.pop_front() else { break };
            self.store(byte);
        }
        self.arm(now);
    }

    /// Starts the time-out anew, after a byte came or went.
    fn arm(&mut self, now: Nanos) {
        self.timed_out = false;
        self.time_out = if self.fifos() && self.len != 0 && self.len < self.trigger() {
            // Four characters of ten bits each; the divisor counts 115200 Hz.
            let bit = u64::from(self.divisor.max(1)) * 1_000_000_000 / 115_200;
            Some(now.saturating_add(40 * bit))
        } else {
            None
        };
    }
}

#[cfg(test)]
#[path = "uart_tests.rs"]
mod tests;
