//! Exceptions and interrupt vectors (APM vol. 2, 8.2; SDM vol. 3A, 6.15).
use bitflags::bitflags;

/// An interrupt vector. The constants are the architecture's exceptions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Vector(pub u8);

#[allow(missing_docs)] // The names are the documentation.
impl Vector {
    pub const DE: Self = Self(0);
    pub const DB: Self = Self(1);
    pub const NMI: Self = Self(2);
    pub const BP: Self = Self(3);
    pub const OF: Self = Self(4);
    pub const BR: Self = Self(5);
    pub const UD: Self = Self(6);
    pub const NM: Self = Self(7);
    pub const DF: Self = Self(8);
    pub const TS: Self = Self(10);
    pub const NP: Self = Self(11);
    pub const SS: Self = Self(12);
    pub const GP: Self = Self(13);
    pub const PF: Self = Self(14);
    pub const MF: Self = Self(16);
    pub const AC: Self = Self(17);
    pub const MC: Self = Self(18);
    pub const XM: Self = Self(19);

    /// Whether the exception pushes an error code.
    pub const fn has_error_code(self) -> bool {
        matches!(self.0, 8 | 10..=14 | 17 | 21 | 29 | 30)
    }
}

bitflags! {
    /// Error code of a page fault (APM vol. 2, 8.4.2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct PageFaultCode: u32 {
        /// The page was present: a protection violation.
        const PRESENT = 1 << 0;
        /// The access was a write.
        const WRITE = 1 << 1;
        /// The access came from user mode.
        const USER = 1 << 2;
        /// A reserved bit was set in a page-table entry.
        const RESERVED = 1 << 3;
        /// The access was an instruction fetch.
        const FETCH = 1 << 4;
        /// A protection key forbade it.
        const KEY = 1 << 5;
    }
}

/// An exception to be raised in a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Which one.
    pub vector: Vector,
    /// For those that push one.
    pub error_code: Option<u32>,
    /// CR2, for a page fault: the linear address.
    pub fault_address: Option<u64>,
}

impl Exception {
    /// Undefined opcode.
    pub const UD: Self = Self { vector: Vector::UD, error_code: None, fault_address: None };
    /// Debug, as a single-step trap.
    pub const DB: Self = Self { vector: Vector::DB, error_code: None, fault_address: None };
    /// Device not available.
    pub const NM: Self = Self { vector: Vector::NM, error_code: None, fault_address: None };
    /// Divide error.
    pub const DE: Self = Self { vector: Vector::DE, error_code: None, fault_address: None };

    /// General protection with an error code: a selector's index, or 0.
    pub const fn gp(code: u32) -> Self {
        Self { vector: Vector::GP, error_code: Some(code), fault_address: None }
    }

    /// Stack fault with an error code.
    pub const fn ss(code: u32) -> Self {
        Self { vector: Vector::SS, error_code: Some(code), fault_address: None }
    }

    /// Alignment check.
    pub const fn ac() -> Self {
        Self { vector: Vector::AC, error_code: Some(0), fault_address: None }
    }

    /// Page fault at a linear address.
    pub const fn page_fault(address: u64, code: PageFaultCode) -> Self {
        Self { vector: Vector::PF, error_code: Some(code.bits()), fault_address: Some(address) }
    }
}
