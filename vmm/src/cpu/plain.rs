//! Registers as plain fields: a stopped vCPU for tests.
use super::{Cr0, Cr4, Efer, Gpr, Registers, Rflags, Segment, SegmentAttributes, SegmentRegister};
use crate::memory::CodeWalk;

/// A vCPU's registers, each a field that a test may set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainRegisters {
    /// RAX to R15.
    pub gprs: [u64; 16],
    /// RIP.
    pub rip: u64,
    /// RFLAGS.
    pub rflags: Rflags,
    /// ES, CS, SS, DS, FS, GS.
    pub segments: [Segment; 6],
    /// CR0.
    pub cr0: Cr0,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: Cr4,
    /// EFER.
    pub efer: Efer,
    /// CPL.
    pub cpl: u8,
    /// XMM0 to XMM15.
    pub xmm: [u128; 16],
    /// A bit for each vector register whose bits above 127 were cleared.
    pub upper_cleared: u16,
    /// The last walk for code.
    pub code_walk: CodeWalk,
}

/// A flat segment that may be read and written, and executed if `code`.
fn flat(code: bool, bits: u8, dpl: u8) -> Segment {
    let mut attributes = SegmentAttributes::PRESENT
        | SegmentAttributes::NON_SYSTEM
        | SegmentAttributes::READ_WRITE
        | SegmentAttributes::ACCESSED
        | u16::from(dpl) << 5;
    if code {
        attributes |= SegmentAttributes::CODE;
    }
    match bits {
        64 if code => attributes |= SegmentAttributes::LONG | SegmentAttributes::GRANULARITY,
        32 | 64 => attributes |= SegmentAttributes::DEFAULT_BIG | SegmentAttributes::GRANULARITY,
        _ => {}
    }
    let limit = if bits == 16 { 0xffff } else { 0xffff_ffff };
    Segment { selector: 8, attributes: SegmentAttributes(attributes), limit, base: 0 }
}

impl PlainRegisters {
    fn with_segments(bits: u8) -> Self {
        let data = flat(false, bits, 0);
        let mut segments = [data; 6];
        segments[SegmentRegister::Cs as usize] = flat(true, bits, 0);
        Self {
            gprs: [0; 16],
            rip: 0,
            rflags: Rflags::FIXED,
            segments,
            cr0: Cr0::ET,
            cr3: 0,
            cr4: Cr4::empty(),
            efer: Efer::empty(),
            cpl: 0,
            xmm: [0; 16],
            upper_cleared: 0,
            code_walk: CodeWalk::default(),
        }
    }

    /// Real mode, all bases 0.
    pub fn real_mode() -> Self {
        Self::with_segments(16)
    }

    /// 16-bit protected mode without paging, flat up to 64 KiB.
    pub fn protected_16() -> Self {
        let mut registers = Self::with_segments(16);
        registers.cr0 |= Cr0::PE;
        registers
    }

    /// 32-bit protected mode without paging, flat.
    pub fn protected_32() -> Self {
        let mut registers = Self::with_segments(32);
        registers.cr0 |= Cr0::PE;
        registers
    }

    /// 64-bit mode with 4-level paging from `cr3`, CPL 0, write protection on, NX and SSE enabled.
    pub fn long_mode(cr3: u64) -> Self {
        let mut registers = Self::with_segments(64);
        registers.cr0 |= Cr0::PE | Cr0::PG | Cr0::WP | Cr0::NE;
        registers.cr3 = cr3;
        registers.cr4 = Cr4::PAE | Cr4::OSFXSR | Cr4::OSXSAVE;
        registers.efer = Efer::LME | Efer::LMA | Efer::NXE;
        registers
    }
}

impl Registers for PlainRegisters {
    fn gpr(&self, register: Gpr) -> u64 {
        self.gprs[register as usize]
    }
    fn set_gpr(&mut self, register: Gpr, value: u64) {
        self.gprs[register as usize] = value;
    }
    fn rip(&self) -> u64 {
        self.rip
    }
    fn set_rip(&mut self, rip: u64) {
        self.rip = rip;
    }
    fn rflags(&self) -> Rflags {
        self.rflags
    }
    fn set_rflags(&mut self, flags: Rflags) {
        self.rflags = flags;
    }
    fn segment(&self, register: SegmentRegister) -> Segment {
        self.segments[register as usize]
    }
    fn cr0(&self) -> Cr0 {
        self.cr0
    }
    fn cr3(&self) -> u64 {
        self.cr3
    }
    fn cr4(&self) -> Cr4 {
        self.cr4
    }
    fn efer(&self) -> Efer {
        self.efer
    }
    fn cpl(&self) -> u8 {
        self.cpl
    }
    fn xmm(&self, register: u8) -> u128 {
        self.xmm[usize::from(register & 15)]
    }
    fn set_xmm(&mut self, register: u8, value: u128) {
        self.xmm[usize::from(register & 15)] = value;
    }
    fn code_walk(&self) -> Option<&CodeWalk> {
        Some(&self.code_walk)
    }
    fn clear_above_xmm(&mut self, register: u8) -> bool {
        self.upper_cleared |= 1 << (register & 15);
        true
    }
}
