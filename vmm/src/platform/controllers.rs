//! The interrupt controllers of the board and the wires to them.
use super::apic::{ApicFabric, IoApic};
use super::map::{FIRST_PCI_GSI, PIT_GSI, PIT_IRQ};
use super::pic::{Chip, PicPair};
use alloc::sync::Arc;

/// Pin of the IOAPIC that the 8259's output drives.
const PIC_PIN: u8 = 0;

/// The 8259 pair and the IOAPIC, behind one lock: every ISA line goes to both.
pub(super) struct InterruptControllers {
    fabric: Arc<ApicFabric>,
    pic: PicPair,
    pub ioapic: IoApic,
    output: bool,
    /// For each pin of the PCI devices, by slot, who asserts it: they share them.
    pci: [u32; 8],
}

impl InterruptControllers {
    pub fn new(fabric: Arc<ApicFabric>) -> Self {
        Self { ioapic: IoApic::new(fabric.clone()), fabric, pic: PicPair::new(), output: false, pci: [0; 8] }
    }

    pub fn reset(&mut self) {
        self.ioapic.reset();
        self.pic.reset();
        self.update_output();
    }

    /// An ISA device asserts or releases its line.
    pub fn set_isa(&mut self, irq: u8, asserted: bool) {
        self.pic.set_line(irq, asserted);
        self.update_output();
        self.ioapic.set_line(if irq == PIT_IRQ { PIT_GSI } else { irq }, asserted);
    }

    /// The PCI device in `slot` asserts or releases its pin, which is wired to `gsi`.
    pub fn set_pci(&mut self, gsi: u8, slot: u8, asserted: bool) {
        let Some(devices) = self.pci.get_mut(usize::from(gsi.wrapping_sub(FIRST_PCI_GSI))) else { return };
        let bit = 1 << (slot & 31);
        *devices = if asserted { *devices | bit } else { *devices & !bit };
        let level = *devices != 0;
        self.ioapic.set_line(gsi, level);
    }

    /// The 8259's output goes to LINT0 of the local APICs and to a pin of the IOAPIC.
    fn update_output(&mut self) {
        let output = self.pic.output();
        if output != self.output {
            self.output = output;
            self.fabric.set_pic_output(output);
            self.ioapic.set_line(PIC_PIN, output);
        }
    }

    pub fn read_pic(&mut self, chip: Chip, data: bool) -> u8 {
        let value = self.pic.read(chip, data);
        self.update_output();
        value
    }

    pub fn write_pic(&mut self, chip: Chip, data: bool, value: u8) {
        self.pic.write(chip, data, value);
        self.update_output();
    }

    pub fn read_elcr(&self, chip: Chip) -> u8 {
        self.pic.read_elcr(chip)
    }

    pub fn write_elcr(&mut self, chip: Chip, value: u8) {
        self.pic.write_elcr(chip, value);
        self.update_output();
    }

    /// The processor's acknowledgement. The output falls with it, and rises again for a further request.
    pub fn acknowledge(&mut self) -> u8 {
        let vector = self.pic.acknowledge();
        self.output = false;
        self.fabric.set_pic_output(false);
        self.ioapic.set_line(PIC_PIN, false);
        self.update_output();
        vector
    }
}
