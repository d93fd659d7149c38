//! The kernel's ELF file, checked.
//!
//! A [`Kernel`] exists only for a file that is a whole x86-64 executable, made for this hand-over
//! version, whose segments lie in the kernel's window of the address space, share no page, and are
//! never writable and executable at once. What the loader copies and maps comes from here alone.
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use handover::{NOTE_NAME, NOTE_SECTION, NOTE_TYPE_VERSION, VERSION};
use mm::addr::PAGE;

/// Where a kernel may be linked: the lower half of the top 2 GiB.
pub const WINDOW: Range<u64> = 0xffff_ffff_8000_0000..0xffff_ffff_c000_0000;
/// More than this is not a kernel of ours.
pub const MAX_MEMORY: u64 = 256 << 20;

/// Why a file is refused as a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadKernel {
    /// Not an ELF file.
    NotElf,
    /// An ELF file, but not a 64-bit x86 executable.
    NotX86Executable,
    /// A header or a segment reaches beyond the end of the file.
    Truncated,
    /// There is no note of PureVisor's in it.
    NoNote,
    /// The note is of another hand-over version.
    Version(u32),
    /// Nothing to load.
    NoSegments,
    /// A segment at this address is outside of [`WINDOW`], not on a page boundary, larger in the file
    /// than in memory, or the image is larger than [`MAX_MEMORY`].
    Placement(u64),
    /// A segment at this address shares a page with another.
    Overlap(u64),
    /// A segment at this address is writable and executable.
    WritableCode(u64),
    /// The entry point is not in an executable segment.
    Entry(u64),
}

impl fmt::Display for BadKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NotElf => write!(f, "it is not an ELF file")?,
            Self::NotX86Executable => write!(f, "it is not an executable for 64-bit x86")?,
            Self::Truncated => write!(f, "it is cut off")?,
            Self::NoNote => write!(f, "it is not a PureVisor kernel (no {NOTE_SECTION} section)")?,
            Self::Version(v) => {
                write!(f, "it is of another build: it speaks hand-over version {v}, this loader {VERSION}")?
            }
            Self::NoSegments => write!(f, "it holds nothing to load")?,
            Self::Placement(a) => write!(f, "its segment at {a:#x} lies where a kernel may not")?,
            Self::Overlap(a) => write!(f, "its segment at {a:#x} shares a page with another")?,
            Self::WritableCode(a) => write!(f, "its segment at {a:#x} is writable and executable")?,
            Self::Entry(a) => write!(f, "its entry point {a:#x} is not in its code")?,
        }
        write!(f, "; take the loader and kernel.elf from one build")
    }
}

/// A part of the kernel, as it is to stand in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Virtual address, a multiple of 4 KiB.
    pub address: u64,
    /// Bytes in memory; those beyond `data` are zero.
    pub bytes: u64,
    /// Content from the file.
    pub data: &'a [u8],
    /// May be written.
    pub writable: bool,
    /// May be executed.
    pub executable: bool,
}

impl Segment<'_> {
    /// The virtual addresses of the whole pages that the segment occupies.
    pub fn pages(&self) -> Range<u64> {
        self.address..(self.address + self.bytes).next_multiple_of(PAGE)
    }
}

/// A kernel that may be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel<'a> {
    /// Virtual address of the entry point.
    pub entry: u64,
    /// Sorted by address; no two share a page.
    pub segments: Vec<Segment<'a>>,
    /// `.symtab`; empty if the file has none.
    pub symbols: &'a [u8],
    /// The string table of `symbols`.
    pub symbol_names: &'a [u8],
}

// ELF-64 object file format, version 1.5: header fields, by their offsets.
const HEADER_BYTES: usize = 64;
const PROGRAM_HEADER_BYTES: usize = 56;
const SECTION_HEADER_BYTES: usize = 64;
const CLASS_64_LITTLE_ENDIAN: [u8; 3] = [2, 1, 1];
const ET_EXEC: u16 = 2;
const EM_X86_64: u16 = 62;
const PT_LOAD: u32 = 1;
const PF_X: u32 = 1;
const PF_W: u32 = 2;
const SHT_SYMTAB: u32 = 2;
const SHT_NOBITS: u32 = 8;

