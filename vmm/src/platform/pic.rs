//! The two 8259A interrupt controllers of a PC, and their edge/level control registers.
//!
//! The slave's output is input 2 of the master, whose output is the pair's. Linux masks them and uses
//! the IOAPIC; older kernels, boot loaders and `noapic` use them.

/// Which chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chip {
    /// IRQ 0 to 7.
    Master,
    /// IRQ 8 to 15.
    Slave,
}

/// What the next write to the data port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    Mask,
    Icw2,
    Icw3,
    Icw4,
}

/// Input of the master that the slave drives.
const CASCADE: u8 = 2;

#[derive(Clone, Debug)]
struct Pic {
    requested: u8,
    in_service: u8,
    mask: u8,
    lines: u8,
    level: u8,
    base: u8,
    /// The input with the highest priority.
    first: u8,
    expect: Expect,
    needs_icw4: bool,
    single: bool,
    auto_eoi: bool,
    rotate_on_auto_eoi: bool,
    special_mask: bool,
    special_fully_nested: bool,
    poll: bool,
    read_in_service: bool,
}

impl Pic {
    const fn new() -> Self {
        Self {
            requested: 0,
            in_service: 0,
            mask: 0xff,
            lines: 0,
            level: 0,
            base: 0,
            first: 0,
            expect: Expect::Mask,
            needs_icw4: false,
            single: false,
            auto_eoi: false,
            rotate_on_auto_eoi: false,
            special_mask: false,
            special_fully_nested: false,
            poll: false,
            read_in_service: false,
        }
    }

    /// Rank of the most urgent input in a set, 0 for the first; 8 for the empty set.
    fn rank(&self, set: u8) -> u8 {
        set.rotate_right(u32::from(self.first)).trailing_zeros() as u8
    }

    fn input_of(&self, rank: u8) -> u8 {
        (rank + self.first) & 7
    }

    /// The input that interrupts now.
    fn pending(&self) -> Option<u8> {
        let rank = self.rank(self.requested & !self.mask);
        if rank == 8 {
            return None;
        }
        let mut served = self.in_service;
        if self.special_mask {
            served &= !self.mask;
        }
        if self.special_fully_nested {
            served &= !(1 << CASCADE);
        }
        (rank < self.rank(served)).then(|| self.input_of(rank))
    }

    fn set_line(&mut self, input: u8, asserted: bool) {
        let bit = 1 << input;
        if asserted {
            if self.level & bit != 0 || self.lines & bit == 0 {
                self.requested |= bit;
            }
            self.lines |= bit;
        } else {
            if self.level & bit != 0 {
                self.requested &= !bit;
            }
            self.lines &= !bit;
        }
    }

    fn acknowledge(&mut self, input: u8) {
        let bit = 1 << input;
        if self.level & bit == 0 {
            self.requested &= !bit;
        }
        if !self.auto_eoi {
            self.in_service |= bit;
        } else if self.rotate_on_auto_eoi {
            self.first = (input + 1) & 7;
        }
    }

    fn write_command(&mut self, value: u8) {
        if value & 0x10 != 0 {
            // ICW1. Level-triggered inputs keep their request, edges must rise anew.
            *self = Self {
                requested: self.lines & self.level,
                lines: self.lines,
                level: self.level,
                base: self.base,
                mask: 0,
                expect: Expect::Icw2,
                needs_icw4: value & 1 != 0,
                single: value & 2 != 0,
                ..Self::new()
            };
        } else if value & 0x08 != 0 {
            // OCW3.
            if value & 4 != 0 {
                self.poll = true;
            }
            if value & 2 != 0 {
                self.read_in_service = value & 1 != 0;
            }
            if value & 0x40 != 0 {
                self.special_mask = value & 0x20 != 0;
            }
        } else {
            self.end_of_interrupt(value);
        }
    }

    /// OCW2.
    fn end_of_interrupt(&mut self, value: u8) {
        let named = value & 7;
        match value >> 5 {
            0 => self.rotate_on_auto_eoi = false,
            4 => self.rotate_on_auto_eoi = true,
            command @ (1 | 5) => {
                let rank = self.rank(self.in_service);
                if rank < 8 {
                    let input = self.input_of(rank);
                    self.in_service &= !(1 << input);
                    if command == 5 {
                        self.first = (input + 1) & 7;
                    }
                }
            }
            3 => self.in_service &= !(1 << named),
            7 => {
                self.in_service &= !(1 << named);
                self.first = (named + 1) & 7;
            }
            6 => self.first = (named + 1) & 7,
            _ => {}
        }
    }

    fn write_data(&mut self, value: u8) {
        let icw4 = if self.needs_icw4 { Expect::Icw4 } else { Expect::Mask };
        match self.expect {
            Expect::Mask => self.mask = value,
            Expect::Icw2 => {
                self.base = value & 0xf8;
                self.expect = if self.single { icw4 } else { Expect::Icw3 };
            }
            Expect::Icw3 => self.expect = icw4,
            Expect::Icw4 => {
                self.special_fully_nested = value & 0x10 != 0;
                self.auto_eoi = value & 2 != 0;
                self.expect = Expect::Mask;
            }
        }
    }

