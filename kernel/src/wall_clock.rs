//! The time of day, read from the machine's RTC once at boot and carried on by the TSC from there.
//!
//! The RTC is taken to run on UTC (as UEFI and Linux have it by default).
#![allow(unsafe_code)] // CMOS ports

use crate::cpu::port::Port;
use crate::time;
use core::sync::atomic::{AtomicU64, Ordering};
use vmm::platform::calendar::DateTime;

const INDEX: Port = Port(0x70);
const DATA: Port = Port(0x71);

/// CMOS registers (MC146818 data sheet).
mod register {
    pub const SECOND: u8 = 0;
    pub const MINUTE: u8 = 2;
    pub const HOUR: u8 = 4;
    pub const DAY: u8 = 7;
    pub const MONTH: u8 = 8;
    pub const YEAR: u8 = 9;
    pub const STATUS_A: u8 = 0x0a;
    pub const STATUS_B: u8 = 0x0b;
}

const UPDATE_IN_PROGRESS: u8 = 1 << 7;
const BINARY: u8 = 1 << 2;
const HOURS_24: u8 = 1 << 1;
const AFTERNOON: u8 = 1 << 7;

/// Longest wait for an update of the RTC to end; the data sheet says 2 ms.
const UPDATE_NS: u64 = 10_000_000;

/// Nanoseconds from 1970 to time 0 of the kernel's clock.
static AT_ZERO: AtomicU64 = AtomicU64::new(0);

/// Reads the RTC. The kernel's clock runs.
pub fn start() {
    let seconds = read().to_unix();
    let since_zero = time::now().0;
    AT_ZERO.store((seconds * 1_000_000_000).saturating_sub(since_zero), Ordering::Relaxed);
}

/// Nanoseconds from 1970-01-01 00:00 UTC to time 0 of the kernel's clock.
pub fn at_zero() -> u64 {
    AT_ZERO.load(Ordering::Relaxed)
}

fn cmos(register: u8) -> u8 {
    // SAFETY: the index port selects a byte of the RTC, the data port reads it; neither touches memory.
    unsafe {
        INDEX.write_u8(register);
        DATA.read_u8()
    }
}

/// The date, read twice until both are the same: an update may come in between.
fn read() -> DateTime {
    let mut last = read_once();
    for _ in 0..4 {
        let again = read_once();
        if again == last {
            break;
        }
        last = again;
    }
    last
}

fn read_once() -> DateTime {
    let start = time::now().0;
    while cmos(register::STATUS_A) & UPDATE_IN_PROGRESS != 0 && time::now().0 - start < UPDATE_NS {
        core::hint::spin_loop();
    }
    let mode = cmos(register::STATUS_B);
    let number = |raw: u8| if mode & BINARY != 0 { raw } else { (raw & 0xf) + (raw >> 4) * 10 };
    let raw_hour = cmos(register::HOUR);
    let mut hour = number(raw_hour & !AFTERNOON);
    if mode & HOURS_24 == 0 {
        hour = hour % 12 + if raw_hour & AFTERNOON != 0 { 12 } else { 0 };
    }
    DateTime {
        // The century's register differs between machines; no machine of before 2000 runs this.
        year: 2000 + u16::from(number(cmos(register::YEAR))),
        month: number(cmos(register::MONTH)),
        day: number(cmos(register::DAY)),
        hour,
        minute: number(cmos(register::MINUTE)),
        second: number(cmos(register::SECOND)),
    }
}
