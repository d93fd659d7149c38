//! Saying to the controller where the data is: PRP entries or SGL descriptors (NVMe 2.0, 4.1.1 and 4.1.2).
//!
//! A PRP entry is a page; so all pieces of memory but the first begin, and all but the last end, on a page's
//! boundary. A SGL descriptor is any piece. Two PRP entries are in the command itself, as is one descriptor;
//! more are in a list, of which each slot has one of [`LIST_BYTES`], made with the queue.
use super::command::DataPointer;
use super::identify::Sgl;
use super::registers::PAGE_BYTES;
use crate::DmaMemory;
use crate::request::Cursor;
use block::Segment;
use mm::Hpa;

/// Bytes of a slot's list. Lists are aligned to it, so none crosses a page.
pub(super) const LIST_BYTES: usize = 2048;
/// Most data of one command: what a list of PRP entries holds however the data lies within its pages.
pub(super) const MOST_BYTES: u64 = (LIST_BYTES as u64 / 8) * PAGE_BYTES;
/// PRP entries: one in the command, the others in the list.
const MOST_PAGES: usize = 1 + LIST_BYTES / 8;
const MOST_DESCRIPTORS: usize = LIST_BYTES / 16;
/// A list of PRP entries costs a store and a load per page, a descriptor twice that per piece. From so many bytes
/// per piece on, descriptors are taken where there is a choice.
const SGL_WORTH: u64 = 32 << 10;
/// The type of a descriptor in its last byte: a data block, and the last segment of descriptors.
const LAST_SEGMENT: u64 = 0x30 << 56;

/// A slot's list.
#[derive(Clone, Copy)]
pub(super) struct List<'a> {
    memory: &'a DmaMemory,
    offset: usize,
}

impl<'a> List<'a> {
    /// That of a slot.
    pub fn of(memory: &'a DmaMemory, slot: u8) -> Self {
        Self { memory, offset: usize::from(slot) * LIST_BYTES }
    }

    pub fn address(&self) -> Hpa {
        self.memory.address() + self.offset as u64
    }

    pub fn write<const N: usize>(&self, at: usize, values: &[u64; N]) {
        self.memory.write_all(self.offset + at, values);
    }
}

/// How much of some data one command can move, and by which pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Described {
    pub pointer: DataPointer,
    /// Whole blocks, not 0.
    pub bytes: u64,
}

/// Describes as much as one command can of `limit` bytes (whole blocks of `block` bytes, [`MOST_BYTES`] at most)
/// from `at` on. `None` where not even a block can be: the data has to go through other memory.
#[inline]
pub(super) fn describe(
    segments: &[Segment],
    at: Cursor,
    limit: u64,
    block: u64,
    sgl: Sgl,
    list: List<'_>,
) -> Option<Described> {
    let count = (segments.len() - at.index.min(segments.len())).max(1) as u64;
    let large = sgl != Sgl::No && limit > 2 * PAGE_BYTES && limit / count >= SGL_WORTH;
    if large {
        let described = descriptors(segments, at, limit, block, sgl, list);
        if described.is_some_and(|d| d.bytes == limit) {
            return described;
        }
    }
    let pages = pages(segments, at, limit, block, list);
    if sgl == Sgl::No || pages.is_some_and(|d| d.bytes == limit) {
        return pages;
    }
    let described = descriptors(segments, at, limit, block, sgl, list);
    match (pages, described) {
        // The list holds descriptors now: a PRP list has to be written again.
        (Some(p), Some(d)) if p.bytes > d.bytes => self::pages(segments, at, p.bytes, block, list),
        (Some(_), None) => self::pages(segments, at, limit, block, list),
        (_, described) => described,
    }
}

fn pages(segments: &[Segment], at: Cursor, limit: u64, block: u64, list: List<'_>) -> Option<Described> {
    let (mut count, mut first, mut second) = (0, 0, 0);
    let (mut bytes, mut end) = (0, 0);
    'pieces: for (address, len) in at.pieces(segments, limit) {
        let address = address.get();
        let joins =
            if count == 0 { address % 4 == 0 } else { address == end || (address | end) % PAGE_BYTES == 0 };
        if !joins {
            break;
        }
        let (mut position, mut left) = (address, len);
        while left != 0 {
            if count == 0 || position % PAGE_BYTES == 0 {
                match count {
                    0 => first = position,
                    1 => (second, _) = (position, list.write(0, &[position])),
                    MOST_PAGES => break 'pieces,
                    _ => list.write((count - 1) * 8, &[position]),
                }
                count += 1;
            }
            let here = left.min(PAGE_BYTES - position % PAGE_BYTES);
            bytes += here;
            left -= here;
            position = position.wrapping_add(here);
        }
        end = position;
    }
    let bytes = bytes - bytes % block;
    if bytes == 0 {
        return None;
    }
    // By what is left of it: the second entry is a list only where there is a third page.
    let second = match (first % PAGE_BYTES + bytes).div_ceil(PAGE_BYTES) {
        1 => 0,
        2 => second,
        _ => list.address().get(),
    };
    Some(Described { pointer: DataPointer::Prp(first, second), bytes })
}

fn descriptors(
    segments: &[Segment],
    at: Cursor,
    limit: u64,
    block: u64,
    sgl: Sgl,
    list: List<'_>,
) -> Option<Described> {
    let mut limit = limit;
    loop {
        let (mut count, mut bytes) = (0, 0);
        // The descriptor that is being made: pieces that follow each other in memory are one.
        let mut open: (u64, u64) = (0, 0);
        for (address, len) in at.pieces(segments, limit) {
            let address = address.get();
            if sgl == Sgl::Dwords && (address | len) % 4 != 0 {
                break;
            }
            if open.1 != 0 && open.0.wrapping_add(open.1) == address {
                open.1 += len;
            } else {
                if open.1 != 0 {
                    // One more has to fit after this one.
                    if count + 1 == MOST_DESCRIPTORS {
                        break;
                    }
                    list.write(count * 16, &[open.0, open.1]);
                    count += 1;
                }
                open = (address, len);
            }
            bytes += len;
        }
        let whole = bytes - bytes % block;
        if whole == 0 {
            return None;
        }
        if whole != bytes {
            // Once more, so that the descriptors end where the blocks do.
            limit = whole;
            continue;
        }
        let pointer = if count == 0 {
            DataPointer::Sgl(open.0, open.1)
        } else {
            list.write(count * 16, &[open.0, open.1]);
            DataPointer::Sgl(list.address().get(), (16 * (count as u64 + 1)) | LAST_SEGMENT)
        };
        return Some(Described { pointer, bytes });
    }
}
