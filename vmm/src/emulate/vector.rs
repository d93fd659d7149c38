//! Moves between vector registers and memory: SSE, and AVX on 128 bits.
use super::address::Logical;
use super::execute::Flow;
use super::{Bus, Machine, Stop};
use crate::cpu::{Cr0, Cr4, Exception, Registers};
use crate::memory::AccessKind;
use iced_x86::{Code, Instruction, Mnemonic, OpKind, Register};

/// Which part of a vector register moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// 128 bits.
    Whole,
    /// 128 bits; the address must be a multiple of 16.
    Aligned,
    /// The low bytes, as many as said; a load clears those above.
    Low(usize),
    /// Bytes 7:0; a load keeps the others.
    LowHalf,
    /// Bytes 15:8; a load keeps the others.
    HighHalf,
}

/// What moves, and whether the instruction has a VEX or EVEX prefix.
fn part(i: &Instruction) -> Option<(Part, bool)> {
    use Mnemonic as M;
    // String instructions of the same name have been dealt with.
    Some(match i.mnemonic() {
        M::Movups | M::Movupd | M::Movdqu | M::Lddqu => (Part::Whole, false),
        M::Movaps | M::Movapd | M::Movdqa | M::Movntps | M::Movntpd | M::Movntdq | M::Movntdqa => {
            (Part::Aligned, false)
        }
        M::Movd | M::Movss => (Part::Low(4), false),
        M::Movq | M::Movsd => (Part::Low(8), false),
        M::Movlps | M::Movlpd => (Part::LowHalf, false),
        M::Movhps | M::Movhpd => (Part::HighHalf, false),
        M::Vmovups | M::Vmovupd | M::Vmovdqu | M::Vlddqu => (Part::Whole, true),
        M::Vmovaps | M::Vmovapd | M::Vmovdqa | M::Vmovntps | M::Vmovntpd | M::Vmovntdq => {
            (Part::Aligned, true)
        }
        M::Vmovntdqa => (Part::Aligned, true),
        M::Vmovd | M::Vmovss => (Part::Low(4), true),
        M::Vmovq | M::Vmovsd => (Part::Low(8), true),
        M::Vmovlps | M::Vmovlpd => (Part::LowHalf, true),
        M::Vmovhps | M::Vmovhpd => (Part::HighHalf, true),
        _ => return None,
    })
}

impl<R: Registers, B: Bus> Machine<'_, R, B> {
    /// Finds bytes whose address must be a multiple of `size`.
    ///
    /// # Errors
    /// #GP(0) where it is not; else as [`Machine::locate`].
    pub(super) fn locate_aligned(
        &self,
        at: Logical,
        size: usize,
        kind: AccessKind,
    ) -> Result<super::access::Place, Stop> {
        let linear = super::address::linear(self.registers, self.mode, at, size, kind)?;
        if linear & (size as u64 - 1) != 0 {
            return Err(Stop::Exception(Exception::gp(0)));
        }
        self.locate(at, size, kind)
    }

    /// The vector register that an operand names.
    fn vector(&self, i: &Instruction, operand: u32) -> Result<u8, Stop> {
        let register = i.op_register(operand);
        let number = (register as u8).wrapping_sub(Register::XMM0 as u8);
        // XMM16 and up exist with EVEX alone; YMM, ZMM, MMX and masks are beyond the back end's view.
        if i.op_kind(operand) != OpKind::Register || number > 15 {
            return Err(Stop::OPERAND);
        }
        Ok(number)
    }

    /// The exceptions that come before any access (APM vol. 2, 11.3.2 to 11.3.4; vol. 4, 2.2).
    fn check_vector_state(&self, vex: bool) -> Result<(), Stop> {
        let (cr0, cr4) = (self.registers.cr0(), self.registers.cr4());
        let enabled = if vex {
            cr4.contains(Cr4::OSXSAVE)
        } else {
            cr4.contains(Cr4::OSFXSR) && !cr0.contains(Cr0::EM)
        };
        if !enabled {
            return Err(Stop::Exception(Exception::UD));
        }
        if cr0.contains(Cr0::TS) {
            return Err(Stop::Exception(Exception::NM));
        }
        Ok(())
    }

    /// The last group: what is not in it either is not supported.
    pub(super) fn vector_move(&mut self, i: &Instruction) -> Result<Flow, Stop> {
        const UNKNOWN: Stop = Stop::Unsupported("not an instruction that the emulator carries out");
        let (part, vex) = part(i).ok_or(UNKNOWN)?;
        if i.has_op_mask() || i.code() == Code::INVALID {
            return Err(UNKNOWN);
        }
        let store = self.is_memory(i, 0);
        let register = self.vector(i, u32::from(store))?;
        self.check_vector_state(vex)?;
        let kind = if store { AccessKind::Write } else { AccessKind::Read };
        let at = self.address(i)?;
        let place = match part {
            Part::Whole => self.locate(at, 16, kind)?,
            Part::Aligned => self.locate_aligned(at, 16, kind)?,
            Part::Low(size) => self.locate(at, size, kind)?,
            Part::LowHalf | Part::HighHalf => self.locate(at, 8, kind)?,
        };
        let old = self.registers.xmm(register);
        if store {
            let value = if part == Part::HighHalf { old >> 64 } else { old };
            self.store(&place, value)?;
            return Ok(Flow::Next);
        }
        // VMOVLPS and its kin take the half that they do not load from a second source.
        let kept = if i.op_count() == 3 { self.registers.xmm(self.vector(i, 1)?) } else { old };
        if vex && !self.registers.clear_above_xmm(register) {
            return Err(Stop::Unsupported("a load with a VEX prefix"));
        }
        let loaded = self.load_wide(&place)?;
        let low = u128::from(u64::MAX);
        let value = match part {
            Part::Whole | Part::Aligned | Part::Low(_) => loaded,
            Part::LowHalf => kept & !low | loaded,
            Part::HighHalf => kept & low | loaded << 64,
        };
        self.registers.set_xmm(register, value);
        Ok(Flow::Next)
    }
}
