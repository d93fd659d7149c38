//! An instruction's operands: registers, immediates and memory.
use super::access::Place;
use super::address::Logical;
use super::arithmetic::mask;
use super::{Bus, Machine, Stop};
use crate::cpu::{Gpr, Registers, Rflags, SegmentRegister};
use crate::memory::AccessKind;
use iced_x86::{Instruction, MemorySize, OpKind, Register};

/// A part of a general register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub gpr: Gpr,
    /// Bytes.
    pub size: usize,
    /// AH, CH, DH or BH.
    high: bool,
}

impl View {
    /// The low `size` bytes of a register.
    pub(super) const fn low(gpr: Gpr, size: usize) -> Self {
        Self { gpr, size, high: false }
    }

    /// From the decoder's name; `None` where it is no general register.
    pub(super) fn of(register: Register) -> Option<Self> {
        let number = register as u8;
        let from = |first: Register, size| Some(Self::low(Gpr::from_number(number - first as u8), size));
        const AL: u8 = Register::AL as u8;
        const AH: u8 = Register::AH as u8;
        const SPL: u8 = Register::SPL as u8;
        const AX: u8 = Register::AX as u8;
        const EAX: u8 = Register::EAX as u8;
        const RAX: u8 = Register::RAX as u8;
        const R15: u8 = Register::R15 as u8;
        match number {
            AL..AH => from(Register::AL, 1),
            AH..SPL => Some(Self { gpr: Gpr::from_number(number - AH), size: 1, high: true }),
            // SPL is register 4, in a row that starts with it.
            SPL..AX => Some(Self::low(Gpr::from_number(number - SPL + 4), 1)),
            AX..EAX => from(Register::AX, 2),
            EAX..RAX => from(Register::EAX, 4),
            RAX..=R15 => from(Register::RAX, 8),
            _ => None,
        }
    }

    /// What it holds.
    #[inline]
    pub(super) fn get<R: Registers>(self, registers: &R) -> u64 {
        registers.gpr(self.gpr) >> if self.high { 8 } else { 0 } & mask(self.size)
    }

    /// Replaces it. Four bytes clear those above, one and two keep them.
    #[inline]
    pub(super) fn set<R: Registers>(self, registers: &mut R, value: u64) {
        let shift = if self.high { 8 } else { 0 };
        let new = match self.size {
            8 => value,
            4 => value & mask(4),
            size => registers.gpr(self.gpr) & !(mask(size) << shift) | (value & mask(size)) << shift,
        };
        registers.set_gpr(self.gpr, new);
    }
}

/// The segment register that the decoder names.
pub(super) fn segment_of(register: Register) -> Option<SegmentRegister> {
    Some(match register {
        Register::ES => SegmentRegister::Es,
        Register::CS => SegmentRegister::Cs,
        Register::SS => SegmentRegister::Ss,
        Register::DS => SegmentRegister::Ds,
        Register::FS => SegmentRegister::Fs,
        Register::GS => SegmentRegister::Gs,
        _ => return None,
    })
}

/// Bytes of an integer memory operand.
fn integer_size(size: MemorySize) -> Option<usize> {
    Some(match size {
        MemorySize::UInt8 | MemorySize::Int8 => 1,
        MemorySize::UInt16 | MemorySize::Int16 | MemorySize::WordOffset => 2,
        MemorySize::UInt32 | MemorySize::Int32 | MemorySize::DwordOffset => 4,
        MemorySize::UInt64 | MemorySize::Int64 | MemorySize::QwordOffset => 8,
        MemorySize::UInt128 | MemorySize::Int128 => 16,
        _ => return None,
    })
}

impl<R: Registers, B: Bus> Machine<'_, R, B> {
    /// Whether the operand is in memory.
    pub(super) fn is_memory(&self, i: &Instruction, operand: u32) -> bool {
        operand < i.op_count() && i.op_kind(operand) == OpKind::Memory
    }

    /// The general register that the operand names.
    pub(super) fn view(&self, i: &Instruction, operand: u32) -> Result<View, Stop> {
        if i.op_kind(operand) != OpKind::Register {
            return Err(Stop::OPERAND);
        }
        View::of(i.op_register(operand)).ok_or(Stop::OPERAND)
    }

    /// Bytes of an operand in a register or in memory.
    pub(super) fn size_of(&self, i: &Instruction, operand: u32) -> Result<usize, Stop> {
        match i.op_kind(operand) {
            OpKind::Memory => integer_size(i.memory_size()).ok_or(Stop::OPERAND),
            _ => Ok(self.view(i, operand)?.size),
        }
    }

    /// The address of the memory operand.
    pub(super) fn address(&self, i: &Instruction) -> Result<Logical, Stop> {
        let segment = segment_of(i.memory_segment()).ok_or(Stop::OPERAND)?;
        let mut offset = i.memory_displacement64();
        let mut size = i.memory_displ_size() as usize;
        match i.memory_base() {
            Register::None => {}
            // The displacement is the target already.
            Register::RIP => size = 8,
            Register::EIP => size = 4,
            base => {
                let view = View::of(base).ok_or(Stop::OPERAND)?;
                offset = offset.wrapping_add(view.get(self.registers));
                size = view.size;
            }
        }
        match i.memory_index() {
            Register::None => {}
            index => {
                let view = View::of(index).ok_or(Stop::OPERAND)?;
                let scaled = view.get(self.registers).wrapping_mul(u64::from(i.memory_index_scale()));
                offset = offset.wrapping_add(scaled);
                // XLAT's index is AL.
                size = size.max(view.size);
            }
        }
        Ok(Logical { segment, offset: offset & mask(size), address_size: size })
    }

    /// Finds the memory operand.
    pub(super) fn operand(&self, i: &Instruction, size: usize, kind: AccessKind) -> Result<Place, Stop> {
        self.locate(self.address(i)?, size, kind)
    }

    /// What an operand holds, `size` bytes of it if it is in memory.
    pub(super) fn value(&mut self, i: &Instruction, operand: u32, size: usize) -> Result<u64, Stop> {
        match i.op_kind(operand) {
            OpKind::Register => {
                let register = i.op_register(operand);
                match View::of(register) {
                    Some(view) => Ok(view.get(self.registers)),
                    None => {
                        let segment = segment_of(register).ok_or(Stop::OPERAND)?;
                        Ok(u64::from(self.registers.segment(segment).selector))
                    }
                }
            }
            OpKind::Memory => {
                let place = self.operand(i, size, AccessKind::Read)?;
                self.load(&place)
            }
            OpKind::Immediate8
            | OpKind::Immediate16
            | OpKind::Immediate32
            | OpKind::Immediate64
            | OpKind::Immediate8to16
            | OpKind::Immediate8to32
            | OpKind::Immediate8to64
            | OpKind::Immediate32to64 => Ok(i.immediate(operand)),
            _ => Err(Stop::OPERAND),
        }
    }

    /// Replaces the flags in `which` by those in `flags`.
    pub(super) fn set_flags(&mut self, which: Rflags, flags: Rflags) {
        let old = self.registers.rflags();
        self.registers.set_rflags((old - which) | flags & which);
    }

    /// Whether LOCK, or XCHG's implicit lock, makes the access atomic.
    pub(super) fn is_locked(&self, i: &Instruction) -> bool {
        i.has_lock_prefix() || i.mnemonic() == iced_x86::Mnemonic::Xchg
    }
}
