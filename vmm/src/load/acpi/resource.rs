//! Resource descriptors, what `_CRS` buffers are made of (ACPI 6.5, 6.4).
use core::ops::{Range, RangeInclusive};

/// A list of descriptors.
#[derive(Default)]
pub(super) struct Resources(alloc::vec::Vec<u8>);

/// An address space descriptor's general flags: the bridge is no consumer, both ends are fixed.
const FIXED_WINDOW: u8 = 0b0000_1100;

impl Resources {
    /// `length` I/O ports (6.4.2.5).
    pub fn ports(mut self, first: u16, length: u8) -> Self {
        const IO_PORT: u8 = 0x47;
        const DECODES_16_BITS: u8 = 1;
        self.0.extend([IO_PORT, DECODES_16_BITS]);
        self.0.extend(first.to_le_bytes());
        self.0.extend(first.to_le_bytes());
        self.0.extend([1, length]);
        self
    }

    /// An ISA interrupt, edge-triggered and active high (6.4.2.1).
    pub fn interrupt(mut self, irq: u8) -> Self {
        const IRQ_WITHOUT_FLAGS: u8 = 0x22;
        self.0.push(IRQ_WITHOUT_FLAGS);
        self.0.extend((1u16 << (irq & 15)).to_le_bytes());
        self
    }

    /// Memory at a fixed place, writable (6.4.3.4).
    pub fn memory(mut self, range: Range<u64>) -> Self {
        const MEMORY_32_FIXED: u8 = 0x86;
        self.0.extend([MEMORY_32_FIXED, 9, 0, 1]);
        self.0.extend((range.start as u32).to_le_bytes());
        self.0.extend(((range.end - range.start) as u32).to_le_bytes());
        self
    }

    /// Bus numbers that a bridge hands on (6.4.3.5.3).
    pub fn buses(self, last: u8) -> Self {
        self.word_window(2, 0, 0..=u16::from(last))
    }

    /// Ports that a bridge hands on (6.4.3.5.3).
    pub fn port_window(self, ports: RangeInclusive<u16>) -> Self {
        const ENTIRE_RANGE: u8 = 3;
        self.word_window(1, ENTIRE_RANGE, ports)
    }

    fn word_window(mut self, kind: u8, type_flags: u8, range: RangeInclusive<u16>) -> Self {
        const WORD_ADDRESS_SPACE: u8 = 0x88;
        let length = range.end() - range.start() + 1;
        self.0.extend([WORD_ADDRESS_SPACE, 13, 0, kind, FIXED_WINDOW, type_flags]);
        for word in [0, *range.start(), *range.end(), 0, length] {
            self.0.extend(word.to_le_bytes());
        }
        self
    }

    /// Memory that a bridge hands on, not cached (6.4.3.5.2).
    pub fn memory_window(mut self, range: Range<u64>) -> Self {
        const DWORD_ADDRESS_SPACE: u8 = 0x87;
        const WRITABLE: u8 = 1;
        self.0.extend([DWORD_ADDRESS_SPACE, 23, 0, 0, FIXED_WINDOW, WRITABLE]);
        for dword in [0, range.start, range.end - 1, 0, range.end - range.start] {
            self.0.extend((dword as u32).to_le_bytes());
        }
        self
    }

    /// The list as `_CRS` has it. The end tag's checksum of zero means that there is none.
    pub fn finish(mut self) -> alloc::vec::Vec<u8> {
        self.0.extend([0x79, 0]);
        super::aml::buffer(&self.0)
    }
}
