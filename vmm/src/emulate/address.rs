//! From a segment and an offset to a linear address (APM vol. 2, 4.5 to 4.12).
use super::arithmetic::mask;
use super::code::is_canonical;
use super::{Mode, Stop};
use crate::cpu::{Cr0, Exception, Registers, Rflags, SegmentAttributes, SegmentRegister};
use crate::memory::AccessKind;

/// An address as an instruction computed it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Logical {
    pub segment: SegmentRegister,
    /// Already cut to the address size.
    pub offset: u64,
    /// Address size in bytes.
    pub address_size: usize,
}

impl Logical {
    /// The address `bytes` further on, or back, within the address size.
    pub(super) fn displaced(self, bytes: i64) -> Self {
        let offset = self.offset.wrapping_add(bytes as u64) & mask(self.address_size);
        Self { offset, ..self }
    }
}

/// Linear addresses outside of 64-bit mode have 32 bits.
pub(super) const fn linear_mask(mode: Mode) -> u64 {
    match mode {
        Mode::Bits64 => u64::MAX,
        Mode::Bits32 | Mode::Bits16 => 0xffff_ffff,
    }
}

/// The linear address of `size` bytes at `at`, after the checks of segmentation.
///
/// # Errors
/// #SS(0) where the segment is SS, else #GP(0).
pub(super) fn linear<R: Registers>(
    registers: &R,
    mode: Mode,
    at: Logical,
    size: usize,
    kind: AccessKind,
) -> Result<u64, Stop> {
    let fault = || {
        Stop::Exception(match at.segment {
            SegmentRegister::Ss => Exception::ss(0),
            _ => Exception::gp(0),
        })
    };
    let last = size.max(1) as u64 - 1;
    if mode == Mode::Bits64 {
        let base = match at.segment {
            SegmentRegister::Fs | SegmentRegister::Gs => registers.segment(at.segment).base,
            _ => 0,
        };
        let first = base.wrapping_add(at.offset);
        if !is_canonical(registers, first) || !is_canonical(registers, first.wrapping_add(last)) {
            return Err(fault());
        }
        return Ok(first);
    }
    let segment = registers.segment(at.segment);
    let checked = registers.cr0().contains(Cr0::PE) && !registers.rflags().contains(Rflags::VM);
    let mut expand_down = false;
    if checked {
        let attributes = segment.attributes;
        let code = attributes.has(SegmentAttributes::CODE);
        let read_write = attributes.has(SegmentAttributes::READ_WRITE);
        let allowed = match kind {
            AccessKind::Write => !code && read_write,
            // Data can always be read, code if its descriptor says so.
            AccessKind::Read | AccessKind::Execute => !code || read_write,
        };
        // A null selector leaves a segment that is not present.
        if !allowed || !attributes.has(SegmentAttributes::PRESENT) {
            return Err(fault());
        }
        expand_down = !code && attributes.has(SegmentAttributes::CONFORMING_OR_EXPAND_DOWN);
    }
    let limit = u64::from(segment.limit);
    let end = at.offset + last;
    let inside = if expand_down {
        let top = if segment.attributes.has(SegmentAttributes::DEFAULT_BIG) { 0xffff_ffff } else { 0xffff };
        at.offset > limit && end <= top
    } else {
        end <= limit
    };
    if !inside {
        return Err(fault());
    }
    Ok(segment.base.wrapping_add(at.offset) & 0xffff_ffff)
}