/// Bytes of a file, from which nothing can be read that is not there.
#[derive(Clone, Copy)]
struct File<'a>(&'a [u8]);

impl<'a> File<'a> {
    fn bytes(self, at: u64, len: u64) -> Result<&'a [u8], BadKernel> {
        let start = usize::try_from(at).map_err(|_| BadKernel::Truncated)?;
        let len = usize::try_from(len).map_err(|_| BadKernel::Truncated)?;
        let end = start.checked_add(len).ok_or(BadKernel::Truncated)?;
        self.0.get(start..end).ok_or(BadKernel::Truncated)
    }

    fn array<const N: usize>(self, at: u64) -> Result<[u8; N], BadKernel> {
        self.bytes(at, N as u64)?.try_into().map_err(|_| BadKernel::Truncated)
    }

    fn u16(self, at: u64) -> Result<u16, BadKernel> {
        Ok(u16::from_le_bytes(self.array(at)?))
    }

    fn u32(self, at: u64) -> Result<u32, BadKernel> {
        Ok(u32::from_le_bytes(self.array(at)?))
    }

    fn u64(self, at: u64) -> Result<u64, BadKernel> {
        Ok(u64::from_le_bytes(self.array(at)?))
    }

    /// A table of headers: `count` of them at `offset`, each of `size` bytes.
    fn table(
        self,
        offset: u64,
        count: u16,
        size: usize,
    ) -> Result<impl Iterator<Item = File<'a>>, BadKernel> {
        let bytes = self.bytes(offset, u64::from(count) * size as u64)?;
        Ok(bytes.chunks_exact(size).map(File))
    }
}

/// A section header.
#[derive(Clone, Copy)]
struct Section {
    name: u32,
    kind: u32,
    offset: u64,
    size: u64,
    link: u32,
}

impl<'a> Kernel<'a> {
    /// Checks `file` from its first byte to its last segment.
    pub fn parse(file: &'a [u8]) -> Result<Self, BadKernel> {
        let file = File(file);
        if file.bytes(0, 4) != Ok(b"\x7fELF") {
            return Err(BadKernel::NotElf);
        }
        file.bytes(0, HEADER_BYTES as u64)?;
        if file.array(4)? != CLASS_64_LITTLE_ENDIAN
            || file.u16(16)? != ET_EXEC
            || file.u16(18)? != EM_X86_64
            || file.u16(54)? as usize != PROGRAM_HEADER_BYTES
        {
            return Err(BadKernel::NotX86Executable);
        }
        let sections = sections(file)?;
        check_version(file, &sections)?;
        let segments = segments(file)?;
        let entry = file.u64(24)?;
        let in_code = |s: &Segment| s.executable && (s.address..s.address + s.bytes).contains(&entry);
        if !segments.iter().any(in_code) {
            return Err(BadKernel::Entry(entry));
        }
        let (symbols, symbol_names) = symbols(file, &sections)?;
        Ok(Self { entry, segments, symbols, symbol_names })
    }

    /// Virtual addresses from the first segment's first page to the last one's end.
    pub fn pages(&self) -> Range<u64> {
        match (self.segments.first(), self.segments.last()) {
            (Some(first), Some(last)) => first.pages().start..last.pages().end,
            _ => 0..0,
        }
    }

    /// Copies every segment's content into `image`, zeroed memory of the size of [`Self::pages`], at its
    /// distance from the first.
    pub fn copy_to(&self, image: &mut [u8]) {
        let first = self.pages().start;
        for segment in &self.segments {
            // A `Kernel` holds no segment outside of its pages.
            let at = (segment.address - first) as usize;
            image[at..at + segment.data.len()].copy_from_slice(segment.data);
        }
    }
}

