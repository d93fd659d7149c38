//! String instructions, repeated or not (APM vol. 1, 3.3.6; vol. 3, 1.2.6).
use super::address::Logical;
use super::arithmetic::{STATUS, mask, subtract};
use super::execute::Flow;
use super::machine::{View, segment_of};
use super::{Bus, Machine, Stop};
use crate::cpu::{Gpr, Registers, Rflags, SegmentRegister};
use crate::exit::Direction;
use crate::memory::AccessKind;
use iced_x86::{Code, Instruction, OpKind};

/// Iterations of a repeated instruction in one go: enough that the way here does not matter, and few
/// enough (some 100,000 host instructions) that interrupts are not late.
pub(super) const BATCH: usize = 256;

/// What a string instruction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Movs,
    Stos,
    Lods,
    Cmps,
    Scas,
    Ins,
    Outs,
}

/// Which string instruction it is, and the bytes of its elements.
pub(super) fn kind(code: Code) -> Option<(Kind, usize)> {
    Some(match code {
        Code::Movsb_m8_m8 => (Kind::Movs, 1),
        Code::Movsw_m16_m16 => (Kind::Movs, 2),
        Code::Movsd_m32_m32 => (Kind::Movs, 4),
        Code::Movsq_m64_m64 => (Kind::Movs, 8),
        Code::Stosb_m8_AL => (Kind::Stos, 1),
        Code::Stosw_m16_AX => (Kind::Stos, 2),
        Code::Stosd_m32_EAX => (Kind::Stos, 4),
        Code::Stosq_m64_RAX => (Kind::Stos, 8),
        Code::Lodsb_AL_m8 => (Kind::Lods, 1),
        Code::Lodsw_AX_m16 => (Kind::Lods, 2),
        Code::Lodsd_EAX_m32 => (Kind::Lods, 4),
        Code::Lodsq_RAX_m64 => (Kind::Lods, 8),
        Code::Cmpsb_m8_m8 => (Kind::Cmps, 1),
        Code::Cmpsw_m16_m16 => (Kind::Cmps, 2),
        Code::Cmpsd_m32_m32 => (Kind::Cmps, 4),
        Code::Cmpsq_m64_m64 => (Kind::Cmps, 8),
        Code::Scasb_AL_m8 => (Kind::Scas, 1),
        Code::Scasw_AX_m16 => (Kind::Scas, 2),
        Code::Scasd_EAX_m32 => (Kind::Scas, 4),
        Code::Scasq_RAX_m64 => (Kind::Scas, 8),
        Code::Insb_m8_DX => (Kind::Ins, 1),
        Code::Insw_m16_DX => (Kind::Ins, 2),
        Code::Insd_m32_DX => (Kind::Ins, 4),
        Code::Outsb_DX_m8 => (Kind::Outs, 1),
        Code::Outsw_DX_m16 => (Kind::Outs, 2),
        Code::Outsd_DX_m32 => (Kind::Outs, 4),
        _ => return None,
    })
}

/// The access that an INS or OUTS makes; `None` for all other instructions.
pub(super) fn port_access(i: &Instruction) -> Option<(Direction, u8)> {
    match kind(i.code())? {
        (Kind::Ins, size) => Some((Direction::In, size as u8)),
        (Kind::Outs, size) => Some((Direction::Out, size as u8)),
        _ => None,
    }
}

/// Bytes of the index and count registers.
fn address_size(i: &Instruction) -> Option<usize> {
    i.op_kinds().find_map(|kind| match kind {
        OpKind::MemorySegSI | OpKind::MemorySegDI | OpKind::MemoryESDI => Some(2),
        OpKind::MemorySegESI | OpKind::MemorySegEDI | OpKind::MemoryESEDI => Some(4),
        OpKind::MemorySegRSI | OpKind::MemorySegRDI | OpKind::MemoryESRDI => Some(8),
        _ => None,
    })
}

/// A string instruction on its way.
struct Strings {
    kind: Kind,
    size: usize,
    address_size: usize,
    /// Of the source; the destination is always in ES.
    segment: SegmentRegister,
}

/// What one iteration did.
struct Step {
    /// Only RAM took part.
    ram: bool,
}

