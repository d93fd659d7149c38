//! Registers of the local APIC: numbers, and which bits exist (SDM vol. 3A, tables 11-1 and 11-6).

/// A register: its offset in the xAPIC's page divided by 16, and its number from MSR 0x800 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Register(pub u16);

#[rustfmt::skip]
impl Register {
    pub const ID: Self = Self(0x02);
    pub const VERSION: Self = Self(0x03);
    pub const TPR: Self = Self(0x08);
    pub const APR: Self = Self(0x09);
    pub const PPR: Self = Self(0x0a);
    pub const EOI: Self = Self(0x0b);
    pub const RRD: Self = Self(0x0c);
    pub const LDR: Self = Self(0x0d);
    pub const DFR: Self = Self(0x0e);
    pub const SVR: Self = Self(0x0f);
    pub const ISR: Self = Self(0x10);
    pub const TMR: Self = Self(0x18);
    pub const IRR: Self = Self(0x20);
    pub const ESR: Self = Self(0x28);
    pub const ICR: Self = Self(0x30);
    pub const ICR_HIGH: Self = Self(0x31);
    /// First of the six entries of the local vector table.
    pub const LVT: Self = Self(0x32);
    pub const INITIAL_COUNT: Self = Self(0x38);
    pub const CURRENT_COUNT: Self = Self(0x39);
    pub const DIVIDE: Self = Self(0x3e);
    pub const SELF_IPI: Self = Self(0x3f);
}

impl Register {
    /// Entry `entry` of the local vector table.
    #[inline(always)]
    pub const fn lvt(entry: usize) -> Self {
        Self(Self::LVT.0 + entry as u16)
    }

    /// Whether it is one whose value is in a [`super::RegisterPage`].
    pub const fn is_there(self) -> bool {
        matches!(self.0, 0x02 | 0x03 | 0x08 | 0x0d..=0x28 | 0x30..=0x38 | 0x3e)
    }
}

/// First MSR of the x2APIC.
pub const X2APIC_MSR_FIRST: u32 = 0x800;
/// Last MSR of the x2APIC.
pub const X2APIC_MSR_LAST: u32 = 0x8ff;

/// Version 0x14, six LVT entries, EOI broadcasts can be suppressed.
pub(super) const VERSION: u32 = 1 << 24 | 5 << 16 | 0x14;

/// Local vector table entries.
pub(super) mod lvt {
    pub const MASKED: u32 = 1 << 16;
    /// LINT0 and LINT1: level-triggered.
    pub const LEVEL: u32 = 1 << 15;
    /// Remote IRR and delivery status, which the guest can't write.
    pub const READ_ONLY: u32 = 1 << 14 | 1 << 12;
    /// Delivery mode ExtINT.
    pub const EXT_INT: u32 = 7 << 8;

    /// Bits that the guest can write, by position in the table: timer, thermal, performance, LINT0,
    /// LINT1, error.
    pub const WRITABLE: [u32; COUNT] = [0x7_00ff, 0x1_07ff, 0x1_07ff, 0x1_a7ff, 0x1_a7ff, 0x1_00ff];
    pub const COUNT: usize = 6;
    pub const TIMER: usize = 0;
    pub const LINT0: usize = 3;
    pub const ERROR: usize = 5;
}

/// Spurious-interrupt vector register.
pub(super) mod svr {
    pub const ENABLED: u32 = 1 << 8;
    /// The EOI of a level-triggered interrupt is not broadcast; the guest writes the IOAPIC's register.
    pub const SUPPRESS_EOI_BROADCAST: u32 = 1 << 12;
    pub const WRITABLE: u32 = 0x13ff;
    pub const RESET: u32 = 0xff;
}

/// Error status register.
pub(super) mod esr {
    pub const SEND_ILLEGAL_VECTOR: u32 = 1 << 5;
    pub const RECEIVE_ILLEGAL_VECTOR: u32 = 1 << 6;
    pub const ILLEGAL_REGISTER: u32 = 1 << 7;
}

/// Interrupt command register.
pub(super) mod icr {
    pub const LOGICAL: u32 = 1 << 11;
    pub const DELIVERY_STATUS: u32 = 1 << 12;
    pub const ASSERT: u32 = 1 << 14;
    pub const LEVEL_TRIGGERED: u32 = 1 << 15;
    pub const WRITABLE: u32 = 0xc_cfff;
}

/// IA32_APIC_BASE.
pub(super) mod base {
    pub const BSP: u64 = 1 << 8;
    pub const X2APIC: u64 = 1 << 10;
    pub const ENABLED: u64 = 1 << 11;
}
