//! The moves that drivers use on device registers, without the decoder and without a second walk.
//!
//! In 64-bit code, with no segment override, one aligned memory operand and one register or immediate,
//! all that is left to find is which register and how wide: the hardware has translated and checked the
//! operand's address, and says where it leads. All else is left to the decoder. Whoever changes the code
//! under a vCPU's hands gets another move at the same offset of the same page at worst, with rights
//! that the vCPU had.
use super::arithmetic::{mask, sign_extend};
use super::code::Code;
use super::machine::View;
use super::{Bus, Outcome};
use crate::cpu::{Gpr, Registers, Rflags};
use crate::exit::MemoryFault;
use crate::memory::GuestMemory;

/// What moves where.
#[derive(Clone, Copy)]
enum Move {
    /// Register to memory.
    Store,
    /// Immediate to memory.
    StoreImmediate,
    /// Memory to register.
    Load,
    /// Memory to a wider register.
    Extend { signed: bool },
}

/// Four bytes of code at `at`, sign-extended.
#[inline(always)]
fn signed_32(bytes: &[u8; 16], at: usize) -> u64 {
    match bytes.get(at..at + 4) {
        Some(&[a, b, c, d]) => i32::from_le_bytes([a, b, c, d]) as u64,
        _ => 0,
    }
}

#[inline(always)]
fn byte(bytes: &[u8; 16], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

/// A decoded move.
struct Decoded {
    what: Move,
    /// Bytes in memory.
    size: usize,
    /// Bytes of the register.
    register_size: usize,
    register: u8,
    immediate: u64,
    /// Offset of the operand in its segment.
    address: u64,
    /// Bytes of the instruction.
    len: usize,
}

#[inline(always)]
fn decode<R: Registers>(registers: &R, code: &Code) -> Option<Decoded> {
    let bytes = code.raw();
    let gpr = |number: u8| registers.gpr(Gpr::from_number(number));
    let mut at = 0;
    let mut word = false;
    if byte(bytes, at) == 0x66 {
        word = true;
        at += 1;
    }
    let mut rex = 0;
    if byte(bytes, at) & 0xf0 == 0x40 {
        rex = byte(bytes, at);
        at += 1;
    }
    let width = if rex & 8 != 0 {
        8
    } else if word {
        2
    } else {
        4
    };
    let opcode = byte(bytes, at);
    at += 1;
    let (what, size) = match opcode {
        0x89 => (Move::Store, width),
        0x8b => (Move::Load, width),
        0x88 => (Move::Store, 1),
        0x8a => (Move::Load, 1),
        0xc7 => (Move::StoreImmediate, width),
        0xc6 => (Move::StoreImmediate, 1),
        0xa0..=0xa3 => {
            let address = u64::from_le_bytes(*bytes.get(at..at + 8)?.first_chunk()?);
            let size = if opcode & 1 == 0 { 1 } else { width };
            let what = if opcode < 0xa2 { Move::Load } else { Move::Store };
            let len = at + 8;
            return Some(Decoded {
                what,
                size,
                register_size: size,
                register: 0,
                immediate: 0,
                address,
                len,
            });
        }
        0x0f => {
            let second = byte(bytes, at);
            at += 1;
            match second {
                0xb6 => (Move::Extend { signed: false }, 1),
                0xb7 => (Move::Extend { signed: false }, 2),
                0xbe => (Move::Extend { signed: true }, 1),
                0xbf => (Move::Extend { signed: true }, 2),
                _ => return None,
            }
        }
        _ => return None,
    };
    let register_size = if matches!(what, Move::Extend { .. }) { width } else { size };
    let modrm = byte(bytes, at);
    at += 1;
    let register = modrm >> 3 & 7 | (rex & 4) << 1;
    let high_byte = register_size == 1 && rex == 0 && register >= 4;
    let group = matches!(what, Move::StoreImmediate) && modrm & 0x38 != 0;
    if modrm >= 0xc0 || high_byte && !matches!(what, Move::StoreImmediate) || group {
        return None;
    }
    let mut address = 0;
    let mut relative = false;
    let mut displacement = (modrm >> 6) as usize;
    match modrm & 7 {
        4 => {
            let sib = byte(bytes, at);
            at += 1;
            let index = sib >> 3 & 7 | (rex & 2) << 2;
            if index != 4 {
                address = gpr(index) << (sib >> 6);
            }
            if sib & 7 == 5 && displacement == 0 {
                displacement = 2;
            } else {
                address = address.wrapping_add(gpr(sib & 7 | (rex & 1) << 3));
            }
        }
        5 if displacement == 0 => {
            displacement = 2;
            relative = true;
        }
        rm => address = gpr(rm | (rex & 1) << 3),
    }
    match displacement {
        1 => {
            address = address.wrapping_add(byte(bytes, at) as i8 as u64);
            at += 1;
        }
        2 => {
            address = address.wrapping_add(signed_32(bytes, at));
            at += 4;
        }
        _ => {}
    }
    let mut immediate = 0;
    if matches!(what, Move::StoreImmediate) {
        immediate = signed_32(bytes, at);
        at += size.min(4);
    }
    if relative {
        address = address.wrapping_add(registers.rip()).wrapping_add(at as u64);
    }
    Some(Decoded { what, size, register_size, register, immediate, address, len: at })
}

/// Carries out a plain move, or returns `None` without having touched anything.
#[inline]
pub(super) fn try_move<R: Registers, B: Bus>(
    registers: &mut R,
    memory: &GuestMemory,
    bus: &mut B,
    fault: &MemoryFault,
    code: &Code,
) -> Option<Outcome> {
    let decoded = decode(registers, code)?;
    let writes = matches!(decoded.what, Move::Store | Move::StoreImmediate);
    let gpa = fault.gpa;
    let same_place = (decoded.address ^ gpa.get()) & 0xfff == 0
        && gpa.is_aligned(decoded.size as u64)
        && fault.write == writes;
    let whole = decoded.len <= code.len();
    if !whole || !same_place || fault.page_walk || fault.fetch || memory.is_ram(gpa) {
        return None;
    }
    let (size, width) = (decoded.size, decoded.size as u8);
    let register = View::low(Gpr::from_number(decoded.register), decoded.register_size);
    match decoded.what {
        Move::Store => bus.mmio_write(gpa, width, register.get(registers)),
        Move::StoreImmediate => bus.mmio_write(gpa, width, decoded.immediate & mask(size)),
        Move::Load => {
            let value = bus.mmio_read(gpa, width);
            register.set(registers, value);
        }
        Move::Extend { signed } => {
            let value = bus.mmio_read(gpa, width);
            register.set(registers, if signed { sign_extend(size, value) } else { value & mask(size) });
        }
    }
    registers.set_rip(registers.rip().wrapping_add(decoded.len as u64));
    let flags = registers.rflags();
    if flags.contains(Rflags::RF) {
        registers.set_rflags(flags - Rflags::RF);
    }
    Some(Outcome::Done { single_step: flags.contains(Rflags::TF) })
}