impl<R: Registers, B: Bus> Machine<'_, R, B> {
    pub(super) fn string(&mut self, i: &Instruction, kind: Kind, size: usize) -> Result<Flow, Stop> {
        let address_size = address_size(i).ok_or(Stop::OPERAND)?;
        let segment = match kind {
            Kind::Movs | Kind::Lods | Kind::Cmps | Kind::Outs => segment_of(i.memory_segment()),
            Kind::Stos | Kind::Scas | Kind::Ins => Some(SegmentRegister::Es),
        };
        let strings = Strings { kind, size, address_size, segment: segment.ok_or(Stop::OPERAND)? };
        let repeat_equal = i.has_rep_prefix();
        let repeat_unequal = i.has_repne_prefix();
        if !repeat_equal && !repeat_unequal {
            self.string_step(&strings)?;
            return Ok(Flow::Next);
        }
        let counter = View::low(Gpr::Rcx, address_size);
        let mut count = counter.get(self.registers);
        if count == 0 {
            return Ok(Flow::Next);
        }
        let compares = matches!(kind, Kind::Cmps | Kind::Scas);
        let single_step = self.registers.rflags().contains(Rflags::TF);
        for _ in 0..BATCH {
            let step = self.string_step(&strings)?;
            count -= 1;
            counter.set(self.registers, count);
            let equal = self.registers.rflags().contains(Rflags::ZF);
            // F2 and F3 together: the last one counts, which the decoder reports alone.
            let ended = compares && if repeat_unequal { equal } else { !equal };
            if count == 0 || ended {
                return Ok(Flow::Next);
            }
            // On RAM alone the hardware goes on by itself, and faster.
            if single_step || step.ram {
                break;
            }
        }
        Ok(Flow::Again)
    }

    /// Where an index register points.
    fn element(&self, strings: &Strings, index: Gpr) -> Logical {
        let address_size = strings.address_size;
        let offset = View::low(index, address_size).get(self.registers);
        let segment = if index == Gpr::Rsi { strings.segment } else { SegmentRegister::Es };
        Logical { segment, offset, address_size }
    }

    /// Moves an index register by one element.
    fn advance(&mut self, strings: &Strings, index: Gpr) {
        let view = View::low(index, strings.address_size);
        let old = view.get(self.registers);
        let size = strings.size as u64;
        let backwards = self.registers.rflags().contains(Rflags::DF);
        let new = if backwards { old.wrapping_sub(size) } else { old.wrapping_add(size) };
        view.set(self.registers, new & mask(strings.address_size));
    }

    fn string_step(&mut self, strings: &Strings) -> Result<Step, Stop> {
        let size = strings.size;
        let source = self.element(strings, Gpr::Rsi);
        let target = self.element(strings, Gpr::Rdi);
        let accumulator = View::low(Gpr::Rax, size);
        let port = self.registers.gpr(Gpr::Rdx) as u16;
        let ram = match strings.kind {
            Kind::Movs => {
                let from = self.locate(source, size, AccessKind::Read)?;
                let to = self.locate(target, size, AccessKind::Write)?;
                let value = self.load_wide(&from)?;
                self.store(&to, value)?;
                from.is_ram() && to.is_ram()
            }
            Kind::Stos => {
                let to = self.locate(target, size, AccessKind::Write)?;
                self.store(&to, u128::from(accumulator.get(self.registers)))?;
                to.is_ram()
            }
            Kind::Lods => {
                let from = self.locate(source, size, AccessKind::Read)?;
                let value = self.load(&from)?;
                accumulator.set(self.registers, value);
                from.is_ram()
            }
            Kind::Cmps => {
                let first = self.locate(source, size, AccessKind::Read)?;
                let second = self.locate(target, size, AccessKind::Read)?;
                let (a, b) = (self.load(&first)?, self.load(&second)?);
                self.set_flags(STATUS, subtract(size, a, b, false).1);
                first.is_ram() && second.is_ram()
            }
            Kind::Scas => {
                let second = self.locate(target, size, AccessKind::Read)?;
                let (a, b) = (accumulator.get(self.registers), self.load(&second)?);
                self.set_flags(STATUS, subtract(size, a, b, false).1);
                second.is_ram()
            }
            Kind::Ins => {
                let to = self.locate(target, size, AccessKind::Write)?;
                let value = u64::from(self.bus.port_read(port, size as u8)) & mask(size);
                self.store(&to, u128::from(value))?;
                false
            }
            Kind::Outs => {
                let from = self.locate(source, size, AccessKind::Read)?;
                let value = self.load(&from)? as u32;
                self.bus.port_write(port, size as u8, value);
                false
            }
        };
        if matches!(strings.kind, Kind::Movs | Kind::Lods | Kind::Cmps | Kind::Outs) {
            self.advance(strings, Gpr::Rsi);
        }
        if matches!(strings.kind, Kind::Movs | Kind::Stos | Kind::Cmps | Kind::Scas | Kind::Ins) {
            self.advance(strings, Gpr::Rdi);
        }
        Ok(Step { ram })
    }
}