    /// A read in poll mode acknowledges.
    fn poll(&mut self) -> u8 {
        self.poll = false;
        match self.pending() {
            Some(input) => {
                self.acknowledge(input);
                0x80 | input
            }
            None => 0,
        }
    }
}

/// Both chips.
#[derive(Clone, Debug)]
pub struct PicPair {
    master: Pic,
    slave: Pic,
}

impl Default for PicPair {
    fn default() -> Self {
        Self::new()
    }
}

impl PicPair {
    /// In power-on state: all inputs masked.
    pub const fn new() -> Self {
        Self { master: Pic::new(), slave: Pic::new() }
    }

    /// Back to the power-on state; lines keep their level.
    pub fn reset(&mut self) {
        self.master = Pic { lines: self.master.lines, ..Pic::new() };
        self.slave = Pic { lines: self.slave.lines, ..Pic::new() };
    }

    /// A device asserts or releases interrupt request line `irq`, 0 to 15 without 2.
    pub fn set_line(&mut self, irq: u8, asserted: bool) {
        match irq {
            CASCADE | 16.. => {}
            0..8 => self.master.set_line(irq, asserted),
            8..16 => {
                self.slave.set_line(irq - 8, asserted);
                self.cascade();
            }
        }
    }

    /// The slave's output drives the master's input as a level.
    fn cascade(&mut self) {
        if self.slave.pending().is_some() {
            self.master.requested |= 1 << CASCADE;
        } else {
            self.master.requested &= !(1 << CASCADE);
        }
    }

    /// Level of the output, INTR.
    pub fn output(&self) -> bool {
        self.master.pending().is_some()
    }

    /// The processor acknowledges: the vector. Spurious ones are the chip's input 7.
    pub fn acknowledge(&mut self) -> u8 {
        let Some(input) = self.master.pending() else { return self.master.base + 7 };
        self.master.acknowledge(input);
        if input != CASCADE {
            return self.master.base + input;
        }
        let vector = match self.slave.pending() {
            Some(input) => {
                self.slave.acknowledge(input);
                self.slave.base + input
            }
            None => self.slave.base + 7,
        };
        self.cascade();
        vector
    }

    fn chip(&mut self, chip: Chip) -> &mut Pic {
        match chip {
            Chip::Master => &mut self.master,
            Chip::Slave => &mut self.slave,
        }
    }

    /// Reads the command (`false`) or data port.
    pub fn read(&mut self, chip: Chip, data: bool) -> u8 {
        let pic = self.chip(chip);
        if pic.poll {
            let value = pic.poll();
            self.cascade();
            value
        } else if data {
            pic.mask
        } else if pic.read_in_service {
            pic.in_service
        } else {
            pic.requested
        }
    }

    /// Writes the command (`false`) or data port.
    pub fn write(&mut self, chip: Chip, data: bool, value: u8) {
        let pic = self.chip(chip);
        if data {
            pic.write_data(value)
        } else {
            pic.write_command(value)
        }
        self.cascade();
    }

    /// The edge/level control register.
    pub fn read_elcr(&self, chip: Chip) -> u8 {
        match chip {
            Chip::Master => self.master.level,
            Chip::Slave => self.slave.level,
        }
    }

