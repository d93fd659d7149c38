//! Guest memory as a list of segments that data can be moved to and from without a copy.
#![allow(unsafe_code)] // copies to and from segments that are checked and made here

use super::guest::{GuestMemory, NotRam};
use alloc::boxed::Box;
use alloc::sync::Arc;
use block::Segment;
use mm::addr::{Gpa, Hpa};
use mm::shared::copy;

const NONE: Segment = Segment { address: Hpa::new(0), bytes: 0 };

/// Most bytes of one list.
pub const MAX_BYTES: u64 = 64 << 20;

/// Runs of guest RAM in an order that the guest gave, translated and checked. It is filled, eaten up from both
/// ends, and filled anew, without allocating.
pub struct Scatter {
    /// Keeps the RAM there.
    memory: Arc<GuestMemory>,
    segments: Box<[Segment]>,
    /// The segments that are in it: from here
    first: usize,
    /// to here.
    end: usize,
    /// All bytes that were pushed, and not taken.
    bytes: u64,
    /// Guest-physical address right behind the last byte.
    after: Gpa,
    /// There was more than it holds. Its front is all right, but it is not all.
    too_long: bool,
    /// It notes where things are, and translates nothing.
    places: Option<Box<[(Gpa, u32)]>>,
    /// How many it has noted.
    noted: usize,
}

impl Scatter {
    /// An empty list of at most `capacity` segments.
    pub fn new(memory: Arc<GuestMemory>, capacity: usize) -> Self {
        let segments = alloc::vec![NONE; capacity].into_boxed_slice();
        Self {
            memory,
            segments,
            first: 0,
            end: 0,
            bytes: 0,
            after: Gpa::new(0),
            too_long: false,
            places: None,
            noted: 0,
        }
    }

    /// An empty list of at most `capacity` places, which are not looked at: it has no segments and moves no data.
    pub fn of_places(memory: Arc<GuestMemory>, capacity: usize) -> Self {
        let places = alloc::vec![(Gpa::new(0), 0); capacity].into_boxed_slice();
        Self { too_long: true, places: Some(places), ..Self::new(memory, 0) }
    }

    /// The places that it was given, of a list made by [`Self::of_places`], and their bytes. Allegations of the guest's:
    /// whether they are RAM nobody has looked at. What is more than it holds is left out.
    pub fn places(&self) -> &[(Gpa, u32)] {
        self.places.as_ref().and_then(|places| places.get(..self.noted)).unwrap_or(&[])
    }

    /// Empties it.
    #[inline]
    pub fn clear(&mut self) {
        (self.first, self.end, self.bytes, self.noted) = (0, 0, 0, 0);
        self.too_long = self.places.is_some();
    }

    /// Bytes that are in it.
    #[inline]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether it was given more segments or bytes than it holds: then [`Self::segments`] is empty.
    #[inline]
    pub fn too_long(&self) -> bool {
        self.too_long
    }

    /// The segments: neighbours in host memory are one.
    #[inline]
    pub fn segments(&self) -> &[Segment] {
        if self.too_long { &[] } else { self.segments.get(self.first..self.end).unwrap_or(&[]) }
    }

    /// Adds the `bytes` at `gpa` at its end. Of what is too long nothing further is looked at but its last byte,
    /// when that is taken.
    ///
    /// # Errors
    /// Where they are not all RAM.
    #[inline]
    pub fn push(&mut self, gpa: Gpa, bytes: u32) -> Result<(), NotRam> {
        if bytes == 0 {
            return Ok(());
        }
        self.after = gpa.checked_add(bytes.into()).ok_or(NotRam(gpa))?;
        self.bytes += u64::from(bytes);
        self.too_long |= self.bytes > MAX_BYTES;
        if self.too_long {
            self.note(gpa, bytes);
            return Ok(());
        }
        let (mut at, mut left) = (gpa, u64::from(bytes));
        while left > 0 && !self.too_long {
            let (host, room) = self.memory.run(at).ok_or(NotRam(at))?;
            let piece = left.min(room);
            self.append(Segment { address: host, bytes: piece as u32 });
            (at, left) = (at + piece, left - piece);
        }
        Ok(())
    }

    #[cold]
    fn note(&mut self, gpa: Gpa, bytes: u32) {
        if let Some(place) = self.places.as_mut().and_then(|places| places.get_mut(self.noted)) {
            *place = (gpa, bytes);
            self.noted += 1;
        }
    }

