//! Fixed ACPI Description Table (ACPI 6.5, 5.2.9) and Firmware ACPI Control Structure (5.2.10).
use super::table::{self, HEADER_BYTES};
use crate::platform::map;
use alloc::vec::Vec;

/// Bytes of a FADT of ACPI 6.
const FADT_BYTES: usize = 276;
/// Bytes of the FACS.
pub(super) const FACS_BYTES: usize = 64;

/// Preferred_PM_Profile: enterprise server.
const PROFILE_SERVER: u8 = 4;

/// IAPC_BOOT_ARCH: there are devices beside those that ACPI describes by itself. Bit 1 is clear: no
/// keyboard controller. Bit 5 is clear: there is a CMOS RTC.
const LEGACY_DEVICES: u16 = 1 << 0;
/// IAPC_BOOT_ARCH: don't look for VGA.
const VGA_NOT_PRESENT: u16 = 1 << 2;
/// IAPC_BOOT_ARCH: leave PCI Express power management alone.
const PCIE_ASPM_CONTROLS: u16 = 1 << 4;

/// Flags: WBINVD works as it should.
const WBINVD: u32 = 1 << 0;
/// Flags: HLT as C1 on all processors.
const PROC_C1: u32 = 1 << 2;
/// Flags: no sleep button among the fixed registers. The power button's bit is clear: it is one of them.
const SLP_BUTTON: u32 = 1 << 5;
/// Flags: the RTC's alarm can't wake by a fixed register.
const FIX_RTC: u32 = 1 << 6;
/// Flags: the power management timer has 32 bits.
const TMR_VAL_EXT: u32 = 1 << 8;
/// Flags: the reset register works.
const RESET_REG_SUP: u32 = 1 << 10;
/// Flags: neither screen nor keyboard.
const HEADLESS: u32 = 1 << 12;

/// A C-state of a higher latency does not exist (ACPI 6.5, table 5.9: P_LVL2_LAT, P_LVL3_LAT).
const NO_C2: u16 = 101;
const NO_C3: u16 = 1001;

/// The FADT. SMI_CMD is zero: the machine is in ACPI mode from the start.
pub(super) fn build(facs: u64, dsdt: u64) -> Vec<u8> {
    let mut fadt = [0u8; FADT_BYTES];
    let mut put = |at: usize, bytes: &[u8]| fadt[at..at + bytes.len()].copy_from_slice(bytes);
    put(36, &(facs as u32).to_le_bytes());
    put(40, &(dsdt as u32).to_le_bytes());
    put(45, &[PROFILE_SERVER]);
    put(46, &u16::from(map::SCI_IRQ).to_le_bytes());
    let port = |port: u16| u32::from(port).to_le_bytes();
    put(56, &port(map::PM1A_EVENT));
    put(64, &port(map::PM1A_CONTROL));
    put(76, &port(map::PM_TIMER));
    put(80, &port(map::GPE0));
    put(88, &[map::PM1A_EVENT_LEN, map::PM1A_CONTROL_LEN, 0, map::PM_TIMER_LEN, map::GPE0_LEN]);
    put(96, &NO_C2.to_le_bytes());
    put(98, &NO_C3.to_le_bytes());
    put(108, &[map::CMOS_CENTURY]);
    put(109, &(LEGACY_DEVICES | VGA_NOT_PRESENT | PCIE_ASPM_CONTROLS).to_le_bytes());
    let flags = WBINVD | PROC_C1 | SLP_BUTTON | FIX_RTC | TMR_VAL_EXT | RESET_REG_SUP | HEADLESS;
    put(112, &flags.to_le_bytes());
    put(116, &io_register(map::RESET, 1, 1));
    put(128, &[map::RESET_VALUE]);
    put(140, &dsdt.to_le_bytes());
    put(148, &io_register(map::PM1A_EVENT, map::PM1A_EVENT_LEN, 2));
    put(172, &io_register(map::PM1A_CONTROL, map::PM1A_CONTROL_LEN, 2));
    put(208, &io_register(map::PM_TIMER, map::PM_TIMER_LEN, 3));
    put(220, &io_register(map::GPE0, map::GPE0_LEN, 1));
    put(268, b"PUREVISR");
    table::build(b"FACP", 6, &fadt[HEADER_BYTES..])
}

/// Generic Address Structure of an I/O port register; `access` is 1 for bytes, 2 for words, 3 for
/// double words (ACPI 6.5, 5.2.3.2).
fn io_register(port: u16, bytes: u8, access: u8) -> [u8; 12] {
    const SYSTEM_IO: u8 = 1;
    let mut gas = [0; 12];
    gas[..4].copy_from_slice(&[SYSTEM_IO, bytes * 8, 0, access]);
    gas[4..6].copy_from_slice(&port.to_le_bytes());
    gas
}

/// The FACS, which holds the global lock.
pub(super) fn facs() -> [u8; FACS_BYTES] {
    let mut facs = [0; FACS_BYTES];
    facs[..4].copy_from_slice(b"FACS");
    facs[4..8].copy_from_slice(&(FACS_BYTES as u32).to_le_bytes());
    facs[32] = 2; // Version
    facs
}
