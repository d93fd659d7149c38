//! The ends that a machine has.
use crate::instructions::{cli, hlt, outb, outw};

const PM1A_CONTROL: u16 = 0x604;
const SLP_EN: u16 = 1 << 13;

/// Power-off by ACPI (ACPI 6.5, 4.8.3.2.1). S5's type is 5 in PureVisor's virtual PC, and 0 in QEMU's.
pub fn off() -> ! {
    for sleep_type in [5, 0] {
        outw(PM1A_CONTROL, sleep_type << 10 | SLP_EN);
    }
    halt()
}

/// Reset by the reset control register.
pub fn reset() -> ! {
    outb(0xcf9, 6);
    halt()
}

/// Halts with interrupts off.
pub fn halt() -> ! {
    loop {
        cli();
        hlt();
    }
}