    /// A segment of at most 2 MiB.
    #[inline]
    fn append(&mut self, segment: Segment) {
        if self.end > self.first
            && let Some(last) = self.segments.get_mut(self.end - 1)
            && last.address + u64::from(last.bytes) == segment.address
        {
            // All together are no more than MAX_BYTES.
            last.bytes += segment.bytes;
            return;
        }
        match self.segments.get_mut(self.end) {
            Some(slot) => {
                *slot = segment;
                self.end += 1;
            }
            None => self.too_long = true,
        }
    }

    /// Takes the next bytes, at most `most` of them, that lie one behind the other.
    #[inline]
    fn next_piece(&mut self, most: usize) -> Option<Segment> {
        let segment = self.segments.get_mut(self.first..self.end)?.first_mut()?;
        let piece = Segment { address: segment.address, bytes: (segment.bytes as usize).min(most) as u32 };
        segment.address = segment.address + u64::from(piece.bytes);
        segment.bytes -= piece.bytes;
        self.first += usize::from(segment.bytes == 0);
        self.bytes -= u64::from(piece.bytes);
        Some(piece)
    }

    #[inline]
    fn next_run(&mut self, most: usize) -> Option<(*mut u8, usize)> {
        let piece = self.next_piece(most)?;
        Some((self.memory.pointer(piece.address), piece.bytes as usize))
    }

    /// Takes as many bytes as `out` has from the front and copies them there; `false` where there are fewer.
    #[inline]
    pub fn take_front(&mut self, out: &mut [u8]) -> bool {
        let mut done = 0;
        while done < out.len() {
            let Some((from, bytes)) = self.next_run(out.len() - done) else { return false };
            // SAFETY: `bytes` of guest RAM, since segments come from `GuestMemory::run` of the memory that `self`
            // keeps; as many of `out`, from `done` on. No Rust object lies in guest memory, so they don't overlap.
            unsafe { copy(from, out.as_mut_ptr().add(done), bytes) };
            done += bytes;
        }
        true
    }

    /// Takes `bytes` from the front; `false` where there are fewer.
    #[inline]
    pub fn skip(&mut self, mut bytes: usize) -> bool {
        while bytes > 0 {
            let Some(piece) = self.next_piece(bytes) else { return false };
            bytes -= piece.bytes as usize;
        }
        true
    }

    /// Copies `data` to the front and takes what was written. How many bytes that were.
    pub fn write_front(&mut self, data: &[u8]) -> usize {
        let mut done = 0;
        while done < data.len() {
            let Some((to, bytes)) = self.next_run(data.len() - done) else { break };
            // SAFETY: as in `take_front`, with the directions exchanged.
            unsafe { copy(data.as_ptr().add(done), to, bytes) };
            done += bytes;
        }
        done
    }

    /// Likewise, from host memory that is not necessarily this guest's.
    ///
    /// # Safety
    /// `data` can be read by where this memory's owner maps host-physical memory, and is not in this list.
    #[inline]
    pub unsafe fn write_front_from(&mut self, data: Segment) -> usize {
        let from = self.memory.pointer(data.address).cast_const();
        let (mut done, all) = (0, data.bytes as usize);
        while done < all {
            let Some((to, bytes)) = self.next_run(all - done) else { break };
            // SAFETY: `from` by the caller; `to` as in `take_front`. Where a guest sends to itself what it also receives
            // into, it gets some mixture: both are its memory.
            unsafe { copy(from.add(done), to, bytes) };
            done += bytes;
        }
        done
    }

    /// Takes `bytes` from the front, for writing them later. `None` where there are fewer, or they are in more than
    /// [`ROOM_PIECES`].
    #[inline]
    pub fn take_room(&mut self, bytes: usize) -> Option<Room> {
        let mut room = Room { pieces: [NONE; ROOM_PIECES], memory: Arc::as_ptr(&self.memory) as usize };
        let mut left = bytes;
        for piece in &mut room.pieces {
            if left == 0 {
                break;
            }
            *piece = self.next_piece(left)?;
            left -= piece.bytes as usize;
        }
        (left == 0).then_some(room)
    }

    /// Drops what is behind the first `bytes`. No last byte can be taken then.
    pub fn truncate(&mut self, bytes: u64) {
        let mut surplus = self.bytes.saturating_sub(bytes);
        self.bytes -= surplus;
        // Of what is too long only the front is here.
        while surplus > 0
            && !self.too_long
            && let Some(last) = self.segments.get_mut(self.first..self.end).and_then(<[_]>::last_mut)
        {
            let cut = surplus.min(last.bytes.into());
            last.bytes -= cut as u32;
            self.end -= usize::from(last.bytes == 0);
            surplus -= cut;
            self.after = Gpa::new(0);
        }
    }

