//! ACPI power management: PM1a event and control registers, the PM timer, general-purpose events, and
//! the reset control register (ACPI 6.5, 4.8; ICH9 data sheet for 0xCF9).
//!
//! The machine is always in ACPI mode: there is no SMI command port, and SCI_EN reads as 1.
use super::map::SLP_TYP_S5;
use super::rate::Rate;
use crate::time::Nanos;

const TIMER: Rate = Rate(3_579_545);
/// The timer's most significant bit: TMR_STS is set whenever it changes.
const TIMER_MSB: u32 = 31;

/// PM1 status and enable bits.
mod pm1 {
    pub const TIMER: u16 = 1 << 0;
    pub const GLOBAL: u16 = 1 << 5;
    pub const POWER_BUTTON: u16 = 1 << 8;
    pub const SLEEP_BUTTON: u16 = 1 << 9;
    pub const RTC: u16 = 1 << 10;
    pub const ENABLE: u16 = TIMER | GLOBAL | POWER_BUTTON | SLEEP_BUTTON | RTC;
}

/// PM1 control bits.
mod control {
    pub const SCI_ENABLED: u16 = 1 << 0;
    pub const SLEEP_TYPE_SHIFT: u16 = 10;
    pub const SLEEP: u16 = 1 << 13;
    /// BM_RLD and the sleep type.
    pub const WRITABLE: u16 = 1 << 1 | 7 << SLEEP_TYPE_SHIFT;
}

/// The reset control register: a processor reset happens as bit 2 rises.
const RESET_CPU: u8 = 1 << 2;
const RESET_WRITABLE: u8 = 0x0e;

/// The power management registers.
#[derive(Clone, Debug, Default)]
pub struct PowerManagement {
    status: u16,
    enable: u16,
    control: u16,
    gpe_enable: u16,
    reset: u8,
    /// Half periods of the timer up to which TMR_STS is computed.
    halves: u64,
}

impl PowerManagement {
    /// In power-on state.
    pub fn new(now: Nanos) -> Self {
        Self { halves: TIMER.ticks(now) >> TIMER_MSB, ..Self::default() }
    }

    /// The PM timer, 32 bits.
    #[inline]
    pub fn timer(now: Nanos) -> u32 {
        TIMER.ticks(now) as u32
    }

    /// Reads a byte of the block of event, control and GPE registers, by offset from its first port.
    pub fn read(&mut self, offset: u16, now: Nanos) -> u8 {
        self.expire(now);
        let byte = |value: u16| value.to_le_bytes()[usize::from(offset & 1)];
        match offset {
            0x00 | 0x01 => byte(self.status),
            0x02 | 0x03 => byte(self.enable),
            0x04 | 0x05 => byte(self.control | control::SCI_ENABLED),
            0x08..=0x0b => Self::timer(now).to_le_bytes()[usize::from(offset & 3)],
            // No device raises a general-purpose event, so its status is 0 and can't be cleared.
            0x20 | 0x21 => 0,
            0x22 | 0x23 => byte(self.gpe_enable),
            _ => 0xff,
        }
    }

    /// Writes a byte of the block. `true` where the guest asks for soft off (S5).
    pub fn write(&mut self, offset: u16, value: u8, now: Nanos) -> bool {
        self.expire(now);
        let shift = 8 * (offset & 1);
        let (bits, lane) = (u16::from(value) << shift, 0xff << shift);
        match offset {
            // Status bits are cleared by writing 1.
            0x00 | 0x01 => self.status &= !bits,
            0x02 | 0x03 => self.enable = (self.enable & !lane | bits) & pm1::ENABLE,
            0x04 | 0x05 => {
                self.control = (self.control & !lane | bits) & control::WRITABLE;
                // No other sleep state than S5 exists, so no other type means anything.
                return bits & control::SLEEP != 0
                    && (self.control >> control::SLEEP_TYPE_SHIFT & 7) as u8 == SLP_TYP_S5;
            }
            0x22 | 0x23 => self.gpe_enable = self.gpe_enable & !lane | bits,
            _ => {}
        }
        false
    }

    /// Somebody presses the power button.
    pub fn power_button(&mut self) {
        self.status |= pm1::POWER_BUTTON;
    }