fn segments<'a>(file: File<'a>) -> Result<Vec<Segment<'a>>, BadKernel> {
    let mut segments = Vec::new();
    for header in file.table(file.u64(32)?, file.u16(56)?, PROGRAM_HEADER_BYTES)? {
        let bytes = header.u64(40)?;
        if header.u32(0)? != PT_LOAD || bytes == 0 {
            continue;
        }
        let (flags, address, in_file) = (header.u32(4)?, header.u64(16)?, header.u64(32)?);
        let end = address.checked_add(bytes).ok_or(BadKernel::Placement(address))?;
        if address < WINDOW.start || end > WINDOW.end || !address.is_multiple_of(PAGE) || in_file > bytes {
            return Err(BadKernel::Placement(address));
        }
        let (writable, executable) = (flags & PF_W != 0, flags & PF_X != 0);
        if writable && executable {
            return Err(BadKernel::WritableCode(address));
        }
        let data = file.bytes(header.u64(8)?, in_file)?;
        segments.push(Segment { address, bytes, data, writable, executable });
    }
    segments.sort_by_key(|s| s.address);
    for pair in segments.windows(2) {
        if pair[0].pages().end > pair[1].address {
            return Err(BadKernel::Overlap(pair[1].address));
        }
    }
    let (Some(first), Some(last)) = (segments.first(), segments.last()) else {
        return Err(BadKernel::NoSegments);
    };
    if last.pages().end - first.address > MAX_MEMORY {
        return Err(BadKernel::Placement(last.address));
    }
    Ok(segments)
}

fn sections(file: File<'_>) -> Result<Vec<Section>, BadKernel> {
    let count = file.u16(60)?;
    if count != 0 && file.u16(58)? as usize != SECTION_HEADER_BYTES {
        return Err(BadKernel::NotX86Executable);
    }
    file.table(file.u64(40)?, count, SECTION_HEADER_BYTES)?
        .map(|s| {
            Ok(Section {
                name: s.u32(0)?,
                kind: s.u32(4)?,
                offset: s.u64(24)?,
                size: s.u64(32)?,
                link: s.u32(40)?,
            })
        })
        .collect()
}

fn content<'a>(file: File<'a>, section: &Section) -> Result<&'a [u8], BadKernel> {
    if section.kind == SHT_NOBITS { Ok(&[]) } else { file.bytes(section.offset, section.size) }
}

fn check_version(file: File<'_>, sections: &[Section]) -> Result<(), BadKernel> {
    let names = match sections.get(file.u16(62)? as usize) {
        Some(names) => content(file, names)?,
        None => return Err(BadKernel::NoNote),
    };
    let is_note = |section: &&Section| {
        names
            .get(section.name as usize..)
            .and_then(|name| name.split(|&b| b == 0).next())
            .is_some_and(|name| name == NOTE_SECTION.as_bytes())
    };
    let note = sections.iter().find(is_note).ok_or(BadKernel::NoNote)?;
    let version = note_version(content(file, note)?).ok_or(BadKernel::NoNote)?;
    if version == VERSION { Ok(()) } else { Err(BadKernel::Version(version)) }
}

/// The hand-over version in a note section: name size, descriptor size, type, name, descriptor.
fn note_version(note: &[u8]) -> Option<u32> {
    let word = |at: usize| Some(u32::from_le_bytes(note.get(at..at + 4)?.try_into().ok()?));
    let named = word(0)? as usize;
    let ours = named.next_multiple_of(4) == NOTE_NAME.len()
        && word(4)? == 4
        && word(8)? == NOTE_TYPE_VERSION
        && note.get(12..12 + NOTE_NAME.len())? == NOTE_NAME;
    if ours { word(12 + NOTE_NAME.len()) } else { None }
}

fn symbols<'a>(file: File<'a>, sections: &[Section]) -> Result<(&'a [u8], &'a [u8]), BadKernel> {
    let Some(table) = sections.iter().find(|s| s.kind == SHT_SYMTAB) else {
        return Ok((&[], &[]));
    };
    match sections.get(table.link as usize) {
        Some(names) => Ok((content(file, table)?, content(file, names)?)),
        None => Ok((&[], &[])),
    }
}

#[cfg(test)]
#[path = "elf_tests.rs"]
mod tests;