    /// Takes the last byte: where it is, for writing it later. `None` of nothing, or where that is no RAM.
    #[inline]
    pub fn take_last(&mut self) -> Option<Gpa> {
        let at = Gpa::new_truncate(self.after.get().wrapping_sub(1));
        if self.bytes == 0 || self.memory.host(at).is_none() {
            return None;
        }
        self.bytes -= 1;
        self.after = at;
        if !self.too_long {
            let last = self.segments.get_mut(self.first..self.end)?.last_mut()?;
            last.bytes -= 1;
            self.end -= usize::from(last.bytes == 0);
        }
        Some(at)
    }
}

/// Most pieces of a [`Room`]. Drivers have it in one, or two where pages of their own end.
pub const ROOM_PIECES: usize = 4;

/// Guest memory from the front of a list, for writing it before the request is done that it was taken for, or that is
/// waited for.
pub struct Room {
    pieces: [Segment; ROOM_PIECES],
    /// Address of the [`GuestMemory`] that it is in.
    memory: usize,
}

impl Default for Room {
    /// Of no bytes.
    fn default() -> Self {
        Self { pieces: [NONE; ROOM_PIECES], memory: 0 }
    }
}

impl Room {
    /// Writes as much of `data` as there is room for. `memory` must be what the list was made for; else nothing is
    /// written.
    #[inline]
    pub fn write(&self, memory: &GuestMemory, mut data: &[u8]) {
        if self.memory != core::ptr::from_ref(memory) as usize {
            return;
        }
        for piece in &self.pieces {
            if data.is_empty() {
                break;
            }
            let (now, later) = data.split_at((piece.bytes as usize).min(data.len()));
            // SAFETY: RAM of this guest, since pieces come from `GuestMemory::run` of what was at this address. Another
            // guest's memory could only be there once that was dropped; who keeps rooms keeps their queue, and so it. Nor
            // was a chunk of it freed: a room is kept for a request that is under way ([`super::chunks`]).
            unsafe { copy(now.as_ptr(), memory.pointer(piece.address), now.len()) };
            data = later;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::on_heap::HeapMemory;
    use mm::addr::LARGE_PAGE;
    use std::vec::Vec;

    fn scatter(memory: &HeapMemory, capacity: usize, pieces: &[(u64, u32)]) -> Scatter {
        let mut scatter = Scatter::new(memory.share(), capacity);
        for &(at, bytes) in pieces {
            scatter.push(Gpa::new(at), bytes).unwrap();
        }
        scatter
    }

    fn sizes(scatter: &Scatter) -> Vec<u32> {
        scatter.segments().iter().map(|s| s.bytes).collect()
    }

    #[test]
    fn neighbours_are_merged_and_chunks_of_the_host_are_not() {
        let memory = HeapMemory::new(4);
        let s = scatter(&memory, 8, &[(0x1000, 512), (0x1200, 512), (0x3000, 1)]);
        assert_eq!(sizes(&s), [1024, 1]);
        let s = scatter(&memory, 8, &[(LARGE_PAGE - 10, 30)]);
        assert_eq!(sizes(&s), [10, 20]);
        assert_eq!(s.segments()[0].address, memory.host(Gpa::new(LARGE_PAGE - 10)).unwrap());
        assert_eq!(s.segments()[1].address, memory.host(Gpa::new(LARGE_PAGE)).unwrap());
    }

    #[test]
    fn bytes_are_taken_across_segments_from_both_ends() {
        let memory = HeapMemory::new(4);
        memory.write(Gpa::new(LARGE_PAGE - 3), b"abcdefghij").unwrap();
        let mut s = scatter(&memory, 8, &[(LARGE_PAGE - 3, 9), (LARGE_PAGE + 6, 1)]);
        let mut front = [0; 5];
        assert!(s.take_front(&mut front));
        assert_eq!((&front, s.bytes(), sizes(&s)), (b"abcde", 5, [5].to_vec()));
        assert_eq!(s.take_last(), Some(Gpa::new(LARGE_PAGE + 6)));
        assert_eq!(s.take_last(), Some(Gpa::new(LARGE_PAGE + 5)));
        assert_eq!(s.write_front(b"XYZ!!!"), 3);
        assert_eq!((s.bytes(), s.segments().len(), s.take_last()), (0, 0, None));
        assert!(!s.take_front(&mut [0]));
        let mut all = [0; 10];
        memory.read(Gpa::new(LARGE_PAGE - 3), &mut all).unwrap();
        assert_eq!(&all, b"abcdeXYZij");
    }

    #[test]
    fn places_are_noted_as_they_were_given_and_nothing_is_looked_at() {
        let memory = HeapMemory::new(2);
        let mut s = Scatter::of_places(memory.share(), 2);
        for _ in 0..2 {
            assert!(s.push(Gpa::new(1 << 40), 4 << 20).is_ok() && s.push(Gpa::new(0), 0).is_ok());
            assert_eq!(s.places(), [(Gpa::new(1 << 40), 4 << 20)]);
            assert!(s.push(Gpa::new(5), 7).is_ok() && s.push(Gpa::new(6), 8).is_ok());
            assert_eq!(s.places(), [(Gpa::new(1 << 40), 4 << 20), (Gpa::new(5), 7)]);
            assert!(s.segments().is_empty() && !s.take_front(&mut [0]) && s.write_front(&[0]) == 0);
            assert!(s.push(Gpa::new((1 << 52) - 1), u32::MAX).is_ok());
            s.clear();
            assert!(s.places().is_empty());
        }
        assert!(Scatter::new(memory.share(), 2).places().is_empty());
    }

    #[test]
    fn the_last_byte_of_a_one_byte_segment_removes_it() {
        let memory = HeapMemory::new(2);
        let mut s = scatter(&memory, 8, &[(0x1000, 16), (0x3000, 1)]);
        assert_eq!(s.take_last(), Some(Gpa::new(0x3000)));
        assert_eq!(sizes(&s), [16]);
    }

    #[test]
    fn what_is_no_ram_or_wraps_is_refused() {
        let memory = HeapMemory::new(2);
        let mut s = Scatter::new(memory.share(), 8);
        for (at, bytes) in
            [(0x9_ffff, 2), (0xa_0000, 1), ((2 << 20) - 1, 2), (2 << 20, 1), ((1 << 52) - 1, 2)]
        {
            s.clear();
            assert!(s.push(Gpa::new(at), bytes).is_err(), "{at:#x}");
        }
        s.clear();
        assert!(s.push(Gpa::new(0), u32::MAX).is_ok() && s.too_long() && s.segments().is_empty());
        assert_eq!(s.take_last(), None, "no RAM there");
    }

    #[test]
    fn too_many_segments_leave_the_front_and_the_last_byte() {
        let memory = HeapMemory::new(2);
        memory.write(Gpa::new(0x1000), b"head").unwrap();
        let mut s = scatter(&memory, 2, &[(0x1000, 4), (0x3000, 4), (0x5000, 4), (0x7000, 4)]);
        assert!(s.too_long() && s.segments().is_empty());
        let mut head = [0; 4];
        assert!(s.take_front(&mut head) && &head == b"head");
        assert_eq!(s.take_last(), Some(Gpa::new(0x7003)));
        s.clear();
        assert!(!s.too_long());
    }

    #[test]
    fn room_is_written_later_whatever_pieces_it_is_in() {
        let memory = HeapMemory::new(4);
        let mut s = scatter(&memory, 8, &[(0x1000, 3), (0x3000, 1), (LARGE_PAGE - 2, 6)]);
        let room = s.take_room(8).unwrap();
        assert_eq!((s.bytes(), s.write_front(b"data")), (2, 2));
        assert!(s.take_room(1).is_none());
        room.write(&memory.share(), b"abcdefgh and more");
        let mut all = [0; 10];
        for (range, at) in [(0..3, 0x1000), (3..4, 0x3000), (4..10, LARGE_PAGE - 2)] {
            memory.read(Gpa::new(at), &mut all[range]).unwrap();
        }
        assert_eq!(&all, b"abcdefghda");
        // Five pieces are too many.
        let mut s = scatter(&memory, 8, &[(0, 1), (0x2000, 1), (0x4000, 1), (0x6000, 1), (0x8000, 1)]);
        assert!(s.take_room(5).is_none());
        // Another guest's memory is not what it is in.
        room.write(&HeapMemory::new(4).share(), b"x");
        Room::default().write(&memory.share(), b"x");
    }

    #[test]
    fn what_is_behind_is_dropped() {
        let memory = HeapMemory::new(2);
        let mut s = scatter(&memory, 8, &[(0x1000, 512), (0x3000, 512), (0x5000, 512)]);
        s.truncate(2000);
        assert_eq!(s.bytes(), 1536);
        s.truncate(700);
        assert_eq!((s.bytes(), sizes(&s), s.take_last()), (700, [512, 188].to_vec(), None));
        s.truncate(0);
        assert_eq!((s.bytes(), s.segments().len()), (0, 0));
    }
}
