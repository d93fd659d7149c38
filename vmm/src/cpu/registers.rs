//! General registers, and the view of a stopped vCPU that the emulator and the page walk work on.
use super::{Cr0, Cr4, Efer, Rflags, Segment, SegmentRegister};

/// The general-purpose registers in the order of their encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)] // The names are the documentation.
pub enum Gpr {
    Rax = 0,
    Rcx = 1,
    Rdx = 2,
    Rbx = 3,
    Rsp = 4,
    Rbp = 5,
    Rsi = 6,
    Rdi = 7,
    R8 = 8,
    R9 = 9,
    R10 = 10,
    R11 = 11,
    R12 = 12,
    R13 = 13,
    R14 = 14,
    R15 = 15,
}

impl Gpr {
    /// The register that an instruction encodes as `number & 15`.
    #[inline(always)]
    pub const fn from_number(number: u8) -> Self {
        const ALL: [Gpr; 16] = [
            Gpr::Rax,
            Gpr::Rcx,
            Gpr::Rdx,
            Gpr::Rbx,
            Gpr::Rsp,
            Gpr::Rbp,
            Gpr::Rsi,
            Gpr::Rdi,
            Gpr::R8,
            Gpr::R9,
            Gpr::R10,
            Gpr::R11,
            Gpr::R12,
            Gpr::R13,
            Gpr::R14,
            Gpr::R15,
        ];
        ALL[(number & 15) as usize]
    }
}

/// The registers of a vCPU that is not running: what page walk and instruction emulation need.
///
/// A back end implements it over its VMCB or VMCS, so that only what is asked for is read.
pub trait Registers {
    /// A general register, all 64 bits.
    fn gpr(&self, register: Gpr) -> u64;
    /// Replaces a general register, all 64 bits.
    fn set_gpr(&mut self, register: Gpr, value: u64);
    /// Offset of the instruction in CS.
    fn rip(&self) -> u64;
    /// Moves to another instruction.
    fn set_rip(&mut self, rip: u64);
    /// The flags.
    fn rflags(&self) -> Rflags;
    /// Replaces the flags.
    fn set_rflags(&mut self, flags: Rflags);
    /// A segment register.
    fn segment(&self, register: SegmentRegister) -> Segment;
    /// CR0 as the guest sees it.
    fn cr0(&self) -> Cr0;
    /// CR3, all 64 bits.
    fn cr3(&self) -> u64;
    /// CR4 as the guest sees it.
    fn cr4(&self) -> Cr4;
    /// EFER as the guest sees it.
    fn efer(&self) -> Efer;
    /// Current privilege level, 0 to 3.
    fn cpl(&self) -> u8;
    /// The low 128 bits of a vector register (0 to 15).
    fn xmm(&self, register: u8) -> u128;
    /// Replaces the low 128 bits of a vector register, keeping those above.
    fn set_xmm(&mut self, register: u8, value: u128);

    /// Clears a vector register above its low 128 bits, as an instruction with a VEX prefix does.
    /// False where the back end can't reach them: such an instruction then stops the VM.
    fn clear_above_xmm(&mut self, _register: u8) -> bool {
        false
    }

    /// Where the vCPU keeps its last walk for code, if it does: looking at an instruction then takes
    /// a third of the time.
    #[inline(always)]
    fn code_walk(&self) -> Option<&crate::memory::CodeWalk> {
        None
    }

    /// Whether the vCPU executes 64-bit code.
    #[inline]
    fn in_64_bit_code(&self) -> bool {
        self.efer().contains(Efer::LMA)
            && self.segment(SegmentRegister::Cs).attributes.has(super::SegmentAttributes::LONG)
    }
}
