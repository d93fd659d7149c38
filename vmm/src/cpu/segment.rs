//! Segment registers with their hidden parts (APM vol. 2, 4.5 and 15.5.1).

/// The segment registers that an instruction can name, in the order of their encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)] // The names are the documentation.
pub enum SegmentRegister {
    Es = 0,
    Cs = 1,
    Ss = 2,
    Ds = 3,
    Fs = 4,
    Gs = 5,
}

/// Attributes of a descriptor in the VMCB's packed form: descriptor bits 55:52 over 47:40
/// (APM vol. 2, 15.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct SegmentAttributes(pub u16);

impl SegmentAttributes {
    /// Accessed, for code and data segments.
    pub const ACCESSED: u16 = 1 << 0;
    /// Readable code or writable data.
    pub const READ_WRITE: u16 = 1 << 1;
    /// Conforming code or expand-down data.
    pub const CONFORMING_OR_EXPAND_DOWN: u16 = 1 << 2;
    /// A code segment.
    pub const CODE: u16 = 1 << 3;
    /// A code or data segment, not a system segment.
    pub const NON_SYSTEM: u16 = 1 << 4;
    /// Present.
    pub const PRESENT: u16 = 1 << 7;
    /// 64-bit code.
    pub const LONG: u16 = 1 << 9;
    /// 32-bit default operands, or a big stack.
    pub const DEFAULT_BIG: u16 = 1 << 10;
    /// The limit counts 4 KiB units. The cached limit is in bytes already.
    pub const GRANULARITY: u16 = 1 << 11;

    /// Descriptor privilege level.
    pub const fn dpl(self) -> u8 {
        (self.0 >> 5 & 3) as u8
    }

    /// Whether all of `bits` are set.
    pub const fn has(self, bits: u16) -> bool {
        self.0 & bits == bits
    }
}

/// A segment register: the selector and what the descriptor cache holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Segment {
    /// The visible part.
    pub selector: u16,
    /// Type and flags.
    pub attributes: SegmentAttributes,
    /// Offset of the last byte.
    pub limit: u32,
    /// Linear address of the first byte.
    pub base: u64,
}

/// GDTR or IDTR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct DescriptorTable {
    /// Linear address.
    pub base: u64,
    /// Offset of the last byte.
    pub limit: u16,
}