    /// Level of the system control interrupt.
    #[inline]
    pub fn interrupt(&self) -> bool {
        self.status & self.enable != 0
    }

    /// When `expire` has something to do that interrupts.
    pub fn deadline(&self) -> Option<Nanos> {
        (self.enable & !self.status & pm1::TIMER != 0).then(|| TIMER.instant((self.halves + 1) << TIMER_MSB))
    }

    /// Sets TMR_STS if the timer's top bit has changed.
    pub fn expire(&mut self, now: Nanos) {
        let halves = TIMER.ticks(now) >> TIMER_MSB;
        if halves > self.halves {
            self.halves = halves;
            self.status |= pm1::TIMER;
        }
    }

    /// Reads the reset control register.
    pub fn read_reset(&self) -> u8 {
        self.reset
    }

    /// Writes the reset control register. `true` where that resets the machine.
    pub fn write_reset(&mut self, value: u8) -> bool {
        let rises = value & !self.reset & RESET_CPU != 0;
        self.reset = value & RESET_WRITABLE;
        rises
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::map;
    use crate::time::SECOND;

    #[test]
    fn the_offsets_are_those_that_the_acpi_tables_tell() {
        assert_eq!(map::PM1A_CONTROL - map::PM1A_EVENT, 4);
        assert_eq!(map::PM_TIMER - map::PM1A_EVENT, 8);
        assert_eq!(map::GPE0 - map::PM1A_EVENT, 0x20);
    }

    #[test]
    fn the_power_button_interrupts_until_its_status_is_cleared() {
        let mut pm = PowerManagement::new(0);
        pm.write(3, 0x01, 0);
        assert!(!pm.interrupt());
        pm.power_button();
        assert!(pm.interrupt());
        assert_eq!(pm.read(1, 0), 0x01);
        pm.write(1, 0x01, 0);
        assert!(!pm.interrupt());
    }

    #[test]
    fn a_button_that_is_not_enabled_is_only_noted() {
        let mut pm = PowerManagement::new(0);
        pm.power_button();
        assert!(!pm.interrupt());
        pm.write(3, 0x01, 0);
        assert!(pm.interrupt());
    }

    #[test]
    fn only_soft_off_powers_off_and_only_with_the_sleep_bit() {
        let mut pm = PowerManagement::new(0);
        for kind in 0..8u8 {
            assert!(!pm.write(5, kind << 2, 0), "without SLP_EN");
            assert_eq!(pm.write(5, kind << 2 | 0x20, 0), kind == SLP_TYP_S5);
        }
        assert_eq!(pm.read(5, 0) & 0x20, 0, "SLP_EN reads as 0");
        assert_eq!(pm.read(4, 0) & 1, 1, "ACPI is enabled");
    }

    #[test]
    fn the_timer_counts_3_579545_mhz_and_tells_when_its_top_bit_changes() {
        let mut pm = PowerManagement::new(0);
        assert_eq!(PowerManagement::timer(100 * SECOND), 357_954_500);
        pm.write(2, 1, 0);
        let at = pm.deadline().unwrap();
        pm.expire(at - 1);
        assert!(!pm.interrupt());
        pm.expire(at);
        assert!(pm.interrupt());
        assert_eq!(PowerManagement::timer(at), 1 << 31);
        pm.write(0, 1, at);
        assert!(!pm.interrupt() && pm.deadline().is_some_and(|next| next > at));
    }

    #[test]
    fn acpica_enables_and_clears_general_purpose_events() {
        let mut pm = PowerManagement::new(0);
        for offset in 0x20..0x24 {
            pm.write(offset, 0xff, 0);
        }
        assert_eq!([0x20, 0x21, 0x22, 0x23].map(|o| pm.read(o, 0)), [0, 0, 0xff, 0xff]);
        assert!(!pm.interrupt());
        assert_eq!((pm.read(0x06, 0), pm.read(0x3f, 0)), (0xff, 0xff), "nothing there");
    }

    #[test]
    fn the_reset_register_resets_as_its_bit_rises() {
        let mut pm = PowerManagement::new(0);
        assert!(!pm.write_reset(0x02));
        assert!(pm.write_reset(0x06));
        assert!(!pm.write_reset(0x06));
        assert!(!pm.write_reset(0x00));
        assert!(pm.write_reset(map::RESET_VALUE));
    }
}
