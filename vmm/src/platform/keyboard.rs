//! An 8042 keyboard controller with nothing plugged in.
//!
//! The FADT says that there is none, so Linux does not look. Older kernels and boot loaders find one
//! that answers all commands at once and no keyboard behind it; and its line to the processor's reset
//! pin works, which is how many of them reboot.

mod status {
    pub const OUTPUT_FULL: u8 = 1 << 0;
    pub const SELF_TEST_PASSED: u8 = 1 << 2;
    pub const LAST_WAS_COMMAND: u8 = 1 << 3;
    pub const NOT_LOCKED: u8 = 1 << 4;
    pub const AUXILIARY: u8 = 1 << 5;
    pub const TIME_OUT: u8 = 1 << 6;
}

/// Output port: A20 open, reset line high (inactive).
const OUTPUT_PORT: u8 = 0x03;
/// What the controller hands over when a device does not answer.
const RESEND: u8 = 0xfe;

/// What the next byte to the data port is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Expect {
    #[default]
    Keyboard,
    Auxiliary,
    CommandByte,
    OutputPort,
    /// For the auxiliary or keyboard output buffer: it comes back.
    Loop {
        auxiliary: bool,
    },
}

/// The controller.
#[derive(Clone, Debug, Default)]
pub struct KeyboardController {
    expect: Expect,
    command_byte: u8,
    output: u8,
    status: u8,
}

impl KeyboardController {
    /// In its reset state.
    pub fn new() -> Self {
        Self { status: status::SELF_TEST_PASSED | status::NOT_LOCKED, ..Self::default() }
    }

    /// Reads the status port.
    pub fn read_status(&self) -> u8 {
        self.status
    }

    /// Reads the data port.
    pub fn read_data(&mut self) -> u8 {
        self.status &= !(status::OUTPUT_FULL | status::AUXILIARY | status::TIME_OUT);
        self.output
    }

    fn answer(&mut self, value: u8, more: u8) {
        self.output = value;
        self.status = self.status & !(status::AUXILIARY | status::TIME_OUT) | status::OUTPUT_FULL | more;
    }

    /// Writes the command port. `true` where that resets the processor.
    pub fn write_command(&mut self, value: u8) -> bool {
        self.status |= status::LAST_WAS_COMMAND;
        self.expect = Expect::Keyboard;
        match value {
            0x20 => self.answer(self.command_byte, 0),
            0x60 => self.expect = Expect::CommandByte,
            // Test of the auxiliary port, of the keyboard port: clock line stuck low.
            0xa9 | 0xab => self.answer(0x01, 0),
            0xaa => self.answer(0x55, 0),
            0xd0 => self.answer(OUTPUT_PORT, 0),
            0xd1 => self.expect = Expect::OutputPort,
            0xd2 => self.expect = Expect::Loop { auxiliary: false },
            0xd3 => self.expect = Expect::Loop { auxiliary: true },
            0xd4 => self.expect = Expect::Auxiliary,
            // Pulses output lines for which the bit is 0; line 0 is the processor's reset.
            0xf0..=0xff => return value & 1 == 0,
            // Enabling and disabling of ports that have nothing behind them, and unknown commands.
            _ => {}
        }
        false
    }

    /// Writes the data port. `true` where that resets the processor.
    pub fn write_data(&mut self, value: u8) -> bool {
        self.status &= !status::LAST_WAS_COMMAND;
        match core::mem::take(&mut self.expect) {
            Expect::CommandByte => self.command_byte = value,
            Expect::OutputPort => return value & 1 == 0,
            Expect::Loop { auxiliary } => {
                self.answer(value, if auxiliary { status::AUXILIARY } else { 0 });
            }
            Expect::Keyboard => self.answer(RESEND, status::TIME_OUT),
            Expect::Auxiliary => self.answer(RESEND, status::TIME_OUT | status::AUXILIARY),
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reset_command_resets_and_no_other_pulse_does() {
        let mut keyboard = KeyboardController::new();
        assert!(keyboard.write_command(0xfe));
        assert!(!keyboard.write_command(0xff));
        assert!(!keyboard.write_command(0xfd));
        keyboard.write_command(0xd1);
        assert!(keyboard.write_data(0xfe));
    }

    #[test]
    fn the_controller_passes_its_self_test() {
        let mut keyboard = KeyboardController::new();
        keyboard.write_command(0xaa);
        assert_eq!(keyboard.read_status() & 1, 1);
        assert_eq!(keyboard.read_data(), 0x55);
        assert_eq!(keyboard.read_status() & 1, 0);
    }

    #[test]
    fn the_input_buffer_is_never_full_so_that_no_kernel_waits_for_it() {
        let mut keyboard = KeyboardController::new();
        for value in 0..=255 {
            keyboard.write_command(value);
            assert_eq!(keyboard.read_status() & 2, 0);
            keyboard.write_data(value);
            assert_eq!(keyboard.read_status() & 2, 0);
        }
    }

    #[test]
    fn a_byte_for_the_keyboard_is_answered_by_a_time_out() {
        let mut keyboard = KeyboardController::new();
        keyboard.write_data(0xf2);
        assert_eq!(keyboard.read_status() & 0x41, 0x41);
        assert_eq!(keyboard.read_data(), RESEND);
    }

    #[test]
    fn the_command_byte_reads_back() {
        let mut keyboard = KeyboardController::new();
        keyboard.write_command(0x60);
        keyboard.write_data(0x47);
        keyboard.write_command(0x20);
        assert_eq!(keyboard.read_data(), 0x47);
    }
}
