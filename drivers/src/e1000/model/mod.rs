//! A card in software, as its manuals describe it, and as it misbehaves.
//!
//! It reaches memory by the test kernel's checked accesses, so that an address that it was not given, or not any more,
//! fails the test.
mod receive;
mod transmit;

use super::registers::*;
use crate::pci::MessageInterrupts;
use crate::test_kernel::TestKernel;
use crate::{MsiMessage, Registers};
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use spin::{Mutex, MutexGuard};

pub const I82540EM: u16 = 0x100e;
pub const I82574L: u16 = 0x10d3;

/// ICR: an acknowledgement of TCP has come; and RFCTL: that it is no cause.
const ACK: u32 = 1 << 17;
const ACK_DIS: u32 = 1 << 12;

pub const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

pub struct Model {
    pub kernel: Arc<TestKernel>,
    state: Mutex<State>,
}

/// What the wire and the card are like; and what came out.
#[derive(Default)]
pub struct State {
    pub device: u16,
    registers: Vec<u32>,
    messages: Vec<Option<MsiMessage>>,
    /// Causes of which a message was sent.
    told: u32,
    /// Frames on the wire to it.
    pub incoming: VecDeque<Vec<u8>>,
    partly: Option<receive::Partly>,
    sending: transmit::Sending,
    /// Frames on the wire from it.
    pub sent: Vec<Vec<u8>>,
    pub eeprom: [u16; 3],
    pub tails: u32,
    pub resets: u32,
    pub messages_sent: u32,
    /// It loads its address from the EEPROM by itself.
    pub loads_address: bool,
    pub eeprom_hangs: bool,
    pub reset_hangs: bool,
    pub sends_nothing: bool,
    pub receives_nothing: bool,
    /// Says of received checksums nothing, as QEMU's 82540EM.
    pub ignorant: bool,
    /// Frames that find no buffer are lost.
    pub loses: bool,
    pub gone: bool,
    pub dma_stopped: bool,
    seed: u64,
}

pub struct ModelRegisters(pub Arc<Model>);
pub struct ModelMessages(pub Arc<Model>);

impl MessageInterrupts for ModelMessages {
    fn vectors(&self) -> usize {
        self.0.state.lock().messages.len()
    }

    fn connect(&self, vector: usize, message: Option<MsiMessage>) {
        self.0.state.lock().messages[vector] = message;
    }
}

impl Model {
    /// A card with so many messages, and a link.
    pub fn new(kernel: &Arc<TestKernel>, device: u16, messages: usize) -> Arc<Self> {
        let words = MAC.as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair));
        let mut state = State {
            device,
            registers: std::vec![0; BYTES as usize / 4],
            messages: std::vec![None; messages],
            eeprom: words.collect::<Vec<_>>().try_into().unwrap(),
            loads_address: true,
            seed: 1,
            ..State::default()
        };
        state.set(STATUS, status::LU | status::FD | 2 << status::SPEED);
        Arc::new(Self { kernel: kernel.clone(), state: Mutex::new(state) })
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// One thing is done. Whether there was one.
    pub fn step(&self) -> bool {
        let mut state = self.state.lock();
        if state.gone || state.dma_stopped {
            return false;
        }
        let sends_first = state.random() & 1 == 0;
        for sends in [sends_first, !sends_first] {
            if if sends { state.send(&self.kernel) } else { state.take_in(&self.kernel) } {
                return true;
            }
        }
        false
    }

    /// The cable is plugged in or out.
    pub fn set_link(&self, up: bool) {
        let mut state = self.state.lock();
        let with = state.get(STATUS) & !status::LU | if up { status::LU } else { 0 };
        state.set(STATUS, with);
        state.raise(&self.kernel, cause::LSC);
    }
}

