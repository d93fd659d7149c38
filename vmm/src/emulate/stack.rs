//! PUSH, POP, near calls, jumps and returns, ENTER and LEAVE, whose operand or stack is a device's.
use super::access::Place;
use super::address::Logical;
use super::arithmetic::mask;
use super::code::is_canonical;
use super::execute::Flow;
use super::machine::View;
use super::{Bus, Machine, Mode, Stop};
use crate::cpu::{Exception, Gpr, Registers, SegmentAttributes, SegmentRegister};
use crate::memory::AccessKind;
use iced_x86::{Code, Instruction, Mnemonic, OpKind};

impl<R: Registers, B: Bus> Machine<'_, R, B> {
    /// Bytes of the stack pointer: RSP in 64-bit mode, else as SS says.
    fn stack_size(&self) -> usize {
        if self.mode == Mode::Bits64 {
            return 8;
        }
        let ss = self.registers.segment(SegmentRegister::Ss);
        if ss.attributes.has(SegmentAttributes::DEFAULT_BIG) { 4 } else { 2 }
    }

    /// The stack, `bytes` away from where the stack pointer is.
    fn stack_at(&self, pointer: u64, bytes: i64) -> Logical {
        let address_size = self.stack_size();
        let offset = pointer.wrapping_add(bytes as u64) & mask(address_size);
        Logical { segment: SegmentRegister::Ss, offset, address_size }
    }

    fn stack_pointer(&self) -> u64 {
        View::low(Gpr::Rsp, self.stack_size()).get(self.registers)
    }

    fn set_stack_pointer(&mut self, pointer: u64) {
        View::low(Gpr::Rsp, self.stack_size()).set(self.registers, pointer);
    }

    /// Where a push of `size` bytes goes, with the stack pointer after it.
    fn push_place(&self, size: usize) -> Result<(Place, u64), Stop> {
        let at = self.stack_at(self.stack_pointer(), -(size as i64));
        Ok((self.locate(at, size, AccessKind::Write)?, at.offset))
    }

    /// Where a pop of `size` bytes comes from, with the stack pointer after it.
    fn pop_place(&self, pointer: u64, size: usize) -> Result<(Place, u64), Stop> {
        let at = self.stack_at(pointer, 0);
        Ok((self.locate(at, size, AccessKind::Read)?, at.displaced(size as i64).offset))
    }

    /// Jumps to an offset in CS.
    ///
    /// # Errors
    /// #GP(0) where code can't be there.
    fn check_target(&self, target: u64) -> Result<(), Stop> {
        let reachable = match self.mode {
            Mode::Bits64 => is_canonical(self.registers, target),
            Mode::Bits32 | Mode::Bits16 => {
                target <= u64::from(self.registers.segment(SegmentRegister::Cs).limit)
            }
        };
        if reachable { Ok(()) } else { Err(Stop::Exception(Exception::gp(0))) }
    }

    pub(super) fn stack(&mut self, i: &Instruction) -> Result<Flow, Stop> {
        match i.mnemonic() {
            Mnemonic::Push => self.push(i),
            Mnemonic::Pop => self.pop(i),
            Mnemonic::Call | Mnemonic::Jmp => self.branch(i, i.mnemonic() == Mnemonic::Call),
            Mnemonic::Ret => self.near_return(i),
            Mnemonic::Leave => self.leave(i),
            Mnemonic::Enter => self.enter(i),
            _ => Err(Stop::OPERAND),
        }
    }

    fn push(&mut self, i: &Instruction) -> Result<Flow, Stop> {
        let size = match i.op_kind(0) {
            OpKind::Memory => self.size_of(i, 0)?,
            OpKind::Register => match (View::of(i.op_register(0)), i.code()) {
                (Some(view), _) => view.size,
                (None, Code::Pushq_FS | Code::Pushq_GS) => 8,
                (None, Code::Pushd_ES | Code::Pushd_CS | Code::Pushd_SS | Code::Pushd_DS) => 4,
                (None, Code::Pushd_FS | Code::Pushd_GS) => 4,
                (None, _) => 2,
            },
            OpKind::Immediate16 | OpKind::Immediate8to16 => 2,
            OpKind::Immediate32 | OpKind::Immediate8to32 => 4,
            OpKind::Immediate8to64 | OpKind::Immediate32to64 => 8,
            _ => return Err(Stop::OPERAND),
        };
        // Both found before either is touched.
        let source = match i.op_kind(0) {
            OpKind::Memory => Some(self.operand(i, size, AccessKind::Read)?),
            _ => None,
        };
        let (place, pointer) = self.push_place(size)?;
        let value = match source {
            Some(source) => self.load(&source)?,
            None => self.value(i, 0, size)?,
        };
        self.store(&place, u128::from(value))?;
        self.set_stack_pointer(pointer);
        Ok(Flow::Next)
    }

    fn pop(&mut self, i: &Instruction) -> Result<Flow, Stop> {
        let size = self.size_of(i, 0)?;
        let (source, pointer) = self.pop_place(self.stack_pointer(), size)?;
        if !self.is_memory(i, 0) {
            let value = self.load(&source)?;
            self.set_stack_pointer(pointer);
            self.view(i, 0)?.set(self.registers, value);
            return Ok(Flow::Next);
        }
        // An address that uses the stack pointer uses it as it is after the pop (APM vol. 3, POP).
        let before = self.registers.gpr(Gpr::Rsp);
        self.set_stack_pointer(pointer);
        let moved = self.operand(i, size, AccessKind::Write).and_then(|target| {
            let value = self.load(&source)?;
            self.store(&target, u128::from(value))
        });
        if moved.is_err() {
            self.registers.set_gpr(Gpr::Rsp, before);
        }
        moved.map(|()| Flow::Next)
    }

    /// CALL and JMP, near.
    fn branch(&mut self, i: &Instruction, call: bool) -> Result<Flow, Stop> {
        let (size, source) = match i.op_kind(0) {
            OpKind::Memory => {
                let size = self.size_of(i, 0)?;
                (size, Some(self.operand(i, size, AccessKind::Read)?))
            }
            OpKind::Register => (self.view(i, 0)?.size, None),
            OpKind::NearBranch16 => (2, None),
            OpKind::NearBranch32 => (4, None),
            OpKind::NearBranch64 => (8, None),
            _ => return Err(Stop::Unsupported("a far transfer")),
        };
        if !call && source.is_none() {
            return Err(Stop::Retry);
        }
        let pushed = if call { Some(self.push_place(size)?) } else { None };
        let target = match (source, i.op_kind(0)) {
            (Some(source), _) => self.load(&source)?,
            (None, OpKind::Register) => self.value(i, 0, size)?,
            (None, _) => i.near_branch_target(),
        };
        self.check_target(target)?;
        if let Some((place, pointer)) = pushed {
            let after = self.registers.rip().wrapping_add(i.len() as u64) & mask(size);
            self.store(&place, u128::from(after))?;
            self.set_stack_pointer(pointer);
        }
        self.registers.set_rip(target);
        Ok(Flow::Jumped)
    }

    fn near_return(&mut self, i: &Instruction) -> Result<Flow, Stop> {
        let size = match i.code() {
            Code::Retnw | Code::Retnw_imm16 => 2,
            Code::Retnd | Code::Retnd_imm16 => 4,
            _ => 8,
        };
        let released = if i.op_count() == 1 { i.immediate(0) } else { 0 };
        let (place, pointer) = self.pop_place(self.stack_pointer(), size)?;
        let target = self.load(&place)?;
        self.check_target(target)?;
        self.set_stack_pointer(pointer.wrapping_add(released));
        self.registers.set_rip(target);
        Ok(Flow::Jumped)
    }

    fn leave(&mut self, i: &Instruction) -> Result<Flow, Stop> {
        let size = match i.code() {
            Code::Leavew => 2,
            Code::Leaved => 4,
            _ => 8,
        };
        let frame = View::low(Gpr::Rbp, self.stack_size()).get(self.registers);
        let (place, pointer) = self.pop_place(frame, size)?;
        let value = self.load(&place)?;
        self.set_stack_pointer(pointer);
        View::low(Gpr::Rbp, size).set(self.registers, value);
        Ok(Flow::Next)
    }

    fn enter(&mut self, i: &Instruction) -> Result<Flow, Stop> {
        if i.immediate(1) & 0x1f != 0 {
            return Err(Stop::Unsupported("ENTER with a nesting level"));
        }
        let size = match i.code() {
            Code::Enterw_imm16_imm8 => 2,
            Code::Enterd_imm16_imm8 => 4,
            _ => 8,
        };
        let (place, pointer) = self.push_place(size)?;
        let frame = View::low(Gpr::Rbp, size);
        let value = frame.get(self.registers);
        self.store(&place, u128::from(value))?;
        frame.set(self.registers, pointer);
        self.set_stack_pointer(pointer.wrapping_sub(i.immediate(0) & 0xffff));
        Ok(Flow::Next)
    }
}
