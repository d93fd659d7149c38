//! ELF kernels: with a PVH entry note, or a plain x86-64 vmlinux (System V ABI, chapters 4 and 5; Xen,
//! docs/misc/pvh.pandoc).
use super::Piece;
use super::error::Problem;
use super::image::{Image, u16_at, u32_at, u64_at};
use super::low_memory::CMDLINE_SPACE;
use super::place::{Extent, Plan, Room, Start};
use crate::memory::{GuestMemory, Layout};
use alloc::vec::Vec;

/// First bytes of every ELF file.
pub(super) const MAGIC: [u8; 4] = *b"\x7fELF";

/// Most loadable segments of a kernel that is accepted; real ones have five or so.
const SEGMENTS_MAX: usize = 64;
/// Most program headers.
const HEADERS_MAX: u64 = 128;
/// Most bytes of a note segment that are searched.
const NOTES_MAX: u64 = 64 << 10;

const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const XEN_ELFNOTE_PHYS32_ENTRY: u32 = 18;

/// A program header, the same for both classes.
struct Segment {
    kind: u32,
    offset: u64,
    vaddr: u64,
    file_bytes: u64,
    extent: Extent,
}

struct Elf<'a> {
    image: Image<'a>,
    wide: bool,
    entry: u64,
    segments: Vec<Segment>,
}

impl<'a> Elf<'a> {
    fn parse(image: Image<'a>) -> Result<Self, Problem> {
        let ident = image.part("ELF identification", 0, 16)?;
        let wide = match ident[4] {
            1 => false,
            2 => true,
            class => {
                let expected = "1 (32 bits) or 2 (64 bits)";
                return Err(Problem::Field { name: "EI_CLASS", value: class.into(), expected });
            }
        };
        if ident[5] != 1 {
            let expected = "1 (little-endian)";
            return Err(Problem::Field { name: "EI_DATA", value: ident[5].into(), expected });
        }
        let header = image.part("ELF header", 0, if wide { 64 } else { 52 })?;
        let machine = u16_at(header, 18);
        if !matches!(machine, 3 | 62) || wide != (machine == 62) {
            let expected = if wide { "62 (x86-64)" } else { "3 (80386)" };
            return Err(Problem::Field { name: "e_machine", value: machine.into(), expected });
        }
        let kind = u16_at(header, 16);
        if !matches!(kind, 2 | 3) {
            let expected = "2 (an executable) or 3 (a position-independent one)";
            return Err(Problem::Field { name: "e_type", value: kind.into(), expected });
        }
        let (entry, offset, sizes) = if wide {
            (u64_at(header, 24), u64_at(header, 32), 54)
        } else {
            (u32_at(header, 24).into(), u32_at(header, 28).into(), 42)
        };
        let size = u64::from(u16_at(header, sizes));
        let expected_size = if wide { 56 } else { 32 };
        if size != expected_size {
            let expected = if wide { "56" } else { "32" };
            return Err(Problem::Field { name: "e_phentsize", value: size, expected });
        }
        let count = u64::from(u16_at(header, sizes + 2));
        if count == 0 || count > HEADERS_MAX {
            return Err(Problem::Field { name: "e_phnum", value: count, expected: "1 to 128" });
        }
        let table = image.part("program headers", offset, count * size)?;
        let segments =
            table.chunks_exact(size as usize).map(|h| Segment::parse(h, wide)).collect::<Result<_, _>>()?;
        Ok(Self { image, wide, entry, segments })
    }

    fn loadable(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().filter(|s| s.kind == PT_LOAD && s.extent.bytes() != 0)
    }

    /// The 32-bit entry point of the PVH note, if there is one.
    fn pvh_entry(&self) -> Option<u32> {
        self.segments
            .iter()
            .filter(|s| s.kind == PT_NOTE)
            .filter_map(|s| self.image.part("notes", s.offset, s.file_bytes.min(NOTES_MAX)).ok())
            .find_map(find_phys32_entry)
    }

    /// The entry point as a physical address. Linux's e_entry is one; others' are virtual ones of a segment.
    fn physical_entry(&self) -> Result<u64, Problem> {
        let holds = |s: &&Segment| (s.extent.from..s.extent.to).contains(&self.entry);
        if self.loadable().any(|s| holds(&s)) {
            return Ok(self.entry);
        }
        self.loadable()
            .find_map(|s| {
                let offset = self.entry.checked_sub(s.vaddr)?;
                (offset < s.extent.bytes()).then(|| s.extent.from + offset)
            })
            .ok_or(Problem::Field { name: "e_entry", value: self.entry, expected: "an address in a segment" })
    }
}

