//! The address map of the virtual PC: every port, MMIO address and interrupt number, once.
//!
//! The devices decode these numbers and the ACPI tables describe them to the guest; both take them from
//! here, so they can't disagree.
//!
//! | guest-physical | what |
//! |---|---|
//! | `0 .. 0xC000_0000` at most | RAM ([`crate::memory::Layout`]), without the video window |
//! | `0xC000_0000 .. 0xE000_0000` | PCI memory window |
//! | `0xE000_0000 .. 0xF000_0000` | PCI Express configuration space (ECAM), buses 0 to 255 |
//! | `0xF000_0000 .. 0xFEC0_0000` | PCI memory window |
//! | `0xFEC0_0000` | IOAPIC |
//! | `0xFEE0_0000` | local APICs; as the address of a DMA write: MSI |
//! | 4 GiB and up | the rest of the RAM |
use core::ops::{Range, RangeInclusive};

/// Registers of the IOAPIC, one 4 KiB page.
pub const IOAPIC_BASE: u64 = 0xfec0_0000;
/// Registers of the local APIC at power-on, one 4 KiB page.
pub const LOCAL_APIC_BASE: u64 = 0xfee0_0000;
/// PCI Express configuration space: 4 KiB a function, 1 MiB a bus.
pub const ECAM: Range<u64> = 0xe000_0000..0xf000_0000;
/// Last bus that [`ECAM`] has room for; the first is 0.
pub const ECAM_LAST_BUS: u8 = 255;
/// Memory windows of the PCI host bridge below 4 GiB.
pub const PCI_WINDOWS: [Range<u64>; 2] = [0xc000_0000..0xe000_0000, 0xf000_0000..0xfec0_0000];
/// I/O ports that the PCI host bridge hands on to devices.
pub const PCI_PORTS: RangeInclusive<u16> = 0x1000..=0xffff;

/// Master and slave 8259: command, data.
pub const PIC_MASTER: u16 = 0x20;
/// Slave 8259.
pub const PIC_SLAVE: u16 = 0xa0;
/// Edge/level control registers of the two 8259.
pub const PIC_ELCR: u16 = 0x4d0;
/// 8254: three counters and the control word.
pub const PIT: u16 = 0x40;
/// Port B: gate and output of PIT counter 2, refresh toggle.
pub const PORT_B: u16 = 0x61;
/// Keyboard controller: data.
pub const KEYBOARD_DATA: u16 = 0x60;
/// Keyboard controller: status, command.
pub const KEYBOARD_COMMAND: u16 = 0x64;
/// RTC and CMOS RAM: index; data at the next port.
pub const RTC: u16 = 0x70;
/// POST codes: written bytes are dropped.
pub const POST: u16 = 0x80;
/// Port A: fast A20 and fast reset.
pub const PORT_A: u16 = 0x92;
/// The 16550A UART, eight ports.
pub const COM1: u16 = 0x3f8;
/// PCI configuration mechanism #1: address.
pub const PCI_ADDRESS: u16 = 0xcf8;
/// PCI configuration mechanism #1: data.
pub const PCI_DATA: u16 = 0xcfc;

/// Reset control register, FADT RESET_REG.
pub const RESET: u16 = 0xcf9;
/// Value that resets the machine, FADT RESET_VALUE.
pub const RESET_VALUE: u8 = 0x06;

/// PM1a event block: status (2 bytes), enable (2 bytes). FADT PM1a_EVT_BLK.
pub const PM1A_EVENT: u16 = 0x600;
/// Bytes of [`PM1A_EVENT`].
pub const PM1A_EVENT_LEN: u8 = 4;
/// PM1a control register, 2 bytes. FADT PM1a_CNT_BLK.
pub const PM1A_CONTROL: u16 = 0x604;
/// Bytes of [`PM1A_CONTROL`].
pub const PM1A_CONTROL_LEN: u8 = 2;
/// Power management timer, 32 bits wide (FADT flag TMR_VAL_EXT). FADT PM_TMR_BLK.
pub const PM_TIMER: u16 = 0x608;
/// Bytes of [`PM_TIMER`].
pub const PM_TIMER_LEN: u8 = 4;
/// General purpose events: status (2 bytes), enable (2 bytes). FADT GPE0_BLK.
pub const GPE0: u16 = 0x620;
/// Bytes of [`GPE0`].
pub const GPE0_LEN: u8 = 4;
/// First and last port that ACPI describes as the power management's.
pub const PM_PORTS: RangeInclusive<u16> = 0x600..=0x63f;
/// SLP_TYP of state S5 (soft off): the `\_S5` package's first element. No other sleep state exists.
pub const SLP_TYP_S5: u8 = 5;

/// Interrupt of the system control events, level-triggered, active high (an override in the MADT).
pub const SCI_IRQ: u8 = 9;
/// ISA interrupt of PIT counter 0.
pub const PIT_IRQ: u8 = 0;
/// IOAPIC pin of PIT counter 0 (an override in the MADT); all other ISA interrupts keep their number.
pub const PIT_GSI: u8 = 2;
/// ISA interrupt of COM1.
pub const COM1_IRQ: u8 = 4;
/// ISA interrupt of the RTC.
pub const RTC_IRQ: u8 = 8;

/// ID of the IOAPIC in the MADT. Not one of a local APIC's, of which there are at most 16.
pub const IOAPIC_ID: u8 = 0x20;
/// Pins of the IOAPIC; its first is GSI 0.
pub const IOAPIC_PINS: u8 = 24;
/// Offset in CMOS RAM of the century, FADT CENTURY.
pub const CMOS_CENTURY: u8 = 0x32;
/// Most vCPUs of a VM. Their APIC IDs are 0, 1, 2 and so on.
pub const MAX_VCPUS: usize = 16;

/// First of the eight IOAPIC pins that PCI devices share.
pub const FIRST_PCI_GSI: u8 = 16;

/// IOAPIC pin of a PCI interrupt pin (0 for INTA# to 3 for INTD#) of a device on bus 0.
pub const fn intx_gsi(device: u8, pin: u8) -> u8 {
    FIRST_PCI_GSI + (device.wrapping_add(pin) & 7)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Layout;

    #[test]
    fn the_windows_fill_the_hole_without_overlap() {
        assert_eq!(PCI_WINDOWS[0].start, Layout::HOLE);
        assert_eq!(PCI_WINDOWS[0].end, ECAM.start);
        assert_eq!(ECAM.end, PCI_WINDOWS[1].start);
        assert_eq!(PCI_WINDOWS[1].end, IOAPIC_BASE);
        assert_eq!(ECAM.end - ECAM.start, (u64::from(ECAM_LAST_BUS) + 1) << 20);
        const { assert!(IOAPIC_BASE < LOCAL_APIC_BASE && LOCAL_APIC_BASE < Layout::HIGH) };
    }

    #[test]
    fn pci_interrupts_use_pins_that_no_isa_device_has() {
        for device in 0..32 {
            for pin in 0..4 {
                assert!((16..IOAPIC_PINS).contains(&intx_gsi(device, pin)));
            }
        }
    }
}