impl State {
    pub fn random(&mut self) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed >> 11
    }

    pub fn seed(&mut self, seed: u64) {
        self.seed = seed | 1;
    }

    pub fn get(&self, register: u64) -> u32 {
        self.registers[register as usize / 4]
    }

    pub fn set(&mut self, register: u64, value: u32) {
        self.registers[register as usize / 4] = value;
    }

    fn address(&self, low: u64) -> u64 {
        u64::from(self.get(low)) | u64::from(self.get(low + 4)) << 32
    }

    /// Where a ring is, and how many descriptors it has.
    pub fn ring(&self, low: u64) -> (u64, u32) {
        (self.address(low), self.get(low + 8) / 16)
    }

    fn is_82574(&self) -> bool {
        self.device == I82574L
    }

    fn has_several(&self) -> bool {
        self.messages.len() > 1
    }

    fn raise(&mut self, kernel: &TestKernel, causes: u32) {
        let several = self.has_several() && causes & (cause::LSC | ACK) != 0;
        let icr = self.get(ICR) | causes | if several { cause::OTHER } else { 0 };
        self.set(ICR, icr);
        self.interrupt(kernel);
    }

    /// Sends what messages are due (82574 datasheet 7.4).
    fn interrupt(&mut self, kernel: &TestKernel) {
        if !self.is_82574() || self.messages.is_empty() {
            assert_eq!(self.get(IMS), 0, "a card that is polled has nothing to tell");
            return;
        }
        let pending = self.get(ICR) & self.get(IMS);
        self.told &= pending;
        let due = pending & !self.told;
        if !self.has_several() {
            if due != 0 {
                self.told = pending;
                self.message(kernel, 0);
            }
            return;
        }
        for (bit, shift) in [(cause::RXQ0, 0), (cause::TXQ0, 8), (cause::OTHER, 16)] {
            let route = self.get(IVAR) >> shift & 0xf;
            if due & bit == 0 || route & 8 == 0 {
                continue;
            }
            self.told |= bit;
            if self.get(EIAC) & bit != 0 {
                self.set(ICR, self.get(ICR) & !bit);
                self.set(IMS, self.get(IMS) & !bit);
                self.told &= !bit;
            }
            self.message(kernel, route as usize & 7);
        }
    }

    fn message(&mut self, kernel: &TestKernel, vector: usize) {
        self.messages_sent += 1;
        if let Some(message) = self.messages[vector] {
            kernel.take_message(message);
        }
    }

    fn read(&mut self, register: u64) -> u32 {
        if self.gone {
            return u32::MAX;
        }
        let value = self.get(register);
        match register {
            ICR => {
                let automatic = self.get(CTRL_EXT) & ctrl_ext::IAME != 0 && value & self.get(IMS) != 0;
                if automatic {
                    self.set(IMS, self.get(IMS) & !self.get(IAM));
                }
                if automatic || !self.is_82574() || self.get(IMS) == 0 {
                    self.set(ICR, 0);
                    self.told = 0;
                }
            }
            CRCERRS..=MPC => self.set(register, 0),
            STATUS if self.get(CTRL) & ctrl::GIO_MASTER_DISABLE == 0 => {
                return value | status::GIO_MASTER_ENABLE;
            }
            EECD => return 1 << 9,
            _ => {}
        }
        value
    }

    fn write(&mut self, kernel: &TestKernel, register: u64, value: u32) {
        if self.gone {
            return;
        }
        match register {
            CTRL if value & ctrl::RST != 0 => self.reset(value),
            ICR => self.set(ICR, self.get(ICR) & !value),
            IMS => self.set(IMS, self.get(IMS) | value),
            IMC => self.set(IMS, self.get(IMS) & !value),
            EERD => self.read_eeprom(value),
            TDT | RDT => {
                let (_, entries) = self.ring(if register == TDT { TDBAL } else { RDBAL });
                assert!(value == 0 || value < entries, "a tail of {value} in {entries}");
                self.tails += u32::from(register == TDT && value != 0);
                self.set(register, value);
            }
            _ => self.set(register, value),
        }
        if matches!(register, ICR | IMS) {
            self.interrupt(kernel);
        }
    }

    fn reset(&mut self, control: u32) {
        self.resets += 1;
        if self.reset_hangs {
            self.set(CTRL, control);
            return;
        }
        let link = self.get(STATUS);
        self.registers.fill(0);
        self.set(STATUS, link);
        (self.told, self.partly, self.sending) = (0, None, transmit::Sending::default());
        if self.loads_address {
            let [a, b, c] = self.eeprom.map(u32::from);
            self.set(RAL, a | b << 16);
            self.set(RAH, c | 1 << 31);
        }
    }

    fn read_eeprom(&mut self, command: u32) {
        let (done, shift) = if self.is_82574() { (1 << 1, 2) } else { (1 << 4, 8) };
        let word = self.eeprom[(command >> shift & 0x3f) as usize];
        let done = if self.eeprom_hangs { 0 } else { done };
        self.set(EERD, u32::from(word) << 16 | done);
    }
}

impl Registers for ModelRegisters {
    fn bytes(&self) -> u64 {
        self.0.state.lock().registers.len() as u64 * 4
    }

    fn read8(&self, offset: u64) -> u8 {
        panic!("8 bits at {offset:#x}")
    }

    fn read16(&self, offset: u64) -> u16 {
        panic!("16 bits at {offset:#x}")
    }

    fn read32(&self, offset: u64) -> u32 {
        self.0.state.lock().read(offset)
    }

    fn read64(&self, offset: u64) -> u64 {
        panic!("64 bits at {offset:#x}")
    }

    fn write8(&self, offset: u64, _value: u8) {
        panic!("8 bits at {offset:#x}")
    }

    fn write16(&self, offset: u64, _value: u16) {
        panic!("16 bits at {offset:#x}")
    }

    fn write32(&self, offset: u64, value: u32) {
        self.0.state.lock().write(&self.0.kernel, offset, value);
    }

    fn write64(&self, offset: u64, _value: u64) {
        panic!("64 bits at {offset:#x}")
    }
}

fn descriptor(kernel: &TestKernel, address: u64) -> [u64; 2] {
    let mut bytes = [0; 16];
    kernel.device_read(mm::Hpa::new(address), &mut bytes);
    let words = bytes.as_chunks::<8>().0;
    [u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1])]
}
