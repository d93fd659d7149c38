//! Instruction bytes: fetched as the CPU fetches them, and decoded.
use super::{Mode, Stop};
use crate::cpu::{Cr4, Exception, Registers, SegmentRegister};
use crate::memory::{Access, GuestMemory, translate, translate_code};
use core::fmt;
use iced_x86::{Decoder, DecoderError, DecoderOptions, Instruction};
use mm::addr::{Gpa, Gva, PAGE};

/// An instruction has at most 15 bytes (APM vol. 3, 1.1).
const LONGEST: usize = 15;

/// The bytes at CS:RIP that could be fetched so far.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Code {
    bytes: [u8; 16],
    len: u8,
}

impl Code {
    /// No bytes: what stands in a report when the fetch itself failed.
    pub const NONE: Self = Self { bytes: [0; 16], len: 0 };

    /// Bytes that somebody else fetched, at most 15 of them.
    pub(super) fn from_slice(bytes: &[u8]) -> Self {
        let mut code = Self::NONE;
        let len = bytes.len().min(LONGEST);
        code.bytes[..len].copy_from_slice(&bytes[..len]);
        code.len = len as u8;
        code
    }

    /// The bytes.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len).min(LONGEST)]
    }

    /// All 16 places; what lies beyond the length is of no meaning.
    #[inline(always)]
    pub(super) fn raw(&self) -> &[u8; 16] {
        &self.bytes
    }

    /// How many bytes there are, 0 to 15.
    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        usize::from(self.len)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.as_slice().iter().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// Whether a linear address is canonical: bits above the most significant implemented one are copies
/// of it (APM vol. 2, 5.3.1).
#[inline(always)]
pub(super) fn is_canonical<R: Registers>(registers: &R, linear: u64) -> bool {
    let unused = if registers.cr4().contains(Cr4::LA57) { 7 } else { 16 };
    ((linear << unused) as i64 >> unused) as u64 == linear
}

/// Linear address of the byte `skip` bytes after CS:RIP, and how many bytes may be fetched from it on
/// before the segment ends.
#[inline]
fn position<R: Registers>(registers: &R, mode: Mode, skip: u64) -> Result<(u64, u64), Stop> {
    if mode == Mode::Bits64 {
        let linear = registers.rip().wrapping_add(skip);
        if !is_canonical(registers, linear) {
            return Err(Stop::Exception(Exception::gp(0)));
        }
        return Ok((linear, LONGEST as u64));
    }
    let cs = registers.segment(SegmentRegister::Cs);
    let offset = (registers.rip() & 0xffff_ffff) + skip;
    if offset > u64::from(cs.limit) {
        return Err(Stop::Exception(Exception::gp(0)));
    }
    Ok((cs.base.wrapping_add(offset) & 0xffff_ffff, u64::from(cs.limit) - offset + 1))
}

/// Fetches up to 15 bytes at CS:RIP, not beyond the page that the first one lies in: what follows may
/// belong to no instruction, and must then not be touched.
///
/// # Errors
/// The exception that the fetch raises, or that the code does not lie in RAM.
#[inline]
pub(super) fn fetch_page<R: Registers>(
    registers: &R,
    memory: &GuestMemory,
    mode: Mode,
) -> Result<Code, Stop> {
    let (linear, room) = position(registers, mode, 0)?;
    let gpa = translate_code(registers, memory, Gva::new(linear))?;
    match memory.fetch_16(gpa) {
        Some(bytes) => Ok(Code { bytes, len: LONGEST.min(room as usize) as u8 }),
        None => fetch_fewer(memory, gpa, room),
    }
}

/// At the end of a page, or where there is no RAM, or none at the moment.
#[cold]
#[inline(never)]
fn fetch_fewer(memory: &GuestMemory, gpa: Gpa, room: u64) -> Result<Code, Stop> {
    let Ok((bytes, len)) = memory.fetch(gpa) else {
        return Err(Stop::Unsupported("the code is not in RAM"));
    };
    Ok(Code { bytes, len: len.min(LONGEST).min(room as usize) as u8 })
}

/// Adds the bytes of the next page to what [`fetch_page`] got.
fn fetch_rest<R: Registers>(
    registers: &R,
    memory: &GuestMemory,
    mode: Mode,
    code: &mut Code,
) -> Result<(), Stop> {
    let have = code.len();
    let (linear, room) = position(registers, mode, have as u64)?;
    let wanted = (LONGEST - have).min(room as usize).min((PAGE - linear % PAGE) as usize);
    let gpa = translate(registers, memory, Gva::new(linear), Access::EXECUTE)?;
    memory
        .read(gpa, &mut code.bytes[have..have + wanted])
        .map_err(|_| Stop::Unsupported("the code is not in RAM"))?;
    code.len = (have + wanted) as u8;
    Ok(())
}

/// Decodes the instruction at CS:RIP, starting from `code` and fetching more as it needs more.
///
/// # Errors
/// The exception that the fetch raises, code outside of RAM, or bytes that are no known instruction.
pub(super) fn decode<R: Registers>(
    registers: &R,
    memory: &GuestMemory,
    mode: Mode,
    code: &mut Code,
) -> Result<Instruction, Stop> {
    let mut instruction = Instruction::default();
    // Empty, the first page's, both pages' bytes; a hint shorter than the instruction costs one more.
    for _ in 0..4 {
        let Ok(mut decoder) =
            Decoder::try_with_ip(mode.bits(), code.as_slice(), registers.rip(), DecoderOptions::NONE)
        else {
            return Err(Stop::Unsupported("the decoder refuses this mode"));
        };
        decoder.decode_out(&mut instruction);
        if !instruction.is_invalid() {
            return Ok(instruction);
        }
        if decoder.position() >= LONGEST {
            break;
        }
        if decoder.last_error() != DecoderError::NoMoreBytes {
            return Err(Stop::Unsupported("these bytes are no instruction that the emulator knows"));
        }
        match code.len() {
            0 => *code = fetch_page(registers, memory, mode)?,
            _ => fetch_rest(registers, memory, mode, code)?,
        }
    }
    // Longer than 15 bytes.
    Err(Stop::Exception(Exception::gp(0)))
}

/// Fetches up to 15 bytes at CS:RIP for a report: both pages if both can be read, else the first.
///
/// # Errors
/// The exception that fetching the first byte raises, or that it does not lie in RAM.
pub(super) fn fetch<R: Registers>(registers: &R, memory: &GuestMemory) -> Result<Code, Stop> {
    let mode = Mode::of(registers);
    let mut code = fetch_page(registers, memory, mode)?;
    while code.len() < LONGEST && fetch_rest(registers, memory, mode, &mut code).is_ok() {}
    Ok(code)
}