impl Segment {
    fn parse(header: &[u8], wide: bool) -> Result<Self, Problem> {
        let (offset, vaddr, paddr, file_bytes, bytes): (u64, u64, u64, u64, u64) = if wide {
            let f = |at| u64_at(header, at);
            (f(8), f(16), f(24), f(32), f(40))
        } else {
            let f = |at| u32_at(header, at).into();
            (f(4), f(8), f(12), f(16), f(20))
        };
        let kind = u32_at(header, 0);
        // Only what is loaded has a place in memory.
        let extent = if kind == PT_LOAD {
            Extent::sized(paddr, bytes).ok_or(Problem::Field {
                name: "p_memsz",
                value: bytes,
                expected: "a size within the physical address space",
            })?
        } else {
            Extent::EMPTY
        };
        if kind == PT_LOAD && file_bytes > bytes {
            let expected = "at most p_memsz";
            return Err(Problem::Field { name: "p_filesz", value: file_bytes, expected });
        }
        Ok(Self { kind, offset, vaddr, file_bytes, extent })
    }
}

/// Searches notes (name size, descriptor size, type, name, descriptor, each padded to 4 bytes).
fn find_phys32_entry(mut notes: &[u8]) -> Option<u32> {
    while notes.len() >= 12 {
        let name_size = u32_at(notes, 0) as usize;
        let desc_size = u32_at(notes, 4) as usize;
        let kind = u32_at(notes, 8);
        let name = notes.get(12..)?.get(..name_size)?;
        let desc_at = 12usize.checked_add(name_size.checked_next_multiple_of(4)?)?;
        let desc = notes.get(desc_at..)?.get(..desc_size)?;
        if kind == XEN_ELFNOTE_PHYS32_ENTRY && name == b"Xen\0" && desc.len() >= 4 {
            return Some(u32_at(desc, 0));
        }
        notes = notes.get(desc_at.checked_add(desc_size.checked_next_multiple_of(4)?)?..)?;
    }
    None
}

/// Copies the segments to their physical addresses and zeroes what the file does not hold.
pub(super) fn load<'a>(memory: &GuestMemory, room: &Room, image: Image<'a>) -> Result<Plan<'a>, Problem> {
    let elf = Elf::parse(image)?;
    let start = match elf.pvh_entry() {
        Some(entry) => Start::Pvh { entry },
        None if elf.wide => Start::Linux { header: &[], entry: elf.physical_entry()?, long: true, elf: true },
        None => {
            let expected = "2 (64 bits), or a 32-bit kernel with a PVH entry note";
            return Err(Problem::Field { name: "EI_CLASS", value: 1, expected });
        }
    };

    let mut kernel: Vec<Extent> = elf.loadable().map(|s| s.extent).collect();
    if kernel.is_empty() || kernel.len() > SEGMENTS_MAX {
        let value = kernel.len() as u64;
        return Err(Problem::Field { name: "number of loadable segments", value, expected: "1 to 64" });
    }
    kernel.sort_unstable_by_key(|extent| extent.from);
    // Without overlap, the bytes to be written are at most those of the memory.
    if let Some(pair) = kernel.windows(2).find(|pair| pair[0].overlaps(&pair[1])) {
        return Err(Problem::Overlap { at: pair[1].from });
    }
    let mut pieces = Vec::with_capacity(kernel.len());
    for segment in elf.loadable() {
        room.check(&segment.extent)?;
        let bytes = image.part("segment", segment.offset, segment.file_bytes)?;
        pieces.push(Piece { at: segment.extent.start(), bytes });
        let rest = segment.extent.bytes() - segment.file_bytes;
        memory.zero(segment.extent.start() + segment.file_bytes, rest)?;
    }
    Ok(Plan {
        start,
        pieces,
        kernel,
        cmdline_max: CMDLINE_SPACE - 1,
        initrd_max: Layout::HIGH - 1,
        initrd_above_4_gib: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(name: &[u8], kind: u32, desc: &[u8]) -> Vec<u8> {
        let mut note = Vec::new();
        for word in [name.len() as u32, desc.len() as u32, kind] {
            note.extend(word.to_le_bytes());
        }
        for part in [name, desc] {
            note.extend(part);
            note.resize(note.len().next_multiple_of(4), 0);
        }
        note
    }

    #[test]
    fn the_entry_note_is_found_behind_others() {
        let mut notes = note(b"GNU\0", 18, &[1; 5]);
        notes.extend(note(b"Xen\0", 6, b"linux\0"));
        notes.extend(note(b"Xen\0", 18, &[0x10, 0x20, 0x30, 0x40, 0, 0, 0, 0]));
        assert_eq!(find_phys32_entry(&notes), Some(0x4030_2010));
    }

    #[test]
    fn notes_that_claim_more_than_there_is_end_the_search() {
        let notes = note(b"Xen\0", 18, &[1, 2, 3, 4]);
        for length in 0..notes.len() {
            assert_eq!(find_phys32_entry(&notes[..length]), None);
        }
        let mut hostile = notes.clone();
        hostile[0..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(find_phys32_entry(&hostile), None);
        hostile = note(b"Xen\0", 1, &[]);
        hostile[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(find_phys32_entry(&hostile), None);
    }
}
