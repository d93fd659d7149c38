//! Data accesses: an operand's bytes found first, page by page, and only then read or written.
//!
//! Finding an operand checks all that can go wrong, as a CPU does before an instruction has effects;
//! moving its bytes then can't fail.
use super::address::{Logical, linear, linear_mask};
use super::{Bus, Machine, Stop};
use crate::cpu::{Cr0, Exception, Registers, Rflags};
use crate::memory::{Access, AccessKind, translate};
use mm::addr::{Gpa, Gva, PAGE};

/// How often an atomic update is tried again before the guest runs on and comes back.
const ATTEMPTS: usize = 64;

/// Bytes in one page.
#[derive(Clone, Copy, Debug)]
struct Part {
    gpa: Gpa,
    len: usize,
    ram: bool,
}

/// Where an operand's bytes are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    first: Part,
    /// The part in the next page, if it has any bytes.
    second: Part,
}

impl Place {
    /// Whether no part of it is a device's.
    pub(super) fn is_ram(&self) -> bool {
        self.first.ram && (self.second.len == 0 || self.second.ram)
    }

    /// Bytes.
    pub(super) fn size(&self) -> usize {
        self.first.len + self.second.len
    }

    fn parts(&self) -> impl Iterator<Item = &Part> {
        [&self.first, &self.second].into_iter().filter(|part| part.len > 0)
    }
}

impl<R: Registers, B: Bus> Machine<'_, R, B> {
    fn part(&self, linear: u64, len: usize, kind: AccessKind) -> Result<Part, Stop> {
        let access = Access { kind, implicit_supervisor: false };
        let gpa = translate(self.registers, self.memory, Gva::new(linear), access)?;
        Ok(Part { gpa, len, ram: self.memory.is_ram(gpa) })
    }

    /// Finds `size` (1 to 16) bytes.
    ///
    /// # Errors
    /// What segmentation, paging or alignment checking raise.
    pub(super) fn locate(&self, at: Logical, size: usize, kind: AccessKind) -> Result<Place, Stop> {
        let start = linear(self.registers, self.mode, at, size, kind)?;
        let room = (PAGE - start % PAGE) as usize;
        let first = self.part(start, size.min(room), kind)?;
        let mut second = Part { gpa: first.gpa, len: 0, ram: true };
        if size > room {
            let next = start.wrapping_add(room as u64) & linear_mask(self.mode);
            second = self.part(next, size - room, kind)?;
        }
        let misaligned = start & (size as u64 - 1) != 0;
        if misaligned
            && size <= 8
            && self.registers.cpl() == 3
            && self.registers.rflags().contains(Rflags::AC)
            && self.registers.cr0().contains(Cr0::AM)
        {
            return Err(Stop::Exception(Exception::ac()));
        }
        Ok(Place { first, second })
    }

    /// Reads a place of at most 8 bytes.
    pub(super) fn load(&mut self, place: &Place) -> Result<u64, Stop> {
        Ok(self.load_wide(place)? as u64)
    }

    /// Reads a place of at most 16 bytes.
    pub(super) fn load_wide(&mut self, place: &Place) -> Result<u128, Stop> {
        let mut bytes = [0; 16];
        let mut at = 0;
        for part in place.parts() {
            let target = bytes.get_mut(at..at + part.len).ok_or(Stop::TOO_WIDE)?;
            if part.ram {
                self.memory.read(part.gpa, target)?;
            } else {
                pieces(part.gpa, part.len, |gpa, offset, size| {
                    let value = self.bus.mmio_read(gpa, size as u8).to_le_bytes();
                    target[offset..offset + size].copy_from_slice(&value[..size]);
                });
            }
            at += part.len;
        }
        Ok(u128::from_le_bytes(bytes))
    }

    /// Writes a place.
    pub(super) fn store(&mut self, place: &Place, value: u128) -> Result<(), Stop> {
        let bytes = value.to_le_bytes();
        let mut at = 0;
        for part in place.parts() {
            let source = bytes.get(at..at + part.len).ok_or(Stop::TOO_WIDE)?;
            if part.ram {
                self.memory.write(part.gpa, source)?;
            } else {
                pieces(part.gpa, part.len, |gpa, offset, size| {
                    let mut value = [0; 8];
                    value[..size].copy_from_slice(&source[offset..offset + size]);
                    self.bus.mmio_write(gpa, size as u8, u64::from_le_bytes(value));
                });
            }
            at += part.len;
        }
        Ok(())
    }

    /// Replaces a place of at most 8 bytes by what `change` makes of it, and returns what was there and
    /// what `change` said besides. Atomic if `locked` and the place is RAM; a device sees a read and a
    /// write.
    pub(super) fn modify<T>(
        &mut self,
        place: &Place,
        locked: bool,
        change: impl Fn(u64) -> (u64, T),
    ) -> Result<(u64, T), Stop> {
        if !(locked && place.is_ram()) {
            let old = self.load(place)?;
            let (new, said) = change(old);
            self.store(place, u128::from(new))?;
            return Ok((old, said));
        }
        let (gpa, size) = (place.first.gpa, place.size());
        if place.second.len > 0 || !gpa.is_aligned(size as u64) {
            // A split lock on memory that the hardware reaches by itself.
            return Err(Stop::Retry);
        }
        let mut old = self.load(place)?;
        for _ in 0..ATTEMPTS {
            let (new, said) = change(old);
            let found = self.memory.compare_exchange(gpa, size, old, new)?;
            if found == old {
                return Ok((old, said));
            }
            old = found;
        }
        Err(Stop::Retry)
    }
}

/// Cuts an access to a device into what the bus carries: 1, 2, 4 or 8 bytes. Such an access stays
/// whole even where it is misaligned; others are cut at their natural boundaries.
fn pieces(gpa: Gpa, len: usize, mut each: impl FnMut(Gpa, usize, usize)) {
    if matches!(len, 1 | 2 | 4 | 8) {
        return each(gpa, 0, len);
    }
    let mut offset = 0;
    while offset < len {
        let at = gpa + offset as u64;
        let size = [8usize, 4, 2]
            .into_iter()
            .find(|&size| size <= len - offset && at.is_aligned(size as u64))
            .unwrap_or(1);
        each(at, offset, size);
        offset += size;
    }
}
