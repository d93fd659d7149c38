//! Which pages are in the balloon, chunk by chunk.
use alloc::vec::Vec;
use mm::addr::{LARGE_PAGE, PAGE};

/// Pages of a chunk.
const PAGES: u16 = (LARGE_PAGE / PAGE) as u16;

/// What is known of a chunk, as long as its era is the books'.
#[derive(Clone, Copy, Default)]
struct Chunk {
    /// A bit for each page in the balloon.
    inside: [u64; PAGES as usize / 64],
    /// How many these are.
    count: u16,
    /// It is in the list of those that are to go.
    listed: bool,
    /// The guest has reported all of it as free.
    reported: bool,
    era: u32,
}

/// The books of a balloon. Emptied at once, however large: a new era begins.
pub struct Pages {
    chunks: Vec<Chunk>,
    count: u64,
    era: u32,
}

impl Pages {
    /// An empty balloon for a guest of so many chunks; `None` without memory.
    pub fn new(chunks: usize) -> Option<Self> {
        let mut all = Vec::new();
        all.try_reserve_exact(chunks).ok()?;
        all.resize(chunks, Chunk::default());
        Some(Self { chunks: all, count: 0, era: 0 })
    }

    /// How many pages are inside.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Takes all out.
    pub fn empty(&mut self) {
        self.count = 0;
        self.era = self.era.wrapping_add(1);
        if self.era == 0 {
            self.chunks.fill(Chunk::default());
        }
    }

    fn chunk(&mut self, number: usize) -> Option<&mut Chunk> {
        let chunk = self.chunks.get_mut(number)?;
        if chunk.era != self.era {
            *chunk = Chunk { era: self.era, ..Chunk::default() };
        }
        Some(chunk)
    }

    /// Puts a page in, if it is not. Whether its chunk is to be listed now: that was the last page of it.
    pub fn put_in(&mut self, number: usize, page: usize) -> bool {
        let Some(chunk) = self.chunk(number) else { return false };
        let Some(word) = chunk.inside.get_mut(page / 64) else { return false };
        let bit = 1 << (page % 64);
        if *word & bit != 0 {
            return false;
        }
        *word |= bit;
        chunk.count += 1;
        let list = chunk.count == PAGES && !chunk.listed;
        chunk.listed |= list;
        self.count += 1;
        list
    }

    /// Takes a page out, if it is in.
    pub fn take_out(&mut self, number: usize, page: usize) {
        let Some(chunk) = self.chunk(number) else { return };
        let Some(word) = chunk.inside.get_mut(page / 64) else { return };
        let bit = 1 << (page % 64);
        if *word & bit != 0 {
            *word &= !bit;
            chunk.count -= 1;
            self.count -= 1;
        }
    }

    /// The guest does not use any page of a chunk now. Whether it is to be listed.
    pub fn report(&mut self, number: usize) -> bool {
        let Some(chunk) = self.chunk(number) else { return false };
        chunk.reported = true;
        !core::mem::replace(&mut chunk.listed, true)
    }

    /// Takes a chunk off the list. Whether it is still to go.
    pub fn goes(&mut self, number: usize) -> bool {
        let Some(chunk) = self.chunk(number) else { return false };
        chunk.listed = false;
        core::mem::take(&mut chunk.reported) || chunk.count == PAGES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_listed_once_with_its_last_page_and_goes_if_none_was_taken_out() {
        let mut pages = Pages::new(3).unwrap();
        for page in 0..511 {
            assert!(!pages.put_in(1, page) && !pages.put_in(1, page), "twice is once");
        }
        assert!(pages.put_in(1, 511) && !pages.put_in(1, 511));
        assert_eq!(pages.count(), 512);
        pages.take_out(1, 7);
        pages.take_out(1, 7);
        assert!(!pages.put_in(1, 7), "it is in the list");
        pages.take_out(1, 0);
        assert!(!pages.goes(1));
        assert!(pages.put_in(1, 0) && pages.goes(1));
        assert_eq!(pages.count(), 512);
    }

    #[test]
    fn a_reported_chunk_goes_whatever_is_in_the_balloon() {
        let mut pages = Pages::new(3).unwrap();
        assert!(pages.report(2) && !pages.report(2));
        assert!(pages.goes(2) && !pages.goes(2));
    }

    #[test]
    fn emptying_forgets_pages_lists_and_reports() {
        let mut pages = Pages::new(2).unwrap();
        for era in [u32::MAX - 1, u32::MAX, 0, 1] {
            assert!(!pages.put_in(0, 3) && pages.report(1));
            pages.empty();
            assert!(pages.count() == 0 && !pages.goes(0) && !pages.goes(1));
            pages.era = era;
            pages.chunks.iter_mut().for_each(|chunk| chunk.era = era);
            pages.take_out(0, 3);
            assert_eq!(pages.count(), 0);
        }
    }

    #[test]
    fn chunks_and_pages_that_are_not_there_change_nothing() {
        let mut pages = Pages::new(1).unwrap();
        assert!(!pages.put_in(1, 0) && !pages.put_in(usize::MAX, 0) && !pages.put_in(0, 512));
        pages.take_out(1, 0);
        pages.take_out(0, usize::MAX);
        assert!(!pages.report(1) && !pages.goes(1));
        assert_eq!(pages.count(), 0);
    }
}