    /// Writes the edge/level control register. IRQ 0, 1, 2, 8 and 13 stay edge-triggered.
    pub fn write_elcr(&mut self, chip: Chip, value: u8) {
        let writable = match chip {
            Chip::Master => 0xf8,
            Chip::Slave => 0xde,
        };
        let pic = self.chip(chip);
        pic.level = value & writable;
        // What is level-triggered now requests as its line is.
        pic.requested = pic.requested & !pic.level | pic.lines & pic.level;
        self.cascade();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Linux initialises them.
    fn linux() -> PicPair {
        let mut pic = PicPair::new();
        for (chip, base, cascade) in [(Chip::Master, 0x30, 4), (Chip::Slave, 0x38, 2)] {
            pic.write(chip, false, 0x11);
            pic.write(chip, true, base);
            pic.write(chip, true, cascade);
            pic.write(chip, true, 1);
            pic.write(chip, true, 0);
        }
        pic
    }

    #[test]
    fn the_mask_register_reads_back_which_is_how_linux_probes_for_the_chip() {
        let mut pic = PicPair::new();
        pic.write(Chip::Slave, true, 0xff);
        pic.write(Chip::Master, true, !(1 << 2));
        assert_eq!(pic.read(Chip::Master, true), !(1 << 2));
    }

    #[test]
    fn an_edge_is_delivered_once_with_its_vector() {
        let mut pic = linux();
        assert!(!pic.output());
        pic.set_line(4, true);
        assert!(pic.output());
        assert_eq!(pic.acknowledge(), 0x34);
        assert!(!pic.output());
        pic.write(Chip::Master, false, 0x64);
        assert!(!pic.output(), "the line is still high, but an edge-triggered input needs a rise");
        pic.set_line(4, false);
        pic.set_line(4, true);
        assert!(pic.output());
    }

    #[test]
    fn a_slave_interrupt_is_in_service_in_both_chips() {
        let mut pic = linux();
        pic.set_line(8, true);
        assert_eq!(pic.acknowledge(), 0x38);
        pic.write(Chip::Master, false, 0x0b);
        pic.write(Chip::Slave, false, 0x0b);
        assert_eq!((pic.read(Chip::Master, false), pic.read(Chip::Slave, false)), (4, 1));
        pic.write(Chip::Slave, false, 0x60);
        pic.write(Chip::Master, false, 0x62);
        assert_eq!((pic.read(Chip::Master, false), pic.read(Chip::Slave, false)), (0, 0));
    }

    #[test]
    fn a_more_urgent_interrupt_nests_and_a_less_urgent_one_waits() {
        let mut pic = linux();
        pic.set_line(4, true);
        pic.acknowledge();
        pic.set_line(5, true);
        assert!(!pic.output());
        pic.set_line(1, true);
        assert_eq!(pic.acknowledge(), 0x31);
        pic.write(Chip::Master, false, 0x20);
        pic.write(Chip::Master, false, 0x20);
        assert_eq!(pic.acknowledge(), 0x35);
    }

    #[test]
    fn a_request_that_is_gone_at_the_acknowledgement_is_spurious() {
        let mut pic = linux();
        assert_eq!(pic.acknowledge(), 0x37);
        pic.write_elcr(Chip::Slave, 0x08);
        pic.set_line(11, true);
        assert!(pic.output());
        pic.set_line(11, false);
        assert!(!pic.output());
        assert_eq!(pic.acknowledge(), 0x37);
    }

    #[test]
    fn a_level_triggered_input_interrupts_until_it_falls() {
        let mut pic = linux();
        pic.write_elcr(Chip::Slave, 0xff);
        assert_eq!(pic.read_elcr(Chip::Slave), 0xde);
        pic.set_line(11, true);
        assert_eq!(pic.acknowledge(), 0x3b);
        pic.write(Chip::Slave, false, 0x20);
        pic.write(Chip::Master, false, 0x20);
        assert!(pic.output());
        pic.set_line(11, false);
        assert!(!pic.output());
    }

    #[test]
    fn automatic_end_of_interrupt_leaves_nothing_in_service() {
        let mut pic = linux();
        for value in [0x30, 4, 3] {
            if value == 0x30 {
                pic.write(Chip::Master, false, 0x11);
            }
            pic.write(Chip::Master, true, value);
        }
        pic.set_line(0, true);
        assert_eq!(pic.acknowledge(), 0x30);
        pic.write(Chip::Master, false, 0x0b);
        assert_eq!(pic.read(Chip::Master, false), 0);
    }

    #[test]
    fn special_mask_mode_lets_less_urgent_interrupts_through() {
        let mut pic = linux();
        pic.set_line(1, true);
        pic.acknowledge();
        pic.set_line(6, true);
        assert!(!pic.output());
        pic.write(Chip::Master, true, 1 << 1);
        pic.write(Chip::Master, false, 0x68);
        assert_eq!(pic.acknowledge(), 0x36);
    }

    #[test]
    fn polling_acknowledges() {
        let mut pic = linux();
        pic.set_line(3, true);
        pic.write(Chip::Master, false, 0x0c);
        assert_eq!(pic.read(Chip::Master, false), 0x83);
        assert!(!pic.output());
        pic.write(Chip::Master, false, 0x0c);
        assert_eq!(pic.read(Chip::Master, false), 0);
    }

    #[test]
    fn rotation_makes_the_served_input_the_least_urgent() {
        let mut pic = linux();
        pic.set_line(3, true);
        pic.acknowledge();
        pic.write(Chip::Master, false, 0xa0);
        pic.set_line(3, false);
        pic.set_line(3, true);
        pic.set_line(7, true);
        assert_eq!(pic.acknowledge(), 0x37);
    }

    #[test]
    fn random_accesses_never_make_the_slaves_request_outlive_it() {
        let mut pic = PicPair::new();
        let mut random = super::super::fuzz::Random::new(8259);
        for _ in 0..200_000 {
            let r = random.next();
            let chip = if r & 1 == 0 { Chip::Master } else { Chip::Slave };
            match r >> 1 & 7 {
                0 => pic.set_line((r >> 8) as u8 & 31, r & 16 != 0),
                1 => {
                    let _ = pic.acknowledge();
                }
                2 => {
                    pic.read(chip, r & 16 != 0);
                }
                3 => pic.write_elcr(chip, (r >> 8) as u8),
                _ => pic.write(chip, r & 16 != 0, (r >> 8) as u8),
            }
            assert_eq!(pic.master.requested & 4 != 0, pic.slave.pending().is_some());
        }
    }
}
