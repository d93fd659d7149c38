//! Carries out a decoded instruction: which group it belongs to, and the groups on integers.
use super::arithmetic::{Operation, STATUS, add, mask, sign_extend, subtract, when};
use super::bit::{BitOperation, Scan, crc32};
use super::machine::View;
use super::multiply::{divide, multiply};
use super::shift::{Shift, double};
use super::{Bus, Machine, Stop, string};
use crate::cpu::{Exception, Gpr, Registers, Rflags};
use crate::memory::AccessKind;
use iced_x86::{Instruction, Mnemonic, OpKind};

/// Where execution goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// At the next instruction.
    Next,
    /// Where RIP has been set to.
    Jumped,
    /// At the same instruction: a repeated one that has more to do.
    Again,
}

impl<R: Registers, B: Bus> Machine<'_, R, B> {
    /// Carries out one instruction, except for advancing RIP.
    pub(super) fn execute(&mut self, i: &Instruction) -> Result<Flow, Stop> {
        use Mnemonic as M;
        if let Some((kind, size)) = string::kind(i.code()) {
            return self.string(i, kind, size);
        }
        match i.mnemonic() {
            M::Push | M::Pop | M::Call | M::Ret | M::Jmp | M::Enter | M::Leave => return self.stack(i),
            // They access a stack or tables that no operand names.
            M::Pushf | M::Pushfd | M::Pushfq | M::Popf | M::Popfd | M::Popfq => return Err(Stop::OPERAND),
            M::Pusha | M::Pushad | M::Popa | M::Popad => return Err(Stop::OPERAND),
            M::Iret | M::Iretd | M::Iretq | M::Retf => return Err(Stop::OPERAND),
            _ => {}
        }
        if !(0..i.op_count()).any(|operand| self.is_memory(i, operand)) {
            // It can't be what the hardware stopped at.
            return Err(Stop::Retry);
        }
        match i.mnemonic() {
            M::Mov | M::Movnti | M::Movdiri => self.mov(i, |_, value| value),
            M::Movbe => self.mov(i, |size, value| value.swap_bytes() >> (64 - 8 * size)),
            M::Movzx => self.extend(i, |_, value| value),
            M::Movsx | M::Movsxd => self.extend(i, sign_extend),
            M::Add => self.binary(i, Operation::Add, true),
            M::Or => self.binary(i, Operation::Or, true),
            M::Adc => self.binary(i, Operation::Adc, true),
            M::Sbb => self.binary(i, Operation::Sbb, true),
            M::And => self.binary(i, Operation::And, true),
            M::Sub => self.binary(i, Operation::Sub, true),
            M::Xor => self.binary(i, Operation::Xor, true),
            M::Cmp => self.binary(i, Operation::Sub, false),
            M::Test => self.binary(i, Operation::And, false),
            M::Inc => self.unary(i, STATUS - Rflags::CF, |size, a| add(size, a, 1, false)),
            M::Dec => self.unary(i, STATUS - Rflags::CF, |size, a| subtract(size, a, 1, false)),
            M::Neg => self.unary(i, STATUS, |size, a| subtract(size, 0, a, false)),
            M::Not => self.unary(i, Rflags::empty(), |size, a| (!a & mask(size), Rflags::empty())),
            M::Xchg => self.exchange(i, false),
            M::Xadd => self.exchange(i, true),
            M::Cmpxchg => self.compare_exchange(i),
            M::Cmpxchg8b => self.compare_exchange_8(i),
            M::Cmpxchg16b => self.compare_exchange_16(i),
            M::Bt => self.bit(i, BitOperation::Test),
            M::Bts => self.bit(i, BitOperation::Set),
            M::Btr => self.bit(i, BitOperation::Reset),
            M::Btc => self.bit(i, BitOperation::Complement),
            M::Rol => self.shift(i, Shift::Rol),
            M::Ror => self.shift(i, Shift::Ror),
            M::Rcl => self.shift(i, Shift::Rcl),
            M::Rcr => self.shift(i, Shift::Rcr),
            M::Shl | M::Sal => self.shift(i, Shift::Shl),
            M::Shr => self.shift(i, Shift::Shr),
            M::Sar => self.shift(i, Shift::Sar),
            M::Shld => self.shift_double(i, true),
            M::Shrd => self.shift_double(i, false),
            M::Mul => self.multiply(i, false),
            M::Imul if i.op_count() == 1 => self.multiply(i, true),
            M::Imul => self.multiply_into(i),
            M::Div => self.divide(i, false),
            M::Idiv => self.divide(i, true),
            M::Bsf => self.scan(i, Scan::Bsf),
            M::Bsr => self.scan(i, Scan::Bsr),
            M::Tzcnt => self.scan(i, Scan::Tzcnt),
            M::Lzcnt => self.scan(i, Scan::Lzcnt),
            M::Popcnt => self.scan(i, Scan::Popcnt),
            M::Crc32 => self.crc(i),
            M::Xlatb => {
                let value = self.value(i, 0, 1)?;
                View::low(Gpr::Rax, 1).set(self.registers, value);
                Ok(Flow::Next)
            }
            // What a device holds is not cached.
            M::Prefetch | M::Prefetchw | M::Prefetchwt1 | M::Prefetchnta | M::Prefetcht0 => Ok(Flow::Next),
            M::Prefetcht1 | M::Prefetcht2 | M::Clflush | M::Clflushopt | M::Clwb | M::Nop => Ok(Flow::Next),
            mnemonic => match condition(mnemonic) {
                Some((Conditional::Set, code)) => {
                    let place = self.operand(i, 1, AccessKind::Write)?;
                    let value = holds(code, self.registers.rflags());
                    self.store(&place, u128::from(value))?;
                    Ok(Flow::Next)
                }
                Some((Conditional::Move, code)) => self.conditional_move(i, code),
                None => self.vector_move(i),
            },
        }
    }

    fn mov(&mut self, i: &Instruction, change: impl Fn(usize, u64) -> u64) -> Result<Flow, Stop> {
        if self.is_memory(i, 0) {
            let size = self.size_of(i, 0)?;
            let value = change(size, self.value(i, 1, size)?);
            let place = self.operand(i, size, AccessKind::Write)?;
            self.store(&place, u128::from(value))?;
        } else {
            let target = self.view(i, 0)?;
            let value = self.value(i, 1, target.size)?;
            target.set(self.registers, change(target.size, value));
        }
        Ok(Flow::Next)
    }

    fn extend(&mut self, i: &Instruction, change: impl Fn(usize, u64) -> u64) -> Result<Flow, Stop> {
        let target = self.view(i, 0)?;
        let size = self.size_of(i, 1)?;
        let value = self.value(i, 1, size)?;
        target.set(self.registers, change(size, value));
        Ok(Flow::Next)
    }

    fn binary(&mut self, i: &Instruction, operation: Operation, writes: bool) -> Result<Flow, Stop> {
        let size = self.size_of(i, 0)?;
        let before = self.registers.rflags();
        let flags = if !self.is_memory(i, 0) {
            let target = self.view(i, 0)?;
            let b = self.value(i, 1, size)?;
            let (result, flags) = operation.apply(size, target.get(self.registers), b, before);
            if writes {
                target.set(self.registers, result);
            }
            flags
        } else {
            let b = self.value(i, 1, size)?;
            if writes {
                let place = self.operand(i, size, AccessKind::Write)?;
                self.modify(&place, self.is_locked(i), |a| operation.apply(size, a, b, before))?.1
            } else {
                let a = self.value(i, 0, size)?;
                operation.apply(size, a, b, before).1
            }
        };
        self.set_flags(STATUS, flags);
        Ok(Flow::Next)
    }

    fn unary(
        &mut self,
        i: &Instruction,
        changed: Rflags,
        change: impl Fn(usize, u64) -> (u64, Rflags),
    ) -> Result<Flow, Stop> {
        let size = self.size_of(i, 0)?;
        let place = self.operand(i, size, AccessKind::Write)?;
        let (_, flags) = self.modify(&place, self.is_locked(i), |a| change(size, a))?;
        self.set_flags(changed, flags);
        Ok(Flow::Next)
    }

    fn exchange(&mut self, i: &Instruction, adds: bool) -> Result<Flow, Stop> {
        let source = self.view(i, 1)?;
        let size = source.size;
        let place = self.operand(i, size, AccessKind::Write)?;
        let b = source.get(self.registers);
        let locked = self.is_locked(i);
        let (old, flags) = self
            .modify(&place, locked, |a| if adds { add(size, a, b, false) } else { (b, Rflags::empty()) })?;
        source.set(self.registers, old);
        if adds {
            self.set_flags(STATUS, flags);
        }
        Ok(Flow::Next)
    }

    fn compare_exchange(&mut self, i: &Instruction) -> Result<Flow, Stop> {
        let source = self.view(i, 1)?;
        let size = source.size;
        let place = self.operand(i, size, AccessKind::Write)?;
        let accumulator = View::low(Gpr::Rax, size);
        let expected = accumulator.get(self.registers);
        let new = source.get(self.registers);
        let (old, ()) =
            self.modify(&place, self.is_locked(i), |a| (if a == expected { new } else { a }, ()))?;
        if old != expected {
            accumulator.set(self.registers, old);
        }
        self.set_flags(STATUS, subtract(size, expected, old, false).1);
        Ok(Flow::Next)
    }

    /// The 64 (or 128) bits in a pair of registers of `size` bytes.
    fn pair(&self, high: Gpr, low: Gpr, size: usize) -> u128 {
        let half = |gpr| u128::from(View::low(gpr, size).get(self.registers));
        half(high) << (8 * size) | half(low)
    }

    fn finish_pair(&mut self, expected: u128, old: u128, size: usize) -> Flow {
        if old != expected {
            View::low(Gpr::Rdx, size).set(self.registers, (old >> (8 * size)) as u64);
            View::low(Gpr::Rax, size).set(self.registers, old as u64);
        }
        self.set_flags(Rflags::ZF, when(old == expected, Rflags::ZF));
        Flow::Next
    }

    fn compare_exchange_8(&mut self, i: &Instruction) -> Result<Flow, Stop> {
        let place = self.operand(i, 8, AccessKind::Write)?;
        let expected = self.pair(Gpr::Rdx, Gpr::Rax, 4);
        let new = self.pair(Gpr::Rcx, Gpr::Rbx, 4) as u64;
        let change = |a| (if u128::from(a) == expected { new } else { a }, ());
        let (old, ()) = self.modify(&place, self.is_locked(i), change)?;
        Ok(self.finish_pair(expected, u128::from(old), 4))
    }

    fn compare_exchange_16(&mut self, i: &Instruction) -> Result<Flow, Stop> {
        let at = self.address(i)?;
        let place = self.locate_aligned(at, 16, AccessKind::Write)?;
        if self.is_locked(i) && place.is_ram() {
            return Err(Stop::Retry);
        }
        let expected = self.pair(Gpr::Rdx, Gpr::Rax, 8);
        let new = self.pair(Gpr::Rcx, Gpr::Rbx, 8);
        let old = self.load_wide(&place)?;
        self.store(&place, if old == expected { new } else { old })?;
        Ok(self.finish_pair(expected, old, 8))
    }

    fn bit(&mut self, i: &Instruction, operation: BitOperation) -> Result<Flow, Stop> {
        let size = self.size_of(i, 0)?;
        let number = self.value(i, 1, size)?;
        let mut at = self.address(i)?;
        if i.op_kind(1) == OpKind::Register {
            // A signed offset in bits, which may lead away from the operand (APM vol. 3, BT).
            let operands = sign_extend(size, number) as i64 >> (8 * size).trailing_zeros();
            at = at.displaced(operands.wrapping_mul(size as i64));
        }
        let bit = if operation == BitOperation::Test {
            let place = self.locate(at, size, AccessKind::Read)?;
            operation.apply(size, self.load(&place)?, number).1
        } else {
            let place = self.locate(at, size, AccessKind::Write)?;
            self.modify(&place, self.is_locked(i), |a| operation.apply(size, a, number))?.1
        };
        self.set_flags(Rflags::CF, when(bit, Rflags::CF));
        Ok(Flow::Next)
    }

    fn shift(&mut self, i: &Instruction, shift: Shift) -> Result<Flow, Stop> {
        let size = self.size_of(i, 0)?;
        let count = self.value(i, 1, 1)?;
        let before = self.registers.rflags();
        let place = self.operand(i, size, AccessKind::Write)?;
        let (_, flags) = self.modify(&place, false, |a| shift.apply(size, a, count, before))?;
        self.set_flags(STATUS, flags);
        Ok(Flow::Next)
    }

    fn shift_double(&mut self, i: &Instruction, left: bool) -> Result<Flow, Stop> {
        let source = self.view(i, 1)?;
        let size = source.size;
        let (b, count) = (source.get(self.registers), self.value(i, 2, 1)?);
        let before = self.registers.rflags();
        let place = self.operand(i, size, AccessKind::Write)?;
        let (_, flags) = self.modify(&place, false, |a| double(left, size, a, b, count, before))?;
        self.set_flags(STATUS, flags);
        Ok(Flow::Next)
    }

    /// CF and OF tell of a product that needs its high half; the others are undefined and stay.
    fn set_product_flags(&mut self, overflow: bool) {
        let both = Rflags::CF | Rflags::OF;
        self.set_flags(both, when(overflow, both));
    }

    fn multiply(&mut self, i: &Instruction, signed: bool) -> Result<Flow, Stop> {
        let size = self.size_of(i, 0)?;
        let b = self.value(i, 0, size)?;
        let a = View::low(Gpr::Rax, size).get(self.registers);
        let (low, high, overflow) = multiply(size, a, b, signed);
        self.set_halves(size, high, low);
        self.set_product_flags(overflow);
        Ok(Flow::Next)
    }

    /// Sets AH:AL, DX:AX, EDX:EAX or RDX:RAX.
    fn set_halves(&mut self, size: usize, high: u64, low: u64) {
        if size == 1 {
            View::low(Gpr::Rax, 2).set(self.registers, high << 8 | low);
        } else {
            View::low(Gpr::Rax, size).set(self.registers, low);
            View::low(Gpr::Rdx, size).set(self.registers, high);
        }
    }

    fn multiply_into(&mut self, i: &Instruction) -> Result<Flow, Stop> {
        let target = self.view(i, 0)?;
        let size = target.size;
        let b = self.value(i, 1, size)?;
        let a = if i.op_count() == 3 { self.value(i, 2, size)? } else { target.get(self.registers) };
        let (low, _, overflow) = multiply(size, a, b, true);
        target.set(self.registers, low);
        self.set_product_flags(overflow);
        Ok(Flow::Next)
    }

    fn divide(&mut self, i: &Instruction, signed: bool) -> Result<Flow, Stop> {
        let size = self.size_of(i, 0)?;
        let divisor = self.value(i, 0, size)?;
        let low = View::low(Gpr::Rax, size).get(self.registers);
        let high = if size == 1 {
            View::low(Gpr::Rax, 2).get(self.registers) >> 8
        } else {
            View::low(Gpr::Rdx, size).get(self.registers)
        };
        let (quotient, remainder) =
            divide(size, high, low, divisor, signed).ok_or(Stop::Exception(Exception::DE))?;
        self.set_halves(size, remainder, quotient);
        Ok(Flow::Next)
    }

    fn scan(&mut self, i: &Instruction, scan: Scan) -> Result<Flow, Stop> {
        let target = self.view(i, 0)?;
        let value = self.value(i, 1, target.size)?;
        let (result, flags) = scan.apply(target.size, value, self.registers.rflags());
        if let Some(result) = result {
            target.set(self.registers, result);
        }
        self.set_flags(STATUS, flags);
        Ok(Flow::Next)
    }

    fn crc(&mut self, i: &Instruction) -> Result<Flow, Stop> {
        let target = self.view(i, 0)?;
        let size = self.size_of(i, 1)?;
        let value = self.value(i, 1, size)?;
        let crc = crc32(size, target.get(self.registers) as u32, value);
        target.set(self.registers, u64::from(crc));
        Ok(Flow::Next)
    }

    /// The operand is read in any case, and a 32-bit register cleared above in any case.
    fn conditional_move(&mut self, i: &Instruction, code: u8) -> Result<Flow, Stop> {
        let target = self.view(i, 0)?;
        let value = self.value(i, 1, target.size)?;
        let moves = holds(code, self.registers.rflags());
        let value = if moves { value } else { target.get(self.registers) };
        target.set(self.registers, value);
        Ok(Flow::Next)
    }
}

