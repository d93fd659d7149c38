//! Registers (SDM 13; 82574 datasheet 10.2), by their names there.
use crate::Registers;
use alloc::boxed::Box;
use core::sync::atomic::{AtomicBool, Ordering};

pub(super) const CTRL: u64 = 0x0000;
pub(super) const STATUS: u64 = 0x0008;
pub(super) const EECD: u64 = 0x0010;
pub(super) const EERD: u64 = 0x0014;
pub(super) const CTRL_EXT: u64 = 0x0018;
pub(super) const ICR: u64 = 0x00c0;
pub(super) const ITR: u64 = 0x00c4;
pub(super) const IMS: u64 = 0x00d0;
pub(super) const IMC: u64 = 0x00d8;
pub(super) const EIAC: u64 = 0x00dc;
pub(super) const IAM: u64 = 0x00e0;
pub(super) const IVAR: u64 = 0x00e4;
/// That of message 0; the next follow.
pub(super) const EITR: u64 = 0x00e8;
pub(super) const RCTL: u64 = 0x0100;
pub(super) const TCTL: u64 = 0x0400;
pub(super) const TIPG: u64 = 0x0410;
pub(super) const RDBAL: u64 = 0x2800;
pub(super) const RDBAH: u64 = 0x2804;
pub(super) const RDLEN: u64 = 0x2808;
pub(super) const RDH: u64 = 0x2810;
pub(super) const RDT: u64 = 0x2818;
pub(super) const RDTR: u64 = 0x2820;
pub(super) const RADV: u64 = 0x282c;
pub(super) const TDBAL: u64 = 0x3800;
pub(super) const TDBAH: u64 = 0x3804;
pub(super) const TDLEN: u64 = 0x3808;
pub(super) const TDH: u64 = 0x3810;
pub(super) const TDT: u64 = 0x3818;
pub(super) const TIDV: u64 = 0x3820;
pub(super) const TXDCTL: u64 = 0x3828;
pub(super) const TADV: u64 = 0x382c;
pub(super) const CRCERRS: u64 = 0x4000;
pub(super) const RXERRC: u64 = 0x400c;
pub(super) const MPC: u64 = 0x4010;
pub(super) const RXCSUM: u64 = 0x5000;
pub(super) const RFCTL: u64 = 0x5008;
/// 128 words.
pub(super) const MTA: u64 = 0x5200;
pub(super) const RAL: u64 = 0x5400;
pub(super) const RAH: u64 = 0x5404;
pub(super) const MRQC: u64 = 0x5818;

/// Bytes of the window that are needed.
pub(super) const BYTES: u64 = 0x6000;

/// Device control (SDM 13.4.1).
pub(super) mod ctrl {
    pub const GIO_MASTER_DISABLE: u32 = 1 << 2;
    pub const LRST: u32 = 1 << 3;
    pub const ASDE: u32 = 1 << 5;
    pub const SLU: u32 = 1 << 6;
    pub const ILOS: u32 = 1 << 7;
    pub const FRCSPD: u32 = 1 << 11;
    pub const FRCDPLX: u32 = 1 << 12;
    pub const RST: u32 = 1 << 26;
    pub const RFCE: u32 = 1 << 27;
    pub const TFCE: u32 = 1 << 28;
    pub const VME: u32 = 1 << 30;
    pub const PHY_RST: u32 = 1 << 31;
}

/// Device status (SDM 13.4.2).
pub(super) mod status {
    pub const FD: u32 = 1 << 0;
    pub const LU: u32 = 1 << 1;
    pub const GIO_MASTER_ENABLE: u32 = 1 << 19;
    /// Where the speed lies, of two bits.
    pub const SPEED: u32 = 6;
}

/// Extended device control (datasheet 10.2.2.5).
pub(super) mod ctrl_ext {
    pub const IAME: u32 = 1 << 27;
    pub const DRV_LOAD: u32 = 1 << 28;
    pub const PBA_CLR: u32 = 1 << 31;
}

/// Causes of interrupts: ICR, IMS, IMC (SDM 13.4.17; datasheet 10.2.4.1).
pub(super) mod cause {
    pub const TXDW: u32 = 1 << 0;
    pub const LSC: u32 = 1 << 2;
    pub const RXDMT0: u32 = 1 << 4;
    pub const RXO: u32 = 1 << 6;
    pub const RXT0: u32 = 1 << 7;
    pub const RXQ0: u32 = 1 << 20;
    pub const TXQ0: u32 = 1 << 22;
    pub const OTHER: u32 = 1 << 24;
    pub const ALL: u32 = u32::MAX;
}

/// Receive control (SDM 13.4.22).
pub(super) mod rctl {
    pub const EN: u32 = 1 << 1;
    pub const UPE: u32 = 1 << 3;
    pub const MPE: u32 = 1 << 4;
    pub const LPE: u32 = 1 << 5;
    pub const BAM: u32 = 1 << 15;
    /// Buffers of 4096 bytes: BSIZE 11b with BSEX.
    pub const BSIZE_4096: u32 = 3 << 16 | 1 << 25;
    pub const SECRC: u32 = 1 << 26;
}

/// Transmit control (SDM 13.4.33).
pub(super) mod tctl {
    pub const EN: u32 = 1 << 1;
    pub const PSP: u32 = 1 << 3;
    /// Collision threshold and distance, at what the manual says for full duplex.
    pub const COLLISIONS: u32 = 0x0f << 4 | 0x40 << 12;
    pub const RTLC: u32 = 1 << 24;
    /// Several requests for data at a time; 82574 only.
    pub const MULR: u32 = 1 << 28;
}

/// A card's registers.
pub(super) struct Window {
    registers: Box<dyn Registers>,
    /// Nobody answers any more, whatever may be at its place.
    closed: AtomicBool,
}

impl Window {
    /// `None` where it is too small.
    pub fn new(registers: Box<dyn Registers>) -> Option<Self> {
        (registers.bytes() >= BYTES).then(|| Self { registers, closed: AtomicBool::new(false) })
    }

    /// The card is gone: it is not touched any more.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// All ones where nobody answers.
    #[inline]
    pub fn read(&self, register: u64) -> u32 {
        if self.closed.load(Ordering::Relaxed) { u32::MAX } else { self.registers.read32(register) }
    }

    #[inline]
    pub fn write(&self, register: u64, value: u32) {
        if !self.closed.load(Ordering::Relaxed) {
            self.registers.write32(register, value);
        }
    }

    /// Writes a 64-bit address into two registers.
    pub fn write_address(&self, [low, high]: [u64; 2], address: u64) {
        self.write(low, address as u32);
        self.write(high, (address >> 32) as u32);
    }

    /// Whether somebody answers: no card has all ones as its status.
    pub fn is_present(&self) -> bool {
        self.read(STATUS) != u32::MAX
    }
}
