//! The card's registers in order: reset, what it is set up to, its address.
use super::chip::Chip;
use super::error::E1000Error;
use super::registers::*;
use super::{receive, transmit};
use crate::Kernel;
use crate::request::wait::{pause, until};
use core::time::Duration;
use mm::Hpa;
use net::frame::Mac;
use net::nic::Link;

/// Longest that a reset takes, and that the bus takes for what is under way.
const RESET: Duration = Duration::from_millis(100);
/// Until the card has read its EEPROM after a reset (SDM 14.3).
const RELOAD: Duration = Duration::from_millis(5);
/// Longest that the EEPROM takes for a word.
const WORD: Duration = Duration::from_millis(10);

/// EECD: the EEPROM was read after a reset (datasheet 10.2.2.3).
const AUTO_READ_DONE: u32 = 1 << 9;
/// EERD: read.
const START: u32 = 1;
/// RAH: the address is valid.
const VALID: u32 = 1 << 31;

/// RXCSUM: of IP, and of TCP and UDP (SDM 13.4.31).
const CHECKSUMS: u32 = 1 << 8 | 1 << 9;
/// RFCTL: no look into iSCSI and NFS, and none at IPv6's extension headers, malformed ones of which hang the chip; and no
/// message for each acknowledgement of TCP (datasheet 10.2.5.15).
const NO_PARSING: u32 = 1 << 0 | 1 << 6 | 1 << 7 | 1 << 12 | 1 << 16 | 1 << 17;
/// TXDCTL: what was sent is reported at once: GRAN, WTHRESH 1 (SDM 13.4.40); and a bit that the 82574 needs.
const REPORT: u32 = 1 << 24 | 1 << 16;
const COUNT_DESCRIPTORS: u32 = 1 << 22;
/// TIPG for copper (SDM 13.4.34).
const GAPS: u32 = 10 | 8 << 10 | 6 << 20;

/// Resets the card: it does no DMA and sends no message then, and knows no memory.
pub(super) async fn reset(kernel: &dyn Kernel, chip: Chip, window: &Window) -> Result<(), E1000Error> {
    if !window.is_present() {
        return Err(E1000Error::Gone);
    }
    window.write(IMC, cause::ALL);
    window.write(RCTL, 0);
    window.write(TCTL, tctl::PSP);
    let control = window.read(CTRL);
    if chip == Chip::I82574 {
        // What it has asked the bus for is to come before the reset (datasheet 5.2.4.3); with or without that, it is reset.
        window.write(CTRL, control | ctrl::GIO_MASTER_DISABLE);
        until(kernel, RESET, || window.read(STATUS) & status::GIO_MASTER_ENABLE == 0).await;
    } else {
        pause(kernel, RELOAD).await;
    }
    window.write(CTRL, control | ctrl::RST);
    pause(kernel, Duration::from_millis(1)).await;
    if !until(kernel, RESET, || window.read(CTRL) & ctrl::RST == 0).await {
        return Err(if window.is_present() { E1000Error::HungReset } else { E1000Error::Gone });
    }
    if chip == Chip::I82574 {
        // One without an EEPROM never says so.
        until(kernel, RESET, || window.read(EECD) & AUTO_READ_DONE != 0).await;
    } else {
        pause(kernel, RELOAD).await;
    }
    window.write(IMC, cause::ALL);
    window.read(ICR);
    if window.is_present() { Ok(()) } else { Err(E1000Error::Gone) }
}

/// The card's own address, after a reset: as it has loaded it, or from its EEPROM.
pub(super) async fn address(kernel: &dyn Kernel, chip: Chip, window: &Window) -> Result<Mac, E1000Error> {
    let (low, high) = (window.read(RAL), window.read(RAH));
    let ([a, b, c, d], [e, f, ..]) = (low.to_le_bytes(), high.to_le_bytes());
    let mac = Mac([a, b, c, d, e, f]);
    if high & VALID != 0 && mac.is_station() {
        return Ok(mac);
    }
    let mut bytes = [0; 6];
    let (done, shift) = chip.eeprom();
    for (word, pair) in bytes.as_chunks_mut::<2>().0.iter_mut().enumerate() {
        window.write(EERD, (word as u32) << shift | START);
        if !until(kernel, WORD, || window.read(EERD) & done != 0).await {
            return Err(E1000Error::NoAddress);
        }
        *pair = ((window.read(EERD) >> 16) as u16).to_le_bytes();
    }
    Some(Mac(bytes)).filter(|mac| mac.is_station()).ok_or(E1000Error::NoAddress)
}

/// Sets a card up that was reset, all but what it receives and its messages.
pub(super) fn set_up(chip: Chip, window: &Window, mac: Mac, transmit: Hpa, receive: Hpa) {
    use ctrl::*;
    let not = GIO_MASTER_DISABLE | LRST | ILOS | FRCSPD | FRCDPLX | RST | RFCE | TFCE | VME | PHY_RST;
    let detect = if chip == Chip::I8254x { ASDE } else { 0 };
    window.write(CTRL, window.read(CTRL) & !not | SLU | detect);
    let [a, b, c, d, e, f] = mac.0;
    window.write(RAL, u32::from_le_bytes([a, b, c, d]));
    window.write(RAH, u32::from_le_bytes([e, f, 0, 0]) | VALID);
    (0..128).for_each(|word| window.write(MTA + word * 4, 0));
    window.write_address([TDBAL, TDBAH], transmit.get());
    window.write(TDLEN, transmit::BYTES as u32);
    [TDH, TDT, TIDV, TADV].into_iter().for_each(|register| window.write(register, 0));
    window.write_address([RDBAL, RDBAH], receive.get());
    window.write(RDLEN, receive::BYTES as u32);
    [RDH, RDT, RDTR, RADV].into_iter().for_each(|register| window.write(register, 0));
    window.write(RXCSUM, CHECKSUMS);
    let control = tctl::EN | tctl::PSP | tctl::COLLISIONS | tctl::RTLC;
    match chip {
        Chip::I8254x => {
            window.write(TIPG, GAPS);
            window.write(TXDCTL, REPORT);
            window.write(TCTL, control);
        }
        Chip::I82574 => {
            window.write(RFCTL, NO_PARSING);
            window.write(MRQC, 0);
            window.write(TXDCTL, REPORT | COUNT_DESCRIPTORS);
            window.write(TCTL, control | tctl::MULR);
        }
    }
}

/// What the card's status says of its link.
pub(super) fn link(state: u32) -> Link {
    if state & status::LU == 0 || state == u32::MAX {
        return Link::default();
    }
    let megabits = match state >> status::SPEED & 3 {
        0 => 10,
        1 => 100,
        _ => 1000,
    };
    Link { up: true, megabits, full_duplex: state & status::FD != 0 }
}