enum Conditional {
    Set,
    Move,
}

/// The condition of SETcc and CMOVcc as the low four bits of the opcode encode it.
fn condition(mnemonic: Mnemonic) -> Option<(Conditional, u8)> {
    use Mnemonic as M;
    let set = match mnemonic {
        M::Seto => 0,
        M::Setno => 1,
        M::Setb => 2,
        M::Setae => 3,
        M::Sete => 4,
        M::Setne => 5,
        M::Setbe => 6,
        M::Seta => 7,
        M::Sets => 8,
        M::Setns => 9,
        M::Setp => 10,
        M::Setnp => 11,
        M::Setl => 12,
        M::Setge => 13,
        M::Setle => 14,
        M::Setg => 15,
        _ => 16,
    };
    if set < 16 {
        return Some((Conditional::Set, set));
    }
    let moves = match mnemonic {
        M::Cmovo => 0,
        M::Cmovno => 1,
        M::Cmovb => 2,
        M::Cmovae => 3,
        M::Cmove => 4,
        M::Cmovne => 5,
        M::Cmovbe => 6,
        M::Cmova => 7,
        M::Cmovs => 8,
        M::Cmovns => 9,
        M::Cmovp => 10,
        M::Cmovnp => 11,
        M::Cmovl => 12,
        M::Cmovge => 13,
        M::Cmovle => 14,
        M::Cmovg => 15,
        _ => return None,
    };
    Some((Conditional::Move, moves))
}

/// Whether a condition holds (APM vol. 3, 1.2.6: odd codes negate the even one before).
fn holds(code: u8, flags: Rflags) -> bool {
    let has = |flag| flags.contains(flag);
    let less = has(Rflags::SF) != has(Rflags::OF);
    let even = match code >> 1 {
        0 => has(Rflags::OF),
        1 => has(Rflags::CF),
        2 => has(Rflags::ZF),
        3 => has(Rflags::CF) || has(Rflags::ZF),
        4 => has(Rflags::SF),
        5 => has(Rflags::PF),
        6 => less,
        _ => less || has(Rflags::ZF),
    };
    even != (code & 1 != 0)
}
